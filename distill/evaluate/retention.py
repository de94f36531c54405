"""How much quality a selection keeps: arithmetic on the bits that models spent on held-out texts.

A model's figure is bits per byte: of each domain all bits by all bytes, and the mean over domains, which weigh the
same. The fewer, the better. With b(x) for the mean over the draws of an arm:

    retained R    = b(full) / b(arm)                                 1: as good as all the data; more: better
    gap closed G  = (b(random) - b(arm)) / (b(random) - b(full))     0: as good as chance; 1: as all the data
    gain          = b(random) - b(arm)                               in bits per byte; above 0: better than chance
    behind ours   = b(arm) - b(ours)                                 in bits per byte; above 0: worse than OURS

`random` is the control of an arm: random documents of as many tokens. G says nothing where random documents are as
good as all the data: it is null where b(random) <= b(full), and has no interval where more than 2.5 % of the replicates
say so. Intervals hold 95 % of replicates of the bootstrap (Efron 1979): held-out texts are drawn again within their
domain, the same ones for all arms, and of an arm its draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

REPLICATES = 1000
NO_GAP = 1e-9  # bits per byte that rounding makes
TAIL = 2.5  # percent, at either end
FULL, OURS = "full", "ours"

Reals = npt.NDArray[np.float64]
RETENTION = pa.schema([
    ("arm", pa.string()), ("control", pa.string()), ("domain", pa.string()), ("draws", pa.int32()),
    ("documents", pa.int64()), ("tokens", pa.int64()), ("bits_per_byte", pa.float64()),
    ("retained", pa.float64()), ("retained_low", pa.float64()), ("retained_high", pa.float64()),
    ("control_bits_per_byte", pa.float64()), ("control_retained", pa.float64()),
    ("gain", pa.float64()), ("gain_low", pa.float64()), ("gain_high", pa.float64()),
    ("gap_closed", pa.float64()), ("gap_low", pa.float64()), ("gap_high", pa.float64()),
    ("behind_ours", pa.float64()), ("behind_low", pa.float64()), ("behind_high", pa.float64()),
])  # fmt: skip


@dataclass(frozen=True, eq=False)
class Measured:
    """What one model, trained on one draw of an arm, made of the held-out texts."""

    arm: str
    draw: int
    documents: int
    tokens: int
    bits: Reals  # of each held-out text


@dataclass(frozen=True, eq=False)
class Heldout:
    """Domain and bytes of each held-out text."""

    domains: Sequence[str]
    n_bytes: npt.NDArray[np.int64]

    def groups(self) -> dict[str, npt.NDArray[np.int64]]:
        """The places of the texts of each domain, in the order of its name."""
        names = np.array(self.domains, object)
        return {str(name): np.flatnonzero(names == name) for name in sorted(set(self.domains))}


def bits_per_byte(bits: Reals, heldout: Heldout) -> dict[str | None, float]:
    """Bits per byte of each domain, and under None the mean over domains."""
    rates: dict[str | None, float] = {
        name: float(bits[places].sum() / heldout.n_bytes[places].sum()) for name, places in heldout.groups().items()
    }
    return {None: float(np.mean(list(rates.values()))), **rates}


def retention(
    measured: Sequence[Measured], controls: Mapping[str, str], heldout: Heldout, seed: int = 0,
    replicates: int = REPLICATES,
) -> pa.Table:  # fmt: skip
    """A row per arm and domain (null: the mean over all) with R, G, gain and how far behind OURS, as `RETENTION`.

    In:     one or more draws of each arm, of FULL and of the controls; `controls` names that of each other arm.
    Errors: ValueError for an arm without a control.
    """
    arms = list(dict.fromkeys(one.arm for one in measured))
    columns = {arm: [k for k, one in enumerate(measured) if one.arm == arm] for arm in arms}
    for arm in arms:
        if arm != FULL and arm not in controls:
            raise ValueError(f"{arm}: no control")
    rng = np.random.default_rng([seed, 1])
    texts = _replicates(measured, heldout, rng, replicates)
    chosen = {arm: rng.integers(0, len(columns[arm]), (replicates, len(columns[arm]))) for arm in arms}
    rows = []
    for domain, (point, drawn) in texts.items():
        values = {arm: float(point[columns[arm]].mean()) for arm in arms}
        many = {arm: np.take_along_axis(drawn[:, columns[arm]], chosen[arm], 1).mean(1) for arm in arms}
        for arm in arms:
            control = controls.get(arm, FULL)
            own = [measured[k] for k in columns[arm]]
            rows.append({
                "arm": arm, "control": controls.get(arm), "domain": domain, "draws": len(own),
                "documents": round(np.mean([one.documents for one in own])),
                "tokens": round(np.mean([one.tokens for one in own])),
                "bits_per_byte": values[arm],
                **_figures(values[arm], values[control], values[FULL], many[arm], many[control], many[FULL]),
            })  # fmt: skip
            if OURS in values and arm != OURS:
                low, high = _interval(many[arm] - many[OURS])
                rows[-1] |= {"behind_ours": values[arm] - values[OURS], "behind_low": low, "behind_high": high}
    for row in rows:
        if row["control"] is None or row["control"] == row["arm"]:  # nothing to be better than
            row |= {name: None for name in RETENTION.names if name.startswith(("gain", "gap"))}
    return pa.Table.from_pylist(rows, RETENTION)


def _replicates(
    measured: Sequence[Measured], heldout: Heldout, rng: np.random.Generator, replicates: int
) -> dict[str | None, tuple[Reals, Reals]]:
    """Bits per byte by domain and of all: of each model (models), and of each in each replicate (replicates x models).

    In a replicate a domain has as many texts as it has, drawn with replacement.
    """
    bits = np.stack([one.bits for one in measured], axis=1)
    found: dict[str | None, tuple[Reals, Reals]] = {}
    for name, places in heldout.groups().items():
        n_bytes, own = heldout.n_bytes[places], bits[places]
        times = rng.multinomial(len(places), np.full(len(places), 1 / len(places)), replicates)
        found[name] = (own.sum(0) / n_bytes.sum(), times @ own / (times @ n_bytes)[:, None])
    point, drawn = (np.mean([pair[k] for pair in found.values()], axis=0) for k in (0, 1))
    return {None: (point, drawn), **found}


def _figures(
    arm: float, random: float, full: float, arms: Reals, randoms: Reals, fulls: Reals
) -> dict[str, float | None]:
    """R, G and gain with their intervals, from the figures and from those of the replicates."""
    retained_low, retained_high = _interval(fulls / arms)
    gain_low, gain_high = _interval(randoms - arms)
    figures: dict[str, float | None] = {
        "retained": full / arm, "retained_low": retained_low, "retained_high": retained_high,
        "control_bits_per_byte": random, "control_retained": full / random,
        "gain": random - arm, "gain_low": gain_low, "gain_high": gain_high,
    }  # fmt: skip
    gaps = randoms - fulls
    if random - full > NO_GAP:
        figures["gap_closed"] = (random - arm) / (random - full)
        if np.mean(gaps <= NO_GAP) * 100 <= TAIL:
            usable = gaps > NO_GAP
            figures["gap_low"], figures["gap_high"] = _interval((randoms - arms)[usable] / gaps[usable])
    return figures


def _interval(values: Reals) -> tuple[float, float]:
    low, high = np.percentile(values, [TAIL, 100 - TAIL])
    return float(low), float(high)

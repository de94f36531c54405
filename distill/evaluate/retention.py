"""How much quality a selection retains: arithmetic on the bits that models spend on held-out texts.

A model's figure is bits per byte: in each domain, all bits divided by all bytes; over all domains, their unweighted
mean. Lower is better. With b(x) for the mean over the draws of an arm:

    retained R    = b(full) / b(arm)                                 1: as good as all the data; more: better
    gap closed G  = (b(random) - b(arm)) / (b(random) - b(full))     0: as good as chance; 1: as all the data
    gain          = b(random) - b(arm)                               in bits per byte; above 0: better than chance
    behind ours   = b(arm) - b(ours)                                 in bits per byte; above 0: worse than OURS

`random` is the control of an arm: random documents with as many tokens. G is meaningless where random documents are as
good as all the data: it is null where b(random) <= b(full), and has no interval where that is so in more than 2.5 % of
the replicates. Intervals cover 95 % of the replicates of a bootstrap (Efron 1979), which resamples held-out texts
within their domain, the same ones for all arms, and the draws of each arm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

REPLICATES = 1000
NO_GAP = 1e-9  # bits per byte: below this a gap is a rounding error
TAIL = 2.5  # percent, at either end
FULL, OURS = "full", "ours"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class ModelBits:
    """Bits that one model, trained on one draw of an arm, spends on the held-out texts."""

    arm: str
    proxy: str  # the kind of model
    budget: str  # "epochs" or "compute", whichever is the same for all arms
    draw: int
    documents: int
    tokens: int
    bits: Floats  # one value per held-out text


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRetention:
    """A row of table `retention`: one arm on one domain, with its control."""

    arm: str
    proxy: str
    budget: str
    control: str | None  # None for the full arm
    domain: str | None  # None: the mean over domains
    draws: int
    documents: int  # mean over draws, as are tokens
    tokens: int
    bits_per_byte: float
    retained: float
    retained_low: float
    retained_high: float
    control_bits_per_byte: float
    control_retained: float
    gain: float | None  # None for the full arm and for controls, as is the gap
    gain_low: float | None
    gain_high: float | None
    gap_closed: float | None
    gap_low: float | None
    gap_high: float | None
    behind_ours: float | None  # None for OURS
    behind_low: float | None
    behind_high: float | None

    @property
    def model(self) -> str:
        """The kind of model, with its budget where that is a choice."""
        return model_name(self.proxy, self.budget)


RETENTION = pa.schema(
    [(name, pa.string()) for name in ("arm", "proxy", "budget", "control", "domain")]
    + [("draws", pa.int32()), ("documents", pa.int64()), ("tokens", pa.int64()), ("bits_per_byte", pa.float64())]
    + [(name, pa.float64()) for name in ("retained", "retained_low", "retained_high")]
    + [(name, pa.float64()) for name in ("control_bits_per_byte", "control_retained")]
    + [(name, pa.float64()) for name in ("gain", "gain_low", "gain_high", "gap_closed", "gap_low", "gap_high")]
    + [(name, pa.float64()) for name in ("behind_ours", "behind_low", "behind_high")]
)


@dataclass(frozen=True, eq=False, slots=True)
class HeldoutDomains:
    """Domain and size of each held-out text."""

    domains: Sequence[str]
    n_bytes: npt.NDArray[np.int64]

    def groups(self) -> dict[str, npt.NDArray[np.int64]]:
        """Indices of the texts of each domain, sorted by its name."""
        names = np.array(self.domains, object)
        return {str(name): np.flatnonzero(names == name) for name in sorted(set(self.domains))}


@dataclass(frozen=True, eq=False, slots=True)
class ModelRates:
    """Bits per byte of each model on a domain."""

    values: Floats
    replicates: Floats  # of the bootstrap: replicates x models


@dataclass(frozen=True, eq=False, slots=True)
class _ArmRate:
    """Bits per byte of an arm on a domain."""

    value: float
    replicates: Floats


class _Estimate(NamedTuple):
    """A figure with its 95 % interval; None where it has none."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


def bits_per_byte(bits: Floats, heldout: HeldoutDomains) -> dict[str | None, float]:
    """Bits per byte of each domain, and under None the mean over domains."""
    rates: dict[str | None, float] = {
        name: float(bits[rows].sum() / heldout.n_bytes[rows].sum()) for name, rows in heldout.groups().items()
    }
    return {None: float(np.mean(list(rates.values()))), **rates}


def retention(
    models: Sequence[ModelBits],
    controls: Mapping[str, str],
    heldout: HeldoutDomains,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> list[ArmRetention]:
    """R, G, gain and the distance to OURS, for each arm on each domain and over all domains.

    In:     models of one proxy and budget: one or more draws of each arm, of FULL and of the controls; `controls` maps
            every arm but FULL to its control.
    Errors: ValueError for an arm without a control.
    """
    arms: dict[str, list[int]] = {}
    for index, model in enumerate(models):
        arms.setdefault(model.arm, []).append(index)
    for arm in arms:
        if arm != FULL and arm not in controls:
            raise ValueError(f"{arm}: no control")
    rng = np.random.default_rng([seed, 1])
    by_domain = rates_by_domain(models, heldout, rng, replicates)
    draws = {arm: rng.integers(0, len(indices), (replicates, len(indices))) for arm, indices in arms.items()}
    rows = []
    for domain, rates in by_domain.items():
        by_arm = {arm: _mean_over_draws(rates, indices, draws[arm]) for arm, indices in arms.items()}
        for arm, indices in arms.items():
            rows.append(_arm_retention([models[k] for k in indices], controls.get(arm), domain, by_arm))
    return rows


def model_name(proxy: str, budget: str) -> str:
    """A kind of model, with its budget where that is a choice."""
    return proxy if proxy == "ngram" else f"{proxy}, matched {budget}"


def retention_table(rows: Sequence[ArmRetention]) -> pa.Table:
    """The rows as table `retention`."""
    return pa.Table.from_pylist([asdict(row) for row in rows], RETENTION)


def rates_by_domain(
    models: Sequence[ModelBits], heldout: HeldoutDomains, rng: np.random.Generator, replicates: int
) -> dict[str | None, ModelRates]:
    """Bits per byte of each model, by domain, and under None the mean over domains.

    A replicate draws as many texts of a domain as there are, with replacement.
    """
    bits = np.stack([model.bits for model in models], axis=1)
    rates: dict[str | None, ModelRates] = {}
    for name, rows in heldout.groups().items():
        n_bytes, domain_bits = heldout.n_bytes[rows], bits[rows]
        counts = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), replicates)
        rates[name] = ModelRates(domain_bits.sum(0) / n_bytes.sum(), counts @ domain_bits / (counts @ n_bytes)[:, None])
    mean = ModelRates(
        np.mean([rate.values for rate in rates.values()], axis=0),
        np.mean([rate.replicates for rate in rates.values()], axis=0),
    )
    return {None: mean, **rates}


def _mean_over_draws(rates: ModelRates, models: Sequence[int], draws: npt.NDArray[np.int64]) -> _ArmRate:
    """Mean of the models of an arm, and in each replicate the mean of those that it drew."""
    replicates = np.take_along_axis(rates.replicates[:, models], draws, 1).mean(1)
    return _ArmRate(float(rates.values[models].mean()), replicates)


def _arm_retention(
    models: Sequence[ModelBits], control: str | None, domain: str | None, by_arm: Mapping[str, _ArmRate]
) -> ArmRetention:
    """The row of the arm that these models belong to."""
    name = models[0].arm
    arm, random, full = by_arm[name], by_arm[control or FULL], by_arm[FULL]
    retained_low, retained_high = interval(full.replicates / arm.replicates)
    has_control = control not in (None, name)
    gain = _difference(random, arm) if has_control else _Estimate()
    gap = _gap_closed(arm, random, full) if has_control else _Estimate()
    behind = _difference(arm, by_arm[OURS]) if OURS in by_arm and name != OURS else _Estimate()
    return ArmRetention(
        arm=name,
        proxy=models[0].proxy,
        budget=models[0].budget,
        control=control,
        domain=domain,
        draws=len(models),
        documents=round(np.mean([model.documents for model in models])),
        tokens=round(np.mean([model.tokens for model in models])),
        bits_per_byte=arm.value,
        retained=full.value / arm.value,
        retained_low=retained_low,
        retained_high=retained_high,
        control_bits_per_byte=random.value,
        control_retained=full.value / random.value,
        gain=gain.value,
        gain_low=gain.low,
        gain_high=gain.high,
        gap_closed=gap.value,
        gap_low=gap.low,
        gap_high=gap.high,
        behind_ours=behind.value,
        behind_low=behind.low,
        behind_high=behind.high,
    )


def _difference(a: _ArmRate, b: _ArmRate) -> _Estimate:
    return _Estimate(a.value - b.value, *interval(a.replicates - b.replicates))


def _gap_closed(arm: _ArmRate, random: _ArmRate, full: _ArmRate) -> _Estimate:
    """G, without an interval where more than TAIL percent of the replicates have no gap."""
    if random.value - full.value <= NO_GAP:
        return _Estimate()
    value = (random.value - arm.value) / (random.value - full.value)
    gaps = random.replicates - full.replicates
    if np.mean(gaps <= NO_GAP) * 100 > TAIL:
        return _Estimate(value)
    usable = gaps > NO_GAP
    return _Estimate(value, *interval((random.replicates - arm.replicates)[usable] / gaps[usable]))


def interval(values: Floats) -> tuple[float, float]:
    """The ends of the 95 % interval of replicates."""
    low, high = np.percentile(values, [TAIL, 100 - TAIL])
    return float(low), float(high)

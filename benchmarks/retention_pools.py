"""Print what a budget of 15 % retains on each pool of quality_pools.py, its mean and its worst.

Usage: python benchmarks/retention_pools.py FOLDER SEED [POOL ...]

FOLDER has pools as quality_pools.py writes them; by default all small pools that it has of SEED are measured. Pools of
odd number and seed 1 are those that settings were chosen on. A pool takes about five CPU minutes, and seconds where
nothing has changed. Beside `ours`, all else by default, stand what was the default before, settings that the reference
chooses, the classifier alone, and what no recipe can know: random documents among the good texts that were planted.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from purify import tell
from quality_pools import POOLS
from retention_arms import OpenPool, interval, measure, open_pool
from retention_selections import PLANTED, SELECTIONS, chosen_by, planted_alone

from curate.distill.evaluate.retention import ArmRetention
from curate.distill.evaluate.tokens import Integers
from curate.ledger.run import connect

SHARE = 0.15
ARMS = SELECTIONS | {
    "ours, least_likeness 0": {"distill": {"quotas": {"least_likeness": 0}}},  # the default before
    "ours, tune: reference": {"distill": {"tune": "reference"}},
}
SMALL = tuple(name for name in POOLS if name.isdigit())
Measured = tuple[OpenPool, dict[str, Integers], list[ArmRetention], float]


def measured(folder: Path, seed: int, name: str) -> Measured:
    """The pool, the documents of each selection, what they retain, and `alike`."""
    pool, runs = open_pool(folder / f"seed-{seed}" / name), folder / f"seed-{seed}" / f"runs-{name}"
    arms = {arm: chosen_by(pool, fields, SHARE, runs, seed) for arm, fields in ARMS.items()}
    arms |= {PLANTED: planted_alone(pool, SHARE, seed)}
    return pool, arms, measure(pool, {arm: [chosen] for arm, chosen in arms.items()}), alike(runs / "run")


def alike(run: Path) -> float:
    """How many budgets the documents make up that resemble the reference more than the corpus."""
    with connect(run) as connection:
        [(share,)] = connection.sql(
            "SELECT sum(n_tokens) FILTER (likeness >= 0) / sum(n_tokens) FROM documents"
        ).fetchall()
    return float(share) / SHARE


def rows_of(found: Mapping[str, Measured]) -> Iterable[Sequence[object]]:
    """A row for each pool and selection, then the mean and the worst of each selection."""
    yield ("pool", "selection", "% tokens", "% bytes", "retained R", "95 %", "gap closed G", "95 %", "R of random",
           "worst kind, its G", "like the reference, budgets")  # fmt: skip
    figures: dict[str, list[tuple[float, float]]] = {}
    for name, (pool, arms, rows, budgets) in found.items():
        encoded = pool.corpus.pool
        for arm, chosen in arms.items():
            [row] = (row for row in rows if row.arm == arm and row.domain is None)
            gap = float("nan") if row.gap_closed is None else row.gap_closed
            figures.setdefault(arm, []).append((row.retained, gap))
            yield (name, arm, f"{row.tokens / encoded.n_tokens.sum():.1%}",
                   f"{encoded.n_bytes[chosen].sum() / encoded.n_bytes.sum():.1%}",
                   f"{row.retained:.3f}", interval(row.retained_low, row.retained_high),
                   f"{gap:.3f}", interval(row.gap_low, row.gap_high), f"{row.control_retained:.3f}",
                   worst_kind([row for row in rows if row.arm == arm]), f"{budgets:.1f}")  # fmt: skip
    for arm, of_arm in figures.items():
        for label, of in (("mean", np.mean), ("worst", np.min)):
            retained, gap = of(np.array(of_arm), axis=0)
            yield label, arm, "", "", f"{retained:.3f}", "", f"{gap:.3f}", "", "", "", ""


def worst_kind(rows: Sequence[ArmRetention]) -> str:
    """The kind of held-out text of which the least of the gap is closed."""
    gaps = {row.domain: row.gap_closed for row in rows if row.domain is not None and row.gap_closed is not None}
    kind = min(gaps, key=lambda name: gaps[name])
    return f"{kind} {gaps[kind]:.2f}"


def main(folder: Path, seed: int, names: Sequence[str]) -> None:
    """Print the table."""
    there = [name for name in names if (folder / f"seed-{seed}" / name / "pool").is_dir()]
    tell(f"{SHARE:.0%} of the tokens, seed {seed}", rows_of({name: measured(folder, seed, name) for name in there}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] or SMALL)

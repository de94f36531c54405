"""Measure what budgets of 2 to 50 % retain by several ways to select, and draw docs/retention.svg.

Usage: python benchmarks/retention_curve.py FOLDER [SEED [POOL ...]]
       python benchmarks/retention_curve.py draw

FOLDER has pools as quality_pools.py writes them: of seed 2, which no setting was chosen on, and pool 1 by default.
Figures go to docs/retention.csv, a row for each pool, way and budget; `draw` makes the figure from it. Texts are
measured once, and models are kept by a digest of what they were trained on, so a second call repeats only what has
changed. A pool takes about 10 CPU minutes.
"""

import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from purify import tell
from retention_arms import STEP, measure, open_pool
from retention_figure import Point, figure
from retention_selections import selections

from curate.distill.evaluate.measure import RANDOM
from curate.distill.evaluate.retention import ArmRetention

DOCS = Path(__file__).parents[1] / "docs"
SHARES = (0.02, 0.05, 0.15, 0.30, 0.50)
DRAWS = 2  # of random documents at each budget
POOLS = ("1",)


def points_of(folder: Path, seed: int, name: str) -> list[Point]:
    """R and G over all domains, by arm and budget."""
    pool = open_pool(folder / f"seed-{seed}" / name)
    arms = selections(pool, SHARES, folder / f"seed-{seed}" / f"runs-{name}", seed)
    draws = {f"{arm} at {share}": chosen for arm, by_share in arms.items() for share, chosen in by_share.items()}
    rows = {row.arm: row for row in measure(pool, draws, draws=DRAWS) if row.domain is None}
    points = [
        point_of(name, arm, share, rows[f"{arm} at {share}"]) for arm, by_share in arms.items() for share in by_share
    ]
    controls = [rows[f"{RANDOM}, {round(share / STEP) * STEP:.2%}"] for share in SHARES]
    return points + [point_of(name, RANDOM, share, row) for share, row in zip(SHARES, controls, strict=True)]


def point_of(pool: str, arm: str, share: float, row: ArmRetention) -> Point:
    """A row of docs/retention.csv."""
    return Point(
        pool=pool, arm=arm, budget=share, tokens=row.tokens,
        retained=row.retained, retained_low=row.retained_low, retained_high=row.retained_high,
        gap_closed=row.gap_closed, gap_low=row.gap_low, gap_high=row.gap_high,
    )  # fmt: skip


def read(path: Path) -> list[Point]:
    """The points of a file that `write` wrote."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Point(row["pool"], row["arm"], float(row["budget"]), int(row["tokens"]),
                  *(float(row[name]) if row[name] else None for name in Point._fields[4:]))
            for row in csv.DictReader(file)
        ]  # fmt: skip


def write(points: Iterable[Point], path: Path) -> None:
    """Write points to a file, figures to four digits."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(Point._fields)
        for point in points:
            rows.writerow([*point[:4], *("" if value is None else f"{value:.4f}" for value in point[4:])])


def table_rows(points: Sequence[Point]) -> Iterable[Sequence[object]]:
    """R and G of each arm by budget."""
    budgets = sorted({point.budget for point in points})
    yield "pool", "arm", *(f"{budget:.0%}" for budget in budgets)
    by_arm: dict[tuple[str, str], dict[float, Point]] = {}
    for point in points:
        by_arm.setdefault((point.pool, point.arm), {})[point.budget] = point
    for (pool, arm), by_budget in by_arm.items():
        cells = [by_budget[budget] for budget in budgets]
        yield (
            pool,
            arm,
            *(f"{p.retained:.3f}" + ("" if p.gap_closed is None else f", {p.gap_closed:.2f}") for p in cells),
        )


def main(folder: Path, seed: int, names: Sequence[str]) -> None:
    """Measure, print the table, write the figures and draw them."""
    points: list[Point] = []
    for name in names:
        points += points_of(folder, seed, name)
        write(points, folder / "retention.csv")
    write(points, DOCS / "retention.csv")
    tell(f"R, and G, by budget; seed {seed}", table_rows(points))


if __name__ == "__main__":
    if sys.argv[1] != "draw":
        main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2, sys.argv[3:] or POOLS)
    (DOCS / "retention.svg").write_text(figure(read(DOCS / "retention.csv")), "utf-8")

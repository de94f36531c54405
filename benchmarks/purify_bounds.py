"""Whether the bound on false drops holds, and for whom it does not: a part of benchmarks/purify.py.

The good documents here come from where those of the reference come from; none was trained on, or set a bound.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from purify_corpus import part_corpora

from curate.ledger.run import connect
from curate.who.statistics import wilson

BOUNDS = (0.01, 0.02, 0.05)
SEEDS = range(2, 12)
T_95 = 2.262  # of Student's t with nine degrees of freedom
LACKING = ("legal", "medical", "source_code_docs")
USABLE = "part = 'good' AND strlen(text) >= 200"  # a shorter text is left out of the reference
STRATA = {  # of the bound, the narrowest ones with enough documents
    "all": ("tier2.by=[]",),
    "length": (),
    "domain": ("input.strata=[domain]", "tier2.by=[]"),
    "domain, length": ("input.strata=[domain]",),
}


def bound_rows(output: Path, by: str, again: Callable[..., Path]) -> Iterable[Sequence[object]]:
    """The share of good documents that each bound drops, by domain or length, with the bound in other strata."""
    for bound in BOUNDS:
        for strata, changes in STRATA.items():
            directory = again(output, f"tier2.max_false_drop={bound}", *changes)
            found = dropped(directory, by)
            if bound == BOUNDS[0] and strata == "all":
                yield "bound", "strata", *(f"{name} ({total:,})" for name, (_, total) in found.items())
            yield f"{bound:.0%}", strata, *(told_share(hits, total, bound) for hits, total in found.values())


def dropped(directory: Path, by: str) -> dict[str, tuple[int, int]]:
    """Of the good documents of a run, by a column and of all of them: how many are dropped, of how many."""
    with connect(directory) as connection:
        rows = connection.execute(
            f"""SELECT coalesce({by}, 'all'), count(*) FILTER (stage = 'purify'), count(*)
            FROM (SELECT input.*, stage, length_bucket FROM corpus) WHERE {USABLE}
            GROUP BY ROLLUP ({by}) ORDER BY grouping({by}), TRY_CAST(split_part({by}, '-', 1) AS INTEGER), {by}"""
        ).fetchall()
    return {name: (hits, total) for name, hits, total in rows}


def told_share(hits: int, total: int, bound: float) -> str:
    """A share with its 95 % interval, in bold where all of that lies above the bound."""
    low, high = wilson(hits, total)
    told = f"{hits / total:.1%} ({low:.1%} to {high:.1%})"
    return f"**{told}**" if low > bound else told


def seed_rows(
    corpora: Path, folder: Path, train: Callable[..., Path], judge: Callable[..., Path], again: Callable[..., Path],
    section: dict[str, Any],
) -> Iterable[Sequence[object]]:  # fmt: skip
    """The share of good documents that each bound drops, of runs that part, train and set the bound anew.

    Means over the seeds, with their 95 % interval; in bold where all of that lies above the bound.
    """
    shares: dict[tuple[float, str], list[dict[str, float]]] = {}
    for seed in SEEDS:
        material = part_corpora(corpora, folder / f"material-{seed}", seed)
        judged = folder / f"seed-{seed}-judged"
        judge(material, judged, train(material, folder / f"seed-{seed}-trained", section, seed))
        for bound in BOUNDS:
            for strata in ("all", "domain"):
                found = dropped(again(judged, f"tier2.max_false_drop={bound}", *STRATA[strata]), "domain")
                told = {name: hits / total for name, (hits, total) in found.items()}
                shares.setdefault((bound, strata), []).append(told)
    for k, ((bound, strata), found_by_seed) in enumerate(shares.items()):
        if k == 0:
            yield "bound", "strata", *found_by_seed[0]
        columns = ([found[name] for found in found_by_seed] for name in found_by_seed[0])
        yield f"{bound:.0%}", strata, *(told_mean(column, bound) for column in columns)


def told_mean(shares: Sequence[float], bound: float) -> str:
    """The mean of independent shares with its 95 % interval (Student's t for ten of them)."""
    mean, error = float(np.mean(shares)), float(np.std(shares, ddof=1)) / len(shares) ** 0.5
    low, high = mean - T_95 * error, mean + T_95 * error
    told = f"{mean:.1%} ({max(low, 0):.1%} to {high:.1%})"
    return f"**{told}**" if low > bound else told


def unseen_rows(
    corpora: Path, folder: Path, train: Callable[..., Path], judge: Callable[..., Path], trials: dict[str, Any]
) -> Iterable[Sequence[object]]:
    """The share of a domain that is dropped where the reference has none of it."""
    yield "trained on", *LACKING
    for name, section in trials.items():
        cells = []
        for domain in LACKING:
            material = part_corpora(corpora, folder / f"material-without-{domain}", 1, domain)
            output = folder / f"without-{domain}-{name.replace(' ', '-')}"
            found = dropped(judge(material, output / "judged", train(material, output / "trained", section)), "domain")
            hits, total = found[domain]
            cells.append(f"{hits / total:.1%}")
        yield name, *cells

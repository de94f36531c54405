"""Measure weights: a curve of quality against flat cuts, and near duplicates that are weighed against dropped ones.

Usage: python benchmarks/graded_weights.py FOLDER POOL...

Each POOL is a folder of quality_pools.py, and FOLDER keeps the runs. For each budget, all arms have as many tokens to
train on: a flat cut read once, smaller flat cuts read more than once, and curves. Documents are repeated by their
weights as exports repeat them, and models are those of retention_arms.py.
"""

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from purify import tell
from retention_arms import OpenPool, arm_rows, indices_of, measure, open_pool

from curate.distill.draws import times_read
from curate.distill.evaluate.tokens import Integers
from curate.engine.base import InProcess
from curate.ledger.names import DATA
from curate.pipeline.run import run
from curate.recipe.load import load_recipe

BUDGETS = ("15%", "30%", "60%", "100%")
REPEATS = (2, 4, 7)
SMALLER = {"60%": ("15%", "30%"), "100%": ("15%", "30%"), "30%": ("15%",)}  # flat cuts that are read more than once
NEAR = {
    "near duplicates dropped": {"dedup": {"near": {"as": "drop"}}},
    "near duplicates weighed": {"dedup": {"near": {"as": "weight"}}, "distill": {"novelty": 0}},
    "neither": {"distill": {"novelty": 0}},
    "neither, and novelty": {},
}


def main(folder: Path, places: Sequence[Path]) -> None:
    """Print the tables."""
    for place in places:
        pool = open_pool(place)
        output = folder / f"{place.parent.name}-{place.name}"
        for budget in BUDGETS:
            arms = graded(pool, place, output, budget)
            show(pool, f"{place.parent.name}, pool {place.name}, {budget} of the tokens", arms)


def graded(pool: OpenPool, place: Path, output: Path, budget: str) -> dict[str, Integers]:
    """The arms of a budget."""
    flat = {share: ids_of(place, output, {"distill": {"keep_tokens": share}}) for share in BUDGETS}
    arms = {"flat": indices_of(pool, flat[budget].to_pylist())}
    for share in SMALLER.get(budget, ()):
        cut = indices_of(pool, flat[share].to_pylist())
        arms[f"flat {share}, repeated"] = repeated(pool, cut, budget)
    for most in REPEATS:
        kept = ids_of(place, output, {"distill": {"keep_tokens": budget, "curve": {"max_repeats": most}}})
        arms[f"curve, at most {most}"] = indices_of(pool, kept.to_pylist())
    return arms


def repeated(pool: OpenPool, chosen: Integers, budget: str) -> Integers:
    """Documents as often as a budget has room for all of them, and some of them once more."""
    tokens = pool.corpus.pool.n_tokens
    ratio = float(budget.rstrip("%")) / 100 * tokens.sum() / tokens[chosen].sum()
    ids = pool.doc_ids.take(pa.array(chosen))
    return np.repeat(chosen, times_read(ids, pa.array(np.full(len(chosen), ratio))))


def ids_of(place: Path, output: Path, fields: Mapping[str, Any]) -> pa.Array:
    """The ids that a recipe keeps, each as often as its weight says; all recipes share one run directory."""
    name = yaml.safe_dump(dict(fields), default_flow_style=True).strip().translate(str.maketrans(": {},\n", "-_____"))
    aside = output / f"{name}.parquet"
    if not aside.exists():
        output.mkdir(parents=True, exist_ok=True)
        path = output / "recipe.yaml"
        recipe = {
            "name": "graded", "seed": 1, "output": str(output / "run"),
            "input": {"paths": [str(place / "pool")], "id": "id"},
            "reference": [str(path) for path in sorted((place / "reference").glob("*.parquet"))],
            "tier1": {"rules": []}, **fields,
            "distill": {"keep_tokens": "15%", **fields.get("distill", {})},
        }  # fmt: skip
        path.write_text(yaml.safe_dump(recipe))
        run(load_recipe(path), InProcess(), threads=1, quiet=True)
        shards = sorted((output / "run" / DATA).glob("*.parquet"))
        table = pa.concat_tables([pq.read_table(shard, columns=["doc_id", "n_tokens", "weight"]) for shard in shards])
        pq.write_table(table, aside.with_suffix(".new"))
        shutil.move(aside.with_suffix(".new"), aside)
    table = pq.read_table(aside)
    is_flat = "curve" not in fields.get("distill", {}) and "dedup" not in fields
    ids = table["doc_id"].combine_chunks()
    return ids if is_flat else ids.take(pa.array(np.repeat(np.arange(len(ids)), times_read(ids, table["weight"]))))


def show(pool: OpenPool, title: str, arms: Mapping[str, Integers]) -> None:
    """Print the table of some arms, with the share of planted texts among what is read, and of distinct tokens."""
    rows = measure(pool, {arm: [chosen] for arm, chosen in arms.items()})
    heads, *cells = arm_rows(pool, rows, arms)
    planted, tokens = np.asarray(pool.planted.to_numpy(zero_copy_only=False), bool), pool.corpus.pool.n_tokens

    def more(arm: object) -> Iterable[str]:
        chosen = arms.get(str(arm))
        if chosen is None:
            return "", ""
        good = tokens[chosen][planted[chosen]].sum() / tokens[chosen].sum()
        return f"{tokens[np.unique(chosen)].sum() / tokens.sum():.1%}", f"{good:.1%}"

    tell(title, [(*heads, "% distinct tokens", "% planted"), *((*row, *more(row[0])) for row in cells)])


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("name a folder for runs, and pools: python benchmarks/graded_weights.py FOLDER POOL...")
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])

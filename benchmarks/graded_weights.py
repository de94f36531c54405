"""Measure weights: a curve of quality against flat cuts, and near duplicates that are weighed against dropped ones.

Usage: python benchmarks/graded_weights.py WHAT FOLDER POOL...

WHAT is `curves`, `near`, or `decoders`, which needs torch: it trains small decoders on a tenth of the documents of each
arm of 60 %, for as many tokens as that has, so that a good text is read several times.

Each POOL is a folder of quality_pools.py, and FOLDER keeps the runs. For each budget, all arms have as many tokens to
train on: a flat cut read once, smaller flat cuts read more than once, and curves. Documents are repeated by their
weights as exports repeat them, and models are those of retention_arms.py.
"""

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import retention_arms
import yaml
from purify import tell
from retention_arms import DRAWS, OpenPool, arm_rows, indices_of, measure, open_pool

from curate.distill.draws import times_read
from curate.distill.evaluate.measure import Proxy
from curate.distill.evaluate.proxy_transformer import TransformerProxy
from curate.distill.evaluate.retention import HeldoutDomains
from curate.distill.evaluate.tokens import Integers
from curate.engine.base import InProcess
from curate.ledger.names import DATA
from curate.pipeline.run import run
from curate.recipe.load import load_recipe

BUDGETS = ("15%", "30%", "60%", "100%")
REPEATS = (2, 4, 7)
DECODED, PART = "60%", 10  # the budget that decoders are asked about, and one in how many documents they read
DECODER = TransformerProxy(context=128, batch=32, steps=200, budget="compute")
SMALLER = {"60%": ("15%", "30%"), "100%": ("15%", "30%"), "30%": ("15%",)}  # flat cuts that are read more than once
NEAR = {
    "near duplicates dropped": {"dedup": {"near": {"as": "drop"}}},
    "near duplicates weighed": {"dedup": {"near": {"as": "weight"}}, "distill": {"novelty": 0}},
    "neither": {"distill": {"novelty": 0}},
    "neither, and novelty": {},
}


def main(what: str, folder: Path, places: Sequence[Path]) -> None:
    """Print the tables."""
    for place in places:
        pool = open_pool(place)
        output, name = folder / f"{place.parent.name}-{place.name}", f"{place.parent.name}, pool {place.name}"
        if what == "near":
            weighed = {arm: indices_of(pool, ids_of(place, output, fields).to_pylist()) for arm, fields in NEAR.items()}
            show(pool, f"{name}: near duplicates", weighed)
        elif what == "decoders":
            some = np.flatnonzero(pool.keys % np.uint64(PART) == 0)
            arms = {arm: _among(chosen, some) for arm, chosen in graded(pool, place, output, DECODED).items()}
            arms = {arm: arms[arm] for arm in ("flat", "flat 15%, repeated", "curve, at most 4", "curve, at most 7")}
            retention_arms.STEP = 0.05  # one control for all
            show(part_of(pool, some), f"{name}, {DECODED}, decoders", arms, DECODER, 1)
        else:
            for budget in BUDGETS:
                show(pool, f"{name}, {budget} of the tokens", graded(pool, place, output, budget))


def part_of(pool: OpenPool, some: Integers) -> OpenPool:
    """A pool of some documents, and a fifth of the held-out texts."""
    texts = np.arange(0, len(pool.corpus.heldout), 5)
    corpus = replace(pool.corpus, pool=pool.corpus.pool.take(some), heldout=pool.corpus.heldout.take(texts))
    rows = pa.array(some)
    return replace(
        pool,
        doc_ids=pool.doc_ids.take(rows),
        sources=pool.sources.take(rows),
        planted=pool.planted.take(rows),
        keys=pool.keys[some],
        corpus=corpus,
        domains=HeldoutDomains([pool.domains.domains[k] for k in texts], corpus.heldout.n_bytes),
    )


def _among(chosen: Integers, some: Integers) -> Integers:
    """The chosen documents that are among some, by their places there."""
    return np.searchsorted(some, chosen[np.isin(chosen, some)])


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


def show(
    pool: OpenPool, title: str, arms: Mapping[str, Integers], proxy: Proxy | None = None, draws: int = DRAWS
) -> None:
    """Print the table of some arms, with the share of planted texts among what is read, and of distinct tokens."""
    rows = measure(pool, {arm: [chosen] for arm, chosen in arms.items()}, proxy, draws)
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
    if len(sys.argv) < 4:
        sys.exit("python benchmarks/graded_weights.py curves|near|decoders FOLDER POOL...")
    main(sys.argv[1], Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]])

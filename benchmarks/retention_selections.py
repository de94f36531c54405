"""Selections from a pool of quality_pools.py at a budget, as `curate run` makes them.

    ours                a run with the reference and the budget, all else by default
    classifier only     the documents that the discriminator is surest of: no quotas, no novelty
    lowest perplexity   the documents that the packaged English model finds least surprising
    rules only          random documents of those that pass RULES
    planted alone       random documents of the good texts that were planted: what no recipe can know

All selections from a pool share a run directory, so that texts are measured once.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from retention_arms import SEED, OpenPool, indices_of

from curate.distill.evaluate.arms import OURS, RULES_ONLY
from curate.distill.evaluate.measure import first_tokens, random_draw
from curate.distill.evaluate.tokens import Integers
from curate.engine.base import InProcess
from curate.ledger.run import connect
from curate.pipeline.run import run
from curate.recipe.load import load_recipe

CLASSIFIER, PERPLEXITY, PLANTED = "classifier only", "lowest perplexity", "planted alone"
RULES = ("gopher", "gopher_repetition", "c4")
ALONE: Mapping[str, Any] = {"scores": {"discriminator": 1}, "quotas": None, "novelty": 0}
Recipes = Mapping[str, Mapping[str, Any]]
SELECTIONS: Recipes = {OURS: {}, CLASSIFIER: {"distill": ALONE}}  # beside the budget
VARIANTS: Recipes = SELECTIONS | {
    "without novelty": {"distill": {"novelty": 0}},
    "without quotas": {"distill": {"quotas": None}},
    "without a reference": {"reference": []},
}
Draws = Sequence[Integers]  # of an arm


def select(pool: OpenPool, fields: Mapping[str, Any], folder: Path, seed: int) -> pa.Table:
    """Run a recipe over a pool in a folder; return its documents with doc_id, kept, stage and perplexity."""
    recipe = {
        "name": "retention", "seed": seed, "output": str(folder / "run"),
        "input": {"paths": [str(pool.folder / "pool")], "id": "id"},
        "reference": [str(path) for path in sorted((pool.folder / "reference").glob("*.parquet"))],
        "tier1": {"rules": []},
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**recipe, **fields}), "utf-8")
    loaded = load_recipe(path)
    run(loaded, InProcess(), threads=1, quiet=True)
    with connect(loaded.run_directory) as connection:
        names = connection.sql("SELECT * FROM documents LIMIT 0").columns
        perplexity = "perplexity" if "perplexity" in names else "NULL::FLOAT AS perplexity"
        return connection.sql(
            f"SELECT doc_id, kept, stage, {perplexity} FROM documents ORDER BY doc_id"
        ).to_arrow_table()


def selections(
    pool: OpenPool, shares: Sequence[float], folder: Path, seed: int, recipes: Recipes = SELECTIONS
) -> dict[str, dict[float, Draws]]:
    """The draws of each arm at each share of the pool's tokens."""
    arms = {
        arm: {share: [chosen_by(pool, fields, share, folder, seed)] for share in shares}
        for arm, fields in recipes.items()
    }
    return arms | without_budget(pool, shares, folder, seed)


def chosen_by(pool: OpenPool, fields: Mapping[str, Any], share: float, folder: Path, seed: int) -> Integers:
    """The documents that a recipe keeps of a share of the pool's tokens."""
    budget = {**fields, "distill": {"keep_tokens": share, **fields.get("distill", {})}}
    documents = select(pool, budget, folder, seed)
    return indices_of(pool, documents.filter(documents["kept"])["doc_id"].to_pylist())


def without_budget(pool: OpenPool, shares: Sequence[float], folder: Path, seed: int) -> dict[str, dict[float, Draws]]:
    """Documents of lowest perplexity, and random ones of those that pass the rules; all where there are too few."""
    fields = {"reference": [], "tier1": {"rules": list(RULES), "perplexity": {"band": [0, 100]}}}
    documents = select(pool, fields, folder, seed)
    rows = indices_of(pool, documents["doc_id"].to_pylist())
    encoded, total = pool.corpus.pool, int(pool.corpus.pool.n_tokens.sum())
    perplexity = np.nan_to_num(np.asarray(documents["perplexity"].to_numpy(), np.float64), nan=np.inf)
    lowest = rows[np.lexsort((pool.keys[rows], perplexity))]
    passing = rows[np.array([stage not in ("input", "rules") for stage in documents["stage"].to_pylist()])]
    sizes = {share: round(share * total) for share in shares}
    return {
        PERPLEXITY: {share: [first_tokens(encoded, lowest, size)] for share, size in sizes.items()},
        RULES_ONLY: {share: [random_draw(encoded, pool.keys, passing, size, SEED, 0)] for share, size in sizes.items()},
    }


def planted_alone(pool: OpenPool, share: float, seed: int) -> Integers:
    """Random documents among the planted ones, of a share of the pool's tokens; all of them where there are fewer."""
    planted = np.flatnonzero(pool.planted.to_numpy(zero_copy_only=False))
    tokens = pool.corpus.pool.n_tokens
    order = np.random.default_rng(seed).permutation(planted)
    return np.sort(order[: np.searchsorted(np.cumsum(tokens[order]), share * tokens.sum())])

"""Measure what a budget retains that is filled by likeness, by the parts of `quality`, or by both.

Usage: python benchmarks/filled_by.py POOL FOLDER

POOL is a folder of quality_pools.py; FOLDER keeps the run. Each arm is `curate run` with 15 % of the tokens and a short
second tier before; n-gram models are trained on what it keeps, as retention_arms.py says.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import duckdb
import yaml
from purify import tell
from retention_arms import measure, open_pool

from curate.distill.budget.scores import EVIDENCE
from curate.engine.base import InProcess
from curate.pipeline.run import run
from curate.recipe.load import load_recipe
from curate.sql import literal

ARMS: dict[str, dict[str, float] | None] = {
    "likeness, the default": None,
    "the parts of quality": EVIDENCE,
    "likeness, a tenth of each other part": EVIDENCE | {"discriminator": 8.0},
}


def rows(pool: Path, folder: Path) -> Iterable[Sequence[object]]:
    """R and G of each arm."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / "recipe.yaml"
    fields = {
        "name": "filled", "seed": 1, "output": str(folder / "run"),
        "input": {"paths": [str(pool / "pool")], "id": "id"},
        "reference": [str(pool / "reference" / "*.parquet")], "tier1": {"rules": []},
        "tier2": {"rounds": 1, "attacks": 100}, "distill": {"keep_tokens": "15%"},
    }  # fmt: skip
    recipe.write_text(yaml.safe_dump(fields), "utf-8")
    arms = {}
    for title, scores in ARMS.items():
        changes = [f"distill.scores={json.dumps(scores)}"] if scores else []
        run(load_recipe(recipe, changes), InProcess(), threads=1, quiet=True)
        data = literal(str(folder / "run" / "data" / "*.parquet"))
        arms[title] = [doc_id for (doc_id,) in duckdb.sql(f"SELECT id FROM {data}").fetchall()]
    yield "filled by", "documents", "tokens", "bits per byte", "R", "G", "95 %"
    for row in measure(open_pool(pool), arms):
        if row.domain is None and row.arm in arms:
            yield (row.arm, row.documents, row.tokens, row.bits_per_byte, row.retained, row.gap_closed,
                   f"{row.gap_low:.3f} to {row.gap_high:.3f}")  # fmt: skip


if __name__ == "__main__":
    tell(f"15 % of {sys.argv[1]}", rows(Path(sys.argv[1]), Path(sys.argv[2])))

"""What a run writes and tells of itself: recipe.yaml, run.json, its summary."""

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import numba
import pyarrow as pa
import yaml

import curate
from curate.decide.counts import Counts, most_drifted
from curate.distill.evaluate.results import facts_of, tracked_stages
from curate.ledger.names import (
    DATA,
    TRACKING,
)
from curate.pipeline.stages import unfinish
from curate.pipeline.state import RunState
from curate.redaction import redacted_values, without_credentials
from curate.storage.files import committed, write_json
from curate.storage.mirror import named


def write_run_facts(state: RunState, began: str) -> None:
    """recipe.yaml as resolved, and run.json with what the manifest must not hold: clock, host, places.

    They belong to the decisions in force: a run that fails before it decides leaves those of the run before it.
    """
    recipe, plan, file = state.recipe, state.plan, state.options.file
    run = recipe.run_directory
    fields = recipe.model_dump(mode="json", by_alias=True) | {"output": named(str(run))}
    text = yaml.safe_dump(without_credentials(fields), sort_keys=False, allow_unicode=True, width=100)
    if not (run / "recipe.yaml").exists() or (run / "recipe.yaml").read_bytes() != text.encode():
        unfinish(run)
    write_json(run / "run.json", {
        "signal_groups": dict(sorted(plan.groups.items())),
        "input_columns": plan.inputs.names,
        "started": began,
        "at": now(),
        "host": platform.node(),
        "platform": platform.platform(),
        "threads": state.threads,
        "corpus_root": str(plan.root),
        "working_directory": os.getcwd(),
        "recipe_file": str(file.resolve()) if file else None,
        "overlaps": redacted_values(state.overlaps),
        "versions": {"python": platform.python_version(), "curate": curate.__version__, "duckdb": duckdb.__version__,
                     "numba": numba.__version__, "pyarrow": pa.__version__},
    })  # fmt: skip
    with committed(run / "recipe.yaml") as aside:
        aside.write_text(text, "utf-8")


def write_end(run: Path, warnings: Sequence[str]) -> None:
    """When the run came to its end and what it warned of, into run.json."""
    facts = json.loads((run / "run.json").read_text("utf-8"))
    write_json(run / "run.json", facts | {"finished": now(), "warnings": redacted_values(warnings)})


def now() -> str:
    """The time, with its zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def summary_of(
    state: RunState, counts: Counts, other_language: Mapping[str, int] | None, seconds: float
) -> dict[str, Any]:
    """What the closing table and --json show."""
    run, ledger, recipe = state.recipe.run_directory, state.ledger, state.recipe
    first, last = counts.stages[0], counts.stages[-1]
    tracked_by = facts_of(run, TRACKING, state.decisions)
    if tracked_by is not None and recipe.evaluate is not None:
        tracked_by |= {"vocabulary": recipe.evaluate.vocabulary, "tokenizer": recipe.tokenizer}
    return {
        "run": named(str(run)),
        "documents_in": first["documents_in"],
        "documents_out": last["documents_out"],
        "tokens_in": first["tokens_in"],
        "tokens_out": last["tokens_out"],
        "shards": len(ledger.of(DATA)),
        "quarantined": [file.path for file in ledger.files if file.error],
        "bad_lines": {file.path: file.bad_lines for file in ledger.files if file.bad_lines},
        "stages": [dict(stage) for stage in counts.stages],
        "drift": [dict(row) for row in most_drifted(counts.scorecard)],
        "seconds": round(seconds, 3),
        "tracking": [asdict(stage) for stage in tracked_stages(run, state.decisions)],
        "tracked_by": tracked_by,
        "wanting": state.augmented.wanting() if state.augmented else [],
        "other_language": other_language,
        "warnings": state.warnings,
        "overlaps": state.overlaps.get("told", []),
    }


def nothing_kept(run: Path, stages: Sequence[Mapping[str, Any]]) -> str:
    """What the user is told where no document is left."""
    reasons = {r: n["documents"] for stage in stages for r, n in stage["dropped"].items()}
    most = sorted(reasons, key=lambda reason: -reasons[reason])[:3]
    told = ", ".join(f"{reason} {reasons[reason]:,}" for reason in most)
    return (
        f"none of {stages[0]['documents_in']:,} documents is kept ({told}); look with `curate sql {run} "
        '"SELECT doc_id, reasons FROM dropped"`, loosen tier1.thresholds, or set allow_empty: true'
    )

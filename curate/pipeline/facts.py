"""What a run records about itself: recipe.yaml, run.json, its summary."""

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
import numba
import pyarrow as pa
import yaml

import curate
from curate.decide.counts import Counts, most_drifted
from curate.decide.readings import training_of
from curate.distill.evaluate.results import TrackedStage, facts_of, tracked_stages
from curate.epochs import TrainingEpochs
from curate.ledger.names import DATA, TRACKING
from curate.pipeline.checks.other_languages import OtherLanguage
from curate.pipeline.stages import unfinish
from curate.pipeline.state import RunState
from curate.redaction import redacted_values, without_credentials
from curate.storage.files import committed, write_json
from curate.storage.mirror import by_uri

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSummary:
    """The result of a run, for the closing table and `--json`."""

    run: str
    documents_in: int
    documents_out: int
    tokens_in: int
    tokens_out: int
    bytes_in: int  # of text
    bytes_out: int
    shards: int
    quarantined: Sequence[str]
    bad_lines: Mapping[str, int]  # by file
    stages: Sequence[Row]
    drift: Sequence[Row]  # signals that differ most between the input and the output
    seconds: float
    training: TrainingEpochs | None  # over the output, with train_tokens
    tracking: Sequence[TrackedStage]
    tracked_by: Row | None
    wanting: Sequence[Row]  # domains with fewer tokens than their target
    other_language: OtherLanguage | None
    warnings: Sequence[str]
    overlaps: Sequence[str]  # the warnings that were printed at the beginning


def write_run_facts(state: RunState, began: str) -> None:
    """Write the resolved recipe.yaml, and run.json with what the manifest must not have: clock, host, paths.

    They belong to the decisions in force: a run that fails before it decides leaves those of the previous run.
    """
    recipe, plan, file = state.recipe, state.plan, state.options.file
    run = recipe.run_directory
    fields = recipe.model_dump(mode="json", by_alias=True) | {"output": by_uri(str(run))}
    text = yaml.safe_dump(without_credentials(fields), sort_keys=False, allow_unicode=True, width=100)
    if not (run / "recipe.yaml").exists() or (run / "recipe.yaml").read_bytes() != text.encode():
        unfinish(run)
    versions = {
        "python": platform.python_version(),
        "curate": curate.__version__,
        "duckdb": duckdb.__version__,
        "numba": numba.__version__,
        "pyarrow": pa.__version__,
    }
    facts = {
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
        "overlaps": redacted_values(asdict(state.overlaps)) if state.overlaps else {},
        "versions": versions,
    }
    write_json(run / "run.json", facts)
    with committed(run / "recipe.yaml") as aside:
        aside.write_text(text, "utf-8")


def write_end(run: Path, warnings: Sequence[str]) -> None:
    """Add the time and the warnings of a finished run to run.json."""
    facts = json.loads((run / "run.json").read_text("utf-8"))
    write_json(run / "run.json", facts | {"finished": now(), "warnings": redacted_values(warnings)})


def now() -> str:
    """The current time, with its zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def summary_of(state: RunState, counts: Counts, other_language: OtherLanguage | None, seconds: float) -> RunSummary:
    """Summarise a finished run."""
    run, ledger, recipe = state.recipe.run_directory, state.ledger, state.recipe
    first, last = counts.stages[0], counts.stages[-1]
    tracked_by = facts_of(run, TRACKING, state.decisions)
    if tracked_by is not None and recipe.evaluate is not None:
        tracked_by |= {"vocabulary": recipe.evaluate.vocabulary, "tokenizer": recipe.tokenizer}
    return RunSummary(
        run=by_uri(str(run)),
        documents_in=first["documents_in"],
        documents_out=last["documents_out"],
        tokens_in=first["tokens_in"],
        tokens_out=last["tokens_out"],
        bytes_in=first["bytes_in"],
        bytes_out=last["bytes_out"],
        shards=len(ledger.of(DATA)),
        quarantined=[file.path for file in ledger.files if file.error],
        bad_lines={file.path: file.bad_lines for file in ledger.files if file.bad_lines},
        stages=[dict(stage) for stage in counts.stages],
        drift=[dict(row) for row in most_drifted(counts.scorecard)],
        seconds=round(seconds, 3),
        training=training_of(recipe.train_tokens, recipe, counts.stages, counts.readings)
        if recipe.train_tokens
        else None,
        tracking=tracked_stages(run, state.decisions),
        tracked_by=tracked_by,
        wanting=state.augmented.deficits() if state.augmented else [],
        other_language=other_language,
        warnings=state.warnings,
        overlaps=state.overlaps.told if state.overlaps else [],
    )


def nothing_kept(run: Path, stages: Sequence[Row]) -> str:
    """The error message for a run that keeps no document."""
    reasons = {reason: dropped["documents"] for stage in stages for reason, dropped in stage["dropped"].items()}
    most = sorted(reasons, key=lambda reason: -reasons[reason])[:3]
    listed = ", ".join(f"{reason} {reasons[reason]:,}" for reason in most)
    return (
        f"none of {stages[0]['documents_in']:,} documents is kept ({listed}); look with `curate sql {run} "
        '"SELECT doc_id, reasons FROM dropped"`, loosen tier1.thresholds, or set allow_empty: true'
    )

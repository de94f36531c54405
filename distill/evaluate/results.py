"""Results of an evaluation in a run directory: tables and facts, in files, in the index and in the manifest."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.distill.evaluate.retention import OURS, ArmRetention
from curate.ledger.names import EVALUATION_FOLDER, RETENTION, TRACKING
from curate.sql import literal, open_database, quoted, read_parquet
from curate.storage.files import ASIDE, committed, sha256_of, sync, unsealed, write_sealed

TABLES = {RETENTION: ("evaluation", "retention"), TRACKING: ("tracking",)}  # the names of their tables
DIGITS = 6
INSTEAD = {"up-sampled": "up-sampling", "base model": "the base model"}  # arms without our written documents


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedStage:
    """A row of table `tracking`: quality after a stage, with its control."""

    stage: str
    documents_out: int
    tokens_out: int
    share: float  # of the tokens of the input
    sample_tokens: int  # of the sample, by the tokenizer of the models
    bits_per_byte: float
    retained: float
    retained_low: float
    retained_high: float
    control_retained: float | None  # None before anything is dropped, as are gain and gap
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    gap_closed: float | None
    gap_low: float | None
    gap_high: float | None


TRACKED = pa.schema(
    [("stage", pa.string()), ("documents_out", pa.int64()), ("tokens_out", pa.int64()), ("share", pa.float64())]
    + [("sample_tokens", pa.int64()), ("bits_per_byte", pa.float64())]
    + [(name, pa.float64()) for name in ("retained", "retained_low", "retained_high", "control_retained")]
    + [(name, pa.float64()) for name in ("gain", "gain_low", "gain_high", "gap_closed", "gap_low", "gap_high")]
)


def facts_of(run: Path, part: str, decisions: str) -> dict[str, Any] | None:
    """The facts of a finished part of an evaluation; None where it is of other decisions, missing or damaged."""
    try:
        facts = unsealed(json.loads((run / EVALUATION_FOLDER / f"{part}.json").read_text("utf-8")))
    except (OSError, ValueError, AttributeError):
        return None
    if facts.get("decisions") != decisions or set(facts["tables"]) != set(TABLES[part]):
        return None
    for name, sha256 in facts["tables"].items():
        path = run / EVALUATION_FOLDER / f"{name}.parquet"
        if not path.is_file() or sha256_of(path) != sha256:
            return None
    return facts


def table_of(run: Path, name: str) -> pa.Table:
    """A table of an evaluation."""
    return pq.read_table(run / EVALUATION_FOLDER / f"{name}.parquet")


def remove_scratch(run: Path) -> None:
    """Delete unfinished files that killed processes left in the folder of evaluations; the run is locked."""
    for path in [*(run / EVALUATION_FOLDER).glob(f"{ASIDE}*"), *(run / EVALUATION_FOLDER).glob(f"*/{ASIDE}*")]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def tracked_stages(run: Path, decisions: str) -> list[TrackedStage]:
    """Quality after each stage, where it was tracked for these decisions."""
    if facts_of(run, TRACKING, decisions) is None:
        return []
    return [TrackedStage(**row) for row in table_of(run, TRACKING).to_pylist()]


def commit(run: Path, part: str, tables: Mapping[str, pa.Table], facts: Mapping[str, object]) -> None:
    """Write a part of an evaluation: tables with figures rounded to DIGITS, then the facts with the tables' hashes."""
    (run / EVALUATION_FOLDER / f"{part}.json").unlink(missing_ok=True)
    for name, table in tables.items():
        with committed(run / EVALUATION_FOLDER / f"{name}.parquet") as aside:
            pq.write_table(_rounded(table), aside)
    hashes = {name: sha256_of(run / EVALUATION_FOLDER / f"{name}.parquet") for name in sorted(tables)}
    write_sealed(run / EVALUATION_FOLDER / f"{part}.json", {**facts, "tables": hashes})


def _rounded(table: pa.Table) -> pa.Table:
    for k, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            table = table.set_column(k, field, pc.round(table.column(k), DIGITS))
    return table


def load_evaluation(connection: duckdb.DuckDBPyConnection, run: Path, decisions: str) -> None:
    """Create or replace tables `evaluation`, `retention` and `tracking`, of the parts of these decisions."""
    for part, names in TABLES.items():
        is_current = facts_of(run, part, decisions) is not None
        for name in names:
            connection.execute(f"DROP TABLE IF EXISTS {quoted(name)}")
            if is_current:
                path = (run / EVALUATION_FOLDER / f"{name}.parquet").absolute()
                connection.execute(f"CREATE TABLE {quoted(name)} AS FROM {read_parquet([path])}")


def index_evaluation(run: Path, index: str, decisions: str) -> None:
    """Put the tables into a copy of a run's index and replace the index by it."""
    aside = run / f"{ASIDE}{os.getpid()}-{index}"
    shutil.copyfile(run / index, aside)
    with open_database() as connection:
        connection.execute(f"SET file_search_path = {literal(str(run.resolve()))}")
        connection.execute(f"ATTACH {literal(str(aside))} AS run (STORAGE_VERSION 'v1.0.0'); USE run")
        load_evaluation(connection, run, decisions)
        connection.execute("USE memory; DETACH run")
    sync(aside)
    os.replace(aside, run / index)
    sync(run)


def manifest_entry(run: Path, decisions: str) -> dict[str, Any] | None:
    """The manifest's entry `retention`: each arm with its control, and quality stage by stage."""
    facts = facts_of(run, RETENTION, decisions)
    tracked = facts_of(run, TRACKING, decisions)
    if facts is None and tracked is None:
        return None
    return {
        "evaluation": {**facts, "arms": table_of(run, "retention").to_pylist()} if facts else None,
        "tracking": {**tracked, "stages": table_of(run, TRACKING).to_pylist()} if tracked else None,
    }


def augmentation_claims(rows: Sequence[ArmRetention]) -> list[str]:
    """Claims on written documents, compared with real ones instead and with those of the base model.

    They are better where 95 % of the replicates are.
    """
    lines = []
    for model in dict.fromkeys(row.model for row in rows):
        of_model = [row for row in rows if row.model == model]
        ours = {row.domain: row.bits_per_byte for row in of_model if row.arm == OURS}
        for row in (row for arm in INSTEAD for row in of_model if row.arm == arm):
            if row.behind_low is None:
                continue
            texts = "all held-out texts" if row.domain is None else f"held-out texts of {row.domain}"
            verdict = "beats" if row.behind_low > 0 else "does not beat"
            lines.append(
                f"Augmentation {verdict} {INSTEAD[row.arm]} on {texts}: {ours[row.domain]:.4f} against "
                f"{row.bits_per_byte:.4f} bits per byte, a difference from {row.behind_low:+.4f} to "
                f"{row.behind_high:+.4f}"
            )
    return lines

"""What an evaluation left in a run directory: its tables, facts, and their place in the index and the manifest."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.ledger.names import EVALUATION_FOLDER, RETENTION, TRACKING
from curate.sql import literal, open_database, quoted, read_parquet
from curate.storage.files import ASIDE, committed, sha256_of, sync, unsealed, write_sealed

TABLES = {RETENTION: ("evaluation", "retention"), TRACKING: ("tracking",)}  # the names of their tables
DIGITS = 6
INSTEAD = {"up-sampled": "up-sampling", "base model": "the base model"}  # arms with other documents than written ones


def facts_of(run: Path, part: str, decisions: str) -> dict[str, Any] | None:
    """What a finished part of an evaluation tells of itself; None where there is none of these decisions, or damage."""
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
    """Delete what killed processes left half done below the folder of evaluations; the run is locked."""
    for path in [*(run / EVALUATION_FOLDER).glob(f"{ASIDE}*"), *(run / EVALUATION_FOLDER).glob(f"*/{ASIDE}*")]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def tracked_stages(run: Path, decisions: str) -> list[dict[str, Any]]:
    """Quality after each stage, where it is known of these decisions."""
    return table_of(run, TRACKING).to_pylist() if facts_of(run, TRACKING, decisions) else []


def commit(run: Path, part: str, tables: Mapping[str, pa.Table], facts: Mapping[str, Any]) -> None:
    """Write a part of an evaluation, its facts last with their hashes; figures have six digits behind the point."""
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
    """Tables `evaluation`, `retention` and `tracking` of the parts that are of these decisions, anew."""
    for part, names in TABLES.items():
        there = facts_of(run, part, decisions) is not None
        for name in names:
            connection.execute(f"DROP TABLE IF EXISTS {quoted(name)}")
            if there:
                path = (run / EVALUATION_FOLDER / f"{name}.parquet").absolute()
                connection.execute(f"CREATE TABLE {quoted(name)} AS FROM {read_parquet([path])}")


def index_evaluation(run: Path, index: str, decisions: str) -> None:
    """Put the tables into the index of a run, aside, and rename it over the old one."""
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
    """What the manifest tells of retention: each arm with its control beside it, and quality stage by stage."""
    facts = facts_of(run, RETENTION, decisions)
    tracked = facts_of(run, TRACKING, decisions)
    if facts is None and tracked is None:
        return None
    return {
        "evaluation": {**facts, "arms": table_of(run, "retention").to_pylist()} if facts else None,
        "tracking": {**tracked, "stages": tracked_stages(run, decisions)} if tracked else None,
    }


def augmentation_claims(arms: Sequence[Mapping[str, Any]]) -> list[str]:
    """What may be said of written documents, beside real ones in their place and beside those of the base model.

    They are better where 95 % of the replicates say so.
    """
    lines = []
    for budget in dict.fromkeys(row["budget"] for row in arms):
        ours = {r["domain"]: r["bits_per_byte"] for r in arms if (r["arm"], r["budget"]) == ("ours", budget)}
        for row in (r for arm in INSTEAD for r in arms if (r["arm"], r["budget"]) == (arm, budget)):
            where = "all held-out texts" if row["domain"] is None else f"held-out texts of {row['domain']}"
            verdict = "beats" if row["behind_low"] > 0 else "does not beat"
            lines.append(
                f"Augmentation {verdict} {INSTEAD[row['arm']]} on {where}: {ours[row['domain']]:.4f} against "
                f"{row['bits_per_byte']:.4f} bits per byte, a difference from {row['behind_low']:+.4f} to "
                f"{row['behind_high']:+.4f}"
            )
    return lines

"""run.duckdb: a disposable index over a run, rebuilt at will."""

import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from curate.corpus.folders import PassedOver
from curate.corpus.parquet import InputFile
from curate.decide.counts import UNITS, Counts
from curate.decide.plan import Plan
from curate.decide.scorecard import SCORECARD
from curate.distill.evaluate.results import load_evaluation
from curate.ledger.augmented import read_augmented
from curate.ledger.input_columns import source_sql
from curate.ledger.ledger import KnownFile, Ledger
from curate.ledger.names import (
    ATTACKS,
    BANDS,
    DECISIONS,
    DOMAIN_MEMBERS,
    DOMAINS,
    EDITS,
    GRADES,
    INDEX,
    INPUT,
    LINE_EDITS,
    OVERLAPS,
    PAIRS,
    PASSAGE_THRESHOLDS,
    PASSAGES,
    QUOTAS,
    ROUNDS,
    RUNGS,
    SEPARATE_GROUPS,
    SYNTHETIC,
    THRESHOLDS,
    TUNING,
)
from curate.ledger.views import derived_sql, document_ranges, load_signals
from curate.manifests.formats.dpo import PREFERENCE_SQL
from curate.recipe.recipe import Recipe
from curate.sql import literal, quoted, read_parquet, read_run_parquet
from curate.storage.files import ASIDE, sync
from curate.storage.places import is_remote
from curate.who.rates import Who

SIGNALS_AS_TABLE = 5_000_000  # documents; beyond, `signals` is a view over the ledger

INPUTS = pa.schema(
    {
        "file_no": pa.int32(),
        "position": pa.int32(),
        "file": pa.string(),
        "documents": pa.int64(),
        "bytes": pa.int64(),
        "error": pa.string(),
        "location": pa.string(),
        "bad_lines": pa.int64(),
        "passed_over": pa.string(),
    }
)

WHO = pa.schema(
    [(name, pa.string()) for name in ("dimension", "value", "stage")]
    + [(name, pa.int64()) for name in ("documents", "dropped", "tokens", "tokens_dropped")]
    + [(name, pa.float64()) for name in ("share", "low", "high", "rest_share")]
    + [(f"difference{end}", pa.float64()) for end in ("", "_low", "_high")]
    + [("p", pa.float64())]
    + [(f"within{end}", pa.float64()) for end in ("", "_low", "_high")]
    + [("within_p", pa.float64()), ("mark", pa.string()), ("within_mark", pa.string())]
    + [("reason", pa.string()), ("reason_documents", pa.int64())]
)

DOCUMENTS_SQL = """
    CREATE VIEW documents AS
    SELECT d.doc_id, i.file, d.row, d.n_tokens, d.kept, d.stage, d.reason, d.reasons, d.duplicate_of, d.similarity,
        d.coarse_score, d.p_bad, d.grade, d.attack, d.evidence,
        d.quality, d.rung, d.weight, d.likeness, d.importance, d.domain, d.cluster, d.shard,
        s.* EXCLUDE (file_no, row, n_tokens, raw_hash_high, raw_hash_low, is_null)
    FROM decisions d JOIN inputs i USING (file_no) JOIN signals s USING (file_no, row)"""

NO_EDITS = """(SELECT 0::INTEGER AS file_no, 0::BIGINT AS row, 0::INTEGER AS start, 0::INTEGER AS "end",
        '' AS replacement, '' AS reason, '' AS stage WHERE false)"""

NO_MEMBERS = """(SELECT 0::INTEGER AS file_no, 0::BIGINT AS row, '' AS domain, 0::FLOAT AS importance WHERE false)"""

PASSAGES_SQL = """SELECT doc_id, passage.start, passage."end", passage.p_bad
    FROM (SELECT file_no, row, unnest(passages) AS passage FROM {}) JOIN decisions USING (file_no, row)"""

VIEWS = {
    "kept": "SELECT * FROM documents WHERE kept",
    "dropped": "SELECT * FROM documents WHERE NOT kept",
    # A copy may equal a document that is itself a near duplicate: the survivor is then that of the near duplicate.
    "clusters": """SELECT survivor, doc_id, doc_id = survivor AS survives, reason, similarity
        FROM (
            SELECT coalesce(s.duplicate_of, d.duplicate_of, d.doc_id) AS survivor, d.doc_id, d.reason, d.similarity
            FROM decisions d LEFT JOIN decisions s ON s.doc_id = d.duplicate_of
            WHERE d.kept OR d.duplicate_of IS NOT NULL OR d.stage IN ('bands', 'lines', 'purify', 'distil')
        )
        WHERE survivor IN (SELECT coalesce(s.duplicate_of, d.duplicate_of)
            FROM decisions d LEFT JOIN decisions s ON s.doc_id = d.duplicate_of)""",
}


def build_index(
    recipe: Recipe, plan: Plan, ledger: Ledger, counts: Counts, groups: Who, database: duckdb.DuckDBPyConnection
) -> None:
    """Build run.duckdb under another name and replace the old one. Its views use paths relative to it."""
    run = ledger.run
    aside = run / f"{ASIDE}{os.getpid()}-{INDEX}"
    with database.cursor() as connection:  # without the temporary tables of the other connection
        connection.execute(f"SET file_search_path = {literal(str(run))}")
        connection.execute(f"ATTACH {literal(str(aside))} AS run (STORAGE_VERSION 'v1.0.0')")
        connection.execute("USE run")
        [digest] = {part.digest for part in ledger.of(DECISIONS)}
        connection.execute(f"CREATE TABLE about AS SELECT {literal(digest)} AS decisions_digest")
        _inputs(connection, ledger, plan.passed_over)
        _tables(connection, ledger, plan.groups, counts)
        _load_who(connection, groups)
        connection.execute(DOCUMENTS_SQL)
        for name, sql in VIEWS.items():
            connection.execute(f"CREATE VIEW {name} AS {sql}")
        connection.execute(_pairs_sql(ledger))
        if (corpus := _corpus_sql(ledger, plan.inputs, plan.files, recipe.input.column)) is not None:
            connection.execute(corpus)
        _stages(connection, ledger, plan.groups, counts)
        if recipe.tier3:
            _load_written(connection, ledger, run)
        load_evaluation(connection, run, digest)
        connection.execute("USE scratch; DETACH run")
    sync(aside)
    os.replace(aside, run / INDEX)
    sync(run)


def _stages(connection: duckdb.DuckDBPyConnection, ledger: Ledger, groups: Mapping[str, str], counts: Counts) -> None:
    """Create tables and views of single stages: edits, bands, thresholds, attacks, evaluation sets."""
    edits = [*(ledger.of(EDITS, groups[EDITS]) if EDITS in groups else []), *ledger.of(LINE_EDITS)]
    source = read_run_parquet(part.path for part in edits) if edits else NO_EDITS
    connection.execute(f"CREATE VIEW edits AS SELECT doc_id, e.* FROM {source} e JOIN decisions USING (file_no, row)")
    for group in (BANDS, THRESHOLDS, PASSAGE_THRESHOLDS, ROUNDS, RUNGS, QUOTAS, TUNING):
        if parts := ledger.of(group):
            connection.execute(f"CREATE TABLE {group} AS FROM {read_parquet(part.path for part in parts)}")
    for group in (ATTACKS, GRADES):
        if parts := ledger.of(group):
            connection.execute(f"CREATE VIEW {group} AS FROM {read_run_parquet(part.path for part in parts)}")
    if parts := ledger.of(PASSAGES):
        connection.execute(f"CREATE VIEW passages AS {PASSAGES_SQL.format(read_run_parquet(p.path for p in parts))}")
    if ledger.of(ATTACKS):
        connection.execute(PREFERENCE_SQL)
    if OVERLAPS in groups:
        _load_benchmarks(connection, counts.benchmarks)
        connection.execute(
            'CREATE VIEW contamination AS SELECT b.benchmark, item, doc_id, n_ngrams, start, "end", kept '
            f"FROM {_parts(ledger, OVERLAPS, groups)} o JOIN decisions USING (file_no, row) "
            "JOIN benchmarks b ON b.number = o.benchmark"
        )


def _load_written(connection: duckdb.DuckDBPyConnection, ledger: Ledger, run: Path) -> None:
    """Create tables `domains` and `synthetic` of the third tier, and the view of the documents of each domain."""
    augmented = read_augmented(run)
    if augmented is None:
        return
    for name, file in (("domains", DOMAINS), ("synthetic", SYNTHETIC)):
        connection.execute(f"CREATE TABLE {name} AS FROM {read_parquet([(augmented.folder / file).absolute()])}")
    members = (
        read_run_parquet(part.path for part in ledger.of(DOMAIN_MEMBERS)) if ledger.of(DOMAIN_MEMBERS) else NO_MEMBERS
    )
    connection.execute(
        f"""CREATE VIEW domain_documents AS SELECT doc_id, m.domain, m.importance FROM {members} m
        JOIN domains t USING (domain) JOIN decisions USING (file_no, row) WHERE m.importance >= least_importance"""
    )


def _pairs_sql(ledger: Ledger) -> str:
    """The view of all pairs of duplicates: each exact copy with its survivor, and all near-duplicate pairs."""
    copies = (
        "SELECT doc_id, duplicate_of, similarity, reason, stage = 'exact' AS exact FROM decisions "
        "WHERE stage = 'exact' OR reason = 'near_duplicate_of_earlier_run'"
    )
    parts = ledger.of(PAIRS)
    if not parts:
        return f"CREATE VIEW duplicate_pairs AS {copies}"
    return f"""
        CREATE VIEW duplicate_pairs AS {copies}
        UNION ALL
        SELECT d.doc_id, s.doc_id, p.similarity, 'near_duplicate', p.exact
        FROM {read_run_parquet(part.path for part in parts)} p
        JOIN decisions d USING (file_no, row) JOIN decisions s ON s.file_no = other_file_no AND s.row = other_row"""


def _load_benchmarks(connection: duckdb.DuckDBPyConnection, benchmarks: Sequence[Mapping[str, Any]]) -> None:
    """Create table `benchmarks`: each evaluation set and how much of it was found."""
    connection.execute(
        "CREATE TABLE benchmarks (number INTEGER, benchmark VARCHAR, content_xxh3_128 VARCHAR, items BIGINT, "
        "ngrams BIGINT, items_hit BIGINT, documents_hit BIGINT)"
    )
    for k, benchmark in enumerate(benchmarks):
        connection.execute("INSERT INTO benchmarks VALUES (?, ?, ?, ?, ?, ?, ?)", [k, *benchmark.values()])


def _parts(ledger: Ledger, group: str, groups: Mapping[str, str]) -> str:
    return f"(FROM {read_run_parquet(part.path for part in ledger.of(group, groups[group]))})"


def _inputs(connection: duckdb.DuckDBPyConnection, ledger: Ledger, passed_over: Sequence[PassedOver]) -> None:
    """Create table `inputs`: every file, and without a number what was passed over."""
    rows: list[dict[str, object]] = [
        {
            "file_no": file.file_no,
            "position": position,
            "file": file.path,
            "documents": file.rows,
            "bytes": file.size,
            "error": file.error,
            "location": file.location,
            "bad_lines": file.bad_lines,
        }
        for position, file in enumerate(ledger.files)
    ]
    rows += [{"file": entry.path, "passed_over": entry.reason} for entry in passed_over]
    connection.register("rows_of_inputs", pa.Table.from_pylist(rows, INPUTS))
    connection.execute("CREATE TABLE inputs AS FROM rows_of_inputs")
    connection.unregister("rows_of_inputs")


def _tables(connection: duckdb.DuckDBPyConnection, ledger: Ledger, groups: Mapping[str, str], counts: Counts) -> None:
    """Create tables `decisions`, `stages`, `scorecard` and, up to a size, `signals`; beyond that a view."""
    decisions = read_parquet(part.path for part in ledger.of(DECISIONS))
    connection.execute(f"CREATE TABLE decisions AS FROM {decisions}")
    connection.execute(
        "CREATE TABLE stages (number INTEGER, stage VARCHAR, documents_in BIGINT, documents_out BIGINT, "
        "tokens_in BIGINT, tokens_out BIGINT, bytes_in BIGINT, bytes_out BIGINT)"
    )
    for k, stage in enumerate(counts.stages):
        names = ("stage", *(f"{unit}_{side}" for unit in UNITS for side in ("in", "out")))
        connection.execute("INSERT INTO stages VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [k, *(stage[name] for name in names)])
    connection.register("scorecard_rows", pa.Table.from_pylist([dict(row) for row in counts.scorecard], SCORECARD))
    connection.execute("CREATE TABLE scorecard AS FROM scorecard_rows")
    measured = {group: digest for group, digest in groups.items() if group not in (INPUT, *SEPARATE_GROUPS)}
    if sum(part.rows for part in ledger.of(DECISIONS)) > SIGNALS_AS_TABLE:
        joined = " JOIN ".join(
            _parts(ledger, group, groups) + " USING (file_no, row)" * (k > 0) for k, group in enumerate(measured)
        )
        connection.execute(
            f"CREATE VIEW signals AS SELECT *{derived_sql(groups)} FROM {joined} SEMI JOIN inputs USING (file_no)"
        )
        return
    load_signals(connection, ledger, measured)
    connection.execute("CREATE TABLE run.signals AS FROM temp.signals LIMIT 0")
    for part in document_ranges(ledger, measured):
        load_signals(connection, ledger, measured, part.parts)
        connection.execute(
            f"INSERT INTO run.signals SELECT s.* FROM temp.signals s JOIN inputs USING (file_no) WHERE {part.exact_sql}"
        )
    connection.execute("DROP VIEW temp.signals")


def _load_who(connection: duckdb.DuckDBPyConnection, groups: Who) -> None:
    """Create table `who`: the drop rates of each group at each stage."""
    rows = [rate.to_json() for rates in groups.dimensions for rate in rates.rates]
    connection.register("rows_of_who", pa.Table.from_pylist(rows, WHO))
    connection.execute("CREATE TABLE who AS FROM rows_of_who")
    connection.unregister("rows_of_who")


def _corpus_sql(ledger: Ledger, inputs: pa.Schema, files: Mapping[int, InputFile], text: str) -> str | None:
    """The view of all documents with the input's columns as the struct `input`, read from the input files.

    SQL ignores case, so of columns whose names differ only in case the view has one: the text column, or the first.
    Columns without a name are left out. None if a column has the name that DuckDB gives to row numbers, or if files are
    in an object store, which DuckDB cannot read without an extension.
    """
    named: dict[str, str] = {text.lower(): text}
    for name in inputs.names:
        named.setdefault(name.lower(), name)
    if "file_row_number" in named or any(is_remote(file.location) for file in ledger.files):
        return None
    names = [name for name in inputs.names if name and name in named.values()]
    same_reading: dict[Hashable, list[KnownFile]] = {}  # files whose columns are read in the same way
    for file in ledger.files:
        if file.error is None and file.rows:
            same_reading.setdefault(file.column_mapping, []).append(file)
    sources, present_names = [], set[str]()
    for alike in same_reading.values():
        columns = {name for file in alike for name in files[file.file_no].schema.names}
        sources.append(source_sql(names, alike, columns))
        present_names |= columns
    values = {name: f"source.{quoted(f'{INPUT}.{name}')}" if name in present_names else "NULL" for name in names}
    fields = ", ".join(f"{quoted(name)} := {value}" for name, value in values.items())
    return f"""
        CREATE VIEW corpus AS
        SELECT documents.*, struct_pack({fields}) AS input
        FROM documents JOIN ({" UNION ALL BY NAME ".join(sources)}) source USING (file, row)"""

"""Verdicts: rules and global decisions as DuckDB SQL over the ledger. No text is read here."""

import errno
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import InputError, RecipeError, disk_error
from curate.ledger import Ledger, Part, write_part
from curate.measure import DOCUMENTS, EDITS, INPUT
from curate.recipe import Recipe
from curate.rules import ResolvedRule, condition
from curate.sql import first_line, literal, quoted, read_parquet

STAGES = ("input", "rules", "exact")
DECISIONS = "decisions"
DECISION_ROWS = 1 << 18  # rows of one part

# A row-wise score of form by which the surviving copy of a duplicate is chosen: lines that end as sentences do, words
# that hold letters, stop words as frequent as in English prose.
COARSE_SCORE = """((coalesce(terminal_line_ratio, 0) + coalesce(alpha_word_ratio, 0)
            + least(coalesce(stop_word_ratio, 0) / 0.4::FLOAT, 1)) / 3)::FLOAT"""

# Which copy comes first; the place in the input settles every tie.
SURVIVOR_ORDER = {
    "first": "position, row",
    "longest": "n_bytes DESC, position, row",
    "best": "coarse_score DESC, position, row",
}


@contextmanager
def database(run: Path, threads: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """A scratch DuckDB that may use half of the memory and spills into the run directory.

    Errors: WorkerError where the disk is full.
    """
    spool = run / "ledger" / "spool"
    try:
        spool.mkdir(parents=True, exist_ok=True)
        _clear(spool)
        with duckdb.connect(spool / "scratch.duckdb") as connection:
            connection.execute(
                f"SET threads = {threads}; SET temp_directory = {literal(str(spool))}; SET memory_limit = '50%'"
            )
            yield connection
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        if "space" not in str(error).lower():
            raise
        raise disk_error(OSError(errno.ENOSPC, "No space left on device"), str(spool)) from error
    except OSError as error:
        raise disk_error(error, str(spool)) from error
    finally:
        _clear(spool)


def _clear(spool: Path) -> None:
    for path in spool.iterdir():
        path.unlink()


def decide(
    recipe: Recipe, ledger: Ledger, groups: Mapping[str, str], rules: Sequence[ResolvedRule], excluded: Sequence[str],
    connection: duckdb.DuckDBPyConnection, digest: str,
) -> list[Part]:  # fmt: skip
    """Decide every document and commit the decisions, sorted by input order.

    Errors: InputError for ids that clash or are null; RecipeError where a rule's signal is null for every document.
    """
    load_signals(connection, ledger, groups)
    types = signal_types(connection)
    connection.execute("CREATE TEMP TABLE excluded AS SELECT DISTINCT unnest(?::VARCHAR[]) AS value", [list(excluded)])
    connection.execute(named_sql(recipe))
    if recipe.input.id is not None:
        _check_ids(recipe.input.id, connection)
    _check_measured(rules, connection)
    with _conditions_on_data():
        connection.execute(local_sql(recipe, rules, types))
    connection.execute(exact_sql(recipe))
    return list(_write_decisions(recipe, ledger, connection, digest))


def load_signals(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, groups: Mapping[str, str], only: Sequence[Part] | None = None
) -> None:
    """View `signals` over the parts in force: (file_no, row), `position` of the file, `file`, all measured columns.

    Where input columns were collected, they stand in the struct `input`. With `only`, the view is over some parts,
    without `position` and `file`.
    """
    joined = ""
    for group in (DOCUMENTS, *(group for group in groups if group not in (DOCUMENTS, EDITS))):
        parts = [part for part in only if part.group == group] if only is not None else ledger.of(group, groups[group])
        columns = "*" if group != INPUT else _input_struct(ledger.run / parts[0].path)
        source = f"(SELECT {columns} FROM {read_parquet(ledger.run / part.path for part in parts)})"
        joined += f"\n    JOIN {source} USING (file_no, row)" if joined else source
    if only is None:
        connection.execute("CREATE OR REPLACE TEMP TABLE files (file_no INTEGER, position INTEGER, file VARCHAR)")
        for position, file in enumerate(ledger.files):
            if file.error is None:
                connection.execute("INSERT INTO files VALUES (?, ?, ?)", [file.file_no, position, file.path])
        joined += "\n    JOIN files USING (file_no)"
    connection.execute(f"CREATE OR REPLACE TEMP VIEW signals AS SELECT * FROM {joined}")


def _input_struct(part: Path) -> str:
    """The columns of a part of group `input`, its values as one struct so that they cannot hide a signal."""
    names = pq.read_schema(part).names[2:]  # after file_no and row
    fields = ", ".join(f"{quoted(name.removeprefix(f'{INPUT}.'))} := {quoted(name)}" for name in names)
    return f"file_no, row, struct_pack({fields}) AS {INPUT}"


def signal_types(connection: duckdb.DuckDBPyConnection) -> dict[str, pa.DataType]:
    """Arrow types of the columns of `signals`."""
    schema = connection.sql("SELECT * FROM signals LIMIT 0").to_arrow_table().schema
    return {field.name: field.type for field in schema}


def named_sql(recipe: Recipe) -> str:
    """Table `named`: every document's doc_id.

    Without an id column it is the hash of the raw text in hex, with `#k` at the k-th repeat in input order.
    """
    if recipe.input.id is not None:
        return "CREATE TEMP TABLE named AS SELECT file_no, position, row, id AS doc_id FROM signals"
    return """
        CREATE TEMP TABLE named AS
        WITH hashed AS (
            SELECT file_no, position, row, raw_hash_high AS high, raw_hash_low AS low FROM signals
        ), repeated AS (
            SELECT file_no, row, row_number() OVER (PARTITION BY high, low ORDER BY position, row) AS k
            FROM hashed JOIN (SELECT high, low FROM hashed GROUP BY ALL HAVING count(*) > 1) USING (high, low)
        )
        SELECT file_no, position, row, printf('%016x%016x', high, low) || if(k > 1, '#' || k, '') AS doc_id
        FROM hashed LEFT JOIN repeated USING (file_no, row)"""


def local_sql(recipe: Recipe, rules: Sequence[ResolvedRule], types: Mapping[str, pa.DataType]) -> str:
    """Table `local`: what a document's own row decides, as the lists of reasons of stage input and of stage rules."""
    built_in = {
        "empty_text": "is_null OR (is_utf8 AND n_words = 0)",
        "invalid_utf8": "NOT is_utf8",
        "too_large": f"raw_n_bytes > {recipe.input.max_document_bytes}",
        **({"excluded": excluded_condition(types)} if recipe.exclude else {}),
    }
    return f"""
        CREATE TEMP TABLE local AS
        SELECT file_no, position, row, doc_id,
            coalesce(n_bytes, raw_n_bytes) AS n_bytes,
            coalesce(n_tokens, 0) AS n_tokens,
            {COARSE_SCORE} AS coarse_score,
            {reasons_sql({reason: f"coalesce({sql}, false)" for reason, sql in built_in.items()})} AS input_reasons,
            {reasons_sql({rule.reason: condition(rule.rule, types) for rule in rules})} AS rule_reasons
        FROM signals JOIN named USING (file_no, position, row)"""


def excluded_condition(types: Mapping[str, pa.DataType]) -> str:
    """SQL that is true for a document whose id, hash or url stands in table `excluded`."""
    names = ["doc_id", "printf('%016x%016x', raw_hash_high, raw_hash_low)"]
    if "input" in types and types["input"].get_field_index("url") >= 0:
        names.append("input.url")
    return " OR ".join(f"coalesce({name} IN (SELECT value FROM excluded), false)" for name in names)


def reasons_sql(conditions: Mapping[str, str]) -> str:
    """SQL for the list of reasons whose condition is true, in order."""
    if not conditions:
        return "[]::VARCHAR[]"
    cases = ",\n                ".join(
        f"CASE WHEN {sql} THEN {literal(reason)} END" for reason, sql in conditions.items()
    )
    return f"list_filter([\n                {cases}\n            ], lambda reason: reason IS NOT NULL)"


def exact_sql(recipe: Recipe) -> str:
    """Table `exact`: the documents that equal a surviving one, among those that no rule dropped."""
    if not recipe.dedup.exact:
        return "CREATE TEMP TABLE exact (file_no INTEGER, row BIGINT, duplicate_of VARCHAR, reason VARCHAR)"
    return f"""
        CREATE TEMP TABLE exact AS
        WITH left_over AS (
            SELECT file_no, position, row, doc_id, local.n_bytes, coarse_score,
                text_hash_high, text_hash_low, normal_hash_high, normal_hash_low
            FROM local JOIN signals USING (file_no, position, row)
            WHERE len(input_reasons) + len(rule_reasons) = 0
        ), copied AS (
            SELECT * FROM left_over
            JOIN (SELECT normal_hash_high, normal_hash_low FROM left_over GROUP BY ALL HAVING count(*) > 1)
                USING (normal_hash_high, normal_hash_low)
        ), ranked AS (
            SELECT file_no, row, row_number() OVER best AS place, first_value(doc_id) OVER best AS duplicate_of,
                text_hash_high = first_value(text_hash_high) OVER best
                    AND text_hash_low = first_value(text_hash_low) OVER best AS same_text
            FROM copied
            WINDOW best AS (PARTITION BY normal_hash_high, normal_hash_low ORDER BY {SURVIVOR_ORDER[recipe.dedup.keep]})
        )
        SELECT file_no, row, duplicate_of, if(same_text, 'exact_duplicate', 'normalised_duplicate') AS reason
        FROM ranked WHERE place > 1"""


DECISIONS_SQL = """
    SELECT file_no, row, doc_id, n_bytes, n_tokens, coarse_score,
        stage IS NULL AS kept, stage,
        reasons[1] AS reason, reasons,
        duplicate_of, if(duplicate_of IS NULL, NULL, 1)::FLOAT AS similarity
    FROM (
        SELECT * EXCLUDE (reason),
            CASE WHEN len(input_reasons) > 0 THEN 'input'
                 WHEN len(rule_reasons) > 0 THEN 'rules'
                 WHEN reason IS NOT NULL THEN 'exact' END AS stage,
            CASE WHEN len(input_reasons) > 0 THEN input_reasons
                 WHEN len(rule_reasons) > 0 THEN rule_reasons
                 WHEN reason IS NOT NULL THEN [reason]
                 ELSE [] END AS reasons
        FROM local LEFT JOIN exact USING (file_no, row)
    )
    ORDER BY position, row"""


@contextmanager
def _conditions_on_data() -> Iterator[None]:
    """Tell what DuckDB cannot compute of a condition, such as a cast, as an error of the recipe."""
    try:
        yield
    except (duckdb.ConversionException, duckdb.InvalidInputException, duckdb.OutOfRangeException) as error:
        problem = first_line(error)
        raise RecipeError(f"tier1.rules: a condition fails on the data: {problem}; try_cast may help") from None


def _write_decisions(
    recipe: Recipe, ledger: Ledger, connection: duckdb.DuckDBPyConnection, digest: str
) -> Iterator[Part]:  # fmt: skip
    """Commit the decisions in parts, each kept document with the output shard it goes to.

    A shard is full when its documents begin at or after shard_size bytes of text.
    """
    written = 0
    shard, last_slot = -1, -1
    for k, table in enumerate(rebuffered(connection.sql(DECISIONS_SQL).to_arrow_reader(1 << 16), DECISION_ROWS)):
        kept = table["kept"].to_numpy()
        size = np.where(kept, table["n_bytes"].to_numpy(), 0)
        begins = written + np.cumsum(size) - size
        written += int(size.sum())
        slots = begins // recipe.shard_size  # a document larger than a shard leaves slots without a document
        fresh = np.zeros(len(table), dtype=np.int64)
        places = np.flatnonzero(kept)
        if len(places):
            fresh[places] = np.diff(slots[places], prepend=last_slot) > 0
            last_slot = int(slots[places[-1]])
        shards = shard + np.cumsum(fresh)
        shard = int(shards[-1]) if len(shards) else shard
        table = table.append_column("shard", pa.array(shards.astype(np.int32), mask=~kept))
        yield write_part(ledger.run, DECISIONS, digest, f"{k:05d}", table)


def rebuffered(tables: Iterable[pa.Table | pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """The same rows as tables of `rows` rows each (the last may be shorter): bytes must not depend on batch sizes."""
    held: list[pa.Table] = []
    count = 0
    for batch in tables:
        table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
        while count + len(table) >= rows:
            yield pa.concat_tables([*held, table.slice(0, rows - count)])
            table = table.slice(rows - count)
            held, count = [], 0
        if len(table):
            held.append(table)
            count += len(table)
    if held:
        yield pa.concat_tables(held)


def _check_ids(column: str, connection: duckdb.DuckDBPyConnection) -> None:
    """Refuse ids that are null or that two documents share."""
    row = connection.execute(
        "SELECT file, row FROM named JOIN files USING (file_no) WHERE doc_id IS NULL "
        "ORDER BY files.position, row LIMIT 1"
    ).fetchone()
    if row:
        raise InputError(
            f"{row[0]} row {row[1]}: column {column!r} (input.id) is null; give it a value, or leave input.id out"
        )
    row = connection.execute(
        """SELECT doc_id, count(*), min({'position': files.position, 'row': row, 'file': file}),
            max({'position': files.position, 'row': row, 'file': file})
        FROM named JOIN files USING (file_no) GROUP BY doc_id HAVING count(*) > 1
        ORDER BY min((files.position, row)) LIMIT 1"""
    ).fetchone()
    if row:
        doc_id, times, first, last = row
        raise InputError(
            f"{last['file']} row {last['row']}: id {doc_id!r} stands {times} times, first in {first['file']} row "
            f"{first['row']}; ids must differ: make them unique, or leave input.id out"
        )


def _check_measured(rules: Sequence[ResolvedRule], connection: duckdb.DuckDBPyConnection) -> None:
    """Refuse a rule whose signal is null for every readable document: it could never drop anything."""
    named = {rule.rule.signal: rule.reason for rule in rules if rule.rule.signal is not None}
    if not named:
        return
    counts = ", ".join(f"count({quoted(name)})" for name in named)
    row = connection.execute(f"SELECT count(*), {counts} FROM signals WHERE n_words > 0").fetchone()
    assert row is not None
    for (name, reason), count in zip(named.items(), row[1:], strict=True):
        if row[0] and not count:
            raise RecipeError(f"rule {reason}: signal {name!r} is null for all {row[0]} documents; remove the rule")


def count_passing(
    ledger: Ledger, groups: Mapping[str, str], rules: Sequence[ResolvedRule], parts: Sequence[Part]
) -> int:
    """How many documents of freshly measured parts no rule drops (duplicates aside): what progress shows."""
    with duckdb.connect(config={"threads": "1"}) as connection:
        load_signals(connection, ledger, groups, only=parts)
        types = signal_types(connection)
        drops = " OR ".join(["coalesce(n_words, 0) = 0", *(condition(rule.rule, types) for rule in rules)])
        with _conditions_on_data():
            row = connection.execute(f"SELECT count(*) FILTER (NOT ({drops})) FROM signals").fetchone()
        assert row is not None
        return int(row[0])

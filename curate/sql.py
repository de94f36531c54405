"""DuckDB: opening it, quoting, reading Parquet, and checking that a query only reads."""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from curate.errors import CurateError, shortened
from curate.process.interrupt import INTERRUPTIBLE

CLOSED = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}


def open_database(path: Path | str = ":memory:", read_only: bool = False, **settings: str) -> duckdb.DuckDBPyConnection:
    """A DuckDB that neither downloads nor loads extensions: no query, view or file name reaches a network.

    With `read_only` its settings are locked too: `FROM enable_logging(…)`, for example, would write files. It prints no
    progress bar: in a notebook, queries of over two seconds would do so on stdout, which is for results.
    """
    connection = duckdb.connect(str(path), read_only, {**CLOSED, **settings})
    connection.execute("SET enable_progress_bar = false")  # no setting of a database, but of a connection
    if read_only:
        connection.execute("SET lock_configuration = true")
    INTERRUPTIBLE[connection] = _interrupt
    return connection


@cache
def small_queries() -> duckdb.DuckDBPyConnection:
    """The process's database for small queries that leave nothing behind; each takes a cursor.

    To open a database takes longer than such a query.
    """
    return open_database(threads="1")


def _interrupt(connection: duckdb.DuckDBPyConnection) -> None:
    """Interrupt the query of a connection, if it runs one."""
    with suppress(duckdb.ConnectionException):  # closed
        connection.interrupt()


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def read_parquet(paths: Iterable[object], options: str = "") -> str:
    """A call of DuckDB's read_parquet for exactly these files: no globs, no partitions from folder names."""
    listed = ", ".join(literal(_without_globs(str(path))) for path in paths)
    return f"read_parquet([{listed}], hive_partitioning = false{options})"


# The folder of the run.duckdb that a client has opened, with a final slash and escaped globs, by the folder that DuckDB
# would spill to. Empty for an attached run.duckdb, or one being built.
RUN_FOLDER = (
    "regexp_replace(regexp_extract(current_setting('temp_directory'), '^(.*/)run[.]duckdb[.]tmp$', 1), "
    "'([*?[])', '[\\1]', 'g')"
)


def read_run_parquet(paths: Iterable[object], options: str = "") -> str:
    """`read_parquet` for views of run.duckdb: paths are relative to it, wherever it and the client's folder are."""
    listed = ", ".join(literal(_without_globs(str(path))) for path in paths)
    located = f"list_transform([{listed}], lambda path: {RUN_FOLDER} || path)"
    return f"read_parquet({located}, hive_partitioning = false{options})"


def _without_globs(path: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in path)


def without_values(error: BaseException) -> str:
    """DuckDB's message without the quoted value, which may be personal data."""
    return re.sub(r"'.*'", "'…'", first_line(error))


def first_line(error: BaseException) -> str:
    """DuckDB's message without its excerpt of the query, and with quoted data shortened."""
    return shortened(" ".join(str(error).split("\n\nLINE")[0].split()))


def statements_in(text: str) -> list[str]:
    """The statements of a text.

    Errors: duckdb.Error for invalid SQL.
    """
    return [statement.query for statement in duckdb.extract_statements(text)]


def only_query(text: str, origin: str) -> str:
    """The single statement of `text`, which only reads: SELECT, FROM, DESCRIBE, SHOW or EXPLAIN.

    Errors: CurateError naming the `origin` of the text for any other statement; duckdb.Error for invalid SQL.
    """
    statements = duckdb.extract_statements(text)
    if len(statements) != 1:
        raise CurateError(f"{origin}: one query is expected, got {len(statements) or 'nothing'}")
    query = statements[0].query
    kind = statements[0].type.name
    words = _words(query)
    if words and words[-1][1] == ";":  # comments may follow it
        query = query.encode()[: words.pop()[0]].decode()
    if kind == "EXPLAIN":  # of any statement; ANALYZE executes it
        explained = _explained_query(query, words)
        kind = next((statement.type.name for statement in duckdb.extract_statements(explained)), "nothing")
        words = _words(explained)
    if kind != "SELECT" and not (kind == "MULTI" and words[0][1] in PIVOTED):
        name = words[0][1] if words else kind
        raise CurateError(
            f"{origin}: {name} is refused: a run is only read, by SELECT, FROM, DESCRIBE, SHOW or EXPLAIN"
        )
    return query


PIVOTED = ("PIVOT", "FROM", "SELECT", "WITH", "(")  # first words of a PIVOT query, which DuckDB splits into several


def _words(query: str) -> list[tuple[int, str]]:
    """The tokens of a query without comments: byte offset in UTF-8, and the word in upper case."""
    data = query.encode()
    starts = [start for start, kind in duckdb.tokenize(query) if kind != duckdb.token_type.comment]
    ends = [*starts[1:], len(data)]
    return [(a, data[a:b].decode().split(maxsplit=1)[0].upper()) for a, b in zip(starts, ends, strict=True)]


def _explained_query(query: str, words: list[tuple[int, str]]) -> str:
    """The query of an EXPLAIN: the text after EXPLAIN, ANALYZE and options in parentheses."""
    k = 1
    if k < len(words) and words[k][1] == "ANALYZE":
        k += 1
    elif k < len(words) and words[k][1].startswith("("):
        while k < len(words) and not words[k][1].endswith(")"):
            k += 1
        k += 1
    return query.encode()[words[k][0] :].decode() if k < len(words) else ""


def rows_of(
    query: str, connection: duckdb.DuckDBPyConnection, parameters: Sequence[object] = ()
) -> list[dict[str, Any]]:
    """The rows of a small result by column name; a caller that knows the columns makes records of them."""
    result = connection.execute(query, list(parameters))
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

"""Pieces of SQL text."""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb

from curate.errors import CurateError, shortened
from curate.process.interrupt import INTERRUPTIBLE

CLOSED = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}


def open_database(path: Path | str = ":memory:", read_only: bool = False, **settings: str) -> duckdb.DuckDBPyConnection:
    """A DuckDB that neither downloads nor loads extensions: no query, view or name of a file reaches a network.

    One that is only read has its settings locked too: `FROM enable_logging(…)`, say, would write files.
    """
    locked = {"lock_configuration": "true"} if read_only else {}
    connection = duckdb.connect(str(path), read_only, {**CLOSED, **settings, **locked})
    INTERRUPTIBLE[connection] = _interrupt
    return connection


def _interrupt(connection: duckdb.DuckDBPyConnection) -> None:
    """Have the query that a connection runs, if there is one, end soon."""
    with suppress(duckdb.ConnectionException):  # it is closed
        connection.interrupt()


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def read_parquet(paths: Iterable[object], options: str = "") -> str:
    """A call of DuckDB's read_parquet for exactly these files: no globs, and nothing read out of the folders' names."""
    listed = ", ".join(literal(_without_globs(str(path))) for path in paths)
    return f"read_parquet([{listed}], hive_partitioning = false{options})"


# The folder of the run.duckdb that a client has opened, with a slash behind it and globs quoted: DuckDB tells it by the
# name of the folder that it would spill to. Of a run.duckdb that is attached, or about to be made, it is empty.
RUN_FOLDER = (
    "regexp_replace(regexp_extract(current_setting('temp_directory'), '^(.*/)run[.]duckdb[.]tmp$', 1), "
    "'([*?[])', '[\\1]', 'g')"
)


def read_run_parquet(paths: Iterable[object], options: str = "") -> str:
    """`read_parquet` for views of run.duckdb: paths are relative to it, wherever it lies and a client was started."""
    listed = ", ".join(literal(_without_globs(str(path))) for path in paths)
    located = f"list_transform([{listed}], lambda path: {RUN_FOLDER} || path)"
    return f"read_parquet({located}, hive_partitioning = false{options})"


def _without_globs(path: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in path)


def without_values(error: BaseException) -> str:
    """What DuckDB says, without the value of the data that it quotes, which may be personal."""
    return re.sub(r"'.*'", "'…'", first_line(error))


def first_line(error: BaseException) -> str:
    """What DuckDB says, without its picture of the query, and of the data it quotes the begin."""
    return shortened(" ".join(str(error).split("\n\nLINE")[0].split()))


def statements_in(text: str) -> list[str]:
    """The statements of a text, one by one.

    Errors: duckdb.Error for what is no SQL.
    """
    return [statement.query for statement in duckdb.extract_statements(text)]


def only_query(text: str, where: str) -> str:
    """The one statement of `text`, which only reads: a SELECT or what is like it (FROM, DESCRIBE, SHOW), or EXPLAIN.

    Errors: CurateError, that names `where` it stands, for anything else; duckdb.Error for what is no SQL.
    """
    statements = duckdb.extract_statements(text)
    if len(statements) != 1:
        raise CurateError(f"{where}: one query is expected, got {len(statements) or 'nothing'}")
    query = statements[0].query
    kind = statements[0].type.name
    words = _words(query)
    if words and words[-1][1] == ";":  # behind which there may be comments
        query = query.encode()[: words.pop()[0]].decode()
    if kind == "EXPLAIN":  # of anything; with ANALYZE it is carried out too
        query_in_it = _explained(query, words)
        kind = next((statement.type.name for statement in duckdb.extract_statements(query_in_it)), "nothing")
        words = _words(query_in_it)
    if kind != "SELECT" and not (kind == "MULTI" and words[0][1] in PIVOTED):
        name = words[0][1] if words else kind
        raise CurateError(f"{where}: {name} is refused: a run is only read, by SELECT, FROM, DESCRIBE, SHOW or EXPLAIN")
    return query


PIVOTED = ("PIVOT", "FROM", "SELECT", "WITH", "(")  # with which a query begins that is made of several, for PIVOT


def _words(query: str) -> list[tuple[int, str]]:
    """Where each token of a query begins in its UTF-8, comments aside, and what it is."""
    data = query.encode()
    starts = [start for start, kind in duckdb.tokenize(query) if kind != duckdb.token_type.comment]
    ends = [*starts[1:], len(data)]
    return [(a, data[a:b].decode().split(maxsplit=1)[0].upper()) for a, b in zip(starts, ends, strict=True)]


def _explained(query: str, words: list[tuple[int, str]]) -> str:
    """What an EXPLAIN is of: behind the word, ANALYZE, and options in brackets."""
    k = 1
    if k < len(words) and words[k][1] == "ANALYZE":
        k += 1
    elif k < len(words) and words[k][1].startswith("("):
        while k < len(words) and not words[k][1].endswith(")"):
            k += 1
        k += 1
    return query.encode()[words[k][0] :].decode() if k < len(words) else ""


def rows_of(query: str, connection: duckdb.DuckDBPyConnection, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """The rows of a query by the names of their columns; for results that are small."""
    found = connection.execute(query, list(parameters))
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

"""Pieces of SQL text."""

from collections.abc import Iterable

from curate.errors import shortened


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


def _without_globs(path: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in path)


def first_line(error: BaseException) -> str:
    """What DuckDB says, without its picture of the query, and of the data it quotes the begin."""
    return shortened(" ".join(str(error).split("\n\nLINE")[0].split()))

"""Scores of the documents that a stage looks at: those that still hold, and those made now; models of another run."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from curate.errors import RunError
from curate.files import committed
from curate.ledger import Part, read_ledger, rebuffered, write_part
from curate.sql import read_parquet

PART_ROWS = 1 << 17
READ_ROWS = 1 << 13


def scores_of_table(
    table: str, group: str, schema: pa.Schema, known: tuple[str, Sequence[Path]],
    score: Callable[[pa.Table], Sequence[Part]], run: Path, connection: duckdb.DuckDBPyConnection, digest: str,
) -> list[Part]:  # fmt: skip
    """Parts with the scores of the documents of a table (file_no, row, lines_sum), by file and row.

    `known` is what scores depend on and the files that have some, `score` makes those of further documents. However
    they came about, the same scores make the same parts.
    """
    key, files = known
    connection.register("no_scores", schema.empty_table())
    same = " AND ".join(f"s.{name} = d.{name}" for name in ("file_no", "row", "lines_sum"))
    source = read_parquet(files) if files else "no_scores"
    connection.execute(f"CREATE TEMP TABLE scores AS SELECT s.* FROM {source} s JOIN {table} d ON {same}")
    fresh = connection.sql(
        f"SELECT file_no, row, lines_sum FROM {table} ANTI JOIN scores USING (file_no, row) ORDER BY file_no, row"
    ).to_arrow_table()
    if len(fresh) and (made := [run / part.path for part in score(fresh)]):
        connection.execute(f"INSERT INTO scores BY NAME FROM {read_parquet(made)}")
    rows = connection.sql("FROM scores ORDER BY file_no, row").to_arrow_reader(READ_ROWS)
    parts = [
        write_part(run, group, digest, f"{k:05d}", some.cast(schema), contents=(key,))
        for k, some in enumerate(rebuffered(rows, PART_ROWS))
    ]
    connection.execute("DROP TABLE scores")
    connection.unregister("no_scores")
    return parts


def parts_of_pin(pin: Path, groups: Sequence[str]) -> list[Part]:
    """The parts of some groups that another run has.

    Errors: RunError where there is no such run.
    """
    ledger = read_ledger(pin)
    if not ledger.parts:
        raise RunError(f"models.pin: {pin}: not a run directory, or its run did not get far enough")
    return [part for part in ledger.parts if part.group in groups]


def copy_parts(parts: Sequence[Part], source: Path, run: Path) -> None:
    """The files of parts of another run in this run's directory, so that it stands without the other."""
    if source.resolve() == run.resolve():
        return
    for part in parts:
        with committed(run / part.path) as aside:
            shutil.copyfile(source / part.path, aside)

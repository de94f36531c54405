"""Scores of the documents that a stage looks at: those that still hold, and those made now; models of another run."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from curate.errors import RunError
from curate.ledger.ledger import read_ledger
from curate.ledger.parts import Part, rebuffered, write_part
from curate.ledger.views import Range, Spanned, narrow
from curate.storage.files import committed

PART_ROWS = 1 << 17
SAME = " AND ".join(f"s.{name} = d.{name}" for name in ("file_no", "row", "lines_sum"))


def scores_of_table(
    table: str, group: str, schema: pa.Schema, known: tuple[str, Sequence[Path]],
    score: Callable[[pa.Table], Sequence[Part]], run: Path, places: Sequence[Range],
    connection: duckdb.DuckDBPyConnection, digest: str,
) -> list[Part]:  # fmt: skip
    """Parts with the scores of the documents of a table (file_no, position, row, lines_sum), in input order.

    `known` is what scores depend on and the files that have some, `score` makes those of further documents. However
    they came about, the same scores make the same parts. `places` are ranges of all documents.
    """
    key, files = known
    connection.register("no_scores", schema.empty_table())
    held = Spanned.of(files)
    left = [
        connection.sql(
            f"SELECT d.file_no, d.row, d.lines_sum FROM {_here(table, found, connection)} d "
            f"ANTI JOIN {held.sql(found) or 'no_scores'} s ON {SAME} ORDER BY d.position, d.row"
        ).to_arrow_table()
        for found in places
    ]
    fresh = pa.concat_tables(left).sort_by([("file_no", "ascending"), ("row", "ascending")])
    made = [run / part.path for part in score(fresh)] if len(fresh) else []
    both = Spanned.of([*files, *made])
    rows = (
        connection.sql(
            f"SELECT s.* FROM {_here(table, found, connection)} d JOIN {both.sql(found) or 'no_scores'} s ON {SAME} "
            "ORDER BY d.position, d.row"
        ).to_arrow_table()
        for found in places
    )
    parts = [
        write_part(run, group, digest, f"{k:05d}", some.cast(schema), contents=(key,))
        for k, some in enumerate(rebuffered(rows, PART_ROWS))
    ]
    connection.unregister("no_scores")
    return parts


def _here(table: str, found: Range, connection: duckdb.DuckDBPyConnection) -> str:
    """SQL of what a table has of a range."""
    narrow([table], found.within, connection)
    return f"(FROM here_{table} WHERE {found.place})"


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

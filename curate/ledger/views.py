"""The ledger in DuckDB: a scratch database, the input files, and the signals of all documents or of a range."""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from curate.corpus.units import Unit
from curate.errors import WorkerError, disk_error
from curate.filters import registry
from curate.ledger.ledger import Ledger
from curate.ledger.names import DOCUMENTS, INPUT, SEPARATE_GROUPS
from curate.ledger.parts import Part
from curate.recipe.values import parse_size
from curate.sql import literal, open_database, quoted, read_parquet

THREAD_MB = 128  # DuckDB's memory per thread before it spills: with twenty times as much it is 5 % faster
DOCUMENT_BYTES = 16  # and per document, if that is more: an aggregate that spills needs some of each part at once
MEMORY = "CURATE_DUCKDB_MEMORY"
LAST_ROW = (1 << 63) - 1
RANGE_ROWS = 1 << 16  # documents whose signals are joined at a time, at about 1 kB each


@contextmanager
def scratch_database(ledger: Ledger, threads: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """A scratch DuckDB with little memory that spills into the run directory.

    Errors: those of `decision_database`.
    """
    documents = sum(file.rows for file in ledger.files)
    memory_mb = max(THREAD_MB * max(2, threads), documents * DOCUMENT_BYTES // 1_000_000)
    with decision_database(ledger.run / "ledger" / "spool", threads, memory_mb) as connection:
        yield connection


@contextmanager
def decision_database(spool: Path, threads: int, memory_mb: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """A `spilling_database` to decide documents in; $CURATE_DUCKDB_MEMORY overrides its memory.

    Errors: WorkerError where the disk is full or the memory does not suffice.
    """
    try:
        memory_mb = int(str(parse_size(os.environ.get(MEMORY, f"{memory_mb}MB")))) // 1_000_000
    except ValueError as error:
        raise WorkerError(f"{MEMORY}: {error}") from None
    try:
        with spilling_database(spool, threads, memory_mb) as connection:
            yield connection
    except duckdb.OutOfMemoryException:
        raise WorkerError(
            f"to decide so many documents takes more than the {memory_mb:,} MB that DuckDB may hold; nothing finished "
            f"is lost: set {MEMORY}={2 * max(THREAD_MB, memory_mb)}MB and run the same command again"
        ) from None


@contextmanager
def spilling_database(spool: Path, threads: int, memory_mb: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB that is stored in and spills into a dedicated folder, which is empty before and after.

    Errors: WorkerError where the disk is full.
    """
    try:
        spool.mkdir(parents=True, exist_ok=True)
        _clear(spool)
    except OSError as error:
        raise disk_error(error, str(spool)) from error
    try:
        with open_database(spool / "scratch.duckdb") as connection:
            connection.execute(
                f"SET threads = {threads}; SET temp_directory = {literal(str(spool))}; "
                f"SET memory_limit = '{memory_mb}MB'"
            )
            yield connection
    except duckdb.Error as error:
        disk_full = (
            isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException) and "space" in str(error).lower()
        )
        if not disk_full and "No space left" not in str(error):  # raised by a transaction
            raise
        raise disk_error(OSError(errno.ENOSPC, "No space left on device"), str(spool)) from error
    finally:
        _clear(spool)


def _clear(spool: Path) -> None:
    for path in spool.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@dataclass(frozen=True)
class DocumentRange:
    """Consecutive documents in input order, and the parts with their signals."""

    parts: tuple[Part, ...]
    exact_sql: str  # SQL over (position, row) that is true for exactly these documents
    first: tuple[int, int]  # the lowest file_no and, within a single file, row
    last: tuple[int, int]  # the highest

    @property
    def coarse_sql(self) -> str:
        """SQL over (file_no, row) that lets DuckDB skip most of a sorted table; may be true for further documents."""
        (low, start), (high, stop) = self.first, self.last
        files = f"file_no BETWEEN {low} AND {high}"
        return files if low < high else f"{files} AND row BETWEEN {start} AND {stop}"


def document_ranges(ledger: Ledger, groups: Mapping[str, str]) -> Iterator[DocumentRange]:
    """All documents in input order, about RANGE_ROWS at a time."""
    positions = {file.file_no: k for k, file in enumerate(ledger.files) if file.error is None}
    parts_by_unit = [
        {unit: part for part in ledger.of(group, digest) for unit in part.units}
        for group, digest in groups.items()
        if group not in SEPARATE_GROUPS
    ]
    units = sorted(
        (unit for unit in parts_by_unit[0] if unit.file_no in positions),
        key=lambda unit: (positions[unit.file_no], unit.start, unit),
    )
    rows = 0
    in_range: list[Unit] = []
    for k, unit in enumerate(units):
        in_range.append(unit)
        rows += unit.stop - unit.start
        if rows >= RANGE_ROWS or k == len(units) - 1:
            parts = dict.fromkeys(part_of[unit] for part_of in parts_by_unit for unit in in_range)
            first, last = _bounds(in_range)
            yield DocumentRange(tuple(parts), _exact_sql(in_range, positions), first, last)
            rows, in_range = 0, []


def _exact_sql(units: Sequence[Unit], positions: Mapping[int, int]) -> str:
    """SQL over (position, row) that is true for the documents of consecutive units."""
    low, high = positions[units[0].file_no], positions[units[-1].file_no]
    return (
        f"position BETWEEN {low} AND {high} AND (position > {low} OR row >= {units[0].start}) "
        f"AND (position < {high} OR row < {units[-1].stop})"
    )


def _bounds(units: Sequence[Unit]) -> tuple[tuple[int, int], tuple[int, int]]:
    low, high = min(unit.file_no for unit in units), max(unit.file_no for unit in units)
    return ((low, 0), (high, LAST_ROW)) if low < high else ((low, units[0].start), (high, units[-1].stop - 1))


@dataclass(frozen=True)
class SortedFiles:
    """Files with columns file_no and row, and the range of each."""

    files: Sequence[tuple[Path, tuple[int, int], tuple[int, int]]]  # path, first and last document

    @classmethod
    def of(cls, paths: Iterable[Path]) -> "SortedFiles":
        """Files with the ranges that their footers state."""
        return cls([(path, *span) for path in paths if (span := _span(path)) is not None])

    def sql(self, documents: DocumentRange) -> str | None:
        """SQL of the rows of a range, perhaps with further rows; None where no file has any."""
        paths = [path for path, first, last in self.files if first <= documents.last and last >= documents.first]
        return f"(FROM {read_parquet(paths)} WHERE {documents.coarse_sql})" if paths else None


def _span(path: Path) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """The first and last document of a file, from its footer; None where it has no rows."""
    footer = pq.read_metadata(path)
    if not footer.num_rows:
        return None
    names = [footer.schema.column(k).path for k in range(footer.num_columns)]
    ends = []
    for name in ("file_no", "row"):
        column = names.index(name)
        statistics = [footer.row_group(k).column(column).statistics for k in range(footer.num_row_groups)]
        ends.append((min(group.min for group in statistics), max(group.max for group in statistics)))
    (low, high), (start, stop) = ends
    return ((low, 0), (high, LAST_ROW)) if low < high else ((low, start), (high, stop))


def restrict_views(tables: Iterable[str], condition: str, connection: duckdb.DuckDBPyConnection) -> None:
    """Create views `here_TABLE` with the rows for which `condition`, SQL over (file_no, row), is true."""
    for table in tables:
        connection.execute(f"CREATE OR REPLACE TEMP VIEW here_{table} AS FROM {table} WHERE {condition}")


def load_files(connection: duckdb.DuckDBPyConnection, ledger: Ledger) -> None:
    """Create table `files`: file_no, `position` in the input, and path of the files that are not quarantined."""
    files = [(file.file_no, k, file.path) for k, file in enumerate(ledger.files) if file.error is None]
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE files AS SELECT unnest(?::INTEGER[]) AS file_no, "
        "unnest(?::INTEGER[]) AS position, unnest(?::VARCHAR[]) AS file",
        [list(column) for column in zip(*files, strict=True)],
    )


def load_signals(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, groups: Mapping[str, str], only: Sequence[Part] | None = None
) -> None:
    """Create view `signals` over the parts in force, or over `only` these: (file_no, row) and all measured columns.

    Input columns, where the ledger has any, are fields of the struct `input`.
    """
    joined = ""
    for group in (DOCUMENTS, *(group for group in groups if group not in (DOCUMENTS, *SEPARATE_GROUPS))):
        parts = ledger.of(group, groups[group]) if only is None else [part for part in only if part.group == group]
        columns = "*" if group != INPUT else _input_struct(ledger.run / parts[0].path)
        # Absolute, because with a search path set DuckDB does not find relative paths with escaped glob characters.
        source = f"(SELECT {columns} FROM {read_parquet((ledger.run / part.path).absolute() for part in parts)})"
        joined += f"\n    JOIN {source} USING (file_no, row)" if joined else source
    connection.execute(f"CREATE OR REPLACE TEMP VIEW signals AS SELECT *{derived_sql(groups)} FROM {joined}")


def derived_sql(groups: Iterable[str]) -> str:
    """The derived columns to select in addition to the groups' columns."""
    signals = registry.groups()
    columns = [name for group in groups for signal in signals.get(group, []) for name in signal.writes]
    return "".join(f", {derived.sql} AS {quoted(name)}" for name, derived in registry.derived(columns).items())


def input_sql(ledger: Ledger) -> str:
    """SQL of (file_no, row) and the struct `input` with the input columns in the ledger; empty where it has none."""
    parts = ledger.of(INPUT)
    if not parts:
        return ""
    source = read_parquet((ledger.run / part.path).absolute() for part in parts)
    return f"(SELECT {_input_struct(ledger.run / parts[0].path)} FROM {source})"


def _input_struct(part: Path) -> str:
    """The columns of a part of group `input`, with its values in one struct so that no name shadows a signal."""
    names = pq.read_schema(part).names[2:]  # after file_no and row
    fields = ", ".join(f"{quoted(name.removeprefix(f'{INPUT}.'))} := {quoted(name)}" for name in names)
    return f"file_no, row, struct_pack({fields}) AS {INPUT}"


def signal_types(connection: duckdb.DuckDBPyConnection) -> dict[str, pa.DataType]:
    """Arrow types of the columns of `signals`."""
    schema = connection.sql("SELECT * FROM signals LIMIT 0").to_arrow_table().schema
    return {field.name: field.type for field in schema}

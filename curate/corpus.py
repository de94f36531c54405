"""Inputs: which files there are, what they hold, and how they are cut into units."""

import difflib
import glob
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_128_hexdigest

from curate.errors import InputError
from curate.recipe import Input

MIN_UNIT_BYTES = int(os.environ.get("CURATE_UNIT_BYTES", 64 << 20))
MAX_UNIT_BYTES = 2 * MIN_UNIT_BYTES
MAX_UNIT_ROWS = 1 << 18  # bounds the memory of a unit's signals where documents are tiny
BATCH_BYTES = 4 << 20
PROBE_ROWS = 16
READ_BUFFER = 1 << 20  # with pre_buffer off, what a reader holds per column however large the row group


@dataclass(frozen=True)
class InputFile:
    """A Parquet file as its footer tells, without its data."""

    path: str  # relative to the corpus root, with forward slashes
    size: int  # bytes
    footer: str  # xxh3-128 of the footer
    mtime_ns: int
    schema: pa.Schema
    group_rows: tuple[int, ...]  # rows of each row group
    group_bytes: tuple[int, ...]  # bytes of text in each row group, as the footer estimates them

    @property
    def identity(self) -> str:
        """What a file is recognised by in a later run."""
        return f"{self.size}-{self.footer}-{self.mtime_ns}"

    @property
    def rows(self) -> int:
        """Documents in the file."""
        return sum(self.group_rows)


@dataclass(frozen=True, order=True)
class Unit:
    """A range of rows of one file: the grain of work, resume and retry."""

    file_no: int
    start: int
    stop: int


def find_files(source: Input, exclude: Path) -> tuple[Path, list[Path]]:
    """The corpus root and all input files in input order, without those under `exclude` (the run directory).

    Errors: InputError for a path that matches nothing or is not Parquet.
    """
    found: dict[Path, Path] = {}  # by what it is, so that no file is read twice
    for pattern in source.paths:
        assert isinstance(pattern, str)
        for path in _matches(pattern):
            if not path.resolve().is_relative_to(exclude.resolve()):
                found.setdefault(path.resolve(), path)
    if not found:
        raise InputError(f"input.paths: nothing but this run's own output in {', '.join(map(str, source.paths))}")
    paths = list(found.values())
    return Path(os.path.commonpath([path.parent for path in paths])), paths


def _matches(pattern: str) -> list[Path]:
    """The Parquet files that one entry of input.paths names, sorted; other runs in a folder are passed over."""
    if "://" in pattern:
        raise InputError(f"input.paths: {pattern}: remote inputs are not built yet; name local Parquet files")
    if not pattern:
        raise InputError("input.paths: an empty path; write . for the folder that curate is started in")
    path = Path(os.path.abspath(Path(pattern).expanduser()))
    if path.is_dir():
        found = [path / name for name in glob.glob("**/*.parquet", root_dir=path, recursive=True)]
        names = [p for p in found if (p.is_file() or p.is_symlink()) and not _is_inside_run(p.parent, path)]
        if not names:
            raise InputError(f"input.paths: {pattern}: no .parquet file in this folder")
    elif path.exists():
        names = [path]
    else:
        names = [Path(name) for name in glob.glob(str(path), recursive=True) if not Path(name).is_dir()]
        if not names:
            raise InputError(f"input.paths: {pattern} matches no file in {Path.cwd()}")
    for name in names:
        if ".jsonl" in name.suffixes or name.suffix in (".json", ".gz", ".zst", ".csv", ".txt"):
            raise InputError(f"input.paths: {name}: only Parquet is read so far; convert it with DuckDB or datasets")
    return sorted(names)


def _is_inside_run(folder: Path, top: Path) -> bool:
    """Whether a folder below `top` is hidden with an underscore or belongs to a run directory."""
    inner = [folder, *folder.parents][: len(folder.relative_to(top).parts)]
    return any(f.name.startswith("_") or (f / "ledger" / "snapshot.json").exists() for f in inner)


def open_footers(root: Path, paths: Sequence[Path], source: Input) -> Iterator[InputFile | InputError]:
    """Each file's footer, or what is wrong with the file, in order; footers are read by sixteen threads."""

    def attempt(path: Path) -> InputFile | InputError:
        try:
            return _open_footer(root, path, source)
        except InputError as error:
            return error

    with ThreadPoolExecutor(16) as pool:
        yield from pool.map(attempt, paths)


def _open_footer(root: Path, path: Path, source: Input) -> InputFile:
    try:
        status = path.stat()
        with path.open("rb") as file:
            file.seek(max(0, status.st_size - 8))
            tail = file.read(8)
            length = int.from_bytes(tail[:4], "little")
            if tail[4:] != b"PAR1" or length + 12 > status.st_size:
                raise InputError(
                    f"{path}: not a whole Parquet file (no footer at its end); truncated, or another format?"
                )
            file.seek(-8 - length, os.SEEK_END)
            footer = file.read(length)
        metadata = pq.read_metadata(path)
        schema = metadata.schema.to_arrow_schema().remove_metadata()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read as Parquet: {_one_line(error)}") from None
    _check_columns(path, schema, source)
    leaves = {metadata.schema.column(k).path: k for k in range(metadata.num_columns)}
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    return InputFile(
        path=path.relative_to(root).as_posix(),
        size=status.st_size,
        footer=xxh3_128_hexdigest(footer),
        mtime_ns=status.st_mtime_ns,
        schema=schema,
        group_rows=tuple(group.num_rows for group in groups),
        group_bytes=tuple(group.column(leaves[source.text]).total_uncompressed_size for group in groups),
    )


def _check_columns(path: Path, schema: pa.Schema, source: Input) -> None:
    """Refuse a schema without the text or id column, or with one of the wrong type."""
    columns = schema.names
    if twice := next((name for name in columns if columns.count(name) > 1), None):
        raise InputError(f"{path}: column {twice!r} stands {columns.count(twice)} times; columns need distinct names")
    for field, name in (("input.text", source.text), ("input.id", source.id)):
        if name is None:
            continue
        if name not in columns:
            strings = [field.name for field in schema if is_text(field.type)]
            meant = [*difflib.get_close_matches(name, columns, n=1), *strings, *columns, "a column that is there"][0]
            raise InputError(f"{path}: no column {name!r} (has: {', '.join(columns)}); set {field}: {meant}")
    text = schema.field(source.text).type
    if pa.types.is_dictionary(text):
        text = text.value_type
    if not is_text(text) and not pa.types.is_null(text):
        strings = [field.name for field in schema if is_text(field.type)]
        hint = f"set input.text to one of: {', '.join(strings)}" if strings else "no column holds strings"
        raise InputError(f"{path}: column {source.text!r} holds {text}, not strings; {hint}")
    if source.id is not None and pa.types.is_nested(schema.field(source.id).type):
        raise InputError(
            f"{path}: column {source.id!r} holds {schema.field(source.id).type}, which cannot name documents"
        )


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text as it stands."""
    return kind in (pa.string(), pa.large_string(), pa.string_view())


def unified_schema(files: Sequence[InputFile]) -> pa.Schema:
    """One schema for all files: every column nullable, missing ones null, widths made equal.

    Errors: InputError naming the first file and column that do not fit.
    """
    fields: dict[str, pa.Field] = {}
    for file in files:
        for found in file.schema:
            column = pa.field(found.name, _plain(found.type))
            known = fields.setdefault(column.name, column)
            if known.type == column.type:
                continue
            try:
                if pa.types.is_floating(known.type) != pa.types.is_floating(column.type) and not _has_null(
                    known, column
                ):
                    raise pa.ArrowTypeError("a float cannot hold every integer")
                pair = [pa.schema([known]), pa.schema([column])]
                fields[column.name] = pa.unify_schemas(pair, promote_options="permissive").field(0)
            except (pa.ArrowTypeError, pa.ArrowInvalid):
                raise InputError(
                    f"{file.path}: column {column.name!r} holds {column.type}, and {known.type} in the files "
                    "before it; make the types equal"
                ) from None
    return pa.schema(list(fields.values()))


def _has_null(*fields: pa.Field) -> bool:
    return any(pa.types.is_null(field.type) for field in fields)


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type a column is carried in: dictionaries decoded, string views as strings."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.string() if pa.types.is_string_view(kind) else kind


def cut_units(file_no: int, file: InputFile) -> list[Unit]:
    """Ranges of rows with 64 to 128 MB of text; small row groups are joined, large ones are split."""
    units: list[Unit] = []
    start = position = 0
    held = 0
    for rows, size in zip(file.group_rows, file.group_bytes, strict=True):
        if held and (held + size > MAX_UNIT_BYTES or position + rows - start > MAX_UNIT_ROWS):
            units.append(Unit(file_no, start, position))
            start, held = position, 0
        position += rows
        held += size
        pieces = max(-(-held // MAX_UNIT_BYTES), -(-(position - start) // MAX_UNIT_ROWS))
        if pieces > 1:
            bounds = [start + (position - start) * k // pieces for k in range(pieces + 1)]
            units += [Unit(file_no, a, b) for a, b in pairwise(bounds) if a < b]
            start, held = position, 0
        elif held >= MIN_UNIT_BYTES:
            units.append(Unit(file_no, start, position))
            start, held = position, 0
    if position > start:
        units.append(Unit(file_no, start, position))
    return units


def unit_bytes(unit: Unit, file: InputFile) -> int:
    """Estimated bytes of text in a unit."""
    total = position = 0
    for rows, size in zip(file.group_rows, file.group_bytes, strict=True):
        overlap = min(unit.stop, position + rows) - max(unit.start, position)
        total += size * max(0, overlap) // max(1, rows)
        position += rows
    return total


def read_rows(path: Path, start: int, stop: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Rows `start` to `stop` of a Parquet file as batches of about 4 MB, in memory that the file's layout cannot raise.

    Errors: InputError naming the file where its data is broken.
    """
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=READ_BUFFER) as file:
            if file.metadata.num_rows < stop:
                raise InputError(
                    f"{path}: has fewer rows than the {stop} it had when the run started; was it replaced?"
                )
            groups, skip = _groups_holding(file.metadata, start, stop)
            position = start - skip
            size = sum(file.metadata.row_group(k).total_byte_size for k in groups)
            rows = sum(file.metadata.row_group(k).num_rows for k in groups)
            names = list(columns)
            # The footer knows the size of encoded data; a dictionary may hide that every row is large.
            probe = next(file.iter_batches(PROBE_ROWS, row_groups=groups, columns=names, use_threads=False))
            size = max(size // max(1, rows), probe.nbytes // max(1, len(probe)), 1)
            batch_rows = max(1, min(8192, BATCH_BYTES // size))
            for batch in file.iter_batches(batch_rows, row_groups=groups, columns=names, use_threads=False):
                first, last = max(start, position), min(stop, position + len(batch))
                if first < last:
                    yield batch.slice(first - position, last - first)
                position += len(batch)
                if position >= stop:
                    return
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: rows {start} to {stop} cannot be read: {_one_line(error)}") from None


def _groups_holding(metadata: pq.FileMetaData, start: int, stop: int) -> tuple[list[int], int]:
    """Row groups that hold rows `start` to `stop`, and how many rows to skip in the first."""
    groups: list[int] = []
    skip = position = 0
    for k in range(metadata.num_row_groups):
        rows = metadata.row_group(k).num_rows
        if position < stop and position + rows > start:
            if not groups:
                skip = start - position
            groups.append(k)
        position += rows
    return groups, skip


def check_unchanged(path: Path, size: int, mtime_ns: int) -> None:
    """Refuse a file that is no longer the one the run started with."""
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; it was there when the run started") from None
    if (status.st_size, status.st_mtime_ns) != (size, mtime_ns):
        raise InputError(f"{path}: changed while the run went on; run again when it is at rest")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())

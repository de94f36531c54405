"""Parquet files of the corpus: footers, schemas, and how rows are read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_128_hexdigest

from curate.corpus.casts import CASTS, cast_column, cast_of_extension, cast_type, how_to_cast, why_not
from curate.corpus.columns import VIEWS, fit_struct, leaf_type, plain, take_leaf, text_cast, wider, without_leaf
from curate.corpus.jsonl import BadLines
from curate.corpus.misfits import check_columns
from curate.corpus.spool import bad_lines_of
from curate.digest import digest_of
from curate.errors import InputError
from curate.recipe.input import Input
from curate.recipe.input import Source as SourceSection
from curate.storage.places import REMOTE_BUFFER, is_remote, one_line, open_location, status

BATCH_BYTES = 4 << 20
PROBE_ROWS = 4
SMALL_BYTES = 1 << 20  # of a column in a row group: its dictionary cannot hide large values
MOST_BYTES = 1 << 30  # of a batch, if each row had the largest value of a dictionary
# Errors of a broken file: pyarrow decodes invalid names, and trusts any size.
BROKEN = (OSError, pa.ArrowException, UnicodeDecodeError, OverflowError)
READ_BUFFER = 1 << 20  # bytes per column in memory without pre_buffer, however large the row group


@dataclass(frozen=True)
class Source:
    """The location of a file, and how its columns become those of the corpus."""

    location: str  # a local path or a URI
    size: int
    mtime_ns: int
    renamed: tuple[tuple[str, str], ...] = ()  # column names of the file and of the corpus
    added: tuple[tuple[str, str], ...] = ()  # columns with one value, from the recipe's entry
    lifted: tuple[tuple[str, str], ...] = ()  # a field within structs, as in doc.text, and the corpus's column
    cast: tuple[tuple[str, str], ...] = ()  # columns of the corpus, and the casts they are read by


@dataclass(frozen=True)
class InputFile:
    """An input by its Parquet footer, without its data."""

    path: str  # the name within the run: relative to the corpus root with forward slashes, a URI, or a dataset
    size: int  # bytes
    identity: str  # by which a later run recognises it
    source: Source
    schema: pa.Schema  # with the corpus's names
    group_rows: tuple[int, ...]  # rows of each row group
    group_bytes: tuple[int, ...]  # bytes of text in each row group, as the footer estimates them
    inferred: bool = False  # whether its types were inferred from its values
    bad_lines: int = 0  # left out when it was converted
    bad_line_problems: tuple[str, ...] = ()  # of the first of them
    rows_present: int | None = None  # in a forecast: the rows of a part of the input

    @property
    def rows(self) -> int:
        """Documents in the file."""
        return sum(self.group_rows)


def open_footer(
    name: str,
    label: str,
    location: str,
    entry: SourceSection,
    source: Input,
    spooled: tuple[int, str] | None = None,
    share: float = 1.0,
) -> InputFile:
    """The footer of a Parquet file, called `label` in errors; `spooled` has size and identity of its original.

    Of a file with only a `share` of the original, rows and bytes are extrapolated to the whole.

    Errors: InputError for a file that is not complete Parquet or whose columns do not fit the recipe.
    """
    unmapped, footer, metadata, schema = _read_footer(label, location)
    if len(schema) or spooled is None:  # an empty file of JSON lines has no columns either
        check_columns(label, location, schema, entry, source)
    mapped = _map_columns(unmapped, label, schema, entry, source)
    rows, sizes = _row_groups(metadata, entry.text or source.column)
    bad = bad_lines_of(metadata.metadata) if spooled else BadLines()
    identity = spooled[1] if spooled else f"{mapped.size}-{footer}-{mapped.mtime_ns}"
    return InputFile(
        path=name,
        size=spooled[0] if spooled else mapped.size,
        identity=identity + _mapping_identity(mapped, source),
        source=mapped,
        schema=_schema_in_corpus(label, schema, mapped, source),
        group_rows=tuple(rows) if share == 1 else (round(sum(rows) / share),),
        group_bytes=tuple(sizes) if share == 1 else (round(sum(sizes) / share),),
        inferred=spooled is not None,
        bad_lines=bad.count,
        bad_line_problems=tuple(bad.problems),
        rows_present=None if share == 1 else sum(rows),
    )


def _row_groups(metadata: pq.FileMetaData, text: str) -> tuple[list[int], list[int]]:
    """Rows, and bytes of the text column, of each row group."""
    paths = [metadata.schema.column(k).path for k in range(metadata.num_columns)]
    leaves = [k for k, path in enumerate(paths) if path == text or path.startswith(f"{text}.")]
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    rows = [group.num_rows for group in groups]
    return rows, [sum(group.column(k).total_uncompressed_size for k in leaves) for group in groups]


def _mapping_identity(mapped: Source, source: Input) -> str:
    """What a file's identity gains by columns that are read under other names, with other values or other types."""
    mappings = [list(pairs) for pairs in (mapped.renamed, mapped.added)]
    measured = [(name, how) for name, how in mapped.cast if name in (source.column, source.id)]
    mappings += [list(pairs) for pairs in (mapped.lifted, measured) if pairs]
    return f"-{digest_of(mappings)}" if any(mappings) else ""


def _map_columns(unmapped: Source, label: str, schema: pa.Schema, entry: SourceSection, source: Input) -> Source:
    """A file with the way in which its columns become those of the corpus."""
    text = entry.text or source.column
    is_lifted = text not in schema.names and leaf_type(schema, text) is not None
    renamed = [(text, source.column)] if text != source.column and not is_lifted else []
    renamed += [(entry.id, source.id)] if entry.id and source.id and entry.id != source.id else []
    added = (("source", entry.source), ("license", entry.license))
    names = dict(renamed)
    types = {names.get(field.name, field.name): field.type for field in schema}
    if is_lifted:
        types[source.column] = leaf_type(schema, text)
    cast = {
        name: _how_to_cast(label, name, types[name], how)
        for name, how in source.cast.items()
        if name in types and types[name] != cast_type(how)
    }
    if source.messages is None and source.column in types and source.column not in cast:
        how = text_cast(types[source.column])
        cast |= {source.column: how} if how else {}
    for name in (source.column, source.id):  # Parquet's types JSON and UUID are read as text
        if name and name in types and name not in cast and (how := cast_of_extension(types[name])):
            cast[name] = how
    return replace(
        unmapped,
        renamed=tuple(renamed),
        added=tuple((column, value) for column, value in added if value is not None),
        lifted=((text, source.column),) if is_lifted else (),
        cast=tuple(sorted(cast.items())),
    )


def _how_to_cast(label: str, name: str, kind: pa.DataType, target: str) -> str:
    how = how_to_cast(kind, target)
    if how is None:
        possible = [cast for cast in CASTS if how_to_cast(kind, cast)]
        reason = why_not(kind)
        hint = f"it can be read as {' or '.join(possible)}" if possible else "leave it out by input.columns"
        hint = f"{reason}; rename it, or {hint}" if reason else hint
        raise InputError(f"{label}: input.cast: column {name!r} of {kind} cannot be read as {target}; {hint}")
    return how


def _read_footer(label: str, location: str) -> tuple[Source, str, pq.FileMetaData, pa.Schema]:
    """A Parquet file, the hash of its footer, and the footer's metadata and schema."""
    try:
        size, mtime_ns = status(location)
        with open_location(location) as file:
            tail = file.read_at(min(8, size), max(0, size - 8))
            length = int.from_bytes(tail[:4], "little")
            if tail[4:] != b"PAR1" or length + 12 > size:
                raise InputError(
                    f"{label}: not a whole Parquet file (no footer at its end); truncated, or another format?"
                )
            footer = xxh3_128_hexdigest(file.read_at(length, size - 8 - length))
            parquet = pq.ParquetFile(file)
            # The schema by which rows are read; that of `metadata` has bytes for UUIDs, and text for JSON.
            metadata, schema = parquet.metadata, parquet.schema_arrow.remove_metadata()
    except BROKEN as error:
        raise InputError(f"{label}: cannot be read as Parquet: {one_line(error)}") from None
    return Source(location, size, mtime_ns), footer, metadata, schema


def _schema_in_corpus(label: str, schema: pa.Schema, mapped: Source, source: Input) -> pa.Schema:
    """A file's schema with the corpus's names and types, for the columns that `input.columns` selects."""
    names, casts = dict(mapped.renamed), dict(mapped.cast)
    for old, new in (*mapped.renamed, *mapped.lifted):
        if new in schema.names and new not in names:
            field = "input.text" if new == source.column else "input.id"
            raise InputError(f"{label}: has a column {new!r} beside {old!r}; rename one, or set {field}: {old}")
    for column, _ in mapped.added:
        if column in schema.names or column in names.values():
            raise InputError(f"{label}: has a column {column!r} of its own; leave `{column}` out of its entry")
    fields = []
    for field in schema:
        remaining: pa.Field | None = field
        for path, _ in mapped.lifted:
            remaining = without_leaf(field, path)
        if remaining is not None:
            fields.append(remaining.with_name(names.get(remaining.name, remaining.name)))
    fields += [pa.field(new, leaf_type(schema, path)) for path, new in mapped.lifted]
    fields = [pa.field(f.name, cast_type(casts[f.name]) if f.name in casts else f.type) for f in fields]
    if source.columns is not None:
        selected = {*source.columns, source.column, source.id}
        fields = [field for field in fields if field.name in selected]
    return pa.schema([*fields, *(pa.field(column, pa.string()) for column, _ in mapped.added)])


def unified_schema(files: Sequence[InputFile]) -> pa.Schema:
    """One schema for all files: every column nullable, missing ones null, types unified where that loses nothing.

    Errors: InputError naming the first column whose types do not fit, and two files that have it.
    """
    types: dict[str, pa.DataType] = {}
    origins: dict[str, tuple[str, pa.DataType]] = {}  # by column: the file that its type is from
    inferred = all(file.inferred for file in files)
    for file in files:
        for column in file.schema:
            kind = plain(column.type)
            previous = types.setdefault(column.name, kind)
            unified = wider(previous, kind, inferred)
            if unified is None:
                other_file, other_kind = origins[column.name]
                cast = common_cast(kind, other_kind)
                can_cast = how_to_cast(kind, cast) and how_to_cast(other_kind, cast)
                advice = f"give it one type by input.cast: {{{column.name}: {cast}}}, or " if can_cast else ""
                raise InputError(
                    f"{file.path}: column {column.name!r} holds {kind}, and {other_kind} in {other_file}; "
                    f"{advice}leave it out by input.columns"
                )
            if column.name not in origins or unified != previous:
                origins[column.name] = (file.path, kind)
            types[column.name] = unified
    return pa.schema(list(types.items()))


def common_cast(*kinds: pa.DataType) -> str:
    """The most suitable type of `input.cast` for two types; for integers only text loses nothing."""
    floats = [pa.types.is_floating(kind) for kind in kinds]
    numbers = all(pa.types.is_integer(kind) or is_float for kind, is_float in zip(kinds, floats, strict=True))
    return "float64" if numbers and any(floats) else "string"


def read_documents(
    source: Source, start: int, stop: int, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Rows `start` to `stop` of an input with the corpus's names; of `columns` (None: all) those that it has.

    Errors: InputError naming the file where its data is broken or changed since the run started.
    """
    check_unchanged(source)
    try:
        with open_location(source.location) as file:
            schema = pq.read_schema(file)
    except BROKEN as error:
        raise InputError(f"{source.location}: cannot be read as Parquet: {one_line(error)}") from None
    paths = _paths_in_file(source, schema)
    names = [name for name in (paths if columns is None else dict.fromkeys(columns)) if name in paths]
    for batch in read_rows(source.location, start, stop, list(dict.fromkeys(paths[name] for name in names))):
        documents = batch.select([])
        for name in names:
            column = _column(batch, source, schema, name, paths[name])
            documents = documents.append_column(pa.field(name, column.type), column)
        for name, value in source.added:
            if columns is None or name in columns:
                documents = documents.append_column(name, pa.array([value] * len(batch), pa.string()))
        yield documents
    check_unchanged(source)


def _paths_in_file(source: Source, schema: pa.Schema) -> dict[str, str]:
    """The columns of the corpus that a file has: by name the column of the file, or the path within structs."""
    names, lifted = dict(source.renamed), {path for path, _ in source.lifted}
    remaining = [f for f in schema if all(without_leaf(f, path) is not None for path in lifted)]
    return {names.get(field.name, field.name): field.name for field in remaining} | {
        new: old for old, new in source.lifted
    }


def _column(batch: pa.RecordBatch, source: Source, schema: pa.Schema, name: str, path: str) -> pa.Array:
    """A column of the corpus from a batch of the file, where it is at `path`."""
    if path in batch.schema.names and (path, name) not in source.lifted:
        column = batch.column(path)
        for lifted, _ in source.lifted:
            remaining = without_leaf(schema.field(path), lifted)
            if remaining is not None and remaining.type != schema.field(path).type:
                column = fit_struct(column, remaining.type)
    else:
        top = next(top for top in batch.schema.names if path.startswith(f"{top}."))
        column = take_leaf(batch.column(top), top, path)
    how = dict(source.cast).get(name)
    try:
        return column if how is None else cast_column(column, how)
    except ValueError as error:
        raise InputError(f"{source.location}: column {name!r} of {error}; see input.cast") from None


def read_rows(location: str, start: int, stop: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Rows `start` to `stop` of a Parquet file as batches of about 4 MB, in memory that no file layout can exceed.

    Errors: InputError naming the file where its data is broken.
    """
    try:
        buffer = REMOTE_BUFFER if is_remote(location) else READ_BUFFER
        with open_location(location) as raw, _parquet(raw, buffer) as file:
            if file.metadata.num_rows < stop:
                raise InputError(
                    f"{location}: has fewer rows than the {stop} it had when the run started; was it replaced?"
                )
            groups, skip = _groups_of_rows(file.metadata, start, stop)
            position = start - skip
            sizes = [(group.total_byte_size, group.num_rows) for group in map(file.metadata.row_group, groups)]
            size = max((size // max(1, rows) for size, rows in sizes), default=0)
            names = list(columns)
            # The footer has the size of encoded data; with a dictionary, each row may be large all the same.
            probe = next(file.iter_batches(PROBE_ROWS, row_groups=groups, columns=names, use_threads=False), None)
            size = max(size, probe.nbytes // max(1, len(probe)) if probe else 0, 1)
            most = max((_dictionary_bytes(raw, file.metadata, k, names) for k in groups), default=0)
            batch_rows = max(1, min(8192, BATCH_BYTES // size, MOST_BYTES // max(1, most)))
            for batch in file.iter_batches(batch_rows, row_groups=groups, columns=names, use_threads=False):
                first, last = max(start, position), min(stop, position + len(batch))
                if first < last:
                    yield _without_views(batch.slice(first - position, last - first))
                position += len(batch)
                if position >= stop:
                    return
            if start < stop:
                raise InputError(f"{location}: has {position} rows where its footer tells of {stop} or more; damaged?")
    except MemoryError:  # not the file's fault: the task is retried
        raise
    except BROKEN as error:
        raise InputError(f"{location}: rows {start} to {stop} cannot be read: {one_line(error)}") from None


def _dictionary_bytes(raw: pa.NativeFile, metadata: pq.FileMetaData, group: int, columns: Sequence[str]) -> int:
    """Bytes of the largest dictionary of a row group, which bound its values; 0 for small columns.

    From the page header in Thrift's compact protocol: kind and size, each a field byte and a zigzag number.
    """
    most = 0
    for k in range(metadata.num_columns):
        chunk = metadata.row_group(group).column(k)
        if not (chunk.has_dictionary_page and chunk.path_in_schema.startswith(tuple(columns))):
            continue
        if chunk.total_uncompressed_size > SMALL_BYTES:
            header = raw.read_at(16, chunk.dictionary_page_offset or 0)
            size, shift = 0, 0
            for byte in header[header.find(b"\x15", 1) + 1 :]:
                size |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
            most = max(most, min(size >> 1, chunk.total_uncompressed_size))
    return most


def _parquet(raw: pa.NativeFile, buffer: int) -> pq.ParquetFile:
    """A Parquet file; page checksums are verified where there are any."""
    return pq.ParquetFile(raw, pre_buffer=False, buffer_size=buffer, page_checksum_verification=True)


def _without_views(batch: pa.RecordBatch) -> pa.RecordBatch:
    if VIEWS.keys().isdisjoint(batch.schema.types):
        return batch
    return batch.cast(pa.schema([field.with_type(VIEWS.get(field.type, field.type)) for field in batch.schema]))


def _groups_of_rows(metadata: pq.FileMetaData, start: int, stop: int) -> tuple[list[int], int]:
    """The row groups of rows `start` to `stop`, and how many rows to skip in the first."""
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


def check_unchanged(source: Source) -> None:
    """Refuse a file that changed since the run started."""
    try:
        current = status(source.location)
    except (OSError, pa.ArrowException) as error:
        problem = getattr(error, "strerror", None) or one_line(error)
        raise InputError(f"{source.location}: {problem}; it was there when the run started") from None
    if current != (source.size, source.mtime_ns):
        raise InputError(f"{source.location}: changed while the run went on; run again when it is at rest")

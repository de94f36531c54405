"""The corpus: what its files hold, how they are cut into units, and how their rows are read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

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
from curate.storage.places import REMOTE_BUFFER, is_remote, one_line, opened, status

BATCH_BYTES = 4 << 20
PROBE_ROWS = 4
SMALL_BYTES = 1 << 20  # of a column of a row group, whose dictionary cannot hide large values
MOST_BYTES = 1 << 30  # of a batch of which every row were the largest value of a dictionary
# What a reader of a broken file raises: pyarrow decodes names that are none, and believes any size.
BROKEN = (OSError, pa.ArrowException, UnicodeDecodeError, OverflowError)
READ_BUFFER = 1 << 20  # with pre_buffer off, what a reader holds per column however large the row group


@dataclass(frozen=True)
class Source:
    """Where a file is read, and how its columns become those of the corpus."""

    location: str  # a local path or a URI
    size: int
    mtime_ns: int
    renamed: tuple[tuple[str, str], ...] = ()  # its own name of a column, and the corpus's
    added: tuple[tuple[str, str], ...] = ()  # columns that its entry in the recipe gives one value to
    lifted: tuple[tuple[str, str], ...] = ()  # a field within structs, as in doc.text, and the corpus's column
    cast: tuple[tuple[str, str], ...] = ()  # columns of the corpus, and what they are read as


@dataclass(frozen=True)
class InputFile:
    """An input as its Parquet footer tells, without its data."""

    path: str  # how the run names it: relative to the corpus root with forward slashes, a URI, or a dataset
    size: int  # bytes
    identity: str  # what it is recognised by in a later run
    source: Source
    schema: pa.Schema  # with the corpus's names
    group_rows: tuple[int, ...]  # rows of each row group
    group_bytes: tuple[int, ...]  # bytes of text in each row group, as the footer estimates them
    inferred: bool = False  # its types were read off its values
    bad_lines: int = 0  # that were left out when it was converted
    bad: tuple[str, ...] = ()  # and what is wrong with the first of them
    held: int | None = None  # in a forecast: rows that are really there, of those that the whole input has

    @property
    def rows(self) -> int:
        """Documents in the file."""
        return sum(self.group_rows)


def open_footer(
    name: str, where: str, location: str, entry: SourceSection, source: Input,
    spooled: tuple[int, str] | None = None, share: float = 1.0,
) -> InputFile:  # fmt: skip
    """What the footer of a Parquet file tells; `spooled` has size and identity of what the file was made from.

    If that was only a share of the input, rows and bytes are those that the whole has by that. Errors name `where`.

    Errors: InputError for a file that is not whole Parquet or whose columns do not fit the recipe.
    """
    place, footer, metadata, schema = _read_footer(where, location)
    text = entry.text or source.column
    if len(schema) or spooled is None:  # JSON lines without a line have no columns either
        check_columns(where, location, schema, entry, source)
    place = replace(place, **_as_the_corpus_has_them(where, schema, entry, source))
    paths = [metadata.schema.column(k).path for k in range(metadata.num_columns)]
    leaves = [k for k, path in enumerate(paths) if path == text or path.startswith(f"{text}.")]
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    rows = [group.num_rows for group in groups]
    sizes = [sum(group.column(k).total_uncompressed_size for k in leaves) for group in groups]
    read_so = [list(pairs) for pairs in (place.renamed, place.added)]
    measured = [(name, how) for name, how in place.cast if name in (source.column, source.id)]
    read_so += [list(pairs) for pairs in (place.lifted, measured) if pairs]
    left_out = bad_lines_of(metadata.metadata) if spooled else BadLines()
    identity = spooled[1] if spooled else f"{place.size}-{footer}-{place.mtime_ns}"
    return InputFile(
        path=name,
        size=spooled[0] if spooled else place.size,
        identity=identity + (f"-{digest_of(read_so)}" if any(read_so) else ""),
        source=place,
        schema=_schema_in_corpus(where, schema, place, source),
        group_rows=tuple(rows) if share == 1 else (round(sum(rows) / share),),
        group_bytes=tuple(sizes) if share == 1 else (round(sum(sizes) / share),),
        inferred=spooled is not None,
        bad_lines=left_out.count,
        bad=tuple(left_out.problems),
        held=None if share == 1 else sum(rows),
    )


def _as_the_corpus_has_them(where: str, schema: pa.Schema, entry: SourceSection, source: Input) -> dict[str, Any]:
    """How a file's columns become those of the corpus, as the fields of `Source`."""
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
        name: _how_to_cast(where, name, types[name], how)
        for name, how in source.cast.items()
        if name in types and types[name] != cast_type(how)
    }
    if source.messages is None and source.column in types and source.column not in cast:
        how = text_cast(types[source.column])
        cast |= {source.column: how} if how else {}
    for name in (source.column, source.id):  # of Parquet's types JSON and UUID, which are texts too
        if name and name in types and name not in cast and (how := cast_of_extension(types[name])):
            cast[name] = how
    return {
        "renamed": tuple(renamed),
        "added": tuple((column, value) for column, value in added if value is not None),
        "lifted": ((text, source.column),) if is_lifted else (),
        "cast": tuple(sorted(cast.items())),
    }


def _how_to_cast(where: str, name: str, kind: pa.DataType, wanted: str) -> str:
    how = how_to_cast(kind, wanted)
    if how is None:
        others = [other for other in CASTS if how_to_cast(kind, other)]
        reason = why_not(kind)
        hint = f"it can be read as {' or '.join(others)}" if others else "leave it out by input.columns"
        hint = f"{reason}; rename it, or {hint}" if reason else hint
        raise InputError(f"{where}: input.cast: column {name!r} of {kind} cannot be read as {wanted}; {hint}")
    return how


def _read_footer(where: str, location: str) -> tuple[Source, str, pq.FileMetaData, pa.Schema]:
    """Where a Parquet file lies, the hash of its footer, and what that tells."""
    try:
        size, mtime_ns = status(location)
        with opened(location) as file:
            tail = file.read_at(min(8, size), max(0, size - 8))
            length = int.from_bytes(tail[:4], "little")
            if tail[4:] != b"PAR1" or length + 12 > size:
                raise InputError(
                    f"{where}: not a whole Parquet file (no footer at its end); truncated, or another format?"
                )
            footer = xxh3_128_hexdigest(file.read_at(length, size - 8 - length))
            parquet = pq.ParquetFile(file)
            # Of the file, as its rows are read: that of `metadata` has bytes for UUIDs, and text for JSON.
            metadata, schema = parquet.metadata, parquet.schema_arrow.remove_metadata()
    except BROKEN as error:
        raise InputError(f"{where}: cannot be read as Parquet: {one_line(error)}") from None
    return Source(location, size, mtime_ns), footer, metadata, schema


def _schema_in_corpus(where: str, schema: pa.Schema, place: Source, source: Input) -> pa.Schema:
    """A file's schema with the corpus's names and types, those alone that `input.columns` chooses."""
    names, casts = dict(place.renamed), dict(place.cast)
    for old, new in (*place.renamed, *place.lifted):
        if new in schema.names and new not in names:
            field = "input.text" if new == source.column else "input.id"
            raise InputError(f"{where}: has a column {new!r} beside {old!r}; rename one, or set {field}: {old}")
    for column, _ in place.added:
        if column in schema.names or column in names.values():
            raise InputError(f"{where}: has a column {column!r} of its own; leave `{column}` out of its entry")
    fields = []
    for field in schema:
        left: pa.Field | None = field
        for path, _ in place.lifted:
            left = without_leaf(field, path)
        if left is not None:
            fields.append(left.with_name(names.get(left.name, left.name)))
    fields += [pa.field(new, leaf_type(schema, path)) for path, new in place.lifted]
    fields = [pa.field(f.name, cast_type(casts[f.name]) if f.name in casts else f.type) for f in fields]
    if source.columns is not None:
        wanted = {*source.columns, source.column, source.id}
        fields = [field for field in fields if field.name in wanted]
    return pa.schema([*fields, *(pa.field(column, pa.string()) for column, _ in place.added)])


def unified_schema(files: Sequence[InputFile]) -> pa.Schema:
    """One schema for all files: every column nullable, missing ones null, types made equal where that loses nothing.

    Errors: InputError naming the first column that does not fit, and two files that have it.
    """
    types: dict[str, pa.DataType] = {}
    first: dict[str, tuple[str, pa.DataType]] = {}  # of each column: a file that brought its type
    inferred = all(file.inferred for file in files)
    for file in files:
        for column in file.schema:
            kind = plain(column.type)
            known = types.setdefault(column.name, kind)
            found = wider(known, kind, inferred)
            if found is None:
                other, held = first[column.name]
                cast = common_cast(kind, held)
                can = all(how_to_cast(one, cast) for one in (kind, held))
                advice = f"give it one type by input.cast: {{{column.name}: {cast}}}, or " if can else ""
                raise InputError(
                    f"{file.path}: column {column.name!r} holds {kind}, and {held} in {other}; "
                    f"{advice}leave it out by input.columns"
                )
            if column.name not in first or found != known:
                first[column.name] = (file.path, kind)
            types[column.name] = found
    return pa.schema(list(types.items()))


def common_cast(*kinds: pa.DataType) -> str:
    """The type of `input.cast` that two types are most likely meant to be; of integers none but text holds all."""
    floats = [pa.types.is_floating(kind) for kind in kinds]
    numbers = all(pa.types.is_integer(kind) or is_float for kind, is_float in zip(kinds, floats, strict=True))
    return "float64" if numbers and any(floats) else "string"


def read_documents(
    source: Source, start: int, stop: int, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Rows `start` to `stop` of an input with the corpus's names; without `columns` all, of these those it has.

    Errors: InputError naming the file where its data is broken or has changed since the run started.
    """
    check_unchanged(source)
    try:
        with opened(source.location) as file:
            schema = pq.read_schema(file)
    except BROKEN as error:
        raise InputError(f"{source.location}: cannot be read as Parquet: {one_line(error)}") from None
    places = _places(source, schema)
    wanted = [name for name in (places if columns is None else dict.fromkeys(columns)) if name in places]
    for batch in read_rows(source.location, start, stop, list(dict.fromkeys(places[name] for name in wanted))):
        read = batch.select([])
        for name in wanted:
            column = _column(batch, source, schema, name, places[name])
            read = read.append_column(pa.field(name, column.type), column)
        for name, value in source.added:
            if columns is None or name in columns:
                read = read.append_column(name, pa.array([value] * len(batch), pa.string()))
        yield read
    check_unchanged(source)


def _places(source: Source, schema: pa.Schema) -> dict[str, str]:
    """Where in a file each column of the corpus lies that it has: the name of a column, or a path within structs."""
    names, lifted = dict(source.renamed), {path for path, _ in source.lifted}
    left = [f for f in schema if all(without_leaf(f, path) is not None for path in lifted)]
    return {names.get(field.name, field.name): field.name for field in left} | {new: old for old, new in source.lifted}


def _column(batch: pa.RecordBatch, source: Source, schema: pa.Schema, name: str, place: str) -> pa.Array:
    """A column of the corpus out of a batch of the file."""
    if place in batch.schema.names and (place, name) not in source.lifted:
        column = batch.column(place)
        for path, _ in source.lifted:
            left = without_leaf(schema.field(place), path)
            if left is not None and left.type != schema.field(place).type:
                column = fit_struct(column, left.type)
    else:
        top = next(top for top in batch.schema.names if place.startswith(f"{top}."))
        column = take_leaf(batch.column(top), top, place)
    how = dict(source.cast).get(name)
    try:
        return column if how is None else cast_column(column, how)
    except ValueError as error:
        raise InputError(f"{source.location}: column {name!r} of {error}; see input.cast") from None


def read_rows(location: str, start: int, stop: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Rows `start` to `stop` of a Parquet file as batches of about 4 MB, in memory that the file's layout cannot raise.

    Errors: InputError naming the file where its data is broken.
    """
    try:
        buffer = REMOTE_BUFFER if is_remote(location) else READ_BUFFER
        with opened(location) as raw, _parquet(raw, buffer) as file:
            if file.metadata.num_rows < stop:
                raise InputError(
                    f"{location}: has fewer rows than the {stop} it had when the run started; was it replaced?"
                )
            groups, skip = _groups_holding(file.metadata, start, stop)
            position = start - skip
            sizes = [(group.total_byte_size, group.num_rows) for group in map(file.metadata.row_group, groups)]
            size = max((size // max(1, rows) for size, rows in sizes), default=0)
            names = list(columns)
            # The footer knows the size of encoded data; a dictionary may hide that every row is large.
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
    except MemoryError:  # not of the file: the task is tried again
        raise
    except BROKEN as error:
        raise InputError(f"{location}: rows {start} to {stop} cannot be read: {one_line(error)}") from None


def _dictionary_bytes(raw: pa.NativeFile, metadata: pq.FileMetaData, group: int, columns: Sequence[str]) -> int:
    """Bytes of the largest dictionary of a row group, which no value of it exceeds, unless it is a small one.

    From the page's header, in Thrift's compact protocol: its kind and its size, each a byte that names the field and a
    number in zigzag.
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
    """A Parquet file, whose pages are checked where they have checksums."""
    return pq.ParquetFile(raw, pre_buffer=False, buffer_size=buffer, page_checksum_verification=True)


def _without_views(batch: pa.RecordBatch) -> pa.RecordBatch:
    if VIEWS.keys().isdisjoint(batch.schema.types):
        return batch
    return batch.cast(pa.schema([field.with_type(VIEWS.get(field.type, field.type)) for field in batch.schema]))


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


def check_unchanged(source: Source) -> None:
    """Refuse a file that is no longer the one the run started with."""
    try:
        found = status(source.location)
    except (OSError, pa.ArrowException) as error:
        problem = getattr(error, "strerror", None) or one_line(error)
        raise InputError(f"{source.location}: {problem}; it was there when the run started") from None
    if found != (source.size, source.mtime_ns):
        raise InputError(f"{source.location}: changed while the run went on; run again when it is at rest")

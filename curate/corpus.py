"""The corpus: what its files hold, how they are cut into units, and how their rows are read."""

import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from xxhash import xxh3_128_hexdigest

from curate import sections
from curate.errors import InputError
from curate.recipe import digest_of
from curate.storage import REMOTE_BUFFER, is_remote, one_line, opened, status

MIN_UNIT_BYTES = int(os.environ.get("CURATE_UNIT_BYTES", 64 << 20))
MAX_UNIT_BYTES = 2 * MIN_UNIT_BYTES
MAX_UNIT_ROWS = 1 << 18  # bounds the memory of a unit's signals where documents are tiny
BATCH_BYTES = 4 << 20
PROBE_ROWS = 4
SMALL_BYTES = 1 << 20  # of a column of a row group, whose dictionary cannot hide large values
MOST_BYTES = 1 << 30  # of a batch of which every row were the largest value of a dictionary
VIEWS = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}  # of which pyarrow cannot take rows
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
    held: int | None = None  # in a forecast: rows that are really there, of those that the whole input has

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


def open_footer(
    name: str, where: str, location: str, entry: sections.Source, source: sections.Input,
    spooled: tuple[int, str] | None = None, share: float = 1.0,
) -> InputFile:  # fmt: skip
    """What the footer of a Parquet file tells; `spooled` has size and identity of what the file was made from.

    If that was only a share of the input, rows and bytes are those that the whole has by that. Errors name `where`.

    Errors: InputError for a file that is not whole Parquet or whose columns do not fit the recipe.
    """
    place, footer, metadata, schema = _read_footer(where, location)
    text = entry.text or source.column
    if len(schema) or spooled is None:  # JSON lines without a line have no columns either
        _check_columns(where, schema, text, source)
    renamed = ((text, source.column),) if text != source.column else ()
    given = (("source", entry.source), ("license", entry.license))
    added = tuple((column, value) for column, value in given if value is not None)
    identity = spooled[1] if spooled else f"{place.size}-{footer}-{place.mtime_ns}"
    paths = [metadata.schema.column(k).path for k in range(metadata.num_columns)]
    leaves = [k for k, path in enumerate(paths) if path == text or path.startswith(f"{text}.")]
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    rows = [group.num_rows for group in groups]
    sizes = [sum(group.column(k).total_uncompressed_size for k in leaves) for group in groups]
    return InputFile(
        path=name,
        size=spooled[0] if spooled else place.size,
        identity=identity + (f"-{digest_of([renamed, added])}" if renamed or added else ""),
        source=replace(place, renamed=renamed, added=added),
        schema=_as_in_corpus(where, schema, renamed, added),
        group_rows=tuple(rows) if share == 1 else (round(sum(rows) / share),),
        group_bytes=tuple(sizes) if share == 1 else (round(sum(sizes) / share),),
        inferred=spooled is not None,
        held=None if share == 1 else sum(rows),
    )


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
            metadata = pq.read_metadata(file)
        schema = metadata.schema.to_arrow_schema().remove_metadata()
    except BROKEN as error:
        raise InputError(f"{where}: cannot be read as Parquet: {one_line(error)}") from None
    return Source(location, size, mtime_ns), footer, metadata, schema


def _as_in_corpus(
    where: str, schema: pa.Schema, renamed: Sequence[tuple[str, str]], added: Sequence[tuple[str, str]]
) -> pa.Schema:
    """A file's schema with its columns named as in the corpus, and the columns that its entry gives values to."""
    names = dict(renamed)
    for old, new in renamed:
        if new in schema.names:
            raise InputError(f"{where}: has a column {new!r} beside {old!r}; rename one, or set input.text: {old}")
    for column, _ in added:
        if column in schema.names or column in names.values():
            raise InputError(f"{where}: has a column {column!r} of its own; leave `{column}` out of its entry")
    fields = [pa.field(names.get(field.name, field.name), field.type) for field in schema]
    return pa.schema([*fields, *(pa.field(column, pa.string()) for column, _ in added)])


def _check_columns(where: str, schema: pa.Schema, text: str, source: sections.Input) -> None:
    """Refuse a schema without the text or id column, or with one of the wrong type."""
    columns = schema.names
    if twice := next((name for name in columns if columns.count(name) > 1), None):
        raise InputError(f"{where}: column {twice!r} stands {columns.count(twice)} times; columns need distinct names")
    field_of_text = "input.text" if source.messages is None else "input.messages"
    if source.id == text != source.column:
        raise InputError(
            f"{where}: column {text!r} is called {source.column!r} in the corpus; set input.id: {source.column}"
        )
    own_id = text if source.id == source.column else source.id
    for field, name in ((field_of_text, text), ("input.id", own_id)):
        if name is not None and name not in columns:
            has = ", ".join(columns)
            raise InputError(f"{where}: no column {name!r} (has: {has}); set {_what_to_set(field, name, schema)}")
    kind = schema.field(text).type
    if source.messages is not None:
        if not is_messages(kind):
            raise InputError(
                f"{where}: column {text!r} holds {kind}, not messages; input.messages names a list of {{role, content}}"
            )
    else:
        _check_text(where, schema, text)
    if own_id is not None and pa.types.is_nested(schema.field(own_id).type):
        raise InputError(f"{where}: column {own_id!r} holds {schema.field(own_id).type}, which cannot name documents")


def _what_to_set(field: str, name: str, schema: pa.Schema) -> str:
    """The field of the recipe, and a column that may have been meant with one that is not there."""
    strings = [found.name for found in schema if is_text(found.type)]
    chats = [found.name for found in schema if is_messages(found.type)]
    close = difflib.get_close_matches(name, schema.names, n=1)
    if field == "input.text" and chats and not (close or strings):
        return f"input.messages: {chats[0]}"
    return f"{field}: {[*close, *strings, *schema.names, 'a column that is there'][0]}"


def _check_text(where: str, schema: pa.Schema, text: str) -> None:
    kind = schema.field(text).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if is_text(kind) or pa.types.is_null(kind):
        return
    if is_messages(kind):
        raise InputError(f"{where}: column {text!r} holds messages; set input.messages: {text}")
    strings = [field.name for field in schema if is_text(field.type)]
    hint = f"set input.text to one of: {', '.join(strings)}" if strings else "no column holds strings"
    raise InputError(f"{where}: column {text!r} holds {kind}, not strings; {hint}")


def is_messages(kind: pa.DataType) -> bool:
    """Whether a column of this type holds chats: lists of structs with the texts role and content."""
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not pa.types.is_struct(kind.value_type):
        return False
    message = kind.value_type
    return all(message.get_field_index(n) >= 0 and is_text(message.field(n).type) for n in ("role", "content"))


def render_messages(column: pa.Array) -> pa.Array:
    """Chats as the texts that are measured: the contents of their messages, a blank line between two; null for null."""
    contents = column.values.field("content").fill_null("").cast(pa.large_string())
    listed = pa.LargeListArray.from_arrays(column.offsets.cast(pa.int64()), contents)
    texts = pc.binary_join(listed, pa.scalar("\n\n", pa.large_string()))
    return pc.if_else(column.is_valid(), texts, pa.scalar(None, texts.type))


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text as it stands."""
    return kind in (pa.string(), pa.large_string(), pa.string_view())


def unified_schema(files: Sequence[InputFile]) -> pa.Schema:
    """One schema for all files: every column nullable, missing ones null, widths made equal.

    Errors: InputError naming the first file and column that do not fit.
    """
    fields: dict[str, pa.Field] = {}
    inferred = all(file.inferred for file in files)
    for file in files:
        for found in file.schema:
            column = pa.field(found.name, _plain(found.type))
            known = fields.setdefault(column.name, column)
            if known.type == column.type:
                continue
            try:
                mixed = pa.types.is_floating(known.type) != pa.types.is_floating(column.type)
                if mixed and not _has_null(known, column) and not inferred:
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
    """The type a column is carried in: dictionaries decoded, views as what they view."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return VIEWS.get(kind, kind)


def cut_units(file_no: int, file: InputFile) -> list[Unit]:
    """Ranges of rows with 64 to 128 MB of text; small row groups are joined, large ones are split."""
    units: list[Unit] = []
    start = position = 0
    held = 0
    for rows, size in zip(file.group_rows, file.group_bytes, strict=True):
        if not rows:  # a group without rows has bytes all the same, such as a dictionary's
            continue
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


def by_units(documents: pa.Table, units: Sequence[Unit]) -> Iterator[tuple[Unit, pa.Table]]:
    """Those of `units` that hold some of the documents (file_no, row, …), which are sorted, each with what it holds."""
    file_nos, rows = documents["file_no"].to_numpy(), documents["row"].to_numpy()
    for unit in units:
        first, last = np.searchsorted(file_nos, (unit.file_no, unit.file_no + 1))
        start, stop = first + np.searchsorted(rows[first:last], (unit.start, unit.stop))
        if stop > start:
            yield unit, documents.slice(start, stop - start)


def read_documents(
    source: Source, start: int, stop: int, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Rows `start` to `stop` of an input with the corpus's names; without `columns` all, of these those it has.

    Errors: InputError naming the file where its data is broken or has changed since the run started.
    """
    check_unchanged(source)
    own = {new: old for old, new in source.renamed}
    added = dict(source.added)
    try:
        with opened(source.location) as file:
            present = pq.read_schema(file).names
    except BROKEN as error:
        raise InputError(f"{source.location}: cannot be read as Parquet: {one_line(error)}") from None
    names = [own.get(name, name) for name in columns] if columns is not None else present
    for batch in read_rows(source.location, start, stop, [name for name in names if name in present]):
        batch = batch.rename_columns([dict(source.renamed).get(name, name) for name in batch.schema.names])
        for name, value in added.items():
            if columns is None or name in columns:
                batch = batch.append_column(name, pa.array([value] * len(batch), pa.string()))
        yield batch
    check_unchanged(source)


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

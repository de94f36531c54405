"""JSON lines as Arrow tables, block by block: bad lines are counted, types widen_schema where later blocks need it."""

import json
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from dataclasses import field as dataclass_field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pajson

from curate.errors import InputError
from curate.storage.endings import CODECS
from curate.storage.places import one_line, open_location, status

BLOCK_BYTES = 16 << 20  # of lines that become one row group
DEEP, TOO_DEEP = 500, "is nested too deeply"  # opening brackets above which a line is parsed to see
MOST_PROBLEMS = 20  # that are kept
MIN_BLOCK_BYTES = 1 << 16
MOST_FIELDS, MOST_VALUES = 5_000, 1 << 27  # of the lines of a block
FIELD = re.compile(rb'"([^"\\]{0,200})"\s*:')
MAX_LINE_BYTES = 512 << 20  # a file of one huge line, such as a gzip bomb, must not fill the memory

BAD_LINES = "curate.bad_lines"  # in a footer's metadata

JsonObject = dict[str, object]


@dataclass
class BadLines:
    """Lines of a file that are no objects: their number, and the problems of the first."""

    count: int = 0
    problems: list[str] = dataclass_field(default_factory=list)

    def add(self, problem: str) -> None:
        """Count a line."""
        self.count += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)

    def as_metadata(self) -> dict[str, str]:
        """The metadata for the file that is written."""
        return {BAD_LINES: json.dumps(asdict(self), ensure_ascii=False)} if self.count else {}


def widen_schema(a: pa.Schema, b: pa.Schema) -> pa.Schema:
    """A schema for the values of both: integers and floats become floats, other mixtures JSON text."""
    fields = {field.name: field.type for field in a}
    for field in b:
        fields[field.name] = _wider(fields.get(field.name, pa.null()), field.type)
    return pa.schema(list(fields.items()))


def _wider(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    try:
        if _has_empty_struct(a) or _has_empty_struct(b):
            return pa.string()
        if pa.types.is_boolean(a) != pa.types.is_boolean(b) and not (pa.types.is_null(a) or pa.types.is_null(b)):
            return pa.string()
        pair = [pa.schema([("x", a)]), pa.schema([("x", b)])]
        unified: pa.DataType = pa.unify_schemas(pair, promote_options="permissive").field(0).type
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return pa.string()
    return unified


def _has_empty_struct(kind: pa.DataType) -> bool:
    """Whether a type contains a struct without fields, which Parquet cannot store."""
    if pa.types.is_list(kind):
        return _has_empty_struct(kind.value_type)
    return pa.types.is_struct(kind) and (kind.num_fields == 0 or any(_has_empty_struct(f.type) for f in kind))


def fit_table(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table in a wider schema."""
    columns = []
    for field in schema:
        if field.name not in table.schema.names:
            columns.append(pa.nulls(len(table), field.type))
        elif pa.types.is_string(field.type) and not pa.types.is_string(table.schema.field(field.name).type):
            columns.append(_as_json(table[field.name].to_pylist()))
        else:
            columns.append(table[field.name].cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _as_json(values: Iterable[object]) -> pa.Array:
    """Values as JSON text, strings as they are."""
    texts = [v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values]
    return pa.array(texts, pa.string())


def json_tables(location: str, share: float = 1.0, bad: BadLines | None = None) -> Iterator[tuple[pa.Table, float]]:
    """The objects of a file of JSON lines, a table per block of lines, with the share of the file read by then.

    Blank lines are skipped. For a `share` of the file, blocks are no larger than that.

    Errors: InputError naming a line that is no JSON object; with `bad` it is counted there and left out.
    """
    schema: pa.Schema | None = None
    line = 1
    try:
        status_at_start = status(location)
        size = max(1, status_at_start[0])
        with open_location(location) as file, _decompressed(file, location) as stream:
            for block in _blocks(stream.read, max(MIN_BLOCK_BYTES, min(BLOCK_BYTES, int(size * share))), location):
                table = _parse(block, schema, location, line, bad)
                line += block.count(b"\n")
                if table is not None:
                    schema = widen_schema(schema or pa.schema([]), table.schema)
                    yield table, file.tell() / size
        if status(location) != status_at_start:
            raise InputError(f"{location}: changed while it was read; run again when it is at rest")
    except MemoryError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{location}: cannot be read: {one_line(error)}") from None


@contextmanager
def _decompressed(file: pa.NativeFile, location: str) -> Iterator[pa.NativeFile]:
    codec = CODECS.get(Path(location).suffix.lower())
    if codec is None:
        yield file
    else:
        with pa.CompressedInputStream(file, codec) as stream:
            yield stream


def _blocks(read: Callable[[int], bytes], size: int, location: str) -> Iterator[bytes]:
    """The stream in blocks of complete lines, of `size` bytes or one longer line."""
    pending: list[bytes] = []
    length, line = 0, 1
    while data := read(size):
        end = data.rfind(b"\n") + 1
        if end:
            yield b"".join([*pending, data[:end]])
            line += data.count(b"\n")
            pending, length = [], 0
        pending.append(data[end:])
        length += len(pending[-1])
        if length > MAX_LINE_BYTES:
            raise InputError(f"{location}: line {line} is longer than {MAX_LINE_BYTES >> 20} MB, which no document is")
    if last := b"".join(pending):
        yield last


def _parse(block: bytes, schema: pa.Schema | None, location: str, line: int, bad: BadLines | None) -> pa.Table | None:
    """A block as a table; `schema` is of the blocks before it, `line` the number of its first line."""
    if not block.strip():
        return None
    explicit = schema
    lines = [text for text in map(bytes.strip, block.removeprefix(BOM_UTF8).split(b"\n")) if text]
    # A bare null or deep nesting would crash pyarrow.
    for _ in range(2 if all(text.startswith(b"{") and not _is_deep(text) for text in lines) else 0):
        try:
            table = _read_json(block, explicit, location, line)
            if _has_huge_numbers(table) or not table.num_columns or len(table) != len(lines):
                break
            explicit = pa.schema([pa.field(field.name, _without_timestamps(field.type)) for field in table.schema])
        except (pa.ArrowInvalid, UnicodeDecodeError, RecursionError):
            break
        if explicit == table.schema:
            return table
    _check_fields(block, schema, location, line)
    rows, good = _objects(block, location, line, bad)
    if len(rows) < len(lines):  # the good lines are read as if there were no others
        return _parse(b"\n".join(good), schema, location, line, None) if rows else None
    return _table_of(rows, location, line)


def _is_deep(line: bytes) -> bool:
    """Whether a line is nested too deeply for Python, which fails long before pyarrow crashes the process."""
    return line.count(b"[") + line.count(b"{") > DEEP and _object(line) == TOO_DEEP


def _read_json(block: bytes, explicit: pa.Schema | None, location: str, line: int) -> pa.Table:
    """The objects of a block; the number of fields is checked only if some are not in `explicit`."""

    def read(unexpected: str) -> pa.Table:
        return pajson.read_json(
            pa.BufferReader(block),
            pajson.ReadOptions(use_threads=False, block_size=len(block) + 1),
            pajson.ParseOptions(explicit_schema=explicit, unexpected_field_behavior=unexpected),
        )

    if explicit is not None:
        with suppress(pa.ArrowInvalid):
            return read("error")
    _check_fields(block, explicit, location, line)
    return read("infer")


def _check_fields(block: bytes, schema: pa.Schema | None, location: str, line: int) -> None:
    """Refuse lines with ever different fields: a table has every field in every row.

    50 kB of such lines, compressed, would take 5 GB. Errors: InputError.
    """
    names = {name.encode() for name in schema.names} if schema is not None else set()
    lines = block.count(b"\n") + 1
    most = block.count(b":") + len(names)
    if lines * most <= MOST_VALUES and most <= MOST_FIELDS:
        return
    fields = len(names.union(FIELD.findall(block)))
    if fields > MOST_FIELDS or lines * fields > MOST_VALUES:
        raise InputError(
            f"{location}: has {fields:,} different fields up to line {line + lines - 1:,}, and a corpus has the same "
            "in each line; put those that vary into one field, as a text"
        )


def _has_huge_numbers(table: pa.Table) -> bool:
    """Whether a number may be an integer beyond 64 bits, which pyarrow rounds."""
    floats = [column for column in table.columns if pa.types.is_floating(column.type)]
    return any((pc.max(pc.abs(column)).as_py() or 0) >= 2**63 for column in floats)


def _without_timestamps(kind: pa.DataType) -> pa.DataType:
    """The type with text in place of timestamps: pyarrow infers them from texts."""
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_without_timestamps(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, _without_timestamps(f.type)) for f in kind])
    return kind


def _objects(block: bytes, location: str, line: int, bad: BadLines | None) -> tuple[list[JsonObject], list[bytes]]:
    """The objects of a block and their lines; another line is counted in `bad`, or is an error."""
    rows, good = list[JsonObject](), list[bytes]()
    for k, text in enumerate(block.split(b"\n")):
        if not text.strip():
            continue
        row = _object(text)
        if not isinstance(row, str):
            rows.append(row)
            good.append(text)
        elif bad is None:
            raise InputError(f"{location}: line {line + k} {row}")
        else:
            bad.add(f"line {line + k} {row}")
    return rows, good


def _object(text: bytes) -> JsonObject | str:
    """The JSON object of a line, or its problem."""
    try:
        row = json.loads(text.decode("utf-8-sig", "surrogateescape"))
    except ValueError as error:
        return f"is not JSON: {error}"
    except RecursionError:
        return TOO_DEEP
    if not isinstance(row, dict):
        return f"is not a JSON object but a {type(row).__name__}"
    return row if all(map(_is_text, row)) else "has a key that is not UTF-8"


def _table_of(rows: list[JsonObject], location: str, line: int) -> pa.Table:
    """A table of objects that pyarrow cannot read: values of several types in one column (as JSON text), NaN."""
    names = dict.fromkeys(name for row in rows for name in row)
    if not names:
        raise InputError(f"{location}: line {line} and those behind it hold empty objects only")
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _is_text(name: str) -> bool:
    return not any(0xD800 <= ord(c) <= 0xDFFF for c in name)


def _column(values: list[object]) -> pa.Array:
    try:
        if any(isinstance(v, str) for v in values):
            return pa.array([_bytes(v) for v in values], pa.binary()).cast(pa.string(), safe=False)
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        texts = [None if v is None else _bytes(v) for v in values]
        return pa.array(texts, pa.binary()).cast(pa.string(), safe=False)


def _bytes(value: object) -> bytes | None:
    """The original bytes of a text; other values as JSON."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "surrogateescape" if _escaped(text) else "surrogatepass")


def _escaped(text: str) -> bool:
    """Whether every lone surrogate of a text encodes a byte that is not UTF-8."""
    return all(0xDC80 <= ord(c) <= 0xDCFF for c in text if 0xD800 <= ord(c) <= 0xDFFF)

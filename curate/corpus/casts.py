"""Casts: columns that are read as another type, by Arrow where rows are read and by SQL in views of the input.

Values become strings by the same SQL in both, unless Arrow writes them as DuckDB does: so view `corpus` shows the
values of `data/`.
"""

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from curate.corpus.columns import LINES, UTF8, is_bytes, is_list, is_text, join_strings, plain

# Its version counts as code, since it decides the results of casts.
LIBRARIES = ("pyarrow",)

# Target types of `input.cast`.
CASTS: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us"),
}
OF = " of "  # between a type of CASTS and the column's type in DuckDB: int64 of VARCHAR

IsKind = Callable[[pa.DataType], bool]
NUMBERS: tuple[IsKind, ...] = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, is_text)
# Types that can be read as those of CASTS; as a string, all types of `sql_type`.
READ_AS: dict[str, tuple[IsKind, ...]] = {
    "int64": (*NUMBERS, pa.types.is_decimal),
    "float64": (*NUMBERS, pa.types.is_decimal),
    "bool": NUMBERS,
    "timestamp": (pa.types.is_timestamp, pa.types.is_date, is_text),
}
SQL_TYPES: dict[pa.DataType, str] = {  # by Arrow's types, as DuckDB reads them from Parquet
    pa.null(): "VARCHAR", pa.bool_(): "BOOLEAN", pa.string(): "VARCHAR", pa.large_string(): "VARCHAR",
    pa.int8(): "TINYINT", pa.int16(): "SMALLINT", pa.int32(): "INTEGER", pa.int64(): "BIGINT",
    pa.uint8(): "UTINYINT", pa.uint16(): "USMALLINT", pa.uint32(): "UINTEGER", pa.uint64(): "UBIGINT",
    pa.float16(): "FLOAT", pa.float32(): "FLOAT", pa.float64(): "DOUBLE",
    pa.date32(): "DATE", pa.date64(): "DATE", pa.time64("ns"): "TIME_NS", pa.uuid(): "UUID",
}  # fmt: skip
MOST_DIGITS = 38  # of a decimal in DuckDB
# The years 1 to 9999 in days since 1970; Arrow and DuckDB write other years differently.
FIRST_DAY, LAST_DAY = -719_162, 2_932_896


def how_to_cast(kind: pa.DataType, name: str) -> str | None:
    """How a column of this type is read as one of CASTS, for `cast_column` and `cast_sql`; None where it cannot be."""
    kind = storage_type(plain(kind))
    source = sql_type(kind)
    can_cast = name == "string" or pa.types.is_null(kind) or any(is_kind(kind) for is_kind in READ_AS[name])
    return f"{name}{OF}{source}" if can_cast and source else None


def why_not(kind: pa.DataType) -> str | None:
    """Why a type cannot be cast because of the names of its structs' fields; None where it can."""
    inner: list[pa.Field] = [kind.field(k) for k in range(kind.num_fields)]
    if pa.types.is_struct(kind):
        names: dict[bytes, str] = {}
        for name in (field.name for field in inner):
            folded = name.encode().lower()  # bytes, since SQL folds ASCII only
            if not name:
                return "it has a field without a name, which SQL does not know"
            if folded in names:
                return f"SQL does not tell its fields {names[folded]!r} and {name!r} apart"
            names[folded] = name
    return next((reason for field in inner if (reason := why_not(field.type))), None)


def storage_type(kind: pa.DataType) -> pa.DataType:
    """The type of the stored values: text for Parquet's JSON."""
    return kind.storage_type if isinstance(kind, pa.JsonType) else kind


def sql_type(kind: pa.DataType) -> str | None:
    """DuckDB's type for a plain type of Arrow; None where it has none."""
    kind = storage_type(kind)
    if pa.types.is_struct(kind):
        if why_not(kind):
            return None
        fields = [(field.name, sql_type(field.type)) for field in kind]
        from curate.sql import quoted  # loads DuckDB, which commands that fail early need not wait for

        inner = ", ".join(f"{quoted(name)} {field_type}" for name, field_type in fields)
        return f"STRUCT({inner})" if fields and all(field_type for _, field_type in fields) else None
    if pa.types.is_map(kind):
        pair = sql_type(kind.key_type), sql_type(kind.item_type)
        return f"MAP({pair[0]}, {pair[1]})" if all(pair) else None
    if is_list(kind):
        value = sql_type(kind.value_type)
        return f"{value}[]" if value else None
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP WITH TIME ZONE" if kind.tz else "TIMESTAMP_NS" if kind.unit == "ns" else "TIMESTAMP"
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})" if kind.precision <= MOST_DIGITS else None
    if pa.types.is_duration(kind):  # a plain number in Parquet
        return "BIGINT"
    if is_bytes(kind):
        return "BLOB"
    return "TIME" if pa.types.is_time(kind) and kind != pa.time64("ns") else SQL_TYPES.get(kind)


def cast_of_extension(kind: pa.DataType) -> str | None:
    """How a text or id of an extension type is read as a string; None for all other types."""
    return how_to_cast(kind, "string") if isinstance(kind, pa.BaseExtensionType) else None


def cast_type(how: str) -> pa.DataType:
    """The type that a cast results in."""
    return CASTS.get(how.split(OF)[0], pa.string())


def cast_column(column: pa.Array, how: str) -> pa.Array:
    """A column read as a type of CASTS (structs and lists as JSON text), or as text (UTF8, LINES).

    Bytes that are not UTF-8 are kept as text: such a document becomes a row with a reason.
    Errors: ValueError for a value that cannot be cast.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if isinstance(column.type, pa.JsonType):
        column = column.storage
    if how == UTF8:
        return _as_utf8(column)
    if how == LINES:
        lists = column.cast(pa.large_list(pa.large_string()))
        return join_strings(lists, lists.values, "\n")
    name = how.split(OF)[0]
    try:
        if not _is_arrow_alike(column, name):
            from curate.corpus.cast_sql import cast_by_sql

            return cast_by_sql(column, how, CASTS[name])
        return column.cast(CASTS[name])
    except (ValueError, NotImplementedError):  # from Arrow, whose messages contain the value
        raise ValueError(f"{column.type} cannot be read as {name}") from None


def _is_arrow_alike(column: pa.Array, name: str) -> bool:
    """Whether Arrow casts these values as DuckDB does, which takes more than ten times as long."""
    kind = column.type
    if name != "string":
        return not (name == "float64" and pa.types.is_decimal(kind))
    if kind == pa.date32():
        ends = pc.min_max(column.cast(pa.int32())).as_py()
        return ends["min"] is None or (ends["min"] >= FIRST_DAY and ends["max"] <= LAST_DAY)
    return (
        pa.types.is_null(kind)
        or is_text(kind)
        or is_bytes(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
    )


def _as_utf8(column: pa.Array) -> pa.Array:
    if pa.types.is_fixed_size_binary(column.type) or column.type == pa.binary_view():
        column = column.cast(pa.binary())
    kind = pa.large_string() if pa.types.is_large_binary(column.type) else pa.string()
    return pa.Array.from_buffers(kind, len(column), column.buffers(), column.null_count, column.offset)

"""The SQL of casts: for views of the input, and for values that Arrow would write differently as text."""

from functools import cache

import duckdb
import pyarrow as pa

from curate.corpus.casts import OF, storage_type
from curate.corpus.columns import LINES, UTF8, is_list, plain
from curate.sql import literal, open_database, quoted

# Its version counts as code, since it decides the results of casts.
LIBRARIES = ("duckdb",)


def cast_by_sql(column: pa.Array, how: str, kind: pa.DataType) -> pa.Array:
    """A column read by the SQL of `cast_sql`.

    Errors: ValueError for a value that cannot be cast.
    """
    with _database().cursor() as connection:  # a cursor for each thread
        connection.register("read", pa.table({"x": column.cast(_passed_type(column.type))}))
        try:
            values = connection.sql(f"SELECT {cast_sql(how, 'x')} AS x FROM read").to_arrow_table()["x"]
        except duckdb.Error as error:
            raise ValueError(str(error)) from None
    return values.cast(kind).combine_chunks()


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """One database for all casts of a process: opening one takes longer than most casts."""
    return open_database(threads="1", enable_external_access="false")


def cast_sql(how: str | None, value: str) -> str:
    """SQL of `value` read as by `cast_column`; null for bytes that are not UTF-8."""
    if how is None:
        return value
    if how == UTF8:
        return f"TRY(decode({value}))"
    if how == LINES:
        return f"array_to_string(list_transform({value}, lambda one: coalesce(one, '')), chr(10))"
    name, _, source = how.partition(OF)
    kind = duckdb.sqltype(source)
    if name == "string":
        return f"to_json({_json_sql(kind, value)})::VARCHAR" if _is_nested(kind) else _text_sql(kind, value)
    if source == "VARCHAR":  # Parquet's JSON is read as text too
        value = f"CAST({value} AS VARCHAR)"
    if name != "timestamp":
        return f"TRY_CAST({value} AS {({'int64': 'BIGINT', 'float64': 'DOUBLE', 'bool': 'BOOLEAN'})[name]})"
    if source.endswith("WITH TIME ZONE"):
        return f"({value} AT TIME ZONE 'UTC')"
    hour = f", TRY_CAST({value} || ':00' AS TIMESTAMP)" if source == "VARCHAR" else ""  # as in 2020-01-02 03
    return f"coalesce(TRY_CAST({value} AS TIMESTAMP){hour})"


def _passed_type(kind: pa.DataType) -> pa.DataType:
    """The type in which values are passed to DuckDB, so that they are as when read from Parquet."""
    kind = storage_type(plain(kind))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_passed_type(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(kind.key_field.with_type(_passed_type(kind.key_type)), _passed_type(kind.item_type))
    if is_list(kind):
        return pa.large_list(kind.value_field.with_type(_passed_type(kind.value_type)))
    if pa.types.is_decimal(kind):
        return pa.decimal128(kind.precision, kind.scale)
    if pa.types.is_duration(kind):
        return pa.int64()
    return {pa.float16(): pa.float32(), pa.date64(): pa.date32()}.get(kind, kind)


def _is_nested(kind: duckdb.sqltypes.DuckDBPyType) -> bool:
    return kind.id in ("struct", "list", "map")


def _text_sql(kind: duckdb.sqltypes.DuckDBPyType, value: str) -> str:
    """SQL of a value that is not nested, as text."""
    if kind.id == "timestamp with time zone":  # regardless of the session's zone
        return f"(({value} AT TIME ZONE 'UTC')::VARCHAR || '+00')"
    if kind.id == "blob":
        return f"TRY(decode({value}))"
    text = f"CAST(CAST({value} AS {kind}) AS VARCHAR)"
    return f"regexp_replace({text}, '^(-?)[.]', '\\1' || '0.')" if kind.id == "decimal" else text


def _json_sql(kind: duckdb.sqltypes.DuckDBPyType, value: str, depth: int = 0) -> str:
    """SQL of the argument of `to_json`: null for NaN and infinity, text for decimals, base64 for bytes except UTF-8."""
    item = f"one{depth}"
    if kind.id == "struct":
        inner = [
            f"{quoted(name)} := {_json_sql(of, f'struct_extract({value}, {literal(name)})', depth)}"
            for name, of in _children(kind)
        ]
        return f"CASE WHEN {value} IS NOT NULL THEN struct_pack({', '.join(inner)}) END"
    if kind.id == "list":
        [(_, of)] = _children(kind)
        return f"list_transform({value}, lambda {item}: {_json_sql(of, item, depth + 1)})"
    if kind.id == "map":
        _, (_, of) = _children(kind)
        pair = f"{{'k': {item}.key, 'v': {_json_sql(of, f'{item}.value', depth + 1)}}}"
        return f"map_from_entries(list_transform(map_entries({value}), lambda {item}: {pair}))"
    if kind.id in ("float", "double"):
        return f"CASE WHEN isfinite({value}) THEN {value} END"
    if kind.id == "blob":
        return f"coalesce(TRY(decode({value})), base64({value}))"
    return _text_sql(kind, value) if kind.id in ("decimal", "timestamp with time zone", "varchar") else value


def _children(kind: duckdb.sqltypes.DuckDBPyType) -> list[tuple[str, duckdb.sqltypes.DuckDBPyType]]:
    return [(name, of) for name, of in kind.children if isinstance(of, duckdb.sqltypes.DuckDBPyType)]

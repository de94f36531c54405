"""The SQL of casts: for views of the input, and for what Arrow writes otherwise as text."""

from functools import cache

import duckdb
import pyarrow as pa

from curate.corpus.casts import OF, stored
from curate.corpus.columns import LINES, UTF8, is_list, plain
from curate.sql import literal, open_database, quoted

# Its version counts as code, since it decides what casts give.
LIBRARIES = ("duckdb",)


def cast_by_sql(column: pa.Array, how: str, kind: pa.DataType) -> pa.Array:
    """A column read by the SQL of `cast_sql`.

    Errors: ValueError where a value cannot be read so.
    """
    with _database().cursor() as connection:  # a cursor each, which threads may use at once
        connection.register("read", pa.table({"x": column.cast(_carried(column.type))}))
        try:
            found = connection.sql(f"SELECT {cast_sql(how, 'x')} AS x FROM read").to_arrow_table()["x"]
        except duckdb.Error as error:
            raise ValueError(str(error)) from None
    return found.cast(kind).combine_chunks()


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """One for all casts of a process: to open one takes longer than most casts."""
    return open_database(threads="1", enable_external_access="false")


def cast_sql(how: str | None, value: str) -> str:
    """SQL of `value` read as `cast_column` reads it; of bytes that are no UTF-8, null."""
    if how is None:
        return value
    if how == UTF8:
        return f"TRY(decode({value}))"
    if how == LINES:
        return f"array_to_string(list_transform({value}, lambda one: coalesce(one, '')), chr(10))"
    name, _, own = how.partition(OF)
    kind = duckdb.sqltype(own)
    if name == "string":
        return f"to_json({_json_sql(kind, value)})::VARCHAR" if _is_nested(kind) else _text_sql(kind, value)
    if own == "VARCHAR":  # Parquet's JSON is read as text, too
        value = f"CAST({value} AS VARCHAR)"
    if name != "timestamp":
        return f"TRY_CAST({value} AS {({'int64': 'BIGINT', 'float64': 'DOUBLE', 'bool': 'BOOLEAN'})[name]})"
    if own.endswith("WITH TIME ZONE"):
        return f"({value} AT TIME ZONE 'UTC')"
    hour = f", TRY_CAST({value} || ':00' AS TIMESTAMP)" if own == "VARCHAR" else ""  # as in 2020-01-02 03
    return f"coalesce(TRY_CAST({value} AS TIMESTAMP){hour})"


def _carried(kind: pa.DataType) -> pa.DataType:
    """The type in which DuckDB is given values of another one, so that it sees what it reads from Parquet."""
    kind = stored(plain(kind))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_carried(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(kind.key_field.with_type(_carried(kind.key_type)), _carried(kind.item_type))
    if is_list(kind):
        return pa.large_list(kind.value_field.with_type(_carried(kind.value_type)))
    if pa.types.is_decimal(kind):
        return pa.decimal128(kind.precision, kind.scale)
    if pa.types.is_duration(kind):
        return pa.int64()
    return {pa.float16(): pa.float32(), pa.date64(): pa.date32()}.get(kind, kind)


def _is_nested(kind: duckdb.sqltypes.DuckDBPyType) -> bool:
    return kind.id in ("struct", "list", "map")


def _text_sql(kind: duckdb.sqltypes.DuckDBPyType, value: str) -> str:
    """SQL of a value that is not nested as text."""
    if kind.id == "timestamp with time zone":  # whatever zone a session is in
        return f"(({value} AT TIME ZONE 'UTC')::VARCHAR || '+00')"
    if kind.id == "blob":
        return f"TRY(decode({value}))"
    text = f"CAST(CAST({value} AS {kind}) AS VARCHAR)"
    return f"regexp_replace({text}, '^(-?)[.]', '\\1' || '0.')" if kind.id == "decimal" else text


def _json_sql(kind: duckdb.sqltypes.DuckDBPyType, value: str, depth: int = 0) -> str:
    """SQL of what `to_json` is given: null for NaN and infinity, text for decimals, base64 for bytes but UTF-8."""
    one = f"one{depth}"
    if kind.id == "struct":
        inner = [
            f"{quoted(name)} := {_json_sql(of, f'struct_extract({value}, {literal(name)})', depth)}"
            for name, of in _children(kind)
        ]
        return f"CASE WHEN {value} IS NOT NULL THEN struct_pack({', '.join(inner)}) END"
    if kind.id == "list":
        [(_, of)] = _children(kind)
        return f"list_transform({value}, lambda {one}: {_json_sql(of, one, depth + 1)})"
    if kind.id == "map":
        _, (_, of) = _children(kind)
        pair = f"{{'k': {one}.key, 'v': {_json_sql(of, f'{one}.value', depth + 1)}}}"
        return f"map_from_entries(list_transform(map_entries({value}), lambda {one}: {pair}))"
    if kind.id in ("float", "double"):
        return f"CASE WHEN isfinite({value}) THEN {value} END"
    if kind.id == "blob":
        return f"coalesce(TRY(decode({value})), base64({value}))"
    return _text_sql(kind, value) if kind.id in ("decimal", "timestamp with time zone", "varchar") else value


def _children(kind: duckdb.sqltypes.DuckDBPyType) -> list[tuple[str, duckdb.sqltypes.DuckDBPyType]]:
    return [(name, of) for name, of in kind.children if isinstance(of, duckdb.sqltypes.DuckDBPyType)]

"""Conditions of rules as SQL: parsed by DuckDB, checked on a row of nulls before any data is read."""

import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import RecipeError, did_you_mean
from curate.filters.rules.resolve import ResolvedRule
from curate.recipe.tier1 import Rule
from curate.sql import first_line, literal, open_database, quoted

# Functions of DuckDB that make values as long as a number says, outside of its limit on memory.
OF_ANY_LENGTH = (
    "repeat", "lpad", "rpad", "printf", "format", "bar", "range", "generate_series", "list_resize", "array_resize",
    "list_reduce", "array_reduce", "reduce",
)  # fmt: skip
MOST_GROWTH = 100  # of a text by replacements


def condition(rule: Rule, types: Mapping[str, pa.DataType]) -> str:
    """SQL that is true where the rule drops, and false (never null) elsewhere; `types` are those of the signals."""
    if rule.when is not None:
        return f"coalesce(({rule.when}), false)"
    assert rule.signal is not None
    column = quoted(rule.signal)
    bound = rule.min if rule.min is not None else rule.max
    assert bound is not None
    kind = types[rule.signal]
    if pa.types.is_integer(kind):  # a cast would round the bound
        whole = math.ceil(bound) if rule.min is not None else math.floor(bound)
        threshold = f"{whole}::{'UBIGINT' if pa.types.is_uint64(kind) else 'BIGINT'}"
    else:  # as FLOAT, like the column: as DOUBLE, 0.1 would be another number than the column's 0.1
        threshold = f"{float(bound)!r}::{'FLOAT' if pa.types.is_float32(kind) else 'DOUBLE'}"
    verdict = f"{column} {'<' if rule.min is not None else '>'} {threshold}"
    if rule.if_ is not None:
        verdict = f"({rule.if_}) AND {verdict}"
    return f"coalesce({verdict}, false)"


def columns_named(rules: Sequence[ResolvedRule]) -> tuple[list[str], list[str]]:
    """Signals and input columns (as `input.x`) that the rules name, in order of appearance.

    Errors: RecipeError for a condition that is not one expression over them, the same at every run.
    """
    signals: dict[str, None] = {}
    inputs: dict[str, None] = {}
    for found in rules:
        if found.rule.signal is not None:
            signals[found.rule.signal] = None
        for expression in (found.rule.if_, found.rule.when):
            if expression is None:
                continue
            for names in _columns_in(expression, found.reason):
                if len(names) > 1 and names[0].lower() == "input":
                    inputs[names[1]] = None
                else:
                    signals[names[0]] = None
    return list(signals), list(inputs)


def _columns_in(expression: str, reason: str) -> list[list[str]]:
    """The columns that a condition names, each by its parts."""
    where = f"tier1.rules: {reason}: {expression!r}"
    parsed = [
        _parse(f"SELECT {expression}"),
        _parse(f"SELECT ({expression})"),
    ]  # the second refuses `x AS y`, `x FROM y`
    if problem := next((tree["error_message"] for tree in parsed if tree["error"]), None):
        raise RecipeError(f"{where} is not a condition: {problem.splitlines()[0]}")
    nodes = list(_nodes(parsed[0]))
    if len(parsed[0]["statements"]) != 1 or len(parsed[0]["statements"][0]["node"]["select_list"]) != 1:
        raise RecipeError(f"{where} is not a condition: it is more than one expression")
    for node in nodes:
        function = node.get("function_name")
        if node["class"] in ("SUBQUERY", "WINDOW", "STAR") or function in _not_row_wise():
            raise RecipeError(
                f"{where}: {function or node['class'].lower()} does not depend on the document's own row alone"
            )
        if function in OF_ANY_LENGTH:
            raise RecipeError(
                f"{where}: {function} makes text or lists of any length, which fill the memory; use none of "
                + ", ".join(OF_ANY_LENGTH)
            )
    if (growth := _growth(parsed[0])) > MOST_GROWTH:
        times = f"{growth:,.0f}" if growth < math.inf else "any number of"
        raise RecipeError(
            f"{where}: replace and regexp_replace may make a text {times} times as long here, which fills the "
            f"memory (at most {MOST_GROWTH}); put in less, in constants, or nest fewer"
        )
    parameters = {
        name for node in nodes if node["class"] == "LAMBDA" for n in _nodes(node["lhs"]) for name in n["column_names"]
    }
    columns: list[list[str]] = [node["column_names"] for node in nodes if node["class"] == "COLUMN_REF"]
    columns += filter(None, map(_subject, nodes))
    return [names for names in columns if names[0] not in parameters]


def _growth(tree: Any) -> float:  # noqa: ANN401 - DuckDB's syntax tree
    """How many times as long as its input a text may become by replacements that are nested."""
    name = tree.get("function_name") if isinstance(tree, dict) else None
    if name not in ("replace", "regexp_replace"):
        children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
        return max(map(_growth, children), default=1.0)
    arguments = [argument["expression"] for argument in tree["arguments"]]
    varying = [node for node in arguments if not _is_constant(node)]
    inner = max(map(_growth, varying or arguments[:1]), default=1.0)  # of a constant too, before it is evaluated
    if _subject(tree):
        arguments.insert(0, {})
    if len(arguments) != 3 and (len(arguments) != 4 or name == "replace"):
        return inner  # DuckDB itself tells how many it takes
    old, new, *flags = map(_constant, arguments[1:])
    if new is None:
        return math.inf
    put_in = float(len(new.encode()))
    if name == "replace":
        return inner * max(1.0, put_in / max(1, len((old or "").encode())))
    if "\\" not in new and not any(flag is None or "g" in flag for flag in flags):
        return inner  # put in once
    return inner * (max(1.0, put_in) if old is not None and not _matches_nothing(old) else 1.0 + put_in)


def _subject(node: Mapping[str, Any]) -> list[str]:
    """The column whose method a function is, as in `input.text.replace('a', 'b')`; empty where it is none."""
    if node["class"] != "FUNCTION":
        return []
    names = [name for name in (node.get("catalog"), node.get("schema")) if name]
    return [] if names and names[-1].lower() in ("main", "pg_catalog") else names


def _is_constant(node: Mapping[str, Any]) -> bool:
    """Whether an expression names no column, by itself or as that whose method it calls."""
    return not any(part["class"] == "COLUMN_REF" or _subject(part) for part in _nodes(node))


def _constant(node: Mapping[str, Any]) -> str | None:
    """The text that an expression is in every row, empty for null or an error; None where it depends on the row."""
    if not _is_constant(node) or _growth(node) > MOST_GROWTH:
        return None
    tree = json.loads(json.dumps(_parse("SELECT 1")))
    tree["statements"][0]["node"]["select_list"] = [node]
    with _database().cursor() as connection, suppress(duckdb.Error):
        query = connection.execute("SELECT json_deserialize_sql(?)", [json.dumps(tree)]).fetchone()
        row = connection.execute(query[0]).fetchone() if query else None
        return str(row[0]) if row and row[0] is not None else ""
    return ""


@cache
def _matches_nothing(pattern: str) -> bool:
    r"""Whether a pattern may match between two characters, at an end, or all of a text without any: `a*`, `^`, `\b`.

    Letters, blanks and line ends are all that RE2's assertions tell apart.
    """
    ends = [("", r"\A"), *((letter, r"\A(?s:.)") for letter in "a \n")]
    starts = [("", r"\z"), *((letter, r"(?s:.)\z") for letter in "a \n")]
    probes = [(a + b, f"{before}(?:{pattern}){after}") for a, before in ends for b, after in starts]
    with _database().cursor() as connection:
        try:
            return any(connection.execute("SELECT regexp_matches(?, ?)", probe).fetchall()[0][0] for probe in probes)
        except duckdb.Error:  # such as an open \Q
            return True


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """One for all conditions of a process, with a cursor for each: to open one takes longer than most conditions."""
    return open_database(threads="1")


@cache
def _parse(query: str) -> dict[str, Any]:
    with _database().cursor() as connection:
        row = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchone()
        assert row is not None
        tree: dict[str, Any] = json.loads(row[0])
        return tree


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - DuckDB's syntax tree
    """Every expression in a syntax tree."""
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    if isinstance(tree, dict) and "class" in tree:
        yield tree
    for child in children:
        yield from _nodes(child)


@cache
def _not_row_wise() -> frozenset[str]:
    """Functions whose result depends on other rows, the clock or chance."""
    with _database().cursor() as connection:
        rows = connection.execute(
            "SELECT function_name FROM duckdb_functions() GROUP BY function_name "
            "HAVING bool_and(function_type = 'aggregate' OR stability <> 'CONSISTENT')"
        ).fetchall()
    return frozenset(name for (name,) in rows)


def check_conditions(rules: Sequence[ResolvedRule], signals: pa.Schema, inputs: pa.Schema) -> None:
    """Let DuckDB evaluate every rule on a row of nulls, before any data is read.

    Errors: RecipeError naming the rule and what is wrong with it.
    """
    types = {field.name: field.type for field in signals}
    for found in rules:
        for name in columns_named([found])[0]:
            if name not in types:
                raise RecipeError(f"tier1.rules: {found.reason}: no signal {name!r}{did_you_mean(name, types)}")
        if found.rule.signal and pa.types.is_string(types[found.rule.signal]):
            raise RecipeError(
                f"tier1.rules: {found.reason}: {found.rule.signal} is text and has no bound; "
                f"use when: \"{found.rule.signal} = '…'\""
            )
    columns = signals.append(pa.field("input", pa.struct(list(inputs)))) if len(inputs) else signals
    nulls = pa.Table.from_arrays([pa.nulls(1, field.type) for field in columns], schema=columns)
    with tempfile.TemporaryDirectory() as folder, _database().cursor() as connection:
        # Through a file: handing DuckDB an Arrow table makes it import pandas, which takes a second.
        pq.write_table(nulls, f"{folder}/nulls.parquet")
        connection.execute(f"CREATE TEMP TABLE signals AS FROM {literal(folder + '/nulls.parquet')}")
        for found in rules:
            rule = found.rule
            for part in filter(None, (rule.if_, rule.when, condition(rule, types))):
                try:
                    kinds = connection.execute(f"SELECT typeof({part}) FROM signals").fetchall()
                    connection.execute(f"SELECT {part} FROM signals").fetchall()
                except duckdb.Error as error:
                    raise RecipeError(f"tier1.rules: {found.reason}: {first_line(error)}") from None
                if len(kinds) != 1:
                    raise RecipeError(
                        f"tier1.rules: {found.reason}: a condition has one value, not {len(kinds)}: {part}"
                    )
                [(kind,)] = kinds
                if kind not in ("BOOLEAN", '"NULL"'):
                    raise RecipeError(f"tier1.rules: {found.reason}: a condition is true or false, not {kind}: {part}")

"""Rules as SQL conditions, parsed by DuckDB and checked on a row of nulls before any data is read."""

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
from curate.sql import first_line, literal, quoted, small_queries

# DuckDB functions whose result may be arbitrarily long, beyond its memory limit.
OF_ANY_LENGTH = (
    "repeat",
    "lpad",
    "rpad",
    "printf",
    "format",
    "bar",
    "range",
    "generate_series",
    "list_resize",
    "array_resize",
    "list_reduce",
    "array_reduce",
    "reduce",
)
MAX_GROWTH = 100  # factor by which replacements may lengthen a text


def condition(rule: Rule, types: Mapping[str, pa.DataType]) -> str:
    """SQL that is true where the rule drops a document, else false (never null); `types` are those of the signals."""
    if rule.when is not None:
        return f"coalesce(({rule.when}), false)"
    assert rule.signal is not None
    column = quoted(rule.signal)
    bound = rule.min if rule.min is not None else rule.max
    assert bound is not None
    kind = types[rule.signal]
    if pa.types.is_integer(kind):  # round towards the bound's side; a cast would round to the nearest
        rounded = math.ceil(bound) if rule.min is not None else math.floor(bound)
        threshold = f"{rounded}::{'UBIGINT' if pa.types.is_uint64(kind) else 'BIGINT'}"
    else:  # FLOAT like the column: the DOUBLE 0.1 differs from the FLOAT 0.1
        threshold = f"{float(bound)!r}::{'FLOAT' if pa.types.is_float32(kind) else 'DOUBLE'}"
    verdict = f"{column} {'<' if rule.min is not None else '>'} {threshold}"
    if rule.if_ is not None:
        verdict = f"({rule.if_}) AND {verdict}"
    return f"coalesce({verdict}, false)"


def columns_named(rules: Sequence[ResolvedRule]) -> tuple[list[str], list[str]]:
    """Signals and input columns (as `input.x`) in the rules, in order of appearance.

    Errors: RecipeError for a condition that is not a single, deterministic expression over them.
    """
    signals: dict[str, None] = {}
    inputs: dict[str, None] = {}
    for resolved in rules:
        if resolved.rule.signal is not None:
            signals[resolved.rule.signal] = None
        for expression in (resolved.rule.if_, resolved.rule.when):
            if expression is None:
                continue
            for names in _columns_in(expression, resolved.reason):
                if len(names) > 1 and names[0].lower() == "input":
                    inputs[names[1]] = None
                else:
                    signals[names[0]] = None
    return list(signals), list(inputs)


def _columns_in(expression: str, reason: str) -> list[list[str]]:
    """The columns in a condition, each as the parts of its name."""
    location = f"tier1.rules: {reason}: {expression!r}"
    # The second query rejects `x AS y` and `x FROM y`.
    parsed = [_parse(f"SELECT {expression}"), _parse(f"SELECT ({expression})")]
    if problem := next((tree["error_message"] for tree in parsed if tree["error"]), None):
        raise RecipeError(f"{location} is not a condition: {problem.splitlines()[0]}")
    nodes = list(_nodes(parsed[0]))
    if len(parsed[0]["statements"]) != 1 or len(parsed[0]["statements"][0]["node"]["select_list"]) != 1:
        raise RecipeError(f"{location} is not a condition: it is more than one expression")
    for node in nodes:
        function = node.get("function_name")
        if node["class"] in ("SUBQUERY", "WINDOW", "STAR") or function in _not_row_wise_functions():
            raise RecipeError(
                f"{location}: {function or node['class'].lower()} does not depend on the document's own row alone"
            )
        if function in OF_ANY_LENGTH:
            raise RecipeError(
                f"{location}: {function} makes text or lists of any length, which fill the memory; use none of "
                + ", ".join(OF_ANY_LENGTH)
            )
    if (growth := _growth(parsed[0])) > MAX_GROWTH:
        times = f"{growth:,.0f}" if growth < math.inf else "any number of"
        raise RecipeError(
            f"{location}: replace and regexp_replace may make a text {times} times as long here, which fills the "
            f"memory (at most {MAX_GROWTH}); put in less, in constants, or nest fewer"
        )
    parameters = {
        name for node in nodes if node["class"] == "LAMBDA" for n in _nodes(node["lhs"]) for name in n["column_names"]
    }
    columns: list[list[str]] = [node["column_names"] for node in nodes if node["class"] == "COLUMN_REF"]
    columns += filter(None, map(_subject, nodes))
    return [names for names in columns if names[0] not in parameters]


def _growth(tree: Any) -> float:  # noqa: ANN401 - DuckDB's syntax tree
    """The largest factor by which nested replacements may lengthen a text."""
    name = tree.get("function_name") if isinstance(tree, dict) else None
    if name not in ("replace", "regexp_replace"):
        children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
        return max(map(_growth, children), default=1.0)
    arguments = [argument["expression"] for argument in tree["arguments"]]
    variable_arguments = [node for node in arguments if not _is_constant(node)]
    # Also of a constant, before it is evaluated.
    inner_growth = max(map(_growth, variable_arguments or arguments[:1]), default=1.0)
    if _subject(tree):
        arguments.insert(0, {})
    if len(arguments) != 3 and (len(arguments) != 4 or name == "replace"):
        return inner_growth  # the wrong number of arguments, which DuckDB reports
    old, new, *flags = map(_constant, arguments[1:])
    if new is None:
        return math.inf
    replacement_size = float(len(new.encode()))
    if name == "replace":
        return inner_growth * max(1.0, replacement_size / max(1, len((old or "").encode())))
    if "\\" not in new and not any(flag is None or "g" in flag for flag in flags):
        return inner_growth  # replaces only the first match
    if old is not None and not _may_match_empty(old):
        return inner_growth * max(1.0, replacement_size)
    return inner_growth * (1.0 + replacement_size)


def _subject(node: Mapping[str, Any]) -> list[str]:
    """The column on which a function is called as a method, as in `input.text.replace('a', 'b')`; else empty."""
    if node["class"] != "FUNCTION":
        return []
    names = [name for name in (node.get("catalog"), node.get("schema")) if name]
    return [] if names and names[-1].lower() in ("main", "pg_catalog") else names


def _is_constant(node: Mapping[str, Any]) -> bool:
    """Whether an expression contains no column, also not as the subject of a method."""
    return not any(part["class"] == "COLUMN_REF" or _subject(part) for part in _nodes(node))


def _constant(node: Mapping[str, Any]) -> str | None:
    """The constant value of an expression as text, empty for null or an error; None where it depends on the row."""
    if not _is_constant(node) or _growth(node) > MAX_GROWTH:
        return None
    tree = json.loads(json.dumps(_parse("SELECT 1")))
    tree["statements"][0]["node"]["select_list"] = [node]
    with small_queries().cursor() as connection, suppress(duckdb.Error):
        query = connection.execute("SELECT json_deserialize_sql(?)", [json.dumps(tree)]).fetchone()
        row = connection.execute(query[0]).fetchone() if query else None
        return str(row[0]) if row and row[0] is not None else ""
    return ""


@cache
def _may_match_empty(pattern: str) -> bool:
    r"""Whether a pattern may match the empty string somewhere in a text: `a*`, `^`, `\b`.

    The probes are complete, as RE2's assertions only distinguish letters, blanks and line ends.
    """
    ends = [("", r"\A"), *((letter, r"\A(?s:.)") for letter in "a \n")]
    starts = [("", r"\z"), *((letter, r"(?s:.)\z") for letter in "a \n")]
    probes = [(a + b, f"{prefix}(?:{pattern}){suffix}") for a, prefix in ends for b, suffix in starts]
    with small_queries().cursor() as connection:
        try:
            return any(connection.execute("SELECT regexp_matches(?, ?)", probe).fetchall()[0][0] for probe in probes)
        except duckdb.Error:  # such as an open \Q
            return True


@cache
def _parse(query: str) -> dict[str, Any]:
    with small_queries().cursor() as connection:
        row = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchone()
        assert row is not None
        tree: dict[str, Any] = json.loads(row[0])
        return tree


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - DuckDB's syntax tree
    """All expressions in a syntax tree."""
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    if isinstance(tree, dict) and "class" in tree:
        yield tree
    for child in children:
        yield from _nodes(child)


@cache
def _not_row_wise_functions() -> frozenset[str]:
    """Functions whose result depends on other rows, on the clock or on random numbers."""
    with small_queries().cursor() as connection:
        rows = connection.execute(
            "SELECT function_name FROM duckdb_functions() GROUP BY function_name "
            "HAVING bool_and(function_type = 'aggregate' OR stability <> 'CONSISTENT')"
        ).fetchall()
    return frozenset(name for (name,) in rows)


def check_conditions(rules: Sequence[ResolvedRule], signals: pa.Schema, inputs: pa.Schema) -> None:
    """Evaluate every rule on a row of nulls in DuckDB, before any data is read.

    Errors: RecipeError with the rule and the problem.
    """
    types = {field.name: field.type for field in signals}
    for resolved in rules:
        for name in columns_named([resolved])[0]:
            if name not in types:
                raise RecipeError(f"tier1.rules: {resolved.reason}: no signal {name!r}{did_you_mean(name, types)}")
        if resolved.rule.signal and pa.types.is_string(types[resolved.rule.signal]):
            raise RecipeError(
                f"tier1.rules: {resolved.reason}: {resolved.rule.signal} is text and has no bound; "
                f"use when: \"{resolved.rule.signal} = '…'\""
            )
    columns = signals.append(pa.field("input", pa.struct(list(inputs)))) if len(inputs) else signals
    nulls = pa.Table.from_arrays([pa.nulls(1, field.type) for field in columns], schema=columns)
    with tempfile.TemporaryDirectory() as folder, small_queries().cursor() as connection:
        # Through a file, because DuckDB imports pandas for an Arrow table, which takes a second.
        pq.write_table(nulls, f"{folder}/nulls.parquet")
        connection.execute(f"CREATE TEMP TABLE signals AS FROM {literal(folder + '/nulls.parquet')}")
        for resolved in rules:
            rule = resolved.rule
            for part in filter(None, (rule.if_, rule.when, condition(rule, types))):
                try:
                    kinds = connection.execute(f"SELECT typeof({part}) FROM signals").fetchall()
                    connection.execute(f"SELECT {part} FROM signals").fetchall()
                except duckdb.Error as error:
                    raise RecipeError(f"tier1.rules: {resolved.reason}: {first_line(error)}") from None
                if len(kinds) != 1:
                    raise RecipeError(
                        f"tier1.rules: {resolved.reason}: a condition has one value, not {len(kinds)}: {part}"
                    )
                [(kind,)] = kinds
                if kind not in ("BOOLEAN", '"NULL"'):
                    location = f"tier1.rules: {resolved.reason}"
                    raise RecipeError(f"{location}: a condition is true or false, not {kind}: {part}")

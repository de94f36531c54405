"""Rules: from the recipe's named sets, own rules and thresholds to SQL conditions."""

import json
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from curate.errors import RecipeError, did_you_mean
from curate.filters import registry
from curate.recipe import Rule, Tier1

# Reasons that every run knows, in the order in which they are given.
BUILT_IN = {
    "empty_text": "the text is null or blank",
    "invalid_utf8": "the text is not well-formed UTF-8",
    "too_large": "the text has more bytes than input.max_document_bytes",
    "excluded": "the document stands in a file of `exclude`",
    "exact_duplicate": "the text equals that of a document that is kept",
    "normalised_duplicate": "the text equals that of a document that is kept but for case and white space",
}


@dataclass(frozen=True)
class ResolvedRule:
    """A rule with its threshold settled and the set it came from (`recipe` for own rules)."""

    rule: Rule
    rule_set: str

    @property
    def reason(self) -> str:
        """What the rule says of a document that it drops."""
        return self.rule.reason


def resolve(tier1: Tier1) -> list[ResolvedRule]:
    """The rules of a recipe in order, thresholds applied, those switched off left out.

    Errors: RecipeError for unknown sets, signals and reasons, and for reasons that stand twice.
    """
    rules: list[ResolvedRule] = []
    for entry in tier1.rules:
        if isinstance(entry, Rule):
            rules.append(ResolvedRule(entry, "recipe"))
        else:
            rules += named_set(entry)
    seen: set[str] = set()
    for found in rules:
        if found.reason in seen or found.reason in BUILT_IN:
            where = "is built in" if found.reason in BUILT_IN else "stands twice"
            raise RecipeError(f"tier1.rules: the reason {found.reason!r} {where}; give each rule its own")
        seen.add(found.reason)
        if found.rule.signal is not None:
            registry.group_of(found.rule.signal)
    for reason in tier1.thresholds:
        if reason not in seen:
            raise RecipeError(f"tier1.thresholds: no rule has the reason {reason!r}{did_you_mean(reason, seen)}")
    return [changed for found in rules if (changed := _with_threshold(found, tier1.thresholds)) is not None]


def named_set(name: str) -> list[ResolvedRule]:
    """The rules of a named set.

    Errors: RecipeError for a name that is not known.
    """
    sets = registry.rule_sets()
    if name not in sets:
        raise RecipeError(f"tier1.rules: no rule set {name!r}{did_you_mean(name, sets)}")
    try:
        return [ResolvedRule(Rule.model_validate_json(json.dumps(rule)), name) for rule in sets[name]["rules"]]
    except ValidationError as error:
        raise TypeError(f"filters/rules/{name}.yaml: {error}") from None


def _with_threshold(found: ResolvedRule, thresholds: dict[str, float | int | None]) -> ResolvedRule | None:
    if found.reason not in thresholds:
        return found
    bound = thresholds[found.reason]
    if bound is None:
        return None
    if found.rule.when is not None:
        raise RecipeError(f"tier1.thresholds: {found.reason} has no threshold to move; null switches it off")
    side = "min" if found.rule.min is not None else "max"
    return replace(found, rule=found.rule.model_copy(update={side: bound}))


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
        literal = f"{math.ceil(bound) if rule.min is not None else math.floor(bound)}::BIGINT"
    else:  # as FLOAT, like the column: as DOUBLE, 0.1 would be another number than the column's 0.1
        literal = f"{float(bound)!r}::{'FLOAT' if pa.types.is_float32(kind) else 'DOUBLE'}"
    verdict = f"{column} {'<' if rule.min is not None else '>'} {literal}"
    if rule.if_ is not None:
        verdict = f"({rule.if_}) AND {verdict}"
    return f"coalesce({verdict}, false)"


def input_columns(rules: Sequence[ResolvedRule]) -> list[str]:
    """Input columns that conditions name as `input.x`, in order of appearance.

    Errors: RecipeError for a condition that is not one SQL expression.
    """
    found: dict[str, None] = {}
    for rule in rules:
        for expression in (rule.rule.if_, rule.rule.when):
            if expression is not None:
                for names in _column_references(expression, rule.reason):
                    if len(names) > 1 and names[0].lower() == "input":
                        found[names[1]] = None
    return list(found)


def _column_references(expression: str, reason: str) -> Iterable[list[str]]:
    row = duckdb.execute("SELECT json_serialize_sql(?)", [f"SELECT ({expression})"]).fetchone()
    assert row is not None
    tree = json.loads(row[0])
    if tree["error"] or len(tree["statements"]) != 1:
        problem = tree.get("error_message", "not one expression").splitlines()[0]
        raise RecipeError(f"tier1.rules: {reason}: {expression!r} is not a condition: {problem}")

    def walk(node: Any) -> Iterable[list[str]]:  # noqa: ANN401 - DuckDB's syntax tree
        if isinstance(node, dict):
            if node.get("class") == "COLUMN_REF":
                yield node["column_names"]
            for child in node.values():
                yield from walk(child)
        elif isinstance(node, list):
            for child in node:
                yield from walk(child)

    return list(walk(tree))


def check_conditions(rules: Sequence[ResolvedRule], signals: pa.Schema, inputs: pa.Schema) -> None:
    """Let DuckDB bind every rule against empty tables, before any data is read.

    Errors: RecipeError naming the rule and what DuckDB says of it.
    """
    types = {field.name: field.type for field in signals}
    columns = signals.append(pa.field("input", pa.struct(list(inputs)))) if len(inputs) else signals
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        # Through a file: handing DuckDB an Arrow table makes it import pandas, which takes a second.
        pq.write_table(columns.empty_table(), f"{folder}/empty.parquet")
        connection.execute(f"CREATE TABLE signals AS FROM {literal(folder + '/empty.parquet')}")
        for rule in rules:
            try:
                connection.execute(f"SELECT {condition(rule.rule, types)} FROM signals")
                found = connection.description
                assert found is not None
                if str(found[0][1]) != "BOOLEAN":
                    raise RecipeError(f"tier1.rules: {rule.reason}: a condition is true or false, not {found[0][1]}")
            except duckdb.Error as error:
                problem = " ".join(str(error).split("\n\nLINE")[0].split())
                raise RecipeError(f"tier1.rules: {rule.reason}: {problem}") from None


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"

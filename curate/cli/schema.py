"""The recipe's JSON schema, for editors: completion, explanations, and errors while typing."""

import copy
from collections.abc import Mapping
from typing import Any

from curate.filters import registry
from curate.filters.rules.resolve import edits_of_set, rules_of_set
from curate.manifests.export.mixture import Mixture
from curate.recipe.recipe import Recipe

DRAFT = "https://json-schema.org/draft/2020-12/schema"
# The forms of a rule; a field that a form lacks may be null.
NULL = {"type": "null"}
RULE_FORMS = [
    {
        "title": "a signal with a lower bound",
        "required": ["reason", "signal", "min"],
        "properties": {"signal": {"type": "string"}, "min": {"type": "number"}, "max": NULL, "when": NULL},
    },
    {
        "title": "a signal with an upper bound",
        "required": ["reason", "signal", "max"],
        "properties": {"signal": {"type": "string"}, "max": {"type": "number"}, "min": NULL, "when": NULL},
    },
    {
        "title": "a condition",
        "required": ["reason", "when"],
        "properties": {"when": {"type": "string"}, "signal": NULL, "min": NULL, "max": NULL, "if": NULL},
    },
]
# The forms of an entry of input.paths that is not just a path.
ENTRY_FORMS = [
    {
        "title": "files, globs, folders and URIs",
        "required": ["paths"],
        "properties": {
            "paths": {"minItems": 1},
            "dataset": NULL,
            "config": NULL,
            "split": {"const": "train"},
            "revision": NULL,
        },
    },
    {
        "title": "a dataset",
        "required": ["dataset"],
        "properties": {"dataset": {"type": "string", "minLength": 1}, "paths": {"maxItems": 0}},
    },
]


def mixture_schema() -> dict[str, Any]:
    """JSON schema of a mixture's file."""
    return {"$schema": DRAFT, **Mixture.model_json_schema(by_alias=True)}


def recipe_schema() -> dict[str, Any]:
    """JSON schema of a recipe that a run accepts, with the names of rule sets, reasons and signals."""
    schema = Recipe.model_json_schema(by_alias=True)
    sections = schema["$defs"]
    sections["Rule"]["anyOf"] = RULE_FORMS
    sections["Source"]["anyOf"] = ENTRY_FORMS
    sections["Block"]["anyOf"] = [_block_form(kind) for kind in ("words", "regex", "urls")]
    action = sections["Pii"]["properties"]["action"]
    action.pop("type")
    action["enum"].append(False)  # as YAML reads a bare off
    pii = sections["Tier1"]["properties"]["pii"]
    sections["Tier1"]["properties"]["pii"] = {"anyOf": [{"enum": action["enum"]}, pii], "default": "off"}
    rule = sections["Rule"]["properties"]
    rule["signal"] = rule["signal"] | {"anyOf": [{"enum": _signals()}, NULL]}
    rules = sections["Tier1"]["properties"]
    rules["rules"]["items"]["anyOf"][0] = {"enum": list(registry.rule_sets())}
    rules["thresholds"]["properties"] = _thresholds(rules["thresholds"]["additionalProperties"])
    used = _used(schema, sections)
    return {
        "$schema": DRAFT,
        **schema,
        "$defs": {name: section for name, section in sections.items() if name in used},
    }


def _block_form(kind: str) -> dict[str, Any]:
    """An entry of tier1.block with one kind of list."""
    other_kinds = {name: NULL for name in ("words", "regex", "urls") if name != kind}
    return {"title": kind, "required": ["reason", kind], "properties": {kind: {"type": "string"}} | other_kinds}


def _signals() -> list[str]:
    measured = {column for signals in registry.groups().values() for signal in signals for column in signal.writes}
    return sorted(measured | set(registry.DERIVED))


def _thresholds(value: dict[str, Any]) -> dict[str, Any]:
    """The thresholds of the reasons of all named sets; a reason without a bound can only be switched off."""
    thresholds: dict[str, Any] = {}
    for name in registry.rule_sets():
        for cut in (rule for edit in edits_of_set(name) for rule in edit.rules):
            kind = "integer" if isinstance(cut.bound, int) else "number"
            movable = [] if cut.bound is None else [{"type": kind, "minimum": 0}]
            thresholds.setdefault(
                cut.reason, {"anyOf": [*movable, NULL], "description": f"{cut} ({name}); null: do not cut"}
            )
        for rule in (resolved.rule for resolved in rules_of_set(name)):
            if rule.when is not None:
                thresholds.setdefault(rule.reason, {"type": "null", "description": f"of {name}: null switches it off"})
                continue
            bound = f"min {rule.min}" if rule.min is not None else f"max {rule.max}"
            about = {"description": f"instead of {rule.signal} {bound} ({name}); null switches it off"}
            thresholds.setdefault(rule.reason, copy.deepcopy(value) | about)
    return thresholds


def _used(schema: Mapping[str, Any], sections: Mapping[str, Any]) -> set[str]:
    """The sections that the recipe refers to, directly or through others."""
    used: set[str] = set()
    waiting: list[Any] = [{name: part for name, part in schema.items() if name != "$defs"}]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            name = str(part.get("$ref", "")).removeprefix("#/$defs/")
            if name in sections and name not in used:
                used.add(name)
                waiting.append(sections[name])
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return used

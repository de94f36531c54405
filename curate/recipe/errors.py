"""Validation errors of a recipe as one line, in terms of YAML."""

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from curate.display import counted
from curate.errors import did_you_mean, shortened
from curate.storage.endings import is_input

# Command-line options that users look for in the recipe: they set where and how fast, and change no result.
OPTIONS = ("workers", "engine", "address", "quiet", "json")
EXPECTED = {
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dataclass_type": "a mapping",
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
}
PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$": "letters, digits, '.', '_' and '-', beginning with a letter or digit",
    r"^[a-z][a-z0-9_]*$": "small letters, digits and '_', beginning with a letter",
}


def not_a_recipe(path: Path) -> str | None:
    """The message where a folder or a file of documents was given as a recipe; None for anything else."""
    if os.path.isdir(path):
        recipes = sorted(entry.name for entry in os.scandir(path) if entry.name.endswith((".yaml", ".yml")))
        if recipes:
            kind = "run directory" if os.path.isdir(path / "ledger") else "folder"
            more = f" or {counted(len(recipes) - 1, 'other')} there" if len(recipes) > 1 else ""
            return f"{path}: a {kind}, not a recipe; did you mean {path / recipes[0]}{more}?"
        return f"{path}: a folder, not a recipe; write a recipe for its files: curate init {shlex.quote(str(path))}"
    if is_input(path.name) and os.path.isfile(path):
        return f"{path}: a data file, not a recipe; write a recipe for it: curate init {shlex.quote(str(path))}"
    return None


def first_error(error: ValidationError, model: type[BaseModel], noun: str) -> str:
    """One line for the first error; unknown fields come before all others. `noun` names the whole."""
    errors = error.errors(include_url=False)
    unknown = [e for e in errors if e["type"] == "extra_forbidden"]
    in_right_branch = [e for e in errors if not (e["type"] == "string_type" and isinstance(e["input"], dict))]
    first = (unknown or in_right_branch or errors)[0]
    *sections, last = first["loc"] or ("",)
    place = [str(part) for part in sections if not _is_type_name(part)]
    if unknown:  # its name may look like a type name, as in `Name`
        return _unknown_field([*place, str(last)], first["input"], model, noun)
    place += [] if _is_type_name(last) else [str(last)]
    if first["type"] == "json_invalid":
        return f"{noun} is nested too deeply"
    if first["type"] == "missing":
        return f"{'.'.join(place)} is missing"
    value = json.dumps(first["input"], ensure_ascii=False, default=str)
    received = f", got {value}" if first["type"] != "value_error" and len(value) < 60 else ""
    return f"{'.'.join(place)}: {_message(first)}{received}{_as_list(first)}"


def _unknown_field(place: list[str], value: object, model: type[BaseModel], noun: str) -> str:
    """The message for an unknown field, with what was probably meant: a command-line option, or another field."""
    *parents, name = place
    if not parents and name in OPTIONS:
        argument = "" if value is True else f" {json.dumps(value, default=str)}"
        return f"{noun} has no field {name!r}: it is an option of the command; give --{name}{argument}"
    return f"{'.'.join(parents) or noun} has no field {name!r}{did_you_mean(name, _fields_at(model, parents))}"


def _message(error: Mapping[str, Any]) -> str:
    """Pydantic's message, with types in terms of YAML and patterns in words."""
    if expected := EXPECTED.get(error["type"]):
        return f"input should be {expected}"
    if error["type"] == "string_pattern_mismatch" and (words := PATTERNS.get(error["ctx"]["pattern"])):
        return f"a name has {words}"
    message = str(error["msg"]).removeprefix("Value error, ").replace(" after validation,", ",")
    return shortened(message[0].lower() + message[1:])


def _as_list(error: Mapping[str, Any]) -> str:
    """How to write a single value as the list that is expected."""
    value = error["input"]
    if error["type"] != "list_type" or not isinstance(value, str | int | float) or isinstance(value, bool):
        return ""
    return f"; write [{value}]" if len(str(value)) < 60 else "; write it in [ ]"


def _is_type_name(part: object) -> bool:
    """Whether an item of an error's location names a branch of a union rather than a field."""
    if not isinstance(part, str):
        return False
    return (
        part in ("str", "int", "float", "bool") or part[:1].isupper() or "[" in part or part.startswith("constrained-")
    )


def _fields_at(section: type[BaseModel], place: list[str]) -> set[str]:
    """Names of the fields of the section at `place` within another section."""
    for part in place:
        if part not in section.model_fields:  # an item of a list or mapping
            continue
        annotation = section.model_fields[part].annotation
        section = next(model for model in _models_in(annotation))
    return {field.alias or name for name, field in section.model_fields.items()}


def _models_in(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401 - any type annotation
    """Section types within a type annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in getattr(annotation, "__args__", ()) for model in _models_in(inner)]

"""A recipe from YAML and --set, with errors in one line."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from curate.errors import RecipeError, shortened
from curate.recipe.errors import first_error, not_a_recipe
from curate.recipe.recipe import Recipe

Model = TypeVar("Model", bound=BaseModel)
MAX_VALUES = 1_000_000  # in a recipe
MAX_BYTES = 10_000_000  # of a recipe
MERGE = "tag:yaml.org,2002:merge"
OTHER_BUDGET = {"keep_tokens": "keep_bytes", "keep_bytes": "keep_tokens"}  # fields of `distill` that replace each other


def load_recipe(path: Path, changes: Iterable[str] = ()) -> Recipe:
    """Read a recipe file, with changes of the form `a.b=c` (c is YAML).

    Errors: RecipeError naming the file, the field and what would have been right.
    """
    if (message := not_a_recipe(path)) is not None:
        raise RecipeError(message)
    fields = read_fields(path, "a recipe is a mapping of fields such as name and input")
    for change in changes:
        _set(fields, change)
    return parse_recipe(fields, str(path))


def read_fields(path: Path, problem: str) -> dict[str, Any]:
    """The fields of a YAML file.

    Errors: RecipeError naming the file, with `problem` where it is not a mapping.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise RecipeError(
                f"{path}: is larger than {MAX_BYTES // 10**6} MB, which no recipe is; name folders or globs"
            )
        fields = _parsed_yaml(content.decode("utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such file") from None
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: not UTF-8 text") from None
    except yaml.YAMLError as error:
        detail = " ".join(str(error).replace('in "<unicode string>", ', "").split())
        raise RecipeError(f"{path}: not YAML: {detail}") from None
    if not isinstance(fields, dict):
        raise RecipeError(f"{path}: {problem}")
    return fields


def parse_recipe(fields: Mapping[str, object], origin: str) -> Recipe:
    """A recipe from its fields; errors name its `origin`."""
    return parse_fields(fields, Recipe, origin, "the recipe")


def parse_fields(fields: Mapping[str, object], model: type[Model], origin: str, noun: str) -> Model:
    """Fields validated by a model; errors name their `origin`, and the whole by `noun`."""
    if not _is_small(fields):  # YAML aliases may refer to themselves, or multiply
        raise RecipeError(f"{origin}: holds a field within itself, or more than {MAX_VALUES:,} values")
    try:
        text = json.dumps(fields, default=str, ensure_ascii=False).encode()
    except (ValueError, RecursionError):  # half a surrogate pair; deeply nested aliases
        raise RecipeError(f"{origin}: holds characters that are none, or is nested too deeply") from None
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise RecipeError(f"{origin}: {first_error(error, model, noun)}") from None


def _is_small(fields: Mapping[str, object]) -> bool:
    """Whether fields contain at most MAX_VALUES values; a value with several aliases counts each time."""
    open_iterators: list[Iterator[object]] = [iter(fields.values())]
    count = 0
    while open_iterators:
        for value in open_iterators[-1]:
            count += 1
            if isinstance(value, dict | list):
                open_iterators.append(iter(value.values() if isinstance(value, dict) else value))
                break
        else:
            open_iterators.pop()
        if count > MAX_VALUES:
            return False
    return True


def _parsed_yaml(text: str) -> Any:  # noqa: ANN401 - any YAML
    """The value of YAML text; errors of PyYAML's constructors (a 13th month, a malformed number) as YAMLError."""
    try:
        return yaml.load(text, _UniqueKeys)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except ValueError as error:  # characters that YAML does not allow
        raise yaml.YAMLError(str(error)) from None


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a repeated key is an error; PyYAML silently keeps the last one."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401 - any YAML
        """A node's value; an error with its position where it does not fit its tag, as in `!!int ''`."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, OverflowError):  # raised by PyYAML's constructors
            value = shortened(str(node.value))
            kind = node.tag.rpartition(":")[2]
            raise yaml.MarkedYAMLError(problem=f"{value!r} is no {kind}", problem_mark=node.start_mark) from None

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that the mapping already has, and the merge of another mapping."""
        if not isinstance(node, yaml.MappingNode):
            raise yaml.MarkedYAMLError(problem="a mapping is expected", problem_mark=node.start_mark)
        keys = set()
        for key_node, _ in node.value:
            if key_node.tag == MERGE:
                problem = "merge keys (<<) are not taken; write the fields out"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool):
                raise yaml.MarkedYAMLError(problem="a field's name is text", problem_mark=key_node.start_mark)
            if key in keys:
                raise yaml.MarkedYAMLError(problem=f"the field {key!r} stands twice", problem_mark=key_node.start_mark)
            keys.add(key)
        return super().construct_mapping(node, deep)


def _set(fields: dict[str, Any], change: str) -> None:
    """Apply one `a.b=c`."""
    name, equals, text = change.partition("=")
    if not equals or not name.strip():
        raise RecipeError(f"--set {change}: write it as field.field=value")
    *parents, last = name.strip().split(".")
    for parent in parents:
        if not isinstance(fields.setdefault(parent, {}), dict):
            fields[parent] = {}
        fields = fields[parent]
    try:
        value = _parsed_yaml(text)
    except yaml.YAMLError:
        raise RecipeError(f"--set {shortened(change)}: {shortened(text)!r} is not YAML") from None
    if parents == ["distill"] and last in OTHER_BUDGET and value is not None:
        _drop_other_budget(fields, last, change)
    fields[last] = value


def _drop_other_budget(section: dict[str, Any], name: str, change: str) -> None:
    """Remove the budget that `name` is about to replace.

    Errors: RecipeError for a ladder of numbers, which are of the other unit.
    """
    other, rungs = OTHER_BUDGET[name], section.get("ladder")
    unit = "tokens" if section.get("keep_bytes") is None else "bytes"
    is_numeric = isinstance(rungs, list) and any(isinstance(rung, int | float) and rung > 1 for rung in rungs)
    if is_numeric and other == f"keep_{unit}":
        raise RecipeError(
            f"--set {shortened(change)}: the rungs of distill.ladder are numbers of {unit}; change them first, "
            "as in --set 'distill.ladder=[5%, 10%]'"
        )
    section.pop(other, None)

"""The recipe: one YAML file, typed, that holds every knob which changes the result."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError

from curate.digest import digest_of
from curate.errors import RecipeError, shortened
from curate.recipe.errors import first_error, no_recipe
from curate.recipe.sections import Dedup, Distill, Evaluate, Input, Models, Section, Tier1, Tier2
from curate.recipe.teacher import HOW_ASKED, AnyTeacher, Teacher
from curate.recipe.tier3 import Tier3
from curate.recipe.values import Size, switch
from curate.storage.mirror import run_of

# Sections and fields whose type stands but whose work is not built yet: set to anything but this, they are refused.
NOT_BUILT: dict[str, Any] = {
    "tokenizer": "estimate",
}


Model = TypeVar("Model", bound=BaseModel)
MOST_VALUES = 1_000_000  # in a recipe
MOST_BYTES = 10_000_000  # of a recipe
DECIDES_NOTHING = (
    "name",
    "export",
    "evaluate",
    "input.license",
    "input.columns",
)  # fields without a say in what is kept


class Recipe(Section):
    """Everything that decides what a run keeps."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field(description="names the dataset")
    seed: int = Field(default=0, description="all randomness derives from it")
    output: str | None = Field(
        default=None, description="the run directory, a path or s3://bucket/run; null means runs/ and the name"
    )
    input: Input
    on_error: Literal["stop", "quarantine"] = Field(default="stop", description="what an unreadable file does")
    allow_empty: bool = Field(default=False, description="whether a run that keeps nothing is a success")
    tokenizer: str = Field(default="estimate", description="what n_tokens counts: an estimate by bytes and script")
    exclude: list[str] = Field(default=[], description="files of ids, urls or hashes whose documents are removed")
    reference: list[str] = Field(
        default=[], description="files of good text: what tier2 tells bad text from, and distill looks for"
    )
    teacher: AnyTeacher = Field(default="rules", description="the language model that is asked; rules: none is")
    tier1: Tier1 = Tier1()
    dedup: Dedup = Dedup()
    tier2: Annotated[Tier2 | None, switch(Tier2)] = None
    tier3: Tier3 | None = None
    distill: Annotated[Distill | None, switch(Distill)] = None
    evaluate: Evaluate | None = None
    models: Models = Models()
    export: list[str] = Field(default=[], description="formats for other trainers")
    shard_size: Size = Field(default=256_000_000, description="bytes of text per output shard")

    @property
    def run_directory(self) -> Path:
        """Where the run goes; on an object store, its mirror on this machine."""
        return run_of(self.output or f"runs/{self.name}")

    def resolved(self) -> dict[str, Any]:
        """The recipe with all defaults written out, but for where it reads and writes, and how its teacher is asked."""
        left_out: Any = {"output": True, "input": {"paths"}}
        if isinstance(self.teacher, Teacher):
            left_out["teacher"] = HOW_ASKED
        return self.model_dump(mode="json", by_alias=True, exclude=left_out)

    def digest(self) -> str:
        """Hex digest of all that can change a kept document, but for the inputs, which have hashes of their own."""
        fields = self.resolved()
        for name in DECIDES_NOTHING:
            section, _, field = name.rpartition(".")
            del (fields[section] if section else fields)[field]
        return digest_of(fields)


def changed_fields(before: Recipe, after: Recipe) -> dict[str, tuple[Any, Any]]:
    """The fields that decide what is kept and differ, by their dotted names, with both values (null: none)."""
    fields = (before.resolved(), after.resolved())
    old, new = (_flat(one) for one in fields)
    names = [
        name for name in {**new, **old}
        if not f"{name}.".startswith(tuple(f"{one}." for one in DECIDES_NOTHING))
        and (name in old, old.get(name)) != (name in new, new.get(name))
    ]  # fmt: skip
    whole = [name for name in names if not any(name.startswith(f"{other}.") for other in names)]
    return {name: (_at(fields[0], name), _at(fields[1], name)) for name in whole}


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Fields by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _at(fields: Any, name: str) -> Any:  # noqa: ANN401 - any value of a recipe
    """The value of a dotted name; None where there is none."""
    for part in name.split("."):
        fields = fields.get(part) if isinstance(fields, dict) else None
    return fields


def load_recipe(path: Path, changes: Iterable[str] = ()) -> Recipe:
    """Read a recipe file, with changes of the form `a.b=c` (c is YAML).

    Errors: RecipeError naming the file, the field and what would have been right.
    """
    if (told := no_recipe(path)) is not None:
        raise RecipeError(told)
    fields = read_fields(path, "a recipe is a mapping of fields such as name and input")
    for change in changes:
        _set(fields, change)
    return parse_recipe(fields, str(path))


def read_fields(path: Path, wanted: str) -> dict[str, Any]:
    """The fields of a YAML file; `wanted` is told where it has none.

    Errors: RecipeError naming the file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise RecipeError(
                f"{path}: is larger than {MOST_BYTES // 10**6} MB, which no recipe is; name folders or globs"
            )
        fields = _parsed_yaml(content.decode("utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such file") from None
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: not UTF-8 text") from None
    except yaml.YAMLError as error:
        problem = " ".join(str(error).replace('in "<unicode string>", ', "").split())
        raise RecipeError(f"{path}: not YAML: {problem}") from None
    if not isinstance(fields, dict):
        raise RecipeError(f"{path}: {wanted}")
    return fields


def parse_recipe(fields: dict[str, Any], where: str) -> Recipe:
    """A recipe from its fields; errors name `where`."""
    recipe = parse_fields(fields, Recipe, where, "the recipe")
    for name, harmless in NOT_BUILT.items():
        if _get(recipe, name) != harmless:
            usable = "remove it" if harmless in (None, []) else f"use {harmless}"
            raise RecipeError(f"{where}: {name} is not built yet; {usable}")
    return recipe


def parse_fields(fields: dict[str, Any], model: type[Model], where: str, what: str) -> Model:
    """What fields come to, by a model; errors name `where`, and the whole as `what`."""
    if not _is_small(fields):  # YAML aliases of themselves, or of aliases of aliases
        raise RecipeError(f"{where}: holds a field within itself, or more than {MOST_VALUES:,} values")
    try:
        text = json.dumps(fields, default=str, ensure_ascii=False).encode()
    except (ValueError, RecursionError):  # half a surrogate pair; aliases of aliases, a thousand deep
        raise RecipeError(f"{where}: holds characters that are none, or is nested too deeply") from None
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise RecipeError(f"{where}: {first_error(error, model, what)}") from None


def _is_small(fields: dict[str, Any]) -> bool:
    """Whether all that fields hold are no more than MOST_VALUES values, each counted where it stands."""
    left, count = [iter(fields.values())], 0
    while left:
        for value in left[-1]:
            count += 1
            if isinstance(value, dict | list):
                left.append(iter(value.values() if isinstance(value, dict) else value))
                break
        else:
            left.pop()
        if count > MOST_VALUES:
            return False
    return True


def _parsed_yaml(text: str) -> Any:  # noqa: ANN401 - any YAML
    """YAML's value; what its own constructors raise (a 13th month, no number) as its error."""
    try:
        return yaml.load(text, _UniqueKeys)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except ValueError as error:  # of characters that no YAML has
        raise yaml.YAMLError(str(error)) from None


MERGE = "tag:yaml.org,2002:merge"


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a repeated key is an error, not a silent loss."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401 - any YAML
        """A node's value; where it is none of its type, such as `!!int ''`, say so with its place."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, OverflowError):  # as PyYAML's own constructors end
            value = shortened(str(node.value))
            kind = node.tag.rpartition(":")[2]
            raise yaml.MarkedYAMLError(problem=f"{value!r} is no {kind}", problem_mark=node.start_mark) from None

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that the mapping already has, and the merge of another mapping."""
        if not isinstance(node, yaml.MappingNode):
            raise yaml.MarkedYAMLError(problem="a mapping is expected", problem_mark=node.start_mark)
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == MERGE:
                problem = "merge keys (<<) are not taken; write the fields out"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool):
                raise yaml.MarkedYAMLError(problem="a field's name is text", problem_mark=key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the field {key!r} stands twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _get(recipe: Recipe, name: str) -> object:
    value: Any = recipe
    for part in name.split("."):
        value = getattr(value, part)
    return value


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
        fields[last] = _parsed_yaml(text)
    except yaml.YAMLError:
        raise RecipeError(f"--set {shortened(change)}: {shortened(text)!r} is not YAML") from None

"""`curate init`: write a recipe for the files of a folder, short or with every field explained."""

import json
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypedDict, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from curate.display import visible
from curate.errors import RecipeError
from curate.init.folder import Ask, SortedFiles, sort_files, summary_lines
from curate.init.patterns import patterns_of
from curate.init.survey import SurveyedFile
from curate.recipe.recipe import Recipe

WIDTH = 116
MOST_PATHS = 16  # of the input, a line each
ENGLISH_ALONE = {"reason": "too_few_english_stop_words", "signal": "n_stop_words", "min": 2, "if": "language = 'en'"}


class Domain(TypedDict):
    """An entry of `tier3.domains`."""

    name: str
    seeds: list[str]
    target_tokens: str


class InputEntry(TypedDict):
    """An entry of `input.paths` whose texts are in another column."""

    paths: list[str]
    text: str


def write_recipe(
    path: Path,
    folder: Path,
    roots: Sequence[Path] = (),
    full: bool = False,
    force: bool = False,
    ask: Ask | None = None,
) -> list[str]:
    """Write a recipe for the files of `folder`, or of `roots`; return the lines to print.

    `ask` decides the role of files where it is unclear; without it such files are left out.

    Errors: RecipeError where `path` exists (unless forced) or cannot be written; InputError without any input.
    """
    if path.is_dir():
        raise RecipeError(f"{path}: a folder; write the recipe's name before it: curate init recipe.yaml {path}")
    if path.exists() and not force:
        raise RecipeError(f"{path}: exists; give another path, or --force to write over it")
    files = sort_files([folder / root for root in roots] or [folder], folder, ask)
    stem = folder.name if path.stem == "recipe" else path.stem
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("._-") or "corpus"
    lines = list(recipe_lines(path, name, files, folder) if full else short_lines(path, name, files, folder))
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    except OSError as error:
        raise RecipeError(f"{path}: cannot be written: {error.strerror}") from None
    more = "" if full else "; with every field: --full"
    shown = shlex.quote(str(path))
    return [
        f"{path}: {len(lines)} lines{more}",
        *summary_lines(files),
        f"next: curate plan {shown}, then curate run {shown}",
    ]


def short_lines(path: Path, name: str, files: SortedFiles, folder: Path) -> Iterator[str]:
    """A recipe with what was found, and the fields that most corpora need."""
    yield f"# `curate plan {path}` tells what this recipe would do and cost; `curate run {path}` carries it out."
    yield "# `curate init --full` writes one with every field; docs/recipe.md explains them."
    yield "#"
    for line in summary_lines(files):
        yield from _comment(visible(line), "")
    yield ""
    yield f"name: {_yaml(name)}"
    if _has_bad_lines(files):
        yield "on_error: quarantine  # a bad line is left out and counted"
    yield "input:"
    entries = _entries(files, folder)
    yield "  paths:" if len(entries) <= MOST_PATHS else f"  paths: {_yaml(entries)}"
    yield from (f"  - {_yaml(entry)}" for entry in (entries if len(entries) <= MOST_PATHS else ()))
    yield f"  {'messages' if files.chats else 'text'}: {_yaml(files.column)}"
    if files.casts:
        yield f"  cast: {_yaml(dict(files.casts))}  # files have these columns in types that do not fit"
    if files.roles["reference"]:
        yield f"reference: {_yaml(_paths(files, files.roles['reference'], folder))}  # good text; distill looks for it"
    yield "tier1:"
    yield "  rules:  # `curate rules` lists the sets"
    yield from (f"  - {_yaml(rule)}" for rule in _rules(files))
    if files.languages.foreign:
        yield "  thresholds: {too_few_stop_words: null}  # for English; to keep English alone: language: {keep: [en]}"
    if of_role := files.roles["evaluation"]:
        yield f"  decontaminate: {_yaml({'against': _paths(files, of_role, folder)})}  # drop what holds their text"
    yield "dedup:"
    yield "  exact: true"
    yield "  # near: {}  # near duplicates too"
    yield "# distill: {keep_tokens: 15%}  # the best 15% of the tokens"
    if of_role := files.roles["heldout"]:
        yield f"evaluate: {_yaml({'heldout': _paths(files, of_role, folder)})}  # how much quality is kept"
    if of_role := files.roles["seeds"]:
        yield "# tier3:  # a model writes more of thin domains"
        yield f"#   domains: {_yaml(_domains(files, folder))}"


def _has_bad_lines(files: SortedFiles) -> bool:
    return any(file.bad_lines for file in files.roles["input"])


def _rules(files: SortedFiles) -> list[object]:
    return ["gopher", ENGLISH_ALONE] if files.languages.foreign else ["gopher"]


def _domains(files: SortedFiles, folder: Path) -> list[Domain]:
    """A domain for each file of seeds."""
    return [
        {
            "name": re.sub(r"[^A-Za-z0-9_-]+", "-", file.path.name.split(".")[0]).strip("-_") or "domain",
            "seeds": _paths(files, [file], folder),
            "target_tokens": "2M",
        }
        for file in files.roles["seeds"]
    ]


def _entries(files: SortedFiles, folder: Path) -> list[str | InputEntry]:
    """The paths of the input; files with their texts in another column become separate entries."""
    by_column: dict[str, list[SurveyedFile]] = {}
    for file in files.roles["input"]:
        by_column.setdefault(files.column_of(file), []).append(file)
    paths = _paths(files, by_column.pop(files.column, []), folder)
    entries = [InputEntry(paths=_paths(files, members, folder), text=name) for name, members in by_column.items()]
    return [*paths, *entries]


def _paths(files: SortedFiles, chosen_files: Sequence[SurveyedFile], folder: Path) -> list[str]:
    """Folders, globs and names that match these files and no others, relative to `folder` if they are in it."""
    chosen = {str(file.path) for file in chosen_files}
    lead = f"{str(folder).rstrip('/')}/"  # also for the root folder
    every = [str(path) for path in files.every]
    inside = [name.removeprefix(lead) for name in every if name.startswith(lead)]
    outside = [name for name in every if not name.startswith(lead) and name in chosen]
    return [*patterns_of(folder, inside, {name.removeprefix(lead) for name in chosen}, files.knows), *outside]


def recipe_lines(path: Path, name: str, files: SortedFiles, folder: Path) -> Iterator[str]:
    """The recipe with every field."""
    yield "# A recipe of curate. Every field is here with its default; most can be left out."
    yield "# A section that is off is commented out: take away the `# ` before each of its lines."
    yield f"# `curate plan {path}` tells what it would do and cost; `curate run {path}` carries it out."
    yield "#"
    for line in summary_lines(files):
        yield from _comment(visible(line), "")
    roles = {role: _paths(files, of_role, folder) for role, of_role in files.roles.items() if of_role}
    values: dict[str, object] = {
        "name": name,
        "input.paths": _entries(files, folder),
        "input.messages" if files.chats else "input.text": files.column,
        "reference": roles.get("reference", []),
        "input.cast": dict(files.casts),
        "on_error": "quarantine" if _has_bad_lines(files) else "stop",
        "tier1.rules": _rules(files),
        "tier1.thresholds": {"too_few_stop_words": None} if files.languages.foreign else {},
        "tier1.decontaminate.against": roles.get("evaluation", ["benchmarks"]),
        "evaluate.heldout": roles.get("heldout", ["heldout"]),
        "tier3.domains": _domains(files, folder) or [{"name": "law", "seeds": ["seeds/law"], "target_tokens": "2M"}],
        "distill.keep_tokens": 0.15,
    }
    switched_on = {"tier1.decontaminate"} if "evaluation" in roles else set()
    yield from _section_lines(Recipe, "", values, "", switched_on | ({"evaluate"} if "heldout" in roles else set()))


def _section_lines(
    section: type[BaseModel], path: str, values: Mapping[str, object], margin: str, switched_on: Collection[str]
) -> Iterator[str]:
    """The fields of a section, each after its explanation; sections that are off by default are commented out."""
    for key, field in section.model_fields.items():
        name = field.alias or key
        full_path = f"{path}{name}"
        inner = _section_of(field)
        if len(get_args(field.annotation)) == 1 and get_origin(field.annotation) is Literal:  # nothing to choose
            continue
        if not path:
            yield ""
        if inner is not None:
            yield from _comment(
                _meaning(field, inner) + ("; default: left out" if field.default is None else ""), margin
            )
            lead = f"{margin}# " if field.default is None and full_path not in switched_on else margin
            yield f"{lead}{name}:"
            yield from _section_lines(inner, f"{full_path}.", values, f"{lead}  ", switched_on)
            continue
        default = "required" if field.is_required() else f"default: {_yaml(field.get_default())}"
        yield from _comment(f"{field.description or name}; {default}", margin)
        yield f"{margin}{name}: {_yaml(values.get(full_path, field.get_default()))}"


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The section that a field has, or may have; None for a value or a list."""
    kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
    if "list" in str(field.annotation):
        return None
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _meaning(field: FieldInfo, section: type[BaseModel]) -> str:
    """The purpose of a section."""
    return field.description or (section.__doc__ or "").splitlines()[0].rstrip(".")


def _comment(text: str, margin: str) -> Iterator[str]:
    """Wrap text into comment lines. They stay comments when the user uncomments the section that they are in."""
    lead = f"{margin}# "
    line = ""
    for word in text.split():
        if line and len(lead) + len(line) + len(word) > WIDTH:
            yield f"{lead}{line}"
            line = ""
        line = f"{line} {word}".strip()
    yield f"{lead}{line}"


def _yaml(value: object) -> str:
    """A value as YAML on one line; sizes with their unit."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 10**6 and value % 10**6 == 0:
        return f"{value // 10**6}MB"
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, BaseModel | float):
        return json.dumps(value, default=str)
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
    if visible(text) != text:  # direction marks, say, which would make a name look like another
        text = yaml.safe_dump(value, default_flow_style=True, width=10**6)
    return text.removesuffix("\n...\n").strip()

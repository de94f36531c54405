"""What `curate init` writes: a recipe for the files of a folder, short, or with every field explained."""

import json
import re
import shlex
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from curate.display import visible
from curate.errors import RecipeError
from curate.init.folder import Ask, Folder, look_into, said
from curate.init.patterns import patterns_of
from curate.init.survey import Seen
from curate.recipe.recipe import Recipe

WIDTH = 116
MOST_PATHS = 16  # of the input, a line each
ENGLISH_ALONE = {"reason": "too_few_english_stop_words", "signal": "n_stop_words", "min": 2, "if": "language = 'en'"}


def write_recipe(
    path: Path, folder: Path, places: Sequence[Path] = (), full: bool = False, force: bool = False,
    ask: Ask | None = None,
) -> list[str]:  # fmt: skip
    """Write a recipe for what lies in `folder`, or in some places; return what to tell the user.

    `ask` settles what a file is for where that cannot be told; without it such files are left out.

    Errors: RecipeError where `path` exists (unless forced) or cannot be written; InputError without any input.
    """
    if path.is_dir():
        raise RecipeError(f"{path}: a folder; write the recipe's name before it: curate init recipe.yaml {path}")
    if path.exists() and not force:
        raise RecipeError(f"{path}: exists; give another path, or --force to write over it")
    found = look_into([folder / place for place in places] or [folder], folder, ask)
    called = folder.name if path.stem == "recipe" else path.stem
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", called).strip("._-") or "corpus"
    lines = list(recipe_lines(path, name, found, folder) if full else short_lines(path, name, found, folder))
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    except OSError as error:
        raise RecipeError(f"{path}: cannot be written: {error.strerror}") from None
    more = "" if full else "; with every field: --full"
    shown = shlex.quote(str(path))
    return [f"{path}: {len(lines)} lines{more}", *said(found), f"next: curate plan {shown}, then curate run {shown}"]


def short_lines(path: Path, name: str, found: Folder, folder: Path) -> Iterator[str]:
    """A recipe of what was found and what most corpora need."""
    yield f"# `curate plan {path}` tells what this recipe would do and cost; `curate run {path}` carries it out."
    yield "# `curate init --full` writes one with every field; docs/recipe.md explains them."
    yield "#"
    for line in said(found):
        yield from _comment(visible(line), "")
    yield ""
    yield f"name: {_yaml(name)}"
    if _has_bad_lines(found):
        yield "on_error: quarantine  # a bad line is left out and counted"
    yield "input:"
    entries = _entries(found, folder)
    yield "  paths:" if len(entries) <= MOST_PATHS else f"  paths: {_yaml(entries)}"
    yield from (f"  - {_yaml(entry)}" for entry in (entries if len(entries) <= MOST_PATHS else ()))
    yield f"  {'messages' if found.chats else 'text'}: {_yaml(found.column)}"
    if found.casts:
        yield f"  cast: {_yaml(dict(found.casts))}  # files have these columns in types that do not fit"
    if found.roles["reference"]:
        yield f"reference: {_yaml(_paths(found, found.roles['reference'], folder))}  # good text; distill looks for it"
    yield "tier1:"
    yield "  rules:  # `curate rules` lists the sets"
    yield from (f"  - {_yaml(rule)}" for rule in _rules(found))
    if found.languages.foreign:
        yield "  thresholds: {too_few_stop_words: null}  # for English; to keep English alone: language: {keep: [en]}"
    if files := found.roles["evaluation"]:
        yield f"  decontaminate: {_yaml({'against': _paths(found, files, folder)})}  # drop what holds their text"
    yield "dedup:"
    yield "  exact: true"
    yield "  # near: {}  # near duplicates too"
    yield "# distill: {keep_tokens: 15%}  # the best 15% of the tokens"
    if files := found.roles["heldout"]:
        yield f"evaluate: {_yaml({'heldout': _paths(found, files, folder)})}  # how much quality is kept"
    if files := found.roles["seeds"]:
        yield "# tier3:  # a model writes more of thin domains"
        yield f"#   domains: {_yaml(_domains(found, folder))}"


def _has_bad_lines(found: Folder) -> bool:
    return any(file.bad_lines for file in found.roles["input"])


def _rules(found: Folder) -> list[Any]:
    return ["gopher", ENGLISH_ALONE] if found.languages.foreign else ["gopher"]


def _domains(found: Folder, folder: Path) -> list[dict[str, Any]]:
    """A domain for each file of seeds."""
    return [
        {
            "name": re.sub(r"[^A-Za-z0-9_-]+", "-", file.path.name.split(".")[0]).strip("-_") or "domain",
            "seeds": _paths(found, [file], folder),
            "target_tokens": "2M",
        }
        for file in found.roles["seeds"]
    ]


def _entries(found: Folder, folder: Path) -> list[Any]:
    """The input's paths; those whose texts are in another column than the corpus's as entries of their own."""
    by_column: dict[str, list[Seen]] = {}
    for file in found.roles["input"]:
        by_column.setdefault(found.column_of(file), []).append(file)
    entries: list[Any] = _paths(found, by_column.pop(found.column, []), folder)
    return entries + [{"paths": _paths(found, files, folder), "text": name} for name, files in by_column.items()]


def _paths(found: Folder, files: Sequence[Seen], folder: Path) -> list[str]:
    """Folders, globs and names that say some files and no others, relative to `folder` where they lie in it."""
    chosen = {str(file.path) for file in files}
    lead = f"{str(folder).rstrip('/')}/"  # of the root too
    every = [str(path) for path in found.every]
    inside = [name.removeprefix(lead) for name in every if name.startswith(lead)]
    outside = [name for name in every if not name.startswith(lead) and name in chosen]
    return [*patterns_of(folder, inside, {name.removeprefix(lead) for name in chosen}, found.knows), *outside]


def recipe_lines(path: Path, name: str, found: Folder, folder: Path) -> Iterator[str]:
    """The recipe with every field."""
    yield "# A recipe of curate. Every field is here with its default; most can be left out."
    yield "# A section that is off is commented out: take away the `# ` before each of its lines."
    yield f"# `curate plan {path}` tells what it would do and cost; `curate run {path}` carries it out."
    yield "#"
    for line in said(found):
        yield from _comment(visible(line), "")
    roles = {role: _paths(found, files, folder) for role, files in found.roles.items() if files}
    chosen: dict[str, Any] = {
        "name": name,
        "input.paths": _entries(found, folder),
        "input.messages" if found.chats else "input.text": found.column,
        "reference": roles.get("reference", []),
        "input.cast": dict(found.casts),
        "on_error": "quarantine" if _has_bad_lines(found) else "stop",
        "tier1.rules": _rules(found),
        "tier1.thresholds": {"too_few_stop_words": None} if found.languages.foreign else {},
        "tier1.decontaminate.against": roles.get("evaluation", ["benchmarks"]),
        "evaluate.heldout": roles.get("heldout", ["heldout"]),
        "tier3.domains": _domains(found, folder) or [{"name": "law", "seeds": ["seeds/law"], "target_tokens": "2M"}],
        "distill.keep_tokens": 0.15,
    }
    on = {"tier1.decontaminate"} if "evaluation" in roles else set()
    yield from _section_lines(Recipe, "", chosen, "", on | ({"evaluate"} if "heldout" in roles else set()))


def _section_lines(
    section: type[BaseModel], place: str, chosen: dict[str, Any], margin: str, on: Collection[str]
) -> Iterator[str]:
    """The fields of a section, each after its explanation; what is off by default, and not `on`, is commented out."""
    for key, field in section.model_fields.items():
        name = field.alias or key
        here = f"{place}{name}"
        inner = _section_of(field)
        if len(get_args(field.annotation)) == 1 and get_origin(field.annotation) is Literal:  # nothing to choose
            continue
        if not place:
            yield ""
        if inner is not None:
            yield from _comment(
                _meaning(field, inner) + ("; default: left out" if field.default is None else ""), margin
            )
            lead = f"{margin}# " if field.default is None and here not in on else margin
            yield f"{lead}{name}:"
            yield from _section_lines(inner, f"{here}.", chosen, f"{lead}  ", on)
            continue
        default = "required" if field.is_required() else f"default: {_yaml(field.get_default())}"
        yield from _comment(f"{field.description or name}; {default}", margin)
        yield f"{margin}{name}: {_yaml(chosen.get(here, field.get_default()))}"


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The section that a field holds, or may hold; None for a value or a list."""
    kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
    if "list" in str(field.annotation):
        return None
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _meaning(field: FieldInfo, section: type[BaseModel]) -> str:
    """What a section is for."""
    return field.description or (section.__doc__ or "").splitlines()[0].rstrip(".")


def _comment(text: str, margin: str) -> Iterator[str]:
    """Text as lines of comment, which are comments still once the marks of a section that is off are taken away."""
    lead = f"{margin}# "
    line = ""
    for word in text.split():
        if line and len(lead) + len(line) + len(word) > WIDTH:
            yield f"{lead}{line}"
            line = ""
        line = f"{line} {word}".strip()
    yield f"{lead}{line}"


def _yaml(value: object) -> str:
    """A value on one line, sizes with their unit."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 10**6 and value % 10**6 == 0:
        return f"{value // 10**6}MB"
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, BaseModel | float):
        return json.dumps(value, default=str)
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
    if visible(text) != text:  # marks of direction, say, that would show a name as another
        text = yaml.safe_dump(value, default_flow_style=True, width=10**6)
    return text.removesuffix("\n...\n").strip()

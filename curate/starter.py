"""A first recipe: every field that is built, with its default and what it means, for the files of a folder."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from curate.columns import is_text
from curate.errors import InputError, RecipeError
from curate.folders import IN_FOLDERS
from curate.recipe import NOT_BUILT, Recipe
from curate.spool import json_tables

DEPTH = 3  # levels of folders that are looked into, the current one the first
TEXT_NAMES = ("text", "content", "body", "raw_content", "document")
WIDTH = 116


@dataclass(frozen=True)
class Inputs:
    """What a folder offers: paths to write into the recipe, the files found there, the text column."""

    paths: tuple[str, ...]
    files: int
    text: str


def write_recipe(path: Path, folder: Path) -> list[str]:
    """Write a recipe for what lies in `folder`; return what to tell the user.

    Errors: RecipeError where `path` exists or cannot be written.
    """
    inputs = look_around(folder)
    said = folder.name if path.stem == "recipe" else path.stem
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", said).strip("._-") or "corpus"
    text = "\n".join(recipe_lines(path, name, inputs)) + "\n"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise RecipeError(f"{path}: exists; give another path, or remove it first") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be written: {error.strerror}") from None
    files = f"{inputs.files:,} file{'' if inputs.files == 1 else 's'}"
    found = f"{files} in {', '.join(inputs.paths)}, text in column {inputs.text!r}"
    told = found if inputs.files else "no Parquet or JSONL file found here: set input.paths and input.text first"
    return [f"{path}: {told}", f"next: curate plan {path}, then curate run {path}"]


def look_around(folder: Path) -> Inputs:
    """The input files nearest to `folder`, and the column that seems to hold the text: by footer, or a line of JSON."""
    for depth in range(DEPTH):
        found = sorted(folder.glob("*/" * depth + "*"))
        found = [p for p in found if p.name.endswith(IN_FOLDERS) and p.is_file() and not _is_hidden(p, folder)]
        if found:
            folders = sorted({path.parent.relative_to(folder).as_posix() for path in found})
            endings = dict.fromkeys(next(e for e in IN_FOLDERS if path.name.endswith(e)) for path in found)
            paths = tuple(f"*{ending}" for ending in endings) if depth == 0 else tuple(folders)
            return Inputs(paths, len(found), _text_column(found[0]))
    return Inputs(("data",), 0, "text")


def _is_hidden(path: Path, folder: Path) -> bool:
    """Whether a file lies in a hidden folder or in a run directory."""
    inner = [folder / part for part in path.relative_to(folder).parents]
    return any(place.name.startswith((".", "_")) or (place / "ledger").is_dir() for place in inner if place != folder)


def _text_column(path: Path) -> str:
    """The column of strings with a usual name, else the largest one."""
    if not path.name.endswith(".parquet"):
        return _text_key(path)
    try:
        metadata = pq.read_metadata(path)
        strings = [field.name for field in metadata.schema.to_arrow_schema() if is_text(field.type)]
    except (OSError, pa.ArrowException):
        return "text"
    sizes = dict.fromkeys(strings, 0)
    for group in (metadata.row_group(k) for k in range(metadata.num_row_groups)):
        for column in (group.column(k) for k in range(group.num_columns)):
            if column.path_in_schema in sizes:
                sizes[column.path_in_schema] += column.total_uncompressed_size
    usual = [name for name in TEXT_NAMES if name in sizes]
    return usual[0] if usual else max(sizes, key=lambda name: sizes[name], default="text")


def _text_key(path: Path) -> str:
    """The key with a usual name in the first lines of a JSON lines file, else that of the longest text."""
    try:
        table, _ = next(json_tables(str(path), share=0.0), (pa.table({}), 1.0))
    except InputError:
        return "text"
    strings = [field.name for field in table.schema if is_text(field.type)]
    usual = [name for name in TEXT_NAMES if name in strings]
    return usual[0] if usual else max(strings, key=lambda name: table[name].nbytes, default="text")


def recipe_lines(path: Path, name: str, inputs: Inputs) -> Iterator[str]:
    """The recipe as text."""
    yield "# A recipe of curate. Every field is here with its default; most can be left out."
    yield "# A section that is off is commented out: take away the `# ` before each of its lines."
    yield f"# `curate plan {path}` tells what it would do and cost; `curate run {path}` carries it out."
    chosen: dict[str, Any] = {
        "name": name,
        "input.paths": list(inputs.paths),
        "input.text": inputs.text,
        "tier1.rules": ["gopher"],
        "tier1.decontaminate.against": ["benchmarks"],
        "evaluate.heldout": ["heldout"],
        "tier3.domains": [{"name": "law", "seeds": ["seeds/law"], "target_tokens": "2M"}],
        "distill.keep_tokens": 0.15,
    }
    yield from _section_lines(Recipe, "", chosen, "")


def _section_lines(section: type[BaseModel], place: str, chosen: dict[str, Any], margin: str) -> Iterator[str]:
    """The fields of a section, each after its explanation; what is off by default is commented out."""
    for key, field in section.model_fields.items():
        name = field.alias or key
        here = f"{place}{name}"
        inner = _section_of(field)
        if here in NOT_BUILT or (inner and not any(True for _ in _built(inner, f"{here}."))):
            continue
        if not place:
            yield ""
        if inner is not None:
            off = field.default is None
            yield from _comment(_meaning(field, inner) + ("; default: left out" if off else ""), margin)
            lead = f"{margin}# " if off else margin
            yield f"{lead}{name}:"
            yield from _section_lines(inner, f"{here}.", chosen, f"{lead}  ")
            continue
        default = "required" if field.is_required() else f"default: {_yaml(field.get_default())}"
        yield from _comment(f"{field.description or name}; {default}", margin)
        yield f"{margin}{name}: {_yaml(chosen.get(here, field.get_default()))}"


def _built(section: type[BaseModel], place: str) -> Iterator[str]:
    """The fields of a section that are built."""
    return (key for key, field in section.model_fields.items() if f"{place}{field.alias or key}" not in NOT_BUILT)


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
    return (
        yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6).removesuffix("\n...\n").strip()
    )

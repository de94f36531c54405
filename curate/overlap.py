"""Warnings of a plan and a run: files and texts that input, reference, held-out and evaluation files share."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.contamination import FIELD as EVALUATION
from curate.figures import counted
from curate.heldout import FIELD as HELDOUT
from curate.plan import Plan
from curate.recipe import Recipe
from curate.reference import FIELD as REFERENCE
from curate.roles import Role, role_of
from curate.sampled_texts import sampled_texts
from curate.side_files import content_of, side_files
from curate.storage import is_remote
from curate.survey import Seen, look
from curate.text_keys import Keys, keys_of, shared

INPUT = "input.paths"
MOST = 4096  # documents of the input whose texts are compared
SIDE_BYTES = 64 << 20  # of files beside the corpus, those of one field, that are read in all

# What a shared text does, and what may be done.
MEANT = {
    (INPUT, EVALUATION): "what is trained on would be measured; tier1.decontaminate drops what it finds of them",
    (INPUT, HELDOUT): "evaluate leaves these held-out texts out; hold out what the input does not have",
    (INPUT, REFERENCE): "good text is then told by documents that it judges; take them out of one of the two",
    (REFERENCE, EVALUATION): "what is like an evaluation set would be wanted most; take them out of reference",
    (REFERENCE, HELDOUT): "evaluate leaves these held-out texts out; take them out of reference",
}
LOOKS_LIKE: dict[Role, tuple[str, str]] = {
    "evaluation": ("evaluation sets", EVALUATION),
    "heldout": ("held-out text", HELDOUT),
    "reference": ("reference texts", REFERENCE),
}


@dataclass(frozen=True)
class Side:
    """Files of one field of a recipe, with what was seen of each."""

    field: str
    files: tuple[Seen, ...]


def overlaps(recipe: Recipe, plan: Plan) -> list[str]:
    """A line for each pair of fields that share files or texts, and for inputs that are called as other files are."""
    found = list(_misplaced(plan))
    sides = _sides(recipe)
    if not sides:
        return found
    local = {
        str(plan.root / file.path): (Path(os.path.realpath(plan.root / file.path)), file.size)
        for no, file in plan.files.items() if not is_remote(file.path)
    }  # fmt: skip
    keys = keys_of(one.text for one in sampled_texts(plan, MOST))
    for side in sides:
        same = _same_files(local, side)
        found += [_told_files(INPUT, side.field, same)] if same else []
        found += _told_texts(INPUT, side, keys, "sampled documents")
    by_field = {side.field: side for side in sides}
    if reference := by_field.pop(REFERENCE, None):
        for side in by_field.values():
            of_side = {str(file.path): (Path(os.path.realpath(file.path)), file.size) for file in side.files}
            same = _same_files(of_side, reference)
            found += [_told_files(REFERENCE, side.field, [(b, a) for a, b in same])] if same else []
            texts = np.concatenate([file.keys for file in reference.files])
            found += _told_texts(REFERENCE, side, texts, "texts that were looked at")
    return found


def _misplaced(plan: Plan) -> Iterator[str]:
    """Inputs whose folders, names or columns say that they are for something else."""
    files: dict[Role, list[tuple[str, int, str]]] = {}
    for file in plan.files.values():
        role, told = role_of(tuple(file.path.split("/")), file.schema.names)
        if role is not None and role in LOOKS_LIKE:
            files.setdefault(role, []).append((file.path, file.rows, told))
    for of, some in files.items():
        what, field = LOOKS_LIKE[of]
        documents = sum(rows for _, rows, _ in some)
        yield (
            f"{INPUT}: {counted(len(some), 'file')} with {counted(documents, 'document')} may be {what}, as "
            f"{some[0][0]} ({some[0][2]}); name them in {field}, and not here"
        )


def _sides(recipe: Recipe) -> list[Side]:
    patterns: dict[str, tuple[Sequence[str], str]] = {
        REFERENCE: (recipe.reference if recipe.models.pin is None else [], "reference texts"),
        HELDOUT: (recipe.evaluate.heldout if recipe.evaluate else [], "held-out texts"),
        EVALUATION: (recipe.tier1.decontaminate.against if recipe.tier1.decontaminate else [], "evaluation sets"),
    }
    return [Side(field, _seen(side_files(paths, field, what))) for field, (paths, what) in patterns.items() if paths]


def _seen(paths: Sequence[Path]) -> tuple[Seen, ...]:
    left, found = SIDE_BYTES, []
    for path in paths:
        found.append(look(path, path.parent, Path.cwd(), left))
        left -= found[-1].size
    return tuple(found)


def _same_files(files: Mapping[str, tuple[Path, int]], side: Side) -> list[tuple[str, str]]:
    """Pairs of names of files that are one, or hold the same bytes."""
    found = []
    for other in side.files:
        for name, (path, size) in files.items():
            if size == other.size and size and (path == Path(os.path.realpath(other.path)) or _equal(path, other.path)):
                found.append((name, other.name))
    return found


def _equal(a: Path, b: Path) -> bool:
    return content_of([a], INPUT) == content_of([b], INPUT)


def _told_files(field: str, other: str, same: Sequence[tuple[str, str]]) -> str:
    name, second = same[0]
    return (
        f"{field} and {other} have {counted(len(same), 'file')} in common, as {_short(name)} and {_short(second)}: "
        f"{MEANT[field, other]}"
    )


def _short(name: str) -> str:
    """A file by its name and folder."""
    return "/".join(name.split("/")[-2:])


def _told_texts(field: str, side: Side, keys: Keys, what: str) -> list[str]:
    """A line where some of the texts of `field` are those of a side; which of its files has most of them."""
    every = [(shared(keys, file.all_keys)[1], file.name) for file in side.files]
    long, hits = shared(keys, np.concatenate([file.all_keys for file in side.files]))
    if not hits:
        return []
    most, name = max(every, key=lambda one: one[0])
    return [
        f"{hits:,} of {long:,} {what} of {field} ({hits / long:.1%}) are in {side.field} too, {most:,} in {name}: "
        f"{MEANT[field, side.field]}"
    ]

"""Warnings of a plan and a run: files and texts that input, reference, held-out and evaluation files share."""

import filecmp
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate import __version__
from curate.corpus.side_files import side_files
from curate.corpus.text_keys import Keys, keys_of, shared
from curate.decide.plan import Plan
from curate.digest import digest_of
from curate.display import counted
from curate.distill.evaluate.heldout import FIELD as HELDOUT
from curate.distill.reference import FIELD as REFERENCE
from curate.filters.contamination.benchmarks import FIELD as EVALUATION
from curate.init.roles import Role, role_of, words_of
from curate.init.survey import Seen, look
from curate.pipeline.checks.sample_texts import sampled_texts
from curate.recipe.recipe import Recipe
from curate.storage.places import is_remote, status

INPUT = "input.paths"
MOST = 4096  # documents of the input whose texts are compared
SIDE_BYTES = 64 << 20  # of files beside the corpus, those of one field, that are read in all

# What a shared text does, and what may be done.
MEANT = {
    (INPUT, EVALUATION): "what is trained on would be measured; tier1.decontaminate drops what it finds of them",
    (INPUT, HELDOUT): "evaluate leaves these held-out texts out; hold out what the input does not have",
    (
        INPUT,
        REFERENCE,
    ): "the model of good text would then be trained on documents that it judges; take them out of one of the two",
    (REFERENCE, EVALUATION): "documents similar to an evaluation set would be preferred; take them out of reference",
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
    keys = keys_of(one.text for one in sampled_texts(plan, MOST))
    for side in sides:
        same = _same_files(((str(plan.root / f.path), f.size) for f in plan.files.values()), side)
        found += [_told_files(INPUT, side.field, same)] if same else []
        found += _told_texts(INPUT, side, keys, "sampled documents")
    by_field = {side.field: side for side in sides}
    if reference := by_field.pop(REFERENCE, None):
        for side in by_field.values():
            same = _same_files(((str(file.path), file.size) for file in side.files), reference)
            found += [_told_files(REFERENCE, side.field, [(b, a) for a, b in same])] if same else []
            texts = np.concatenate([file.keys for file in reference.files])
            found += _told_texts(REFERENCE, side, texts, "texts that were looked at")
    return found


def overlaps_digest(recipe: Recipe, plan: Plan) -> str:
    """Hex digest of what decides which overlaps are told: the input, the files beside it as they are, and the code."""
    beside = {field: side_files(paths, field, what) for field, (paths, what) in _patterns(recipe).items() if paths}
    states = [[(str(path), *status(str(path))) for path in paths] for paths in beside.values()]
    files = [(file.path, str(plan.root), file.identity) for file in plan.files.values()]
    return digest_of([__version__, files, list(beside), states, recipe.input.model_dump(mode="json"), recipe.seed])


def _misplaced(plan: Plan) -> Iterator[str]:
    """Inputs whose folders, names or columns say that they are for something else."""
    files: dict[Role, list[tuple[str, int, str]]] = {}
    known: dict[tuple[str, str, tuple[str, ...]], tuple[Role | None, str]] = {}
    for file in plan.files.values():
        folder, _, name = file.path.rpartition("/")
        columns = tuple(file.schema.names)
        alike = (folder, words_of(name.split(".")[0]), columns)
        if alike not in known:
            known[alike] = role_of(tuple(file.path.split("/")), columns)
        role, told = known[alike]
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
    sides = _patterns(recipe).items()
    return [Side(field, _seen(side_files(paths, field, what))) for field, (paths, what) in sides if paths]


def _patterns(recipe: Recipe) -> dict[str, tuple[Sequence[str], str]]:
    """The paths of files beside the corpus by their field, and what they hold."""
    return {
        REFERENCE: (recipe.reference if recipe.models.pin is None else [], "reference texts"),
        HELDOUT: (recipe.evaluate.heldout if recipe.evaluate else [], "held-out texts"),
        EVALUATION: (recipe.tier1.decontaminate.against if recipe.tier1.decontaminate else [], "evaluation sets"),
    }


def _seen(paths: Sequence[Path]) -> tuple[Seen, ...]:
    left, found = SIDE_BYTES, []
    for path in paths:
        found.append(look(path, path.parent, Path.cwd(), left))
        left -= found[-1].size
    return tuple(found)


def _same_files(files: Iterable[tuple[str, int]], side: Side) -> list[tuple[str, str]]:
    """Pairs of names of files that are one, or hold the same bytes; files are opened where their sizes are equal."""
    by_size: dict[int, list[Seen]] = {}
    for other in side.files:
        by_size.setdefault(other.size, []).append(other)
    by_size.pop(0, None)
    return [
        (name, other.name)
        for name, size in files if size in by_size and not is_remote(name)
        for other in by_size[size] if _equal(Path(name), other.path)
    ]  # fmt: skip


def _equal(a: Path, b: Path) -> bool:
    """Whether two files are one or hold the same bytes, which are read up to the first that differ."""
    try:
        return os.path.realpath(a) == os.path.realpath(b) or filecmp.cmp(a, b, shallow=False)
    except OSError:  # the run itself tells of a file that cannot be read
        return False


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

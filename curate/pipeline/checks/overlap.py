"""Warn of overlaps: files and texts that the input, the reference, held-out texts and evaluation sets share."""

import filecmp
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate import __version__
from curate.corpus.side_files import side_files
from curate.corpus.text_keys import Keys, count_shared, keys_of
from curate.decide.plan import Plan
from curate.digest import digest_of
from curate.display import counted
from curate.distill.evaluate.heldout import FIELD as HELDOUT
from curate.distill.reference import FIELD as REFERENCE
from curate.filters.contamination.benchmarks import FIELD as EVALUATION
from curate.init.roles import Role, role_of, words_of
from curate.init.survey import SurveyedFile, survey_file
from curate.pipeline.checks.sample_texts import sampled_texts
from curate.recipe.recipe import Recipe
from curate.storage.places import is_remote, status

INPUT = "input.paths"
MOST = 4096  # documents of the input whose texts are compared
SIDE_BYTES = 64 << 20  # of the side files of a field that are read whole

# By the two fields: what a shared text does, and what the user may do.
ADVICE = {
    (INPUT, EVALUATION): "what is trained on would be measured; tier1.decontaminate drops what it finds of them",
    (INPUT, HELDOUT): "evaluate leaves these held-out texts out; hold out what the input does not have",
    (INPUT, REFERENCE): (
        "the model of good text would then be trained on documents that it judges; take them out of one of the two"
    ),
    (REFERENCE, EVALUATION): "documents similar to an evaluation set would be preferred; take them out of reference",
    (REFERENCE, HELDOUT): "evaluate leaves these held-out texts out; take them out of reference",
}
LOOKS_LIKE: dict[Role, tuple[str, str]] = {
    "evaluation": ("evaluation sets", EVALUATION),
    "heldout": ("held-out text", HELDOUT),
    "reference": ("reference texts", REFERENCE),
}


@dataclass(frozen=True)
class SideFiles:
    """The surveyed files of one field of the recipe."""

    field: str
    files: tuple[SurveyedFile, ...]


def overlaps(recipe: Recipe, plan: Plan) -> list[str]:
    """Return a warning for each pair of fields that share files or texts, and for inputs that look like side files."""
    lines = list(_misplaced(plan))
    sides = _sides(recipe)
    if not sides:
        return lines
    keys = keys_of(sampled.text for sampled in sampled_texts(plan, MOST))
    for side in sides:
        same = _same_files(((str(plan.root / f.path), f.size) for f in plan.files.values()), side)
        lines += [_file_warning(INPUT, side.field, same)] if same else []
        lines += _text_warnings(INPUT, side, keys, "sampled documents")
    by_field = {side.field: side for side in sides}
    if reference := by_field.pop(REFERENCE, None):
        for side in by_field.values():
            same = _same_files(((str(file.path), file.size) for file in side.files), reference)
            lines += [_file_warning(REFERENCE, side.field, [(b, a) for a, b in same])] if same else []
            texts = np.concatenate([file.keys for file in reference.files])
            lines += _text_warnings(REFERENCE, side, texts, "texts that were looked at")
    return lines


def overlaps_digest(recipe: Recipe, plan: Plan) -> str:
    """Hex digest of all that the warnings depend on: the input, the state of the side files, and the code."""
    listed = {field: side_files(paths, field, kind) for field, (paths, kind) in _patterns(recipe).items() if paths}
    states = [[(str(path), *status(str(path))) for path in paths] for paths in listed.values()]
    files = [(file.path, str(plan.root), file.identity) for file in plan.files.values()]
    return digest_of([__version__, files, list(listed), states, recipe.input.model_dump(mode="json"), recipe.seed])


def _misplaced(plan: Plan) -> Iterator[str]:
    """Warn of inputs whose folders, names or columns suggest another role."""
    files: dict[Role, list[tuple[str, int, str]]] = {}
    roles: dict[tuple[str, str, tuple[str, ...]], tuple[Role | None, str]] = {}
    for file in plan.files.values():
        folder, _, name = file.path.rpartition("/")
        columns = tuple(file.schema.names)
        key = (folder, words_of(name.split(".")[0]), columns)
        if key not in roles:
            roles[key] = role_of(tuple(file.path.split("/")), columns)
        role, why = roles[key]
        if role is not None and role in LOOKS_LIKE:
            files.setdefault(role, []).append((file.path, file.rows, why))
    for role, listed in files.items():
        kind, field = LOOKS_LIKE[role]
        documents = sum(rows for _, rows, _ in listed)
        yield (
            f"{INPUT}: {counted(len(listed), 'file')} with {counted(documents, 'document')} may be {kind}, as "
            f"{listed[0][0]} ({listed[0][2]}); name them in {field}, and not here"
        )


def _sides(recipe: Recipe) -> list[SideFiles]:
    fields = _patterns(recipe).items()
    return [SideFiles(field, _surveyed(side_files(paths, field, kind))) for field, (paths, kind) in fields if paths]


def _patterns(recipe: Recipe) -> dict[str, tuple[Sequence[str], str]]:
    """The paths of side files by field, and what they hold."""
    return {
        REFERENCE: (recipe.reference if recipe.models.pin is None else [], "reference texts"),
        HELDOUT: (recipe.evaluate.heldout if recipe.evaluate else [], "held-out texts"),
        EVALUATION: (recipe.tier1.decontaminate.against if recipe.tier1.decontaminate else [], "evaluation sets"),
    }


def _surveyed(paths: Sequence[Path]) -> tuple[SurveyedFile, ...]:
    budget, surveyed = SIDE_BYTES, []
    for path in paths:
        surveyed.append(survey_file(path, path.parent, Path.cwd(), budget))
        budget -= surveyed[-1].size
    return tuple(surveyed)


def _same_files(files: Iterable[tuple[str, int]], side: SideFiles) -> list[tuple[str, str]]:
    """Pairs of files that are one file or have the same bytes; only files of equal size are read."""
    by_size: dict[int, list[SurveyedFile]] = {}
    for candidate in side.files:
        by_size.setdefault(candidate.size, []).append(candidate)
    by_size.pop(0, None)
    local = [(name, size) for name, size in files if not is_remote(name)]
    pairs = [(name, candidate) for name, size in local for candidate in by_size.get(size, ())]
    return [(name, candidate.name) for name, candidate in pairs if _equal(Path(name), candidate.path)]


def _equal(a: Path, b: Path) -> bool:
    """Whether two paths are one file or have the same bytes."""
    try:
        return os.path.realpath(a) == os.path.realpath(b) or filecmp.cmp(a, b, shallow=False)
    except OSError:  # the run itself reports a file that cannot be read
        return False


def _file_warning(field: str, other: str, same: Sequence[tuple[str, str]]) -> str:
    name, second = same[0]
    return (
        f"{field} and {other} have {counted(len(same), 'file')} in common, as {_short(name)} and {_short(second)}: "
        f"{ADVICE[field, other]}"
    )


def _short(name: str) -> str:
    """The name of a file with its folder."""
    return "/".join(name.split("/")[-2:])


def _text_warnings(field: str, side: SideFiles, keys: Keys, counted_as: str) -> list[str]:
    """A warning if texts of `field` are also in the side files, with the file that has most of them."""
    hits_by_file = [(count_shared(keys, file.all_keys)[1], file.name) for file in side.files]
    long, hits = count_shared(keys, np.concatenate([file.all_keys for file in side.files]))
    if not hits:
        return []
    most, name = max(hits_by_file, key=lambda entry: entry[0])
    return [
        f"{hits:,} of {long:,} {counted_as} of {field} ({hits / long:.1%}) are in {side.field} too, {most:,} in "
        f"{name}: {ADVICE[field, side.field]}"
    ]

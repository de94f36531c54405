"""What a run takes from its ledger, what it does again, and why."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from curate.corpus.side_files import content_of, side_files
from curate.corpus.units import Unit
from curate.decide.plan import Plan
from curate.digest import DECIDING, READING, code_of, digest_of
from curate.display import counted
from curate.distill.budget.models import GRADES_FIELD
from curate.distill.purify.training import code_of_models, digest_of_rubric
from curate.errors import RecipeError
from curate.ledger.ledger import KnownFile, Ledger
from curate.ledger.names import BUDGET_MODELS, DATA, DECISIONS, EDITS, LINE_EDITS, PENDING, PURIFY_MODELS, TOGETHER
from curate.ledger.parts import Part, is_whole, whole_of
from curate.maps import shards
from curate.recipe.affects import changed_settings
from curate.recipe.load import load_recipe
from curate.recipe.recipe import Recipe, changed_fields


@dataclass(frozen=True)
class Before:
    """What a run directory held before a plan was made for it."""

    files: tuple[KnownFile, ...]
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, ledger: Ledger) -> "Before":
        """A ledger as it was read."""
        return cls(tuple(ledger.files), tuple(ledger.parts))


@dataclass(frozen=True)
class Step:
    """A part of a run: how much of it (units, or files) the ledger holds, how much is made anew, and why."""

    name: str
    reused: int
    made: int
    why: tuple[str, ...]


def decisions_digest(recipe: Recipe, plan: Plan, ledger: Ledger) -> str:
    """The digest of the decisions: all that they depend on."""
    return digest_of([
        code_of(*DECIDING),
        recipe.digest(),
        [found.rule.model_dump(mode="json") for found in plan.rules],
        [part.sha256 for group, group_digest in plan.groups.items() for part in ledger.of(group, group_digest)],
        [(file.file_no, file.path, file.error is None) for file in ledger.files],
        plan.excluded,
        [(run.name, run.manifest) for run in plan.earlier],
        [file.content_xxh3_128 for file in plan.reference],
        [code_of_models(), digest_of_rubric(recipe)] if recipe.tier2 or recipe.distill else None,
        [part.sha256 for models in plan.pinned.values() for part in models.parts],
        _graded(recipe), plan.static.facts if plan.static else None, plan.written,
    ])  # fmt: skip


def _graded(recipe: Recipe) -> str | None:
    """The hash of the file of grades that a budget learns from."""
    pattern = recipe.distill.grades if recipe.distill else None
    return content_of(side_files([pattern], GRADES_FIELD, "graded texts"), GRADES_FIELD) if pattern else None


def is_decided(ledger: Ledger, digest: str) -> bool:
    """Whether the ledger holds the decisions of this digest on every document."""
    decided = sum(part.rows for part in ledger.of(DECISIONS, digest))
    return decided == sum(file.rows for file in ledger.files if file.error is None)


def shards_digest(plan: Plan, ledger: Ledger, decisions: str) -> str:
    """The digest of the output shards: all that they depend on."""
    return digest_of(
        [
            code_of(shards.__name__, *READING),
            pa.__version__,
            decisions,
            plan.inputs.to_string(),
            [p.sha256 for p in edit_parts(plan, ledger)],
        ]
    )


def edit_parts(plan: Plan, ledger: Ledger) -> list[Part]:
    """The parts with the edits in force: those made before documents were measured, and the lines cut since."""
    return [*(ledger.of(EDITS, plan.groups[EDITS]) if EDITS in plan.groups else []), *ledger.of(LINE_EDITS)]


def missing_groups(plan: Plan, ledger: Ledger) -> dict[Unit, tuple[str, ...]]:
    """For each unit, the groups that no part in force holds."""
    held = {
        group: {u for part in ledger.of(group, digest) for u in part.units} for group, digest in plan.groups.items()
    }
    return {unit: tuple(group for group in plan.groups if unit not in held[group]) for unit in plan.units}


def drop_stale_parts(plan: Plan, ledger: Ledger) -> None:
    """Forget parts that the plan's units cannot use: lost or damaged files, other digests, other cuts of a file."""
    units = set(plan.units)
    numbers = set(plan.files)
    whole = whole_of(ledger.run, [part for part in ledger.parts if part.group != DATA])
    decided = all(part.path in whole for part in ledger.parts if part.group in TOGETHER)

    def usable(part: Part) -> bool:
        if part.group == DATA:  # what is missing is written again
            return True
        if part.group in TOGETHER:
            return decided
        if part.group.removeprefix(PENDING) in (*PURIFY_MODELS, *BUDGET_MODELS):
            return part.path in whole
        current = [unit for unit in part.units if unit.file_no in numbers]
        # A group that this recipe does not use is kept: another one may use it again.
        fits = plan.groups.get(part.group, part.digest) == part.digest and current and units.issuperset(current)
        return bool(fits) and part.path in whole

    ledger.parts = [part for part in ledger.parts if usable(part)]


def steps(recipe: Recipe, plan: Plan, ledger: Ledger, before: Before) -> list[Step]:
    """Every signal group, the decisions and the output: what is reused and what is made anew.

    `ledger` is what `drop_stale_parts` left of the one that `before` tells of.
    """
    missing = missing_groups(plan, ledger)
    changed = _changed_measuring(recipe, ledger) if any(missing.values()) and before.files else ""
    found = []
    for group in plan.groups:
        lacking = [unit for unit, groups in missing.items() if group in groups]
        why = _why(group, lacking, plan, before, changed)
        found.append(Step(group, len(plan.units) - len(lacking), len(lacking), why))
    return [*found, *_global_steps(recipe, plan, ledger, before, any(missing.values()))]


def _changed_measuring(recipe: Recipe, ledger: Ledger) -> str:
    """Why digests of measurements are others than in the ledger."""
    try:
        fields = changed_settings("measures", load_recipe(ledger.run / "recipe.yaml"), recipe)
    except RecipeError:  # of another version
        fields = []
    return f"recipe changed: {', '.join(fields)}" if fields else "code or parameters changed"


def _why(group: str, lacking: Sequence[Unit], plan: Plan, before: Before, other_digest: str) -> tuple[str, ...]:
    """Why a group is measured on these units; `other_digest` where the ledger has it by another digest."""
    if not lacking or not before.files:
        return ()
    known, paths = {file.file_no for file in before.files}, {file.path for file in before.files}
    unknown = {unit.file_no for unit in lacking} - known
    changed = {no for no in unknown if plan.files[no].path in paths}
    files = {"new file": len(unknown - changed), "changed file": len(changed)}
    why = [counted(count, what) for what, count in files.items() if count]
    parts = [part for part in before.parts if part.group == group]
    fitting = [part for part in parts if part.digest == plan.groups[group]]
    if old := {unit for unit in lacking if unit.file_no in known}:
        if not parts:
            why.append("not measured before")
        elif not fitting:
            why.append(other_digest)
        elif not old.isdisjoint(unit for part in fitting for unit in part.units):
            why.append("files of the ledger are gone or damaged")
        else:
            why.append("not finished")
    return tuple(why)


def _global_steps(recipe: Recipe, plan: Plan, ledger: Ledger, before: Before, measuring: bool) -> list[Step]:
    """The decisions and the output shards."""
    decisions = [part for part in before.parts if part.group == DECISIONS]
    output = [part for part in before.parts if part.group == DATA]
    digest = decisions_digest(recipe, plan, ledger)
    if measuring or not is_decided(ledger, digest):
        why = _why_decided(recipe, ledger, before, measuring) if decisions else ()
        return [Step("decisions", 0, 1, why), Step("output", 0, 1, ("decisions are made anew",) if output else ())]
    written = shards_digest(plan, ledger, digest)
    whole = [part for part in output if part.digest == written and is_whole(ledger.run, part)]
    finished = len(whole) == len(output) > 0 and (ledger.run / "manifest.json").exists()
    why = () if finished else ("not finished",)
    return [Step("decisions", 1, 0, ()), Step("output", len(whole), 0 if finished else 1, why)]


def _why_decided(recipe: Recipe, ledger: Ledger, before: Before, measuring: bool) -> tuple[str, ...]:
    """Why decisions are made anew where there were some."""
    why = ["measurements are new"] if measuring else []
    try:
        if fields := changed_fields(load_recipe(ledger.run / "recipe.yaml"), recipe):
            why.append(f"recipe changed: {', '.join(fields)}")
    except RecipeError:  # of another version
        pass
    present = {file.path for file in ledger.files}  # a file that changed has another number
    gone = {file.file_no for file in before.files if file.path not in present} - {f.file_no for f in ledger.files}
    if gone:
        why.append(f"{counted(len(gone), 'file')} no longer in the input")
    places = {file.file_no: (k, file.path) for k, file in enumerate(before.files)}
    if not gone and any(
        places.get(file.file_no, (k, file.path)) != (k, file.path) for k, file in enumerate(ledger.files)
    ):
        why.append("files have other names or another order")
    return tuple(why) or ("code or lists changed",)

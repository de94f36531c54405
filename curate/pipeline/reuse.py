"""What a run reuses from its ledger, what it does again, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
from curate.ledger.names import (
    BUDGET_MODELS,
    DATA,
    DECISION_GROUPS,
    DECISIONS,
    EDITS,
    LINE_EDITS,
    PENDING,
    PURIFY_MODELS,
)
from curate.ledger.parts import Part, intact_paths, is_intact
from curate.maps import shards
from curate.maps.changed_fields import changed_measurements
from curate.maps.measure import MeasureTask, plan_tasks
from curate.recipe.load import load_recipe
from curate.recipe.recipe import Recipe, changed_fields


@dataclass(frozen=True)
class PreviousRun:
    """The files and parts that a run directory had before it was planned."""

    files: tuple[KnownFile, ...]
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, ledger: Ledger) -> "PreviousRun":
        """Record a ledger that has just been read."""
        return cls(tuple(ledger.files), tuple(ledger.parts))


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a run: how many of its units or files are reused, how many are made again, and why."""

    name: str
    reused: int
    made: int
    why: tuple[str, ...]


def decisions_digest(recipe: Recipe, plan: Plan, ledger: Ledger) -> str:
    """Digest of all that the decisions depend on."""
    trains = recipe.tier2 or recipe.distill
    depends_on = [
        code_of(*DECIDING),
        recipe.digest(),
        [rule.rule.model_dump(mode="json") for rule in plan.rules],
        [part.sha256 for group, group_digest in plan.groups.items() for part in ledger.of(group, group_digest)],
        [(file.file_no, file.path, file.error is None) for file in ledger.files],
        plan.excluded,
        [(run.name, run.manifest) for run in plan.earlier],
        [(file.name, file.content_xxh3_128) for file in plan.reference],
        [code_of_models(), digest_of_rubric(recipe)] if trains else None,
        [part.sha256 for models in plan.pinned.values() for part in models.parts],
        _grades_hash(recipe),
        plan.static.facts if plan.static else None,
        plan.written,
    ]
    return digest_of(depends_on)


def _grades_hash(recipe: Recipe) -> str | None:
    """Hash of the file of grades that a budget is trained on."""
    pattern = recipe.distill.grades if recipe.distill else None
    return content_of(side_files([pattern], GRADES_FIELD, "graded texts"), GRADES_FIELD) if pattern else None


def is_decided(ledger: Ledger, digest: str) -> bool:
    """Whether the ledger has decisions with this digest for every document."""
    decided = sum(part.rows for part in ledger.of(DECISIONS, digest))
    return decided == sum(file.rows for file in ledger.files if file.error is None)


def shards_digest(plan: Plan, ledger: Ledger, decisions: str) -> str:
    """Digest of all that the output shards depend on."""
    edits = [part.sha256 for part in edit_parts(plan, ledger)]
    code = code_of(shards.__name__, *READING)
    return digest_of([code, pa.__version__, decisions, plan.inputs.to_string(), edits])


def edit_parts(plan: Plan, ledger: Ledger) -> list[Part]:
    """The parts of the edits in force: those made before measuring, and the repeated lines cut by the decisions."""
    return [*(ledger.of(EDITS, plan.groups[EDITS]) if EDITS in plan.groups else []), *ledger.of(LINE_EDITS)]


def missing_groups(plan: Plan, ledger: Ledger) -> dict[Unit, tuple[str, ...]]:
    """For each unit, the groups that no part in force covers."""
    measured = {
        group: {u for part in ledger.of(group, digest) for u in part.units} for group, digest in plan.groups.items()
    }
    return {unit: tuple(group for group in plan.groups if unit not in measured[group]) for unit in plan.units}


def measuring_tasks(plan: Plan, run: Path, missing: Mapping[Unit, tuple[str, ...]]) -> list[MeasureTask]:
    """The tasks that measure what the units of a plan lack."""
    return plan_tasks(
        run,
        plan.units,
        list(plan.unit_sizes.values()),
        sources=plan.sources,
        reading=plan.reading,
        missing=missing,
        digests=plan.groups,
    )


def drop_stale_parts(plan: Plan, ledger: Ledger) -> None:
    """Remove parts that the plan cannot use: of lost or damaged files, other digests, other units of a file."""
    units = set(plan.units)
    numbers = set(plan.files)
    whole = intact_paths(ledger.run, [part for part in ledger.parts if part.group != DATA])
    decided = all(part.path in whole for part in ledger.parts if part.group in DECISION_GROUPS)

    def usable(part: Part) -> bool:
        if part.group == DATA:  # missing shards are written again
            return True
        if part.group in DECISION_GROUPS:
            return decided
        if part.group.removeprefix(PENDING) in (*PURIFY_MODELS, *BUDGET_MODELS):
            return part.path in whole
        current = [unit for unit in part.units if unit.file_no in numbers]
        # Groups that this recipe does not use are kept, since another recipe may use them again.
        fits = plan.groups.get(part.group, part.digest) == part.digest and current and units.issuperset(current)
        return bool(fits) and part.path in whole

    ledger.parts = [part for part in ledger.parts if usable(part)]


def planned_steps(recipe: Recipe, plan: Plan, ledger: Ledger, previous: PreviousRun) -> list[Step]:
    """The steps of a run: every signal group, the decisions and the output.

    `ledger` is that of the `previous` run after `drop_stale_parts`.
    """
    missing = missing_groups(plan, ledger)
    new_digest = _reason_for_new_digests(recipe, plan, ledger) if any(missing.values()) and previous.files else ""
    steps = []
    for group in plan.groups:
        lacking = [unit for unit, groups in missing.items() if group in groups]
        why = _why(group, lacking, plan, previous, new_digest)
        steps.append(Step(group, len(plan.units) - len(lacking), len(lacking), why))
    return [*steps, *_global_steps(recipe, plan, ledger, previous, any(missing.values()))]


def _reason_for_new_digests(recipe: Recipe, plan: Plan, ledger: Ledger) -> str:
    """Why the digests of measurements differ from those in the ledger."""
    try:
        columns = [name for name, _ in plan.reading.input_columns]
        fields = changed_measurements(load_recipe(ledger.run / "recipe.yaml"), recipe, columns)
    except RecipeError:  # from another version
        fields = []
    return f"recipe changed: {', '.join(fields)}" if fields else "code or parameters changed"


def _why(group: str, lacking: Sequence[Unit], plan: Plan, previous: PreviousRun, new_digest: str) -> tuple[str, ...]:
    """Why a group must be measured on these units; `new_digest` is the reason if its digest has changed."""
    if not lacking or not previous.files:
        return ()
    previous_numbers = {file.file_no for file in previous.files}
    previous_paths = {file.path for file in previous.files}
    unknown = {unit.file_no for unit in lacking} - previous_numbers
    changed = {no for no in unknown if plan.files[no].path in previous_paths}
    files = {"new file": len(unknown - changed), "changed file": len(changed)}
    why = [counted(count, kind) for kind, count in files.items() if count]
    parts = [part for part in previous.parts if part.group == group]
    fitting = [part for part in parts if part.digest == plan.groups[group]]
    if remeasured := {unit for unit in lacking if unit.file_no in previous_numbers}:
        if not parts:
            why.append("not measured before")
        elif not fitting:
            why.append(new_digest)
        elif not remeasured.isdisjoint(unit for part in fitting for unit in part.units):
            why.append("files of the ledger are gone or damaged")
        else:
            why.append("not finished")
    return tuple(why)


def _global_steps(recipe: Recipe, plan: Plan, ledger: Ledger, previous: PreviousRun, measuring: bool) -> list[Step]:
    """The steps after measuring: the decisions and the output shards."""
    decisions = [part for part in previous.parts if part.group == DECISIONS]
    output = [part for part in previous.parts if part.group == DATA]
    digest = decisions_digest(recipe, plan, ledger)
    if measuring or not is_decided(ledger, digest):
        why = _why_decided(recipe, ledger, previous, measuring) if decisions else ()
        return [Step("decisions", 0, 1, why), Step("output", 0, 1, ("decisions are made anew",) if output else ())]
    written = shards_digest(plan, ledger, digest)
    whole = [part for part in output if part.digest == written and is_intact(ledger.run, part)]
    finished = len(whole) == len(output) > 0 and (ledger.run / "manifest.json").exists()
    why = () if finished else ("not finished",)
    return [Step("decisions", 1, 0, ()), Step("output", len(whole), 0 if finished else 1, why)]


def _why_decided(recipe: Recipe, ledger: Ledger, previous: PreviousRun, measuring: bool) -> tuple[str, ...]:
    """Why existing decisions are made again."""
    why = ["measurements are new"] if measuring else []
    try:
        if fields := changed_fields(load_recipe(ledger.run / "recipe.yaml"), recipe):
            why.append(f"recipe changed: {', '.join(fields)}")
    except RecipeError:  # from another version
        pass
    present = {file.path for file in ledger.files}  # a file that changed has another number
    gone = {file.file_no for file in previous.files if file.path not in present} - {f.file_no for f in ledger.files}
    if gone:
        why.append(f"{counted(len(gone), 'file')} no longer in the input")
    previous_order = {file.file_no: (k, file.path) for k, file in enumerate(previous.files)}
    order = [(file.file_no, (k, file.path)) for k, file in enumerate(ledger.files)]
    if not gone and any(previous_order.get(number, position) != position for number, position in order):
        why.append("files have other names or another order")
    return tuple(why) or ("code or lists changed",)

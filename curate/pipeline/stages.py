"""The stages of a run, each a function on its state: measure, augment, decide, write shards."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import duckdb

from curate.decide.bands import without_model
from curate.decide.cascade import Cascade
from curate.decide.checks import check_measured
from curate.decide.decide import count_passing, decide
from curate.decide.ids import SeenIds
from curate.decide.plan import Plan
from curate.distill.augment.shards import shards_with_accepted, write_accepted
from curate.errors import (
    CurateError,
    InputError,
    TaskError,
)
from curate.ledger.augmented import apply_caps, read_augmented
from curate.ledger.ledger import Ledger
from curate.ledger.names import (
    BUDGET_MODELS,
    DATA,
    DECISION_GROUPS,
    DECISIONS,
    DOCUMENTS,
    DOMAIN_MEMBERS,
    LINE_EDITS,
    MINED,
    P_BAD,
    PASSAGES,
    PENDING,
    PURIFY_MODELS,
    SCORES,
    SHINGLES,
    TRIMMED,
    WITHOUT_PASSAGES,
)
from curate.ledger.parts import is_intact
from curate.ledger.superseded import supersede
from curate.ledger.views import scratch_database
from curate.maps import shards
from curate.maps.measure import MeasureTask, measure
from curate.maps.run_maps import run_tasks
from curate.pipeline.augment import augment, augment_key, caps_by_kept, caps_of, without_augment
from curate.pipeline.plan import without_root
from curate.pipeline.reuse import (
    decisions_digest,
    drop_stale_parts,
    edit_parts,
    is_decided,
    measuring_tasks,
    missing_groups,
    shards_digest,
)
from curate.pipeline.state import Judge, RunState
from curate.pipeline.text_reader import EngineReader
from curate.pipeline.warm import compile_kernels
from curate.progress import Log, Meter, Steps
from curate.storage.files import sync

LANGUAGES_SHOWN = 5
WITHOUT_THE_FILE = "; to go on without a file at fault: --set on_error=quarantine"


def measure_stage(state: RunState) -> None:
    """Map 1: measure what the ledger lacks."""
    plan, ledger, log = state.plan, state.ledger, state.log
    drop_stale_parts(plan, ledger)
    missing = missing_groups(plan, ledger)
    tasks = measuring_tasks(plan, ledger.run, missing)
    ledger.commit()
    reused = len(plan.units) - sum(map(bool, missing.values()))
    if reused:
        log.say(f"{reused} of {len(plan.units)} units are measured already")
    if not tasks:
        return
    compile_kernels(plan.groups, plan.reading.editors)
    log.event("measuring", tasks=len(tasks))
    _measure(state, tasks)


def _measure(state: RunState, tasks: Sequence[MeasureTask]) -> None:
    """Run the tasks of the first map; quarantine files that fail, if the recipe allows it."""
    plan, ledger, log = state.plan, state.ledger, state.log
    ids = SeenIds(plan.reading.id, DOCUMENTS, plan.groups[DOCUMENTS], ledger) if plan.reading.id else None
    size_of = plan.unit_sizes
    bytes_of = {task.name: sum(size_of[unit] for unit in task.units) for task in tasks}
    meter = Meter(log, "measuring", sum(bytes_of.values()), ledger.run, bytes_of)
    queue = list(tasks)
    while queue:
        retries: list[MeasureTask] = []
        with closing(run_tasks(measure, queue, ledger, state.engine, log, "measured")) as results:
            for task, result in results:
                if isinstance(result, CurateError):
                    retries += _quarantine(state, task, result)
                elif task is not None:
                    if ids is not None:
                        ids.check(result)
                    is_complete = set(plan.groups) == set(task.groups)
                    passing = count_passing(ledger, plan.groups, plan.rules, result) if is_complete else None
                    meter.add(result[0].rows, sum(size_of[unit] for unit in task.units), passing)
                meter.show()
        queue = retries
    meter.show(last=True)


def _quarantine(state: RunState, task: MeasureTask, error: CurateError) -> list[MeasureTask]:
    """Quarantine the file that failed and return the task without it; raise if the recipe says stop."""
    plan, ledger, log = state.plan, state.ledger, state.log
    if isinstance(error, TaskError):
        error = log.bug(error)
        if not plan.quarantine:
            raise replace(error, remedy=WITHOUT_THE_FILE)
        files = dict.fromkeys(unit.file_no for unit in task.units)
        if len(files) > 1:  # one task each, to find the file at fault
            return [replace(task, units=tuple(u for u in task.units if u.file_no == number)) for number in files]
        error = InputError(error.recorded(), *files)
    file_no = error.file_no if isinstance(error, InputError) else None
    if file_no is None or not plan.quarantine:
        raise error
    log.say(f"quarantined: {error}")
    log.event("quarantined", file=plan.files[file_no].path, error=str(error))
    message = without_root(str(error), plan.root)
    ledger.files = [replace(entry, error=message) if entry.file_no == file_no else entry for entry in ledger.files]
    remaining = tuple(unit for unit in task.units if unit.file_no != file_no)
    return [replace(task, units=remaining)] if remaining else []


def decide_stage(state: RunState, database: duckdb.DuckDBPyConnection) -> None:
    """Decide every document in SQL, unless the decisions in force have the same digest."""
    recipe, plan, ledger, log = state.recipe, state.plan, state.ledger, state.log
    state.decisions = digest = decisions_digest(recipe, plan, ledger)
    if is_decided(ledger, digest):
        return
    check_measured(plan.rules, ledger, plan.groups, database)
    _report_languages(plan, ledger, database, log)
    with Steps(log, "deciding") as steps:
        reader = EngineReader(recipe, plan, ledger, state.engine, log, steps)
        parts = decide(
            Cascade(recipe=recipe, plan=plan, ledger=ledger, reader=reader, connection=database, digest=digest)
        )
    unfinish(ledger.run)
    pending = (LINE_EDITS, TRIMMED, PASSAGES, WITHOUT_PASSAGES, P_BAD, *PURIFY_MODELS, SCORES, *BUDGET_MODELS)
    used_up = (SHINGLES, MINED, *(PENDING + group for group in pending))
    ledger.put_all({group: [part for part in parts if part.group == group] for group in (*DECISION_GROUPS, *used_up)})
    log.event("decided", documents=sum(part.rows for part in ledger.of(DECISIONS)))


def _report_languages(plan: Plan, ledger: Ledger, database: duckdb.DuckDBPyConnection, log: Log) -> None:
    """Report documents in languages without a language model: they pass every band."""
    models = {model.language for model in plan.reading.models if model.language}
    if counts := without_model(ledger, plan.groups, models, database) if models else []:
        listed = ", ".join(f"{name} {count:,}" for name, count in counts[:LANGUAGES_SHOWN])
        more = f" and {len(counts) - LANGUAGES_SHOWN} more languages" if len(counts) > LANGUAGES_SHOWN else ""
        count = sum(count for _, count in counts)
        log.say(
            f"no language model for {count:,} documents ({listed}{more}): they have no perplexity, and no band drops "
            "them"
        )
        log.event("without_model", documents=dict(counts))


def augment_stage(state: RunState, judge: Judge) -> None:
    """Write documents of thin domains, by the decisions of the earlier stages, unless that is done already.

    `judge` runs a recipe over the written documents.
    """
    recipe, ledger = state.recipe, state.ledger
    if recipe.tier3 is None:
        return
    plan = replace(state.plan, written=None, reserved=0)
    earlier = replace(state, recipe=without_augment(recipe), plan=plan)
    decisions = decisions_digest(earlier.recipe, plan, ledger)
    key = augment_key(recipe, decisions)
    augmented = read_augmented(ledger.run)
    whole = [part for part in ledger.of(DOMAIN_MEMBERS) if is_intact(ledger.run, part)]
    if augmented is None or augmented.facts["key"] != key or augmented.facts["members"] != len(whole):
        with scratch_database(ledger, state.threads) as database:
            decide_stage(earlier, database)
        augmented = augment(replace(state, plan=plan, decisions=decisions), key, judge)
    state.augmented = augmented


def decide_with_written(state: RunState) -> None:
    """Decide every document, with the budget that the written documents leave.

    A budget may keep less of a domain than was written for it. Then fewer written documents are accepted, and the
    budget gets their tokens back. With more tokens a budget keeps at least as much as before, so the loop terminates.
    """
    recipe, ledger, augmented = state.recipe, state.ledger, state.augmented
    key = recipe.digest()
    if augmented is not None and augmented.facts["recipe"] != key:  # another budget may have room for more
        augmented = apply_caps(augmented, caps_of(augmented.folder), key)
    while True:
        if augmented is not None:
            state.plan = replace(state.plan, written=augmented.digest, reserved=augmented.size(recipe.budget_unit))
        with scratch_database(ledger, state.threads) as database:
            decide_stage(state, database)
            fitting = augmented and apply_caps(augmented, caps_by_kept(recipe, ledger, augmented, database), key)
        if fitting == augmented:
            state.augmented = augmented
            return
        augmented = fitting


def shard_stage(state: RunState) -> None:
    """The last map: write missing shards, and remove those of earlier decisions."""
    recipe, plan, ledger, augmented = state.recipe, state.plan, state.ledger, state.augmented
    edits, schema = edit_parts(plan, ledger), plan.inputs
    written = shards_with_accepted(augmented, schema) if augmented else []
    digest = shards_digest(plan, ledger, state.decisions)
    whole = [part for part in ledger.of(DATA, digest) if is_intact(ledger.run, part)]
    if whole != ledger.of(DATA):
        unfinish(ledger.run)
        ledger.put(DATA, whole)
    done = {part.path for part in whole}
    output = shards.Output(
        digest=digest,
        sources=plan.sources,
        text=recipe.input.column,
        inputs=schema,
        edits=tuple(edits),
        added=shards.added_columns(recipe),
    )
    tasks = shards.plan_shards(ledger, output, extra=len(written))
    names = [shards.shard_name(len(tasks) + k, len(tasks) + len(written)) for k in range(len(written))]
    tasks = [task for task in tasks if str(task) not in done]
    if tasks:
        unfinish(ledger.run)
        _write_shards(state, tasks)
    if augmented and written and not {f"{DATA}/{name}" for name in names} <= done:
        ledger.add(
            write_accepted(recipe, ledger.run, augmented, schema, dict(zip(written, names, strict=True)), digest)
        )
    ledger.sweep()


def _write_shards(state: RunState, tasks: Sequence[shards.ShardTask]) -> None:
    ledger, log = state.ledger, state.log
    bytes_of = {task.name: task.bytes for task in tasks}
    meter = Meter(log, "writing", sum(bytes_of.values()), ledger.run, bytes_of, "shard")
    with closing(run_tasks(shards.write_shard, tasks, ledger, state.engine, log, "wrote")) as results:
        for task, result in results:
            if isinstance(result, CurateError):
                raise result
            if task is not None:
                meter.add(result[0].rows, task.bytes)
            meter.show()
    meter.show(last=True)


def unfinish(run: Path) -> None:
    """Remove the manifest before the run changes, and mark reports and exports as superseded."""
    supersede(run)
    if (run / "manifest.json").exists():
        (run / "manifest.json").unlink()
        sync(run)

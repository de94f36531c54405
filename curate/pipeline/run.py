"""The order of stages of a run; one short function a stage."""

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numba
import pyarrow as pa
import yaml

import curate
from curate.corpus.folders import told
from curate.corpus.inputs import Found
from curate.corpus.units import unit_bytes
from curate.decide import decide
from curate.decide.bands import without_model
from curate.decide.checks import check_measured
from curate.decide.counts import Counts, count, most_drifted, with_written
from curate.decide.ids import SeenIds
from curate.decide.plan import Given, Plan
from curate.distill.augment.shards import shards_with, write_written
from curate.distill.evaluate.results import facts_of, index_evaluation, manifest_entry, tracked_stages
from curate.distill.evaluate.tracking import check_heldout, track
from curate.engine.base import Engine
from curate.errors import (
    CurateError,
    EmptyOutputError,
    InputError,
    Interrupted,
    TaskError,
    disk_error,
    is_stop,
)
from curate.ledger.augmented import Augmented, read_augmented, with_caps
from curate.ledger.ledger import Ledger, locked, read_facts, read_ledger
from curate.ledger.names import (
    BUDGET_MODELS,
    DATA,
    DECISIONS,
    DOCUMENTS,
    INDEX,
    LINE_EDITS,
    MEMBERS,
    MINED,
    P_BAD,
    PENDING,
    PURIFY_MODELS,
    SCORES,
    SHINGLES,
    SIGNATURES,
    TOGETHER,
    TRACKING,
    TRIMMED,
)
from curate.ledger.parts import is_whole
from curate.ledger.superseded import EXPORTS, REPORT, export_command, is_superseded, supersede, superseded_exports
from curate.ledger.views import scratch_database
from curate.manifests.export.export import check_named, export
from curate.manifests.export.format import Options
from curate.manifests.export.sources import open_source
from curate.manifests.manifest import RunResult, build_manifest, write_manifest
from curate.maps import shards
from curate.maps.measure import Task, measure, plan_tasks
from curate.maps.run_maps import carry_out
from curate.pipeline.augment import augment, augment_key, caps_by_kept, caps_of, recipe_before
from curate.pipeline.checks.other_languages import losses, other_language
from curate.pipeline.checks.overlap import overlaps, overlaps_digest
from curate.pipeline.checks.preflight import check_names
from curate.pipeline.checks.run_inputs import refuse_other_recipe
from curate.pipeline.index import build_index
from curate.pipeline.plan import make_plan, without_root
from curate.pipeline.reuse import (
    decisions_digest,
    drop_stale_parts,
    edit_parts,
    is_decided,
    missing_groups,
    shards_digest,
)
from curate.pipeline.text_reader import EngineReader
from curate.pipeline.warm import compile_kernels
from curate.progress import Log, Meter, Steps, open_log
from curate.recipe.recipe import Recipe
from curate.redaction import redacted_values, without_credentials
from curate.storage.files import committed, remove_asides, sync, write_json
from curate.storage.mirror import named, send

LANGUAGES_TOLD = 5
WITHOUT_THE_FILE = "; to go on without a file at fault: --set on_error=quarantine"


def run(
    recipe: Recipe, engine: Engine, threads: int, quiet: bool = False, given: Given | None = None, force: bool = False,
    file: Path | None = None, found: Found | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Carry out a recipe and return the summary that the closing table shows.

    `engine` runs the maps; `threads` is what DuckDB may use; `given` is for a run within another one.
    With `force` it may take the place of a run of other input. `file` is where the recipe stands, and `found` what
    `check_names` made of its input.

    A run directory that holds finished work is gone on with: only what is missing is done.

    Errors: any CurateError; what was finished stays.
    """
    started, began = time.monotonic(), _now()
    directory = recipe.run_directory
    with locked(directory), open_log(directory, quiet) as log:
        remove_asides(directory)
        ledger = read_ledger(directory)
        try:
            check_heldout(recipe)
            check_named(recipe)
            engine.check(directory)
            found = found or check_names(recipe)
            if given is None and not force:
                refuse_other_recipe(ledger, found, recipe, file)
            plan = make_plan(
                recipe, ledger, engine, log, given=given, same_input=given is None and not force, found=found
            )
            if plan.passed_over:
                log.say(f"passed over beside the input: {told(plan.passed_over)}; view `inputs` lists them")
            engine.check(directory, plan.files_read)
            shared = _warn_of_overlaps(recipe, plan, log) if given is None else {}
            warnings: list[str] = [*shared.get("told", ())]
            measure_stage(plan, ledger, engine, log)
            if all(file.error for file in ledger.files):
                raise InputError(f"every input file is quarantined, the first because: {ledger.files[0].error}")
            made = augment_stage(recipe, plan, ledger, engine, threads, log)
            digest, plan, made = decide_with_written(recipe, plan, ledger, made, engine, threads, log)
            with scratch_database(ledger, threads) as database:
                _write_run_facts(recipe, plan, threads, began, file, shared)
                with Steps(log, "deciding") as steps:
                    steps("counts")
                    counts = count(plan, ledger, database)
                    other = other_language(ledger, database)
                    warnings += _warn_of_languages(recipe, plan, ledger, database, log) if given is None else []
                if counts.stages[-1]["documents_out"] == 0 and not recipe.allow_empty:
                    _index(recipe, plan, ledger, counts, database, log)
                    raise EmptyOutputError(_nothing_kept(directory, counts.stages))
                shard_stage(recipe, plan, ledger, digest, made, engine, log)
                if not recipe.dedup.keep_signatures:
                    ledger.put(SIGNATURES, [])
                    ledger.sweep()
                remove_asides(directory)  # of workers that were killed
                tracked = counts.stages
                counts = with_written(counts, made)
                _index(recipe, plan, ledger, counts, database, log)
            if track(recipe, directory, digest, tracked, threads, log):
                index_evaluation(directory, INDEX, digest)
            retention = manifest_entry(directory, digest)
            write_manifest(directory, build_manifest(RunResult(recipe, plan, ledger, counts, retention, made)))
            if recipe.export:
                source = open_source(directory)
                export((source,), recipe.export, directory / EXPORTS, Options(), engine, log, True, thorough=True)
            _write_end(directory, warnings)
            renew(directory, log)
        except (KeyboardInterrupt, RuntimeError, duckdb.InterruptException) as error:
            if not is_stop(error):
                raise
            log.event("interrupted")
            raise Interrupted("stopped; what was finished is kept: run the same command to go on") from error
        except OSError as error:
            raise disk_error(error, str(directory)) from error
        except CurateError as error:
            log.event("failed", error=str(error))
            raise
        tracked = tracked_stages(directory, digest)
        summary = _summary(directory, ledger, counts, time.monotonic() - started)
        about = facts_of(directory, TRACKING, digest)
        if about is not None and recipe.evaluate is not None:
            about |= {"vocabulary": recipe.evaluate.vocabulary, "tokenizer": recipe.tokenizer}
        summary |= {"tracking": tracked, "tracked_by": about, "wanting": made.wanting() if made else []}
        summary |= {"other_language": other, "warnings": warnings, "overlaps": shared.get("told", [])}
        log.event("finished", **{name: value for name, value in summary.items() if name.endswith(("_in", "_out"))})
    return summary


def measure_stage(plan: Plan, ledger: Ledger, engine: Engine, log: Log) -> None:
    """Map 1: measure what the ledger lacks."""
    drop_stale_parts(plan, ledger)
    missing = missing_groups(plan, ledger)
    sizes = [unit_bytes(unit, plan.files[unit.file_no]) for unit in plan.units]
    tasks = plan_tasks(ledger.run, plan.units, sizes, plan.sources, plan.reading, missing, plan.groups)
    ledger.commit()
    size_of = dict(zip(plan.units, sizes, strict=True))
    reused = len(plan.units) - sum(map(bool, missing.values()))
    if reused:
        log.say(f"{reused} of {len(plan.units)} units are measured already")
    if not tasks:
        return
    compile_kernels(plan.groups, plan.reading.editors)
    log.event("measuring", tasks=len(tasks))
    ids = SeenIds(plan.reading.id, DOCUMENTS, plan.groups[DOCUMENTS], ledger) if plan.reading.id else None
    bytes_of = {task.name: sum(size_of[unit] for unit in task.units) for task in tasks}
    meter = Meter(log, "measuring", sum(bytes_of.values()), ledger.run, bytes_of)
    queue = list(tasks)
    while queue:
        again: list[Task] = []
        with closing(carry_out(measure, queue, ledger, engine, log, "measured")) as results:
            for task, result in results:
                if isinstance(result, CurateError):
                    again += _quarantine(plan, ledger, task, result, log)
                elif task is not None:
                    if ids is not None:
                        ids.check(result)
                    whole = set(plan.groups) == set(task.groups)
                    passing = decide.count_passing(ledger, plan.groups, plan.rules, result) if whole else None
                    meter.add(result[0].rows, sum(size_of[unit] for unit in task.units), passing)
                meter.show()
        queue = again
    meter.show(last=True)


def decide_stage(
    recipe: Recipe, plan: Plan, ledger: Ledger, engine: Engine, database: duckdb.DuckDBPyConnection, log: Log
) -> str:
    """Decide every document in SQL, unless the decisions in force are these; return their digest."""
    digest = decisions_digest(recipe, plan, ledger)
    if not is_decided(ledger, digest):
        check_measured(plan.rules, ledger, plan.groups, database)
        _tell_of_languages(plan, ledger, database, log)
        with Steps(log, "deciding") as steps:
            reader = EngineReader(recipe, plan, ledger, engine, log, steps)
            parts = decide.decide(recipe, plan, ledger, reader, database, digest)
        _unfinish(ledger.run)
        pending = (LINE_EDITS, TRIMMED, P_BAD, *PURIFY_MODELS, SCORES, *BUDGET_MODELS)
        used_up = (SHINGLES, MINED, *(PENDING + group for group in pending))
        ledger.put_all({group: [part for part in parts if part.group == group] for group in (*TOGETHER, *used_up)})
        log.event("decided", documents=sum(part.rows for part in ledger.of(DECISIONS)))
    return digest


def augment_stage(
    recipe: Recipe, plan: Plan, ledger: Ledger, engine: Engine, threads: int, log: Log
) -> Augmented | None:
    """Have documents of thin domains written, by the decisions of the stages before, unless that is done."""
    if recipe.tier3 is None:
        return None
    earlier, plan = recipe_before(recipe), replace(plan, written=None, reserved=0)
    before = decisions_digest(earlier, plan, ledger)
    key = augment_key(recipe, before)
    made = read_augmented(ledger.run)
    members = ledger.of(MEMBERS)
    whole = [part for part in members if is_whole(ledger.run, part)]
    if made is not None and made.facts["key"] == key and made.facts["members"] == len(whole):
        return made
    with scratch_database(ledger, threads) as database:
        decide_stage(earlier, plan, ledger, engine, database, log)

    def judge(of: Recipe, given: Given) -> object:
        return run(of, engine, threads, quiet=True, given=given)

    return augment(recipe, plan, ledger, before, key, engine, log, judge)


def decide_with_written(
    recipe: Recipe, plan: Plan, ledger: Ledger, made: Augmented | None, engine: Engine, threads: int, log: Log
) -> tuple[str, Plan, Augmented | None]:
    """Decide every document, with the budget that written ones leave; the digest of the decisions.

    A budget may keep less of a domain than was written of it. The less is then accepted, and its tokens are given back:
    with more to fill, a budget keeps at least what it did, so that this ends.
    """
    key = recipe.digest()
    if made is not None and made.facts["recipe"] != key:  # another budget may have room again
        made = with_caps(made, caps_of(made.folder), key)
    while True:
        if made is not None:
            plan = replace(plan, written=made.digest, reserved=made.tokens)
        with scratch_database(ledger, threads) as database:
            digest = decide_stage(recipe, plan, ledger, engine, database, log)
            fitting = with_caps(made, caps_by_kept(recipe, ledger, made, database), key) if made else None
        if fitting == made:
            return digest, plan, made
        made = fitting


def _tell_of_languages(plan: Plan, ledger: Ledger, database: duckdb.DuckDBPyConnection, log: Log) -> None:
    """Say which documents no language model is for: they pass every band."""
    models = {model.language for model in plan.reading.models if model.language}
    if found := without_model(ledger, plan.groups, models, database) if models else []:
        told = ", ".join(f"{name} {count:,}" for name, count in found[:LANGUAGES_TOLD])
        more = f" and {len(found) - LANGUAGES_TOLD} more languages" if len(found) > LANGUAGES_TOLD else ""
        count = sum(count for _, count in found)
        log.say(
            f"no language model for {count:,} documents ({told}{more}): they have no perplexity, and no band drops them"
        )
        log.event("without_model", documents=dict(found))


def _warn_of_overlaps(recipe: Recipe, plan: Plan, log: Log) -> dict[str, Any]:
    """Say which files and texts the input shares with those that measure it.

    Of files that are as they were at the last run, that run has told: what it told is in run.json.
    """
    key = overlaps_digest(recipe, plan)
    known = read_facts(recipe.run_directory).get("overlaps") or {}
    told = known["told"] if known.get("digest") == key else overlaps(recipe, plan)
    for line in told:
        log.say(f"warning: {line}")
        log.event("overlap", told=line)
    return {"digest": key, "told": told}


def _warn_of_languages(
    recipe: Recipe, plan: Plan, ledger: Ledger, database: duckdb.DuckDBPyConnection, log: Log
) -> list[str]:
    """What rules made for English dropped of other languages, where that is much."""
    found = losses(recipe, plan, ledger, database)
    if found is None or not found.is_telling:
        return []
    if found.sampled:
        found = found.scaled(0, sum(file.rows for file in plan.files.values()))
    log.event("other_languages", dropped={loss.language: loss.dropped for loss in found.by_language})
    return [found.told()]


def shard_stage(
    recipe: Recipe, plan: Plan, ledger: Ledger, decisions: str, made: Augmented | None, engine: Engine, log: Log
) -> None:
    """The last map: write the shards that are missing, and remove those of earlier decisions."""
    edits = edit_parts(plan, ledger)
    schema = plan.inputs
    written = shards_with(made, schema) if made else []
    digest = shards_digest(plan, ledger, decisions)
    whole = [part for part in ledger.of(DATA, digest) if is_whole(ledger.run, part)]
    if whole != ledger.of(DATA):
        _unfinish(ledger.run)
        ledger.put(DATA, whole)
    done = {part.path for part in whole}
    tasks = shards.plan_shards(
        ledger, digest, plan.sources, recipe.input.column, schema, shards.our_columns(recipe), edits, len(written)
    )
    last = [shards.shard_name(len(tasks) + k, len(tasks) + len(written)) for k in range(len(written))]
    tasks = [task for task in tasks if str(task) not in done]
    if tasks:
        _unfinish(ledger.run)
    bytes_of = {task.name: task.bytes for task in tasks}
    meter = Meter(log, "writing", sum(bytes_of.values()), ledger.run, bytes_of, "shard")
    with closing(carry_out(shards.write_shard, tasks, ledger, engine, log, "wrote")) as results:
        for task, result in results:
            if isinstance(result, CurateError):
                raise result
            if task is not None:
                meter.add(result[0].rows, task.bytes)
            meter.show()
    if tasks:
        meter.show(last=True)
    if made and written and not {f"{DATA}/{name}" for name in last} <= done:
        ledger.add(write_written(recipe, ledger.run, made, schema, dict(zip(written, last, strict=True)), digest))
    ledger.sweep()


def _index(
    recipe: Recipe, plan: Plan, ledger: Ledger, counts: Counts, database: duckdb.DuckDBPyConnection, log: Log
) -> None:
    with Steps(log, "indexing") as steps:
        steps("run.duckdb")
        build_index(recipe, ledger, plan.groups, counts, plan.inputs, plan.files, plan.passed_over, database)


def _quarantine(plan: Plan, ledger: Ledger, task: Task, error: CurateError, log: Log) -> list[Task]:
    """Put the file that failed aside and return the task without it; raise where the recipe says stop."""
    if isinstance(error, TaskError):
        error = log.bug(error)
        if not plan.quarantine:
            raise replace(error, way_on=WITHOUT_THE_FILE)
        files = dict.fromkeys(unit.file_no for unit in task.units)
        if len(files) > 1:  # each by itself, to learn which one it is
            return [replace(task, units=tuple(u for u in task.units if u.file_no == number)) for number in files]
        error = InputError(error.recorded(), *files)
    file_no = error.file_no if isinstance(error, InputError) else None
    if file_no is None or not plan.quarantine:
        raise error
    log.say(f"quarantined: {error}")
    log.event("quarantined", file=plan.files[file_no].path, error=str(error))
    message = without_root(str(error), plan.root)
    ledger.files = [replace(f, error=message) if f.file_no == file_no else f for f in ledger.files]
    rest = tuple(unit for unit in task.units if unit.file_no != file_no)
    return [replace(task, units=rest)] if rest else []


def _unfinish(run: Path) -> None:
    """Take the manifest away before what it describes changes, and say so in what was made of it."""
    supersede(run)
    if (run / "manifest.json").exists():
        (run / "manifest.json").unlink()
        sync(run)


def renew(run: Path, log: Log) -> None:
    """Rebuild the report if it shows earlier decisions, and name the exports that do."""
    if is_superseded(run):
        from curate.report.page import write_report

        with Steps(log, "reporting") as steps:
            steps(REPORT)
            send(write_report(run))
    for folder in superseded_exports(run):
        log.say(f"{named(str(folder))}: shows earlier decisions; rebuild it: {export_command(run, folder)}")


def _nothing_kept(run: Path, stages: Sequence[Mapping[str, Any]]) -> str:
    reasons = {r: n["documents"] for stage in stages for r, n in stage["dropped"].items()}
    most = sorted(reasons, key=lambda reason: -reasons[reason])[:3]
    told = ", ".join(f"{reason} {reasons[reason]:,}" for reason in most)
    return (
        f"none of {stages[0]['documents_in']:,} documents is kept ({told}); look with `curate sql {run} "
        '"SELECT doc_id, reasons FROM dropped"`, loosen tier1.thresholds, or set allow_empty: true'
    )


def _write_run_facts(
    recipe: Recipe, plan: Plan, threads: int, began: str, file: Path | None, shared: Mapping[str, Any]
) -> None:
    """recipe.yaml as resolved, and run.json with what the manifest must not hold: clock, host, places.

    They belong to the decisions in force: a run that fails before it decides leaves those of the run before it.
    """
    run = recipe.run_directory
    fields = recipe.model_dump(mode="json", by_alias=True) | {"output": named(str(run))}
    text = yaml.safe_dump(without_credentials(fields), sort_keys=False, allow_unicode=True, width=100)
    if not (run / "recipe.yaml").exists() or (run / "recipe.yaml").read_bytes() != text.encode():
        _unfinish(run)
    write_json(run / "run.json", {
        "signal_groups": dict(sorted(plan.groups.items())),
        "input_columns": plan.inputs.names,
        "started": began,
        "at": _now(),
        "host": platform.node(),
        "platform": platform.platform(),
        "threads": threads,
        "corpus_root": str(plan.root),
        "working_directory": os.getcwd(),
        "recipe_file": str(file.resolve()) if file else None,
        "overlaps": redacted_values(shared),
        "versions": {"python": platform.python_version(), "curate": curate.__version__, "duckdb": duckdb.__version__,
                     "numba": numba.__version__, "pyarrow": pa.__version__},
    })  # fmt: skip
    with committed(run / "recipe.yaml") as aside:
        aside.write_text(text, "utf-8")


def _write_end(run: Path, warnings: Sequence[str]) -> None:
    """When the run came to its end and what it warned of, into run.json."""
    facts = json.loads((run / "run.json").read_text("utf-8"))
    write_json(run / "run.json", facts | {"finished": _now(), "warnings": redacted_values(warnings)})


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _summary(run: Path, ledger: Ledger, counts: Counts, seconds: float) -> dict[str, Any]:
    """What the closing table and --json show."""
    first, last = counts.stages[0], counts.stages[-1]
    return {
        "run": named(str(run)),
        "documents_in": first["documents_in"],
        "documents_out": last["documents_out"],
        "tokens_in": first["tokens_in"],
        "tokens_out": last["tokens_out"],
        "shards": len(ledger.of(DATA)),
        "quarantined": [file.path for file in ledger.files if file.error],
        "bad_lines": {file.path: file.bad_lines for file in ledger.files if file.bad_lines},
        "stages": [dict(stage) for stage in counts.stages],
        "drift": [dict(row) for row in most_drifted(counts.scorecard)],
        "seconds": round(seconds, 3),
    }

"""A run, from its recipe to its manifest; start reading here."""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import duckdb

from curate.corpus.folders import counts_by_reason
from curate.decide.counts import Counts, count, with_written
from curate.decide.plan import Given, Plan
from curate.distill.evaluate.results import index_evaluation, manifest_entry
from curate.distill.evaluate.tracking import check_heldout, track
from curate.engine.base import Engine
from curate.errors import CurateError, EmptyOutputError, InputError, Interrupted, disk_error, is_interrupt
from curate.ledger.ledger import Ledger, locked, read_facts, read_ledger
from curate.ledger.names import INDEX, SIGNATURES
from curate.ledger.superseded import EXPORTS, REPORT, export_command, is_superseded, superseded_exports
from curate.ledger.views import scratch_database
from curate.manifests.export.export import check_named, export
from curate.manifests.export.format import Options
from curate.manifests.export.sources import open_source
from curate.manifests.manifest import RunResult, build_manifest, write_manifest
from curate.pipeline.checks.other_languages import OtherLanguage, count_other_language, measure_losses
from curate.pipeline.checks.overlap import overlaps, overlaps_digest
from curate.pipeline.checks.preflight import check_names
from curate.pipeline.checks.run_inputs import refuse_other_recipe
from curate.pipeline.facts import RunSummary, nothing_kept, now, summary_of, write_end, write_run_facts
from curate.pipeline.index import build_index
from curate.pipeline.plan import make_plan
from curate.pipeline.stages import augment_stage, decide_with_written, measure_stage, shard_stage
from curate.pipeline.state import DEFAULTS, OverlapWarnings, RunOptions, RunState
from curate.progress import Log, Steps, open_log
from curate.recipe.recipe import Recipe
from curate.storage.files import remove_asides
from curate.storage.mirror import by_uri, send
from curate.who.documents import who_of_ledger


def run(
    recipe: Recipe, engine: Engine, threads: int, quiet: bool = False, options: RunOptions = DEFAULTS
) -> RunSummary:
    """Run a recipe, and return the summary for the closing table.

    `engine` runs the maps; DuckDB uses `threads`. A run directory with finished work is resumed: only what is missing
    is done.

    Errors: any CurateError; finished work is kept.
    """
    directory = recipe.run_directory
    with locked(directory), open_log(directory, quiet) as log:
        remove_asides(directory)
        try:
            return _run(recipe, engine, threads, log, options)
        except (KeyboardInterrupt, RuntimeError, duckdb.InterruptException) as error:
            if not is_interrupt(error):
                raise
            log.event("interrupted")
            raise Interrupted("stopped; what was finished is kept: run the same command to go on") from error
        except OSError as error:
            raise disk_error(error, str(directory)) from error
        except CurateError as error:
            log.event("failed", error=str(error))
            raise


def _run_inner(engine: Engine, threads: int, recipe: Recipe, given: Given) -> RunSummary:
    """Run a recipe within another run, which tells the user about it."""
    return run(recipe, engine, threads, quiet=True, options=RunOptions(given=given))


def _run(recipe: Recipe, engine: Engine, threads: int, log: Log, options: RunOptions) -> RunSummary:
    started, began = time.monotonic(), now()
    state = _start(recipe, engine, threads, log, options)
    measure_stage(state)
    if all(file.error for file in state.ledger.files):
        raise InputError(f"every input file is quarantined, the first because: {state.ledger.files[0].error}")
    augment_stage(state, partial(_run_inner, engine, threads))
    decide_with_written(state)
    with scratch_database(state.ledger, threads) as database:
        write_run_facts(state, began)
        counts, other = _count(state, database)
        shard_stage(state)
        if not recipe.dedup.keep_signatures:
            state.ledger.put(SIGNATURES, [])
            state.ledger.sweep()
        remove_asides(recipe.run_directory)  # of workers that were killed
        _index(state, with_written(counts, state.augmented), database)
    _finish(state, counts)
    summary = summary_of(state, with_written(counts, state.augmented), other, time.monotonic() - started)
    log.event(
        "finished",
        documents_in=summary.documents_in,
        documents_out=summary.documents_out,
        tokens_in=summary.tokens_in,
        tokens_out=summary.tokens_out,
    )
    return summary


def _start(recipe: Recipe, engine: Engine, threads: int, log: Log, options: RunOptions) -> RunState:
    """Check all that can be checked before a text is read, and plan the run."""
    directory = recipe.run_directory
    ledger = read_ledger(directory)
    check_heldout(recipe)
    check_named(recipe)
    engine.check(directory)
    listed = options.inputs or check_names(recipe)
    if options.same_input:
        refuse_other_recipe(ledger, listed, recipe, options.file)
    plan = make_plan(recipe, ledger, engine, log, replace(options, inputs=listed))
    if plan.passed_over:
        log.say(f"passed over beside the input: {counts_by_reason(plan.passed_over)}; view `inputs` lists them")
    engine.check(directory, plan.files_read)
    state = RunState(recipe=recipe, plan=plan, ledger=ledger, engine=engine, threads=threads, log=log, options=options)
    if options.given is None:
        state.overlaps = _warn_of_overlaps(recipe, plan, log)
        state.warnings += state.overlaps.told
    return state


def _count(state: RunState, database: duckdb.DuckDBPyConnection) -> tuple[Counts, OtherLanguage | None]:
    """Count the decisions, and the documents with reason `other_language`.

    Errors: EmptyOutputError if none is kept and the recipe does not allow that.
    """
    recipe, plan, ledger = state.recipe, state.plan, state.ledger
    with Steps(state.log, "deciding") as steps:
        steps("counts")
        counts = count(plan, ledger, database)
        steps("who is dropped")
        state.who = who_of_ledger(recipe, plan.groups, ledger, database)
        other = count_other_language(ledger, database)
        if state.options.given is None:
            state.warnings += _warn_of_languages(recipe, plan, ledger, database, state.log)
    if counts.stages[-1]["documents_out"] == 0 and not recipe.allow_empty:
        _index(state, counts, database)
        raise EmptyOutputError(nothing_kept(recipe.run_directory, counts.stages))
    return counts, other


def _finish(state: RunState, counts: Counts) -> None:
    """Track quality, write the manifest, export, and rebuild what shows earlier decisions."""
    recipe, log, run = state.recipe, state.log, state.recipe.run_directory
    if track(recipe, run, state.decisions, counts.stages, state.threads, log):
        index_evaluation(run, INDEX, state.decisions)
    counts = with_written(counts, state.augmented)
    retention = manifest_entry(run, state.decisions)
    result = RunResult(
        recipe=recipe,
        plan=state.plan,
        ledger=state.ledger,
        counts=counts,
        retention=retention,
        augmented=state.augmented,
        who=state.who,
    )
    write_manifest(run, build_manifest(result))
    if recipe.export:
        source = open_source(run)
        export((source,), recipe.export, run / EXPORTS, Options(), state.engine, log, overwrite=True)
    write_end(run, state.warnings)
    renew(run, log)


def _index(state: RunState, counts: Counts, database: duckdb.DuckDBPyConnection) -> None:
    assert state.who is not None
    with Steps(state.log, "indexing") as steps:
        steps("run.duckdb")
        build_index(state.recipe, state.plan, state.ledger, counts, state.who, database)


def _warn_of_overlaps(recipe: Recipe, plan: Plan, log: Log) -> OverlapWarnings:
    """Warn of files and texts that the input shares with side files.

    If no file has changed since the last run, its warnings are taken from run.json.
    """
    digest = overlaps_digest(recipe, plan)
    previous = read_facts(recipe.run_directory).get("overlaps") or {}
    lines = previous["told"] if previous.get("digest") == digest else overlaps(recipe, plan)
    for line in lines:
        log.say(f"warning: {line}")
        log.event("overlap", told=line)
    return OverlapWarnings(digest, lines)


def _warn_of_languages(
    recipe: Recipe, plan: Plan, ledger: Ledger, database: duckdb.DuckDBPyConnection, log: Log
) -> list[str]:
    """The warning that rules made for English dropped much of other languages, if so."""
    losses = measure_losses(recipe, plan, ledger, database)
    if losses is None or not losses.is_large:
        return []
    if losses.sampled:
        losses = losses.scaled(0, sum(file.rows for file in plan.files.values()))
    log.event("other_languages", dropped={loss.language: loss.dropped for loss in losses.by_language})
    return [losses.message()]


def renew(run: Path, log: Log) -> None:
    """Rebuild the report if it shows earlier decisions, and list the exports that do."""
    if is_superseded(run):
        from curate.report.page import write_report

        with Steps(log, "reporting") as steps:
            steps(REPORT)
            send(write_report(run))
    for folder in superseded_exports(run):
        log.say(f"{by_uri(str(folder))}: shows earlier decisions; rebuild it: {export_command(run, folder)}")

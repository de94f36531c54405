"""Forecast a run: what it will read, reuse, drop and cost. Nothing is written outside a temporary folder."""

import tempfile
from collections import Counter
from pathlib import Path

from curate.corpus.inputs import InputListing
from curate.decide.plan import Plan
from curate.distill.budget.scores import scores_message
from curate.engine.base import Engine
from curate.epochs import TrainingEpochs, training_over
from curate.filters.signals.hashes import choose_bands
from curate.ledger.ledger import Ledger, check_run_directory, read_ledger
from curate.pipeline.checks.other_languages import OtherLanguage
from curate.pipeline.checks.overlap import overlaps
from curate.pipeline.forecast.extrapolate import Extrapolation, Work
from curate.pipeline.forecast.rehearsal import peak_bytes, rehearse
from curate.pipeline.forecast.result import Dropped, Forecast, InputSize, SampleSize, Share
from curate.pipeline.plan import make_plan
from curate.pipeline.reuse import PreviousRun, drop_stale_parts, measuring_tasks, missing_groups, planned_steps
from curate.pipeline.state import RunOptions
from curate.pipeline.warm import compile_kernels
from curate.progress import Steps, unwritten_log
from curate.recipe.recipe import Recipe
from curate.storage.mirror import by_uri


def estimate(
    recipe: Recipe, engine: Engine, workers: int, quiet: bool = False, inputs: InputListing | None = None
) -> Forecast:
    """Forecast a run of `recipe` with `workers` processes.

    `engine` measures the sample. The run directory is only read, even while a run is writing to it.

    Errors: those that the run would end with before it measures, or on the sample.
    """
    check_run_directory(recipe.run_directory)
    log = unwritten_log(quiet)
    ledger = read_ledger(recipe.run_directory)
    previous = PreviousRun.of(ledger)
    with tempfile.TemporaryDirectory(prefix="curate-plan-") as name:
        folder = Path(name)
        plan = make_plan(recipe, ledger, engine, log, RunOptions(force=True, inputs=inputs, preview=folder))
        compile_kernels(plan.groups, plan.reading.editors)
        work = remaining_work(recipe, plan, ledger, previous)
        warnings = overlaps(recipe, plan)
        base_bytes = peak_bytes()
        with Steps(log, "planning") as progress:
            progress("a run on a sample")
            silent = unwritten_log(quiet=True)
            rehearsal = rehearse(
                recipe, plan, work.measured_bytes, engine=engine, threads=workers, folder=folder, log=silent
            )
    extrapolation = Extrapolation(recipe=recipe, plan=plan, work=work, rehearsal=rehearsal, workers=workers)
    return _forecast(extrapolation, ledger, warnings, base_bytes)


def remaining_work(recipe: Recipe, plan: Plan, ledger: Ledger, previous: PreviousRun) -> Work:
    """The work that a run has left, given what it can reuse from the ledger."""
    drop_stale_parts(plan, ledger)
    missing = missing_groups(plan, ledger)
    sizes = plan.unit_sizes
    tasks = measuring_tasks(plan, ledger.run, missing)
    measured_bytes: Counter[tuple[str, ...]] = Counter()
    for unit, size in sizes.items():
        if missing[unit]:
            measured_bytes[missing[unit]] += size
    return Work(
        tasks=tuple(tasks),
        measured_bytes=dict(measured_bytes),
        steps=tuple(planned_steps(recipe, plan, ledger, previous)),
        documents=sum(file.rows for file in plan.files.values()),
        text_bytes=sum(sizes.values()),
    )


def _forecast(extrapolation: Extrapolation, ledger: Ledger, warnings: list[str], base_bytes: int) -> Forecast:
    recipe, rehearsal = extrapolation.recipe, extrapolation.rehearsal
    near = recipe.dedup.near
    return Forecast(
        run=by_uri(str(recipe.run_directory)),
        input=_input_size(extrapolation, ledger),
        sample=SampleSize(documents=rehearsal.sample.documents, text_bytes=rehearsal.sample.text_bytes),
        steps=extrapolation.work.steps,
        dropped=_dropped(extrapolation),
        passing=_passing(extrapolation),
        other_language=_other_language(extrapolation),
        warnings=warnings + _language_warnings(extrapolation),
        tier2=recipe.tier2 is not None,
        tier3=recipe.tier3 is not None,
        keep_tokens=recipe.distill.keep_tokens if recipe.distill else None,
        keep_bytes=recipe.distill.keep_bytes if recipe.distill else None,
        tokenizer=recipe.tokenizer,
        training=_training(extrapolation),
        weighted=bool(recipe.distill and (recipe.distill.curve or recipe.distill.quotas)) or recipe.dedup.weighs,
        scores=scores_message(recipe) if recipe.distill else None,
        bands=str(choose_bands(near.threshold, near.permutations)) if near else None,
        cpu_seconds=extrapolation.cpu_seconds(),
        minutes=extrapolation.minutes(),
        workers=extrapolation.workers,
        memory_bytes=extrapolation.memory_bytes(base_bytes),
        disk_bytes=extrapolation.disk_bytes(),
    )


def _training(extrapolation: Extrapolation) -> TrainingEpochs | None:
    """A training over the output, if nothing but rules and the budget dropped anything."""
    recipe = extrapolation.recipe
    if recipe.train_tokens is None:
        return None
    tokens = extrapolation.rehearsal.sample.corpus_text_bytes * extrapolation.tokens_per_byte
    passing = round(tokens * extrapolation.tokens_passing)
    budgets = [passing]
    if section := recipe.distill:
        unit = extrapolation.tokens_per_byte if section.unit == "bytes" else 1.0
        sizes = [size * tokens if size <= 1 else size * unit for size in sorted([*section.ladder, section.budget])]
        budgets = [min(passing, round(size)) for size in sizes]
    return training_over(
        int(recipe.train_tokens),
        [(1.0, budgets[-1])],
        ladder={f"rung {k + 1}": [(1.0, budget)] for k, budget in enumerate(budgets[:-1])},
        available_tokens=passing,
        input_tokens=round(tokens),
    )


def _input_size(extrapolation: Extrapolation, ledger: Ledger) -> InputSize:
    plan, sample = extrapolation.plan, extrapolation.rehearsal.sample
    return InputSize(
        files=len(plan.files),
        quarantined=[file.path for file in ledger.files if file.error],
        bad_lines={file.path: file.bad_lines for file in ledger.files if file.bad_lines},
        passed_over=plan.passed_over,
        units=len(plan.units),
        documents=extrapolation.work.documents,
        file_bytes=sum(file.size for file in plan.files.values()),
        text_bytes=sample.corpus_text_bytes,
        tokens=round(sample.corpus_text_bytes * extrapolation.tokens_per_byte),
    )


def _dropped(extrapolation: Extrapolation) -> list[Dropped]:
    """The reasons that dropped documents of the sample before duplicates were removed, most frequent first."""
    return [
        Dropped(stage=stage["stage"], reason=reason, share=_share(extrapolation, count["documents"], count["tokens"]))
        for stage in extrapolation.rehearsal.stages[:2]
        for reason, count in stage["dropped"].items()
    ]


def _passing(extrapolation: Extrapolation) -> Share:
    """The documents that no rule drops."""
    rules = extrapolation.rehearsal.stages[1]
    return _share(extrapolation, rules["documents_out"], rules["tokens_out"])


def _share(extrapolation: Extrapolation, documents: int, tokens: int) -> Share:
    """The share of the corpus that so many documents and tokens of the sample represent."""
    first = extrapolation.rehearsal.stages[0]
    share = documents / max(1, first["documents_in"])
    return Share(
        in_sample=documents,
        share=share,
        documents=round(share * extrapolation.work.documents),
        token_share=tokens / max(1, first["tokens_in"]),
    )


def _other_language(extrapolation: Extrapolation) -> OtherLanguage | None:
    """Documents in languages that are not kept, scaled from the sample to the corpus."""
    rehearsal = extrapolation.rehearsal
    factor = extrapolation.work.documents / max(1, rehearsal.stages[0]["documents_in"])
    return rehearsal.other_language and rehearsal.other_language.scaled(factor)


def _language_warnings(extrapolation: Extrapolation) -> list[str]:
    """The warning that rules made for English would drop much of other languages, if so."""
    losses, sample = extrapolation.rehearsal.losses, extrapolation.rehearsal.sample
    if losses is None or not losses.is_large:
        return []
    return [losses.scaled(sample.documents, extrapolation.work.documents).message()]

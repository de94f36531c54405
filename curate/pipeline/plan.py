"""Plan a run: resolve its files, units, columns, groups and rules before any document is read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from curate.corpus.columns import is_text
from curate.corpus.folders import counts_by_reason
from curate.corpus.inputs import InputListing, NamedInput, open_all
from curate.corpus.parquet import InputFile, Source, unified_schema
from curate.corpus.units import cut_units
from curate.decide.plan import Given, Plan, groups_needed, input_columns, read_exclusions, signals_schema
from curate.dedup.earlier_runs import open_earlier
from curate.distill.budget.scores import check_columns, check_distill, check_pinned_scores
from curate.distill.lora.texts import check_models
from curate.distill.purify.bounds import check_strata
from curate.distill.purify.stage import strata_of_purify
from curate.distill.purify.training import calibration_of, check_tier2
from curate.distill.reference import ReferenceFile, open_reference
from curate.distill.scoring.static_vectors import StaticVectors, open_static
from curate.engine.base import Engine
from curate.errors import InputError, RecipeError, did_you_mean
from curate.filters import block, registry
from curate.filters.contamination.benchmarks import Benchmark, prepare
from curate.filters.contamination.signals import EvaluationNgrams
from curate.filters.language.model import LanguageModel
from curate.filters.language.of_recipe import open_models
from curate.filters.rules.conditions import check_conditions, columns_named
from curate.filters.rules.resolve import ResolvedRule, edits_of_set, resolve, resolve_editors
from curate.filters.signals.hashes import choose_bands
from curate.ledger.augmented import read_augmented
from curate.ledger.ledger import KnownFile, Ledger
from curate.ledger.models import BUDGET, PURIFY, ModelSet, open_pinned
from curate.ledger.names import MODELS_FOLDER
from curate.manifests.composition import check_license
from curate.maps.groups import group_digests
from curate.maps.reading import Reading
from curate.pipeline.checks.preflight import check_names
from curate.pipeline.checks.run_inputs import refuse_other_files, refuse_other_paths
from curate.pipeline.state import DEFAULTS, RunOptions
from curate.progress import Log
from curate.recipe.recipe import Recipe
from curate.storage.places import status


def make_plan(recipe: Recipe, ledger: Ledger, engine: Engine, log: Log, options: RunOptions = DEFAULTS) -> Plan:
    """Resolve the rules, open every footer, check columns and conditions, and cut the units.

    No document is read, except to convert inputs to Parquet: into the run, or a part of them into `options.preview`.

    Errors: RecipeError; InputError for a file that cannot be read (unless quarantined) or does not fit; RunError for a
    run directory of other input, before anything is written there.
    """
    listed = options.inputs or check_names(recipe)
    resolved = _resolve(recipe)
    earlier = options.given.earlier if options.given else open_earlier(recipe)
    _check_sections(recipe)
    models = _open_models(recipe, options.given)
    files = open_inputs(recipe, ledger, listed, engine, log, options)
    inputs = unified_schema(list(files.values()))
    _check_inputs(recipe, inputs, models.pinned, log)
    measuring = _plan_measuring(recipe, resolved, inputs, models, ledger.run, preview=options.preview, log=log)
    units = tuple(unit for no, file in files.items() for unit in cut_units(no, file))
    log.event("planned", files=len(files), documents=sum(f.rows for f in files.values()), units=len(units))
    augmented = read_augmented(ledger.run) if recipe.tier3 else None
    return Plan(
        root=listed.root,
        files=files,
        units=units,
        inputs=inputs,
        reading=measuring.reading,
        groups=measuring.groups,
        rules=tuple(resolved.rules),
        excluded=resolved.excluded,
        quarantine=recipe.on_error == "quarantine",
        earlier=earlier,
        benchmarks=measuring.benchmarks,
        reference=models.reference,
        pinned=models.pinned,
        static=models.static,
        written=augmented.digest if augmented else None,
        reserved=augmented.size(recipe.budget_unit) if augmented else 0,
        passed_over=listed.passed_over,
    )


@dataclass(frozen=True, kw_only=True)
class ResolvedRules:
    """The rules, edits and lists of a recipe, with names looked up and files read."""

    rules: Sequence[ResolvedRule]
    editors: Sequence[registry.Editor]
    signals: Sequence[str]  # that the rules use
    columns: Sequence[str]  # of the input, that the rules use
    blocks: tuple[block.BlockList, ...]
    excluded: tuple[str, ...]


def _resolve(recipe: Recipe) -> ResolvedRules:
    """Errors: RecipeError for a rule, an edit or a list that cannot be used."""
    rules, editors = resolve(recipe.tier1), resolve_editors(recipe.tier1)
    signals, columns = columns_named(rules)
    blocks = block.read_lists(recipe.tier1.block)
    excluded = read_exclusions(recipe.exclude)
    if recipe.input.messages is not None:
        _refuse_edits(recipe, editors)
    return ResolvedRules(
        rules=rules, editors=editors, signals=signals, columns=columns, blocks=blocks, excluded=excluded
    )


@dataclass(frozen=True, kw_only=True)
class OpenedModels:
    """The models and reference files of a recipe, opened."""

    pinned: Mapping[str, ModelSet]  # of another run, by the section that uses them
    reference: tuple[ReferenceFile, ...]
    static: StaticVectors | None
    language: tuple[LanguageModel, ...]


def _open_models(recipe: Recipe, given: Given | None) -> OpenedModels:
    """Errors: RecipeError or InputError for a model or a reference that cannot be used."""
    pinned = _open_pinned(recipe, given)
    trains = (recipe.tier2 or recipe.distill) and recipe.models.pin is None
    return OpenedModels(
        pinned=pinned,
        reference=open_reference(recipe) if trains else (),
        static=_open_static(recipe) if trains else None,
        language=open_models(recipe.tier1.perplexity) if recipe.tier1.perplexity else (),
    )


def _check_sections(recipe: Recipe) -> None:
    """Errors: RecipeError for a section that lacks what it needs."""
    check_tier2(recipe)
    check_distill(recipe)
    check_tier3(recipe)
    check_models(recipe)


def _check_inputs(recipe: Recipe, inputs: pa.Schema, pinned: Mapping[str, ModelSet], log: Log) -> None:
    """Refuse columns that the input lacks or has with another type.

    Errors: RecipeError, InputError.
    """
    for name in (*(recipe.input.columns or ()), *recipe.input.cast):
        if name not in inputs.names:
            field = "cast" if name in recipe.input.cast else "columns"
            raise RecipeError(f"input.{field}: no file has a column {name!r}{did_you_mean(name, inputs.names)}")
    if recipe.models.pin and recipe.reference:
        log.say("models.pin: reference and what else models are trained with are those of the pinned run")
    if PURIFY.section in pinned:
        check_strata(calibration_of(pinned[PURIFY.section]), list(strata_of_purify(recipe, inputs.names)))
    check_columns(recipe, inputs)
    check_license(recipe.input, inputs)


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """How documents are read, which groups are measured, and the evaluation sets that are searched for."""

    reading: Reading
    groups: Mapping[str, str]  # with their digests
    benchmarks: tuple[Benchmark, ...]


def _plan_measuring(
    recipe: Recipe,
    resolved: ResolvedRules,
    inputs: pa.Schema,
    models: OpenedModels,
    run: Path,
    preview: Path | None,
    log: Log,
) -> Measuring:
    """Errors: RecipeError for a column that is missing or does not fit its rule; InputError for an evaluation set."""
    columns = input_columns(recipe, resolved.columns, resolved.excluded, inputs)
    _log_dedup(recipe, inputs, columns, log)
    sets = prepare(recipe.tier1.decontaminate, run / MODELS_FOLDER, preview)
    reading = _reading(recipe, resolved, columns, sets.ngrams, models.language)
    _check_urls(resolved.blocks, inputs)
    groups = group_digests(groups_needed(recipe, resolved.signals, bool(reading.editors), bool(columns)), reading)
    counts = [pa.field(block_list.column, pa.int64()) for block_list in resolved.blocks]
    check_conditions(resolved.rules, pa.schema([*signals_schema(groups), *counts]), pa.schema(columns))
    return Measuring(reading=reading, groups=groups, benchmarks=sets.benchmarks)


def _log_dedup(recipe: Recipe, inputs: pa.Schema, columns: Iterable[tuple[str, pa.DataType]], log: Log) -> None:
    """Say if repeated lines cannot be counted by domain, and log how near duplicates are found."""
    if recipe.dedup.lines and "url" in inputs.names and "url" not in dict(columns):
        log.say(f"dedup.lines: column url holds {inputs.field('url').type} and no text: lines count over all documents")
    if near := recipe.dedup.near:
        log.event("bands", curve=str(choose_bands(near.threshold, near.permutations)))


def _reading(
    recipe: Recipe,
    resolved: ResolvedRules,
    columns: tuple[tuple[str, pa.DataType], ...],
    sought: EvaluationNgrams | None,
    models: tuple[LanguageModel, ...],
) -> Reading:
    """How the run reads documents."""
    near = recipe.dedup.near
    cutting = [sought] if sought and sought.cuts else []
    return Reading(
        text=recipe.input.column,
        id=recipe.input.id,
        input_columns=columns,
        editors=(*resolved.editors, *cutting),
        permutations=near.permutations if near else 0,
        shingle=near.shingle if near else 0,
        sought=sought,
        blocks=resolved.blocks,
        models=models,
        casts=tuple(sorted(recipe.input.cast.items())),
    )


def _open_pinned(recipe: Recipe, given: Given | None) -> dict[str, ModelSet]:
    """The models of another run that this run uses, by their section."""
    purify = given.pinned if given else open_pinned(PURIFY, recipe.models.pin) if recipe.tier2 else None
    budget = open_pinned(BUDGET, recipe.models.pin) if recipe.distill else None
    check_pinned_scores(recipe, budget)
    return {models.kind.section: models for models in (purify, budget) if models}


def _open_static(recipe: Recipe) -> StaticVectors | None:
    section = recipe.distill.vectors if recipe.distill else "hashed"
    return None if section == "hashed" else open_static(section.static, section.revision)


def _refuse_edits(recipe: Recipe, editors: Sequence[registry.Editor]) -> None:
    """Refuse a recipe that would edit chats."""
    cutting = [name for name in recipe.tier1.rules if isinstance(name, str) and edits_of_set(name)]
    if editors:
        edit = f"tier1.rules: {cutting[0]} cuts lines" if cutting else "tier1.pii: redact changes text"
        raise RecipeError(f"{edit}, and chats (input.messages) come out unchanged; remove it")
    if recipe.dedup.lines:
        raise RecipeError("dedup.lines cuts lines, and chats (input.messages) come out unchanged; remove it")
    if recipe.tier1.decontaminate and recipe.tier1.decontaminate.action == "cut":
        raise RecipeError("tier1.decontaminate.action: chats (input.messages) come out unchanged; use drop")


def open_inputs(
    recipe: Recipe, ledger: Ledger, listed: InputListing, engine: Engine, log: Log, options: RunOptions
) -> dict[int, InputFile]:
    """Open the files of the input; return the readable ones by number. The ledger then lists all in input order."""
    if options.same_input:
        refuse_other_paths(ledger, listed)
    if listed.passed_over:
        log.event("passed_over", count=len(listed.passed_over), why=counts_by_reason(listed.passed_over))
    lenient = recipe.on_error == "quarantine"
    opened = open_all(
        listed.inputs, recipe.input, ledger.run, engine=engine, log=log, preview=options.preview, lenient=lenient
    )
    numbered: list[KnownFile] = []
    files: dict[int, InputFile] = {}
    used_numbers: set[int] = set()
    for named, file in zip(listed.inputs, opened, strict=True):
        if isinstance(file, InputFile) and file.bad_line_problems:
            file = _without_bad_lines(named, file, lenient, log)
        if not isinstance(file, InputError):
            numbered.append(ledger.number(file, used_numbers))
            files[numbered[-1].file_no] = file
        elif not lenient:
            raise file
        else:
            log.say(f"quarantined: {file}")
            log.event("quarantined", file=named.path, error=str(file))
            error = without_root(str(file), listed.root)
            numbered.append(replace(ledger.number(_unreadable(named), used_numbers), error=error))
        used_numbers.add(numbered[-1].file_no)
    previous, ledger.files = ledger.files, numbered
    if options.same_input:
        refuse_other_files(ledger, previous, listed.root)
    if not sum(file.rows for file in files.values()):
        raise InputError(f"input.paths: no documents in the {len(listed.inputs)} file(s) under {listed.root}")
    return files


def _without_bad_lines(named: NamedInput, file: InputFile, lenient: bool, log: Log) -> InputFile | InputError:
    """Report the lines that were left out of a file; return an error unless the recipe allows that."""
    if not lenient:  # an earlier run that allowed it has converted the file
        return InputError(f"{named.location}: {file.bad_line_problems[0]}")
    subject = f"it and {file.bad_lines - 1:,} more lines are" if file.bad_lines > 1 else "it is"
    log.say(f"quarantined: {named.location}: {file.bad_line_problems[0]}; {subject} left out")
    log.event("quarantined_lines", file=named.path, lines=file.bad_lines, first=list(file.bad_line_problems))
    return file


def _unreadable(named: NamedInput) -> InputFile:
    """The record of a file or folder that cannot be read, with its size if that is known."""
    try:
        size = status(named.location)[0] if named.problem is None else 0
    except (OSError, pa.ArrowException):
        size = 0
    return InputFile(
        path=named.path,
        size=size,
        identity=f"{size}--0",
        source=Source(named.location, size, 0),
        schema=pa.schema([]),
        group_rows=(),
        group_bytes=(),
    )


def _check_urls(blocks: Sequence[block.BlockList], inputs: pa.Schema) -> None:
    """Refuse a list of URLs if documents have none."""
    has_urls = block.URL in inputs.names and is_text(inputs.field(block.URL).type)
    for entry in blocks:
        if entry.kind == "urls" and not has_urls:
            raise RecipeError(f"tier1.block: {entry.reason}: the input has no column {block.URL!r} that holds text")


def without_root(message: str, root: Path) -> str:
    """An error message for the manifest, without the path of the corpus on this machine."""
    return message.replace(f"{root}/", "")


def check_tier3(recipe: Recipe) -> None:
    """Refuse a third tier that cannot work.

    Errors: RecipeError.
    """
    section = recipe.tier3
    if section is None:
        return
    if recipe.input.messages is not None:
        raise RecipeError("tier3: writes plain text, and input.messages names chats; remove one of them")
    if section.adapter is None and section.faithful is not None and recipe.teacher == "rules":
        raise RecipeError("tier3.faithful: asks the teacher, and rules have no model; set teacher, or leave it out")

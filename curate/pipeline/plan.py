"""The plan of a run: files, units, columns, groups and rules, settled before any document is read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from curate.corpus.columns import is_text
from curate.corpus.folders import told
from curate.corpus.inputs import Found, Named, open_all
from curate.corpus.parquet import InputFile, Source, unified_schema
from curate.corpus.units import cut_units
from curate.decide.plan import Given, Plan, groups_needed, input_columns, read_exclusions, signals_schema
from curate.dedup.earlier_runs import open_earlier
from curate.distill.budget.scores import check_columns, check_distill, check_pinned_scores
from curate.distill.lora.texts import check_models
from curate.distill.purify.stage import check_strata, strata_of_purify
from curate.distill.purify.training import calibration_of, check_tier2
from curate.distill.reference import open_reference
from curate.distill.scoring.static_vectors import StaticVectors, open_static
from curate.engine.base import Engine
from curate.errors import InputError, RecipeError, did_you_mean
from curate.filters import block, registry
from curate.filters.contamination.benchmarks import prepare
from curate.filters.contamination.signals import Sought
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
from curate.progress import Log
from curate.recipe.recipe import Recipe
from curate.storage.places import status


def make_plan(
    recipe: Recipe,
    ledger: Ledger,
    engine: Engine,
    log: Log,
    preview: Path | None = None,
    given: Given | None = None,
    same_input: bool = False,
    found: Found | None = None,
) -> Plan:
    """Settle the rules, open every footer, check columns and conditions, cut the units.

    No document is read, but for those inputs that are first written as Parquet: into the run, or for a forecast their
    beginnings into the folder `preview`.

    Errors: RecipeError; InputError for a file that cannot be read (unless quarantined) or does not fit; RunError for a
    run directory of other input, where it must be of the `same_input`: then nothing was written there. `found` is the
    input, where `check_names` has listed it before.
    """
    there = found or check_names(recipe)
    settled = _settle(recipe)
    earlier = given.earlier if given else open_earlier(recipe)
    _check_sections(recipe)
    pinned = _open_pinned(recipe, given)
    learns = (recipe.tier2 or recipe.distill) and recipe.models.pin is None
    reference = open_reference(recipe) if learns else ()
    static = _open_static(recipe) if learns else None
    models = open_models(recipe.tier1.perplexity) if recipe.tier1.perplexity else ()
    files = open_inputs(recipe, ledger, there, engine, log, preview, same_input)
    inputs = unified_schema(list(files.values()))
    _check_inputs(recipe, inputs, pinned, log)
    columns = input_columns(recipe, settled.named, settled.excluded, inputs)
    _tell_of_lines(recipe, inputs, columns, log)
    sets = prepare(recipe.tier1.decontaminate, ledger.run / MODELS_FOLDER, preview)
    reading = _reading(recipe, settled, columns, sets.sought, models)
    _check_urls(settled.blocks, inputs)
    groups = group_digests(groups_needed(recipe, settled.signals, bool(reading.editors), bool(columns)), reading)
    counts = [pa.field(found.column, pa.int64()) for found in settled.blocks]
    check_conditions(settled.rules, pa.schema([*signals_schema(groups), *counts]), pa.schema(columns))
    units = tuple(unit for no, file in files.items() for unit in cut_units(no, file))
    log.event("planned", files=len(files), documents=sum(f.rows for f in files.values()), units=len(units))
    made = read_augmented(ledger.run) if recipe.tier3 else None
    return Plan(
        root=there.root, files=files, units=units, inputs=inputs, reading=reading, groups=groups,
        rules=tuple(settled.rules), excluded=settled.excluded, quarantine=recipe.on_error == "quarantine",
        earlier=earlier, benchmarks=sets.benchmarks, reference=reference, pinned=pinned, static=static,
        written=made.digest if made else None, reserved=made.tokens if made else 0, passed_over=there.passed_over,
    )  # fmt: skip


@dataclass(frozen=True)
class Settled:
    """What a recipe says of rules, once names and files in it are looked up."""

    rules: Sequence[ResolvedRule]
    editors: Sequence[registry.Editor]
    signals: Sequence[str]  # that rules name
    named: Sequence[str]  # columns of the input that rules name
    blocks: tuple[block.BlockList, ...]
    excluded: tuple[str, ...]


def _settle(recipe: Recipe) -> Settled:
    """Errors: RecipeError for a rule, an edit or a list that cannot be used."""
    rules, editors = resolve(recipe.tier1), resolve_editors(recipe.tier1)
    signals, named = columns_named(rules)
    blocks = block.read_lists(recipe.tier1.block)
    excluded = read_exclusions(recipe.exclude)
    if recipe.input.messages is not None:
        _refuse_edits(recipe, editors)
    return Settled(rules, editors, signals, named, blocks, excluded)


def _check_sections(recipe: Recipe) -> None:
    """Errors: RecipeError for a section that lacks what it needs."""
    check_tier2(recipe)
    check_distill(recipe)
    check_tier3(recipe)
    check_models(recipe)


def _check_inputs(recipe: Recipe, inputs: pa.Schema, pinned: Mapping[str, ModelSet], log: Log) -> None:
    """Refuse columns that the input lacks, or holds as something else.

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


def _tell_of_lines(recipe: Recipe, inputs: pa.Schema, columns: Iterable[tuple[str, pa.DataType]], log: Log) -> None:
    """Say where repeated lines cannot be counted by domain, and note how near duplicates are found."""
    if recipe.dedup.lines and "url" in inputs.names and "url" not in dict(columns):
        log.say(f"dedup.lines: column url holds {inputs.field('url').type} and no text: lines count over all documents")
    if near := recipe.dedup.near:
        log.event("bands", curve=str(choose_bands(near.threshold, near.permutations)))


def _reading(
    recipe: Recipe, settled: Settled, columns: tuple[tuple[str, pa.DataType], ...], sought: Sought | None,
    models: tuple[LanguageModel, ...],
) -> Reading:  # fmt: skip
    """How the run reads documents."""
    near = recipe.dedup.near
    cutting = [sought] if sought and sought.cuts else []
    return Reading(
        recipe.input.column, recipe.input.id, columns, (*settled.editors, *cutting),
        *((near.permutations, near.shingle) if near else (0, 0)), sought, settled.blocks, models,
        tuple(sorted(recipe.input.cast.items())),
    )  # fmt: skip


def _open_pinned(recipe: Recipe, given: Given | None) -> dict[str, ModelSet]:
    """The models that the run takes from another one, by the section that they are of."""
    purify = given.pinned if given else open_pinned(PURIFY, recipe.models.pin) if recipe.tier2 else None
    budget = open_pinned(BUDGET, recipe.models.pin) if recipe.distill else None
    check_pinned_scores(recipe, budget)
    return {models.kind.section: models for models in (purify, budget) if models}


def _open_static(recipe: Recipe) -> StaticVectors | None:
    section = recipe.distill.vectors if recipe.distill else "hashed"
    return None if section == "hashed" else open_static(section.static, section.revision)


def _refuse_edits(recipe: Recipe, editors: Sequence[registry.Editor]) -> None:
    """Refuse a recipe that would cut something out of chats."""
    cutting = [name for name in recipe.tier1.rules if isinstance(name, str) and edits_of_set(name)]
    if editors:
        what = f"tier1.rules: {cutting[0]} cuts lines" if cutting else "tier1.pii: redact changes text"
        raise RecipeError(f"{what}, and chats (input.messages) come out unchanged; remove it")
    if recipe.dedup.lines:
        raise RecipeError("dedup.lines cuts lines, and chats (input.messages) come out unchanged; remove it")
    if recipe.tier1.decontaminate and recipe.tier1.decontaminate.action == "cut":
        raise RecipeError("tier1.decontaminate.action: chats (input.messages) come out unchanged; use drop")


def open_inputs(
    recipe: Recipe, ledger: Ledger, there: Found, engine: Engine, log: Log, preview: Path | None = None,
    same_input: bool = False,
) -> dict[int, InputFile]:  # fmt: skip
    """The files of the input that can be read, numbered; the ledger then lists all in input order."""
    if same_input:
        refuse_other_paths(ledger, there)
    root, named = there.root, there.inputs
    if there.passed_over:
        log.event("passed_over", count=len(there.passed_over), why=told(there.passed_over))
    known: list[KnownFile] = []
    files: dict[int, InputFile] = {}
    taken: set[int] = set()
    lenient = recipe.on_error == "quarantine"
    opened = open_all(named, recipe.input, ledger.run, engine, log, preview, lenient)
    for one, found in zip(named, opened, strict=True):
        if isinstance(found, InputFile) and found.bad:
            found = _without_bad_lines(one, found, lenient, log)
        if not isinstance(found, InputError):
            known.append(ledger.number(found, taken))
            files[known[-1].file_no] = found
        elif not lenient:
            raise found
        else:
            log.say(f"quarantined: {found}")
            log.event("quarantined", file=one.path, error=str(found))
            known.append(replace(ledger.number(_unreadable(one), taken), error=without_root(str(found), root)))
        taken.add(known[-1].file_no)
    before, ledger.files = ledger.files, known
    if same_input:
        refuse_other_files(ledger, before, root)
    if not sum(file.rows for file in files.values()):
        raise InputError(f"input.paths: no documents in the {len(named)} file(s) under {root}")
    return files


def _without_bad_lines(named: Named, found: InputFile, lenient: bool, log: Log) -> InputFile | InputError:
    """Tell of the lines that were left out of a file; an error where that is not wanted."""
    if not lenient:  # an earlier run was, and converted the file
        return InputError(f"{named.location}: {found.bad[0]}")
    rest = f"it and {found.bad_lines - 1:,} more lines are" if found.bad_lines > 1 else "it is"
    log.say(f"quarantined: {named.location}: {found.bad[0]}; {rest} left out")
    log.event("quarantined_lines", file=named.path, lines=found.bad_lines, first=list(found.bad))
    return found


def _unreadable(named: Named) -> InputFile:
    """A file of which nothing is known but its size, or a folder."""
    try:
        size = status(named.location)[0] if named.problem is None else 0
    except (OSError, pa.ArrowException):
        size = 0
    return InputFile(named.path, size, f"{size}--0", Source(named.location, size, 0), pa.schema([]), (), ())


def _check_urls(blocks: Sequence[block.BlockList], inputs: pa.Schema) -> None:
    """Refuse a list of addresses where documents have none."""
    for found in blocks:
        if found.kind == "urls" and not (block.URL in inputs.names and is_text(inputs.field(block.URL).type)):
            raise RecipeError(f"tier1.block: {found.reason}: the input has no column {block.URL!r} that holds text")


def without_root(message: str, root: Path) -> str:
    """An error without the place of the corpus on this machine: it goes into the manifest."""
    return message.replace(f"{root}/", "")


def check_tier3(recipe: "Recipe") -> None:
    """Refuse a recipe whose third tier cannot be.

    Errors: RecipeError.
    """
    section = recipe.tier3
    if section is None:
        return
    if recipe.input.messages is not None:
        raise RecipeError("tier3: writes plain text, and input.messages names chats; remove one of them")
    if section.adapter is None and section.faithful is not None and recipe.teacher == "rules":
        raise RecipeError("tier3.faithful: asks the teacher, and rules have no model; set teacher, or leave it out")

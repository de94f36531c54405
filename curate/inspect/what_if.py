"""`what-if`: the verdicts that a run would give by another recipe, from its ledger.

The stages are those of a run; their parts go to a scratch folder. Where a run would read texts again, the ledger comes
first; then single texts are read, or verdicts are estimated.
"""

import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb
import pyarrow as pa
import yaml

from curate.decide.cascade import Cascade, Shown, run_cascade
from curate.decide.checks import check_measured
from curate.decide.plan import Plan, groups_needed, input_columns, read_exclusions, signals_schema
from curate.decide.verdicts import BYTES, TOKENS, TOKENS_CUT, WEIGHT, verdicts_sql
from curate.dedup.earlier_runs import open_earlier
from curate.distill.budget.scores import check_distill
from curate.distill.reference import open_reference
from curate.errors import CurateError, RecipeError
from curate.filters import block
from curate.filters.contamination.benchmarks import is_prepared
from curate.filters.contamination.signals import GROUP as CONTAMINATION
from curate.filters.language.of_recipe import open_models
from curate.filters.language.perplexity import GROUP as PERPLEXITY
from curate.filters.rules.conditions import check_conditions, columns_named
from curate.filters.rules.resolve import resolve, resolve_editors
from curate.inspect.ledger_reader import LedgerReader, TextUse
from curate.ledger.augmented import read_augmented
from curate.ledger.ledger import Ledger
from curate.ledger.models import BUDGET, PURIFY, load_models
from curate.ledger.names import DECISIONS, DOCUMENTS, INDEX, INPUT, LINE_HASHES, MODELS_FOLDER, OVERLAPS, SIGNATURES
from curate.ledger.run import RECIPE, FinishedRun, open_finished, readable
from curate.ledger.views import decision_database
from curate.maps.changed_fields import changed_measurements, cuts_passages
from curate.maps.groups import group_digests
from curate.maps.reading import Reading
from curate.progress import Steps, unwritten_log
from curate.recipe.affects import changed_settings
from curate.recipe.load import load_recipe, parse_recipe
from curate.recipe.recipe import Recipe, changed_fields
from curate.recipe.strata import strata_of_documents
from curate.recipe.tier1 import DEFAULT_MODEL, Block
from curate.sql import open_database, quoted
from curate.storage.files import committed
from curate.who.dimensions import Dimension, group_columns
from curate.who.documents import ledger_dimensions

THREAD_MB, MOST_MB = 1000, 4000  # memory of DuckDB before it spills; with less it is slower by a sixth
ONLY_RUN = "only `curate run` can tell"
FIELD_OF = {  # the fields that need a group
    "hashes": "dedup.exact",
    SIGNATURES: "dedup.near",
    LINE_HASHES: "dedup.lines",
    PERPLEXITY: "tier1.perplexity",
    "language": "tier1.language, tier1.perplexity.by, tier2.by or distill.quotas.by",
    "register": "who.register",
    "mentions": "who.mentions",
    INPUT: "input.strata or tier1.rules",
}


@dataclass(frozen=True, slots=True)
class FieldChange:
    """The values of a recipe's field in both recipes."""

    before: object
    after: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Another recipe for a run, with its plan over the run's measurements."""

    run: FinishedRun
    recipe: Recipe
    plan: Plan
    strata: Mapping[str, str]  # columns by which gains and losses are reported, with their SQL over the signals
    dimensions: Mapping[str, Dimension]  # by which `who` groups documents
    quiet: bool
    texts: TextUse = field(default_factory=TextUse)


def propose(folder: Path, changes: Sequence[str], quiet: bool = False) -> Proposal:
    """Open a decided run, and plan how another recipe decides over its measurements.

    Errors: RunError for a folder without verdicts; RecipeError for a recipe that needs other measurements.
    """
    run = open_finished(folder)
    recipe = load_recipe(folder / RECIPE, changes)
    check_distill(recipe)
    rules, editors = resolve(recipe.tier1), tuple(resolve_editors(recipe.tier1))
    signals, _ = columns_named(rules)
    excluded = read_exclusions([run.located(path) for path in recipe.exclude])
    columns = _needed_columns(run, recipe, excluded)
    for name in _fields_that_need_a_run(run.recipe, recipe, [name for name, _ in columns]):
        raise RecipeError(f"{name}: changes what is measured; {ONLY_RUN}")
    needed = groups_needed(recipe, signals, bool(editors) or cuts_passages(recipe), bool(columns))
    _check_groups(needed, run)
    groups = {group: run.groups[group] for group in needed}
    counts = [pa.field(f"block_{entry.reason}", pa.int64()) for entry in recipe.tier1.block]
    check_conditions(rules, pa.schema([*signals_schema(groups), *counts]), pa.schema(columns))
    plan = Plan(
        root=folder,
        files={},
        units=tuple(sorted(unit for part in run.ledger.of(DOCUMENTS) for unit in part.units)),
        inputs=_input_schema(run),
        reading=Reading(recipe.input.column, recipe.input.id, columns, editors, *_near_sizes(recipe)),
        groups=groups,
        rules=tuple(rules),
        excluded=excluded,
        quarantine=False,
        earlier=open_earlier(recipe),
        benchmarks=(),
    )
    if recipe.tier3 and (augmented := read_augmented(folder)):
        plan = replace(plan, written=augmented.digest, reserved=augmented.size(recipe.budget_unit))
    strata = strata_of_documents(recipe, run.columns.names, groups)
    dimensions = ledger_dimensions(recipe, groups, run.ledger)
    return Proposal(run=run, recipe=recipe, plan=plan, strata=strata, dimensions=dimensions, quiet=quiet)


def _near_sizes(recipe: Recipe) -> tuple[int, int]:
    """Permutations and shingle of the search for near duplicates; zeros without one."""
    near = recipe.dedup.near
    return (near.permutations, near.shingle) if near else (0, 0)


def _input_schema(run: FinishedRun) -> pa.Schema:
    """The columns of the input; of those that the ledger lacks only the name is known."""
    types = {column.name: column.type for column in run.columns}
    return pa.schema([(name, types.get(name, pa.string())) for name in run.input_names])


def _needed_columns(run: FinishedRun, recipe: Recipe, excluded: Sequence[str]) -> tuple[tuple[str, pa.DataType], ...]:
    """The input columns that a recipe's decisions need.

    Errors: RecipeError for a column of the input that the ledger lacks.
    """
    _, in_conditions = columns_named(resolve(recipe.tier1))
    columns = input_columns(recipe, in_conditions, excluded, _input_schema(run))
    for name, _ in columns:
        if name not in run.columns.names:
            raise RecipeError(f"the ledger does not hold the input's column {name!r}; {ONLY_RUN}")
    return columns


def _check_groups(groups: Iterable[str], run: FinishedRun) -> None:
    """Refuse a recipe that needs a group which the ledger lacks.

    Errors: RecipeError naming the field that needs it.
    """
    for group in groups:
        if run.ledger.of(group):
            continue
        deleted = group == SIGNATURES and group in run.groups and not run.recipe.dedup.keep_signatures
        cause = " (dedup.keep_signatures is false)" if deleted else ""
        field_name = FIELD_OF.get(group, "tier1.rules")
        raise RecipeError(
            f"{field_name}: needs measurements of group {group}, which the ledger lacks{cause}; {ONLY_RUN}"
        )


def notes(proposal: Proposal, kept: int) -> list[str]:
    """What else a run by the recipe would do: measure again what has changed, or stop."""
    recipe = proposal.recipe
    lines = [f"`curate run` would measure again: {changed}" for changed in _stale(proposal.run)]
    if recipe.on_error == "stop":
        lines += [
            f"`curate run` would stop at {file.path}: {file.error or 'a line is no JSON object'}"
            for file in proposal.run.ledger.files
            if file.error or file.bad_lines
        ][:1]
    if recipe.tier3 and proposal.plan.written:
        lines.append("written documents stay as they are here; `curate run` would judge, and perhaps write, them anew")
    if not kept and not recipe.allow_empty:
        lines.append("`curate run` would end with an error: nothing is kept, and allow_empty is false")
    return lines


def _stale(run: FinishedRun) -> list[str]:
    """What has changed since the run measured: code, lists, evaluation sets, models."""
    try:
        return [*_stale_groups(run), *_stale_evaluation_sets(run), *_stale_reference(run)]
    except CurateError as error:
        return [str(error)]


def _stale_groups(run: FinishedRun) -> list[str]:
    recipe = run.recipe
    perplexity = recipe.tier1.perplexity
    reading = Reading(
        recipe.input.column,
        recipe.input.id,
        _needed_columns(run, recipe, read_exclusions([run.located(path) for path in recipe.exclude])),
        tuple(resolve_editors(recipe.tier1)),
        *_near_sizes(recipe),
        blocks=block.read_lists([_located(entry, run) for entry in recipe.tier1.block]),
        # The packaged model changes only with the code, and takes time to read.
        models=open_models(perplexity) if perplexity and perplexity.model != DEFAULT_MODEL else (),
        casts=tuple(sorted(recipe.input.cast.items())),
    )
    unchecked = {CONTAMINATION, OVERLAPS} | (set() if reading.models else {PERPLEXITY})
    names = [group for group in run.groups if group not in unchecked]
    digests = {} if cuts_passages(recipe) else group_digests(names, reading)
    return [f"group {group}" for group, digest in digests.items() if digest != run.groups[group]]


def _stale_evaluation_sets(run: FinishedRun) -> list[str]:
    section = run.recipe.tier1.decontaminate
    if section is None:
        return []
    located = section.model_copy(update={"against": [run.located(path) for path in section.against]})
    return [] if is_prepared(located, run.run / MODELS_FOLDER) else ["evaluation sets of tier1.decontaminate"]


def _stale_reference(run: FinishedRun) -> list[str]:
    """The reference, if its texts are not those that the models were trained on."""
    recipe = run.recipe
    models = load_models(PURIFY if recipe.tier2 else BUDGET, run.run, run.ledger.parts)
    if models is None or recipe.models.pin or not recipe.reference:
        return []
    located = recipe.model_copy(update={"reference": [run.located(path) for path in recipe.reference]})
    now = [{"path": file.name, "content_xxh3_128": file.content_xxh3_128} for file in open_reference(located)]
    return ["the reference"] if now != models.facts["reference"] else []


def _located(entry: Block, run: FinishedRun) -> Block:
    """An entry of `tier1.block` with the path of its file from here."""
    files = {name: path for name in ("words", "urls") if (path := getattr(entry, name)) is not None}
    return entry.model_copy(update={name: run.located(path) for name, path in files.items()})


def check_save(path: Path | None) -> None:
    """Refuse a path for a recipe that exists.

    Errors: RecipeError.
    """
    if path is not None and path.exists():
        raise RecipeError(f"--save {path}: is there already; choose another name")


def save_recipe(proposal: Proposal, path: Path) -> None:
    """Write the recipe to a new file, for the same run directory, without defaults."""
    recipe = proposal.recipe.model_copy(update={"output": str(proposal.run.run)})
    short, full = (recipe.model_dump(mode="json", by_alias=True, exclude_defaults=brief) for brief in (True, False))
    try:  # without their defaults, some sections are not valid
        fields = short if parse_recipe(short, str(path)) == recipe else full
    except RecipeError:
        fields = full
    with committed(path) as aside:
        aside.write_text(yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=100), "utf-8")


def _fields_that_need_a_run(before: Recipe, after: Recipe, columns: Collection[str]) -> list[str]:
    """The fields whose change needs new measurements, models or texts; a removed section needs none.

    `columns` are the input columns that the other recipe reads, without text and id.
    """
    written = changed_settings("tier3", before, after) if after.tier3 else []
    return [*changed_measurements(before, after, columns), *_fields_of_models(before, after), *written]


def _fields_of_models(before: Recipe, after: Recipe) -> list[str]:
    """The changed fields that models are trained with, or that need models which the run lacks."""
    fields: list[str] = []
    if after.tier2:
        fields += changed_settings("tier2", before, after) if before.tier2 else ["tier2"]
        if (before.tier1.perplexity is None) != (after.tier1.perplexity is None):  # coarse_score chooses what is mined
            fields.append("tier1.perplexity")
    if after.distill:
        fields += changed_settings("distill", before, after) if before.distill else ["distill"]
    if before.resolved()["teacher"] == after.resolved()["teacher"]:  # how a teacher is reached changes no reply
        fields = [name for name in fields if name != "teacher"]
    return fields


def field_changes(before: Recipe, after: Recipe) -> dict[str, FieldChange]:
    """The fields that differ; a threshold that a recipe does not set has the bound of its rule."""
    changes = {}
    for name, (old, new) in changed_fields(before, after).items():
        section, _, reason = name.rpartition(".")
        if section == "tier1.thresholds":
            old, new = _bound(before, reason), _bound(after, reason)
        if old != new:
            changes[name] = FieldChange(old, new)
    return changes


def _bound(recipe: Recipe, reason: str) -> object:
    """The bound of a reason, or `off`."""
    bounds: dict[str, object] = {}
    for editor in resolve_editors(recipe.tier1):
        bounds |= dict(editor.bounds)
    for resolved in resolve(recipe.tier1):
        rule = resolved.rule
        bounds[resolved.reason] = rule.min if rule.min is not None else rule.max
    return "off" if bounds.get(reason) is None else bounds[reason]


@contextmanager
def redecide(proposal: Proposal, threads: int, with_texts: bool = True) -> Iterator[duckdb.DuckDBPyConnection]:
    """Decide all documents by the proposed recipe; view `after` of the database has the verdicts.

    Without texts, or where they cannot be read, verdicts are estimated: `proposal.texts` counts them.
    """
    with (
        readable(proposal.run.run),
        Steps(unwritten_log(proposal.quiet), "deciding") as steps,
        tempfile.TemporaryDirectory(prefix="curate-") as folder,
        decision_database(Path(folder) / "spool", threads, min(MOST_MB, THREAD_MB * threads)) as database,
    ):
        ledger = _copied_to(Path(folder), proposal.run.ledger)
        check_measured(proposal.plan.rules, ledger, proposal.plan.groups, database)
        reader = LedgerReader(
            run=proposal.run,
            recipe=proposal.recipe,
            texts=proposal.texts,
            scratch=Path(folder),
            with_texts=with_texts,
            steps=steps,
        )
        cascade = Cascade(
            recipe=proposal.recipe,
            plan=proposal.plan,
            ledger=ledger,
            reader=reader,
            connection=database,
            digest="what-if",
        )
        shown = {**proposal.strata, **group_columns(proposal.dimensions)}
        run_cascade(cascade, Shown(shown, _current_index(proposal.run.ledger)))
        steps("verdicts")
        strata = "".join(f", {quoted(name)}" for name in shown)
        database.execute(
            f"CREATE TEMP VIEW after AS SELECT file_no, row, doc_id, {BYTES} AS n_bytes, {TOKENS} AS n_tokens, "
            f"{TOKENS_CUT} AS n_tokens_cut, "
            f"stage IS NULL AS kept, stage, reasons[1] AS reason, duplicate_of, {WEIGHT} AS weight{strata} "
            f"FROM ({verdicts_sql()})"
        )
        yield database


def _copied_to(folder: Path, ledger: Ledger) -> Ledger:
    """A ledger with the same parts that writes new ones to another folder."""
    run = ledger.run.absolute()
    return Ledger(folder, ledger.files, [replace(part, path=str(run / part.path)) for part in ledger.parts])


def _current_index(ledger: Ledger) -> Path | None:
    """The run's index, if it has a table of the signals that are in the ledger now."""
    digests = {part.digest for part in ledger.of(DECISIONS)}
    try:
        with open_database(ledger.run / INDEX, read_only=True) as connection:
            rows = connection.execute(
                "SELECT decisions_digest FROM about WHERE EXISTS (FROM duckdb_tables() WHERE table_name = 'signals')"
            ).fetchall()
    except duckdb.Error:  # missing, or of another version
        return None
    return ledger.run.absolute() / INDEX if {digest for (digest,) in rows} == digests else None

"""`what-if`: the verdicts that a run would give by another recipe, from what its ledger holds.

The stages are those of a run; what they write goes to a scratch folder. Where a run would read texts again, what the
ledger knows comes first, and then texts of single documents are read, or estimates hold.
"""

import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb
import pyarrow as pa
import yaml

from curate.decide.cascade import Cascade, Shown, run_cascade
from curate.decide.checks import check_measured
from curate.decide.plan import Plan, groups_needed, input_columns, read_exclusions, signals_schema
from curate.decide.verdicts import TOKENS, TOKENS_CUT, verdicts_sql
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
from curate.inspect.ledger_reader import LedgerReader, Texts
from curate.ledger.augmented import read_augmented
from curate.ledger.ledger import Ledger
from curate.ledger.models import BUDGET, PURIFY, load_models
from curate.ledger.names import DECISIONS, DOCUMENTS, INDEX, INPUT, LINE_HASHES, MODELS_FOLDER, OVERLAPS, SIGNATURES
from curate.ledger.parts import Part
from curate.ledger.run import RECIPE, Decided, open_decided, readable
from curate.ledger.views import deciding_in
from curate.maps.groups import group_digests
from curate.maps.reading import Reading
from curate.progress import Steps, unwritten_log
from curate.recipe.affects import changed_settings
from curate.recipe.load import load_recipe, parse_recipe
from curate.recipe.recipe import Recipe
from curate.recipe.strata import strata_of_documents
from curate.recipe.tier1 import DEFAULT_MODEL, Block
from curate.sql import open_database, quoted
from curate.storage.files import committed

THREAD_MB, MOST_MB = 1000, 4000  # what DuckDB may hold before it spills: with less it is slower by a sixth
ONLY_RUN = "only `curate run` can tell"
FIELD_OF = {  # what asks for a group that is not always measured
    "hashes": "dedup.exact",
    SIGNATURES: "dedup.near",
    LINE_HASHES: "dedup.lines",
    PERPLEXITY: "tier1.perplexity",
    "language": "tier1.language, tier1.perplexity.by, tier2.by or distill.quotas.by",
    INPUT: "input.strata or tier1.rules",
}


@dataclass
class Asked:
    """A run, another recipe, and the plan of that one over what the run measured."""

    of: Decided
    after: Recipe
    plan: Plan
    strata: dict[str, str]  # columns that gains and losses are told by, with their SQL over the signals
    quiet: bool
    texts: Texts = field(default_factory=Texts)


def ask(run: Path, changes: Sequence[str], quiet: bool = False) -> Asked:
    """Open a decided run, and settle what another recipe would make of its measurements.

    Errors: RunError for a folder without verdicts; RecipeError for a recipe that needs other measurements.
    """
    found = open_decided(run)
    after = load_recipe(run / RECIPE, changes)
    check_distill(after)
    rules, editors = resolve(after.tier1), tuple(resolve_editors(after.tier1))
    signals, _ = columns_named(rules)
    excluded = read_exclusions([found.located(path) for path in after.exclude])
    wanted = _wanted_columns(found, after, excluded)
    for name in _needs_a_run(found.recipe, after, [name for name, _ in wanted]):
        raise RecipeError(f"{name}: changes what is measured; {ONLY_RUN}")
    needed = groups_needed(after, signals, bool(editors) or _cuts(after), bool(wanted))
    groups = {group: found.groups[group] for group in needed if _is_held(group, found)}
    near = after.dedup.near
    sizes = (near.permutations, near.shingle) if near else (0, 0)
    reading = Reading(after.input.column, after.input.id, wanted, editors, *sizes)
    counts = [pa.field(f"block_{entry.reason}", pa.int64()) for entry in after.tier1.block]
    check_conditions(rules, pa.schema([*signals_schema(groups), *counts]), pa.schema(wanted))
    units = tuple(sorted(unit for part in found.ledger.of(DOCUMENTS) for unit in part.units))
    inputs = _input_schema(found)
    earlier = open_earlier(after)
    plan = Plan(
        root=run, files={}, units=units, inputs=inputs, reading=reading, groups=groups, rules=tuple(rules),
        excluded=excluded, quarantine=False, earlier=earlier, benchmarks=(),
    )  # fmt: skip
    if after.tier3 and (made := read_augmented(run)):
        plan = replace(plan, written=made.digest, reserved=made.tokens)
    return Asked(found, after, plan, strata_of_documents(after, found.columns.names, groups), quiet)


def _input_schema(found: Decided) -> pa.Schema:
    """The columns of the input; of those that the ledger does not hold only the name is known."""
    held = {one.name: one.type for one in found.columns}
    return pa.schema([(name, held.get(name, pa.string())) for name in found.input_names])


def _wanted_columns(found: Decided, recipe: Recipe, excluded: Sequence[str]) -> tuple[tuple[str, pa.DataType], ...]:
    """The input's columns that a recipe's decisions need.

    Errors: RecipeError for one that the input has and the ledger has not.
    """
    _, named = columns_named(resolve(recipe.tier1))
    wanted = input_columns(recipe, named, excluded, _input_schema(found))
    for name, _ in wanted:
        if name not in found.columns.names:
            raise RecipeError(f"the ledger does not hold the input's column {name!r}; {ONLY_RUN}")
    return wanted


def _is_held(group: str, found: Decided) -> bool:
    """Refuse a recipe that needs a group which the ledger does not hold.

    Errors: RecipeError naming the field that asks for it.
    """
    if found.ledger.of(group):
        return True
    forgotten = group == SIGNATURES and group in found.groups and not found.recipe.dedup.keep_signatures
    gone = " (dedup.keep_signatures is false)" if forgotten else ""
    field_name = FIELD_OF.get(group, "tier1.rules")
    raise RecipeError(f"{field_name}: needs measurements of group {group}, which the ledger lacks{gone}; {ONLY_RUN}")


def notes(asked: Asked, kept: int) -> list[str]:
    """What a run would do otherwise than decide: measure again what has changed since, or stop."""
    found = [f"`curate run` would measure again: {what}" for what in _stale(asked.of)]
    if asked.after.on_error == "stop":
        found += [
            f"`curate run` would stop at {file.path}: {file.error or 'a line is no JSON object'}"
            for file in asked.of.ledger.files
            if file.error or file.bad_lines
        ][:1]
    if asked.after.tier3 and asked.plan.written:
        found.append("written documents stay as they are here; `curate run` would judge, and perhaps write, them anew")
    if not kept and not asked.after.allow_empty:
        found.append("`curate run` would end with an error: nothing is kept, and allow_empty is false")
    return found


def _stale(found: Decided) -> list[str]:
    """What has changed since the run measured: code, lists, evaluation sets, models."""
    recipe = found.recipe
    near, sets, perplexity = recipe.dedup.near, recipe.tier1.decontaminate, recipe.tier1.perplexity
    try:
        excluded = read_exclusions([found.located(path) for path in recipe.exclude])
        reading = Reading(
            recipe.input.column,
            recipe.input.id,
            _wanted_columns(found, recipe, excluded),
            tuple(resolve_editors(recipe.tier1)),
            *((near.permutations, near.shingle) if near else (0, 0)),
            blocks=block.read_lists([_located(entry, found) for entry in recipe.tier1.block]),
            # The packaged model changes with the code alone, and takes a while to be read.
            models=open_models(perplexity) if perplexity and perplexity.model != DEFAULT_MODEL else (),
            casts=tuple(sorted(recipe.input.cast.items())),
        )
        unseen = {CONTAMINATION, OVERLAPS} | (set() if reading.models else {PERPLEXITY})
        names = [group for group in found.groups if group not in unseen]
        digests = {} if _cuts(recipe) else group_digests(names, reading)
        stale = [f"group {group}" for group, digest in digests.items() if digest != found.groups[group]]
        if sets and not is_prepared(
            sets.model_copy(update={"against": [found.located(path) for path in sets.against]}),
            found.run / MODELS_FOLDER,
        ):
            stale.append("evaluation sets of tier1.decontaminate")
        stale += _stale_reference(found)
    except CurateError as error:
        return [str(error)]
    return stale


def _stale_reference(found: Decided) -> list[str]:
    """Whether the texts of the reference are others than those that models were trained on."""
    recipe, parts = found.recipe, found.ledger.parts
    models = load_models(PURIFY if recipe.tier2 else BUDGET, found.run, parts)
    if models is None or recipe.models.pin or not recipe.reference:
        return []
    located = recipe.model_copy(update={"reference": [found.located(path) for path in recipe.reference]})
    now = [file.content_xxh3_128 for file in open_reference(located)]
    return ["the reference"] if now != [file["content_xxh3_128"] for file in models.facts["reference"]] else []


def _located(entry: Block, found: Decided) -> Block:
    """An entry of `tier1.block` with its file where it lies."""
    files = {name: path for name in ("words", "urls") if (path := getattr(entry, name)) is not None}
    return entry.model_copy(update={name: found.located(path) for name, path in files.items()})


def check_save(path: Path | None) -> None:
    """Refuse a place for a recipe where there is something already.

    Errors: RecipeError.
    """
    if path is not None and path.exists():
        raise RecipeError(f"--save {path}: is there already; choose another name")


def save_recipe(asked: Asked, path: Path) -> None:
    """Write the other recipe to a new file, for the same run directory; defaults are left out."""
    changed = asked.after.model_copy(update={"output": str(asked.of.run)})
    short, whole = (changed.model_dump(mode="json", by_alias=True, exclude_defaults=brief) for brief in (True, False))
    try:  # of a few sections what is left without the defaults is no recipe
        fields = short if parse_recipe(short, str(path)) == changed else whole
    except RecipeError:
        fields = whole
    with committed(path) as aside:
        aside.write_text(yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=100), "utf-8")


def _needs_a_run(before: Recipe, after: Recipe, columns: Collection[str]) -> list[str]:
    """The fields whose change needs new measurements, models or texts; those of sections that go need none.

    `columns` are those of the input that the other recipe reads beside text and id.
    """
    fields = [*_measured_anew(before, after, columns), *_models_anew(before, after)]
    if after.tier3 != before.tier3 and after.tier3:
        fields.append("tier3")
    return fields


def _measured_anew(before: Recipe, after: Recipe, columns: Collection[str]) -> list[str]:
    """The fields that change what is measured of documents."""
    changed = {name: True for name in changed_settings("measures", before, after)}
    if not any(recipe.tier1.pii.action == "redact" for recipe in (before, after)):
        changed.pop("tier1.pii", None)
    if not (_cuts(before) or after.tier1.decontaminate):
        changed.pop("tier1.decontaminate", None)
    urls = {"url"} if any(entry.urls for entry in after.tier1.block) else set()
    read = {after.input.column, after.input.id, *columns, *urls}
    casts = [{name: kind for name, kind in recipe.input.cast.items() if name in read} for recipe in (before, after)]
    if casts[0] == casts[1]:
        changed.pop("input.cast", None)
    if resolve_editors(before.tier1) != resolve_editors(after.tier1):
        changed["tier1.rules"] = True
    changed.pop("tier1.block", None)
    lists = [entry.model_copy(update={"max": 0}) for entry in before.tier1.block]
    unknown = [entry.reason for entry in after.tier1.block if entry.model_copy(update={"max": 0}) not in lists]
    return [*changed, *(f"tier1.block: {reason}" for reason in unknown)]


def _models_anew(before: Recipe, after: Recipe) -> list[str]:
    """The fields that change what models are trained on, or that ask for models that the run has not."""
    fields: list[str] = []
    if after.tier2:
        fields += changed_settings("tier2", before, after) if before.tier2 else ["tier2"]
        if (before.tier1.perplexity is None) != (after.tier1.perplexity is None):  # coarse_score chooses what is mined
            fields.append("tier1.perplexity")
    if after.distill:
        fields += changed_settings("distill", before, after) if before.distill else ["distill"]
    return fields


def _cuts(recipe: Recipe) -> bool:
    """Whether passages of evaluation sets are cut out before anything is measured."""
    section = recipe.tier1.decontaminate
    return section is not None and section.action == "cut"


@contextmanager
def redecided(asked: Asked, threads: int, with_texts: bool = True) -> Iterator[duckdb.DuckDBPyConnection]:
    """Decide all documents by the other recipe: a database whose view `after` has the verdicts.

    Without texts, or where they cannot be read, estimates hold; `asked.texts` tells of how many documents.
    """
    with (
        readable(asked.of.ledger.run),
        Steps(unwritten_log(asked.quiet), "deciding") as steps,
        tempfile.TemporaryDirectory(prefix="curate-") as folder,
        deciding_in(Path(folder) / "spool", threads, min(MOST_MB, THREAD_MB * threads)) as database,
    ):
        scratch = Path(folder)
        run = asked.of.ledger.run.absolute()
        # The same ledger, but what is written goes elsewhere.
        parts = [Part(**vars(part) | {"path": str(run / part.path)}) for part in asked.of.ledger.parts]
        ledger = Ledger(scratch, asked.of.ledger.files, parts)
        check_measured(asked.plan.rules, ledger, asked.plan.groups, database)
        reader = LedgerReader(asked.of, asked.after, asked.texts, scratch, with_texts, steps)
        index = _index_of(asked.of.ledger)
        cascade = Cascade(
            recipe=asked.after, plan=asked.plan, ledger=ledger, reader=reader, connection=database, digest="what-if"
        )
        run_cascade(cascade, Shown(asked.strata, index))
        steps("verdicts")
        named = "".join(f", {quoted(name)}" for name in asked.strata)
        database.execute(
            f"CREATE TEMP VIEW after AS SELECT file_no, row, doc_id, {TOKENS} AS n_tokens, "
            f"{TOKENS_CUT} AS n_tokens_cut, "
            f"stage IS NULL AS kept, stage, reasons[1] AS reason, duplicate_of{named} "
            f"FROM ({verdicts_sql()})"
        )
        yield database


def _index_of(ledger: Ledger) -> Path | None:
    """The run's index, where it holds a table of the signals that the ledger has now."""
    digests = {part.digest for part in ledger.of(DECISIONS)}
    try:
        with open_database(ledger.run / INDEX, read_only=True) as connection:
            found = connection.execute(
                "SELECT decisions_digest FROM about WHERE EXISTS (FROM duckdb_tables() WHERE table_name = 'signals')"
            ).fetchall()
    except duckdb.Error:  # none, or one of another version
        return None
    return ledger.run.absolute() / INDEX if {digest for (digest,) in found} == digests else None

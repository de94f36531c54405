"""`what-if`: the verdicts that a run would give by another recipe, from what its ledger holds.

The stages are those of a run; what they write goes to a scratch folder. Where a run would read texts again, what the
ledger knows comes first, and then texts of single documents are read, or estimates hold.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from curate import decide, lines
from curate.bands import strata_of_documents
from curate.contamination import MODELS, is_prepared
from curate.decided import RECIPE, Decided, open_decided, readable
from curate.earlier import open_earlier
from curate.edits import apply_edits
from curate.errors import CurateError, InputError, RecipeError
from curate.files import committed
from curate.filters import block
from curate.filters.contamination import GROUP as CONTAMINATION
from curate.filters.perplexity import GROUP as PERPLEXITY
from curate.index import INDEX
from curate.kernels.minhash import shingle_sets
from curate.language_models import open_models
from curate.ledger import Ledger, Part, write_part
from curate.measure import DOCUMENTS, INPUT, LINE_HASHES, OVERLAPS, SIGNATURES, Reading, group_digests
from curate.near import SHINGLES, place_keys
from curate.plan import Plan, groups_needed, input_columns, read_exclusions, signals_schema
from curate.progress import Steps, unwritten_log
from curate.recipe import DEFAULT_MODEL, Block, Recipe, load_recipe, parse_recipe
from curate.rules import check_conditions, columns_named, resolve, resolve_editors
from curate.sql import quoted
from curate.tables import database_in
from curate.texts import edits_of, read_texts

TEXTS_AT_ONCE = 1000
THREAD_MB, MOST_MB = 1000, 4000  # what DuckDB may hold before it spills: with less it is slower by a sixth
ONLY_RUN = "only `curate run` can tell"
FIELD_OF = {  # what asks for a group that is not always measured
    "hashes": "dedup.exact",
    SIGNATURES: "dedup.near",
    LINE_HASHES: "dedup.lines",
    PERPLEXITY: "tier1.perplexity",
    "language": "tier1.language or tier1.perplexity.by",
    INPUT: "input.strata or tier1.rules",
}


@dataclass
class Texts:
    """What became of the documents whose texts a run would read again."""

    read: int = 0
    guessed: int = 0  # judged by estimates instead
    why: str = ""  # these were


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
    for name, old, new in _measuring(found.recipe, after):
        if old != new:
            raise RecipeError(f"{name}: changes what is measured; {ONLY_RUN}")
    rules, editors = resolve(after.tier1), tuple(resolve_editors(after.tier1))
    signals, _ = columns_named(rules)
    excluded = read_exclusions([found.located(path) for path in after.exclude])
    wanted = _wanted_columns(found, after, excluded)
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
    plan = Plan(run, {}, units, inputs, reading, groups, tuple(rules), excluded, False, earlier, ())
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
            f"`curate run` would stop at {file.path}: {file.error}" for file in asked.of.ledger.files if file.error
        ][:1]
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
        )
        unseen = {CONTAMINATION, OVERLAPS} | (set() if reading.models else {PERPLEXITY})
        names = [group for group in found.groups if group not in unseen]
        digests = {} if _cuts(recipe) else group_digests(names, reading)
        stale = [f"group {group}" for group, digest in digests.items() if digest != found.groups[group]]
        if sets and not is_prepared(
            sets.model_copy(update={"against": [found.located(path) for path in sets.against]}), found.run / MODELS
        ):
            stale.append("evaluation sets of tier1.decontaminate")
    except CurateError as error:
        return [str(error)]
    return stale


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


def _measuring(before: Recipe, after: Recipe) -> Iterator[tuple[str, object, object]]:
    """Fields that measurements depend on, each as it was and as it would be, but for sections that go."""
    for name in ("paths", "text", "messages", "id"):
        yield f"input.{name}", getattr(before.input, name), getattr(after.input, name)
    yield "tokenizer", before.tokenizer, after.tokenizer
    redacting = [recipe.tier1.pii if recipe.tier1.pii.action == "redact" else None for recipe in (before, after)]
    yield "tier1.pii", redacting[0], redacting[1]
    yield "tier1.rules", resolve_editors(before.tier1), resolve_editors(after.tier1)
    if _cuts(before) or after.tier1.decontaminate:
        yield "tier1.decontaminate", before.tier1.decontaminate, after.tier1.decontaminate
    known = [entry.model_copy(update={"max": 0}) for entry in before.tier1.block]
    for entry in after.tier1.block:
        yield f"tier1.block: {entry.reason}", entry.model_copy(update={"max": 0}) in known, True
    if (old := before.tier1.perplexity) and (new := after.tier1.perplexity):
        yield "tier1.perplexity.model", (old.model, old.form), (new.model, new.form)
    if (was := before.dedup.near) and (near := after.dedup.near):
        yield "dedup.near", (was.permutations, was.shingle), (near.permutations, near.shingle)


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
        database_in(Path(folder) / "spool", threads, min(MOST_MB, THREAD_MB * threads)) as database,
    ):
        scratch = Path(folder)
        run = asked.of.ledger.run.absolute()
        # The same ledger, but what is written goes elsewhere.
        parts = [Part(**vars(part) | {"path": str(run / part.path)}) for part in asked.of.ledger.parts]
        ledger = Ledger(scratch, asked.of.ledger.files, parts)
        decide.check_measured(asked.plan.rules, ledger, asked.plan.groups, database)
        maps = _maps(asked, scratch, with_texts, steps)
        index = _index_of(asked.of.ledger)
        decide.settle(asked.after, asked.plan, ledger, maps, database, "what-if", asked.strata, index)
        steps("verdicts")
        named = "".join(f", {quoted(name)}" for name in asked.strata)
        database.execute(
            f"CREATE TEMP VIEW after AS SELECT file_no, row, doc_id, {decide.TOKENS} AS n_tokens, "
            f"{decide.TOKENS_CUT} AS n_tokens_cut, "
            f"stage IS NULL AS kept, stage, reasons[1] AS reason, duplicate_of{named} "
            f"FROM ({decide.verdicts_sql(asked.after)})"
        )
        yield database


def _index_of(ledger: Ledger) -> Path | None:
    """The run's index, where it holds a table of the signals that the ledger has now."""
    digests = {part.digest for part in ledger.of(decide.DECISIONS)}
    try:
        with duckdb.connect(ledger.run / INDEX, read_only=True) as connection:
            found = connection.execute(
                "SELECT decisions_digest FROM about WHERE EXISTS (FROM duckdb_tables() WHERE table_name = 'signals')"
            ).fetchall()
    except duckdb.Error:  # none, or one of another version
        return None
    return ledger.run.absolute() / INDEX if {digest for (digest,) in found} == digests else None


def _maps(asked: Asked, scratch: Path, with_texts: bool, steps: Steps) -> decide.Maps:
    """What reads texts again while documents are decided: those of single documents, and only where it must."""
    texts = asked.texts

    def read(documents: pa.Table) -> Iterator[tuple[pa.Table, pa.Array, pa.Table]]:
        """Some documents at a time with their texts and edits; none where estimates are to hold."""
        if not with_texts:
            texts.why = "no text was read"
        steps("texts of documents in doubt")
        try:
            for k in range(0, len(documents) if with_texts else 0, TEXTS_AT_ONCE):
                some = documents.slice(k, TEXTS_AT_ONCE)
                raw = read_texts(asked.of.ledger, asked.after.input.column, some)["text"].combine_chunks()
                texts.read += len(some)
                yield some, raw, _local_edits(asked.of.ledger, some)
        except InputError as error:
            texts.why = str(error)

    def sets(documents: pa.Table) -> list[Path]:
        assert asked.after.dedup.near is not None
        paths = []
        for some, raw, edits in read(documents):
            shingles = shingle_sets(apply_edits(raw, edits), asked.after.dedup.near.shingle)
            table = some.append_column(SHINGLES, shingles)
            paths.append(scratch / write_part(scratch, SHINGLES, "sets", f"{texts.read:010d}", table).path)
        found = sum(pq.read_metadata(path).num_rows for path in paths) == len(documents)
        texts.guessed += 0 if found else len(documents)
        return paths if found else []

    def cuts(documents: pa.Table) -> list[Part]:
        fresh, trimmed = _already_cut(documents, asked.of.ledger)
        tables = [trimmed]
        for some, raw, edits in read(fresh):
            _, left = lines.cut(raw, edits, some["lines"].combine_chunks())
            tables.append(lines.keyed(left, some["row"].to_numpy(), some["file_no"].to_numpy()))
        table = pa.concat_tables(tables)
        texts.guessed += len(documents) - len(table)
        return [write_part(scratch, lines.TRIMMED, "cuts", "00000", table)]

    return decide.Maps(sets, cuts, steps)


def _local_edits(ledger: Ledger, documents: pa.Table) -> pa.Table:
    """The edits that were made before documents were measured, with the row among the documents."""
    found = edits_of(ledger, documents)
    found = found.filter(pc.equal(found["stage"], "input"))
    keys = place_keys(documents)
    order = np.argsort(keys)
    places = order[np.searchsorted(keys[order], place_keys(found))]
    return found.set_column(found.schema.get_field_index("row"), "row", pa.array(places, pa.int64()))


def _already_cut(documents: pa.Table, ledger: Ledger) -> tuple[pa.Table, pa.Table]:
    """Documents (file_no, row, lines) that would lose other lines than they did, and what is left of the others."""
    parts = ledger.of(lines.TRIMMED)
    if not parts:
        return documents, lines.NOTHING_TRIMMED
    held = pa.concat_tables([pq.read_table(ledger.run / part.path) for part in parts])
    keys, known = place_keys(documents), place_keys(held)
    order = np.argsort(known)
    places = order[np.minimum(np.searchsorted(known[order], keys), len(known) - 1)]
    sums = lines.lines_sums(documents["lines"].combine_chunks())
    same = (known[places] == keys) & (held["lines_sum"].to_numpy()[places] == sums)
    return documents.filter(pa.array(~same)), held.take(pa.array(places[same]))

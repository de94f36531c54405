"""`what-if`: the verdicts that a run would give by another recipe, from what its ledger holds.

The stages are those of a run; what they write goes to a scratch folder. Where a run would read texts again, what the
ledger knows comes first, and then texts of single documents are read, or estimates hold.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from curate import decide, lines
from curate.bands import strata_of_documents
from curate.earlier import open_earlier
from curate.edits import apply_edits
from curate.errors import InputError, RecipeError, RunError
from curate.files import committed
from curate.filters import block
from curate.filters.perplexity import GROUP as PERPLEXITY
from curate.index import INDEX
from curate.kernels.minhash import shingle_sets
from curate.ledger import Ledger, Part, read_ledger, write_part
from curate.measure import DOCUMENTS, INPUT, LINE_HASHES, SIGNATURES, Reading
from curate.near import ROW_BITS, SHINGLES
from curate.plan import Plan, groups_needed, input_columns, read_exclusions, signals_schema
from curate.progress import Steps, unwritten_log
from curate.recipe import Recipe, load_recipe
from curate.rules import check_conditions, columns_named, resolve, resolve_editors
from curate.sql import first_line, quoted
from curate.tables import database_in
from curate.texts import edits_of, read_texts

RECIPE = "recipe.yaml"
RUN_FACTS = "run.json"
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
    """A run, its recipe and another one, and the plan of that one over what the run measured."""

    ledger: Ledger
    before: Recipe
    after: Recipe
    plan: Plan
    strata: dict[str, str]  # columns that gains and losses are told by, with their SQL over the signals
    quiet: bool
    texts: Texts = field(default_factory=Texts)


def ask(run: Path, changes: Sequence[str], quiet: bool = False) -> Asked:
    """Open a decided run, and settle what another recipe would make of its measurements.

    Errors: RunError for a folder without verdicts; RecipeError for a recipe that needs other measurements.
    """
    before, ledger, groups = open_decided(run)
    after = load_recipe(run / RECIPE, changes)
    for name, old, new in _measuring(before, after):
        if old != new:
            raise RecipeError(f"{name}: changes what is measured; {ONLY_RUN}")
    rules, columns = resolve(after.tier1), held_columns(ledger)
    editors, excluded = tuple(resolve_editors(after.tier1)), read_exclusions(after.exclude)
    signals, named = columns_named(rules)
    for name in [*named, *(name for name in after.input.strata if not name.endswith("?"))]:
        if name not in columns.names:
            raise RecipeError(f"the ledger does not hold the input's column {name!r}; {ONLY_RUN}")
    wanted = input_columns(after, named, excluded, columns)
    needed = groups_needed(after, signals, bool(editors) or _cuts(after), bool(wanted))
    held = {part.group for part in ledger.parts}
    for group in needed:
        if group not in groups or group not in held:
            where = FIELD_OF.get(group, "tier1.rules")
            gone = " (dedup.keep_signatures is false)" if group in groups else ""
            raise RecipeError(f"{where}: needs measurements of group {group}, which the ledger lacks{gone}; {ONLY_RUN}")
    near = after.dedup.near
    sizes = (near.permutations, near.shingle) if near else (0, 0)
    reading = Reading(after.input.column, after.input.id, wanted, editors, *sizes)
    groups = {group: groups[group] for group in needed}
    counts = [pa.field(found.column, pa.int64()) for found in block.read_lists(after.tier1.block)]
    check_conditions(rules, pa.schema([*signals_schema(groups), *counts]), columns)
    units = tuple(sorted(unit for part in ledger.of(DOCUMENTS) for unit in part.units))
    earlier = open_earlier(after)
    plan = Plan(run, {}, units, columns, reading, groups, tuple(rules), excluded, False, earlier, ())
    return Asked(ledger, before, after, plan, strata_of_documents(after, columns.names, groups), quiet)


def save_recipe(asked: Asked, path: Path) -> None:
    """Write the other recipe to a new file, for the same run directory; defaults are left out.

    Errors: RecipeError where the file is there already.
    """
    if path.exists():
        raise RecipeError(f"{path}: is there already; choose another name")
    fields = asked.after.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    text = yaml.safe_dump(fields | {"output": str(asked.ledger.run)}, sort_keys=False, allow_unicode=True, width=100)
    with committed(path) as aside:
        aside.write_text(text, "utf-8")


def open_decided(run: Path) -> tuple[Recipe, Ledger, dict[str, str]]:
    """The recipe, the ledger and the signal groups (with digests) of a run whose documents are decided.

    Errors: RunError where there are no verdicts, or files are missing.
    """
    ledger = read_ledger(run)
    if not ledger.of(decide.DECISIONS):
        what = "its run did not get far enough; run it again" if (run / "ledger").is_dir() else "not a run directory"
        raise RunError(f"{run}: no verdicts: {what}")
    try:
        groups: dict[str, str] = json.loads((run / RUN_FACTS).read_text("utf-8"))["signal_groups"]
    except (OSError, ValueError, KeyError, TypeError):
        raise RunError(f"{run}/{RUN_FACTS}: missing or damaged; run again to rebuild it") from None
    held = {*decide.TOGETHER, *groups}
    lost = [part.path for part in ledger.parts if part.group in held and not (run / part.path).is_file()]
    if lost:
        raise RunError(f"{run}/{lost[0]}: missing; run again")
    ledger.parts = [part for part in ledger.parts if groups.get(part.group, part.digest) == part.digest]
    return load_recipe(run / RECIPE), ledger, groups


@contextmanager
def readable(run: Path) -> Iterator[None]:
    """Tell of files of a ledger that are damaged, or go while they are read.

    Errors: RunError.
    """
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        # Of a broken footer DuckDB says with its plainest class that it does not know a type.
        damage = (duckdb.IOException, duckdb.InvalidInputException, pa.ArrowException, OSError)
        if not isinstance(error, damage) and type(error) is not duckdb.Error:
            raise
        raise RunError(f"{run}: its ledger cannot be read ({first_line(error)}); run again") from None


def held_columns(ledger: Ledger) -> pa.Schema:
    """The input's columns that the ledger holds."""
    parts = ledger.of(INPUT)
    held = pq.read_schema(ledger.run / parts[0].path) if parts else pa.schema([])
    prefix = f"{INPUT}."
    return pa.schema([one.with_name(one.name.removeprefix(prefix)) for one in held if one.name.startswith(prefix)])


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
    if after.exclude:  # by addresses too, which are collected only for recipes that exclude
        yield "exclude", bool(before.exclude), True
    if (old := before.tier1.perplexity) and (new := after.tier1.perplexity):
        yield "tier1.perplexity.model", (old.model, old.form), (new.model, new.form)
    if (was := before.dedup.near) and (near := after.dedup.near):
        yield "dedup.near", (was.permutations, was.shingle), (near.permutations, near.shingle)


def _cuts(recipe: Recipe) -> bool:
    """Whether passages of evaluation sets are cut out before anything is measured."""
    section = recipe.tier1.decontaminate
    return section is not None and section.action == "cut"


@contextmanager
def decided(asked: Asked, threads: int, with_texts: bool = True) -> Iterator[duckdb.DuckDBPyConnection]:
    """Decide all documents by the other recipe: a database whose view `after` has the verdicts.

    Without texts, or where they cannot be read, estimates hold; `asked.texts` tells of how many documents.
    """
    with (
        readable(asked.ledger.run),
        Steps(unwritten_log(asked.quiet), "deciding") as steps,
        tempfile.TemporaryDirectory(prefix="curate-") as folder,
        database_in(Path(folder) / "spool", threads, min(MOST_MB, THREAD_MB * threads)) as database,
    ):
        scratch = Path(folder)
        run = asked.ledger.run.absolute()
        # The same ledger, but what is written goes elsewhere.
        parts = [Part(**vars(part) | {"path": str(run / part.path)}) for part in asked.ledger.parts]
        ledger = Ledger(scratch, asked.ledger.files, parts)
        decide.check_measured(asked.plan.rules, ledger, asked.plan.groups, database)
        maps = _maps(asked, scratch, with_texts, steps)
        index = _index_of(asked.ledger)
        decide.settle(asked.after, asked.plan, ledger, maps, database, "what-if", asked.strata, index)
        steps("verdicts")
        named = "".join(f", {quoted(name)}" for name in asked.strata)
        database.execute(
            f"CREATE TEMP VIEW after AS SELECT file_no, row, doc_id, {decide.TOKENS} AS n_tokens, "
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
                raw = read_texts(asked.ledger, asked.after.input.column, some)["text"].combine_chunks()
                texts.read += len(some)
                yield some, raw, _local_edits(asked.ledger, some)
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
        fresh, trimmed = _already_cut(documents, asked.ledger)
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
    keys = _keys(documents)
    order = np.argsort(keys)
    places = order[np.searchsorted(keys[order], _keys(found))]
    return found.set_column(found.schema.get_field_index("row"), "row", pa.array(places, pa.int64()))


def _already_cut(documents: pa.Table, ledger: Ledger) -> tuple[pa.Table, pa.Table]:
    """Documents (file_no, row, lines) that would lose other lines than they did, and what is left of the others."""
    parts = ledger.of(lines.TRIMMED)
    if not parts:
        return documents, lines.NOTHING_TRIMMED
    held = pa.concat_tables([pq.read_table(ledger.run / part.path) for part in parts])
    keys, known = _keys(documents), _keys(held)
    order = np.argsort(known)
    places = order[np.minimum(np.searchsorted(known[order], keys), len(known) - 1)]
    sums = lines.lines_sums(documents["lines"].combine_chunks())
    same = (known[places] == keys) & (held["lines_sum"].to_numpy()[places] == sums)
    return documents.filter(pa.array(~same)), held.take(pa.array(places[same]))


def _keys(table: pa.Table) -> npt.NDArray[np.int64]:
    """File and row as one number."""
    keys: npt.NDArray[np.int64] = (table["file_no"].to_numpy().astype(np.int64) << ROW_BITS) + table["row"].to_numpy()
    return keys

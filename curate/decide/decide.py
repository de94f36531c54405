"""Verdicts: rules and global decisions as DuckDB SQL over the ledger. No text is read here."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from curate.decide.bands import find_bands
from curate.decide.checks import check_ids
from curate.decide.plan import Plan
from curate.decide.text_reader import TextReader
from curate.decide.verdicts import (
    COPIES,
    EARLIER_PASSING,
    FOUND,
    JUDGED,
    REPEATED,
    decisions_sql,
    duplicates_sql,
    judged_sql,
    named_copies_sql,
    orders_copies,
    passing_columns,
    passing_sql,
    repeated_sql,
)
from curate.dedup.earlier_runs import load_earlier
from curate.dedup.exact import copies_sql, exact_sql, survivor_order
from curate.dedup.lines import cut_repeated, empty_trimmed
from curate.dedup.near.stage import Signatures, find_near
from curate.distill.budget.scores import strata_of_distil
from curate.distill.budget.stage import NOTHING_DISTILLED, distil_documents, sampled_documents
from curate.distill.purify.mining import mined_documents
from curate.distill.purify.stage import NOTHING_PURIFIED, purify_documents, strata_of_purify
from curate.distill.scoring_stage import StageContext
from curate.errors import RecipeError
from curate.filters.rules.conditions import condition
from curate.filters.rules.resolve import ResolvedRule
from curate.ledger.ledger import Ledger
from curate.ledger.names import (
    DECISIONS,
    DOCUMENTS,
    INPUT,
    LINE_EDITS,
    LINE_HASHES,
    PAIRS,
    SIGNATURES,
)
from curate.ledger.parts import Part, rebuffered, write_part
from curate.ledger.views import input_sql, load_files, load_signals, narrow, ranges, signal_types
from curate.recipe.recipe import Recipe
from curate.recipe.strata import strata_of
from curate.sql import literal, open_database, quoted, read_parquet, without_values

DECISION_ROWS = 1 << 17  # rows of one part


def decide(
    recipe: Recipe, plan: Plan, ledger: Ledger, reader: TextReader, connection: duckdb.DuckDBPyConnection, digest: str
) -> list[Part]:
    """Decide every document and commit the decisions, sorted by input order, the pairs compared and the lines cut.

    `reader` reads texts again, of some of the documents that are left.

    What joins the signals of a document works range by range; what sees the whole corpus reads a few narrow columns.
    So memory grows with the columns of `passing` and the number of copies, at worst, and DuckDB can spill those.

    Errors: InputError for ids that clash or are null; RecipeError for a condition that fails on the data.
    """
    more = settle(recipe, plan, ledger, reader, connection, digest)
    reader.begin("verdicts")

    def decided() -> Iterator[pa.Table]:
        for place in _loaded(ledger, plan.groups, connection, (REPEATED, *FOUND)):
            with _conditions_on_data():
                yield connection.sql(decisions_sql(recipe, place)).to_arrow_table()

    parts = list(_write_decisions(recipe, ledger, decided(), digest))
    [[documents]] = connection.execute("SELECT count(*) FROM texts").fetchall()
    assert sum(part.rows for part in parts) == documents, "every document is decided once"
    return [*parts, *more]


def settle(
    recipe: Recipe, plan: Plan, ledger: Ledger, reader: TextReader, connection: duckdb.DuckDBPyConnection, digest: str,
    shown: Mapping[str, str] | None = None, index: Path | None = None,
) -> list[Part]:  # fmt: skip
    """What the decisions follow from: tables `duplicates`, `banded` and `trimmed`, and the relation `judged`.

    That is a view over whatever signals are loaded. Where columns are to be `shown` (name to SQL), it is a table of
    all documents that has them: signals are then joined once, and not a second time for the decisions; or not at all
    where an index holds them.
    """
    groups = plan.groups
    strata = strata_of(recipe, plan.inputs.names)
    reader.begin("rules")
    _load_documents(recipe, plan, ledger, connection, checked=shown is None)
    columns = passing_columns(recipe, strata, plan.inputs.names)
    if shown is not None:
        wanted = {name: name for name in JUDGED} | {name: sql for name, (_, sql) in columns.items()} | dict(shown)
        _materialise(wanted, ledger, groups, index, connection)
        columns = {name: (kind, quoted(name)) for name, (kind, _) in columns.items()}
    load_earlier(plan.earlier, recipe.dedup.exact, connection)
    if recipe.dedup.exact or recipe.dedup.near or recipe.dedup.lines or recipe.tier1.perplexity or _has_maps(recipe):
        _load_passing(
            columns, _loaded(ledger, groups, connection, [REPEATED]) if shown is None else ("true",), connection
        )
    reader.begin("exact duplicates")
    connection.execute(exact_sql(recipe))
    reader.begin("near duplicates")
    more = _near_parts(recipe, plan, ledger, reader, connection, digest) if recipe.dedup.near else []
    _name_survivors(recipe, ledger, groups, connection)
    reader.begin("bands")
    more += find_bands(recipe, strata, ledger.run, connection, digest)
    if lines := recipe.dedup.lines:
        reader.begin("repeated lines")
        hashes = ledger.of(LINE_HASHES, groups[LINE_HASHES])
        urls = ledger.of(INPUT, groups[INPUT]) if "url" in dict(plan.reading.input_columns) else []
        more += cut_repeated(lines, ledger.run, hashes, urls, reader.cut_lines, connection)
    else:
        connection.execute(empty_trimmed())
    cuts = [part for part in more if part.group == LINE_EDITS]
    places = tuple(ranges(ledger, groups)) if _has_maps(recipe) else ()
    context = StageContext(ledger.run, places, cuts, connection, digest)
    more += _purified(recipe, plan, ledger, reader, context)
    more += _distilled(recipe, plan, reader, context)
    narrow(FOUND, "true", connection)
    return more


def _has_maps(recipe: Recipe) -> bool:
    """Whether a stage scores the texts of what those before it leave."""
    return bool(recipe.tier2 or recipe.distill)


def _load_documents(
    recipe: Recipe, plan: Plan, ledger: Ledger, connection: duckdb.DuckDBPyConnection, checked: bool
) -> None:
    """What a document is named and judged by: tables `files`, `excluded`, `repeated`, and view `judged`."""
    load_files(connection, ledger)
    excluded = [list(plan.excluded)]
    connection.execute("CREATE TEMP TABLE excluded AS SELECT DISTINCT unnest(?::VARCHAR[]) AS value", excluded)
    texts = read_parquet(ledger.run / part.path for part in ledger.of(DOCUMENTS, plan.groups[DOCUMENTS]))
    connection.execute(f"CREATE TEMP VIEW texts AS FROM {texts} SEMI JOIN files USING (file_no)")
    if recipe.input.id is not None and checked:
        check_ids(recipe.input.id, connection)
    connection.execute(repeated_sql(recipe))
    narrow([REPEATED], "true", connection)
    load_signals(connection, ledger, plan.groups)
    connection.execute(judged_sql(recipe, plan.rules, signal_types(connection)))


def _load_passing(
    columns: Mapping[str, tuple[str, str]], places: Iterable[str], connection: duckdb.DuckDBPyConnection
) -> None:
    """Table `passing`, and `input_size` with the tokens of all documents."""
    declared = ", ".join(f"{name} {kind}" for name, (kind, _) in columns.items())
    connection.execute(f"CREATE TEMP TABLE passing ({declared}); CREATE TEMP TABLE input_size (tokens HUGEINT)")
    connection.execute(f"INSERT INTO passing BY NAME SELECT {EARLIER_PASSING} FROM earlier")
    with _conditions_on_data():
        for place in places:
            connection.execute(f"INSERT INTO passing {passing_sql(columns, place)}")
            connection.execute(f"INSERT INTO input_size SELECT sum(n_tokens) FROM judged WHERE {place}")


def _purified(recipe: Recipe, plan: Plan, ledger: Ledger, reader: TextReader, context: StageContext) -> list[Part]:
    """Table `purified`, and its parts."""
    connection = context.connection
    if recipe.tier2 is None:
        connection.execute(NOTHING_PURIFIED)
        return []
    reader.begin("purify")
    loaded = _loaded(ledger, plan.groups, connection, [REPEATED])  # of which nothing is loaded before it is asked for
    mined = partial(mined_documents, recipe.tier2, recipe.seed, loaded, connection)
    return purify_documents(recipe.tier2, list(strata_of_purify(recipe, plan.inputs.names)), reader, mined, context)


def _distilled(recipe: Recipe, plan: Plan, reader: TextReader, context: StageContext) -> list[Part]:
    """Table `distilled`, and its parts."""
    connection = context.connection
    if recipe.distill is None:
        connection.execute(NOTHING_DISTILLED)
        return []
    reader.begin("distil")
    sampled = partial(sampled_documents, recipe.distill, recipe.seed, connection)
    strata = list(strata_of_distil(recipe, plan.inputs.names))
    [[tokens]] = connection.execute("SELECT coalesce(sum(tokens), 0)::BIGINT FROM input_size").fetchall()
    return distil_documents(recipe, strata, reader, sampled, (tokens, plan.reserved), context)


def _near_parts(
    recipe: Recipe, plan: Plan, ledger: Ledger, reader: TextReader, connection: duckdb.DuckDBPyConnection, digest: str
) -> list[Part]:
    """Table `near`, and the parts with the pairs compared for it."""
    assert recipe.dedup.near is not None
    measured = plan.groups[SIGNATURES]
    own = Signatures(ledger.run, ledger.of(SIGNATURES, measured))
    others = [Signatures(run.ledger.run, run.parts(SIGNATURES), run.first_file_no) for run in plan.earlier]
    known = [part for part in ledger.of(PAIRS) if part.contents == (measured,)]
    parts = find_near(
        recipe.dedup.near, survivor_order(recipe), ledger.run, [*others, own], known, reader.shingle_sets, reader.each,
        connection, (digest, measured), orders_copies(recipe),
    )  # fmt: skip
    for name in COPIES if orders_copies(recipe) else ():  # nothing behind looks at them
        connection.execute(f"ALTER TABLE passing DROP COLUMN {name}")
    return parts


def _name_survivors(
    recipe: Recipe, ledger: Ledger, groups: Mapping[str, str], connection: duckdb.DuckDBPyConnection
) -> None:
    """Table `duplicates`. Ids of survivors are looked up range by range: together they take more room than the rest."""
    connection.execute(copies_sql(recipe))
    narrow(["copies"], "file_no < 0", connection)
    connection.execute(named_copies_sql(recipe, None))
    [[copies]] = connection.execute("SELECT count(*) FROM copies").fetchall()
    for found in ranges(ledger, {DOCUMENTS: groups[DOCUMENTS]}) if copies else ():
        narrow(["copies", REPEATED], found.within, connection)
        texts = f"{read_parquet(ledger.run / part.path for part in found.parts)} JOIN files USING (file_no)"
        connection.execute(named_copies_sql(recipe, f"(FROM {texts} WHERE {found.within} AND {found.place})"))
    connection.execute(duplicates_sql())


def _materialise(
    columns: Mapping[str, str], ledger: Ledger, groups: Mapping[str, str], index: Path | None,
    connection: duckdb.DuckDBPyConnection,
) -> None:  # fmt: skip
    """Make the view `judged` a table with some columns."""
    selected = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in columns.items())
    connection.execute(f"CREATE TEMP TABLE once AS SELECT {selected} FROM judged LIMIT 0")
    with _conditions_on_data():
        for place in (
            _loaded(ledger, groups, connection, [REPEATED]) if index is None else _indexed(index, ledger, connection)
        ):
            connection.execute(f"INSERT INTO once SELECT {selected} FROM judged WHERE {place}")
    connection.execute("DROP VIEW judged; ALTER TABLE once RENAME TO judged")


def _indexed(index: Path, ledger: Ledger, connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """Take the signals of all documents out of an index."""
    connection.execute(f"ATTACH {literal(str(index))} AS indexed (READ_ONLY)")
    inputs = input_sql(ledger)
    joined = f" JOIN {inputs} USING (file_no, row)" if inputs else ""
    connection.execute(f"CREATE OR REPLACE TEMP VIEW signals AS SELECT * FROM indexed.signals{joined}")
    yield "true"


def _loaded(
    ledger: Ledger, groups: Mapping[str, str], connection: duckdb.DuckDBPyConnection, tables: Sequence[str] = ()
) -> Iterator[str]:
    """Load the signals of some documents at a time, and what `tables` have of them; give SQL that is true there."""
    for found in ranges(ledger, groups):
        load_signals(connection, ledger, groups, found.parts)
        narrow(tables, found.within, connection)
        yield found.place


@contextmanager
def _conditions_on_data() -> Iterator[None]:
    """Tell what DuckDB cannot compute of a condition, such as a cast, as an error of the recipe."""
    try:
        yield
    except (duckdb.ConversionException, duckdb.InvalidInputException, duckdb.OutOfRangeException) as error:
        problem = without_values(error)
        raise RecipeError(f"tier1.rules: a condition fails on the data: {problem}; try_cast may help") from None


def _write_decisions(recipe: Recipe, ledger: Ledger, tables: Iterable[pa.Table], digest: str) -> Iterator[Part]:
    """Commit the decisions in parts, each kept document with the output shard it goes to.

    A shard is full when its documents begin at or after shard_size bytes of text.
    """
    written = 0
    shard, last_slot = -1, -1
    for k, table in enumerate(rebuffered(tables, DECISION_ROWS)):
        kept = table["kept"].to_numpy()
        size = np.where(kept, table["n_bytes"].to_numpy(), 0)
        begins = written + np.cumsum(size) - size
        written += int(size.sum())
        slots = begins // recipe.shard_size  # a document larger than a shard leaves slots without a document
        fresh = np.zeros(len(table), dtype=np.int64)
        places = np.flatnonzero(kept)
        if len(places):
            fresh[places] = np.diff(slots[places], prepend=last_slot) > 0
            last_slot = int(slots[places[-1]])
        shards = shard + np.cumsum(fresh)
        shard = int(shards[-1]) if len(shards) else shard
        table = table.append_column("shard", pa.array(shards.astype(np.int32), mask=~kept))
        yield write_part(ledger.run, DECISIONS, digest, f"{k:05d}", table)


def count_passing(
    ledger: Ledger, groups: Mapping[str, str], rules: Sequence[ResolvedRule], parts: Sequence[Part]
) -> int:
    """How many documents of freshly measured parts no rule drops (duplicates aside): what progress shows."""
    with open_database(threads="1") as connection:
        load_signals(connection, ledger, groups, only=parts)
        types = signal_types(connection)
        drops = " OR ".join(["coalesce(n_words, 0) = 0", *(condition(rule.rule, types) for rule in rules)])
        with _conditions_on_data():
            row = connection.execute(f"SELECT count(*) FILTER (NOT ({drops})) FROM signals").fetchone()
        assert row is not None
        return int(row[0])

"""The cascade: stage by stage, what is found of the documents that the stages before leave (tables: `schema.py`).

Start with `run_cascade`. Texts are read again only through the `TextReader`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import duckdb

from curate.decide.bands import find_bands
from curate.decide.checks import check_ids
from curate.decide.plan import Plan
from curate.decide.schema import FINDINGS, SHARED, create, drop, drop_after, narrow_survivors, survivor_tables
from curate.decide.text_reader import TextReader
from curate.decide.verdicts import (
    BEST_COPY,
    EARLIER_PASSING,
    JUDGED,
    PASSING,
    Columns,
    candidate_columns,
    candidates_sql,
    copies_sql,
    duplicates_sql,
    judged_sql,
    named_copies_sql,
    passing_columns,
    passing_sql,
    picks_best_copies,
    repeated_sql,
    shared_sql,
    versions_sql,
)
from curate.dedup.earlier_runs import earlier_columns, load_earlier
from curate.dedup.exact import HASHES, exact_sql, survivor_order
from curate.dedup.lines import cut_repeated
from curate.dedup.near.stage import NearTask, Signatures, find_near
from curate.distill.budget.scores import strata_of_distil
from curate.distill.budget.stage import distil_documents, sampled_documents
from curate.distill.purify.mining import mined_documents
from curate.distill.purify.stage import purify_documents, strata_of_purify
from curate.distill.scoring_stage import StageContext
from curate.errors import RecipeError
from curate.ledger.ledger import Ledger
from curate.ledger.names import DISTIL, DOCUMENTS, INPUT, LINE_EDITS, LINE_HASHES, PAIRS, PURIFY, SIGNATURES
from curate.ledger.parts import Part
from curate.ledger.views import document_ranges, input_sql, load_files, load_signals, restrict_views, signal_types
from curate.recipe.recipe import Recipe
from curate.recipe.strata import strata_of
from curate.sql import literal, quoted, read_parquet, without_values


@dataclass(frozen=True, kw_only=True)
class Cascade:
    """What documents are decided by, and where."""

    recipe: Recipe
    plan: Plan
    ledger: Ledger
    reader: TextReader
    connection: duckdb.DuckDBPyConnection
    digest: str  # of the decisions


@dataclass(frozen=True)
class Shown:
    """Columns to show with the verdicts, and an index that already has the signals."""

    columns: Mapping[str, str]  # SQL over the signals by name
    index: Path | None = None


def run_cascade(cascade: Cascade, shown: Shown | None = None) -> list[Part]:
    """Fill the findings of all stages, and the relation `judged`; return the parts that stages wrote on the way.

    `judged` is a view over the signals currently loaded. With `shown` it is a table of all documents with those
    columns, so that signals are joined once, and not again for the verdicts, or come ready from an index.
    """
    _judge(cascade, shown)
    parts = [*_drop_duplicates(cascade), *_drop_by_bands(cascade), *_cut_lines(cascade)]
    ranges = tuple(document_ranges(cascade.ledger, cascade.plan.groups)) if _scores_texts(cascade.recipe) else ()
    cuts = [part for part in parts if part.group == LINE_EDITS]
    context = StageContext(cascade.ledger.run, ranges, cuts, cascade.connection, cascade.digest)
    parts += _purify(cascade, context)
    _share_weights(cascade)
    context = replace(context, cuts=[part for part in parts if part.group == LINE_EDITS])
    parts += _distil(cascade, context)
    cascade.connection.execute("DROP VIEW IF EXISTS survivors")
    drop_after(DISTIL, cascade.connection)
    restrict_views(FINDINGS, "true", cascade.connection)
    return parts


def _scores_texts(recipe: Recipe) -> bool:
    """Whether a stage scores the texts of what the stages before it leave."""
    return bool(recipe.tier2 or recipe.distill)


def _judge(cascade: Cascade, shown: Shown | None) -> None:
    """Judge documents one by one, and load what the stages behind the rules need of those that pass."""
    recipe, plan, connection = cascade.recipe, cascade.plan, cascade.connection
    cascade.reader.begin("rules")
    _load_documents(cascade, checked=shown is None)
    columns = passing_columns(recipe, strata_of(recipe, plan.inputs.names), plan.inputs.names)
    if shown is not None:
        sources = {name: sql for name, (_, sql) in columns.items()}
        _materialise({name: name for name in JUDGED} | sources | dict(shown.columns), cascade, shown.index)
        columns = {name: (kind, quoted(name)) for name, (kind, _) in columns.items()}
    create("earlier", connection, earlier_columns(recipe.dedup.exact))
    load_earlier(plan.earlier, recipe.dedup.exact, connection)
    create("passing", connection, {name: kind for name, (kind, _) in columns.items() if name not in PASSING})
    create("input_size", connection)
    create("removed", connection)
    dedup = recipe.dedup
    if dedup.exact or dedup.near or dedup.lines or recipe.tier1.perplexity or _scores_texts(recipe):
        _load_passing(columns, _signals_of_ranges(cascade) if shown is None else ("true",), connection)
    narrow_survivors("rules", connection)


def _load_documents(cascade: Cascade, checked: bool) -> None:
    """Load what a document is named and judged by: `files`, `texts`, `excluded`, `repeated`, and the view `judged`."""
    recipe, plan, ledger, connection = cascade.recipe, cascade.plan, cascade.ledger, cascade.connection
    load_files(connection, ledger)
    create("excluded", connection)
    connection.execute("INSERT INTO excluded SELECT DISTINCT unnest(?::VARCHAR[])", [list(plan.excluded)])
    texts = read_parquet(ledger.run / part.path for part in ledger.of(DOCUMENTS, plan.groups[DOCUMENTS]))
    connection.execute(f"CREATE TEMP VIEW texts AS FROM {texts} SEMI JOIN files USING (file_no)")
    create("repeated", connection)
    if recipe.input.id is None:
        connection.execute(repeated_sql())
    elif checked:
        check_ids(recipe.input.id, connection)
    restrict_views(["repeated"], "true", connection)
    load_signals(connection, ledger, plan.groups)
    connection.execute(judged_sql(recipe, plan.rules, signal_types(connection)))


def _load_passing(columns: Columns, conditions: Iterable[str], connection: duckdb.DuckDBPyConnection) -> None:
    """Fill `passing`, `removed`, and `input_size` with the tokens and bytes of all documents."""
    connection.execute(f"INSERT INTO passing BY NAME SELECT {EARLIER_PASSING} FROM earlier")
    with conditions_on_data():
        for condition in conditions:
            connection.execute(f"INSERT INTO passing BY NAME {passing_sql(columns, condition)}")
            connection.execute(
                f"INSERT INTO input_size SELECT sum(n_tokens), sum(n_bytes) FROM judged WHERE {condition}"
            )
            connection.execute(
                "INSERT INTO removed SELECT file_no, row FROM judged "
                f"WHERE {condition} AND list_contains(input_reasons, 'excluded')"
            )


def _materialise(columns: Mapping[str, str], cascade: Cascade, index: Path | None) -> None:
    """Turn the view `judged` into a table with some columns."""
    connection = cascade.connection
    selected = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in columns.items())
    connection.execute(f"CREATE TEMP TABLE materialised AS SELECT {selected} FROM judged LIMIT 0")
    conditions = _signals_of_ranges(cascade) if index is None else _signals_of_index(index, cascade.ledger, connection)
    with conditions_on_data():
        for condition in conditions:
            connection.execute(f"INSERT INTO materialised SELECT {selected} FROM judged WHERE {condition}")
    connection.execute("DROP VIEW judged; ALTER TABLE materialised RENAME TO judged")


def _signals_of_index(index: Path, ledger: Ledger, connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """Take the signals of all documents from a run's index; yield SQL that is true for all."""
    connection.execute(f"ATTACH {literal(str(index))} AS indexed (READ_ONLY)")
    inputs = input_sql(ledger)
    joined = f" JOIN {inputs} USING (file_no, row)" if inputs else ""
    connection.execute(f"CREATE OR REPLACE TEMP VIEW signals AS SELECT * FROM indexed.signals{joined}")
    yield "true"


def _signals_of_ranges(cascade: Cascade) -> Iterator[str]:
    """As `load_ranges`, for what `judged` reads."""
    return load_ranges(cascade, ["repeated"])


def load_ranges(cascade: Cascade, tables: Sequence[str]) -> Iterator[str]:
    """Load the signals of some documents at a time and narrow `tables` to them; yield SQL that is true for them."""
    for documents in document_ranges(cascade.ledger, cascade.plan.groups):
        load_signals(cascade.connection, cascade.ledger, cascade.plan.groups, documents.parts)
        restrict_views(tables, documents.coarse_sql, cascade.connection)
        yield documents.exact_sql


@contextmanager
def conditions_on_data() -> Iterator[None]:
    """Report what DuckDB cannot compute of a condition, such as a cast, as an error of the recipe."""
    try:
        yield
    except (duckdb.ConversionException, duckdb.InvalidInputException, duckdb.OutOfRangeException) as error:
        problem = without_values(error)
        raise RecipeError(f"tier1.rules: a condition fails on the data: {problem}; try_cast may help") from None


def _drop_duplicates(cascade: Cascade) -> list[Part]:
    """Fill `duplicates`; return the parts with the pairs that were compared."""
    recipe, reader, connection = cascade.recipe, cascade.reader, cascade.connection
    reader.begin("exact duplicates")
    create("exact", connection)
    if recipe.dedup.exact:
        connection.execute(exact_sql(recipe))
        _drop_columns("passing", HASHES, connection)  # half of that table, and nothing reads them from here on
    narrow_survivors("exact", connection)
    reader.begin("near duplicates")
    create("near", connection)
    parts = _find_near(cascade) if recipe.dedup.near else []
    create("versions", connection)
    if recipe.dedup.weighs:
        connection.execute(versions_sql())
    if picks_best_copies(recipe):
        _drop_columns("passing", BEST_COPY, connection)
    _name_survivors(cascade)
    drop_after("near", connection)
    narrow_survivors("near", connection)
    return parts


def _drop_columns(table: str, columns: Iterable[str], connection: duckdb.DuckDBPyConnection) -> None:
    for name in columns:
        connection.execute(f"ALTER TABLE {table} DROP COLUMN {name}")


def _find_near(cascade: Cascade) -> list[Part]:
    """Fill `near`; return the parts with the pairs compared for it."""
    recipe, plan, ledger = cascade.recipe, cascade.plan, cascade.ledger
    assert recipe.dedup.near is not None
    measured = plan.groups[SIGNATURES]
    earlier = [Signatures(run.ledger.run, run.parts(SIGNATURES), run.first_file_no) for run in plan.earlier]
    task = NearTask(
        section=recipe.dedup.near,
        survivor_order=survivor_order(recipe),
        best_copies=picks_best_copies(recipe),
        signatures=[*earlier, Signatures(ledger.run, ledger.of(SIGNATURES, measured))],
        compared=[part for part in ledger.of(PAIRS) if part.contents == (measured,)],
        measured=measured,
    )
    return find_near(task, cascade.reader, ledger.run, cascade.digest, cascade.connection)


def _name_survivors(cascade: Cascade) -> None:
    """Fill `duplicates`. Ids of survivors are looked up range by range: together they take more room than the rest."""
    recipe, ledger, connection = cascade.recipe, cascade.ledger, cascade.connection
    for name in ("copies", "named_copies", "duplicates"):
        create(name, connection)
    connection.execute(copies_sql())
    restrict_views(["copies"], "file_no < 0", connection)
    connection.execute(named_copies_sql(recipe, None))
    [[copies]] = connection.execute("SELECT count(*) FROM copies").fetchall()
    groups = {DOCUMENTS: cascade.plan.groups[DOCUMENTS]}
    for documents in document_ranges(ledger, groups) if copies else ():
        restrict_views(["copies", "repeated"], documents.coarse_sql, connection)
        texts = f"{read_parquet(ledger.run / part.path for part in documents.parts)} JOIN files USING (file_no)"
        within = f"{documents.coarse_sql} AND {documents.exact_sql}"
        connection.execute(named_copies_sql(recipe, f"(FROM {texts} WHERE {within})"))
    connection.execute(duplicates_sql())


def _drop_by_bands(cascade: Cascade) -> list[Part]:
    """Fill `banded`; return the part with the bands of all strata."""
    recipe, connection = cascade.recipe, cascade.connection
    cascade.reader.begin("bands")
    create("banded", connection)
    parts: list[Part] = []
    if section := recipe.tier1.perplexity:
        strata = list(strata_of(recipe, cascade.plan.inputs.names))
        parts = [find_bands(section, strata, cascade.ledger.run, connection, cascade.digest)]
    narrow_survivors("bands", connection)
    return parts


def _cut_lines(cascade: Cascade) -> list[Part]:
    """Fill `trimmed`; return the parts with the edits and with what is left of the documents."""
    plan, ledger, connection = cascade.plan, cascade.ledger, cascade.connection
    create("trimmed", connection)
    parts: list[Part] = []
    if section := cascade.recipe.dedup.lines:
        cascade.reader.begin("repeated lines")
        hashes = ledger.of(LINE_HASHES, plan.groups[LINE_HASHES])
        urls = ledger.of(INPUT, plan.groups[INPUT]) if "url" in dict(plan.reading.input_columns) else []
        parts = cut_repeated(section, ledger.run, hashes, urls, cascade.reader.cut_lines, connection)
    narrow_survivors("lines", connection)
    return parts


def _purify(cascade: Cascade, context: StageContext) -> list[Part]:
    """Fill `purified`; return the parts of tier 2."""
    recipe, connection = cascade.recipe, cascade.connection
    create("purified", connection)
    parts: list[Part] = []
    if section := recipe.tier2:
        cascade.reader.begin("purify")
        inputs = cascade.plan.inputs.names
        _load_candidates("lines", candidate_columns(recipe, inputs, PURIFY), context)
        documents = partial(mined_documents, section, recipe.seed, partial(_signals_of_ranges, cascade), connection)
        parts = purify_documents(section, list(strata_of_purify(recipe, inputs)), cascade.reader, documents, context)
        drop("candidates", connection)
    narrow_survivors(PURIFY, connection)
    return parts


def _share_weights(cascade: Cascade) -> None:
    """Fill `shared` with the weights of near duplicates that are left."""
    create("shared", cascade.connection)
    if cascade.recipe.dedup.weighs:
        cascade.connection.execute(shared_sql())
    restrict_views([SHARED], "true", cascade.connection)


def _distil(cascade: Cascade, context: StageContext) -> list[Part]:
    """Fill `distilled`; return the parts of the budget."""
    recipe, connection = cascade.recipe, cascade.connection
    create("distilled", connection)
    if recipe.distill is None:
        return []
    cascade.reader.begin("distil")
    inputs = cascade.plan.inputs.names
    _load_candidates(PURIFY, candidate_columns(recipe, inputs, DISTIL), context)
    connection.execute("DROP VIEW survivors")
    drop("passing", connection)  # its memory is needed now
    unit = recipe.distill.unit
    [[size]] = connection.execute(f"SELECT coalesce(sum({unit}), 0)::BIGINT FROM input_size").fetchall()
    documents = partial(sampled_documents, recipe.distill, recipe.seed, connection)
    strata, sizes = list(strata_of_distil(recipe, inputs)), (size, cascade.plan.reserved)
    parts = distil_documents(recipe, strata, cascade.reader, documents, sizes, context)
    drop("candidates", connection)
    return parts


def _load_candidates(stage: str, columns: Columns, context: StageContext) -> None:
    """Fill `candidates` with the documents that the stages up to this one leave, in input order."""
    create("candidates", context.connection, {name: kind for name, (kind, _) in columns.items()})
    for documents in context.ranges:
        joined = [SHARED] if "share" in columns else []
        restrict_views([*survivor_tables(stage), *joined], documents.coarse_sql, context.connection)
        rows = candidates_sql(columns, documents.exact_sql, stage)
        context.connection.execute(f"INSERT INTO candidates BY NAME {rows}")
    restrict_views(["candidates"], "true", context.connection)

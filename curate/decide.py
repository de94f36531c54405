"""Verdicts: rules and global decisions as DuckDB SQL over the ledger. No text is read here."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from curate.bands import BANDS, find_bands, strata_of
from curate.budget import own_scores, strata_of_distil
from curate.checks import check_ids
from curate.distil import NOTHING_DISTILLED, QUOTAS, RUNGS, Distil, distil_documents, sampled_documents
from curate.earlier import load_earlier
from curate.errors import RecipeError
from curate.filters.coarse_score import coarse_score_sql
from curate.ledger import Ledger, Part, rebuffered, write_part
from curate.lines import LINE_EDITS, TRIMMED, CutLines, cut_repeated, empty_trimmed
from curate.measure import DOCUMENTS, INPUT, LINE_HASHES, SIGNATURES
from curate.mining import mined_documents
from curate.near import PAIRS, Carry, CollectSets, Signatures, find_near
from curate.plan import Plan
from curate.purify import NOTHING_PURIFIED, P_BAD, THRESHOLDS, Purify, purify_documents, strata_of_purify
from curate.purify import REASON as P_BAD_REASON
from curate.recipe import Recipe
from curate.rules import ResolvedRule, condition
from curate.scorers import DOMAIN, LEARNT, SCORES
from curate.sql import literal, quoted, read_parquet, without_values
from curate.tables import input_sql, load_files, load_signals, ranges, signal_types
from curate.training import TRAINED

STAGES = ("input", "rules", "exact", "near", "bands", "lines", "purify", "distil")
DECISIONS = "decisions"
TOGETHER = (
    DECISIONS,
    PAIRS,
    BANDS,
    LINE_EDITS,
    TRIMMED,
    P_BAD,
    THRESHOLDS,
    *TRAINED,
    SCORES,
    RUNGS,
    QUOTAS,
    *LEARNT,
)  # groups that are of one decision, and in force together
DECISION_ROWS = 1 << 17  # rows of one part

# Which copy comes first; the place in the input settles every tie.
SURVIVOR_ORDER = {
    "first": "position, row",
    "longest": "n_bytes DESC, position, row",
    "best": "coarse_score DESC, position, row",
}


@dataclass(frozen=True)
class Maps:
    """The maps that decisions need between their steps, and who is told of these."""

    carry: Carry
    sets: CollectSets
    cuts: CutLines
    purify: Purify
    distil: Distil
    tell: Callable[[str], None] = lambda step: None  # which step begins


def decide(
    recipe: Recipe, plan: Plan, ledger: Ledger, maps: Maps, connection: duckdb.DuckDBPyConnection, digest: str
) -> list[Part]:
    """Decide every document and commit the decisions, sorted by input order, the pairs compared and the lines cut.

    `maps` read texts again, of some of the documents that are left.

    What joins the signals of a document works range by range; what sees the whole corpus reads a few narrow columns.
    So memory grows with the columns of `passing` and the number of copies, at worst, and DuckDB can spill those.

    Errors: InputError for ids that clash or are null; RecipeError for a condition that fails on the data.
    """
    more = settle(recipe, plan, ledger, maps, connection, digest)
    maps.tell("verdicts")

    def decided() -> Iterator[pa.Table]:
        for place in _loaded(ledger, plan.groups, connection):
            with _conditions_on_data():
                yield connection.sql(decisions_sql(recipe, place)).to_arrow_table()

    return [*_write_decisions(recipe, ledger, decided(), digest), *more]


def settle(
    recipe: Recipe, plan: Plan, ledger: Ledger, maps: Maps, connection: duckdb.DuckDBPyConnection, digest: str,
    shown: Mapping[str, str] | None = None, index: Path | None = None,
) -> list[Part]:  # fmt: skip
    """What the decisions follow from: tables `duplicates`, `banded` and `trimmed`, and the relation `judged`.

    That is a view over whatever signals are loaded. Where columns are to be `shown` (name to SQL), it is a table of
    all documents that has them: signals are then joined once, and not a second time for the decisions; or not at all
    where an index holds them.
    """
    groups = plan.groups
    strata = strata_of(recipe, plan.inputs.names)
    maps.tell("rules")
    _load_documents(recipe, plan, ledger, connection, checked=shown is None)
    columns = passing_columns(recipe, strata, plan.inputs.names)
    if shown is not None:
        wanted = {name: name for name in JUDGED} | {name: sql for name, (_, sql) in columns.items()} | dict(shown)
        _materialise(wanted, ledger, groups, index, connection)
        columns = {name: (kind, quoted(name)) for name, (kind, _) in columns.items()}
    load_earlier(plan.earlier, recipe.dedup.exact, connection)
    if recipe.dedup.exact or recipe.dedup.near or recipe.dedup.lines or recipe.tier1.perplexity or _has_maps(recipe):
        _load_passing(columns, _loaded(ledger, groups, connection) if shown is None else ("true",), connection)
    maps.tell("exact duplicates")
    connection.execute(exact_sql(recipe))
    maps.tell("near duplicates")
    more = _near_parts(recipe, plan, ledger, maps, connection, digest) if recipe.dedup.near else []
    connection.execute(duplicates_sql(recipe))
    maps.tell("bands")
    more += find_bands(recipe, strata, ledger.run, connection, digest)
    if lines := recipe.dedup.lines:
        maps.tell("repeated lines")
        hashes = ledger.of(LINE_HASHES, groups[LINE_HASHES])
        urls = ledger.of(INPUT, groups[INPUT]) if "url" in dict(plan.reading.input_columns) else []
        more += cut_repeated(lines, ledger.run, hashes, urls, maps.cuts, connection)
    else:
        connection.execute(empty_trimmed())
    cuts = [part for part in more if part.group == LINE_EDITS]
    more += _purified(recipe, plan, ledger, maps, cuts, connection, digest)
    more += _distilled(recipe, plan, ledger, maps, cuts, connection, digest)
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


def _purified(
    recipe: Recipe, plan: Plan, ledger: Ledger, maps: Maps, cuts: Sequence[Part],
    connection: duckdb.DuckDBPyConnection, digest: str,
) -> list[Part]:  # fmt: skip
    """Table `purified`, and its parts."""
    if recipe.tier2 is None:
        connection.execute(NOTHING_PURIFIED)
        return []
    maps.tell("purify")
    places = _loaded(ledger, plan.groups, connection)  # of which nothing is loaded before it is asked for
    mined = partial(mined_documents, recipe.tier2, recipe.seed, places, connection)
    strata = list(strata_of_purify(recipe, plan.inputs.names))
    return purify_documents(recipe.tier2, strata, ledger.run, maps.purify, mined, cuts, connection, digest)


def _distilled(
    recipe: Recipe, plan: Plan, ledger: Ledger, maps: Maps, cuts: Sequence[Part],
    connection: duckdb.DuckDBPyConnection, digest: str,
) -> list[Part]:  # fmt: skip
    """Table `distilled`, and its parts."""
    if recipe.distill is None:
        connection.execute(NOTHING_DISTILLED)
        return []
    maps.tell("distil")
    sampled = partial(sampled_documents, recipe.distill, recipe.seed, connection)
    strata = list(strata_of_distil(recipe, plan.inputs.names))
    [[tokens]] = connection.execute("SELECT coalesce(sum(tokens), 0)::BIGINT FROM input_size").fetchall()
    size = tokens, plan.reserved
    return distil_documents(recipe, strata, ledger.run, maps.distil, sampled, cuts, size, connection, digest)


def _near_parts(
    recipe: Recipe, plan: Plan, ledger: Ledger, maps: Maps, connection: duckdb.DuckDBPyConnection, digest: str
) -> list[Part]:
    """Table `near`, and the parts with the pairs compared for it."""
    assert recipe.dedup.near is not None
    measured = plan.groups[SIGNATURES]
    own = Signatures(ledger.run, ledger.of(SIGNATURES, measured))
    others = [Signatures(run.ledger.run, run.parts(SIGNATURES), run.first_file_no) for run in plan.earlier]
    known = [part for part in ledger.of(PAIRS) if part.contents == (measured,)]
    return find_near(
        recipe.dedup.near, survivor_order(recipe), ledger.run, [*others, own], known, maps.sets, maps.carry,
        connection, (digest, measured),
    )  # fmt: skip


def survivor_order(recipe: Recipe) -> str:
    """SQL by which documents are ranked: those that an earlier run kept, and then the best first."""
    return f"position < 0 DESC, {SURVIVOR_ORDER[recipe.dedup.keep]}"


def repeated_sql(recipe: Recipe) -> str:
    """Table `repeated`: of documents with equal raw texts, the how manieth in input order each one is.

    Where the user's ids name the documents there is no need for it.
    """
    if recipe.input.id is not None:
        return "CREATE TEMP TABLE repeated (file_no INTEGER, row BIGINT, k BIGINT)"
    return """
        CREATE TEMP TABLE repeated AS
        SELECT file_no, row,
            row_number() OVER (PARTITION BY raw_hash_high, raw_hash_low ORDER BY position, row) AS k
        FROM texts
        JOIN (SELECT raw_hash_high, raw_hash_low FROM texts GROUP BY ALL HAVING count(*) > 1)
            USING (raw_hash_high, raw_hash_low)
        JOIN files USING (file_no)"""


def doc_id_sql(recipe: Recipe) -> str:
    """The name of a document: the user's id, or the hash of its raw text in hex, with `#k` at the k-th repeat."""
    if recipe.input.id is not None:
        return "id"
    return "printf('%016x%016x', raw_hash_high, raw_hash_low) || if(k > 1, '#' || k, '')"


def judged_sql(recipe: Recipe, rules: Sequence[ResolvedRule], types: Mapping[str, pa.DataType]) -> str:
    """View `judged`: `signals`, doc_id, and the reasons of the stages that need no other row: input and rules."""
    built_in = {
        "empty_text": "is_null OR (is_utf8 AND n_words = 0)",
        "invalid_utf8": "NOT is_utf8",
        "too_large": f"raw_n_bytes > {recipe.input.max_document_bytes}",
        **({"excluded": excluded_condition(types)} if recipe.exclude else {}),
    }
    return f"""
        CREATE TEMP VIEW judged AS
        WITH named AS (
            SELECT signals.*, position, {doc_id_sql(recipe)} AS doc_id
            FROM signals JOIN files USING (file_no) LEFT JOIN repeated USING (file_no, row)
        )
        SELECT * REPLACE (coalesce(n_bytes, raw_n_bytes) AS n_bytes, coalesce(n_tokens, 0) AS n_tokens),
            {coarse_score_sql(types, recipe.tier1.length_penalty)} AS coarse_score,
            {reasons_sql({reason: f"coalesce({sql}, false)" for reason, sql in built_in.items()})} AS input_reasons,
            {reasons_sql({rule.reason: condition(rule.rule, types) for rule in rules})} AS rule_reasons
        FROM named"""


def excluded_condition(types: Mapping[str, pa.DataType]) -> str:
    """SQL that is true for a document whose id, hash or url stands in table `excluded`."""
    names = ["doc_id", "printf('%016x%016x', raw_hash_high, raw_hash_low)"]
    if "input" in types and types["input"].get_field_index("url") >= 0:
        names.append("input.url")
    return " OR ".join(f"coalesce({name} IN (SELECT value FROM excluded), false)" for name in names)


def reasons_sql(conditions: Mapping[str, str]) -> str:
    """SQL for the list of reasons whose condition is true, in order."""
    if not conditions:
        return "[]::VARCHAR[]"
    cases = ",\n                ".join(
        f"CASE WHEN {sql} THEN {literal(reason)} END" for reason, sql in conditions.items()
    )
    return f"list_filter([\n                {cases}\n            ], lambda reason: reason IS NOT NULL)"


JUDGED = (
    "file_no",
    "row",
    "position",
    "doc_id",
    "n_bytes",
    "n_tokens",
    "coarse_score",
    "input_reasons",
    "rule_reasons",
)
EARLIER_PASSING = "* EXCLUDE (doc_id), (-2147483648 - file_no)::INTEGER AS position"  # before all others, run by run
PASSING = {"file_no": "INTEGER", "position": "INTEGER", "row": "BIGINT", "n_bytes": "BIGINT", "coarse_score": "FLOAT"}
DISTIL = {"n_tokens": "BIGINT", "raw_hash_low": "UBIGINT"}
HASHES = {f"{text}_hash_{half}": "UBIGINT" for text in ("text", "normal") for half in ("high", "low")}


def passing_columns(recipe: Recipe, strata: Mapping[str, str], inputs: Collection[str]) -> dict[str, tuple[str, str]]:
    """Columns of table `passing`, with their types and SQL: what the stages behind the rules need.

    `strata` are those of bands, `inputs` the input's columns.
    """
    kinds = PASSING | (HASHES if recipe.dedup.exact else {}) | (DISTIL if recipe.distill else {})
    columns = {name: (kind, name) for name, kind in kinds.items()}
    if recipe.tier1.perplexity:
        columns["perplexity"] = ("FLOAT", "perplexity")
        columns |= {f"stratum_{k}": ("VARCHAR", sql) for k, sql in enumerate(strata.values())}
    columns |= {f"purify_{k}": ("VARCHAR", sql) for k, sql in enumerate(strata_of_purify(recipe, inputs).values())}
    columns |= {f"distil_{k}": ("VARCHAR", sql) for k, sql in enumerate(strata_of_distil(recipe, inputs).values())}
    return columns | {f"score_{k}": ("DOUBLE", sql) for k, sql in enumerate(own_scores(recipe).values())}


def passing_sql(columns: Mapping[str, tuple[str, str]], place: str) -> str:
    """Rows of table `passing`: the documents that no rule drops."""
    selected = ", ".join(sql for _, sql in columns.values())
    return f"""
        SELECT {selected}
        FROM judged WHERE {place} AND len(input_reasons) + len(rule_reasons) = 0"""


def _materialise(
    columns: Mapping[str, str], ledger: Ledger, groups: Mapping[str, str], index: Path | None,
    connection: duckdb.DuckDBPyConnection,
) -> None:  # fmt: skip
    """Make the view `judged` a table with some columns."""
    selected = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in columns.items())
    connection.execute(f"CREATE TEMP TABLE once AS SELECT {selected} FROM judged LIMIT 0")
    with _conditions_on_data():
        for place in _loaded(ledger, groups, connection) if index is None else _indexed(index, ledger, connection):
            connection.execute(f"INSERT INTO once SELECT {selected} FROM judged WHERE {place}")
    connection.execute("DROP VIEW judged; ALTER TABLE once RENAME TO judged")


def _indexed(index: Path, ledger: Ledger, connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """Take the signals of all documents out of an index."""
    connection.execute(f"ATTACH {literal(str(index))} AS indexed (READ_ONLY)")
    inputs = input_sql(ledger)
    joined = f" JOIN {inputs} USING (file_no, row)" if inputs else ""
    connection.execute(f"CREATE OR REPLACE TEMP VIEW signals AS SELECT * FROM indexed.signals{joined}")
    yield "true"


def _loaded(ledger: Ledger, groups: Mapping[str, str], connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """Load the signals of some documents at a time, and give SQL that is true for these."""
    for found in ranges(ledger, groups):
        load_signals(connection, ledger, groups, found.parts)
        yield found.place


def exact_sql(recipe: Recipe) -> str:
    """Table `exact`: the documents that equal a surviving one, among those that no rule dropped."""
    if not recipe.dedup.exact:
        return (
            "CREATE TEMP TABLE exact "
            "(file_no INTEGER, row BIGINT, survivor_file_no INTEGER, survivor_row BIGINT, same_text BOOLEAN)"
        )
    return f"""
        CREATE TEMP TABLE exact AS
        WITH copied AS (
            SELECT * FROM passing
            JOIN (SELECT normal_hash_high, normal_hash_low FROM passing GROUP BY ALL HAVING count(*) > 1)
                USING (normal_hash_high, normal_hash_low)
        ), ranked AS (
            SELECT file_no, row, row_number() OVER best AS place,
                first_value(file_no) OVER best AS survivor_file_no, first_value(row) OVER best AS survivor_row,
                text_hash_high = first_value(text_hash_high) OVER best
                    AND text_hash_low = first_value(text_hash_low) OVER best AS same_text
            FROM copied
            WINDOW best AS (PARTITION BY normal_hash_high, normal_hash_low ORDER BY {survivor_order(recipe)})
        )
        SELECT file_no, row, survivor_file_no, survivor_row, same_text FROM ranked WHERE place > 1 AND file_no >= 0"""


def duplicates_sql(recipe: Recipe) -> str:
    """Table `duplicates`: the documents of `exact` and `near`, why they are dropped, and the doc_id of the survivor."""
    found = """
            SELECT file_no, row, survivor_file_no, survivor_row, 'exact' AS duplicate_stage,
                if(same_text, 'exact_duplicate', 'normalised_duplicate') AS duplicate_reason, 1::FLOAT AS similarity
            FROM exact"""
    if recipe.dedup.near:
        found += """
            UNION ALL
            SELECT file_no, row, survivor_file_no, survivor_row, 'near', 'near_duplicate', similarity FROM near"""
    return f"""
        CREATE TEMP TABLE duplicates AS
        SELECT found.file_no, found.row, duplicate_stage,
            duplicate_reason || if(survivor_file_no < 0, '_of_earlier_run', '') AS duplicate_reason,
            similarity, doc_id AS duplicate_of
        FROM ({found}
        ) found JOIN (
            SELECT file_no, row, {doc_id_sql(recipe)} AS doc_id FROM texts LEFT JOIN repeated USING (file_no, row)
            UNION ALL SELECT file_no, row, doc_id FROM earlier
        ) survivor ON survivor.file_no = survivor_file_no AND survivor.row = survivor_row"""


def decisions_sql(recipe: Recipe, place: str) -> str:
    """The rows of the decisions, in input order; size and tokens of a kept document are those of its output."""
    return f"""
        SELECT file_no, row, doc_id,
            if(stage IS NULL, coalesce(trimmed_bytes, n_bytes), n_bytes) AS n_bytes,
            {TOKENS} AS n_tokens,
            {TOKENS_CUT} AS n_tokens_cut,
            coarse_score,
            stage IS NULL AS kept, stage,
            reasons[1] AS reason, reasons,
            duplicate_of, similarity,
            p_bad, coalesce(own_grade, grade) AS grade, attack, evidence,
            likeness, importance, {DOMAIN}, cluster, quality, rung, weight
        FROM ({verdicts_sql(recipe)}
            WHERE {place}
        )
        ORDER BY position, row"""


TOKENS = "if(stage IS NULL, coalesce(trimmed_tokens, n_tokens), n_tokens)"
TOKENS_CUT = "if(stage IS NULL, coalesce(n_tokens - trimmed_tokens, 0), 0)"


def verdicts_sql(recipe: Recipe) -> str:
    """The rows of `judged` with what the global stages found, the stage that drops them, and the reasons."""
    max_cut = recipe.dedup.lines.max_cut if recipe.dedup.lines else 1
    return f"""
            SELECT *,
                CASE WHEN len(input_reasons) > 0 THEN 'input'
                     WHEN len(rule_reasons) > 0 THEN 'rules'
                     WHEN duplicate_stage IS NOT NULL THEN duplicate_stage
                     WHEN band_reason IS NOT NULL THEN 'bands'
                     WHEN cut_share > {max_cut}::FLOAT OR trimmed_tokens = 0 THEN 'lines'
                     WHEN p_bad > p_bad_bound THEN 'purify'
                     WHEN distil_reason IS NOT NULL THEN 'distil' END AS stage,
                CASE WHEN len(input_reasons) > 0 THEN input_reasons
                     WHEN len(rule_reasons) > 0 THEN rule_reasons
                     WHEN duplicate_reason IS NOT NULL THEN [duplicate_reason]
                     WHEN band_reason IS NOT NULL THEN [band_reason]
                     WHEN cut_share > {max_cut}::FLOAT OR trimmed_tokens = 0 THEN ['too_much_boilerplate']
                     WHEN p_bad > p_bad_bound THEN ['{P_BAD_REASON}']
                     WHEN distil_reason IS NOT NULL THEN [distil_reason]
                     ELSE [] END AS reasons
            FROM judged LEFT JOIN duplicates USING (file_no, row) LEFT JOIN banded USING (file_no, row)
                LEFT JOIN trimmed USING (file_no, row) LEFT JOIN purified USING (file_no, row)
                LEFT JOIN distilled USING (file_no, row)"""


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
    with duckdb.connect(config={"threads": "1"}) as connection:
        load_signals(connection, ledger, groups, only=parts)
        types = signal_types(connection)
        drops = " OR ".join(["coalesce(n_words, 0) = 0", *(condition(rule.rule, types) for rule in rules)])
        with _conditions_on_data():
            row = connection.execute(f"SELECT count(*) FILTER (NOT ({drops})) FROM signals").fetchone()
        assert row is not None
        return int(row[0])

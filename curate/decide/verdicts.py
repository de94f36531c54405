"""The SQL that verdicts are made of, step by step.

What was found of the whole corpus lies in tables. Verdicts read a range of the documents at a time, and of those tables
what lies there: a view `here_` of each, so that their work grows with the documents and not with its square.
"""

from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa

from curate.dedup.exact import HASHES
from curate.distill.budget.models import DOMAIN
from curate.distill.budget.scores import own_scores, strata_of_distil
from curate.distill.purify.stage import REASON as P_BAD_REASON
from curate.distill.purify.stage import strata_of_purify
from curate.filters.coarse_score import coarse_score_sql
from curate.filters.rules.conditions import condition
from curate.filters.rules.resolve import ResolvedRule
from curate.recipe.recipe import Recipe
from curate.sql import literal

REPEATED = "repeated"
FOUND = ("duplicates", "banded", "trimmed", "purified", "distilled")  # by the stages behind the rules


def orders_copies(recipe: Recipe) -> bool:
    """Whether the order of near duplicates is settled by their clusters."""
    return recipe.dedup.near is not None and recipe.dedup.keep == "best"


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
        JOIN files USING (file_no)
        ORDER BY file_no, row"""


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
            FROM signals JOIN files USING (file_no) LEFT JOIN here_repeated USING (file_no, row)
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
COPIES = {"n_words": "INTEGER", "stop_word_ratio": "FLOAT", "bits_per_byte": "FLOAT"}  # what best copies are told by
PASSING = {"file_no": "INTEGER", "position": "INTEGER", "row": "BIGINT", "n_bytes": "BIGINT", "coarse_score": "FLOAT"}
DISTIL = {"n_tokens": "BIGINT", "raw_hash_low": "UBIGINT"}


def passing_columns(recipe: Recipe, strata: Mapping[str, str], inputs: Collection[str]) -> dict[str, tuple[str, str]]:
    """Columns of table `passing`, with their types and SQL: what the stages behind the rules need.

    `strata` are those of bands, `inputs` the input's columns.
    """
    kinds = PASSING | (HASHES if recipe.dedup.exact else {}) | (DISTIL if recipe.distill else {})
    columns = {name: (kind, name) for name, kind in kinds.items()}
    if orders_copies(recipe):
        columns |= {name: (kind, name) for name, kind in COPIES.items()}
        columns["bits_per_byte"] = ("FLOAT", "bits_per_byte" if recipe.tier1.perplexity else "NULL::FLOAT")
    if recipe.tier1.perplexity:
        columns["perplexity"] = ("FLOAT", "perplexity")
        columns |= {f"stratum_{k}": ("VARCHAR", sql) for k, sql in enumerate(strata.values())}
    columns |= {f"purify_{k}": ("VARCHAR", sql) for k, sql in enumerate(strata_of_purify(recipe, inputs).values())}
    columns |= {f"distil_{k}": ("VARCHAR", sql) for k, sql in enumerate(strata_of_distil(recipe, inputs).values())}
    for k, (name, sql) in enumerate(own_scores(recipe).items()):
        columns[f"score_{k}"] = ("DOUBLE" if name.startswith("input.") else "FLOAT", sql)
    return columns


def passing_sql(columns: Mapping[str, tuple[str, str]], place: str) -> str:
    """Rows of table `passing`: the documents that no rule drops."""
    selected = ", ".join(sql for _, sql in columns.values())
    return f"""
        SELECT {selected}
        FROM judged WHERE {place} AND len(input_reasons) + len(rule_reasons) = 0"""


def named_copies_sql(recipe: Recipe, texts: str | None) -> str:
    """Rows of `named_copies`: copies with the doc_id of the surviving document, which `texts` holds.

    None stands for the documents of earlier runs.
    """
    survivors, doc_id = "earlier", "doc_id"
    if texts is not None:  # an id is made of what was found alone
        survivors, doc_id = f"{texts} USING (file_no, row) LEFT JOIN here_repeated", doc_id_sql(recipe)
    return f"""
        INSERT INTO named_copies
        SELECT copy_file_no, copy_row, same_text, similarity, {str(texts is None).lower()}, {doc_id}
        FROM here_copies JOIN {survivors} USING (file_no, row)"""


def duplicates_sql() -> str:
    """Table `duplicates`: the copies, why they are dropped, and the doc_id of the survivor."""
    return """
        CREATE TEMP TABLE duplicates AS
        SELECT file_no, row, if(same_text IS NULL, 'near', 'exact') AS duplicate_stage,
            CASE WHEN same_text IS NULL THEN 'near_duplicate'
                 WHEN same_text THEN 'exact_duplicate' ELSE 'normalised_duplicate' END
                || if(of_earlier, '_of_earlier_run', '') AS duplicate_reason,
            similarity, doc_id AS duplicate_of
        FROM (FROM named_copies ORDER BY file_no, row);
        DROP TABLE named_copies; DROP VIEW here_copies; DROP TABLE copies"""


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
            FROM judged LEFT JOIN here_duplicates USING (file_no, row) LEFT JOIN here_banded USING (file_no, row)
                LEFT JOIN here_trimmed USING (file_no, row) LEFT JOIN here_purified USING (file_no, row)
                LEFT JOIN here_distilled USING (file_no, row)"""

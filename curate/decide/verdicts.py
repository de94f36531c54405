"""The SQL of the cascade, step by step, and of the verdicts that are read off its findings (tables: `schema.py`)."""

from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa

from curate.decide.schema import FINDINGS, SHARED, STAGES
from curate.dedup.exact import HASHES
from curate.distill.budget.models import DOMAIN
from curate.distill.budget.scores import ledger_scores, strata_of_distil
from curate.distill.purify.stage import strata_of_purify
from curate.filters.coarse_score import coarse_score_sql
from curate.filters.rules.conditions import condition
from curate.filters.rules.resolve import ResolvedRule
from curate.ledger.names import PURIFY
from curate.recipe.recipe import Recipe
from curate.sql import literal


def picks_best_copies(recipe: Recipe) -> bool:
    """Whether the survivor among near duplicates is chosen within their cluster (`dedup/near/best_copies.py`)."""
    return recipe.dedup.near is not None and recipe.dedup.keep == "best"


def repeated_sql() -> str:
    """Rows of `repeated`: the ordinal, in input order, of each document among those with the same raw text."""
    return """
        INSERT INTO repeated
        SELECT file_no, row,
            row_number() OVER (PARTITION BY raw_hash_high, raw_hash_low ORDER BY position, row) AS k
        FROM texts
        JOIN (SELECT raw_hash_high, raw_hash_low FROM texts GROUP BY ALL HAVING count(*) > 1)
            USING (raw_hash_high, raw_hash_low)
        JOIN files USING (file_no)
        ORDER BY file_no, row"""


def doc_id_sql(recipe: Recipe) -> str:
    """SQL of a document's id: the user's, or the hash of its raw text in hex, with `#k` from its second copy on."""
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
    """SQL that is true for a document whose id, hash or url is in table `excluded`."""
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
Columns = dict[str, tuple[str, str]]  # type and SQL by name

PASSING: Columns = {
    "file_no": ("INTEGER", "file_no"),
    "position": ("INTEGER", "position"),
    "row": ("BIGINT", "row"),
    "n_bytes": ("BIGINT", "n_bytes"),
    "coarse_score": ("FLOAT", "coarse_score"),
}
BEST_COPY = {"n_words": "INTEGER", "stop_word_ratio": "FLOAT", "bits_per_byte": "FLOAT"}  # rank copies in a cluster


def passing_columns(recipe: Recipe, strata: Mapping[str, str], inputs: Collection[str]) -> Columns:
    """Columns of `passing`: what the stages behind the rules need.

    `strata` are those of bands, `inputs` the input's columns.
    """
    columns = PASSING | {name: (kind, name) for name, kind in HASHES.items() if recipe.dedup.exact}
    if picks_best_copies(recipe):
        columns |= {name: (kind, name) for name, kind in BEST_COPY.items()}
        columns["bits_per_byte"] = ("FLOAT", "bits_per_byte" if recipe.tier1.perplexity else "NULL::FLOAT")
    if recipe.tier1.perplexity:
        columns["perplexity"] = ("FLOAT", "perplexity")
        columns |= {f"stratum_{k}": ("VARCHAR", sql) for k, sql in enumerate(strata.values())}
    if recipe.tier2 and recipe.tier2.passages:
        columns["n_tokens"] = ("BIGINT", "n_tokens")
    return columns | purify_columns(recipe, inputs) | distil_columns(recipe, inputs)


def purify_columns(recipe: Recipe, inputs: Collection[str]) -> Columns:
    """Columns of `passing` that tier 2 needs: the strata of its bound."""
    return {f"purify_{k}": ("VARCHAR", sql) for k, sql in enumerate(strata_of_purify(recipe, inputs).values())}


def distil_columns(recipe: Recipe, inputs: Collection[str]) -> Columns:
    """Columns of `passing` that the budget needs besides bytes: tokens, what draws, strata of its quotas, scores."""
    if recipe.distill is None:
        return {}
    columns = {"n_tokens": ("BIGINT", "n_tokens"), "raw_hash_low": ("UBIGINT", "raw_hash_low")}
    columns |= {f"distil_{k}": ("VARCHAR", sql) for k, sql in enumerate(strata_of_distil(recipe, inputs).values())}
    for k, (name, sql) in enumerate(ledger_scores(recipe).items()):
        columns[f"score_{k}"] = ("DOUBLE" if name.startswith("input.") else "FLOAT", sql)
    return columns


def candidate_columns(recipe: Recipe, inputs: Collection[str], stage: str) -> Columns:
    """Columns of `candidates` of a stage, by their SQL over `survivors`."""
    if stage == PURIFY:
        columns = {name: (kind, name) for name, (kind, _) in purify_columns(recipe, inputs).items()}
        if recipe.tier2 and recipe.tier2.passages:
            columns["n_bytes"] = ("BIGINT", "coalesce(trimmed_bytes, n_bytes)")
            columns["n_tokens"] = ("BIGINT", "coalesce(trimmed_tokens, n_tokens)")
        return columns
    columns = {name: (kind, name) for name, (kind, _) in distil_columns(recipe, inputs).items()}
    columns["n_tokens"] = ("BIGINT", "coalesce(left_tokens, trimmed_tokens, n_tokens)")
    if recipe.dedup.weighs:
        columns["share"] = ("FLOAT", "coalesce(share, 1)")
    columns["n_bytes"] = ("BIGINT", "coalesce(left_bytes, trimmed_bytes, n_bytes)")
    return columns | {"p_bad": ("FLOAT", "p_bad"), "grade": ("FLOAT", "grade")}


def passing_sql(columns: Columns, place: str) -> str:
    """Rows of `passing`: the documents that no rule drops."""
    return f"""
        SELECT {_selected(columns)}
        FROM judged WHERE {place} AND len(input_reasons) + len(rule_reasons) = 0"""


def _selected(columns: Columns) -> str:
    return ", ".join(f"{sql} AS {name}" if sql != name else name for name, (_, sql) in columns.items())


def candidates_sql(columns: Columns, place: str, after: str) -> str:
    """Rows of `candidates`, in input order, with `columns` of `survivors` of the stage `after`.

    `lines_sum` identifies all that earlier stages cut out of a document.
    """
    cuts = "coalesce(lines_sum, 0)" if after != PURIFY else "xor(coalesce(lines_sum, 0), coalesce(passages_sum, 0))"
    keys = {"file_no": ("INTEGER", "file_no"), "row": ("BIGINT", "row"), "position": ("INTEGER", "position")}
    keys["lines_sum"] = ("UBIGINT", f"{cuts}::UBIGINT")
    return f"""
        SELECT {_selected(keys | columns)}
        FROM survivors{f" LEFT JOIN here_{SHARED} USING (file_no, row)" if "share" in columns else ""}
        WHERE {place} ORDER BY position, row"""


def versions_sql() -> str:
    """Move near duplicates of this run from `near`, whose documents are dropped, to `versions`."""
    return """
        INSERT INTO versions
        SELECT file_no, row, survivor_file_no, survivor_row, similarity FROM near WHERE survivor_file_no >= 0
        ORDER BY file_no, row;
        DELETE FROM near WHERE survivor_file_no >= 0"""


def shared_sql() -> str:
    """Rows of `shared`: of each cluster of near duplicates the members that are left, each with its weight.

    It is 1 / (1 + the similarities of the others to the one that would survive), so that two documents weigh as much as
    the union of their shingles: with the Jaccard similarity J of equal sizes that is 2 / (1 + J) of one.
    """
    return f"""
        INSERT INTO shared
        WITH members AS (
            SELECT DISTINCT survivor_file_no, survivor_row, survivor_file_no AS file_no, survivor_row AS row,
                {WHOLE} AS likeness
            FROM versions
            UNION ALL
            SELECT survivor_file_no, survivor_row, file_no, row, round(similarity * {WHOLE})::BIGINT FROM versions
        ),
        present AS (SELECT members.* FROM members SEMI JOIN survivors USING (file_no, row)),
        totals AS (SELECT survivor_file_no, survivor_row, sum(likeness) AS total FROM present GROUP BY ALL)
        SELECT file_no, row, ({WHOLE}::DOUBLE / greatest({WHOLE}, total))::FLOAT
        FROM present JOIN totals USING (survivor_file_no, survivor_row) ORDER BY file_no, row"""


def copies_sql() -> str:
    """Rows of `copies`: the documents of `exact` and `near`, by the place of the surviving ones."""
    return """
        INSERT INTO copies
        SELECT survivor_file_no, survivor_row, file_no, row, same_text, similarity
        FROM (
            SELECT *, 1::FLOAT AS similarity FROM exact
            UNION ALL BY NAME
            FROM near
        ) ORDER BY survivor_file_no, survivor_row"""


def named_copies_sql(recipe: Recipe, texts: str | None) -> str:
    """Rows of `named_copies`: copies with the doc_id of the surviving document.

    `texts` is the relation of survivors; None stands for the documents of earlier runs.
    """
    survivors, doc_id = "earlier", "doc_id"
    if texts is not None:
        survivors, doc_id = f"{texts} USING (file_no, row) LEFT JOIN here_repeated", doc_id_sql(recipe)
    return f"""
        INSERT INTO named_copies
        SELECT copy_file_no, copy_row, same_text, similarity, {str(texts is None).lower()}, {doc_id}
        FROM here_copies JOIN {survivors} USING (file_no, row)"""


def duplicates_sql() -> str:
    """Rows of `duplicates`: the copies, why they are dropped, and the doc_id of the survivor."""
    return """
        INSERT INTO duplicates
        SELECT file_no, row, if(same_text IS NULL, 'near', 'exact'),
            CASE WHEN same_text IS NULL THEN 'near_duplicate'
                 WHEN same_text THEN 'exact_duplicate' ELSE 'normalised_duplicate' END
                || if(of_earlier, '_of_earlier_run', ''),
            similarity, doc_id
        FROM named_copies ORDER BY file_no, row"""


def decisions_sql(place: str) -> str:
    """The rows of the decisions, in input order; size and tokens of a kept document are those of its output."""
    return f"""
        SELECT file_no, row, doc_id,
            {BYTES} AS n_bytes,
            {BYTES_CUT} AS n_bytes_cut,
            {PASSAGE_BYTES_CUT} AS n_passage_bytes_cut,
            {TOKENS} AS n_tokens,
            {TOKENS_CUT} AS n_tokens_cut,
            {PASSAGE_TOKENS_CUT} AS n_passage_tokens_cut,
            coarse_score,
            stage IS NULL AS kept, stage,
            reasons[1] AS reason, reasons,
            duplicate_of, similarity,
            p_bad, coalesce(own_grade, grade) AS grade, attack, evidence,
            likeness, importance, {DOMAIN}, cluster, quality, rung, {WEIGHT} AS weight
        FROM ({verdicts_sql()}
            WHERE {place}
        )
        ORDER BY position, row"""


WHOLE = "65536::BIGINT"  # similarities are summed as integers: sums of reals depend on their order
WEIGHT = "if(stage IS NULL, coalesce(weight, share), NULL)"
TOKENS = "if(stage IS NULL, coalesce(left_tokens, trimmed_tokens, n_tokens), n_tokens)"
TOKENS_CUT = "if(stage IS NULL, n_tokens - coalesce(left_tokens, trimmed_tokens, n_tokens), 0)"
PASSAGE_TOKENS_CUT = "if(stage IS NULL, coalesce(coalesce(trimmed_tokens, n_tokens) - left_tokens, 0), 0)"
BYTES = "if(stage IS NULL, coalesce(left_bytes, trimmed_bytes, n_bytes), n_bytes)"
BYTES_CUT = "if(stage IS NULL, n_bytes - coalesce(left_bytes, trimmed_bytes, n_bytes), 0)"
PASSAGE_BYTES_CUT = "if(stage IS NULL, coalesce(coalesce(trimmed_bytes, n_bytes) - left_bytes, 0), 0)"


def verdicts_sql() -> str:
    """The rows of `judged` with all findings, the stage that drops them, and its reasons."""
    stage = "\n                     ".join(f"WHEN {entry.drops} THEN {literal(entry.name)}" for entry in STAGES)
    reasons = "\n                     ".join(f"WHEN {entry.drops} THEN {entry.reasons}" for entry in STAGES)
    joins = "".join(f"\n                LEFT JOIN here_{table} USING (file_no, row)" for table in FINDINGS)
    return f"""
            SELECT *,
                CASE {stage} END AS stage,
                CASE {reasons}
                     ELSE [] END AS reasons
            FROM judged{joins}"""

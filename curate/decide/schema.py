"""The cascade in DuckDB: its stages in order, the tables that they fill, and which module makes and drops each table.

A stage finds something about the documents that the stages before it leave, the view `survivors`, and inserts it into
its table of findings. Verdicts are read off those tables range by range, through a view `here_<table>` of each, so that
their cost grows with the number of documents and not with its square.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from curate.ledger.views import restrict_views

CASCADE = "curate.decide.cascade"
NEAR, LINES = "curate.dedup.near.stage", "curate.dedup.lines"
BANDS = "curate.decide.bands"
MINING, BOUNDS = "curate.distill.purify.mining", "curate.distill.purify.stage"
CUTTING = "curate.distill.purify.passages"
END = "end"  # the database goes with the cascade

DOCUMENT = "file_no INTEGER, row BIGINT"
SURVIVOR = "survivor_file_no INTEGER, survivor_row BIGINT"


@dataclass(frozen=True)
class Stage:
    """A stage of the cascade: which documents it drops and why, in SQL over `judged` joined with the findings."""

    name: str
    findings: str  # the table that it fills; `judged` for the stages that look at one document alone
    drops: str  # true for the documents that it drops; may be null for others
    reasons: str  # a list


STAGES = (
    Stage("input", "judged", "len(input_reasons) > 0", "input_reasons"),
    Stage("rules", "judged", "len(rule_reasons) > 0", "rule_reasons"),
    Stage("exact", "duplicates", "duplicate_stage = 'exact'", "[duplicate_reason]"),
    Stage("near", "duplicates", "duplicate_stage = 'near'", "[duplicate_reason]"),
    Stage("bands", "banded", "band_reason IS NOT NULL", "[band_reason]"),
    Stage("lines", "trimmed", "line_reason IS NOT NULL", "[line_reason]"),
    Stage("purify", "purified", "purify_reason IS NOT NULL", "[purify_reason]"),
    Stage("distil", "distilled", "distil_reason IS NOT NULL", "[distil_reason]"),
)
SHARED = "shared"  # the weights of near duplicates that stay
FINDINGS = (*dict.fromkeys(stage.findings for stage in STAGES if stage.findings != "judged"), SHARED)
DROPS_ALL = ("duplicates", "banded")  # findings of dropped documents alone


@dataclass(frozen=True)
class CascadeTable:
    """A temporary table of the cascade. Its owner creates and drops it; other modules may insert and read."""

    name: str
    columns: str  # with their SQL types; those that the table has whatever the recipe
    owner: str  # a module
    until: str = END  # the last stage that reads it; scratch tables go with the function that made them


TABLES = (
    # What documents are named and judged by, beside `files` and the views `texts`, `signals` and `judged`.
    CascadeTable("excluded", "value VARCHAR", CASCADE),
    CascadeTable("repeated", f"{DOCUMENT}, k BIGINT", CASCADE),  # ordinal among documents with the same raw text
    CascadeTable("input_size", "tokens HUGEINT, bytes HUGEINT", CASCADE),
    CascadeTable("removed", DOCUMENT, CASCADE, "distil"),  # by name: no model may learn from them
    # What earlier runs kept; with text hashes for exact duplicates; file numbers are negative.
    CascadeTable("earlier", f"{DOCUMENT}, doc_id VARCHAR", CASCADE, "near"),
    # The documents that no rule drops, with what the stages behind the rules need (`verdicts.passing_columns`).
    CascadeTable("passing", f"{DOCUMENT}, position INTEGER, n_bytes BIGINT, coarse_score FLOAT", CASCADE, "distil"),
    # Copies by place; sorted by the place of the survivor (file_no, row); with the doc_id of the survivor.
    CascadeTable("exact", f"{DOCUMENT}, {SURVIVOR}, same_text BOOLEAN", CASCADE, "near"),
    CascadeTable("near", f"{DOCUMENT}, {SURVIVOR}, similarity FLOAT", CASCADE, "near"),
    # Near duplicates that stay, by the place of the one that would survive; the weight of each member of a cluster.
    CascadeTable("versions", f"{DOCUMENT}, {SURVIVOR}, similarity FLOAT", CASCADE, "distil"),
    CascadeTable(SHARED, f"{DOCUMENT}, share FLOAT", CASCADE),
    CascadeTable(
        "copies",
        f"{DOCUMENT}, copy_file_no INTEGER, copy_row BIGINT, same_text BOOLEAN, similarity FLOAT",
        CASCADE,
        "near",
    ),
    CascadeTable(
        "named_copies",
        f"{DOCUMENT}, same_text BOOLEAN, similarity FLOAT, of_earlier BOOLEAN, doc_id VARCHAR",
        CASCADE,
        "near",
    ),
    # Findings.
    CascadeTable(
        "duplicates",
        f"{DOCUMENT}, duplicate_stage VARCHAR, duplicate_reason VARCHAR, similarity FLOAT, duplicate_of VARCHAR",
        CASCADE,
    ),
    CascadeTable("banded", f"{DOCUMENT}, band_reason VARCHAR", CASCADE),
    CascadeTable(
        "trimmed",
        f"{DOCUMENT}, trimmed_bytes BIGINT, trimmed_tokens BIGINT, cut_share FLOAT, lines_sum UBIGINT, "
        "line_reason VARCHAR",
        CASCADE,
    ),
    CascadeTable(
        "purified",
        f"{DOCUMENT}, p_bad FLOAT, grade FLOAT, attack VARCHAR, evidence VARCHAR[], passages_sum UBIGINT, "
        "left_bytes BIGINT, left_tokens BIGINT, purify_reason VARCHAR",
        CASCADE,
    ),
    CascadeTable(
        "distilled",
        f"{DOCUMENT}, likeness FLOAT, importance FLOAT, domain VARCHAR, cluster INTEGER, own_grade FLOAT, "
        "quality FLOAT, rung SMALLINT, weight FLOAT, distil_reason VARCHAR",
        CASCADE,
    ),
    # The survivors with what a stage needs that scores texts; filled for each such stage, which drops it at its end.
    CascadeTable("candidates", f"{DOCUMENT}, position INTEGER, lines_sum UBIGINT", CASCADE, "distil"),
    # Scratch tables of one module, which has their full DDL: strata, for one, have a column for each of the recipe.
    CascadeTable("judgeable", f"{DOCUMENT}, perplexity FLOAT, class INTEGER", BANDS),
    CascadeTable("strata", "depth INTEGER, documents BIGINT, low DOUBLE, high DOUBLE", BANDS),
    CascadeTable("ranked", f"{DOCUMENT}, rank BIGINT", NEAR),
    CascadeTable("shingled", "rank BIGINT, shingles UBIGINT[]", NEAR),
    CascadeTable("unshingled", f"{DOCUMENT}, rank BIGINT", NEAR),
    CascadeTable("lines", f"{DOCUMENT}, domain VARCHAR, line UBIGINT", LINES),
    CascadeTable("mined", "file_no INTEGER, position INTEGER, row BIGINT, key UBIGINT, score FLOAT", MINING),
    CascadeTable(
        "without_passages",
        f"{DOCUMENT}, passages_sum UBIGINT, left_bytes BIGINT, left_tokens BIGINT, passage_reason VARCHAR",
        CUTTING,
    ),
    CascadeTable(
        "passage_bounds",
        "depth INTEGER, documents BIGINT, bound FLOAT, drop_low DOUBLE, drop_high DOUBLE",
        CUTTING,
    ),
    CascadeTable("bounds", "depth INTEGER, documents BIGINT, bound FLOAT, drop_low DOUBLE, drop_high DOUBLE", BOUNDS),
)
_COLUMNS = {table.name: table.columns for table in TABLES}


def create(name: str, connection: duckdb.DuckDBPyConnection, further: Mapping[str, str] | None = None) -> None:
    """Create an empty table of TABLES, with `further` columns (SQL types by name) where a recipe asks for some."""
    columns = ", ".join([_COLUMNS[name], *(f"{column} {kind}" for column, kind in (further or {}).items())])
    connection.execute(f"CREATE TEMP TABLE {name} ({columns})")


def drop(name: str, connection: duckdb.DuckDBPyConnection) -> None:
    """Drop a table of the cascade, and its view."""
    connection.execute(f"DROP VIEW IF EXISTS here_{name}; DROP TABLE IF EXISTS {name}")


def drop_after(stage: str, connection: duckdb.DuckDBPyConnection) -> None:
    """Drop the tables of the cascade that no later stage reads."""
    for table in TABLES:
        if (table.owner, table.until) == (CASCADE, stage):
            drop(table.name, connection)


def narrow_survivors(stage: str, connection: duckdb.DuckDBPyConnection) -> None:
    """Narrow the view `survivors` to the documents that no stage up to this one drops."""
    restrict_views(survivor_tables(stage), "true", connection)
    connection.execute(f"CREATE OR REPLACE TEMP VIEW survivors AS {survivors_sql(stage)}")


def survivors_sql(stage: str) -> str:
    """The documents of `passing` that no stage up to this one drops, with what was found of those that are not dropped.

    Documents of earlier runs are among them until near duplicates are known.
    """
    if stage == "rules":
        return "FROM here_passing"
    if stage == "exact":  # `duplicates` is filled once near duplicates are known as well
        return "FROM here_passing ANTI JOIN exact USING (file_no, row)"
    applied = [entry for entry in _up_to(stage) if entry.findings != "judged"]
    joins = "".join(
        f"\n    {'ANTI' if table in DROPS_ALL else 'LEFT'} JOIN here_{table} USING (file_no, row)"
        for table in dict.fromkeys(entry.findings for entry in applied)
    )
    drops = [entry.drops for entry in applied if entry.findings not in DROPS_ALL]
    return f"FROM here_passing{joins}\nWHERE file_no >= 0{''.join(f' AND NOT coalesce({sql}, false)' for sql in drops)}"


def survivor_tables(stage: str) -> list[str]:
    """The tables that `survivors_sql` of a stage reads through their views `here_<table>`."""
    findings = [entry.findings for entry in _up_to(stage)] if stage != "exact" else []
    return ["passing", *(table for table in dict.fromkeys(findings) if table != "judged")]


def _up_to(stage: str) -> tuple[Stage, ...]:
    return STAGES[: [entry.name for entry in STAGES].index(stage) + 1]

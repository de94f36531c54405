"""What is counted of decided documents, for the index, the manifest and the closing table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import duckdb

from curate.decide.plan import Plan
from curate.decide.readings import Reading, count_readings
from curate.decide.scorecard import scorecard
from curate.filters.contamination.benchmarks import Benchmark
from curate.ledger.augmented import Augmented
from curate.ledger.ledger import Ledger
from curate.ledger.names import AUGMENT, DECISIONS, OVERLAPS, RUNGS, STAGES
from curate.sql import read_parquet, rows_of

DRIFTED = 5  # signals at most
LANGUAGE = "language"  # the signal group and its signal
STABLE = 0.1  # a stability index up to which nothing is said to have moved

UNITS = ("documents", "tokens", "bytes")  # that a stage is counted in

Rows = Sequence[Mapping[str, Any]]


CUT = {  # what stages cut out of a document that stays: tokens and bytes
    "lines": ("n_tokens_cut - n_passage_tokens_cut", "n_bytes_cut - n_passage_bytes_cut"),
    "purify": ("n_passage_tokens_cut", "n_passage_bytes_cut"),
}


@dataclass(frozen=True)
class Counts:
    """Documents, tokens and bytes by stage and reason, hits of evaluation sets, and the scorecard of signals."""

    stages: Rows = ()
    benchmarks: Rows = ()
    scorecard: Rows = field(default=(), repr=False)
    kept: Mapping[int, tuple[int, int]] = field(default_factory=dict)  # documents and tokens by file_no
    readings: Sequence[Reading] = ()  # of what is kept
    mixture: Mapping[str, Rows] = field(default_factory=dict)  # of what is kept, by language and domain


def count(plan: Plan, ledger: Ledger, connection: duckdb.DuckDBPyConnection) -> Counts:
    """Count the decisions in force."""
    decisions = read_parquet(ledger.run / part.path for part in ledger.of(DECISIONS))
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE decisions AS SELECT kept, stage, reason, n_bytes, n_bytes_cut, n_tokens, "
        f"n_tokens_cut, n_passage_tokens_cut, n_passage_bytes_cut, rung, weight, file_no, row, domain FROM {decisions}"
    )
    return Counts(
        count_stages(connection),
        count_hits(plan.benchmarks, ledger, plan.groups, connection),
        scorecard(ledger, plan.groups, connection),
        _kept_by_file(connection),
        count_readings(connection),
        _mixture(plan, ledger, connection),
    )


def _kept_by_file(connection: duckdb.DuckDBPyConnection) -> dict[int, tuple[int, int]]:
    rows = connection.execute(
        "SELECT file_no, count(*), sum(n_tokens)::BIGINT FROM decisions WHERE kept GROUP BY file_no"
    ).fetchall()
    return {file_no: (documents, tokens) for file_no, documents, tokens in rows}


def _mixture(plan: Plan, ledger: Ledger, connection: duckdb.DuckDBPyConnection) -> dict[str, Rows]:
    """What is kept by language and by domain of the reference, where either is known; most tokens first."""
    sources = {}
    if LANGUAGE in plan.groups:
        parts = read_parquet(ledger.run / part.path for part in ledger.of(LANGUAGE, plan.groups[LANGUAGE]))
        sources["language"] = f"decisions JOIN {parts} USING (file_no, row)"
    if ledger.of(RUNGS):
        sources["domain"] = "decisions"
    return {
        name: rows_of(
            f"SELECT {name}::VARCHAR AS value, count(*) AS documents, sum(n_tokens)::BIGINT AS tokens FROM {source} "
            "WHERE kept GROUP BY 1 ORDER BY 3 DESC, 1 NULLS LAST",
            connection,
        )
        for name, source in sources.items()
    }


def count_stages(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Documents, tokens and bytes in and out of each stage and dropped by reason, from table `decisions`.

    Stages `lines` and `purify` also cut text from documents that they keep.
    """
    dropped: dict[str, dict[str, dict[str, int]]] = {stage: {} for stage in STAGES}
    [total] = rows_of(
        """SELECT count(*) AS documents, coalesce(sum(n_tokens + n_tokens_cut), 0)::BIGINT AS tokens,
            coalesce(sum(n_bytes + n_bytes_cut), 0)::BIGINT AS bytes FROM decisions""",
        connection,
    )
    cut = {stage: _cut(*amounts, connection) for stage, amounts in CUT.items()}
    for row in rows_of(
        """SELECT stage, reason, count(*) AS documents, sum(n_tokens)::BIGINT AS tokens,
            coalesce(sum(n_bytes), 0)::BIGINT AS bytes
        FROM decisions WHERE NOT kept GROUP BY ALL ORDER BY documents DESC, reason""",
        connection,
    ):
        dropped[row["stage"]][row["reason"]] = {unit: row[unit] for unit in UNITS}
    counts, left = [], total
    for stage in STAGES:
        gone = [*dropped[stage].values()]
        entry: dict[str, Any] = {"stage": stage} | {f"{unit}_in": left[unit] for unit in UNITS}
        if stage in cut and cut[stage]["documents"]:
            entry["cut"] = cut[stage]
            gone.append(cut[stage] | {"documents": 0})
        left = {unit: left[unit] - sum(amount[unit] for amount in gone) for unit in UNITS}
        counts.append(entry | {f"{unit}_out": left[unit] for unit in UNITS} | {"dropped": dropped[stage]})
    return counts


def _cut(tokens: str, n_bytes: str, connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """The documents that lost text, and how much, by the SQL of what each lost."""
    [row] = rows_of(
        f"""SELECT count_if({tokens} > 0) AS documents, coalesce(sum({tokens}), 0)::BIGINT AS tokens,
            coalesce(sum({n_bytes}), 0)::BIGINT AS bytes FROM decisions""",
        connection,
    )
    return {unit: row[unit] for unit in UNITS}


def with_written(counts: Counts, written: Augmented | None) -> Counts:
    """The counts with a last stage that adds the accepted written documents."""
    if written is None:
        return counts
    last, accepted = counts.stages[-1], {unit: written.facts["accepted"][unit] for unit in UNITS}
    stage = {
        "stage": AUGMENT,
        **{f"{unit}_in": last[f"{unit}_out"] for unit in UNITS},
        **{f"{unit}_out": last[f"{unit}_out"] + accepted[unit] for unit in UNITS},
        "dropped": {},
        "written": accepted,
    }
    mixture = {name: _with(rows, written.accepted_by(name)) for name, rows in counts.mixture.items()}
    readings = [*counts.readings, Reading(None, 1.0, accepted["tokens"])]
    return replace(counts, stages=[*counts.stages, stage], mixture=mixture, readings=readings)


def _with(rows: Rows, more: Rows) -> Rows:
    """Add up rows of value, documents and tokens; most tokens first."""
    totals = {row["value"]: dict(row) for row in rows}
    for row in more:
        total = totals.setdefault(row["value"], {"value": row["value"], "documents": 0, "tokens": 0})
        total |= {unit: total[unit] + row[unit] for unit in ("documents", "tokens")}
    return sorted(totals.values(), key=lambda row: (-row["tokens"], row["value"] is None, row["value"] or ""))


SHOWN = ("p5", "p50", "p95")  # quantiles in the closing table


def _shown_moved(row: Mapping[str, Any]) -> bool:
    """Whether a quantile differs in the four digits that the closing table shows."""
    return any(f"{row[f'{name}_before']:.4g}" != f"{row[f'{name}_after']:.4g}" for name in SHOWN)


def most_drifted(scorecard: Rows) -> Rows:
    """The signals that drift most between the input and what is kept, if the figures shown differ."""
    rows = [row for row in scorecard if None not in row.values() and row["psi"] > STABLE and _shown_moved(row)]
    return sorted(rows, key=lambda row: (-row["psi"], row["signal"]))[:DRIFTED]


def count_hits(
    benchmarks: Sequence[Benchmark], ledger: Ledger, groups: Mapping[str, str], connection: duckdb.DuckDBPyConnection
) -> list[dict[str, Any]]:
    """Each benchmark with how many of its items occur, and in how many documents."""
    if not benchmarks:
        return []
    source = read_parquet(ledger.run / part.path for part in ledger.of(OVERLAPS, groups[OVERLAPS]))
    files = [file.file_no for file in ledger.files if file.error is None]
    rows = connection.execute(
        "SELECT benchmark, count(DISTINCT item), count(DISTINCT (file_no, row)) "
        f"FROM {source} WHERE list_contains(?::INTEGER[], file_no) GROUP BY benchmark",
        [files],
    ).fetchall()
    hits = {number: (items, documents) for number, items, documents in rows}
    return [
        asdict(benchmark) | dict(zip(("items_hit", "documents_hit"), hits.get(k, (0, 0)), strict=True))
        for k, benchmark in enumerate(benchmarks)
    ]

"""The difference of two verdicts on the same documents: `what-if` and `compare`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import duckdb

from curate.display import fields_of, shown
from curate.distill.budget.tables import FIXED
from curate.errors import CurateError, RunError
from curate.inspect.evidence import evidence_from, rules_by_reason
from curate.inspect.ledger_reader import TextUse
from curate.inspect.what_if import FieldChange, Proposal, field_changes, notes, redecide
from curate.ledger.augmented import Augmented, read_augmented
from curate.ledger.ledger import Ledger
from curate.ledger.names import DECISIONS, DOCUMENTS, INPUT, STAGES
from curate.ledger.run import FinishedRun, open_finished, readable
from curate.ledger.views import input_sql, load_files, load_signals
from curate.maps.documents import masked_values
from curate.recipe.recipe import Recipe
from curate.recipe.strata import strata_of_documents
from curate.sql import first_line, literal, open_database, quoted, read_parquet, rows_of
from curate.storage.files import committed
from curate.storage.mirror import by_uri
from curate.who.changes import GroupChange, group_changes
from curate.who.dimensions import Dimension, group_columns, of_columns
from curate.who.documents import GROUPS, common_dimensions

MOST_VALUES = 20  # of a column that makes strata
FORMATS = {
    ".parquet": "FORMAT parquet",
    ".csv": "FORMAT csv, HEADER",
    ".jsonl": "FORMAT json",
    ".json": "FORMAT json, ARRAY true",
}
VERDICT = ("kept", "stage", "reason", "n_bytes", "n_tokens", "n_tokens_cut", "duplicate_of", "weight")

Kind = Literal["gained", "lost"]
# SQL over table `joined`: the documents of each kind. The other verdict on them has the reason.
CONDITIONS: dict[Kind, str] = {
    "gained": "kept_after AND NOT coalesce(kept_before, false)",
    "lost": "kept_before AND NOT coalesce(kept_after, false)",
}
# The documents that both verdicts are on.
BOTH = (
    "(SELECT *, coalesce(n_tokens_before + n_tokens_cut_before, 0) AS tokens FROM joined "
    "WHERE kept_before IS NOT NULL AND kept_after IS NOT NULL)"
)
VERDICT_WITH_REASON: dict[Kind, str] = {"gained": "before", "lost": "after"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Documents, tokens and bytes kept before and after, gained and lost."""

    kept_before_documents: int
    kept_before_tokens: int
    kept_before_bytes: int
    kept_after_documents: int
    kept_after_tokens: int
    kept_after_bytes: int
    gained_documents: int
    gained_tokens: int
    gained_bytes: int
    lost_documents: int
    lost_tokens: int
    lost_bytes: int
    cut_tokens_before: int
    cut_tokens_after: int
    read_tokens_before: int  # of kept documents, each as often as its weight says
    read_tokens_after: int
    documents: int
    changed_documents: int  # whose verdicts differ


@dataclass(frozen=True, slots=True)
class ReasonChange:
    """What a reason drops before and after; gained: dropped before and kept after, lost: the reverse."""

    stage: str
    reason: str
    documents_before: int = 0
    tokens_before: int = 0
    documents_after: int = 0
    tokens_after: int = 0
    documents_gained: int = 0
    tokens_gained: int = 0
    documents_lost: int = 0
    tokens_lost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StratumChange:
    """Documents with one value of a column, or with all `others`, and what is kept of them before and after."""

    value: str | None
    others: bool
    documents: int
    documents_before: int
    tokens_before: int
    documents_after: int
    tokens_after: int
    gained: int
    lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A document that only one of the two verdicts keeps."""

    doc_id: str
    file: str
    row: int
    tokens_before: int | None
    tokens_after: int | None
    stage_before: str | None
    reason_before: str | None
    stage_after: str | None
    reason_after: str | None
    duplicate_of: str | None
    evidence: str | None = None  # what was measured, and the bound; None where the run's index has no signals

    def to_json(self) -> dict[str, object]:
        """The fields, without unknown evidence."""
        return fields_of(self, optional=("evidence",))


@dataclass(frozen=True, slots=True)
class Examples:
    """Documents gained and lost, of all reasons in turn."""

    gained: Sequence[Example]
    lost: Sequence[Example]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Two verdicts on the same documents: totals, by reason, by each column that makes strata, and examples."""

    totals: Totals
    reasons: Sequence[ReasonChange]
    strata: Mapping[str, Sequence[StratumChange]]
    who: Sequence[GroupChange]  # whose drop rates move otherwise than those of the rest, beyond chance
    examples: Examples


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """The verdicts of a run, and those by another recipe."""

    run: str
    changed: Mapping[str, FieldChange]
    texts: TextUse
    difference: Difference
    notes: Sequence[str]

    def to_json(self) -> dict[str, object]:
        """The fields, those of the difference among them."""
        settings = {"run": self.run, "changed": self.changed, "texts": self.texts}
        return settings | fields_of(self.difference) | {"notes": self.notes}


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenTotals:
    """Written documents that the output has; `domains` has their tokens by domain."""

    bytes: int = 0
    doc_ids_xxh3_128: str | None = None
    documents: int = 0
    domains: Mapping[str, int]
    tokens: int = 0

    def to_json(self) -> dict[str, object]:
        """The fields; without documents there is no hash of their ids."""
        return fields_of(self, optional=("doc_ids_xxh3_128",))


@dataclass(frozen=True, slots=True)
class WrittenChange:
    """Written documents in the output of both runs."""

    before: WrittenTotals
    after: WrittenTotals


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The verdicts of two runs."""

    runs: tuple[str, str]
    changed: Mapping[str, FieldChange]
    in_both: int  # documents
    difference: Difference
    written: WrittenChange | None  # None: neither run has a third tier

    def to_json(self) -> dict[str, object]:
        """The fields, those of the difference among them."""
        runs = {"runs": self.runs, "changed": self.changed, "in_both": self.in_both}
        return runs | fields_of(self.difference) | {"written": self.written}


@dataclass(frozen=True, slots=True)
class Grouping:
    """By what columns of table `joined` the difference is told."""

    strata: Sequence[str]
    dimensions: Sequence[Dimension]


def what_if(
    proposal: Proposal, threads: int, with_texts: bool = True, examples: int = 5, output: Path | None = None
) -> WhatIf:
    """Compare a run's verdicts with those of another recipe, decided from its ledger.

    Errors: RecipeError for a condition that fails on the data; CurateError for an output that cannot be written.
    """
    check_output(output)
    ledger = proposal.run.ledger
    with redecide(proposal, threads, with_texts) as connection:
        before = _decisions(ledger)
        names = [*proposal.strata, *group_columns(proposal.dimensions)]
        strata = "".join(f", after.{quoted(name)}" for name in names)
        connection.execute(
            f"CREATE TEMP TABLE joined AS SELECT file, row, after.doc_id{strata}, {_both('before', 'after')} "
            f"FROM {before} before JOIN after USING (file_no, row) JOIN files USING (file_no)"
        )
        _check_complete(proposal.run, connection)
        by = Grouping(list(proposal.strata), of_columns(proposal.dimensions))
        difference = _difference(by, examples, proposal.recipe.seed, output, connection)
        with_evidence = _with_evidence(difference.examples, proposal, connection)
    return WhatIf(
        run=str(ledger.run),
        changed=field_changes(proposal.run.recipe, proposal.recipe),
        texts=proposal.texts,
        difference=replace(difference, examples=with_evidence),
        notes=[
            *_epochs(proposal.recipe.train_tokens, difference.totals),
            *notes(proposal, difference.totals.kept_after_documents),
        ],
    )


def _epochs(train_tokens: float | None, totals: Totals) -> list[str]:
    """How often a training reads a token of what is kept, before and after."""
    kept = totals.kept_before_tokens, totals.kept_after_tokens
    if train_tokens is None or not all(kept):
        return []
    before, after = (shown(train_tokens / tokens, 3) for tokens in kept)
    return [f"a training on {int(train_tokens):,} tokens reads what is kept {before} → {after} times on average"]


def _check_complete(run: FinishedRun, connection: duckdb.DuckDBPyConnection) -> None:
    """Refuse a ledger that lacks measurements of decided documents: a part would be missing."""
    [[compared]] = connection.execute("SELECT count(*) FROM joined").fetchall()
    decided = sum(part.rows for part in run.ledger.of(DECISIONS))
    if compared != decided:
        raise RunError(f"{run.run}: the ledger has measurements of {compared:,} of {decided:,} documents; run again")


def _with_evidence(examples: Examples, proposal: Proposal, connection: duckdb.DuckDBPyConnection) -> Examples:
    """Each example with what was measured and the bound, where the run's index has a table of the signals."""
    if not connection.execute("FROM duckdb_databases() WHERE database_name = 'indexed'").fetchall():
        return examples
    gained = _explained(examples.gained, "gained", proposal.run.recipe, proposal.run.ledger, connection)
    return Examples(gained, _explained(examples.lost, "lost", proposal.recipe, proposal.run.ledger, connection))


def _explained(
    examples: Sequence[Example], kind: Kind, recipe: Recipe, ledger: Ledger, connection: duckdb.DuckDBPyConnection
) -> list[Example]:
    """Examples with the evidence for the recipe that drops them."""
    inputs = input_sql(ledger)
    joined = f" LEFT JOIN {inputs} USING (file_no, row)" if inputs else ""
    rows = rows_of(
        f"""SELECT * FROM indexed.signals JOIN files USING (file_no)
        SEMI JOIN (SELECT unnest(?::VARCHAR[]) AS file, unnest(?::BIGINT[]) AS row) USING (file, row){joined}""",
        connection,
        [[example.file for example in examples], [example.row for example in examples]],
    )
    signals = {(row["file"], row["row"]): row for row in rows}
    rules = rules_by_reason(recipe)
    explained = []
    for example in examples:
        row = signals[example.file, example.row]
        before = VERDICT_WITH_REASON[kind] == "before"
        stage = example.stage_before if before else example.stage_after
        reason = example.reason_before if before else example.reason_after
        verdict = {"stage": stage, "reasons": [reason], "duplicate_of": None}
        [evidence] = evidence_from(recipe, rules, row | verdict, masked_values(row.get("input") or {}))
        explained.append(replace(example, evidence=str(evidence)))
    return explained


def compare(run_a: Path, run_b: Path, examples: int = 5, output: Path | None = None) -> Comparison:
    """Compare the verdicts of two runs, document by document; documents are identified by doc_id.

    Errors: RunError for a folder without verdicts, or for runs that have no document in common.
    """
    check_output(output)
    a, b = (open_finished(run) for run in (run_a, run_b))
    with readable(run_b), readable(run_a), open_database() as connection:
        strata, strata_b = (strata_of_documents(run.recipe, run.columns.names, run.groups) for run in (a, b))
        common = {name: sql for name, sql in strata.items() if name in strata_b}
        dimensions = common_dimensions(a, b)
        common |= group_columns(dimensions)
        _load_side("a", a, common, connection)
        _load_side("b", b, common, connection)
        columns = "".join(f", coalesce(a.{quoted(name)}, b.{quoted(name)}) AS {quoted(name)}" for name in common)
        connection.execute(
            f"CREATE TEMP TABLE joined AS SELECT coalesce(b.file, a.file) AS file, coalesce(b.row, a.row) AS row, "
            f"doc_id{columns}, {_both('a', 'b')} FROM a FULL JOIN b USING (doc_id)"
        )
        [[in_both]] = connection.execute(
            "SELECT count_if(kept_before IS NOT NULL AND kept_after IS NOT NULL) FROM joined"
        ).fetchall()
        if not in_both:
            raise RunError(f"{run_a} and {run_b}: have no doc_id in common; are they of one corpus, with one input.id?")
        by = Grouping([name for name in common if name in strata], of_columns(dimensions))
        difference = _difference(by, examples, b.recipe.seed, output, connection)
    return Comparison(
        runs=(by_uri(str(run_a)), by_uri(str(run_b))),
        changed=field_changes(a.recipe, b.recipe),
        in_both=in_both,
        difference=difference,
        written=_written(a, b),
    )


def _written(a: FinishedRun, b: FinishedRun) -> WrittenChange | None:
    before, after = (read_augmented(run.run) if run.recipe.tier3 else None for run in (a, b))
    return WrittenChange(_written_totals(before), _written_totals(after)) if before or after else None


def _written_totals(augmented: Augmented | None) -> WrittenTotals:
    return WrittenTotals(domains={}) if augmented is None else WrittenTotals(**augmented.facts["accepted"])


def check_output(output: Path | None) -> None:
    """Refuse a file whose ending is not that of a format.

    Errors: CurateError.
    """
    if output is not None and output.suffix not in FORMATS:
        raise CurateError(f"--output {output}: its name ends in none of {', '.join(FORMATS)}")


def _decisions(ledger: Ledger) -> str:
    return read_parquet((ledger.run / part.path).absolute() for part in ledger.of(DECISIONS))


def _load_side(side: str, run: FinishedRun, strata: Mapping[str, str], connection: duckdb.DuckDBPyConnection) -> None:
    """Make table `a` or `b`: the verdicts of a run, with the name of each document's file and its strata."""
    groups = {group: run.groups[group] for group in (DOCUMENTS, INPUT, *GROUPS) if group in run.groups}
    load_files(connection, run.ledger)
    load_signals(connection, run.ledger, groups)
    verdict = ", ".join(f"d.{name}" for name in VERDICT)
    columns = "".join(f", {sql} AS {quoted(name)}" for name, sql in strata.items())
    connection.execute(
        f"CREATE TEMP TABLE {side} AS SELECT d.doc_id, file, row, {verdict}{columns} "
        f"FROM {_decisions(run.ledger)} d JOIN files USING (file_no) JOIN signals s USING (file_no, row)"
    )


def _both(table_before: str, table_after: str) -> str:
    """The columns of both verdicts."""
    tables = ((table_before, "before"), (table_after, "after"))
    return ", ".join(f"{table}.{name} AS {name}_{when}" for table, when in tables for name in VERDICT)


def _difference(
    by: Grouping, examples: int, seed: int, output: Path | None, connection: duckdb.DuckDBPyConnection
) -> Difference:
    """Count table `joined`, and write the documents that differ to a file if there is an output."""
    connection.execute(
        "CREATE TEMP VIEW changes AS FROM joined WHERE kept_before IS DISTINCT FROM kept_after "
        "OR stage_before IS DISTINCT FROM stage_after OR reason_before IS DISTINCT FROM reason_after "
        "OR duplicate_of_before IS DISTINCT FROM duplicate_of_after OR n_tokens_before IS DISTINCT FROM n_tokens_after"
    )
    if output is not None:
        _write_changes(output, connection)
    return Difference(
        totals=_totals(connection),
        reasons=_reasons(connection),
        strata={name: _stratum(name, connection) for name in by.strata},
        who=group_changes(connection, by.dimensions, BOTH),
        examples=Examples(
            _examples("gained", examples, seed, connection), _examples("lost", examples, seed, connection)
        ),
    )


def _totals(connection: duckdb.DuckDBPyConnection) -> Totals:
    sums = {"kept_before": ("kept_before", "before"), "kept_after": ("kept_after", "after")}
    sums |= {"gained": (CONDITIONS["gained"], "after"), "lost": (CONDITIONS["lost"], "before")}
    columns = ", ".join(
        f"count(*) FILTER ({condition}) AS {name}_documents, "
        f"coalesce(sum(n_tokens_{when}) FILTER ({condition}), 0)::BIGINT AS {name}_tokens, "
        f"coalesce(sum(n_bytes_{when}) FILTER ({condition}), 0)::BIGINT AS {name}_bytes"
        for name, (condition, when) in sums.items()
    )
    cut = ", ".join(
        f"coalesce(sum(n_tokens_cut_{when}), 0)::BIGINT AS cut_tokens_{when}" for when in ("before", "after")
    )
    read = ", ".join(
        f"((coalesce(sum(round({FIXED} * n_tokens_{when} * coalesce(weight_{when}, 1)::DOUBLE)::HUGEINT) "
        f"FILTER (kept_{when}), 0) + {FIXED // 2}) // {FIXED})::BIGINT AS read_tokens_{when}"
        for when in ("before", "after")
    )
    [row] = rows_of(f"SELECT {columns}, {cut}, {read}, count(*) AS documents FROM joined", connection)
    [[changed]] = connection.execute("SELECT count(*) FROM changes").fetchall()
    return Totals(**row, changed_documents=changed)


def _reasons(connection: duckdb.DuckDBPyConnection) -> list[ReasonChange]:
    """Every reason of both verdicts, in the order of stages, most documents first."""
    changes: dict[tuple[str, str], ReasonChange] = {}
    for when, other, moved in (("before", "after", "gained"), ("after", "before", "lost")):
        for row in rows_of(
            f"""SELECT stage_{when} AS stage, reason_{when} AS reason, count(*) AS documents_{when},
                sum(n_tokens_{when})::BIGINT AS tokens_{when}, count(*) FILTER (kept_{other}) AS documents_{moved},
                coalesce(sum(n_tokens_{other}) FILTER (kept_{other}), 0)::BIGINT AS tokens_{moved}
            FROM joined WHERE NOT kept_{when} GROUP BY ALL""",
            connection,
        ):
            key = (row["stage"], row["reason"])
            changes[key] = replace(changes.get(key, ReasonChange(*key)), **row)
    order = {stage: k for k, stage in enumerate(STAGES)}
    return sorted(changes.values(), key=lambda change: (order[change.stage], -change.documents_after, change.reason))


def _stratum(name: str, connection: duckdb.DuckDBPyConnection) -> list[StratumChange]:
    """The most frequent values of a column, and all others together."""
    kept = ", ".join(
        f"count(*) FILTER (kept_{when}) AS documents_{when}, "
        f"coalesce(sum(n_tokens_{when}) FILTER (kept_{when}), 0)::BIGINT AS tokens_{when}"
        for when in ("before", "after")
    )
    moved = ", ".join(f"count(*) FILTER ({condition}) AS {kind}" for kind, condition in CONDITIONS.items())
    rows = rows_of(
        f"""WITH common AS (
            SELECT {quoted(name)} AS value FROM joined GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {MOST_VALUES}
        )
        SELECT common.value, any_value(common.value IS NULL AND joined.{quoted(name)} IS NOT NULL) AS others,
            count(*) AS documents, {kept}, {moved}
        FROM joined LEFT JOIN common ON common.value IS NOT DISTINCT FROM joined.{quoted(name)}
        GROUP BY common.value, common.value IS NULL AND joined.{quoted(name)} IS NOT NULL
        ORDER BY others, documents DESC, 1""",
        connection,
    )
    return [StratumChange(**masked_values(row)) for row in rows]


def _examples(kind: Kind, count: int, seed: int, connection: duckdb.DuckDBPyConnection) -> list[Example]:
    """Documents of all reasons in turn, drawn by a hash of their ids."""
    when = VERDICT_WITH_REASON[kind]
    rows = rows_of(
        f"""SELECT doc_id, file, row, n_tokens_before AS tokens_before, n_tokens_after AS tokens_after,
            stage_before, reason_before, stage_after, reason_after, duplicate_of_after AS duplicate_of
        FROM (
            SELECT *, row_number() OVER (
                PARTITION BY reason_{when} ORDER BY md5({literal(str(seed))} || doc_id), doc_id
            ) AS turn FROM joined WHERE {CONDITIONS[kind]}
        ) ORDER BY turn, reason_{when}, doc_id LIMIT {count}""",
        connection,
    )
    return [Example(**row) for row in rows]


def _write_changes(output: Path, connection: duckdb.DuckDBPyConnection) -> None:
    """Write all documents whose verdicts differ to a file."""
    with committed(output) as aside:
        try:
            connection.execute(
                f"COPY (FROM changes ORDER BY file, row, doc_id) TO {literal(str(aside))} ({FORMATS[output.suffix]})"
            )
        except duckdb.IOException as error:
            raise CurateError(f"--output {output}: {first_line(error)}") from None

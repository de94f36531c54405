"""Two verdicts on the same documents, and where they differ: what `what-if` and `compare` tell."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from curate.errors import CurateError, RunError
from curate.filters.rules.resolve import resolve, resolve_editors
from curate.inspect.evidence import fired, rules_by_reason
from curate.inspect.what_if import Asked, notes, redecided
from curate.ledger.augmented import read_augmented
from curate.ledger.ledger import Ledger
from curate.ledger.names import DECISIONS, DOCUMENTS, INPUT, STAGES
from curate.ledger.run import Decided, open_decided, readable
from curate.ledger.views import input_sql, load_files, load_signals
from curate.maps.documents import masked_values
from curate.recipe.recipe import Recipe, changed_fields
from curate.recipe.strata import strata_of_documents
from curate.sql import first_line, literal, open_database, quoted, read_parquet, rows_of
from curate.storage.files import committed
from curate.storage.mirror import by_uri

MOST_VALUES = 20  # of a column that documents are told apart by
FORMATS = {
    ".parquet": "FORMAT parquet",
    ".csv": "FORMAT csv, HEADER",
    ".jsonl": "FORMAT json",
    ".json": "FORMAT json, ARRAY true",
}
NOTHING = {"documents": 0, "tokens": 0, "domains": {}}
WHEN = ("before", "after")
VERDICT = ("kept", "stage", "reason", "n_tokens", "n_tokens_cut", "duplicate_of")

Rows = list[dict[str, Any]]


def what_if(
    asked: Asked, threads: int, with_texts: bool = True, examples: int = 5, output: Path | None = None
) -> dict[str, Any]:
    """What another recipe would keep and drop of a run, from its ledger.

    Errors: RecipeError for a condition that fails on the data; CurateError for an output that cannot be written.
    """
    check_output(output)
    ledger = asked.of.ledger
    with redecided(asked, threads, with_texts) as connection:
        before = _decisions(ledger)
        strata = "".join(f", after.{quoted(name)}" for name in asked.strata)
        connection.execute(
            f"CREATE TEMP TABLE joined AS SELECT file, row, after.doc_id{strata}, {_both('before', 'after')} "
            f"FROM {before} before JOIN after USING (file_no, row) JOIN files USING (file_no)"
        )
        _check_complete(asked.of, connection)
        found = _told(list(asked.strata), examples, asked.after.seed, output, connection)
        _add_evidence(found["examples"], asked, connection)
    texts = {"read": asked.texts.read, "estimated": asked.texts.guessed, "why": asked.texts.why}
    found["notes"] = notes(asked, found["totals"]["kept_after_documents"])
    return {"run": str(ledger.run), "changed": _changed(asked.of.recipe, asked.after), "texts": texts, **found}


def _check_complete(run: Decided, connection: duckdb.DuckDBPyConnection) -> None:
    """Refuse to tell of fewer documents than were decided: a part of the ledger would be missing."""
    [[told]] = connection.execute("SELECT count(*) FROM joined").fetchall()
    decided = sum(part.rows for part in run.ledger.of(DECISIONS))
    if told != decided:
        raise RunError(f"{run.run}: the ledger has measurements of {told:,} of {decided:,} documents; run again")


def _add_evidence(examples: Mapping[str, Rows], asked: Asked, connection: duckdb.DuckDBPyConnection) -> None:
    """Add to each example what was measured against which bound, where the run's index has the signals at hand."""
    if not connection.execute("FROM duckdb_databases() WHERE database_name = 'indexed'").fetchall():
        return
    inputs = input_sql(asked.of.ledger)
    joined = f" LEFT JOIN {inputs} USING (file_no, row)" if inputs else ""
    for kind, recipe in (("gained", asked.of.recipe), ("lost", asked.after)):
        rules = rules_by_reason(recipe)
        places = [[example[name] for example in examples[kind]] for name in ("file", "row")]
        rows = rows_of(
            f"""SELECT * FROM indexed.signals JOIN files USING (file_no)
            SEMI JOIN (SELECT unnest(?::VARCHAR[]) AS file, unnest(?::BIGINT[]) AS row) USING (file, row){joined}""",
            connection,
            places,
        )
        signals = {(row["file"], row["row"]): row for row in rows}
        when = KINDS[kind][1]
        for example in examples[kind]:
            row = signals[example["file"], example["row"]]
            verdict = {"stage": example[f"stage_{when}"], "reasons": [example[f"reason_{when}"]]}
            [one] = fired(recipe, rules, row | verdict | {"duplicate_of": None}, masked_values(row.get("input") or {}))
            example["evidence"] = str(one)


def compare(run_a: Path, run_b: Path, examples: int = 5, output: Path | None = None) -> dict[str, Any]:
    """Where two runs decided otherwise, document by document; documents are known by doc_id.

    Errors: RunError for a folder without verdicts, or for runs that have no document in common.
    """
    check_output(output)
    opened = [open_decided(run) for run in (run_a, run_b)]
    recipes = [one.recipe for one in opened]
    with readable(run_b), readable(run_a), open_database() as connection:
        columns = [strata_of_documents(one.recipe, one.columns.names, one.groups) for one in opened]
        common = [name for name in columns[0] if name in columns[1]]
        for side, one in zip(("a", "b"), opened, strict=True):
            _load_side(side, one, {name: columns[0][name] for name in common}, connection)
        strata = "".join(f", coalesce(a.{quoted(name)}, b.{quoted(name)}) AS {quoted(name)}" for name in common)
        connection.execute(
            f"CREATE TEMP TABLE joined AS SELECT coalesce(b.file, a.file) AS file, coalesce(b.row, a.row) AS row, "
            f"doc_id{strata}, {_both('a', 'b')} FROM a FULL JOIN b USING (doc_id)"
        )
        [[both]] = connection.execute(
            "SELECT count_if(kept_before IS NOT NULL AND kept_after IS NOT NULL) FROM joined"
        ).fetchall()
        if not both:
            raise RunError(f"{run_a} and {run_b}: have no doc_id in common; are they of one corpus, with one input.id?")
        found = _told(common, examples, recipes[1].seed, output, connection)
    made = [read_augmented(run) if recipe.tier3 else None for run, recipe in zip((run_a, run_b), recipes, strict=True)]
    written = {when: dict(one.facts["accepted"]) if one else NOTHING for when, one in zip(WHEN, made, strict=True)}
    told = {
        "runs": [by_uri(str(run_a)), by_uri(str(run_b))],
        "changed": _changed(*recipes),
        "in_both": both,
        **found,
    }
    return told | {"written": written if any(made) else None}


def check_output(output: Path | None) -> None:
    """Refuse a file whose name does not tell its format.

    Errors: CurateError.
    """
    if output is not None and output.suffix not in FORMATS:
        raise CurateError(f"--output {output}: its name ends in none of {', '.join(FORMATS)}")


def _decisions(ledger: Ledger) -> str:
    return read_parquet((ledger.run / part.path).absolute() for part in ledger.of(DECISIONS))


def _load_side(side: str, run: Decided, strata: Mapping[str, str], connection: duckdb.DuckDBPyConnection) -> None:
    """Table `a` or `b`: the verdicts of a run, with the name of each document's file and its strata."""
    groups = {group: run.groups[group] for group in (DOCUMENTS, "words", "language", INPUT) if group in run.groups}
    load_files(connection, run.ledger)
    load_signals(connection, run.ledger, groups)
    verdict = ", ".join(f"d.{name}" for name in VERDICT)
    columns = "".join(f", {sql} AS {quoted(name)}" for name, sql in strata.items())
    connection.execute(
        f"CREATE TEMP TABLE {side} AS SELECT d.doc_id, file, row, {verdict}{columns} "
        f"FROM {_decisions(run.ledger)} d JOIN files USING (file_no) JOIN signals s USING (file_no, row)"
    )


def _both(before: str, after: str) -> str:
    """The columns of both verdicts."""
    return ", ".join(
        f"{side}.{name} AS {name}_{when}" for side, when in ((before, "before"), (after, "after")) for name in VERDICT
    )


def _told(
    strata: Sequence[str], examples: int, seed: int, output: Path | None, connection: duckdb.DuckDBPyConnection
) -> dict[str, Any]:
    """What table `joined` tells, and the documents that differ in a file where one is wanted."""
    connection.execute(
        "CREATE TEMP VIEW changes AS FROM joined WHERE kept_before IS DISTINCT FROM kept_after "
        "OR stage_before IS DISTINCT FROM stage_after OR reason_before IS DISTINCT FROM reason_after "
        "OR duplicate_of_before IS DISTINCT FROM duplicate_of_after OR n_tokens_before IS DISTINCT FROM n_tokens_after"
    )
    if output is not None:
        _write_changes(output, connection)
    return {
        "totals": _totals(connection),
        "reasons": _reasons(connection),
        "strata": {name: _stratum(name, connection) for name in strata},
        "examples": {kind: _examples(kind, examples, seed, connection) for kind in KINDS},
    }


# What became of a document, as SQL over table `joined`, and the verdict whose reason tells why.
KINDS = {
    "gained": ("kept_after AND NOT coalesce(kept_before, false)", "before"),
    "lost": ("kept_before AND NOT coalesce(kept_after, false)", "after"),
}


def _totals(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Documents and tokens kept before and after, gained and lost."""
    sums = {f"kept_{when}": (f"kept_{when}", when) for when in ("before", "after")}
    sums |= {kind: (condition, "after" if kind == "gained" else "before") for kind, (condition, _) in KINDS.items()}
    columns = ", ".join(
        f"count(*) FILTER ({condition}) AS {name}_documents, "
        f"coalesce(sum(n_tokens_{when}) FILTER ({condition}), 0)::BIGINT AS {name}_tokens"
        for name, (condition, when) in sums.items()
    )
    cut = ", ".join(
        f"coalesce(sum(n_tokens_cut_{when}), 0)::BIGINT AS cut_tokens_{when}" for when in ("before", "after")
    )
    [row] = rows_of(f"SELECT {columns}, {cut}, count(*) AS documents FROM joined", connection)
    [[changed]] = connection.execute("SELECT count(*) FROM changes").fetchall()
    return row | {"changed_documents": changed}


def _reasons(connection: duckdb.DuckDBPyConnection) -> Rows:
    """What each reason dropped before and drops after, what of it is kept now, and what it takes that was kept."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for when, other, moved in (("before", "after", "gained"), ("after", "before", "lost")):
        for row in rows_of(
            f"""SELECT stage_{when} AS stage, reason_{when} AS reason, count(*) AS documents_{when},
                sum(n_tokens_{when})::BIGINT AS tokens_{when}, count(*) FILTER (kept_{other}) AS documents_{moved},
                coalesce(sum(n_tokens_{other}) FILTER (kept_{other}), 0)::BIGINT AS tokens_{moved}
            FROM joined WHERE NOT kept_{when} GROUP BY ALL""",
            connection,
        ):
            found.setdefault((row["stage"], row["reason"]), dict(NO_REASON)).update(row)
    order = {stage: k for k, stage in enumerate(STAGES)}
    return sorted(found.values(), key=lambda row: (order[row["stage"]], -row["documents_after"], row["reason"]))


NO_REASON = {"stage": "", "reason": ""} | {
    f"{what}_{when}": 0 for when in ("before", "after", "gained", "lost") for what in ("documents", "tokens")
}


def _stratum(name: str, connection: duckdb.DuckDBPyConnection) -> Rows:
    """For the commonest values of a column, and all others together: documents, and what is kept of them."""
    kept = ", ".join(
        f"count(*) FILTER (kept_{when}) AS documents_{when}, "
        f"coalesce(sum(n_tokens_{when}) FILTER (kept_{when}), 0)::BIGINT AS tokens_{when}"
        for when in ("before", "after")
    )
    moved = ", ".join(f"count(*) FILTER ({condition}) AS {kind}" for kind, (condition, _) in KINDS.items())
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
    return [masked_values(row) for row in rows]


def _examples(kind: str, count: int, seed: int, connection: duckdb.DuckDBPyConnection) -> Rows:
    """Some documents, of all reasons in turn, drawn by their names."""
    condition, when = KINDS[kind]
    return rows_of(
        f"""SELECT doc_id, file, row, n_tokens_before AS tokens_before, n_tokens_after AS tokens_after,
            stage_before, reason_before, stage_after, reason_after, duplicate_of_after AS duplicate_of
        FROM (
            SELECT *, row_number() OVER (
                PARTITION BY reason_{when} ORDER BY md5({literal(str(seed))} || doc_id), doc_id
            ) AS turn FROM joined WHERE {condition}
        ) ORDER BY turn, reason_{when}, doc_id LIMIT {count}""",
        connection,
    )


def _write_changes(output: Path, connection: duckdb.DuckDBPyConnection) -> None:
    """All documents whose verdict differs, in a file."""
    with committed(output) as aside:
        try:
            connection.execute(
                f"COPY (FROM changes ORDER BY file, row, doc_id) TO {literal(str(aside))} ({FORMATS[output.suffix]})"
            )
        except duckdb.IOException as error:
            raise CurateError(f"--output {output}: {first_line(error)}") from None


def _changed(before: Recipe, after: Recipe) -> dict[str, dict[str, Any]]:
    """The fields that differ, with both values; a threshold that a recipe does not set is that of the rule."""
    found = {}
    for name, values in changed_fields(before, after).items():
        section, _, reason = name.rpartition(".")
        if section == "tier1.thresholds":
            values = (_bound(before, reason), _bound(after, reason))
        if values[0] != values[1]:
            found[name] = dict(zip(("before", "after"), values, strict=True))
    return found


def _bound(recipe: Recipe, reason: str) -> object:
    """The bound that holds for a reason, or `off`."""
    bounds: dict[str, object] = {}
    for editor in resolve_editors(recipe.tier1):
        bounds |= dict(editor.bounds)
    for found in resolve(recipe.tier1):
        bounds[found.reason] = found.rule.min if found.rule.min is not None else found.rule.max
    return "off" if bounds.get(reason) is None else bounds[reason]

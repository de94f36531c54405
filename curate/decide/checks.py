"""Checks of the ledger before documents are decided: ids are unique, and signals of rules were measured."""

from collections.abc import Mapping, Sequence

import duckdb

from curate.display import place
from curate.errors import InputError, RecipeError, shortened
from curate.filters import registry
from curate.filters.rules.resolve import ResolvedRule
from curate.ledger.ledger import Ledger
from curate.sql import quoted, read_parquet


def check_ids(column: str, connection: duckdb.DuckDBPyConnection) -> None:
    """Refuse ids that are null or that two documents share."""
    row = connection.execute(
        "SELECT file, row FROM texts JOIN files USING (file_no) WHERE id IS NULL ORDER BY position, row LIMIT 1"
    ).fetchone()
    if row:
        raise InputError(f"{place(*row)}: column {column!r} (input.id) is null; give it a value, or leave input.id out")
    row = connection.execute(
        """SELECT id, count(*), min({'position': position, 'row': row, 'file': file}),
            max({'position': position, 'row': row, 'file': file})
        FROM texts JOIN files USING (file_no) WHERE id IN (SELECT id FROM texts GROUP BY id HAVING count(*) > 1)
        GROUP BY id ORDER BY min((position, row)) LIMIT 1"""
    ).fetchone()
    if row:
        doc_id, times, first, last = row
        raise InputError(
            f"{place(last['file'], last['row'])}: id {shortened(doc_id)!r} occurs {times} times, first in "
            f"{place(first['file'], first['row'])}; ids must differ: make them unique, or leave input.id out"
        )


def check_measured(
    rules: Sequence[ResolvedRule], ledger: Ledger, groups: Mapping[str, str], connection: duckdb.DuckDBPyConnection
) -> None:
    """Refuse a rule whose signal is null for every readable document: it could never drop anything.

    Errors: RecipeError naming the rule.
    """
    named = {
        rule.rule.signal: rule.reason
        for rule in rules
        if rule.rule.signal is not None and rule.rule.signal not in registry.DERIVED
    }
    readable = ", ".join(str(file.file_no) for file in ledger.files if file.error is None)
    measured: dict[str, int] = {}
    for group in groups:
        names = {name for signal in registry.groups().get(group, []) for name in signal.writes}
        if columns := sorted(names & ({*named, "n_words"})):
            counts = ", ".join(
                f"count({quoted(name)})" if name != "n_words" else "count_if(n_words > 0)" for name in columns
            )
            source = read_parquet(ledger.run / part.path for part in ledger.of(group, groups[group]))
            row = connection.execute(f"SELECT {counts} FROM {source} WHERE file_no IN ({readable})").fetchone()
            assert row is not None
            measured |= dict(zip(columns, row, strict=True))
    for name, reason in named.items():
        if measured["n_words"] and not measured[name]:
            raise RecipeError(
                f"rule {reason}: signal {name!r} is null for all {measured['n_words']} documents; remove the rule"
            )

"""What a run has of each domain of its recipe, and what came of what was written for it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from curate.errors import RunError
from curate.ledger.run import connect
from curate.sql import rows_of

WRITTEN_SQL = """
    SELECT domain, form, count(*) AS candidates, count_if(accepted) AS accepted,
        coalesce(sum(n_tokens) FILTER (accepted), 0)::BIGINT AS tokens
    FROM synthetic GROUP BY ALL ORDER BY domain, form"""
GATES_SQL = """
    SELECT coalesce(reason, 'accepted') AS reason, count(*) AS candidates
    FROM synthetic GROUP BY ALL ORDER BY 2 DESC, 1"""

Row = Mapping[str, Any]


def domains_of(run: Path) -> dict[str, list[dict[str, Any]]]:
    """Table `domains` of a run; of what was written how much was accepted, by domain and form; and what gates dropped.

    Errors: RunError where its recipe names no domains.
    """
    with connect(run) as connection:
        try:
            return tables_of(connection)
        except duckdb.CatalogException:
            raise RunError(f"{run}: names no domains; add tier3.domains to its recipe, and run it again") from None


def tables_of(connection: duckdb.DuckDBPyConnection) -> dict[str, list[dict[str, Any]]]:
    """The same from an open run."""
    written = rows_of(WRITTEN_SQL, connection)
    return {
        "domains": _with_written(rows_of("FROM domains", connection), written),
        "written": written,
        "gates": rows_of(GATES_SQL, connection),
    }


def _with_written(domains: Sequence[Row], written: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows of domains with the tokens that were written of each, and those that are wanting still."""
    tokens: dict[str, int] = {}
    for row in written:
        tokens[row["domain"]] = tokens.get(row["domain"], 0) + row["tokens"]
    return [
        {**row, "written": tokens.get(row["domain"], 0),
         "wanting_still": max(0, row["wanting"] - tokens.get(row["domain"], 0))}
        for row in domains
    ]  # fmt: skip

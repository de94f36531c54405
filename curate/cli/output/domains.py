"""What `curate domains` prints, and what the report shows of domains."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
from rich import box
from rich.table import Table

from curate.cli.output.tables import connect, console
from curate.display import counted
from curate.errors import RunError
from curate.sql import rows_of

Row = Mapping[str, Any]

WRITTEN_SQL = """
    SELECT domain, form, count(*) AS candidates, count_if(accepted) AS accepted,
        coalesce(sum(n_tokens) FILTER (accepted), 0)::BIGINT AS tokens
    FROM synthetic GROUP BY ALL ORDER BY domain, form"""
GATES_SQL = """
    SELECT coalesce(reason, 'accepted') AS reason, count(*) AS candidates
    FROM synthetic GROUP BY ALL ORDER BY 2 DESC, 1"""


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


def print_domains(found: Mapping[str, Sequence[Row]]) -> None:
    """The tables, and in words what is wanting still."""
    console().print(_domains(found["domains"]))
    if found["written"]:
        console().print(_written(found["written"]))
        asked = sum(row["candidates"] for row in found["gates"])
        told = ", ".join(f"{row['reason']} {row['candidates']:,}" for row in found["gates"])
        console().print(f"of {counted(asked, 'candidate')}: {told}", highlight=False, soft_wrap=True)
    for row in found["domains"]:
        if row["wanting_still"]:
            line = f"{row['domain']}: {row['wanting_still']:,} tokens are wanting still"
            console().print(line, highlight=False, soft_wrap=True)


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


def _domains(rows: Sequence[Row]) -> Table:
    names = ("seeds", "documents", "tokens", "share", "mean importance", "distance", "target", "wanting", "written")
    table = _table("domain", *names)
    for row in rows:
        table.add_row(
            row["domain"], f"{row['seeds']:,}", f"{row['documents']:,}", f"{row['tokens']:,}",
            f"{row['share']:.2%}", f"{row['mean_importance']:.2f}", f"{row['distance']:.2f}",
            f"{row['target_tokens']:,}", f"{row['wanting']:,}", f"{row['written']:,}",
        )  # fmt: skip
    return table


def _written(rows: Sequence[Row]) -> Table:
    table = _table("domain", "form", "candidates", "accepted", "tokens")
    for row in rows:
        counts = (f"{row[name]:,}" for name in ("candidates", "accepted", "tokens"))
        table.add_row(row["domain"], row["form"], *counts)
    return table


def _table(first: str, *names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first)
    for name in names:
        table.add_column(name, justify="left" if name == "form" else "right", no_wrap=True)
    return table

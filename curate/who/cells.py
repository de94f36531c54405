"""Counts of documents and tokens by group, stratum and stage: one narrow table, then one GROUP BY per dimension."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from curate.ledger.names import STAGES
from curate.sql import quoted
from curate.who.dimensions import LENGTH, SOURCE, TIMES, Dimension

TABLE = "who_documents"  # a row per document: stage and reason of the drop, tokens in and out, dimensions
LEAST = 20  # documents of a group that is shown
MOST_SOURCES = 100  # strata of their own; all other sources are one
KEPT = len(STAGES)  # the place of kept documents behind the stages
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cells:
    """Counts of one dimension: of each group, and of all documents that are compared."""

    dimension: Dimension
    groups: Sequence[str | None]
    within: Sequence[str]  # what strata are made of
    documents: Counts  # [group, stratum, stage]; the last group is all documents, the last stage is kept
    tokens: Counts  # [group, stage]
    more: int  # groups that are not listed

    @property
    def rest(self) -> Counts:
        """Documents that are not of each group, as `documents` without the last."""
        rest: Counts = self.documents[-1] - self.documents[:-1]
        return rest


def create_table(
    connection: duckdb.DuckDBPyConnection, dimensions: Sequence[Dimension], source: str, verdict: str = "d"
) -> None:
    """Create the narrow table from documents, SQL that has the dimensions and, in `verdict`, the decisions."""
    rows = rows_sql(dimensions, source, verdict)
    connection.execute(f"DROP TABLE IF EXISTS who_sources; CREATE OR REPLACE TEMP TABLE {TABLE} AS {rows}")


def rows_sql(dimensions: Sequence[Dimension], source: str, verdict: str = "d") -> str:
    """The rows of the narrow table."""
    columns = "".join(f", {dimension.sql} AS {quoted(dimension.name)}" for dimension in dimensions)
    return (
        f"SELECT {verdict}.stage, {verdict}.reason, ({verdict}.n_tokens + {verdict}.n_tokens_cut)::BIGINT AS tokens, "
        f"if({verdict}.kept, {verdict}.n_tokens, 0)::BIGINT AS tokens_out{columns} FROM {source}"
    )


def add_columns(connection: duckdb.DuckDBPyConnection, dimensions: Sequence[Dimension]) -> None:
    """Add dimensions, with SQL over the narrow table, to it."""
    if dimensions:
        columns = "".join(f", {dimension.sql} AS {quoted(dimension.name)}" for dimension in dimensions)
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {TABLE} AS SELECT *{columns} FROM {TABLE}")


def strata_of(dimension: Dimension, columns: Sequence[str]) -> list[str]:
    """What a dimension's groups are compared within: source and length, as far as they are neither missing nor it."""
    parts = dimension.name.split(TIMES)
    return [name for name in (SOURCE, LENGTH) if name in columns and name not in parts]


def count_cells(connection: duckdb.DuckDBPyConnection, dimension: Dimension, columns: Sequence[str]) -> Cells:
    """Count a dimension's largest groups; `columns` are the names of all dimensions of the table."""
    within = strata_of(dimension, columns)
    groups, more = _largest(connection, dimension)
    _create_sources(connection, within)
    of_groups = connection.execute(_cells_sql(dimension, within)).fetchall()
    several = connection.execute(_totals_sql(within)).fetchall() if dimension.several else of_groups
    strata = {key: k for k, key in enumerate(sorted({row[1:3] for row in [*of_groups, *several]}, key=str))}
    documents = np.zeros((len(groups) + 1, max(1, len(strata)), KEPT + 1), np.int64)
    tokens = np.zeros((len(groups) + 1, KEPT + 1), np.int64)
    for last, rows in ((False, of_groups), (True, several)):
        for k, source, length, stage, count, size in rows:
            place = KEPT if stage is None else STAGES.index(stage)
            if last or k is not None:
                documents[-1 if last else k, strata[source, length], place] += count
                tokens[-1 if last else k, place] += size
    return Cells(dimension, groups, within, documents, tokens, more)


def named_sql(dimension: Dimension, table: str = TABLE) -> str:
    """Documents of a table with the `name` of each of their groups."""
    name = dimension.folded or quoted(dimension.name)
    named = f"unnest({name})" if dimension.several else name
    known = f" WHERE {name} IS NOT NULL" if dimension.known and not dimension.several else ""
    return f"(SELECT *, {named} AS name FROM {table}{known})"


def _largest(connection: duckdb.DuckDBPyConnection, dimension: Dimension) -> tuple[list[str | None], int]:
    """The largest groups in order, in table `who_groups` too; and how many others there are."""
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE who_groups AS
        SELECT (row_number() OVER (ORDER BY documents DESC, name NULLS LAST) - 1)::INTEGER AS k, name, documents
        FROM (SELECT name, count(*) AS documents FROM {named_sql(dimension)} GROUP BY name)
        QUALIFY documents >= {LEAST} AND k < {dimension.most}"""
    )
    groups = [name for (name,) in connection.execute("SELECT name FROM who_groups ORDER BY k").fetchall()]
    [[distinct]] = connection.execute(
        f"SELECT count(*) FROM (SELECT DISTINCT name FROM {named_sql(dimension)})"
    ).fetchall()
    return groups, distinct - len(groups)


def _create_sources(connection: duckdb.DuckDBPyConnection, within: Sequence[str]) -> None:
    """Create table `who_sources`: those that make strata of their own."""
    if SOURCE in within:
        connection.execute(
            f"""CREATE TEMP TABLE IF NOT EXISTS who_sources AS SELECT {quoted(SOURCE)} AS source FROM {TABLE}
            WHERE {quoted(SOURCE)} IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {MOST_SOURCES}"""
        )


def _strata_sql(within: Sequence[str]) -> tuple[str, str]:
    """SQL of source and length of a stratum, and the join that they need."""
    source = "who_sources.source" if SOURCE in within else "NULL::VARCHAR"
    length = quoted(LENGTH) if LENGTH in within else "NULL::VARCHAR"
    join = f" LEFT JOIN who_sources ON who_sources.source = n.{quoted(SOURCE)}" if SOURCE in within else ""
    return f"{source} AS source, {length} AS length", join


def _cells_sql(dimension: Dimension, within: Sequence[str]) -> str:
    strata, join = _strata_sql(within)
    return (
        f"SELECT k, {strata}, stage, count(*), sum(tokens)::BIGINT FROM {named_sql(dimension)} n "
        f"LEFT JOIN who_groups ON who_groups.name IS NOT DISTINCT FROM n.name{join} GROUP BY ALL"
    )


def _totals_sql(within: Sequence[str]) -> str:
    strata, join = _strata_sql(within)
    return f"SELECT NULL, {strata}, stage, count(*), sum(tokens)::BIGINT FROM {TABLE} n{join} GROUP BY ALL"


def main_reasons(connection: duckdb.DuckDBPyConnection, dimension: Dimension) -> Mapping[str | None, tuple[str, int]]:
    """For each group, the reason that drops most of it, and how many documents."""
    rows: list[tuple[Any, ...]] = connection.execute(
        f"""SELECT name, arg_max(reason, (documents, reason)), max(documents) FROM (
            SELECT name, reason, count(*) AS documents FROM {named_sql(dimension)} WHERE stage IS NOT NULL GROUP BY ALL
        ) GROUP BY name"""
    ).fetchall()
    return {name: (reason, documents) for name, reason, documents in rows}

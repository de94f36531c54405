"""Groups whose drop rate another verdict on the same documents moves otherwise than that of the rest."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import duckdb

from curate.maps.documents import masked_values
from curate.sql import rows_of
from curate.who.cells import LEAST, named_sql
from curate.who.dimensions import Dimension
from curate.who.rates import LEVEL
from curate.who.statistics import Moves, difference_of_changes, holm, p_of_changes


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupChange:
    """The shares of a group and of the rest that are dropped before and after; p is corrected for all groups."""

    dimension: str
    value: str | None
    documents: int
    tokens: int
    gained: int
    lost: int
    share_before: float
    share_after: float
    rest_before: float
    rest_after: float
    difference: float  # of the change of the group less that of the rest
    low: float
    high: float
    p: float


def group_changes(
    connection: duckdb.DuckDBPyConnection, dimensions: Sequence[Dimension], table: str
) -> list[GroupChange]:
    """The groups that move beyond chance, those that differ most first.

    `table` has a row per document that both verdicts are on: kept_before, kept_after, tokens, and the dimensions.
    """
    changes = [change for dimension in dimensions for change in _changes_of(connection, dimension, table)]
    corrected = holm([change.p for change in changes])
    moved = [replace(change, p=p) for change, p in zip(changes, corrected, strict=True) if p is not None and p < LEVEL]
    return sorted(moved, key=lambda change: (-abs(change.difference), change.dimension, str(change.value)))


def _changes_of(connection: duckdb.DuckDBPyConnection, dimension: Dimension, table: str) -> list[GroupChange]:
    counts = (
        "count(*) AS documents, sum(tokens)::BIGINT AS tokens, count_if(NOT kept_before) AS before, "
        "count_if(NOT kept_before AND kept_after) AS gained, count_if(kept_before AND NOT kept_after) AS lost"
    )
    named = named_sql(dimension, table)
    rows = rows_of(
        f"SELECT name, {counts} FROM {named} GROUP BY name HAVING documents >= {LEAST} "
        f"ORDER BY documents DESC, name NULLS LAST LIMIT {dimension.most}",
        connection,
    )
    [total] = rows_of(f"SELECT {counts} FROM {table if dimension.several else named}", connection)
    changes = []
    for row in rows:
        group = Moves(row["documents"], row["gained"], row["lost"])
        rest = Moves(*(total[name] - row[name] for name in ("documents", "gained", "lost")))
        p = p_of_changes(group, rest) if rest.documents >= LEAST else None
        if p is None:
            continue
        moved = difference_of_changes(group, rest)
        share, rest_share = row["before"] / group.documents, (total["before"] - row["before"]) / rest.documents
        changes.append(
            GroupChange(
                dimension=dimension.name,
                value=masked_values({"": row["name"]})[""],
                documents=group.documents,
                tokens=row["tokens"],
                gained=group.gained,
                lost=group.lost,
                share_before=share,
                share_after=share + group.change,
                rest_before=rest_share,
                rest_after=rest_share + rest.change,
                difference=moved.value,
                low=moved.low,
                high=moved.high,
                p=p,
            )
        )
    return changes

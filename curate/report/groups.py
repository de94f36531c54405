"""Groups of documents: section "Who is dropped" as forest plots, and section "Strata"."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from curate.inspect.documents import OpenRun
from curate.maps.documents import masked_values
from curate.report.charts import Placed, axis, percent
from curate.sql import quoted
from curate.who.cells import TABLE
from curate.who.dimensions import LANGUAGE, LENGTH, Dimension
from curate.who.rates import ALL, OtherGroups, Rate, Who, who

MOST_STRATA = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class DropRates:
    """The groups of one dimension: all stages together, then stage by stage, with places in percent."""

    title: str
    within: str  # what strata are made of; empty: none
    groups: Sequence[Placed[Rate]]
    other: OtherGroups | None
    stages: Sequence[Placed[Rate]]
    ends: tuple[float, float]  # of the axis of differences


@dataclass(frozen=True, slots=True)
class Dropped:
    """Section "Who is dropped"."""

    overall: float
    comparisons: int
    dimensions: Sequence[DropRates]


def dropped_section(connection: duckdb.DuckDBPyConnection, dimensions: Mapping[str, Dimension]) -> Dropped:
    """The drop rates by each dimension that has a group of some size."""
    result: Who = who(connection, list(dimensions.values()), list(dimensions))
    shown = []
    for rates in result.dimensions:
        if not rates.rates:
            continue
        low, high = _axis_of(rates.rates)
        placed = [Placed(rate, _places(rate, low, high)) for rate in rates.rates]
        shown.append(
            DropRates(
                title=rates.name,
                within=" × ".join(rates.within),
                groups=[entry for entry in placed if entry.row.stage == ALL],
                other=rates.other,
                stages=[entry for entry in placed if entry.row.stage != ALL],
                ends=(low, high),
            )
        )
    return Dropped(result.share, result.comparisons, shown)


def _axis_of(rates: Sequence[Rate]) -> tuple[float, float]:
    """The axis of a dimension's differences, with zero on it."""
    ends = [
        {"low": interval.low, "high": interval.high}
        for rate in rates
        for interval in (rate.difference, rate.within)
        if interval
    ]
    return axis([*ends, {"low": 0.0, "high": 0.0}], "low", "high")


def _places(rate: Rate, low: float, high: float) -> dict[str, float | None]:
    """Where the differences of a rate are on the axis from `low` to `high`, and zero."""
    at: dict[str, float | None] = {"zero": percent(0, low, high)}
    for name, interval in (("difference", rate.difference), ("within", rate.within)):
        ends = (None, None, None) if interval is None else (percent(value, low, high) for value in interval)
        at |= dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
    return at


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """A stratum and its counts."""

    names: Sequence[str | None]  # the values of its columns
    documents: int
    kept: int
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Strata:
    """The largest strata, and how many `more` there are."""

    columns: Sequence[str]
    rows: Sequence[Placed[Stratum]]
    more: int


def strata_section(run: OpenRun, dimensions: Mapping[str, Dimension]) -> Strata | None:
    """Documents and tokens before and after in the largest strata; None where no column makes strata."""
    names = [f"input.{name.removesuffix('?').lower()}" for name in run.recipe.input.strata]
    columns = [name for name in (*dict.fromkeys(names), LANGUAGE, LENGTH) if name in dimensions]
    if not columns:
        return None
    selected = ", ".join(map(quoted, columns))
    rows = run.connection.execute(
        f"""SELECT *, count(*) OVER () FROM (
            SELECT {selected}, count(*) AS documents, count_if(stage IS NULL) AS kept, sum(tokens)::BIGINT AS tokens_in,
                sum(tokens_out)::BIGINT AS tokens_out FROM {TABLE} GROUP BY {selected}
        ) ORDER BY documents DESC, {selected} LIMIT {MOST_STRATA}"""
    ).fetchall()
    width = len(columns)
    most_documents, most_tokens = (max(row[k] for row in rows) for k in (width, width + 2))
    strata = []
    for row in rows:
        documents, kept, tokens_in, tokens_out = row[width:-1]
        stratum = Stratum(
            names=list(masked_values({"of": row[:width]})["of"]),
            documents=documents,
            kept=kept,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
        )
        at = {"documents": percent(documents, 0, most_documents), "kept": percent(kept, 0, most_documents)}
        at |= {"tokens_in": percent(tokens_in, 0, most_tokens), "tokens_out": percent(tokens_out, 0, most_tokens)}
        strata.append(Placed(stratum, at))
    return Strata(columns=list(columns), rows=strata, more=rows[0][-1] - len(rows))

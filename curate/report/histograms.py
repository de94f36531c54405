"""Histograms of every signal over the input and over what is kept, counted in SQL."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import duckdb

from curate.decide.scorecard import NO_SIGNALS
from curate.display import shown
from curate.inspect.percentiles import INTEGERS, NUMBERS
from curate.sql import quoted

BINS = 36
WIDE = 20  # times the span from the 5th to the 95th percentile: beyond, most bins of a linear axis would be empty
MAX_RATIO = 1e9  # of the end of a logarithmic axis to its begin


@dataclass(frozen=True, slots=True)
class Mark:
    """A threshold: its value, and where its line is drawn."""

    at: float
    line: float  # between integers where the signal counts something


@dataclass(frozen=True, slots=True)
class Spread:
    """The range of a signal's values."""

    whole: bool  # whether its values are integers
    low: float
    high: float
    smallest: float | None  # above zero
    middle: tuple[float, float] | None = None  # 5th and 95th percentile


@dataclass(frozen=True, slots=True)
class Axis:
    """Rising edges of bins on a linear or a logarithmic scale; `zero` adds a bin for 0 before them."""

    scale: str
    edges: tuple[float, ...] = field(repr=False)
    zero: bool = False

    @property
    def bounds(self) -> list[float]:
        """Upper bounds of all bins but the last, which has the rest."""
        return [*([0.0] if self.zero else []), *self.edges[1:-1]]

    def names(self, whole: bool) -> list[str]:
        """The values of each bin; a bin of fractions includes its upper edge, but not its lower one."""
        names = ["0"] if self.zero else []
        for low, high in pairwise(self.edges):
            first, last = (math.ceil(low), math.floor(high)) if whole else (low, high)
            names.append(shown(first) if first == last else f"{shown(first)} to {shown(last)}")
        return names


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Documents by bin of a signal, over `all` of them and over those `kept`."""

    scale: str
    edges: tuple[float, ...]
    zero: bool
    names: Sequence[str]
    all: Sequence[int]
    kept: Sequence[int]
    nulls: int


def axis_of(spread: Spread, marks: Sequence[float]) -> Axis:
    """An axis that shows a signal's values, and those of its thresholds (`marks`) that are near them.

    A few integers have a bin each. The scale is logarithmic where values are far outside the middle nine tenths, or
    these are wide themselves, and no value is negative.
    """
    half = (spread.high - spread.low) / 2
    marks = [mark for mark in marks if spread.low - half <= mark <= spread.high + half]
    low, high = min([spread.low, *marks]), max([spread.high, *marks])
    if spread.whole and high - low < BINS:
        return Axis("linear", tuple(k - 0.5 for k in range(math.floor(low), math.ceil(high) + 2)))
    p5, p95 = spread.middle or (low, high)
    far = high - low > WIDE * (p95 - p5) or (high > 1 and 0 < WIDE * p5 < p95)
    if low < 0 or spread.smallest is None or 2 * spread.smallest > high or not far:
        step = (high - low) / BINS
        if spread.whole:  # the same number of integers in each bin
            low, step = math.floor(low) - 0.5, math.ceil(step)
            return Axis("linear", tuple(low + k * step for k in range(math.ceil((high + 0.5 - low) / step) + 1)))
        return Axis("linear", tuple(sorted({*(low + k * step for k in range(BINS)), high})))
    first = max(min([spread.smallest, *(mark for mark in marks if mark > 0)]), high / MAX_RATIO)
    ratio = high / first
    edges = [first, *(first * ratio ** (k / BINS) for k in range(1, BINS)), high]
    if spread.whole:  # between integers, so that each bin has one
        edges = sorted({math.floor(edge) + 0.5 for edge in edges} | {first - 0.5})
        edges = [*edges[:-1], max(high + 0.5, edges[-1])]
    return Axis("log", tuple(edges), low <= 0)


def signals_of(connection: duckdb.DuckDBPyConnection) -> dict[str, bool]:
    """The numeric signals in the order of their columns, and whether their values are integers."""
    rows = connection.execute("DESCRIBE signals").fetchall()
    types = {name: str(kind) for name, kind, *_ in rows}
    return {name: kind in INTEGERS for name, kind in types.items() if kind in NUMBERS and name not in NO_SIGNALS}


def histograms(
    connection: duckdb.DuckDBPyConnection,
    marks: Mapping[str, Sequence[float]],
    scorecard: Mapping[str, Mapping[str, Any]],
) -> dict[str, Counts]:
    """The histogram of each signal that varies.

    Cost: two passes over the signals, however many there are; memory grows with the number of bins alone.
    """
    whole = signals_of(connection)
    spreads = _spreads(connection, whole, scorecard)
    varying = {name: spread for name, spread in spreads.items() if spread.low < spread.high}
    axes = {name: axis_of(spread, marks.get(name, ())) for name, spread in varying.items()}
    if not axes:
        return {}
    columns = ", ".join(f"histogram(s.{quoted(name)}::DOUBLE, {axis.bounds}::DOUBLE[])" for name, axis in axes.items())
    rows = connection.execute(
        f"SELECT kept, count(*), {columns} FROM signals s JOIN decisions d USING (file_no, row) GROUP BY kept"
    ).fetchall()
    documents = sum(row[1] for row in rows)
    counts = {}
    for k, (name, axis) in enumerate(axes.items()):
        dropped, kept = (_counts(axis, [row[k + 2] for row in rows if row[0] is verdict]) for verdict in (False, True))
        every = [a + b for a, b in zip(dropped, kept, strict=True)]
        counts[name] = Counts(
            scale=axis.scale,
            edges=axis.edges,
            zero=axis.zero,
            names=axis.names(whole[name]),
            all=every,
            kept=kept,
            nulls=documents - sum(every),
        )
    return counts


def _spreads(
    connection: duckdb.DuckDBPyConnection, whole: Mapping[str, bool], scorecard: Mapping[str, Mapping[str, Any]]
) -> dict[str, Spread]:
    """The spread of every signal that is not null everywhere."""
    columns = ", ".join(
        f"min({name})::DOUBLE, max({name})::DOUBLE, min({name}) FILTER ({name} > 0)::DOUBLE"
        for name in map(quoted, whole)
    )
    values = connection.execute(f"SELECT {columns} FROM signals").fetchone() if whole else ()
    assert values is not None
    spreads = {}
    for k, (name, is_whole) in enumerate(whole.items()):
        low, high, smallest = values[3 * k : 3 * k + 3]
        if low is not None and math.isfinite(low) and math.isfinite(high):
            row = scorecard.get(name, {})
            p5, p95 = row.get("p5_before"), row.get("p95_before")
            spreads[name] = Spread(is_whole, low, high, smallest, None if p5 is None or p95 is None else (p5, p95))
    return spreads


def _counts(axis: Axis, maps: Sequence[Mapping[float, int] | None]) -> list[int]:
    """Documents by bin, from DuckDB's map from upper bounds (the last: infinity) to counts, if there is one."""
    counts = maps[0] if maps and maps[0] else {}
    return [counts.get(bound, 0) for bound in (*axis.bounds, math.inf)]

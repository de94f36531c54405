"""How every signal is spread over the input and over what is kept, as histograms counted in SQL."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import duckdb

from curate.decide.scorecard import NO_SIGNALS
from curate.display import shown
from curate.inspect.evidence import NUMBERS, WHOLE
from curate.sql import quoted

BINS = 36
WIDE = 20  # times the span from the 5th to the 95th percentile: beyond, most bins of a linear axis would be empty
FURTHEST = 1e9  # from the end of a logarithmic axis to its begin


@dataclass(frozen=True)
class Spread:
    """What is known of a signal's values before they are counted."""

    whole: bool  # whether it counts something
    low: float
    high: float
    smallest: float | None  # above zero
    middle: tuple[float, float] | None = None  # 5th and 95th percentile


@dataclass(frozen=True)
class Axis:
    """Edges of bins, rising, on a linear or a logarithmic scale; `zero` is a bin before them for what is 0."""

    scale: str
    edges: tuple[float, ...] = field(repr=False)
    zero: bool = False

    @property
    def bounds(self) -> list[float]:
        """Upper bounds of all bins but the last, which has the rest."""
        return [*([0.0] if self.zero else []), *self.edges[1:-1]]

    def names(self, whole: bool) -> list[str]:
        """What each bin holds; a bin of fractions has its upper edge, but not its lower one."""
        found = ["0"] if self.zero else []
        for low, high in pairwise(self.edges):
            first, last = (math.ceil(low), math.floor(high)) if whole else (low, high)
            found.append(shown(first) if first == last else f"{shown(first)} to {shown(last)}")
        return found


def axis_of(spread: Spread, marks: Sequence[float]) -> Axis:
    """The axis on which a signal's values can be seen, and `marks` (thresholds) that lie not far from them.

    Few whole numbers have a bin each. Where values lie far beyond the middle nine tenths, or those are wide themselves,
    and none is below zero, the scale is logarithmic.
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
        if spread.whole:  # as many whole numbers in each bin
            low, step = math.floor(low) - 0.5, math.ceil(step)
            return Axis("linear", tuple(low + k * step for k in range(math.ceil((high + 0.5 - low) / step) + 1)))
        return Axis("linear", tuple(sorted({*(low + k * step for k in range(BINS)), high})))
    first = max(min([spread.smallest, *(mark for mark in marks if mark > 0)]), high / FURTHEST)
    ratio = high / first
    edges = [first, *(first * ratio ** (k / BINS) for k in range(1, BINS)), high]
    if spread.whole:  # between whole numbers, so that no bin is without one
        edges = sorted({math.floor(edge) + 0.5 for edge in edges} | {first - 0.5})
        edges = [*edges[:-1], max(high + 0.5, edges[-1])]
    return Axis("log", tuple(edges), low <= 0)


def signals_of(connection: duckdb.DuckDBPyConnection) -> dict[str, bool]:
    """The signals that are numbers, in the order of their columns, and whether they are whole ones."""
    rows = connection.execute("DESCRIBE signals").fetchall()
    found = {name: str(kind) for name, kind, *_ in rows}
    return {name: kind in WHOLE for name, kind in found.items() if kind in NUMBERS and name not in NO_SIGNALS}


def histograms(
    connection: duckdb.DuckDBPyConnection,
    marks: Mapping[str, Sequence[float]],
    scorecard: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """For each signal that varies: scale, edges, and documents by bin over `all` of them and of those `kept`.

    Two passes over the signals, however many there are; memory grows with the bins alone.
    """
    whole = signals_of(connection)
    spreads = _spreads(connection, whole, scorecard)
    axes = {
        name: axis_of(found, marks.get(name, ()))
        for name, found in spreads.items() if found.low < found.high
    }  # fmt: skip
    if not axes:
        return {}
    columns = ", ".join(f"histogram(s.{quoted(name)}::DOUBLE, {axis.bounds}::DOUBLE[])" for name, axis in axes.items())
    rows = connection.execute(
        f"SELECT kept, count(*), {columns} FROM signals s JOIN decisions d USING (file_no, row) GROUP BY kept"
    ).fetchall()
    found = {}
    for k, (name, axis) in enumerate(axes.items()):
        dropped, kept = (_counts(axis, [row[k + 2] for row in rows if row[0] is verdict]) for verdict in (False, True))
        every = [a + b for a, b in zip(dropped, kept, strict=True)]
        found[name] = {
            "scale": axis.scale,
            "edges": axis.edges,
            "zero": axis.zero,
            "names": axis.names(whole[name]),
            "all": every,
            "kept": kept,
            "nulls": sum(row[1] for row in rows) - sum(every),
        }
    return found


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
    found = {}
    for k, (name, is_whole) in enumerate(whole.items()):
        low, high, smallest = values[3 * k : 3 * k + 3]
        if low is not None and math.isfinite(low) and math.isfinite(high):
            row = scorecard.get(name, {})
            middle = (row.get("p5_before"), row.get("p95_before"))
            known = (middle[0], middle[1]) if middle[0] is not None and middle[1] is not None else None
            found[name] = Spread(is_whole, low, high, smallest, known)
    return found


def _counts(axis: Axis, found: Sequence[Mapping[float, int] | None]) -> list[int]:
    """Documents by bin, of DuckDB's map from upper bounds (the last: infinity) to counts, if there is one."""
    counts = found[0] if found and found[0] else {}
    return [counts.get(bound, 0) for bound in (*axis.bounds, math.inf)]

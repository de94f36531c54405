"""Geometry of the report's charts: places as percentages of a width, and histograms as paths of SVG.

No chart needs a script: bars and dots are elements with a place, histograms are paths in a box of WIDTH by HEIGHT.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.display import shown

WIDTH, HEIGHT = 1000.0, 100.0  # of a histogram's box
GAP = 2.5  # steps between the bin of zeros and the first one of a logarithmic axis
CLEAR = 8.0  # percent between two labels of an axis
UNITS = ("documents", "tokens")

Row = dict[str, Any]


@dataclass(frozen=True)
class Histogram:
    """Two paths (all documents, those kept) on a linear and on a logarithmic count axis, marks and ticks in percent."""

    linear: tuple[str, str]
    logarithmic: tuple[str, str]
    bars: str  # begin and end of each bin that has documents, in percent
    marks: Sequence[tuple[float, str]]
    ticks: Sequence[tuple[float, str]]
    most: int


@dataclass(frozen=True)
class Segment:
    """A stretch of a stage's bar: its kind, what it stands for, and its width in percent by documents and by tokens."""

    kind: str
    label: str
    documents: int
    tokens: int
    width: Mapping[str, float]


def percent(value: float, low: float, high: float) -> float:
    """Where a value lies from `low` to `high`, in percent within 0 and 100."""
    if not high > low:
        return 0.0
    return round(min(100.0, max(0.0, 100 * (value - low) / (high - low))), 2)


def histogram(counts: Mapping[str, Any], marks: Sequence[Mapping[str, float]]) -> Histogram:
    """The histogram of `curate.report.histograms`, with thresholds at `marks` as far as they lie on its axis."""
    logarithmic = counts["scale"] == "log"
    edges = [math.log10(edge) if logarithmic else edge for edge in counts["edges"]]
    starts, ends = list(edges[:-1]), list(edges[1:])
    if counts["zero"]:
        step = (edges[-1] - edges[0]) / len(starts)
        starts.insert(0, edges[0] - GAP * step)
        ends.insert(0, edges[0] - step)
    low, high = starts[0], ends[-1]

    def scaled(value: float) -> float:
        return math.log10(value) if logarithmic else value

    def place(value: float) -> float:
        return 0.0 if logarithmic and value <= 0 else percent(scaled(value), low, high)

    spans = [(percent(a, low, high), percent(b, low, high)) for a, b in zip(starts, ends, strict=True)]
    most = max(counts["all"])

    def paths(height_of: Mapping[int, float]) -> tuple[str, str]:
        every, kept = (_path(spans, [height_of[n] for n in counts[name]]) for name in ("all", "kept"))
        return every, kept

    values = {*counts["all"], *counts["kept"]}
    top = math.log10(most) + 0.3
    shown_marks = [
        (place(mark["line"]), shown(mark["at"])) for mark in marks
        if (logarithmic and mark["line"] <= 0) or low <= scaled(mark["line"]) <= high
    ]  # fmt: skip
    ticks = _powers(counts["edges"][0], counts["edges"][-1]) if logarithmic else _steps(low, high)
    labelled = [*([(percent((starts[0] + ends[0]) / 2, low, high), "0")] if counts["zero"] else []),
                *((place(tick), _compact(tick)) for tick in ticks)]  # fmt: skip
    return Histogram(
        paths({n: n / most for n in values}),
        paths({n: (math.log10(n) + 0.3) / top if n else 0 for n in values}),
        " ".join(f"{a:g}-{b:g}" for (a, b), n in zip(spans, counts["all"], strict=True) if n),
        shown_marks,
        _apart(labelled),
        most,
    )


def _path(spans: Sequence[tuple[float, float]], heights: Sequence[float]) -> str:
    """Bars as one path; each has a thin gap to the next."""
    parts = []
    for (begin, end), height in zip(spans, heights, strict=True):
        if height:
            x, width = begin * WIDTH / 100, max(1.0, (end - begin) * WIDTH / 100 * 0.94)
            parts.append(f"M{x:.1f} {HEIGHT:g}v-{max(0.6, height * HEIGHT):.1f}h{width:.1f}V{HEIGHT:g}z")
    return "".join(parts)


def _powers(low: float, high: float) -> list[float]:
    """Powers of ten on an axis, with twice and five times them where there are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    found = [10.0**k for k in range(first, last + 1, max(1, math.ceil((last - first) / 5)))]
    if last - first < 3:
        found += [n * one for one in found for n in (2, 5)]
    return sorted(one for one in found if low * 0.99 <= one <= high * 1.01)


def _steps(low: float, high: float) -> list[float]:
    """Round numbers on an axis, about five of them."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(n * power for n in (1, 2, 5, 10) if n * power >= rough)
    return [round(k * step, 12) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _apart(ticks: Iterable[tuple[float, str]]) -> list[tuple[float, str]]:
    """Labels that do not stand over one another."""
    found: list[tuple[float, str]] = []
    for at, label in ticks:
        if not found or at - found[-1][0] >= max(CLEAR, 2.4 * (len(label) + len(found[-1][1]))):
            found.append((at, label))
    return found


def _compact(value: float) -> str:
    """A number in few characters, as in `20k`."""
    for size, sign in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{sign}"
    return f"{value:g}"


def flow(stages: Sequence[Row]) -> list[Row]:
    """The bar of each stage: what goes on, what was written, and what each reason takes away, the largest first.

    All bars have one scale: the widest is full.
    """
    whole = {
        unit: max(1, *(stage[f"{unit}_in"] + stage.get("written", {}).get(unit, 0) for stage in stages))
        for unit in UNITS
    }

    def segment(kind: str, label: str, sizes: Mapping[str, int]) -> Segment:
        width = {unit: round(100 * sizes[unit] / whole[unit], 3) for unit in UNITS}
        return Segment(kind, label, sizes["documents"], sizes["tokens"], width)

    rows = []
    for stage in stages:
        written = stage.get("written", {"documents": 0, "tokens": 0})
        gone = [segment("gone", reason, sizes) for reason, sizes in stage["dropped"].items()]
        if "cut" in stage:
            gone.append(segment("gone", "lines cut", {"documents": 0, "tokens": stage["cut"]["tokens"]}))
        gone.sort(key=lambda one: -max(one.width.values()))
        kept = {unit: stage[f"{unit}_out"] - written[unit] for unit in UNITS}
        new = [segment("written", "written by a model", written)] if any(written.values()) else []
        rows.append(stage | {"segments": [segment("kept", "go on", kept), *new, *gone], "gone": gone, "new": new})
    return rows


def axis(rows: Iterable[Mapping[str, Any]], *names: str) -> tuple[float, float]:
    """The least and the greatest value in some columns, with a twentieth of their distance on either side."""
    values = [row[name] for row in rows for name in names if row.get(name) is not None]
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = (high - low) / 20 or 0.05
    return low - room, high + room

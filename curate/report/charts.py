"""Geometry of the report's charts: positions in percent of a width, and histograms as SVG paths.

No chart needs a script: bars and dots are elements with a position, histograms are paths in a box of WIDTH by HEIGHT.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from curate.display import shown
from curate.report.histograms import Counts, Mark

WIDTH, HEIGHT = 1000.0, 100.0  # of a histogram's box
GAP = 2.5  # bins between the bin of zeros and the first one of a logarithmic axis
CLEAR = 8.0  # percent between two labels of an axis
BAR = 0.94  # width of a bar as a share of its bin
UNITS = ("documents", "tokens")

Label = tuple[float, str]  # position in percent, text
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Paths of all documents and of those kept, on a linear and on a logarithmic count axis; marks and ticks."""

    linear: tuple[str, str]
    logarithmic: tuple[str, str]
    bars: str  # begin and end, in percent, of each bin that has documents
    marks: Sequence[Label]
    ticks: Sequence[Label]
    most: int  # documents of the tallest bar


@dataclass(frozen=True, slots=True)
class ByUnit:
    """A size in documents and in tokens."""

    documents: float
    tokens: float


class Placed(NamedTuple, Generic[T]):
    """A row of a table, and the positions of its values in percent, by name."""

    row: T
    at: Mapping[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A part of a stage's bar; its width is in percent."""

    kind: str  # kept, gone or written
    label: str
    documents: int
    tokens: int
    width: ByUnit


@dataclass(frozen=True, slots=True, kw_only=True)
class StageBar:
    """A stage with its counts, and the segments of its bar."""

    stage: str
    documents_in: int
    tokens_in: int
    documents_out: int
    tokens_out: int
    bytes_out: int  # of text
    dropped: Mapping[str, Mapping[str, int]]  # documents and tokens by reason
    cut: Mapping[str, int] | None  # documents and tokens
    written: Mapping[str, int] | None
    segments: Sequence[Segment]

    @property
    def gone(self) -> list[Segment]:
        """What the stage takes away, the largest first."""
        return [segment for segment in self.segments if segment.kind == "gone"]

    @property
    def new(self) -> list[Segment]:
        """What a model wrote."""
        return [segment for segment in self.segments if segment.kind == "written"]


def percent(value: float, low: float, high: float) -> float:
    """The position of a value between `low` and `high`, in percent from 0 to 100."""
    if not high > low:
        return 0.0
    return round(min(100.0, max(0.0, 100 * (value - low) / (high - low))), 2)


@dataclass(frozen=True, slots=True)
class _Scale:
    """The horizontal axis of a histogram: its bins, and the position of a value."""

    logarithmic: bool
    starts: Sequence[float]  # of bins, as logarithms on a logarithmic axis
    ends: Sequence[float]

    @property
    def low(self) -> float:
        return self.starts[0]

    @property
    def high(self) -> float:
        return self.ends[-1]

    def scaled(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value

    def position(self, value: float) -> float:
        return 0.0 if self.logarithmic and value <= 0 else percent(self.scaled(value), self.low, self.high)

    def shows(self, value: float) -> bool:
        return (self.logarithmic and value <= 0) or self.low <= self.scaled(value) <= self.high

    def bins(self) -> list[tuple[float, float]]:
        """Begin and end of each bin, in percent."""
        pairs = zip(self.starts, self.ends, strict=True)
        return [(percent(start, self.low, self.high), percent(end, self.low, self.high)) for start, end in pairs]


def _scale_of(counts: Counts) -> _Scale:
    logarithmic = counts.scale == "log"
    edges = [math.log10(edge) if logarithmic else edge for edge in counts.edges]
    starts, ends = list(edges[:-1]), list(edges[1:])
    if counts.zero:
        step = (edges[-1] - edges[0]) / len(starts)
        starts.insert(0, edges[0] - GAP * step)
        ends.insert(0, edges[0] - step)
    return _Scale(logarithmic, starts, ends)


def histogram(counts: Counts, marks: Sequence[Mark]) -> Histogram:
    """The histogram of a signal, with the thresholds among `marks` that its axis shows."""
    scale = _scale_of(counts)
    bins = scale.bins()
    most = max(counts.all)
    top = math.log10(most) + 0.3

    def paths(height_of: Callable[[int], float]) -> tuple[str, str]:
        return (
            _path(bins, [height_of(count) for count in counts.all]),
            _path(bins, [height_of(count) for count in counts.kept]),
        )

    return Histogram(
        linear=paths(lambda count: count / most),
        logarithmic=paths(lambda count: (math.log10(count) + 0.3) / top if count else 0),
        bars=" ".join(f"{begin:g}-{end:g}" for (begin, end), count in zip(bins, counts.all, strict=True) if count),
        marks=[(scale.position(mark.line), shown(mark.at)) for mark in marks if scale.shows(mark.line)],
        ticks=_ticks(counts, scale),
        most=most,
    )


def _ticks(counts: Counts, scale: _Scale) -> list[Label]:
    first, last = counts.edges[0], counts.edges[-1]
    values = _powers(first, last) if scale.logarithmic else _round_numbers(scale.low, scale.high)
    ticks = [(scale.position(value), _compact(value)) for value in values]
    if counts.zero:
        ticks.insert(0, (percent((scale.starts[0] + scale.ends[0]) / 2, scale.low, scale.high), "0"))
    return _apart(ticks)


def _path(bins: Sequence[tuple[float, float]], heights: Sequence[float]) -> str:
    """Bars as one path, with a thin gap between two bars."""
    parts = []
    for (begin, end), height in zip(bins, heights, strict=True):
        if height:
            x, width = begin * WIDTH / 100, max(1.0, (end - begin) * WIDTH / 100 * BAR)
            parts.append(f"M{x:.1f} {HEIGHT:g}v-{max(0.6, height * HEIGHT):.1f}h{width:.1f}V{HEIGHT:g}z")
    return "".join(parts)


def _powers(low: float, high: float) -> list[float]:
    """Powers of ten on an axis, with twice and five times them where there are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    powers = [10.0**k for k in range(first, last + 1, max(1, math.ceil((last - first) / 5)))]
    if last - first < 3:
        powers += [factor * power for power in powers for factor in (2, 5)]
    return sorted(power for power in powers if low * 0.99 <= power <= high * 1.01)


def _round_numbers(low: float, high: float) -> list[float]:
    """About five round numbers on an axis."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [round(k * step, 12) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _apart(labels: Iterable[Label]) -> list[Label]:
    """The labels that do not overlap an earlier one."""
    clear: list[Label] = []
    for position, label in labels:
        if not clear or position - clear[-1][0] >= max(CLEAR, 2.4 * (len(label) + len(clear[-1][1]))):
            clear.append((position, label))
    return clear


def _compact(value: float) -> str:
    """A number in few characters, as in `20k`."""
    for size, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{suffix}"
    return f"{value:g}"


def flow(stages: Sequence[Mapping[str, Any]]) -> list[StageBar]:
    """The bar of each stage: what remains, what was written, and what each reason takes away, the largest first.

    All bars have one scale: the widest is full.
    """
    full = {
        unit: max(1, *(stage[f"{unit}_in"] + stage.get("written", {}).get(unit, 0) for stage in stages))
        for unit in UNITS
    }
    return [_stage_bar(stage, full) for stage in stages]


def _stage_bar(stage: Mapping[str, Any], full: Mapping[str, int]) -> StageBar:
    def segment(kind: str, label: str, documents: int, tokens: int) -> Segment:
        width = ByUnit(round(100 * documents / full["documents"], 3), round(100 * tokens / full["tokens"], 3))
        return Segment(kind=kind, label=label, documents=documents, tokens=tokens, width=width)

    cut, written = stage.get("cut"), stage.get("written")
    gone = [segment("gone", reason, sizes["documents"], sizes["tokens"]) for reason, sizes in stage["dropped"].items()]
    if cut is not None:
        gone.append(segment("gone", f"{'lines' if stage['stage'] == 'lines' else 'passages'} cut", 0, cut["tokens"]))
    gone.sort(key=lambda segment: -max(segment.width.documents, segment.width.tokens))
    new = {"documents": 0, "tokens": 0} if written is None else written
    kept = [stage[f"{unit}_out"] - new[unit] for unit in UNITS]
    segments = [segment("kept", "go on", *kept)]
    if any(new.values()):
        segments.append(segment("written", "written by a model", new["documents"], new["tokens"]))
    return StageBar(
        stage=stage["stage"],
        documents_in=stage["documents_in"],
        tokens_in=stage["tokens_in"],
        documents_out=stage["documents_out"],
        tokens_out=stage["tokens_out"],
        bytes_out=stage["bytes_out"],
        dropped=stage["dropped"],
        cut=cut,
        written=written,
        segments=[*segments, *gone],
    )


def axis(rows: Iterable[Mapping[str, Any]], *names: str) -> tuple[float, float]:
    """The least and the greatest value of columns, with a twentieth of their distance on either side."""
    values = [row[name] for row in rows for name in names if row.get(name) is not None]
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = (high - low) / 20 or 0.05
    return low - margin, high + margin

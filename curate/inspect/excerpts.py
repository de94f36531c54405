"""Parts of texts as they may be shown: personal data masked, marked places in context."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from curate.maps.documents import personal_spans

LIMIT = 1200  # characters of an excerpt
AROUND = 160  # characters before and behind a marked place
BORDER = 24  # characters within which an excerpt is cut at white space

Spans = Sequence[tuple[int, int]]
Piece = tuple[Literal["text", "mark", "gap"], str]  # a gap tells how much is left out


@dataclass(frozen=True)
class Marked:
    """A text without personal data, and the places in it that are pointed at: sorted, none touch."""

    text: str
    marks: Spans


@dataclass(frozen=True)
class Mask:
    """A text without personal data, and where its places have gone."""

    text: str
    placeholders: Sequence[tuple[int, int, int, int]]  # of each: where it was, and where it is

    def moved(self, start: int, end: int) -> tuple[int, int]:
        """The place that was `start` to `end`; of a placeholder that it touches it has all."""
        return self._moved(start, first=True), self._moved(end, first=False)

    def _moved(self, place: int, first: bool) -> int:
        k = bisect_right(self.placeholders, place, key=lambda bounds: bounds[0]) - 1
        if k < 0:
            return place
        start, end, now_start, now_end = self.placeholders[k]
        if place >= end:
            return now_end + place - end
        return now_start if first or place == start else now_end


def mask(text: str) -> Mask:
    """`text` with a placeholder for each e-mail address, number and key, as `curate.maps.documents.masked` has it."""
    found = personal_spans(pa.array([text], pa.large_string()))
    starts, ends = (characters_of(text, found[name].to_pylist()) for name in ("start", "end"))
    pieces: list[str] = []
    placeholders: list[tuple[int, int, int, int]] = []
    position = length = 0
    for start, end, replacement in zip(starts, ends, found["replacement"].to_pylist(), strict=True):
        pieces += [text[position:start], replacement]
        length += start - position
        placeholders.append((start, end, length, length + len(replacement)))
        length += len(replacement)
        position = end
    return Mask("".join([*pieces, text[position:]]), placeholders)


def marked(text: str, marks: Iterable[tuple[int, int]]) -> Marked:
    """`text` masked, and `marks` (in characters) where they then are."""
    masked = mask(text)
    return Marked(masked.text, merged(masked.moved(start, end) for start, end in merged(marks)))


def merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same places, sorted, those that touch or overlap as one, empty ones left out."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def excerpt(shown: Marked, limit: int | None = LIMIT) -> list[Piece]:
    """About `limit` characters around the marked places, or from the beginning where there are none; None for all."""
    windows = _windows(shown, limit) if limit is not None and len(shown.text) > limit else [(0, len(shown.text))]
    pieces: list[Piece] = []
    position = 0
    for start, end in windows:
        if start > position:
            pieces.append(("gap", f"… {start - position:,} characters …"))
        for mark_start, mark_end in (m for m in shown.marks if m[0] < end and m[1] > start):
            begin, stop = max(mark_start, start), min(mark_end, end)
            pieces += [("text", shown.text[start:begin]), ("mark", shown.text[begin:stop])]
            start = stop
        pieces.append(("text", shown.text[start:end]))
        position = end
    if position < len(shown.text):
        more = sum(start >= position for start, _ in shown.marks)
        places = f", {more:,} more marked place{'' if more == 1 else 's'}" if more else ""
        pieces.append(("gap", f"… {len(shown.text) - position:,} characters{places} …"))
    return [piece for piece in pieces if piece[1]]


def flat(pieces: Sequence[Piece]) -> tuple[str, list[tuple[int, int]]]:
    """The pieces of an excerpt as one text, and the marked places in it."""
    written, spans = "", []
    for kind, text in pieces:
        text = f" [{text}] " if kind == "gap" else text
        if kind == "mark":
            spans.append((len(written), len(written) + len(text)))
        written += text
    return written, spans


def _windows(shown: Marked, limit: int) -> list[tuple[int, int]]:
    """The stretches of a text that an excerpt shows."""
    if not shown.marks:
        return [(0, _border(shown.text, limit, 1))]
    left = limit
    windows: list[tuple[int, int]] = []
    for start, end in shown.marks:
        begin = _border(shown.text, max(start - AROUND, 0), -1)
        stop = _border(shown.text, min(end + AROUND, len(shown.text)), 1)
        if windows and begin <= windows[-1][1]:
            begin = windows[-1][1]
        stop = min(stop, begin + left)
        if stop <= begin:
            continue
        left -= stop - begin
        windows.append((begin, stop))
        if left < AROUND:  # what is left would show a mark without what stands around it
            break
    joined: list[tuple[int, int]] = merged(windows)
    return joined


def _border(text: str, place: int, step: int) -> int:
    """The nearest place at white space in a direction, if it is near."""
    for k in range(place, place + step * BORDER, step):
        if not 0 < k < len(text):
            return max(0, min(k, len(text)))
        if text[k - 1 if step < 0 else k].isspace():
            return k
    return place


def characters_of(text: str, places: Sequence[int]) -> list[int]:
    """Places in bytes of UTF-8 as places in characters."""
    if text.isascii() or not places:
        return list(places)
    data = np.frombuffer(text.encode(), np.uint8)
    before = np.concatenate([[0], np.cumsum(data & 0xC0 != 0x80)])
    return [int(before[place]) for place in places]

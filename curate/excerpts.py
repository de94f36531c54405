"""Parts of texts as they may be shown: personal data masked, control characters visible, marked places in context."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from curate.texts import personal_spans

LIMIT = 1200  # characters of an excerpt
AROUND = 160  # characters before and behind a marked place
BORDER = 24  # characters within which an excerpt is cut at white space

Spans = Sequence[tuple[int, int]]
Piece = tuple[Literal["text", "mark", "gap"], str]  # a gap tells how much is left out

# What a terminal obeys or hides: control characters, marks of direction, tags, and spaces without a width.
UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """`text` with a symbol for each character that could move a terminal's cursor, colour it or turn text around.

    Line feeds and tabs stay. ESC is shown as ␛, U+202E as ⟨202E⟩.
    """
    return UNSAFE.sub(lambda match: _symbol(ord(match[0])), text)


def _symbol(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨{code:04X}⟩"


@dataclass(frozen=True)
class Marked:
    """A text without personal data, and the places in it that are pointed at: sorted, none touch."""

    text: str
    marks: Spans


def marked(text: str, marks: Iterable[tuple[int, int]]) -> Marked:
    """`text` masked, and `marks` (in characters) where they then are; one that touches a placeholder has all of it."""
    joined = merged(marks)
    found = personal_spans(pa.array([text], pa.large_string()))
    starts, ends = (characters_of(text, found[name].to_pylist()) for name in ("start", "end"))
    pieces: list[str] = []
    bounds: list[tuple[int, int, int, int]] = []  # of each placeholder: where it was, and where it is
    position = length = 0
    for start, end, replacement in zip(starts, ends, found["replacement"].to_pylist(), strict=True):
        pieces += [text[position:start], replacement]
        length += start - position
        bounds.append((start, end, length, length + len(replacement)))
        length += len(replacement)
        position = end
    moved = [(_moved(start, bounds, 2), _moved(end, bounds, 3)) for start, end in joined]
    return Marked("".join([*pieces, text[position:]]), merged(moved))


def _moved(place: int, bounds: Sequence[tuple[int, int, int, int]], side: int) -> int:
    """Where a place of a text is once it was masked; within a placeholder, the side of that."""
    k = int(np.searchsorted([start for start, *_ in bounds], place, "right")) - 1
    if k < 0:
        return place
    start, end, *now = bounds[k]
    if place < end and (place > start or side == 2):
        return now[side - 2]
    return now[0] if place == start else now[1] + place - end


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

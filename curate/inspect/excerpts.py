"""Excerpts of texts: personal data masked, marked spans shown in context."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from curate.maps.documents import personal_spans

LIMIT = 1200  # characters of an excerpt
CONTEXT = 160  # characters on either side of a mark
BORDER = 24  # characters within which an excerpt is cut at white space

Span = tuple[int, int]  # start and end, in characters
Spans = Sequence[Span]
Piece = tuple[Literal["text", "mark", "gap"], str]  # a gap says how many characters are left out


@dataclass(frozen=True, slots=True)
class MarkedText:
    """A text without personal data, and its marks: sorted spans that neither touch nor overlap."""

    text: str
    marks: Spans


@dataclass(frozen=True, slots=True)
class MaskedText:
    """A text with placeholders for personal data, and the map from offsets in the original."""

    text: str
    placeholders: Sequence[tuple[int, int, int, int]]  # start and end in the original, start and end in `text`

    def moved(self, start: int, end: int) -> Span:
        """The span in `text` of a span of the original, widened to whole placeholders."""
        return self._moved(start, is_start=True), self._moved(end, is_start=False)

    def _moved(self, offset: int, is_start: bool) -> int:
        k = bisect_right(self.placeholders, offset, key=lambda bounds: bounds[0]) - 1
        if k < 0:
            return offset
        start, end, masked_start, masked_end = self.placeholders[k]
        if offset >= end:
            return masked_end + offset - end
        return masked_start if is_start or offset == start else masked_end


def mask(text: str) -> MaskedText:
    """`text` with a placeholder for each e-mail address, number and key, as by `curate.maps.documents.masked`."""
    spans = personal_spans(pa.array([text], pa.large_string()))
    starts, ends = (characters_of(text, spans[name].to_pylist()) for name in ("start", "end"))
    pieces: list[str] = []
    placeholders: list[tuple[int, int, int, int]] = []
    position = length = 0
    for start, end, replacement in zip(starts, ends, spans["replacement"].to_pylist(), strict=True):
        pieces += [text[position:start], replacement]
        length += start - position
        placeholders.append((start, end, length, length + len(replacement)))
        length += len(replacement)
        position = end
    return MaskedText("".join([*pieces, text[position:]]), placeholders)


def with_marks(text: str, marks: Iterable[Span]) -> MarkedText:
    """`text` masked, with `marks` moved to where they are then."""
    masked = mask(text)
    return MarkedText(masked.text, merged(masked.moved(start, end) for start, end in merged(marks)))


def merged(spans: Iterable[Span]) -> list[Span]:
    """The spans sorted, those that touch or overlap joined, empty ones left out."""
    joined: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def excerpt(marked: MarkedText, limit: int | None = LIMIT) -> list[Piece]:
    """About `limit` characters around the marks, or from the beginning where there are none; None for all."""
    text = marked.text
    windows = _windows(marked, limit) if limit is not None and len(text) > limit else [(0, len(text))]
    pieces: list[Piece] = []
    position = 0
    for start, end in windows:
        if start > position:
            pieces.append(("gap", f"… {start - position:,} characters …"))
        for mark_start, mark_end in (mark for mark in marked.marks if mark[0] < end and mark[1] > start):
            begin, stop = max(mark_start, start), min(mark_end, end)
            pieces += [("text", text[start:begin]), ("mark", text[begin:stop])]
            start = stop
        pieces.append(("text", text[start:end]))
        position = end
    if position < len(text):
        more = sum(start >= position for start, _ in marked.marks)
        more_marks = f", {more:,} more marked place{'' if more == 1 else 's'}" if more else ""
        pieces.append(("gap", f"… {len(text) - position:,} characters{more_marks} …"))
    return [piece for piece in pieces if piece[1]]


def flat(pieces: Sequence[Piece]) -> tuple[str, list[Span]]:
    """The pieces of an excerpt as one text, and the spans of its marks."""
    flat_text, spans = "", []
    for kind, text in pieces:
        text = f" [{text}] " if kind == "gap" else text
        if kind == "mark":
            spans.append((len(flat_text), len(flat_text) + len(text)))
        flat_text += text
    return flat_text, spans


def _windows(marked: MarkedText, limit: int) -> list[Span]:
    """The spans of a text that an excerpt shows."""
    if not marked.marks:
        return [(0, _border(marked.text, limit, 1))]
    budget = limit
    windows: list[Span] = []
    for start, end in marked.marks:
        begin = _border(marked.text, max(start - CONTEXT, 0), -1)
        stop = _border(marked.text, min(end + CONTEXT, len(marked.text)), 1)
        if windows and begin <= windows[-1][1]:
            begin = windows[-1][1]
        stop = min(stop, begin + budget)
        if stop <= begin:
            continue
        budget -= stop - begin
        windows.append((begin, stop))
        if budget < CONTEXT:  # too little to show another mark with its context
            break
    return merged(windows)


def _border(text: str, offset: int, step: int) -> int:
    """The nearest white space in a direction, within BORDER characters; else `offset`."""
    for k in range(offset, offset + step * BORDER, step):
        if not 0 < k < len(text):
            return max(0, min(k, len(text)))
        if text[k - 1 if step < 0 else k].isspace():
            return k
    return offset


def characters_of(text: str, offsets: Sequence[int]) -> list[int]:
    """Offsets in bytes of UTF-8 as offsets in characters."""
    if text.isascii() or not offsets:
        return list(offsets)
    data = np.frombuffer(text.encode(), np.uint8)
    characters = np.concatenate([[0], np.cumsum(data & 0xC0 != 0x80)])
    return [int(characters[offset]) for offset in offsets]

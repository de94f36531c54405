"""Documents in pieces that a model can be given at a time: cut where a reader would pause."""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import pyarrow as pa

from curate.distill.text.passages import Span, paragraphs, sentences, stripped

CHUNKS = pa.schema(
    [
        ("doc_id", pa.string()),
        ("chunk", pa.int32()),  # its number in the document, from 0
        ("start", pa.int32()),  # in bytes of the document's UTF-8, as edits have it
        ("end", pa.int32()),
        ("text", pa.large_string()),
    ]
)
LEAST = 4  # a chunk has at least this part of `most`, where its neighbours have room for more
SPACE, VISIBLE = re.compile(r"\s+"), re.compile(r"\S")
JOINED = "\u200d\ufe0e\ufe0f"  # between the parts of one sign, and behind one


def chunks_of(documents: pa.Table, most: int) -> pa.Table:
    """The chunks of documents (doc_id, text), of at most `most` characters each.

    They are cut at the ends of paragraphs, else of sentences, else at white space, else anywhere but within a sign. A
    chunk with less than a quarter of `most` is joined to a neighbour that has room for it. Together they have all of a
    document but white space; one that is null or blank has none.

    Out: the columns of CHUNKS, by document as given, then by place. `text` is the document from `start` to `end`, in
         bytes.
    """
    rows: dict[str, list[object]] = {name: [] for name in CHUNKS.names}
    for doc_id, text in zip(documents["doc_id"].to_pylist(), documents["text"].to_pylist(), strict=True):
        read = at = 0  # characters and bytes of the document
        for number, (start, end) in enumerate(cut(text or "", most)):
            piece = text[start:end]
            at += len(text[read:start].encode())
            behind = at + len(piece.encode())
            for name, value in zip(CHUNKS.names, (doc_id, number, at, behind, piece), strict=True):
                rows[name].append(value)
            read, at = end, behind
    return pa.table(rows, CHUNKS)


def cut(text: str, most: int) -> list[Span]:
    """Where the chunks of a text are, in characters."""
    places: list[Span] = []
    for start, end in _cut(text, most):
        small = min(end - start, places[-1][1] - places[-1][0]) * LEAST < most if places else False
        if small and end - places[-1][0] <= most:
            places[-1] = (places[-1][0], end)
        else:
            places.append((start, end))
    return places


def _cut(text: str, most: int) -> Iterator[Span]:
    """The longest chunks, one after the other, that leave enough for the last one."""
    start, stop = stripped(text, 0, len(text))
    if stop - start > most:
        ends = [[end for _, end in found(text)] for found in (paragraphs, sentences)]
    while stop - start > most:
        # The last cut is not so late that next to nothing is left.
        last = max(start + 1, min(start + most, stop - most // LEAST - 1))
        low = start + max(1, most // LEAST)
        spaces = [match.start() for match in SPACE.finditer(text, low, last + 1)]
        end = next((place for some in (*ends, spaces) if (place := _last(some, low, last))), 0)
        end = end or _between_signs(text, start, last)
        yield stripped(text, start, end)
        start = visible.start() if (visible := VISIBLE.search(text, end)) else stop
    if stop > start:
        yield start, stop


def _last(places: Sequence[int], low: int, high: int) -> int:
    """The last of sorted places between two, both included; 0 where there is none."""
    k = bisect_right(places, high) - 1
    return places[k] if k >= 0 and places[k] >= low else 0


def _between_signs(text: str, start: int, last: int) -> int:
    """The last place in front of `last` that does not part a letter from its marks."""
    for place in range(last, max(start, last - 16), -1):
        before, behind = text[place - 1], text[place]
        if behind not in JOINED and before != JOINED[0] and unicodedata.category(behind)[0] != "M":
            return place
    return last

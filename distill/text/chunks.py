"""Split documents into chunks that fit a model's context, cut where a reader would pause."""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import pyarrow as pa

from curate.distill.text.passages import Span, paragraphs, sentences, strip_span

CHUNKS = pa.schema(
    [
        ("doc_id", pa.string()),
        ("chunk", pa.int32()),  # index in the document, from 0
        ("start", pa.int32()),  # in bytes of the document's UTF-8, as in edits
        ("end", pa.int32()),
        ("text", pa.large_string()),
    ]
)
MIN_FRACTION = 4  # a chunk under 1/4 of the maximum is merged with a neighbour that has room for it
SPACE, VISIBLE = re.compile(r"\s+"), re.compile(r"\S")
JOINED = "\u200d\ufe0e\ufe0f"  # zero-width joiner, variation selectors


def chunks_of(documents: pa.Table, max_characters: int) -> pa.Table:
    """Split documents (doc_id, text) into chunks of at most `max_characters` each.

    Cuts are at ends of paragraphs, else of sentences, else at white space, else between graphemes. A chunk under a
    quarter of the maximum is merged with a neighbour that has room for it. The chunks of a document contain all of it
    but white space. A null or blank document has no chunks.

    Out: the columns of CHUNKS, in the order of documents, then of positions. `text` is the document's bytes from
         `start` to `end`.
    """
    rows: dict[str, list[object]] = {name: [] for name in CHUNKS.names}
    for doc_id, text in zip(documents["doc_id"].to_pylist(), documents["text"].to_pylist(), strict=True):
        position = byte_start = 0  # characters and bytes of the document
        for number, (start, end) in enumerate(chunk_spans(text or "", max_characters)):
            piece = text[start:end]
            byte_start += len(text[position:start].encode())
            byte_end = byte_start + len(piece.encode())
            for name, value in zip(CHUNKS.names, (doc_id, number, byte_start, byte_end, piece), strict=True):
                rows[name].append(value)
            position, byte_start = end, byte_end
    return pa.table(rows, CHUNKS)


def chunk_spans(text: str, max_characters: int) -> list[Span]:
    """The spans of a text's chunks, in characters."""
    spans: list[Span] = []
    for start, end in _longest_chunks(text, max_characters):
        mergeable = min(end - start, spans[-1][1] - spans[-1][0]) * MIN_FRACTION < max_characters if spans else False
        if mergeable and end - spans[-1][0] <= max_characters:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans


def _longest_chunks(text: str, max_characters: int) -> Iterator[Span]:
    """Cut chunks greedily, each as long as possible, but leave enough for the last one."""
    start, stop = strip_span(text, 0, len(text))
    if stop - start > max_characters:
        ends = [[end for _, end in find_spans(text)] for find_spans in (paragraphs, sentences)]
    while stop - start > max_characters:
        # A later cut would leave a last chunk under the minimum.
        latest = max(start + 1, min(start + max_characters, stop - max_characters // MIN_FRACTION - 1))
        earliest = start + max(1, max_characters // MIN_FRACTION)
        spaces = [match.start() for match in SPACE.finditer(text, earliest, latest + 1)]
        cuts = (_last_between(positions, earliest, latest) for positions in (*ends, spaces))
        end = next(filter(None, cuts), 0) or _between_graphemes(text, start, latest)
        yield strip_span(text, start, end)
        start = visible.start() if (visible := VISIBLE.search(text, end)) else stop
    if stop > start:
        yield start, stop


def _last_between(positions: Sequence[int], low: int, high: int) -> int:
    """The last of sorted positions from `low` to `high`, both included; 0 where there is none."""
    k = bisect_right(positions, high) - 1
    return positions[k] if k >= 0 and positions[k] >= low else 0


def _between_graphemes(text: str, start: int, last: int) -> int:
    """The last position up to `last` that does not separate a letter from its combining marks."""
    for position in range(last, max(start, last - 16), -1):
        preceding, following = text[position - 1], text[position]
        if following not in JOINED and preceding != JOINED[0] and unicodedata.category(following)[0] != "M":
            return position
    return last

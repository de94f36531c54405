"""Count unstripped lines, which keep the white space at their ends."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.kernels.arrow import Bytes, Counts, Offsets, count_columns, plain_text, text_views
from curate.kernels.jit import inline, kernel, load_u64, part
from curate.kernels.lines import NEWLINE, continuations, line_end, strip

Keys = npt.NDArray[np.uint64]

# Marks that end sentences, of all scripts; neither closing quotes nor the ellipsis.
ENDS = np.array([ord(c) for c in ".!?‼‽⁇⁈⁉。！？．｡﹒﹖﹗։؟۔؞।॥።፧፨၊။។៕᙮᠃᠉⸮⸼܀܁܂"], dtype=np.int64)
ASCII_END = np.isin(np.arange(128), ENDS)
SHORT_LINE = 30
NAMES = ("lines", "terminal_lines", "short_lines", "characters", "duplicate_characters")
MULTIPLIER, SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
HALF = np.uint64(32)


def count_whole_lines(texts: pa.Array) -> dict[str, pa.Array]:
    r"""Count lines per text (split at "\n", blank lines ignored) without stripping white space at their ends.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    int64 columns, null where the text is null: lines; terminal_lines (the last character is sentence
            punctuation, not a quote); short_lines (at most 30 characters); characters (of the text, without newlines);
            duplicate_characters (of lines that occurred earlier, byte for byte).
    Cost:   two passes over the bytes and one lookup per line; the memory grows with the lines of the longest text.
    Oracle: `str.split`, `str.endswith` and sets of lines (tests/filters/signals/test_pieces.py).
    """
    texts = plain_text(texts)
    return count_columns(texts, NAMES, _count(*text_views(texts)))


@kernel
def _count(offsets: Offsets, data: Bytes) -> Counts:
    n = len(offsets) - 1
    counts = np.zeros((n, len(NAMES)), dtype=np.int64)
    table = np.zeros(64, dtype=np.uint64)
    for row in range(n):
        start, end = offsets[row], offsets[row + 1]
        out = counts[row]
        newlines = np.int64(0)
        for i in range(start, end):
            newlines += data[i] == NEWLINE
        size = 64
        while size < 2 * newlines + 2:
            size *= 2
        if size > len(table):
            table = np.empty(size, dtype=np.uint64)
        table[:size] = 0
        out[3] = end - start - newlines
        while start < end:
            stop = line_end(data, start, end)
            within = continuations(data, start, stop)
            out[3] -= within
            _line(data, start, stop, stop - start - within, table[:size], out)
            start = stop + 1
    return counts


@part
def _line(data: Bytes, start: int, stop: int, length: int, table: Keys, out: Offsets) -> None:
    """Count the line data[start:stop], which has `length` characters."""
    begin, finish, _, last = strip(data, start, stop)
    if begin >= finish:
        return
    out[0] += 1
    if finish == stop and last < 0x80:
        out[1] += ASCII_END[last]
    elif finish == stop:
        for k in range(len(ENDS)):
            out[1] += last == ENDS[k]
    out[2] += length <= SHORT_LINE
    key = _key(data, start, stop)
    slot = np.int64((key * SECOND) >> HALF) & (len(table) - 1)
    while table[slot] != np.uint64(0) and table[slot] != key:
        slot = (slot + 1) & (len(table) - 1)
    out[4] += length * (table[slot] == key)
    table[slot] = key


@inline
def _mix(number: int) -> int:
    product = number * MULTIPLIER
    return product ^ product >> HALF


@inline
def _key(data: Bytes, begin: int, end: int) -> int:
    """A 64-bit hash of data[begin:end]; never 0, which marks a free slot."""
    key = np.uint64(end - begin) * SECOND
    while begin + 8 <= end:
        key = _mix(key ^ load_u64(data, begin))
        begin += 8
    rest = np.uint64(0)
    while begin < end:
        rest = rest << np.uint64(8) | np.uint64(data[begin])
        begin += 1
    key = _mix(key ^ rest)
    return key | np.uint64(key == np.uint64(0))

"""Count lines, and classify how they begin and end."""

import numpy as np
import pyarrow as pa

from curate.kernels.arrow import Bytes, Counts, Offsets, count_columns, plain_text, text_views
from curate.kernels.jit import inline, kernel, load_u64, trailing_zeros
from curate.kernels.unicode import SPACE, class_of, decode

BULLETS = np.array([ord(c) for c in "•‣▶◀◦■□▪▫–-*●○⁃∙·"], dtype=np.int64)
TERMINALS = np.array([ord(c) for c in ".!?\"'”’»…。！？」』।۔؟։"], dtype=np.int64)
ASCII_BULLET = np.isin(np.arange(128), BULLETS)
ASCII_TERMINAL = np.isin(np.arange(128), TERMINALS)
EIGHT_ONES, EIGHT_TOP_BITS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
NEWLINE, DOT, ELLIPSIS = 0x0A, 0x2E, 0x2026
SHORT_LINE = 30
NAMES = ("lines", "line_characters", "paragraphs", "bullet_lines", "ellipsis_lines", "terminal_lines", "short_lines",
         "longest_line")  # fmt: skip


def count_lines(texts: pa.Array) -> dict[str, pa.Array]:
    r"""Count the lines of each text (split at "\n", blank lines ignored) by the beginning and end of the stripped line.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    int64 columns, null where the text is null: lines; line_characters (of stripped lines); paragraphs (runs of
            lines between blank lines); bullet_lines (begin with a bullet); ellipsis_lines (end with "..." or "…");
            terminal_lines (end with sentence punctuation or a closing quote); short_lines (fewer than 30 characters);
            longest_line (characters).
    Cost:   one pass over the bytes; allocates only the result.
    Oracle: `str.split` and `str.strip` over each text (tests/kernels/test_kernels.py).
    """
    texts = plain_text(texts)
    return count_columns(texts, NAMES, _count(*text_views(texts)))


@kernel
def _count(offsets: Offsets, data: Bytes) -> Counts:
    n = len(offsets) - 1
    counts = np.zeros((n, 8), dtype=np.int64)
    for row in range(n):
        start, end = offsets[row], offsets[row + 1]
        out = counts[row]
        after_blank = True
        while start < end:
            stop = line_end(data, start, end)
            begin, finish, first, last = strip(data, start, stop)
            start = stop + 1
            if begin >= finish:
                after_blank = True
                continue
            length = finish - begin - continuations(data, begin, finish)
            out[0] += 1
            out[1] += length
            out[2] += after_blank
            after_blank = False
            if first < 0x80:
                out[3] += ASCII_BULLET[first]
            else:
                for bullet in BULLETS:
                    out[3] += first == bullet
            dots = (
                finish - begin >= 3 and data[finish - 1] == DOT and data[finish - 2] == DOT and data[finish - 3] == DOT
            )
            out[4] += dots or last == ELLIPSIS
            if last < 0x80:
                out[5] += ASCII_TERMINAL[last]
            else:
                for terminal in TERMINALS:
                    out[5] += last == terminal
            out[6] += length < SHORT_LINE
            out[7] = max(out[7], length)
    return counts


@inline
def line_end(data: Bytes, start: int, end: int) -> int:
    """The end of the line that begins at `start`: the next newline, or `end`."""
    return find_byte(data, start, end, NEWLINE)


@inline
def continuations(data: Bytes, begin: int, end: int) -> int:
    """The number of UTF-8 continuation bytes (10xxxxxx) in data[begin:end]."""
    count = np.int64(0)
    while begin + 8 <= end:
        eight = load_u64(data, begin)
        ones = (eight >> np.uint64(7)) & (~eight >> np.uint64(6)) & EIGHT_ONES
        count += np.int64((ones * EIGHT_ONES) >> np.uint64(56))  # the sum of the eight
        begin += 8
    while begin < end:
        count += data[begin] & 0xC0 == 0x80
        begin += 1
    return count


@inline
def find_byte(data: Bytes, i: int, end: int, byte: int) -> int:
    """The index of the first `byte` in data[i:end], or `end`.

    Compares eight bytes at a time: XOR with the byte, then the usual bit trick for the first zero byte.
    """
    eight = EIGHT_ONES * np.uint64(byte)
    while i < end and i + 8 <= len(data):
        x = load_u64(data, i) ^ eight
        zeros = (x - EIGHT_ONES) & ~x & EIGHT_TOP_BITS
        if zeros != np.uint64(0):
            return min(i + trailing_zeros(zeros) // 8, end)
        i += 8
    while i < end and data[i] != byte:
        i += 1
    return min(i, end)


@inline
def strip(data: Bytes, begin: int, finish: int) -> tuple[int, int, int, int]:
    """The bounds of data[begin:finish] without leading and trailing white space; its first and last code point."""
    first = last = np.int64(0)
    while begin < finish:
        first, size = decode(data, begin, finish)
        if np.int64(class_of(first)) & SPACE == 0:
            break
        begin += size
    while begin < finish:
        k = finish - 1
        while k > begin and data[k] & 0xC0 == 0x80:
            k -= 1
        last, size = decode(data, k, finish)
        if np.int64(class_of(last)) & SPACE == 0:
            break
        finish = k
    return begin, finish, first, last

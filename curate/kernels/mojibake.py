"""Characters that UTF-8 becomes when it is read as Windows-1252 or Latin-1."""

import numpy as np
import pyarrow as pa

from curate.kernels.arrow import Bytes, Counts, Offsets, count_columns, plain_text, text_views
from curate.kernels.jit import kernel, part
from curate.kernels.unicode import decode

# The byte that a character stands for in Windows-1252, and where that has none in Latin-1; 0 for all others.
BYTE_OF = np.zeros(0x2123, dtype=np.uint8)
BYTE_OF[0x80:0x100] = range(0x80, 0x100)
for _byte in range(0x80, 0xA0):
    if _letter := bytes([_byte]).decode("cp1252", "ignore"):
        BYTE_OF[ord(_letter)] = _byte
# How many bytes follow the first one of a character. Of those with one, the first bytes of the scripts most often seen:
# Latin, Greek, Cyrillic, Arabic. The others are capitals that may well stand before a closing quote.
FOLLOWING = np.zeros(256, dtype=np.int64)
FOLLOWING[[0xC2, 0xC3, 0xC4, 0xC5, 0xCE, 0xCF, 0xD0, 0xD1, 0xD8, 0xD9]] = 1
FOLLOWING[0xE0:0xF0] = 2
FOLLOWING[0xF0:0xF5] = 3
A_CIRCUMFLEX = 0xC2  # before a space: what was a space that does not break


def count_mojibake(texts: pa.Array) -> pa.Array:
    """Characters in sequences such as `Ã©`, `â€™` and `Â `, which are one character of UTF-8 read wrongly.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    int64, null where the text is null.
    Cost:   one pass over the bytes; allocates only the result.
    Oracle: a regular expression (tests/filters/signals/test_broken_text.py).
    """
    texts = plain_text(texts)
    return count_columns(texts, ["characters"], _count(*text_views(texts)))["characters"]


@kernel
def _count(offsets: Offsets, data: Bytes) -> Counts:
    counts = np.zeros((len(offsets) - 1, 1), dtype=np.int64)
    for row in range(len(offsets) - 1):
        end = offsets[row + 1]
        i = _next_other(data, offsets[row], end)
        while i < end:
            code, size = decode(data, i, end)
            byte = BYTE_OF[code] if code < len(BYTE_OF) else 0
            i += size
            after, n = _sequence(data, i, end, FOLLOWING[byte])
            if n == 0 and byte == A_CIRCUMFLEX and i < end and data[i] == 0x20:
                after, n = i + 1, 1
            if n > 0:
                counts[row, 0] += 1 + n
                i = after
            i = _next_other(data, i, end)
    return counts


@part
def _next_other(data: Bytes, i: int, end: int) -> int:
    while i < end and data[i] < 0x80:
        i += 1
    return i


@part
def _sequence(data: Bytes, i: int, end: int, n: int) -> tuple[int, int]:
    """Where `n` characters that stand for following bytes end, and `n`; 0 where there are fewer."""
    for _ in range(n):
        if i >= end:
            return i, 0
        code, size = decode(data, i, end)
        if code >= len(BYTE_OF) or not 0x80 <= BYTE_OF[code] < 0xC0:
            return i, 0
        i += size
    return i, n

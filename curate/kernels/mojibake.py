"""Count mojibake: UTF-8 that was decoded as Windows-1252 or Latin-1."""

import numpy as np
import pyarrow as pa

from curate.kernels.arrow import Bytes, Counts, Offsets, count_columns, plain_text, text_views
from curate.kernels.jit import kernel, part
from curate.kernels.unicode import decode

# The byte that encodes a character in Windows-1252, or in Latin-1 if Windows-1252 has none; 0 if neither has one.
BYTE_OF = np.zeros(0x2123, dtype=np.uint8)
BYTE_OF[0x80:0x100] = range(0x80, 0x100)
for _byte in range(0x80, 0xA0):
    if _letter := bytes([_byte]).decode("cp1252", "ignore"):
        BYTE_OF[ord(_letter)] = _byte
# Number of UTF-8 continuation bytes after a lead byte. Of two-byte sequences, only lead bytes of the most frequent
# scripts count (Latin, Greek, Cyrillic, Arabic): the others read as capitals that often precede a closing quote.
FOLLOWING = np.zeros(256, dtype=np.int64)
FOLLOWING[[0xC2, 0xC3, 0xC4, 0xC5, 0xCE, 0xCF, 0xD0, 0xD1, 0xD8, 0xD9]] = 1
FOLLOWING[0xE0:0xF0] = 2
FOLLOWING[0xF0:0xF5] = 3
A_CIRCUMFLEX = 0xC2  # before a space: a no-break space whose second byte was replaced by a space


def count_mojibake(texts: pa.Array) -> pa.Array:
    """Count the characters of sequences such as `Ã©`, `â€™` and `Â `, each of which is one misdecoded character.

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
    """The end of `n` characters that encode continuation bytes, and `n`; 0 instead if there are fewer."""
    for _ in range(n):
        if i >= end:
            return i, 0
        code, size = decode(data, i, end)
        if code >= len(BYTE_OF) or not 0x80 <= BYTE_OF[code] < 0xC0:
            return i, 0
        i += size
    return i, n

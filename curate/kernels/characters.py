"""Counts of characters by class."""

import numpy as np
import pyarrow as pa

from curate.kernels.arrow import Bytes, Counts, Offsets, count_columns, plain_text, text_views
from curate.kernels.jit import kernel
from curate.kernels.unicode import (
    ASCII_CLASS,
    CONTROL,
    DIGIT,
    LETTER,
    PUNCTUATION,
    REPLACEMENT,
    SPACE,
    SPACELESS,
    SYMBOL,
    UPPER,
    class_of,
    decode,
)

COUNTED = np.array([LETTER, DIGIT, UPPER, SPACE, PUNCTUATION, SYMBOL, CONTROL, SPACELESS], dtype=np.int64)
NAMES = ("letters", "digits", "uppercase", "spaces", "punctuation", "symbols", "controls", "spaceless",
         "characters", "non_ascii", "replacements", "bytes", "ascii_letters")  # fmt: skip


def count_characters(texts: pa.Array) -> dict[str, pa.Array]:
    """Characters (code points) per text by class.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    int64 columns, null where the text is null: letters (str.isalpha), digits (Nd), uppercase (Lu, Lt), spaces
            (str.isspace), punctuation (P*), symbols (S*), controls (Cc that are not spaces), spaceless (letters of
            scripts written without spaces), characters, non_ascii, replacements (U+FFFD), bytes, ascii_letters.
    Cost:   one pass over the bytes; allocates only the result.
    Oracle: unicodedata over each character (tests/test_kernels.py).
    """
    texts = plain_text(texts)
    return count_columns(texts, NAMES, _count(*text_views(texts)))


@kernel
def _count(offsets: Offsets, data: Bytes) -> Counts:
    n = len(offsets) - 1
    n_classes = len(COUNTED)
    counts = np.zeros((n, n_classes + 5), dtype=np.int64)
    # Four interleaved histograms: neighbouring bytes are often equal, and one counter would wait for its own store.
    ascii_counts = np.zeros((4, 128), dtype=np.int64)
    for row in range(n):
        start, end = offsets[row], offsets[row + 1]
        out = counts[row]
        n_other = 0
        other_bytes = 0
        ascii_counts[:] = 0
        i = start
        while i < end:
            byte = data[i]
            if byte < 0x80:
                ascii_counts[i & 3, byte] += 1
                i += 1
                continue
            code, size = decode(data, i, end)
            bits = np.int64(class_of(code))
            for k in range(n_classes):
                out[k] += (bits & COUNTED[k]) != 0
            out[n_classes + 2] += code == REPLACEMENT
            n_other += 1
            other_bytes += size
            i += size
        for byte in range(128):
            times = ascii_counts[0, byte] + ascii_counts[1, byte] + ascii_counts[2, byte] + ascii_counts[3, byte]
            if times:
                bits = np.int64(ASCII_CLASS[byte])
                for k in range(n_classes):
                    if bits & COUNTED[k]:
                        out[k] += times
                if bits & LETTER:
                    out[n_classes + 4] += times
        out[n_classes] = end - start - other_bytes + n_other
        out[n_classes + 1] = n_other
        out[n_classes + 3] = end - start
    return counts

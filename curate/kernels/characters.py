"""Character counts by class."""

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

# The classes of an ASCII byte, packed into one number with FIELD bits per class. Sums over BLOCK bytes cannot overflow.
# Symbols need no field: they are the ASCII bytes of no other class.
FIELD, BLOCK = 10, 1000
PACKED = (LETTER, DIGIT, UPPER, SPACE, PUNCTUATION, CONTROL)
ASCII_PACKED = sum(((ASCII_CLASS & bit) != 0).astype(np.int64) << FIELD * k for k, bit in enumerate(PACKED))


def count_characters(texts: pa.Array) -> dict[str, pa.Array]:
    """Count the characters (code points) of each text by class.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    int64 columns, null where the text is null: letters (str.isalpha), digits (Nd), uppercase (Lu, Lt), spaces
            (str.isspace), punctuation (P*), symbols (S*), controls (Cc that are not spaces), spaceless (letters of
            scripts written without spaces), characters, non_ascii, replacements (U+FFFD), bytes, ascii_letters.
    Cost:   one pass over the bytes; allocates only the result.
    Oracle: unicodedata over each character (tests/kernels/test_kernels.py).
    """
    texts = plain_text(texts)
    return count_columns(texts, NAMES, _count(*text_views(texts)))


@kernel
def _count(offsets: Offsets, data: Bytes) -> Counts:
    n = len(offsets) - 1
    n_classes = len(COUNTED)
    field = np.int64((1 << FIELD) - 1)
    counts = np.zeros((n, n_classes + 5), dtype=np.int64)
    for row in range(n):
        start, end = offsets[row], offsets[row + 1]
        letters = digits = uppercase = spaces = punctuation = controls = ascii_bytes = others = np.int64(0)
        out = counts[row]
        i = start
        while i < end:
            stop = min(i + BLOCK, end)
            first = i
            packed = np.int64(0)
            while i < stop and data[i] < 0x80:
                packed += ASCII_PACKED[data[i]]
                i += 1
            if i > first:
                ascii_bytes += i - first
                letters += packed & field
                digits += packed >> FIELD & field
                uppercase += packed >> 2 * FIELD & field
                spaces += packed >> 3 * FIELD & field
                punctuation += packed >> 4 * FIELD & field
                controls += packed >> 5 * FIELD & field
            while i < end and data[i] >= 0x80:
                code, size = decode(data, i, end)
                bits = np.int64(class_of(code))
                for k in range(n_classes):
                    out[k] += (bits & COUNTED[k]) != 0
                out[n_classes + 2] += code == REPLACEMENT
                others += 1
                i += size
        out[0] += letters
        out[1] += digits
        out[2] += uppercase
        out[3] += spaces
        out[4] += punctuation
        out[5] += ascii_bytes - letters - digits - spaces - punctuation - controls
        out[6] += controls
        out[n_classes] = ascii_bytes + others
        out[n_classes + 1] = others
        out[n_classes + 3] = end - start
        out[n_classes + 4] = letters
    return counts

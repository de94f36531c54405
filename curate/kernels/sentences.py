"""Count sentences by rules."""

import numpy as np
import pyarrow as pa

from curate.kernels.arrow import Bytes, Counts, Offsets, count_columns, plain_text, text_views
from curate.kernels.jit import kernel, part
from curate.kernels.unicode import DIGIT, LETTER, SPACE, class_of, decode

SPACED_ENDS = np.array([ord(c) for c in ".!?…؟۔।॥։።"], dtype=np.int64)  # only before white space or the end
WIDE_ENDS = np.array([ord(c) for c in "。！？．｡"], dtype=np.int64)  # anywhere
CLOSERS = np.array([ord(c) for c in ")]}\"'”’»）」』】》"], dtype=np.int64)
NEWLINE, DOT = 0x0A, 0x2E
NOTHING, SPACED, WIDE, LINE = range(4)
MAY_END = np.zeros(256, dtype=np.bool_)  # first bytes of characters that may end a sentence
MAY_END[[NEWLINE, *(chr(code).encode()[0] for code in (*SPACED_ENDS, *WIDE_ENDS))]] = True
ASCII_ROLE = np.full(128, NOTHING, dtype=np.int64)
ASCII_ROLE[[0x21, 0x2E, 0x3F]] = SPACED
ASCII_ROLE[NEWLINE] = LINE


def count_sentences(texts: pa.Array) -> pa.Array:
    """Count sentences: segments with a letter or digit that end at a sentence end, a newline or the end of the text.

    A sentence end is one of . ! ? … ؟ ۔ । ॥ ։ ። with the closing quotes and brackets after it, before white space or
    the end of the text; or one of 。！？．｡ anywhere. A full stop before spaces and a lower-case letter (a to z) does
    not end a sentence.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    int64, null where the text is null.
    Cost:   one pass over the bytes; allocates only the result.
    Oracle: `re.split` over each text (tests/kernels/test_kernels_of_rules.py).
    """
    texts = plain_text(texts)
    return count_columns(texts, ["sentences"], _count(*text_views(texts)))["sentences"]


@kernel
def _count(offsets: Offsets, data: Bytes) -> Counts:
    counts = np.zeros((len(offsets) - 1, 1), dtype=np.int64)
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        i = begin
        sentences = np.int64(0)
        while True:
            while i < end and not MAY_END[data[i]]:
                i += 1
            if i >= end:
                break
            stop = i
            if data[i] < 0x80:
                code, role = np.int64(data[i]), ASCII_ROLE[data[i]]
                i += 1
            else:
                code, size = decode(data, i, end)
                role = _role(code)
                i += size
            if role == SPACED:
                i, role = _behind_mark(data, i, end, code)
            if role >= WIDE:
                sentences += _holds_letter_or_digit(data, begin, stop)
                begin = i
        counts[row, 0] = sentences + _holds_letter_or_digit(data, begin, end)
    return counts


@part
def _role(code: int) -> int:
    """The role of a character in sentence splitting."""
    if code < 0x80:
        return ASCII_ROLE[code]
    for mark in SPACED_ENDS:
        if code == mark:
            return np.int64(SPACED)
    for mark in WIDE_ENDS:
        if code == mark:
            return np.int64(WIDE)
    return np.int64(NOTHING)


@part
def _holds_letter_or_digit(data: Bytes, begin: int, end: int) -> bool:
    while begin < end:
        code, size = np.int64(data[begin]), 1
        if code >= 0x80:
            code, size = decode(data, begin, end)
        if class_of(code) & np.int64(LETTER | DIGIT):
            return True
        begin += size
    return False


@part
def _behind_mark(data: Bytes, i: int, end: int, mark: int) -> tuple[int, int]:
    """The end of the marks and closers after a mark that ends at `i`; LINE if they end a sentence, else NOTHING."""
    while i < end and data[i] != 0x20 and data[i] != NEWLINE:
        code, size = decode(data, i, end)
        closes = False
        for closer in CLOSERS:
            closes = closes or code == closer
        if not closes and _role(code) != SPACED:
            if class_of(code) & np.int64(SPACE) == 0:
                return i, np.int64(NOTHING)
            break
        if not closes:
            mark = code
        i += size
    k = i
    while mark == DOT and k < end and data[k] == 0x20:
        k += 1
    small = k > i and k < end and 0x61 <= data[k] <= 0x7A
    return i, np.int64(NOTHING if small else LINE)

"""Count words, and nothing else, up to a limit."""

import numpy as np
import pyarrow as pa

from curate.kernels.arrow import Bytes, Counts, Offsets, count_columns, plain_text, text_views
from curate.kernels.cuts import END, START, Table
from curate.kernels.eight import TOPS, blank_from, load_until, number_of, spaces
from curate.kernels.jit import kernel, part, trailing_zeros
from curate.kernels.unicode import ASCII_CLASS, DIGIT, DIVIDER, LETTER, SPACE, SPACELESS, class_of, decode

IS_SPACE = np.array([bits & SPACE != 0 for bits in ASCII_CLASS] + [False] * 128)
ASCII_STEP = np.where(ASCII_CLASS & SPACE, 0, np.where(ASCII_CLASS & (LETTER | DIGIT), 2, 1)).astype(np.int64)
NO_SPANS = np.empty((0, 4), dtype=np.int64)
TOP, BYTE, LAST_BYTE = np.uint64(0x80), np.uint64(8), np.uint64(56)


def number_of_words(texts: pa.Array) -> pa.Array:
    """Count words per text, as `count_words` does.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    int64, null where the text is null.
    Cost:   one pass over the bytes; allocates only the result.
    Oracle: regular expressions over each text (tests/kernels/test_kernels.py).
    """
    texts = plain_text(texts)
    return count_columns(texts, ["words"], _count(*text_views(texts)))["words"]


@kernel
def _count(offsets: Offsets, data: Bytes) -> Counts:
    counts = np.zeros((len(offsets) - 1, 1), dtype=np.int64)
    for row in range(len(offsets) - 1):
        counts[row, 0] = words_up_to(data, offsets[row], offsets[row + 1], offsets[row + 1] - offsets[row])
    return counts


@part
def words_up_to(data: Bytes, begin: int, end: int, limit: int) -> int:
    """The number of words in data[begin:end], at most `limit`."""
    words = np.int64(0)
    i, after_space = begin, TOP  # TOP or 0
    while i < end and words < limit:
        eight = load_until(data, i, end)
        following = i + 8
        if eight & TOPS != np.uint64(0):  # count a run with non-ASCII characters separately, from its beginning
            start = stop = i + trailing_zeros(eight & TOPS) // 8
            while start > begin and not IS_SPACE[data[start - 1]]:
                start -= 1
            while stop < end and not IS_SPACE[data[stop]]:
                stop += 1
            words += words_outside(data, start, stop, limit, NO_SPANS, 0, 0)
            words -= start < i  # its beginning was counted already
            eight = blank_from(eight, max(start - i, 0))
            following = stop
        space = spaces(eight)
        words += number_of(~space & (space << BYTE | after_space) & TOPS)
        after_space = TOP if following < i + 8 else space >> LAST_BYTE
        i = following
    return min(words, limit)


@part
def words_outside(data: Bytes, i: int, end: int, limit: int, spans: Table, span: int, last: int) -> int:
    """The number of words in data[i:end] without spans[span:last], at most `limit`.

    `step` is the class of a character: 0 divides words, 1 is a mark, 2 a letter or digit, 3 a letter of a script
    without spaces.
    """
    words, word = np.int64(0), np.int64(0)
    while i < end and words < limit:
        if span < last and i == spans[span, START]:
            i = spans[span, END]
            span += 1
            continue
        if data[i] < 0x80:
            step = ASCII_STEP[data[i]]
            i += 1
        else:
            code, size = decode(data, i, end)
            bits = np.int64(class_of(code))
            i += size
            step = np.int64(0)
            if bits & (SPACE | DIVIDER) == 0:
                step = np.int64(3 if bits & SPACELESS else 2 if bits & (LETTER | DIGIT) else 1)
        if word != 0 and (step == 0 or (step == 3 and word >= 2) or (step == 2 and word == 3)):
            words += 1
            word = np.int64(0)
        word = max(word, step) if step else np.int64(0)
    return min(words + (word != 0), limit)

"""Count marks and odd words that are more frequent in spam, OCR errors and shouting than in prose."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.kernels.arrow import Bytes, Counts, Offsets, count_columns, plain_text, text_views
from curate.kernels.jit import inline, kernel

NAMES = ("exclamations", "commas", "money", "addresses", "doubled_marks", "runs", "vowelless", "mixed",
         "inner_capitals")  # fmt: skip
COUNTED_MARKS = "!,$@"
ADDRESSES, DOUBLED, RUNS = (NAMES.index(name) for name in ("addresses", "doubled_marks", "runs"))
COLON, SLASH = ord(":"), ord("/")
CAPITAL, SMALL, VOWEL, DIGIT, MARK = 1, 2, 4, 8, 16
LETTER = CAPITAL | SMALL
LONG = 3  # shortest run that counts as vowelless


def _kinds() -> npt.NDArray[np.int64]:
    kinds = np.zeros(256, dtype=np.int64)
    for byte in range(128):
        c = chr(byte)
        kinds[byte] = CAPITAL * c.isupper() | SMALL * c.islower() | VOWEL * (c in "aeiouyAEIOUY") | DIGIT * c.isdigit()
        kinds[byte] |= MARK * (c.isprintable() and not c.isalnum() and c != " ")
    kinds[128:] = SMALL | VOWEL  # bytes beyond ASCII, so that they never make a run odd
    return kinds


KINDS = _kinds()
COUNTED = np.full(256, -1, dtype=np.int64)
COUNTED[[ord(c) for c in COUNTED_MARKS]] = range(len(COUNTED_MARKS))


def count_oddities(texts: pa.Array) -> dict[str, pa.Array]:
    """Count marks and odd runs of letters and digits, byte by byte; bytes beyond ASCII count as lower-case vowels.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    int64 columns, null where the text is null: exclamations (!), commas, money ($), addresses (@ and ://),
            doubled_marks (an ASCII mark after the same mark), runs (of letters and digits); and of these runs:
            vowelless (three letters or more, none of aeiouy), mixed (letters and digits), inner_capitals (a capital
            after a lower-case letter).
    Cost:   one pass over the bytes; allocates only the result.
    Oracle: regular expressions over each text (tests/kernels/test_hashed_ngrams.py).
    """
    texts = plain_text(texts)
    return count_columns(texts, NAMES, _count(*text_views(texts)))


@inline
def _run(data: Bytes, begin: int, end: int) -> tuple[int, int, int]:
    """The end of the run of letters and digits at `begin`, the kinds in it, and whether it has an inner capital."""
    i = begin
    found = inner = last = np.int64(0)
    while i < end:
        kind = KINDS[data[i]]
        if kind & (LETTER | DIGIT) == 0:
            break
        found |= kind
        inner |= kind & (last >> 1)  # sets CAPITAL for a capital after a lower-case letter
        last = kind
        i += 1
    return i, found, inner & CAPITAL


@kernel
def _count(offsets: Offsets, data: Bytes) -> Counts:
    counts = np.zeros((len(offsets) - 1, len(NAMES)), dtype=np.int64)
    for row in range(len(counts)):
        out = counts[row]
        i, end = offsets[row], offsets[row + 1]
        before = np.int64(0)
        runs = vowelless = mixed = inner_capitals = np.int64(0)
        while i < end:
            byte = np.int64(data[i])
            kind = KINDS[byte]
            if kind & (LETTER | DIGIT):
                stop, found, inner = _run(data, i, end)
                runs += 1
                vowelless += np.int64(found & (VOWEL | DIGIT) == 0) & np.int64(stop - i >= LONG)
                mixed += np.int64(found & DIGIT != 0) & np.int64(found & LETTER != 0)
                inner_capitals += inner
                before = np.int64(0)
                i = stop
                continue
            if kind & MARK:
                out[DOUBLED] += byte == before
                if COUNTED[byte] >= 0:
                    out[COUNTED[byte]] += 1
                if byte == COLON and i + 2 < end and data[i + 1] == SLASH and data[i + 2] == SLASH:
                    out[ADDRESSES] += 1
            before = byte
            i += 1
        out[RUNS], out[RUNS + 1], out[RUNS + 2], out[RUNS + 3] = runs, vowelless, mixed, inner_capitals
    return counts

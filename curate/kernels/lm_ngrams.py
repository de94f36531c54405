"""Number the words of lines, list their n-grams as columns, and format n-grams as lines of an ARPA file."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.kernels.arrow import Bytes, Offsets, text_views
from curate.kernels.jit import inline, kernel
from curate.kernels.xxh3 import xxh3_64

Numbers = npt.NDArray[np.int32]  # word ids
Hashes = npt.NDArray[np.uint64]
Reals = npt.NDArray[np.float64]

SPECIAL = ("<unk>", "<s>", "</s>")  # the words with the numbers 0, 1, 2
UNKNOWN, BEGIN, END = np.int32(0), np.int32(1), np.int32(2)
BLANK, NEWLINE, TAB, MINUS, DOT, ZERO = (ord(c) for c in " \n\t-.0")
DIGITS = 7  # after the decimal point: the precision of a 32-bit float of this magnitude
SCALE = 10**DIGITS
NUMBER_BYTES = DIGITS + 8  # longest formatted number: a sign, up to six digits, a point, DIGITS digits


@dataclass
class Vocabulary:
    """Words numbered by first occurrence, and identified by a 64-bit hash."""

    hashes: Hashes = field(
        default_factory=lambda: np.zeros(1 << 16, dtype=np.uint64)
    )  # open addressing with linear probing; 0 marks a free slot
    numbers: Numbers = field(default_factory=lambda: np.zeros(1 << 16, dtype=np.int32))  # of the word in each slot
    letters: Bytes = field(default_factory=lambda: np.zeros(1 << 20, dtype=np.uint8))  # all words, concatenated
    bounds: Offsets = field(default_factory=lambda: np.zeros(1 << 15, dtype=np.int64))  # offset of each word in letters
    size: int = 0

    def __post_init__(self) -> None:
        data = np.frombuffer("".join(SPECIAL).encode(), np.uint8)
        self.letters[: len(data)] = data
        self.size = len(SPECIAL)
        self.bounds[1 : self.size + 1] = np.cumsum([len(word) for word in SPECIAL])

    def words(self) -> tuple[Offsets, Bytes]:
        """The offsets and the letters of all words."""
        bounds = self.bounds[: self.size + 1]
        return bounds, self.letters[: bounds[-1]]

    def number(self, lines: pa.Array) -> Numbers:
        """Encode lines as word numbers, each line between <s> and </s>; a new word gets the next number.

        In:     large_string without nulls, as `lm_lines` makes them.
        Oracle: a dictionary (tests/kernels/test_lm_ngrams.py).
        """
        offsets, data = text_views(lines)
        out = np.empty(_count_tokens(offsets, data) + 2 * len(lines), dtype=np.int32)
        line = size = 0
        while True:
            table = (self.hashes, self.numbers, self.letters, self.bounds)
            line, size, self.size = _number(offsets, data, line, out, size, *table, self.size)
            if line == len(lines):
                return out
            self._grow()

    def _grow(self) -> None:
        """Double the capacity for words and for letters."""
        hashes, numbers = np.zeros(2 * len(self.hashes), np.uint64), np.zeros(2 * len(self.hashes), np.int32)
        _move(self.hashes, self.numbers, hashes, numbers)
        self.hashes, self.numbers = hashes, numbers
        self.letters = np.concatenate([self.letters, np.zeros_like(self.letters)])
        self.bounds = np.concatenate([self.bounds, np.zeros_like(self.bounds)])


def ngram_columns(numbers: Numbers, order: int) -> list[Numbers]:
    """The n-gram that ends at each word except <s>, as `order` columns: the word, its predecessor, and so on.

    In:     lines of numbers, each from <s> to </s>.
    Out:    an n-gram reaches back to <s> at most; positions before it are 0.
    Oracle: slices of lists (tests/kernels/test_lm_ngrams.py).
    """
    return list(_columns(numbers, order))


def arpa_lines(
    vocabulary: tuple[Offsets, Bytes], columns: Sequence[Numbers], log_p: Reals, log_backoff: Reals | None
) -> Bytes:
    """Format lines of an ARPA file: log probability, tab, words, and, with `log_backoff`, tab and log backoff.

    In:     columns of words from last to first; log_p is at most 0, log_backoff has any sign.
    Oracle: Python's own formatting (tests/kernels/test_lm_ngrams.py).
    """
    rows = np.stack(columns)
    return _write(*vocabulary, rows, log_p, np.empty(0) if log_backoff is None else log_backoff)


@kernel
def _count_tokens(offsets: Offsets, data: Bytes) -> int:
    count = np.int64(len(offsets) - 1)
    for i in range(offsets[0], offsets[-1]):
        count += data[i] == BLANK
    return count


@inline
def _place(h: int, size: int) -> int:
    return np.int64(h & np.uint64(size - 1))


@kernel
def _number(
    offsets: Offsets, data: Bytes, line: int, out: Numbers, size: int,
    hashes: Hashes, numbers: Numbers, letters: Bytes, bounds: Offsets, known: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Encode lines from `line` on, up to the first that overflows the table or the letters.

    Returns the index of that line, the size of `out`, and the number of known words.
    """
    most = len(hashes) // 2 - 1
    while line < len(offsets) - 1:
        i, end = offsets[line], offsets[line + 1]
        start = size
        out[size] = BEGIN
        size += 1
        while i < end:
            stop = i
            while stop < end and data[stop] != BLANK:
                stop += 1
            h = np.uint64(xxh3_64(data.ctypes.data + i, stop - i))
            h |= np.uint64(h == np.uint64(0))
            place = _place(h, len(hashes))
            while hashes[place] != h and hashes[place] != np.uint64(0):
                place = (place + 1) & (len(hashes) - 1)
            if hashes[place] == np.uint64(0):
                used = bounds[known]
                if known >= most or used + stop - i > len(letters):
                    return line, start, known
                hashes[place], numbers[place] = h, known
                letters[used : used + stop - i] = data[i:stop]
                known += 1
                bounds[known] = used + stop - i
            out[size] = numbers[place]
            size += 1
            i = stop + 1
        out[size] = END
        size += 1
        line += 1
    return line, size, known


@kernel
def _move(hashes: Hashes, numbers: Numbers, new_hashes: Hashes, new_numbers: Numbers) -> None:
    for k in range(len(hashes)):
        if hashes[k] != np.uint64(0):
            place = _place(hashes[k], len(new_hashes))
            while new_hashes[place] != np.uint64(0):
                place = (place + 1) & (len(new_hashes) - 1)
            new_hashes[place], new_numbers[place] = hashes[k], numbers[k]


@kernel
def _columns(numbers: Numbers, order: int) -> npt.NDArray[np.int32]:
    count = np.int64(0)
    for number in numbers:
        count += number != BEGIN
    columns = np.zeros((order, count), dtype=np.int32)
    n = np.int64(0)
    for i in range(len(numbers)):
        if numbers[i] == BEGIN:
            continue
        for k in range(order):
            columns[k, n] = numbers[i - k]
            if numbers[i - k] == BEGIN:
                break
        n += 1
    return columns


@inline
def _write_number(out: Bytes, size: int, number: float) -> int:
    """Write a number with DIGITS decimal places, and zero as "0"; return the new size of `out`."""
    whole = np.int64(np.rint(abs(number) * SCALE))
    if whole == 0:
        out[size] = ZERO
        return size + 1
    if number < 0:
        out[size] = MINUS
        size += 1
    before, least = whole // SCALE, np.int64(1)
    while least * 10 <= before:
        least *= 10
    while least > 0:
        out[size] = ZERO + before // least % 10
        size += 1
        least //= 10
    out[size] = DOT
    least = np.int64(SCALE // 10)
    while least > 0:
        size += 1
        out[size] = ZERO + whole // least % 10
        least //= 10
    return size + 1


@kernel
def _write(bounds: Offsets, letters: Bytes, rows: npt.NDArray[np.int32], log_p: Reals, log_backoff: Reals) -> Bytes:
    order, count = rows.shape
    room = np.int64((2 * NUMBER_BYTES + 3) * count)
    for k in range(order):
        for n in range(count):
            room += bounds[rows[k, n] + 1] - bounds[rows[k, n]] + 1
    out = np.empty(room, dtype=np.uint8)
    size = np.int64(0)
    for n in range(count):
        size = _write_number(out, size, log_p[n])
        for k in range(order - 1, -1, -1):
            out[size] = TAB if k == order - 1 else BLANK
            size += 1
            begin, end = bounds[rows[k, n]], bounds[rows[k, n] + 1]
            out[size : size + end - begin] = letters[begin:end]
            size += end - begin
        if len(log_backoff):
            out[size] = TAB
            size = _write_number(out, size + 1, log_backoff[n])
        out[size] = NEWLINE
        size += 1
    return out[:size].copy()

r"""Find the word n-grams that texts share with a reference set, by rolling hash.

Words are those of shingles: a lower-cased `\w+`, or a single letter in scripts without spaces. The key of an n-gram is
the polynomial w_1 B^(n-1) + … + w_n modulo 2^64 of its word hashes (xxh3_64); it is updated in constant time from word
to word. Different n-grams collide with probability 2^-64 (2^-58 if they consist of the same words). The probability of
a false hit is 5 % for a million n-grams and 10^12 words of text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curate.kernels.arrow import Bytes, Counts, Offsets, plain_text, text_views
from curate.kernels.jit import inline, kernel, part
from curate.kernels.minhash import GROWTH, IN_CONTEXT, Hashes, lowered, room, split_words
from curate.kernels.unicode import SPACE, SPACELESS, WORD, class_of, decode
from curate.kernels.xxh3 import xxh3_64

BASE = np.uint64(0xD6E8FEB86659FD93)  # 3 modulo 8, which minimises the factors of 2 in B^k - 1
SPREAD = np.uint64(0x9E3779B97F4A7C15)
ONE = np.uint64(1)
FILTER_BITS = 3  # the filter has 2^3 bits per slot of the table
MIN_SLOT_BITS = 6
State = tuple[int, int, int]


@dataclass(frozen=True)
class NgramTable:
    """Hash table (open addressing) from the key of an n-gram to a place: the number of the item it comes from.

    The filter has a bit set for each key. Most words begin no n-gram of the table, so most lookups end at the filter.
    """

    lengths: tuple[int, ...]  # numbers of words of the n-grams
    filter: Hashes
    keys: Hashes  # 0 in an empty slot
    places: Hashes

    @classmethod
    def unpacked(cls, lengths: tuple[int, ...], packed: Hashes) -> "NgramTable":
        """Rebuild a table from the array that `packed` returned."""
        slots = len(packed) * 8 // 17
        bits = slots // 8
        return cls(lengths, packed[:bits], packed[bits : bits + slots], packed[bits + slots :])

    def packed(self) -> Hashes:
        """Concatenate filter, keys and places into one array."""
        return np.concatenate([self.filter, self.keys, self.places])


@dataclass(frozen=True)
class Overlaps:
    """The n-grams of a table that occur in texts."""

    words: Offsets  # number of words of each text
    ngrams: Offsets  # number of positions in each text at which an n-gram of the table begins
    covered: Offsets  # number of words of each text within such n-grams
    # A row for each run of overlapping or adjacent n-grams with the same place: text, first byte, end, n-grams, place.
    spans: Counts


def ngram_keys(texts: pa.Array, ngram: int, least: int) -> tuple[Hashes, Offsets, Offsets]:
    """Compute the keys of all n-grams of `ngram` words; a shorter text of at least `least` words is one n-gram.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    for each n-gram, in order: its key, its text, its number of words.
    """
    texts = plain_text(texts)
    keys, rows, lengths, context = _keys_of(*text_views(texts), ngram, least)
    if context:  # rare, so simply recompute all texts
        keys, rows, lengths, _ = _keys_of(*text_views(lowered(texts, np.arange(len(texts)))), ngram, least)
    return keys, rows, lengths


def ngram_table(keys: Hashes, places: Hashes, lengths: Sequence[int]) -> NgramTable:
    """Build a table; a duplicate key keeps its first place."""
    distinct, first = np.unique(keys, return_index=True)
    bits = max(MIN_SLOT_BITS, int(2 * len(distinct)).bit_length())  # load factor between 1/4 and 1/2
    table = NgramTable(
        tuple(sorted(lengths)),
        np.zeros((1 << bits + FILTER_BITS) // 64, dtype=np.uint64),
        np.zeros(1 << bits, dtype=np.uint64),
        np.zeros(1 << bits, dtype=np.uint64),
    )
    _fill(distinct, places[first], table.filter, table.keys, table.places)
    for array in (table.filter, table.keys, table.places):  # read-only, as when mapped from a file: one numba signature
        array.flags.writeable = False
    return table


def find_overlaps(texts: pa.Array, table: NgramTable) -> Overlaps:
    """Find the n-grams of a table in each text.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    counts for each text, and the spans sorted by text, length of their n-grams, and start.
    Cost:   one pass over the bytes, one hash per word, and one filter lookup per word and length.
    Oracle: tuples of words in a dict (tests/kernels/test_overlap.py).
    """
    texts = plain_text(texts)
    lengths = np.array(table.lengths, dtype=np.int64)
    arrays = (lengths, table.filter, table.keys, table.places)
    counts, spans = _find(*text_views(texts), *arrays)
    context = np.flatnonzero(counts[:, 0] == IN_CONTEXT)
    if len(context):
        counts[context], more = _find(*text_views(lowered(texts, context)), *arrays)
        spans = np.concatenate([spans, _as_written(texts, context, more)])
        spans = spans[np.argsort(spans[:, 0], kind="stable")]
    return Overlaps(counts[:, 0], counts[:, 1], counts[:, 2], spans)


def with_marks(texts: pa.Array, spans: Counts) -> Counts:
    """Widen spans by the adjacent characters that are neither white space nor part of a word."""
    wider = spans.copy()
    _widen(*text_views(plain_text(texts)), wider)
    return wider


def _as_written(texts: pa.Array, rows: Offsets, spans: Counts) -> Counts:
    """Map spans in texts lower-cased by Python back to the original texts."""
    moved = spans.copy()
    moved[:, 0] = rows[spans[:, 0]]
    for row in np.unique(moved[:, 0]):
        text = texts[int(row)].cast(pa.large_binary()).as_py().decode(errors="replace")
        after = np.cumsum([len(c.lower().encode()) for c in text])
        before = np.cumsum([0, *(len(c.encode()) for c in text)])
        here = moved[:, 0] == row
        moved[here, 1] = before[np.searchsorted(after, moved[here, 1], "right")]
        moved[here, 2] = before[np.searchsorted(after, moved[here, 2]) + 1]
    return moved


@inline
def _word_hash(place: int, starts: Offsets, k: int) -> int:
    """The hash of word `k`; `place` is the memory address of the words."""
    return xxh3_64(place + starts[k], starts[k + 1] - 1 - starts[k])


@inline
def _slot(key: int, size: int) -> int:
    """The home position of a key among `size` slots or bits, a power of two."""
    return np.int64(((key * SPREAD) >> np.uint64(32)) & np.uint64(size - 1))


@kernel
def _keys_of(offsets: Offsets, data: Bytes, ngram: int, least: int) -> tuple[Hashes, Offsets, Offsets, bool]:
    longest = room(offsets)
    out = np.empty(GROWTH * longest + 8, dtype=np.uint8)
    starts = np.empty(longest // 2 + 3, dtype=np.int64)
    most = (offsets[-1] - offsets[0]) // 2 + len(offsets)
    keys = np.empty(most, dtype=np.uint64)
    rows, lengths = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int64)
    found = np.int64(0)
    context = False
    for row in range(len(offsets) - 1):
        n = split_words(data, offsets[row], offsets[row + 1], out, starts)
        context |= n == IN_CONTEXT
        length = min(n, ngram)
        if length < min(least, ngram) or length < 1:
            continue
        for first in range(n - length + 1):
            key = np.uint64(0)
            for k in range(first, first + length):
                key = key * BASE + _word_hash(out.ctypes.data, starts, k)
            keys[found], rows[found], lengths[found] = max(key, ONE), row, length
            found += 1
    return keys[:found].copy(), rows[:found].copy(), lengths[:found].copy(), context


@kernel
def _fill(keys: Hashes, places: Hashes, bits: Hashes, slots: Hashes, held: Hashes) -> None:
    """Insert distinct keys into an empty table."""
    for k in range(len(keys)):
        bit = _slot(keys[k], 64 * len(bits))
        bits[bit >> 6] |= ONE << np.uint64(bit & 63)
        slot = _slot(keys[k], len(slots))
        while slots[slot]:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot], held[slot] = keys[k], places[k]


@part
def _next(hashes: Hashes, k: int, stop: int, key: int, length: int, out: int, bits: Hashes, slots: Hashes) -> State:
    """The first word in k … stop - 1 at which an n-gram of the table begins, the rolling key there, and its slot."""
    size = 64 * len(bits)
    while k < stop:
        bit = _slot(key, size)
        if bits[bit >> 6] >> np.uint64(bit & 63) & ONE:
            known = max(key, ONE)
            slot = _slot(known, len(slots))
            while slots[slot] and slots[slot] != known:
                slot = (slot + 1) & (len(slots) - 1)
            if slots[slot]:
                return k, key, slot
        key = key * BASE + hashes[k + length] - hashes[k] * out
        k += 1
    return k, key, np.int64(0)


@kernel
def _spans(
    row: int, hashes: Hashes, n: int, length: int, bits: Hashes, slots: Hashes, places: Hashes,
    spans: Counts, found: int,
) -> tuple[Counts, int]:  # fmt: skip
    """Append to the `found` existing spans those of n-grams of one length; their bounds are word indices."""
    key, out = np.uint64(0), ONE
    for k in range(length):
        key, out = key * BASE + hashes[k], out * BASE
    first, stop = found, n - length + 1
    k, key, slot = _next(hashes, 0, stop, key, length, out, bits, slots)
    while k < stop:
        place = np.int64(places[slot])
        if found > first and spans[found - 1, 4] == place and k <= spans[found - 1, 2]:
            spans[found - 1, 2] = k + length
            spans[found - 1, 3] += 1
        else:
            if found == len(spans):
                spans = np.concatenate((spans, np.empty_like(spans)))
            spans[found] = row, k, k + length, 1, place
            found += 1
        key = key * BASE + hashes[k + length] - hashes[k] * out
        k, key, slot = _next(hashes, k + 1, stop, key, length, out, bits, slots)
    return spans, found


@kernel
def _find(
    offsets: Offsets, data: Bytes, lengths: Offsets, bits: Hashes, slots: Hashes, places: Hashes
) -> tuple[Counts, Counts]:
    counts = np.zeros((len(offsets) - 1, 3), dtype=np.int64)
    spans = np.empty((64, 5), dtype=np.int64)
    found = np.int64(0)
    longest = room(offsets)
    out = np.empty(GROWTH * longest + 8, dtype=np.uint8)
    starts = np.empty(longest // 2 + 3, dtype=np.int64)
    ends = np.empty(longest // 2 + 3, dtype=np.int64)
    hashes = np.zeros(longest // 2 + 3, dtype=np.uint64)
    for row in range(len(counts)):
        counts[row, 0] = n = split_words(data, offsets[row], offsets[row + 1], out, starts)
        if len(lengths) == 0 or n < lengths[0]:
            continue
        for k in range(n):
            hashes[k] = _word_hash(out.ctypes.data, starts, k)
        first = found
        for length in lengths:
            if length <= n:
                spans, found = _spans(row, hashes, n, length, bits, slots, places, spans, found)
        if found > first:
            counts[row, 1] = spans[first:found, 3].sum()
            counts[row, 2] = _covered(spans[first:found], n)
            split_places(data, offsets[row], offsets[row + 1], starts, ends)
            for k in range(first, found):
                spans[k, 1], spans[k, 2] = starts[spans[k, 1]], ends[spans[k, 2] - 1]
    return counts, spans[:found].copy()


@kernel
def _covered(spans: Counts, n: int) -> int:
    """The number of words, of n, that are within the spans; the bounds of spans are word indices."""
    inside = np.zeros(n, dtype=np.bool_)
    for k in range(len(spans)):
        inside[spans[k, 1] : spans[k, 2]] = True
    return inside.sum()


@kernel
def split_places(data: Bytes, begin: int, end: int, starts: Offsets, ends: Offsets) -> None:
    """Write the start and end, relative to `begin`, of each word of data[begin:end]; words as in `split_words`."""
    n, i = np.int64(0), begin
    inside = False
    while i < end:
        code, length = decode(data, i, end)
        bits = np.int64(class_of(code))
        if bits & WORD:
            if not inside or bits & SPACELESS:
                starts[n] = i - begin
                n += 1
            ends[n - 1] = i + length - begin
        inside = bits & WORD != 0 and bits & SPACELESS == 0
        i += length


@kernel
def _widen(offsets: Offsets, data: Bytes, spans: Counts) -> None:
    for k in range(len(spans)):
        begin, end = offsets[spans[k, 0]], offsets[spans[k, 0] + 1]
        start, stop = begin + spans[k, 1], begin + spans[k, 2]
        while stop < end:
            code, length = decode(data, stop, end)
            if np.int64(class_of(code)) & (WORD | SPACE):
                break
            stop += length
        while start > begin:
            before = start - 1
            while before > begin and data[before] & 0xC0 == 0x80:  # a continuation byte
                before -= 1
            if np.int64(class_of(decode(data, before, start)[0])) & (WORD | SPACE):
                break
            start = before
        spans[k, 1], spans[k, 2] = start - begin, stop - begin

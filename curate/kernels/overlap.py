r"""N-grams of words that texts share with others, found by their keys in a table.

Words are those of shingles: a lower-cased `\w+`, letter by letter in scripts without spaces. The n-gram of words with
the hashes (xxh3_64) w_1 … w_n has the key w_1 B^(n-1) + … + w_n modulo 2^64, which rolls from word to word. Different
n-grams have equal keys with a chance of 2^-64 (2^-58 where they are made of the same words): a million n-grams looked
for in 10^12 words give a false hit with a chance of 5 %.
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

BASE = np.uint64(0xD6E8FEB86659FD93)  # 3 modulo 8, for which B^k - 1 has the fewest factors of 2
SPREAD = np.uint64(0x9E3779B97F4A7C15)
ONE = np.uint64(1)
FILTER_BITS = 3  # 2^3 bits of the filter for each slot of the table
MIN_SLOT_BITS = 6
State = tuple[int, int, int]


@dataclass(frozen=True)
class NgramTable:
    """Keys of n-grams in open addressing, each with a place: the number of what it stands for.

    The filter has a bit set for each key: most words begin no n-gram of the table and need no look at `keys`.
    """

    lengths: tuple[int, ...]  # the n-grams' numbers of words
    filter: Hashes
    keys: Hashes  # 0 in an empty slot
    places: Hashes

    @classmethod
    def unpacked(cls, lengths: tuple[int, ...], packed: Hashes) -> "NgramTable":
        """A table from the array that `packed` makes of it."""
        slots = len(packed) * 8 // 17
        bits = slots // 8
        return cls(lengths, packed[:bits], packed[bits : bits + slots], packed[bits + slots :])

    def packed(self) -> Hashes:
        """Filter, keys and places as one array."""
        return np.concatenate([self.filter, self.keys, self.places])


@dataclass(frozen=True)
class Overlaps:
    """What texts share with a table."""

    words: Offsets  # of each text
    ngrams: Offsets  # places of each text where an n-gram of the table begins
    covered: Offsets  # words of each text within such n-grams
    spans: Counts  # n-grams of one place that overlap or follow each other: text, first byte, end, n-grams, place


def ngram_keys(texts: pa.Array, ngram: int, least: int) -> tuple[Hashes, Offsets, Offsets]:
    """The keys of all n-grams of `ngram` words; a text with fewer words, but at least `least`, is an n-gram itself.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    for each n-gram, in order: its key, its text, its number of words.
    """
    texts = plain_text(texts)
    keys, rows, lengths, context = _keys_of(*text_views(texts), ngram, least)
    if context:  # rare, so all texts are done again
        keys, rows, lengths, _ = _keys_of(*text_views(lowered(texts, np.arange(len(texts)))), ngram, least)
    return keys, rows, lengths


def ngram_table(keys: Hashes, places: Hashes, lengths: Sequence[int]) -> NgramTable:
    """A table in which a key that stands several times has the first of its places."""
    distinct, first = np.unique(keys, return_index=True)
    bits = max(MIN_SLOT_BITS, int(2 * len(distinct)).bit_length())  # a quarter to half of the slots are taken
    table = NgramTable(
        tuple(sorted(lengths)),
        np.zeros((1 << bits + FILTER_BITS) // 64, dtype=np.uint64),
        np.zeros(1 << bits, dtype=np.uint64),
        np.zeros(1 << bits, dtype=np.uint64),
    )
    _fill(distinct, places[first], table.filter, table.keys, table.places)
    for array in (table.filter, table.keys, table.places):  # as one that lies in a file: kernels know one signature
        array.flags.writeable = False
    return table


def find_overlaps(texts: pa.Array, table: NgramTable) -> Overlaps:
    """The n-grams of a table in each text.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    counts for each text, and the spans sorted by text, length of their n-grams, and start.
    Cost:   one pass over the bytes, a hash a word, and a look at the filter for each word and length.
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
    """Spans that take along what stands at their ends and is neither white space nor part of a word."""
    wider = spans.copy()
    _widen(*text_views(plain_text(texts)), wider)
    return wider


def _as_written(texts: pa.Array, rows: Offsets, spans: Counts) -> Counts:
    """Spans within texts that Python lowered as spans within these texts of the array."""
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
    """The hash of a word, the stream of words beginning at a memory address."""
    return xxh3_64(place + starts[k], starts[k + 1] - 1 - starts[k])


@inline
def _slot(key: int, size: int) -> int:
    """Where a key belongs among `size` slots or bits, a power of two."""
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
    """Put keys, each once, into an empty table."""
    for k in range(len(keys)):
        bit = _slot(keys[k], 64 * len(bits))
        bits[bit >> 6] |= ONE << np.uint64(bit & 63)
        slot = _slot(keys[k], len(slots))
        while slots[slot]:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot], held[slot] = keys[k], places[k]


@part
def _next(hashes: Hashes, k: int, stop: int, key: int, length: int, out: int, bits: Hashes, slots: Hashes) -> State:
    """The next word before `stop`, from `k` on, at which an n-gram of the table begins, its key and its slot."""
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
    """Append the spans of one length in a text's words, from word to word, to `found` others."""
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
    """How many of n words lie within spans from word to word."""
    inside = np.zeros(n, dtype=np.bool_)
    for k in range(len(spans)):
        inside[spans[k, 1] : spans[k, 2]] = True
    return inside.sum()


@kernel
def split_places(data: Bytes, begin: int, end: int, starts: Offsets, ends: Offsets) -> None:
    """Write where the words of data[begin:end] start and end, counted from `begin`; the words of `split_words`."""
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
            while before > begin and data[before] & 0xC0 == 0x80:  # within a character
                before -= 1
            if np.int64(class_of(decode(data, before, start)[0])) & (WORD | SPACE):
                break
            start = before
        spans[k, 1], spans[k, 2] = start - begin, stop - begin

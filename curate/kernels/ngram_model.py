"""Word n-grams with interpolated modified Kneser-Ney smoothing (Chen and Goodman 1998): trained and queried in memory.

A text is a line of hashed words between a begin and an end. All orders below the highest count distinct words to the
left, as lmplz does. It tells in seconds how much cheaper some texts make others; `filters/language/kneser_ney.py`
estimates models that are kept.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.kernels.arrow import Bytes, Offsets, plain_text, text_views
from curate.kernels.jit import inline, kernel
from curate.kernels.minhash import GROWTH, IN_CONTEXT, lowered, room, split_words
from curate.kernels.xxh3 import xxh3_64

Words = npt.NDArray[np.uint32]
Reals = npt.NDArray[np.float64]
Keys = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]
Masses = npt.NDArray[np.float32]

BEGIN, END = np.uint64(1 << 32), np.uint64((1 << 32) + 1)  # no hash of a word is as large
FACTOR, SECOND, THIRD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
VOCABULARY = 1e6  # words that an unknown one may be
LEAST_DISCOUNT, MOST_DISCOUNT = 0.05, 0.95  # of a count
MOST_COUNTED = 3  # n-grams that occur more often have the same discount
LEAST_SLOTS = 1 << 12


class Lines(NamedTuple):
    """Hashed words by text: `words[offsets[i]:offsets[i + 1]]` for text i."""

    offsets: Offsets
    words: Words


def word_lines(texts: pa.Array) -> Lines:
    """Hash the words of each text, those of shingles, to 32 bits.

    In:     string or large_string, sliced or not, nulls allowed.
    Cost:   two passes over the bytes, one hash per word.
    Oracle: `xxhash.xxh3_64_intdigest(word) >> 32` (tests/kernels/test_ngram_model.py).
    """
    texts = plain_text(texts)
    offsets, words, in_context = _words(*text_views(texts))
    if in_context:  # rare, so redo all texts
        offsets, words, _ = _words(*text_views(lowered(texts, np.arange(len(texts)))))
    return Lines(offsets, words)


def ngram_bits(train: Lines, chosen: Offsets, scored: Lines, order: int) -> Reals:
    """Bits of each scored line, with its end, by a model of the chosen lines of `train`.

    In:     chosen (rows of `train`, at least one); order from 2.
    Out:    float64, one per scored line; the sums have one order, so that equal inputs give equal bytes.
    Cost:   about 1 s for a million words and order 3; 28 bytes per order and slot, 1.5 to 3 slots per word.
    Oracle: Kneser-Ney by dictionaries of tuples (tests/kernels/test_ngram_model.py).
    """
    size = int((train.offsets[chosen + 1] - train.offsets[chosen]).sum()) + 2 * len(chosen)
    slots = max(LEAST_SLOTS, 1 << int(np.ceil(np.log2(1.5 * size))))
    keys, counts = np.zeros((order, slots), np.uint64), np.zeros((order, slots), np.int32)
    _count(train.offsets, train.words, chosen, keys, counts)
    discounts = _discounts(counts)
    totals, removed = np.zeros((order, slots), np.float32), np.zeros((order, slots), np.float32)
    root = _contexts(train.offsets, train.words, chosen, keys, counts, discounts, totals, removed)
    return _score(scored.offsets, scored.words, keys, counts, discounts, totals, removed, root)


@kernel
def _words(offsets: Offsets, data: Bytes) -> tuple[Offsets, Words, bool]:
    longest = room(offsets)
    out = np.empty(GROWTH * longest + 8, dtype=np.uint8)
    starts = np.empty(longest // 2 + 3, dtype=np.int64)
    bounds = np.zeros(len(offsets), dtype=np.int64)
    words = np.empty((offsets[-1] - offsets[0]) // 2 + len(offsets) + 8, dtype=np.uint32)
    size = np.int64(0)
    for row in range(len(offsets) - 1):
        n = split_words(data, offsets[row], offsets[row + 1], out, starts)
        if n == IN_CONTEXT:
            return bounds, words, True
        if size + n > len(words):
            wider = np.empty(2 * (size + n), dtype=np.uint32)
            wider[:size] = words[:size]
            words = wider
        for k in range(n):
            words[size] = xxh3_64(out.ctypes.data + starts[k], starts[k + 1] - 1 - starts[k]) >> np.uint64(32)
            size += 1
        bounds[row + 1] = size
    return bounds, words[:size].copy(), False


@inline
def _slot(keys: Keys, n: int, key: int) -> int:
    """Slot of an n-gram's key in the table of its order, or the empty one where it belongs."""
    last = np.int64(keys.shape[1] - 1)
    i = np.int64(key & np.uint64(last))
    while keys[n - 1, i] != 0 and keys[n - 1, i] != key:
        i = (i + 1) & last
    return i


@inline
def _keys_at(line: Keys, at: int, longest: int, out: Keys) -> None:
    """Keys of the n-grams that end with word `at`, by n up to `longest`; none is 0, which marks an empty slot."""
    h = np.uint64(0)
    for n in range(1, longest + 1):
        h = (h + line[at - n + 1] + np.uint64(n)) * FACTOR
        h = (h ^ (h >> np.uint64(30))) * SECOND
        h = (h ^ (h >> np.uint64(27))) * THIRD
        h ^= h >> np.uint64(31)
        out[n] = max(h, np.uint64(1))


@inline
def _load(offsets: Offsets, words: Words, row: int, line: Keys) -> int:
    """Write a line's words between its begin and end; return how many there are with these."""
    size = offsets[row + 1] - offsets[row]
    line[0] = BEGIN
    for k in range(size):
        line[k + 1] = np.uint64(words[offsets[row] + k])
    line[size + 1] = END
    return size + 2


@inline
def _longest(offsets: Offsets) -> int:
    longest = np.int64(0)
    for row in range(len(offsets) - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    return longest + 2


@kernel
def _count(offsets: Offsets, words: Words, chosen: Offsets, keys: Keys, counts: Numbers) -> None:
    """Count n-grams: every occurrence at the highest order and after a begin, else the distinct words to the left."""
    order = len(keys)
    line, found = np.empty(_longest(offsets), np.uint64), np.empty(order + 1, np.uint64)
    for row in chosen:
        size = _load(offsets, words, row, line)
        for at in range(1, size):
            longest = min(order, at + 1)
            _keys_at(line, at, longest, found)
            for n in range(longest, 0, -1):
                slot = _slot(keys, n, found[n])
                is_known = keys[n - 1, slot] != 0
                keys[n - 1, slot] = found[n]
                counts[n - 1, slot] += 1
                if is_known:
                    break  # so is each shorter one, with this word to its left


@kernel
def _discounts(counts: Numbers) -> Reals:
    """Discounts of counts 0 to MOST_COUNTED, by order; within their bounds where counts of counts are few.

    None is 0, so that every context leaves something to words that it was not seen with.
    """
    discounts = np.zeros((len(counts), MOST_COUNTED + 1))
    for n in range(len(counts)):
        sizes = np.zeros(MOST_COUNTED + 2)
        for count in counts[n]:
            if 0 < count <= MOST_COUNTED + 1:
                sizes[count] += 1
        base = sizes[1] / max(1.0, sizes[1] + 2 * sizes[2])
        for k in range(1, MOST_COUNTED + 1):
            estimate = k - (k + 1) * base * sizes[k + 1] / max(1.0, sizes[k])
            discounts[n, k] = min(max(estimate, LEAST_DISCOUNT * k), MOST_DISCOUNT * k)
    return discounts


@kernel
def _contexts(
    offsets: Offsets, words: Words, chosen: Offsets, keys: Keys, counts: Numbers, discounts: Reals, totals: Masses,
    removed: Masses,
) -> Reals:  # fmt: skip
    """Add the counts after each context and what discounts remove of them; return those of the empty context."""
    order, root = len(keys), np.zeros(2)
    visited = np.zeros(keys.shape, np.bool_)
    line = np.empty(_longest(offsets), np.uint64)
    found, contexts = np.empty(order + 1, np.uint64), np.empty(order + 1, np.uint64)
    for row in chosen:
        size = _load(offsets, words, row, line)
        for at in range(1, size):
            longest = min(order, at + 1)
            _keys_at(line, at, longest, found)
            _keys_at(line, at - 1, longest - 1, contexts)
            for n in range(longest, 0, -1):
                slot = _slot(keys, n, found[n])
                if visited[n - 1, slot]:
                    break
                visited[n - 1, slot] = True
                count = counts[n - 1, slot]
                discount = discounts[n - 1, min(count, MOST_COUNTED)]
                if n == 1:
                    root[0] += count
                    root[1] += discount
                else:
                    context = _slot(keys, n - 1, contexts[n - 1])
                    keys[n - 2, context] = contexts[n - 1]  # only a begin is not there yet
                    totals[n - 2, context] += count
                    removed[n - 2, context] += discount
    return root


@kernel
def _score(
    offsets: Offsets, words: Words, keys: Keys, counts: Numbers, discounts: Reals, totals: Masses, removed: Masses,
    root: Reals,
) -> Reals:  # fmt: skip
    order, bits = len(keys), np.zeros(len(offsets) - 1)
    line = np.empty(_longest(offsets), np.uint64)
    found, contexts = np.empty(order + 1, np.uint64), np.empty(order + 1, np.uint64)
    for row in range(len(bits)):
        size = _load(offsets, words, row, line)
        for at in range(1, size):
            longest = min(order, at + 1)
            _keys_at(line, at, longest, found)
            _keys_at(line, at - 1, longest - 1, contexts)
            count = counts[0, _slot(keys, 1, found[1])]
            p = (count - discounts[0, min(count, MOST_COUNTED)] + root[1] / VOCABULARY) / root[0]
            for n in range(2, longest + 1):
                context = _slot(keys, n - 1, contexts[n - 1])
                total = totals[n - 2, context]
                if total == 0:
                    break
                count = counts[n - 1, _slot(keys, n, found[n])]
                p = (count - discounts[n - 1, min(count, MOST_COUNTED)] + removed[n - 2, context] * p) / total
            bits[row] -= np.log2(p)
    return bits

"""Write KenLM's hash tables of words and n-grams: open addressing, slot = hash modulo the number of slots.

An entry is its key, lower half first, followed by its values. A slot with the key 0 is free. Tables are uint32 views,
because entries of 12 bytes are not aligned for 64-bit loads.
"""

import numpy as np
import numpy.typing as npt

from curate.kernels.arrow import Bytes, Offsets
from curate.kernels.jit import inline, kernel, load_u8_at, load_u64_at

Table = npt.NDArray[np.uint32]
Rows = npt.NDArray[np.int32]  # shape (order, n-grams): row 0 has the last word of each n-gram, the last row its first

# Size of an entry in 32-bit numbers. WORD: key, number; MIDDLE: key, p, backoff; LONGEST: key, p; UNIGRAM: p, backoff.
WORD, MIDDLE, LONGEST, UNIGRAM = 3, 4, 3, 2
MURMUR, MURMUR_SHIFT = np.uint64(0xC6A4A7935BD1E995), np.uint64(47)
CHAIN, SPREAD = np.uint64(8978948897894561157), np.uint64(17894857484156487943)
SIGN, LOW, HALF = np.uint32(0x80000000), np.uint64(0xFFFFFFFF), np.uint64(32)


@inline
def _murmur(address: int, size: int) -> int:
    """MurmurHash64A with seed 0."""
    h = np.uint64(size) * MURMUR
    i = np.int64(0)
    while i + 8 <= size:
        k = np.uint64(load_u64_at(address + i)) * MURMUR
        k = np.uint64(k ^ (k >> MURMUR_SHIFT)) * MURMUR
        h = np.uint64(h ^ k) * MURMUR
        i += 8
    if i < size:
        rest = np.uint64(0)
        for k in range(size - i):
            rest |= np.uint64(load_u8_at(address + i + k)) << np.uint64(8 * k)
        h = np.uint64(h ^ rest) * MURMUR
    h = np.uint64(h ^ (h >> MURMUR_SHIFT)) * MURMUR
    return np.uint64(h ^ (h >> MURMUR_SHIFT))


@inline
def _combined(h: int, word: int) -> int:
    """Extend the hash of an n-gram by the word before it."""
    return np.uint64(np.uint64(h * CHAIN) ^ np.uint64(np.uint64(1 + word) * SPREAD))


@inline
def _key_at(table: Table, i: int) -> int:
    return np.uint64(table[i]) | np.uint64(table[i + 1]) << HALF


@inline
def _find(table: Table, width: int, key: int) -> int:
    """The index of the entry of a key, or of the free slot where it belongs."""
    places = len(table) // width
    i = np.int64(key % np.uint64(places)) * width
    while True:
        found = _key_at(table, i)
        if found in (key, np.uint64(0)):
            return i
        i += width
        if i == places * width:
            i = np.int64(0)


@inline
def _set_key(table: Table, i: int, key: int) -> None:
    table[i], table[i + 1] = np.uint32(key & LOW), np.uint32(key >> HALF)


@kernel
def insert_words(table: Table, bounds: Offsets, letters: Bytes) -> None:
    """Insert all words except the first, <unk>: KenLM treats every word missing from the table as <unk>."""
    for word in range(1, len(bounds) - 1):
        key = _murmur(letters.ctypes.data + bounds[word], bounds[word + 1] - bounds[word])
        i = _find(table, WORD, key)
        _set_key(table, i, key)
        table[i + 2] = word


@kernel
def insert_ngrams(table: Table, width: int, shorter: Table, rows: Rows, p: Table, backoff: Table) -> None:
    """Insert n-grams of two words or more, and flag the (n - 1)-grams that they extend.

    The n-gram without its first word can be extended to the left: clear the sign bit of its p. The n-gram without its
    last word can be extended to the right: turn its backoff of -0 into 0.
    """
    order = len(rows)
    for n in range(rows.shape[1]):
        key = np.uint64(rows[0, n])
        last = key
        for k in range(1, order):
            last = key
            key = _combined(key, rows[k, n])
        first = np.uint64(rows[1, n])
        for k in range(2, order):
            first = _combined(first, rows[k, n])
        i = _find(table, width, key)
        _set_key(table, i, key)
        table[i + 2] = p[n] | SIGN
        if width == MIDDLE:
            table[i + 3] = backoff[n]
        if order == 2:
            ends, begins = np.int64(rows[0, n]) * UNIGRAM, np.int64(rows[1, n]) * UNIGRAM + 1
        else:
            ends, begins = _find(shorter, MIDDLE, last) + 2, _find(shorter, MIDDLE, first) + 3
        shorter[ends] &= ~SIGN
        if shorter[begins] == SIGN:
            shorter[begins] = np.uint32(0)

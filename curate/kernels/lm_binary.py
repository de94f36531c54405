"""KenLM's hash tables of words and n-grams: open addressing, each entry at its hash modulo the number of places.

Tables are views of 32-bit numbers, since entries of 12 bytes stand where no 64-bit number may be read. An entry is its
key, the lower half first, and its values; a place with the key 0 is free.
"""

import numpy as np
import numpy.typing as npt

from curate.kernels.arrow import Bytes, Offsets
from curate.kernels.jit import inline, kernel, load_u8_at, load_u64_at

Table = npt.NDArray[np.uint32]
Rows = npt.NDArray[np.int32]  # a column of words from the last to the first in each row

WORD, MIDDLE, LONGEST, UNIGRAM = 3, 4, 3, 2  # 32-bit numbers an entry: key and number; key, p and backoff; key and p
MURMUR, MURMUR_SHIFT = np.uint64(0xC6A4A7935BD1E995), np.uint64(47)
CHAIN, SPREAD = np.uint64(8978948897894561157), np.uint64(17894857484156487943)
SIGN, LOW, HALF = np.uint32(0x80000000), np.uint64(0xFFFFFFFF), np.uint64(32)


@inline
def _murmur(address: int, size: int) -> int:
    """MurmurHash64A with the seed 0."""
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
    """The hash of an n-gram from that of one without its first word."""
    return np.uint64(np.uint64(h * CHAIN) ^ np.uint64(np.uint64(1 + word) * SPREAD))


@inline
def _key_at(table: Table, i: int) -> int:
    return np.uint64(table[i]) | np.uint64(table[i + 1]) << HALF


@inline
def _find(table: Table, width: int, key: int) -> int:
    """Where the entry of a key is, or the free place where it would be."""
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
    """Insert all words but the first one, <unk>, which KenLM looks for by not finding it."""
    for word in range(1, len(bounds) - 1):
        key = _murmur(letters.ctypes.data + bounds[word], bounds[word + 1] - bounds[word])
        i = _find(table, WORD, key)
        _set_key(table, i, key)
        table[i + 2] = word


@kernel
def insert_ngrams(table: Table, width: int, shorter: Table, rows: Rows, p: Table, backoff: Table) -> None:
    """Insert n-grams of two words or more, and mark among those of one word less what they extend.

    The last words lose the sign of p: another word may stand before them. The first words, which more words may
    follow, lose that of a backoff of -0.
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

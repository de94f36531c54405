"""Pair documents with equal keys, and, from pairs of duplicates, find clusters and the documents to keep."""

import numpy as np
import numpy.typing as npt

from curate.kernels.arrow import read_only
from curate.kernels.jit import kernel

Numbers = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]
Values = npt.NDArray[np.uint32]

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def stars(ranks: Numbers, keys: Keys) -> tuple[Numbers, Numbers]:
    """Pair each document with the best one (lowest rank) of the same key, as (best, document); the best has no pair.

    In:     the rank and the key of each document, in any order.
    Out:    pairs of ranks in any order; as many as there are documents, minus the number of distinct keys.
    Cost:   two lookups per document; memory for a copy of both and twice the documents of the largest partition.
    Oracle: a dictionary (tests/dedup/test_near.py).
    """
    return _stars(read_only(ranks), read_only(keys))


def dealt(keys: Keys, bits: int) -> tuple[Numbers, Numbers]:
    """Partition keys by their highest bits: the indices of keys, sorted by partition, and the start of each partition.

    In:     keys that are uniformly distributed.
    Out:    one index per key, ascending within a partition; 2^bits + 1 starts, the last of which is the end.
    Oracle: a stable sort (tests/dedup/test_near.py).
    """
    return _dealt(read_only(keys), bits, np.uint64(1))


@kernel
def _stars(ranks: Numbers, keys: Keys) -> tuple[Numbers, Numbers]:
    bits = np.int64(0)
    while len(keys) >> bits > 1 << 14:
        bits += 1
    ordered, places = _dealt(keys, bits, MULTIPLIER)
    most = np.int64(0)
    for piece in range(len(places) - 1):
        most = max(most, places[piece + 1] - places[piece])
    size = np.int64(2)
    while size < 2 * most:
        size *= 2
    best = np.empty(size, dtype=np.int64)  # for each slot the document with the lowest rank of its key, or -1
    first, second = np.empty(len(keys), dtype=np.int64), np.empty(len(keys), dtype=np.int64)
    slots = np.empty(most, dtype=np.int64)
    n = np.int64(0)
    for piece in range(len(places) - 1):
        best[:] = -1
        for k in range(places[piece], places[piece + 1]):
            document = ordered[k]
            slot = np.int64((keys[document] * MULTIPLIER) >> np.uint64(20)) & (size - 1)
            while best[slot] >= 0 and keys[best[slot]] != keys[document]:
                slot = (slot + 1) & (size - 1)
            if best[slot] < 0 or ranks[document] < ranks[best[slot]]:
                best[slot] = document
            slots[k - places[piece]] = slot
        for k in range(places[piece], places[piece + 1]):
            document, star = ordered[k], best[slots[k - places[piece]]]
            if document != star:
                first[n], second[n] = ranks[star], ranks[document]
                n += 1
    return first[:n].copy(), second[:n].copy()


@kernel
def _dealt(keys: Keys, bits: int, factor: int) -> tuple[Numbers, Numbers]:
    """`dealt` by the highest bits of key * factor."""
    shift = np.uint64(64 - bits)
    places = np.zeros((1 << bits) + 1, dtype=np.int64)
    for k in range(len(keys)):
        piece = np.int64((keys[k] * factor) >> shift) if bits else np.int64(0)
        places[piece + 1] += 1
    for piece in range(1 << bits):
        places[piece + 1] += places[piece]
    ordered, at = np.empty(len(keys), dtype=np.int64), places.copy()
    for k in range(len(keys)):
        piece = np.int64((keys[k] * factor) >> shift) if bits else np.int64(0)
        ordered[at[piece]] = k
        at[piece] += 1
    return ordered, places


def survivors(first: Numbers, second: Numbers, count: int) -> Numbers:
    """Select the pairs that drop a document; `count` documents are numbered from the best down.

    A document is dropped if it is a duplicate of a better document that survives; its pair names the best of these.

    In:     pairs, `first` better than (less than) `second`, sorted by second and then first.
    Out:    ascending indices of pairs, one for each document that is dropped.
    Cost:   one pass over the pairs; memory for one byte per document, and as many numbers as pairs.
    Oracle: a dictionary of sets (tests/dedup/test_near.py).
    """
    return _survivors(read_only(first), read_only(second), count)


@kernel
def _survivors(first: Numbers, second: Numbers, count: int) -> Numbers:
    dropped = np.zeros(count, dtype=np.bool_)
    found = np.empty(len(first), dtype=np.int64)
    n = np.int64(0)
    for k in range(len(first)):
        if not dropped[second[k]] and not dropped[first[k]]:
            dropped[second[k]] = True
            found[n] = k
            n += 1
    return found[:n].copy()


def clusters(first: Numbers, second: Numbers, count: int) -> Numbers:
    """Label each of `count` documents with the lowest document of its connected component, by union-find.

    Cost:   one pass over the pairs with path halving; eight bytes per document.
    Oracle: repeated minima (tests/dedup/test_near.py).
    """
    return _clusters(read_only(first), read_only(second), count)


@kernel
def _clusters(first: Numbers, second: Numbers, count: int) -> Numbers:
    parent = np.arange(count)
    for k in range(len(first)):
        a, b = first[k], second[k]
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        if a < b:
            parent[b] = a
        else:
            parent[a] = b
    for document in range(count):  # a parent is less than its child, so its root is already known
        parent[document] = parent[parent[document]]
    return parent


def resemblance(values: Values, copies: Numbers, begins: Numbers) -> Numbers:
    """Count the signature values in which each document agrees with the other copies in its cluster.

    In:     signatures, one row per document, cluster by cluster; the number of copies that each document represents,
            itself included; the start of each cluster, and the end.
    Cost:   for each cluster the square of its documents, times the values of a signature.
    Oracle: NumPy comparisons of all pairs (tests/dedup/test_near.py).
    """
    return _resemblance(*map(read_only, (values, copies, begins)))


@kernel
def _resemblance(values: Values, copies: Numbers, begins: Numbers) -> Numbers:
    width = values.shape[1]
    found = (copies - 1) * width
    for cluster in range(len(begins) - 1):
        for a in range(begins[cluster], begins[cluster + 1]):
            for b in range(a + 1, begins[cluster + 1]):
                agreeing = np.int64(0)
                for k in range(width):
                    agreeing += values[a, k] == values[b, k]
                found[a] += copies[b] * agreeing
                found[b] += copies[a] * agreeing
    return found

"""Greedily fill a budget with documents that contribute new shingles."""

import numpy as np
import numpy.typing as npt

from curate.kernels.jit import inline, kernel

Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]
Shingles = npt.NDArray[np.uint32]
States = npt.NDArray[np.int8]

OPEN, TAKEN, REDUNDANT = 0, 1, 2
EMPTY = np.uint32(0)
FULLEST = 0.5  # load factor at which the table must grow
MIX = np.uint32(2654435769)
LEAST_TABLE = 1 << 12
BITS = 1 << 27  # words of a bitmap over all 2^32 shingles: half a gigabyte


class Seen:
    """Shingles of the documents taken: a growing hash table with open addressing.

    At a size of BITS words the table has room for one bit per possible shingle, so it becomes a bitmap.
    """

    def __init__(self) -> None:
        self.table: Shingles = np.zeros(LEAST_TABLE, np.uint32)
        self.count: Integers = np.zeros(1, np.int64)

    def grow(self) -> None:
        """Double the table."""
        larger = np.zeros(2 * len(self.table), np.uint32)
        _move(self.table, larger)
        self.table = larger


def fill(
    order: Integers, sizes: Shingles, strata: Numbers, clusters: Numbers, offsets: Integers, shingles: Shingles,
    states: States, quotas: Integers, caps: Integers, left: Integers, enough: Integers, novelty: float, seen: Seen,
) -> None:  # fmt: skip
    """Take documents in order while they fit.

    In:     order (of the documents); size (in the unit of the budget), stratum and cluster of each; the shingles of
            document i are shingles[offsets[i]:offsets[i + 1]], distinct. Updated in place: states (OPEN, TAKEN,
            REDUNDANT), quotas and caps (what is left of each stratum, of each cluster), left (what is left of the
            budget) and `seen`. `enough` is how much may stay unused of each quota and, last, of the budget; without
            it, what is left would go to whatever documents are small enough. A document is REDUNDANT if the share of
            its shingles that are new is below `novelty`.
    Cost:   one look-up for each shingle of each document tried; 8 to 16 bytes per shingle seen, 512 MB at most, and
            half as much again while the table grows.
    Oracle: tests/distill/budget/test_select.py does the same with sets.
    """
    place = 0
    while place < len(order):
        place = _fill(
            order, sizes, strata, clusters, offsets, shingles, states, quotas, caps, left, enough, novelty,
            seen.table, seen.count, place,
        )  # fmt: skip
        if place < len(order):
            seen.grow()


@inline
def _place(table: Shingles, shingle: int) -> int:
    """Slot of a shingle in the table, or the empty slot where it belongs."""
    last = np.int64(len(table) - 1)
    i = np.int64(np.uint32(np.uint32(shingle) * MIX)) & last
    while table[i] != EMPTY and table[i] != shingle:
        i = (i + 1) & last
    return i


@inline
def _known(table: Shingles, shingle: int) -> bool:
    if len(table) == BITS:
        return (table[shingle >> 5] >> np.uint32(shingle & 31)) & 1 != 0
    return table[_place(table, shingle)] == shingle


@inline
def _add(table: Shingles, shingle: int) -> None:
    if len(table) == BITS:
        table[shingle >> 5] |= np.uint32(1) << np.uint32(shingle & 31)
    else:
        table[_place(table, shingle)] = shingle


@kernel
def _move(table: Shingles, larger: Shingles) -> None:
    for shingle in table:
        if shingle != EMPTY:
            _add(larger, shingle)


@kernel
def _fill(
    order: Integers, sizes: Shingles, strata: Numbers, clusters: Numbers, offsets: Integers, shingles: Shingles,
    states: States, quotas: Integers, caps: Integers, left: Integers, enough: Integers, novelty: float, table: Shingles,
    count: Integers, begin: int,
) -> int:  # fmt: skip
    """Fill from `begin` in the order; return the position at which the table must grow, or the end."""
    for place in range(begin, len(order)):
        i = order[place]
        if left[0] <= enough[-1]:
            return len(order)
        if quotas[strata[i]] <= enough[strata[i]]:
            continue
        if states[i] != OPEN or sizes[i] > min(left[0], quotas[strata[i]], caps[clusters[i]]):
            continue
        first, last = offsets[i], offsets[i + 1]
        if len(table) != BITS and count[0] + last - first > FULLEST * len(table):
            return place
        known = 0
        for k in range(first, last):
            known += _known(table, max(shingles[k], np.uint32(1)))  # 0 marks an empty slot
        chance = count[0] / 4294967296.0  # probability that a new shingle collides with a known one
        if last - first - known < novelty * (1 - chance) * (last - first):
            states[i] = REDUNDANT
            continue
        for k in range(first, last):
            shingle = max(shingles[k], np.uint32(1))
            count[0] += not _known(table, shingle)
            _add(table, shingle)
        states[i] = TAKEN
        left[0] -= sizes[i]
        quotas[strata[i]] -= sizes[i]
        caps[clusters[i]] -= sizes[i]
    return len(order)

"""Ranks of values within strata by histograms of integers, in memory that does not grow with the number of values.

A key is an integer of 64 bits: the number of a stratum, and below it the value's highest bits, made so that keys sort
as values do. A histogram counts keys; where it would have too many, it leaves out as many of their lowest bits as it
must. So ranks are exact up to some millions of different values; of more, those share a rank that differ in bits left
out. Numbers of double precision also do where they differ in the bits alone that a stratum takes, one for two strata
and 17 for 100,000.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]
Keys = npt.NDArray[np.uint64]

MOST_CLASSES = 1 << 21  # of 16 bytes, and some 140 bytes while further keys are counted
CLASSES_OF_STRATUM = 64  # that there are at least, for a great many strata
PENDING = 1 << 20
UNKNOWN = 0.5  # the rank of a value that is not known, and of one that is alone
SIGN = np.uint64(1 << 63)


def sortable(values: npt.NDArray[np.floating]) -> Keys:
    """Integers that sort as numbers do; none of these is nan."""
    bits = (values.astype(np.float64) + 0.0).view(np.uint64)  # -0.0 + 0.0 is 0.0
    return np.where(bits >= SIGN, ~bits, bits | SIGN)


@dataclass
class Histogram:
    """How many keys of each class there are, or what they weigh; the classes are in ascending order."""

    strata: int = 1
    shift: int = 0  # bits of keys that are left out
    keys: Keys = field(default_factory=lambda: np.zeros(0, np.uint64))
    counts: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    most: int = MOST_CLASSES
    pending: list[tuple[Keys, Integers]] = field(default_factory=list)

    @property
    def value_bits(self) -> int:
        """Bits of a key that tell its value."""
        return 64 - max(0, self.strata - 1).bit_length()

    def keys_of(self, values: npt.NDArray[np.floating], strata: Numbers) -> Keys:
        """Keys of values in strata."""
        below = np.uint64(self.value_bits)  # where that is 64, numpy shifts the number of the one stratum, 0, to 0
        return (strata.astype(np.uint64) << below) | (sortable(values) >> (np.uint64(64) - below))

    def add(self, keys: Keys, weights: Integers | None = None) -> None:
        """Count further keys, or add what they weigh."""
        found, places, counts = np.unique(keys >> np.uint64(self.shift), return_inverse=True, return_counts=True)
        if weights is not None:
            counts = np.bincount(places, weights, len(found)).astype(np.int64)
        self.pending.append((found, counts))
        if sum(len(some) for some, _ in self.pending) > max(PENDING, len(self.keys)):
            self.merge()

    def merge(self) -> None:
        """Count what is pending."""
        keys = np.concatenate([self.keys, *(some for some, _ in self.pending)])
        counts = np.concatenate([self.counts, *(some for _, some in self.pending)])
        order = np.argsort(keys, kind="stable")
        self.pending = []
        self.keys, self.counts = _grouped(keys[order], counts[order])
        most = max(self.most, CLASSES_OF_STRATUM * self.strata)
        while len(self.keys) > most and self.shift < self.value_bits:
            self.shift += 1
            self.keys, self.counts = _grouped(self.keys >> np.uint64(1), self.counts)

    def classes_of(self, keys: Keys) -> Integers:
        """The class of each key, of which all were added; nothing is pending."""
        different, places = np.unique(keys >> np.uint64(self.shift), return_inverse=True)
        found: Integers = np.asarray(self.keys.searchsorted(different), np.int64)
        return found[places]


def _grouped(keys: Keys, counts: Integers) -> tuple[Keys, Integers]:
    """Sorted keys without repeats, and the sums of their counts."""
    if not len(keys):
        return keys, counts
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    return keys[starts], np.add.reduceat(counts, starts)


Ranked = Callable[[npt.NDArray[np.floating], Numbers], Reals]


def ranked(histogram: Histogram, *, middle_best: bool = False) -> Ranked:
    """A function that gives values in strata their ranks, from 0 for the least to 1; equal ones share theirs.

    Ranks where the middle is best are those of the distance to it, from 0 for the furthest. Unknown values (nan) and
    such as are alone in their stratum have UNKNOWN.
    """
    histogram.merge()
    if not len(histogram.keys):
        return lambda values, numbers: np.full(len(values), UNKNOWN)
    strata = (histogram.keys >> np.uint64(histogram.value_bits - histogram.shift)).astype(np.int64)
    totals = np.zeros(histogram.strata, np.int64)
    np.add.at(totals, strata, histogram.counts)
    doubled = _doubled_ranks(strata, histogram.counts, totals)
    if middle_best:
        nearness = -np.abs(doubled - (totals[strata] - 1))
        order = np.lexsort((nearness, strata))
        fresh = np.append(True, (np.diff(nearness[order]) > 0) | (np.diff(strata[order]) > 0))
        groups = np.cumsum(fresh) - 1
        counts = np.bincount(groups, histogram.counts[order]).astype(np.int64)
        doubled[order] = _doubled_ranks(strata[order][fresh], counts, totals)[groups]
    ranks = np.where(totals[strata] > 1, doubled / 2 / np.maximum(totals[strata] - 1, 1), UNKNOWN)

    def ranks_of(values: npt.NDArray[np.floating], numbers: Numbers) -> Reals:
        found = np.full(len(values), UNKNOWN)
        known = ~np.isnan(values)
        found[known] = ranks[histogram.classes_of(histogram.keys_of(values[known], numbers[known]))]
        return found

    return ranks_of


def _doubled_ranks(strata: Integers, counts: Integers, totals: Integers) -> Integers:
    """Twice the rank, from 0, that the values of each class share in their stratum; classes are sorted."""
    before = np.cumsum(counts) - counts
    starts = np.cumsum(totals) - totals
    return 2 * (before - starts[strata]) + counts - 1

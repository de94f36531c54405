"""Ranks of values within strata by histograms of integers, in memory independent of the number of values.

A key is a 64-bit integer: a stratum's number, and below it the highest bits of a value, encoded so that keys sort as
values do. A histogram counts keys; where it has too many, it drops as many of their lowest bits as needed. So ranks are
exact up to some millions of distinct values; beyond that, values that differ in dropped bits share a rank. So do
doubles that differ only in the bits that a stratum's number takes: one for two strata, 17 for 100,000.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]
Keys = npt.NDArray[np.uint64]

MAX_CLASSES = 1 << 21  # of 16 bytes, and some 140 bytes while keys are being added
CLASSES_OF_STRATUM = 64  # on average at least, if there are very many strata
PENDING = 1 << 20
UNKNOWN = 0.5  # rank of a missing value, and of the only one in a stratum
SIGN = np.uint64(1 << 63)


def sortable(values: npt.NDArray[np.floating]) -> Keys:
    """Integers that sort as the values do; there must be no nan."""
    bits = (values.astype(np.float64) + 0.0).view(np.uint64)  # -0.0 + 0.0 is 0.0
    return np.where(bits >= SIGN, ~bits, bits | SIGN)


@dataclass
class Histogram:
    """Number or total weight of the keys of each class; classes are in ascending order."""

    strata: int = 1
    shift: int = 0  # dropped bits of keys
    keys: Keys = field(default_factory=lambda: np.zeros(0, np.uint64))
    counts: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    most: int = MAX_CLASSES
    pending: list[tuple[Keys, Integers]] = field(default_factory=list)

    @property
    def value_bits(self) -> int:
        """Bits of a key that encode the value."""
        return 64 - max(0, self.strata - 1).bit_length()

    def keys_of(self, values: npt.NDArray[np.floating], strata: Numbers) -> Keys:
        """Keys of values in strata."""
        below = np.uint64(self.value_bits)  # if it is 64, numpy shifts the only stratum, 0, to 0
        return (strata.astype(np.uint64) << below) | (sortable(values) >> (np.uint64(64) - below))

    def add(self, keys: Keys, weights: Integers | None = None) -> None:
        """Count keys, or add their weights."""
        classes, inverse, counts = np.unique(keys >> np.uint64(self.shift), return_inverse=True, return_counts=True)
        if weights is not None:
            counts = np.bincount(inverse, weights, len(classes)).astype(np.int64)
        self.pending.append((classes, counts))
        if sum(len(classes) for classes, _ in self.pending) > max(PENDING, len(self.keys)):
            self.merge()

    def merge(self) -> None:
        """Merge the pending counts."""
        keys = np.concatenate([self.keys, *(keys for keys, _ in self.pending)])
        counts = np.concatenate([self.counts, *(counts for _, counts in self.pending)])
        order = np.argsort(keys, kind="stable")
        self.pending = []
        self.keys, self.counts = _grouped(keys[order], counts[order])
        most = max(self.most, CLASSES_OF_STRATUM * self.strata)
        while len(self.keys) > most and self.shift < self.value_bits:
            self.shift += 1
            self.keys, self.counts = _grouped(self.keys >> np.uint64(1), self.counts)

    def classes_of(self, keys: Keys) -> Integers:
        """Index of the class of each key; all keys were added, and nothing is pending."""
        distinct, inverse = np.unique(keys >> np.uint64(self.shift), return_inverse=True)
        classes: Integers = np.asarray(self.keys.searchsorted(distinct), np.int64)
        return classes[inverse]


def _grouped(keys: Keys, counts: Integers) -> tuple[Keys, Integers]:
    """Distinct keys of sorted ones, with the sums of their counts."""
    if not len(keys):
        return keys, counts
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    return keys[starts], np.add.reduceat(counts, starts)


Ranks = Callable[[npt.NDArray[np.floating], Numbers], Reals]  # of values in strata


def ranks_by(histogram: Histogram, *, middle_best: bool = False) -> Ranks:
    """A function that maps values in strata to ranks, from 0 for the least to 1; equal values share their mean rank.

    With `middle_best`, ranks are by distance from the median, from 0 for the farthest. Missing values (nan), and the
    only value of a stratum, have rank UNKNOWN.
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
        starts_group = np.append(True, (np.diff(nearness[order]) > 0) | (np.diff(strata[order]) > 0))
        groups = np.cumsum(starts_group) - 1
        counts = np.bincount(groups, histogram.counts[order]).astype(np.int64)
        doubled[order] = _doubled_ranks(strata[order][starts_group], counts, totals)[groups]
    ranks = np.where(totals[strata] > 1, doubled / 2 / np.maximum(totals[strata] - 1, 1), UNKNOWN)

    def ranks_of(values: npt.NDArray[np.floating], numbers: Numbers) -> Reals:
        result = np.full(len(values), UNKNOWN)
        is_known = ~np.isnan(values)
        result[is_known] = ranks[histogram.classes_of(histogram.keys_of(values[is_known], numbers[is_known]))]
        return result

    return ranks_of


def _doubled_ranks(strata: Integers, counts: Integers, totals: Integers) -> Integers:
    """Twice the mean rank, from 0, of the values of each class in their stratum; classes are sorted."""
    below = np.cumsum(counts) - counts
    starts = np.cumsum(totals) - totals
    return 2 * (below - starts[strata]) + counts - 1

"""Ranks of values."""

import numpy as np
import numpy.typing as npt

from curate.kernels.jit import kernel

Reals = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Strata = npt.NDArray[np.int32]


def shared_ranks(values: Reals, strata: Strata, order: Integers, unknown: float) -> Reals:
    """The rank of each value in its stratum, from 0 for the least to 1; equal ones share theirs.

    In:     values, of which some are nan; the number of each one's stratum; their places sorted by stratum and, nan
            last, by value.
    Out:    ranks; `unknown` for nan, and for what is alone in its stratum.
    Cost:   one pass; no memory but for the result.
    Oracle: tests/test_select.py.
    """
    return _shared_ranks(values, strata, order, unknown)


@kernel
def _shared_ranks(values: Reals, strata: Strata, order: Integers, unknown: float) -> Reals:
    ranks = np.full(len(values), unknown)
    begin = np.int64(0)
    while begin < len(order):
        stratum, end = strata[order[begin]], begin
        while end < len(order) and strata[order[end]] == stratum and not np.isnan(values[order[end]]):
            end += 1
        first = begin
        while first < end:
            last = first
            while last < end and values[order[last]] == values[order[first]]:
                last += 1
            shared = (first - begin) + (last - first - 1) / 2
            for k in range(first, last):
                if end - begin > 1:
                    ranks[order[k]] = shared / (end - begin - 1)
            first = last
        while end < len(order) and strata[order[end]] == stratum:  # nan
            end += 1
        begin = end
    return ranks

"""Counts of hashed n-grams per kind of text, and the mean log-probability of a text's n-grams under several kinds."""

import numpy as np
import numpy.typing as npt

from curate.kernels.arrow import Counts, Offsets
from curate.kernels.hashed_ngrams import Buckets, Reals
from curate.kernels.jit import kernel

Logs = npt.NDArray[np.float32]


def count_buckets(offsets: Offsets, buckets: Buckets, cells: Offsets, counts: Counts) -> None:
    """Add each row's n-grams to the counts of its cell.

    In:     cells (the cell number of each row, from 0); counts of shape (cells, size), updated in place.
    Oracle: np.add.at (tests/distill/scoring/test_importance.py).
    """
    _count(offsets, buckets, cells, counts)


def mean_logs(offsets: Offsets, buckets: Buckets, lanes: Offsets, logs: Logs) -> Reals:
    """Mean of the logarithms of each row's n-grams, column by column; `lanes` selects the table of each row.

    In:     logs of shape (lanes, size, columns): a bucket's columns are adjacent, as fetching them costs the most.
    Out:    float64 of shape (rows, columns); nan where a row has no n-grams; a row's result depends on no other row.
    Cost:   one look-up per n-gram in a table of size * columns numbers.
    Oracle: NumPy over each row (tests/distill/scoring/test_importance.py).
    """
    return _means(offsets, buckets, lanes, logs)


@kernel
def _count(offsets: Offsets, buckets: Buckets, cells: Offsets, counts: Counts) -> None:
    for row in range(len(offsets) - 1):
        cell = cells[row]
        for i in range(offsets[row], offsets[row + 1]):
            counts[cell, buckets[i]] += 1


@kernel
def _means(offsets: Offsets, buckets: Buckets, lanes: Offsets, logs: Logs) -> Reals:
    columns = logs.shape[2]
    found = np.zeros((len(offsets) - 1, columns), dtype=np.float64)
    for row in range(len(found)):
        lane, begin, end = lanes[row], offsets[row], offsets[row + 1]
        for i in range(begin, end):
            bucket = buckets[i]
            for j in range(columns):
                found[row, j] += logs[lane, bucket, j]
        for j in range(columns):
            found[row, j] /= np.float64(end - begin)  # 0 / 0 is nan
    return found

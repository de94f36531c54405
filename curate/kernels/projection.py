"""Project hashed n-grams to dense vectors and back, and find the nearest centre of each vector.

All sums run in a fixed order, so results do not depend on the number of threads. A matrix product by BLAS does not
guarantee that.
"""

import numpy as np
import numpy.typing as npt

from curate.kernels.arrow import Offsets
from curate.kernels.hashed_ngrams import Buckets
from curate.kernels.jit import kernel

Vectors = npt.NDArray[np.float32]
Reals = npt.NDArray[np.float64]


def project(offsets: Offsets, buckets: Buckets, places: Buckets, table: Vectors) -> Vectors:
    """Sum the vectors of each row's buckets and scale the sum to norm 1; 0 if no bucket has a vector.

    In:     places (the row of `table` of each bucket, or -1), table of shape (vectors, dimensions).
    Out:    shape (rows, dimensions); the vector of a row does not depend on other rows.
    Cost:   one addition of vectors for each n-gram that has a vector.
    Oracle: NumPy over each row (tests/distill/scoring/test_vectors.py).
    """
    return _project(offsets, buckets, places, table)


def gather(offsets: Offsets, buckets: Buckets, places: Buckets, weights: Vectors, vectors: Vectors) -> Vectors:
    """The transpose of `project`: for each place, the weighted sum of the vectors of the rows that contain it.

    A row has the coordinates `weights` (one per place) at its places, scaled so that the row has norm 1.
    """
    return _gather(offsets, buckets, places, weights, vectors)


def orthonormal(vectors: Vectors) -> Vectors:
    """Orthonormalise columns by modified Gram-Schmidt; the result spans the same space."""
    return _orthonormal(vectors.astype(np.float64)).astype(np.float32)


def nearest(vectors: Vectors, centres: Vectors) -> tuple[Buckets, Vectors]:
    """The index of the centre with the largest dot product with each vector (ties: the first), and that product."""
    return _nearest(vectors, np.ascontiguousarray(centres.T))


def add_by_centre(vectors: Vectors, centres: Buckets, count: int) -> Reals:
    """Sum the vectors assigned to each of `count` centres, in float64."""
    return _add_by_centre(vectors, centres, count)


@kernel
def _project(offsets: Offsets, buckets: Buckets, places: Buckets, table: Vectors) -> Vectors:
    found = np.zeros((len(offsets) - 1, table.shape[1]), dtype=np.float32)
    for row in range(len(found)):
        own = found[row]
        for i in range(offsets[row], offsets[row + 1]):
            place = places[buckets[i]]
            if place >= 0:
                for j in range(len(own)):
                    own[j] += table[place, j]
        square = np.float64(0)
        for j in range(len(own)):
            square += np.float64(own[j]) * np.float64(own[j])
        if square > 0:
            scale = np.float32(1.0 / np.sqrt(square))
            for j in range(len(own)):
                own[j] *= scale
    return found


@kernel
def _gather(offsets: Offsets, buckets: Buckets, places: Buckets, weights: Vectors, vectors: Vectors) -> Vectors:
    found = np.zeros((len(weights), vectors.shape[1]), dtype=np.float32)
    for row in range(len(vectors)):
        square = np.float64(0)
        for i in range(offsets[row], offsets[row + 1]):
            place = places[buckets[i]]
            if place >= 0:
                square += np.float64(weights[place]) * np.float64(weights[place])
        if square == 0:
            continue
        scale = np.float32(1.0 / np.sqrt(square))
        for i in range(offsets[row], offsets[row + 1]):
            place = places[buckets[i]]
            if place >= 0:
                weight = weights[place] * scale
                for j in range(vectors.shape[1]):
                    found[place, j] += weight * vectors[row, j]
    return found


@kernel
def _orthonormal(columns: Reals) -> Reals:
    rows, count = columns.shape
    products = np.zeros(count, dtype=np.float64)
    for j in range(count):
        square = np.float64(0)
        for row in range(rows):
            square += columns[row, j] * columns[row, j]
        scale = 1.0 / np.sqrt(square) if square > 1e-20 else 0.0
        products[:] = 0
        for row in range(rows):
            columns[row, j] *= scale
            for k in range(j + 1, count):
                products[k] += columns[row, j] * columns[row, k]
        for row in range(rows):
            for k in range(j + 1, count):
                columns[row, k] -= products[k] * columns[row, j]
    return columns


@kernel
def _nearest(vectors: Vectors, centres: Vectors) -> tuple[Buckets, Vectors]:
    dimensions, count = centres.shape
    best, products = np.zeros(len(vectors), dtype=np.int32), np.zeros(len(vectors), dtype=np.float32)
    sums = np.zeros(count, dtype=np.float32)
    for row in range(len(vectors)):
        sums[:] = 0
        for j in range(dimensions):
            for k in range(count):
                sums[k] += vectors[row, j] * centres[j, k]
        for k in range(1, count):
            if sums[k] > sums[best[row]]:
                best[row] = k
        products[row] = sums[best[row]]
    return best, products


@kernel
def _add_by_centre(vectors: Vectors, centres: Buckets, count: int) -> Reals:
    sums = np.zeros((count, vectors.shape[1]), dtype=np.float64)
    for row in range(len(vectors)):
        for j in range(vectors.shape[1]):
            sums[centres[row], j] += vectors[row, j]
    return sums

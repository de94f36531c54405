"""Fit and evaluate several linear models at once, over hashed n-grams and a few dense columns.

One pass over the rows fits LANES models. Loading a row's weights dominates the cost, so the weights of one bucket are
adjacent for all lanes. A row's cost is its weight in the loss of a lane; 0 excludes the row.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curate.kernels.arrow import Offsets
from curate.kernels.hashed_ngrams import Buckets, Reals
from curate.kernels.jit import inline, kernel, part

Weights = npt.NDArray[np.float32]
LANES = 4
STEPS = 30  # limit on Newton steps; about five are needed
STILL = 1e-6  # smallest change of a dual variable, relative to the row's cost, that updates the weights


class Rows(NamedTuple):
    """Feature rows of a linear model: row i has `buckets[offsets[i]:offsets[i + 1]]`, a vector of norm 1."""

    offsets: Offsets
    buckets: Buckets  # each has the value 1 / √(number of buckets in the row)
    columns: Weights  # shape (rows, columns)


class Bounds(NamedTuple):
    """Constraints on the weights."""

    size: int  # number of buckets
    least: Reals  # lower bound on each column's weight: 0 or minus infinity


def fit(
    rows: Rows, targets: Reals, costs: Reals, bounds: Bounds, logistic: bool, orders: Offsets
) -> tuple[Weights, Weights]:
    """Minimise |w|² / 2 + Σ cost · loss(target, w · x) in each lane, subject to the lower bounds on column weights.

    The loss is log(1 + exp(-target · w · x)) with targets 1 and -1, or (target - w · x)² / 2. The method is coordinate
    ascent on the dual (Yu, Huang and Lin 2011, "Dual coordinate descent methods for logistic regression and maximum
    entropy models", Machine Learning 85: 41-75). Each step is optimal for its row, so there is no step size to choose.
    A lower bound of 0 clips the weight whenever it is read (Shalev-Shwartz and Zhang 2013, arXiv 1309.2375).

    In:     targets and costs of shape (rows, LANES); orders of shape (passes, rows), each a permutation of the rows.
    Out:    weights of shape (LANES, size) and (LANES, columns).
    Cost:   one pass over the rows for each order.
    Oracle: scipy.optimize.minimize over the same loss (tests/kernels/test_hashed_ngrams.py).
    """
    weights = np.zeros((bounds.size, LANES), dtype=np.float32)
    columns = np.zeros((rows.columns.shape[1], LANES), dtype=np.float64)
    duals = np.zeros((len(rows.offsets) - 1, LANES), dtype=np.float64)
    for order in orders:
        _pass(*rows, targets, costs, logistic, order, weights, columns, duals, bounds.least)
    columns = np.maximum(columns, bounds.least[:, None])
    return np.ascontiguousarray(weights.T), np.ascontiguousarray(columns.T, dtype=np.float32)


def sums(rows: Rows, lanes: Offsets, weights: Weights, columns: Weights) -> Reals:
    """Compute w · x of each row, with the weights of the row's lane in `lanes`.

    In:     weights of shape (lanes, size) and (lanes, columns).
    Out:    float64; the sum of a row does not depend on other rows.
    Oracle: NumPy over each row (tests/kernels/test_hashed_ngrams.py).
    """
    return _sums(*rows, lanes, weights, columns)


@part
def _logistic_dual(dual: float, margin: float, square: float, cost: float) -> float:
    """The optimal dual variable of one row, in (0, cost), with all other dual variables fixed.

    It is cost · sigmoid(t) at the root of t + margin + (cost · sigmoid(t) - dual) · square, which increases with t.
    """
    low, high = -margin - (cost - dual) * square, -margin + dual * square
    t = -margin
    new = dual
    for _ in range(STEPS):
        share = 1.0 / (1.0 + np.exp(-t))
        new = cost * share
        value = t + margin + (new - dual) * square
        if value > 0:
            high = t
        else:
            low = t
        step = value / (1.0 + new * (1.0 - share) * square)
        if abs(step) < 1e-9:
            break
        t -= step
        if t < low or t > high:
            t = (low + high) / 2
    return new


@inline
def _step(dual: float, margin: float, square: float, cost: float, target: float, logistic: bool) -> float:
    """The change of the dual variable of one row; the dual variable has the sign of the target."""
    if cost <= 0:
        return 0.0
    if logistic:
        return target * _logistic_dual(target * dual, target * margin, square, cost) - dual
    return cost * (target - margin + dual * square) / (1.0 + cost * square) - dual


@kernel
def _pass(
    offsets: Offsets, buckets: Buckets, dense: Weights, targets: Reals, costs: Reals, logistic: bool, order: Offsets,
    weights: Weights, columns: Reals, duals: Reals, least: Reals,
) -> None:  # fmt: skip
    margins, steps = np.zeros(LANES, dtype=np.float64), np.zeros(LANES, dtype=np.float64)
    for row in order:
        begin, end = offsets[row], offsets[row + 1]
        scale = 1.0 / np.sqrt(np.float64(max(end - begin, 1)))
        square = np.float64(end > begin)
        a = b = c = d = np.float64(0)  # one per lane, unrolled so that they stay in registers
        for i in range(begin, end):
            bucket = buckets[i]
            a += weights[bucket, 0]
            b += weights[bucket, 1]
            c += weights[bucket, 2]
            d += weights[bucket, 3]
        margins[0], margins[1], margins[2], margins[3] = a * scale, b * scale, c * scale, d * scale
        for j in range(dense.shape[1]):
            value = np.float64(dense[row, j])
            square += value * value
            for k in range(LANES):
                margins[k] += value * max(least[j], columns[j, k])
        moved = False
        for k in range(LANES):
            steps[k] = _step(duals[row, k], margins[k], square, costs[row, k], targets[row, k], logistic)
            moved |= abs(steps[k]) > STILL * costs[row, k]
        if moved:
            for j in range(dense.shape[1]):
                for k in range(LANES):
                    columns[j, k] += steps[k] * dense[row, j]
            for k in range(LANES):
                duals[row, k] += steps[k]
                steps[k] *= scale
            _add(weights, buckets, begin, end, steps)


@inline
def _add(weights: Weights, buckets: Buckets, begin: int, end: int, steps: Reals) -> None:
    a, b, c, d = np.float32(steps[0]), np.float32(steps[1]), np.float32(steps[2]), np.float32(steps[3])
    for i in range(begin, end):
        bucket = buckets[i]
        weights[bucket, 0] += a
        weights[bucket, 1] += b
        weights[bucket, 2] += c
        weights[bucket, 3] += d


@kernel
def _sums(
    offsets: Offsets, buckets: Buckets, dense: Weights, lanes: Offsets, weights: Weights, columns: Weights
) -> Reals:
    found = np.zeros(len(offsets) - 1, dtype=np.float64)
    for row in range(len(found)):
        lane = lanes[row]
        begin, end = offsets[row], offsets[row + 1]
        total = np.float64(0)
        for i in range(begin, end):
            total += weights[lane, buckets[i]]
        total /= np.sqrt(np.float64(max(end - begin, 1)))
        for j in range(dense.shape[1]):
            total += np.float64(dense[row, j]) * columns[lane, j]
        found[row] = total
    return found

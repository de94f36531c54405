"""The p_bad to cut at so that few good documents are dropped: a bound that is valid however good the scores are.

The scores of n good documents that no model was trained on are sorted, and the cut is the k-th smallest,
k = ⌈(n + 1)(1 - α)⌉. Another good document of the same distribution scores above it with a probability of at most α,
because each of the n + 1 documents is equally likely to be among the highest. That is conformal prediction (Vovk,
Gammerman and Shafer 2005) and conformal risk control (Angelopoulos et al. 2022, arXiv 2208.02814) with the loss
"dropped although good". It bounds the mean over calibration sets; `interval` gives the spread for a single one.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.floating]

COVERED = 0.95
SLACK = 1e-9  # for products of numbers such as 0.02 that are not exact in binary


@dataclass(frozen=True)
class Losses:
    """How the losses of documents grow as a threshold falls: `steps` are added at `scores`, in any order."""

    documents: int
    scores: Reals
    steps: Reals


def least_documents(alpha: float) -> int:
    """The least number of good documents for which a cut satisfies α: 49 for 0.02."""
    return math.ceil(1 / alpha - SLACK) - 1


def _rank(n: int, alpha: float) -> int:
    return math.ceil((n + 1) * (1 - alpha) - SLACK)


def threshold(scores_of_good: npt.NDArray[np.floating], alpha: float) -> float | None:
    """The score above which a document may be dropped; None with fewer than `least_documents`.

    Documents without a score (nan) must be left out by the caller.
    """
    n = len(scores_of_good)
    if n < least_documents(alpha):
        return None
    return float(np.sort(scores_of_good)[_rank(n, alpha) - 1])


def risk_threshold(losses: Losses, alpha: float, least: float) -> float:
    """The least score, from `least` up, above which passages may be cut so that the mean loss is at most α.

    Conformal risk control for a loss from 0 to 1 that never grows with the threshold t (Angelopoulos et al. 2022,
    theorem 1): the least t with Σ loss(t) + 1 ≤ α (n + 1) over the n documents. Another document of the same
    distribution then has an expected loss of at most α. Passages of one document may depend on each other, because
    each document counts once. There must be `least_documents`.
    """
    order = np.argsort(-losses.scores, kind="stable")
    scores, so_far = losses.scores[order], np.cumsum(losses.steps[order])
    is_last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]  # passages of one score are cut together
    beyond = np.flatnonzero(is_last & (so_far > alpha * (losses.documents + 1) - 1 + SLACK))
    return max(least, float(scores[beyond[0]])) if len(beyond) else least


def interval(n: int, alpha: float, covered: float = COVERED) -> tuple[float, float]:
    """The interval that contains P(drop | good) for a share `covered` of all calibration sets of n documents.

    Given the set, that probability is distributed as Beta(n + 1 - k, k) if all scores differ, and is no higher
    otherwise (Vovk 2012, "Conditional validity of inductive conformal predictors", arXiv 1209.2673).
    """
    k = _rank(n, alpha)
    tail = (1 - covered) / 2
    return beta_quantile(tail, n + 1 - k, k), beta_quantile(1 - tail, n + 1 - k, k)


def beta_quantile(p: float, a: int, b: int) -> float:
    """The p-quantile x of Beta(a, b), for integers a and b from 1.

    p is the probability of at least a successes in n = a + b - 1 trials of probability x (DLMF 8.17.5), so

        1 - p = sum of C(n, j) x^j (1 - x)^(n - j) for j < a,

    which falls with x: it is found by bisection.

    Cost:   64 sums of a terms.
    Oracle: `scipy.stats.beta.ppf` (tests/distill/purify/test_conformal.py).
    """
    n, successes = a + b - 1, np.arange(a)
    ways = np.cumsum(np.log(np.concatenate([[1.0], (n - successes[1:] + 1) / successes[1:]])))  # logarithms of C(n, j)
    low, high = 0.0, 1.0
    for _ in range(64):
        x = (low + high) / 2
        if not low < x < high:
            break
        fewer = np.exp(ways + successes * np.log(x) + (n - successes) * np.log1p(-x)).sum()
        low, high = (x, high) if fewer > 1 - p else (low, x)
    return (low + high) / 2

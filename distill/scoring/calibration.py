"""Calibration: probabilities from scores, and measures of how good either are."""

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Pairs = tuple[float, float]

PLATT_STEPS = 100
BINS = 10


def sigmoid(log_odds: Reals) -> Reals:
    """Probabilities of log-odds."""
    return 1.0 / (1.0 + np.exp(-np.clip(log_odds, -500, 500)))


def platt(scores: Reals, bad: Flags, weights: Reals) -> Pairs:
    """Slope and offset that map scores to log-odds of being bad: weighted logistic regression by Newton's method.

    As in Platt 1999, "Probabilistic outputs for support vector machines", with his smoothed targets.

    A score that is uninformative or inverted gets a slope near 0, so all texts have the same probability.
    """
    n_bad, n_good = weights[bad].sum(), weights[~bad].sum()
    targets = np.where(bad, (n_bad + 1) / (n_bad + 2), 1 / (n_good + 2))
    spread = float(np.std(scores)) or 1.0
    features = np.column_stack([scores / spread, np.ones(len(scores))])
    parameters = np.array([0.0, np.log(n_bad / n_good)])
    for _ in range(PLATT_STEPS):
        likely = sigmoid(features @ parameters)
        gradient = features.T @ (weights * (likely - targets))
        curvature = weights * likely * (1 - likely) + 1e-9
        step = np.linalg.solve(features.T @ (features * curvature[:, None]) + 1e-9 * np.eye(2), gradient)
        parameters -= step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-10:
            break
    return max(float(parameters[0]), 1e-6) / spread, float(parameters[1])


def brier(likely: Reals, bad: Flags, weights: Reals) -> float:
    """Mean squared error of probabilities (Brier 1950); 0.25 for a constant one half."""
    return float(np.average((likely - bad) ** 2, weights=weights))


def calibration_error(likely: Reals, bad: Flags, weights: Reals) -> float:
    """Expected calibration error: how far the share of bad texts is from the predicted one, over BINS equal bins."""
    bins = np.minimum((likely * BINS).astype(np.int64), BINS - 1)
    predicted = np.bincount(bins, weights * likely, BINS)
    observed = np.bincount(bins, weights * bad, BINS)
    return float(np.abs(predicted - observed).sum() / weights.sum())


def roc_auc(scores: Reals, bad: Flags) -> float:
    """Probability that a bad text scores higher than a good one, ties counting half."""
    count = int(bad.sum())
    return float((ranks(scores)[bad].sum() - count * (count - 1) / 2) / (count * (len(bad) - count)))


def spearman(a: Reals, b: Reals) -> float:
    """Spearman's rank correlation."""
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def ranks(values: Reals) -> Reals:
    """Ranks from 0; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    shared: Reals = (np.cumsum(counts) - (counts + 1) / 2)[inverse]
    return shared

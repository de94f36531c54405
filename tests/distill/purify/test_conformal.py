"""The cut for p_bad: false drops stay within what was asked, over many draws of the calibration set."""

import numpy as np
import pytest
from scipy.stats import beta

from curate.distill.purify.conformal import beta_quantile, interval, least_documents, threshold


@pytest.mark.parametrize(("alpha", "least"), [(0.02, 49), (0.05, 19), (0.1, 9), (0.01, 99), (0.03, 33), (0.5, 1)])
def test_too_few_documents_give_no_threshold(alpha, least):
    scores = np.arange(float(least))
    assert least_documents(alpha) == least
    assert threshold(scores, alpha) == least - 1
    assert threshold(scores[1:], alpha) is None


def test_the_threshold_is_the_score_of_that_rank():
    scores = np.random.default_rng(1).permutation(99).astype(float)
    assert threshold(scores, 0.02) == 97  # the 98th of 99, ⌈100 · 0.98⌉
    assert threshold(scores, 0.1) == 89


@pytest.mark.parametrize(("n", "alpha"), [(49, 0.02), (60, 0.02), (200, 0.05), (1000, 0.02)])
def test_false_drops_stay_within_alpha_and_the_interval_covers_them(n, alpha):
    draws = 4000
    scores = np.random.default_rng(n).random((draws, n))  # the chance of a drop is then 1 - threshold
    rates = 1 - np.array([threshold(row, alpha) for row in scores])
    error = rates.std() / np.sqrt(draws)
    assert alpha - 1 / (n + 1) - 4 * error < rates.mean() < alpha + 4 * error
    low, high = interval(n, alpha)
    assert np.mean((low <= rates) & (rates <= high)) == pytest.approx(0.95, abs=4 * np.sqrt(0.05 * 0.95 / draws))


def test_equal_scores_only_make_false_drops_rarer():
    draw = np.random.default_rng(7)
    coarse = [draw.integers(0, 10, 100) for _ in range(2000)]
    assert np.mean([(9 - threshold(row.astype(float), 0.05)) / 10 for row in coarse]) <= 0.05


@pytest.mark.parametrize(
    ("a", "b"), [(1, 1), (1, 49), (49, 1), (2, 3), (2, 48), (20, 980), (500, 500), (2000, 98_000), (60_000, 7)]
)
@pytest.mark.parametrize("p", [0.005, 0.025, 0.5, 0.975, 0.995])
def test_quantiles_of_the_beta_distribution_are_those_of_scipy(a, b, p):
    assert beta_quantile(p, a, b) == pytest.approx(beta.ppf(p, a, b), rel=1e-9, abs=0)

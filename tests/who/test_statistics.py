"""Intervals and tests of shares, against scipy, published figures and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from support.soak import examples

from curate.who.statistics import (
    Moves,
    Table,
    common_difference,
    difference,
    difference_of_changes,
    holm,
    p_of,
    p_of_changes,
    wilson,
)

# Newcombe 1998, Statistics in Medicine 17: 873-890, table II, method 10.
NEWCOMBE = {
    (56, 70, 48, 80): (0.0524, 0.3339),
    (9, 10, 3, 10): (0.1705, 0.8090),
    (6, 7, 2, 7): (0.0582, 0.8062),
    (5, 56, 0, 29): (-0.0381, 0.1926),
    (0, 10, 0, 20): (-0.1611, 0.2775),
    (10, 10, 0, 20): (0.6791, 1.0),
    (10, 10, 0, 10): (0.6075, 1.0),
}
# Alcohol and cancer of the oesophagus by age, Tuyns et al. 1977.
BY_AGE = [Table(1, 10, 0, 106), Table(4, 30, 5, 169), Table(25, 54, 21, 159), Table(42, 69, 34, 173)]
BY_AGE += [Table(19, 37, 36, 124), Table(5, 5, 8, 39)]
SHARES = st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
TABLES = st.tuples(SHARES, SHARES).map(lambda two: Table(*two[0], *two[1]))


def test_wilson_intervals_are_those_published():
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (hits, total), interval in published.items():  # Newcombe 1998, Statistics in Medicine 17: 857-872, table I
        assert wilson(hits, total) == pytest.approx(interval, abs=5e-5)
    assert wilson(20, 20) == pytest.approx((1 - 0.1611, 1), abs=5e-5)


@examples(60)
@given(share=SHARES)
def test_wilson_intervals_are_those_of_scipy(share):
    interval = stats.binomtest(*share).proportion_ci(method="wilson")
    assert wilson(*share) == pytest.approx((interval.low, interval.high), abs=1e-9)


@pytest.mark.parametrize(("table", "interval"), NEWCOMBE.items(), ids=str)
def test_intervals_of_differences_are_those_published(table, interval):
    assert difference(Table(*table))[1:] == pytest.approx(interval, abs=5e-5)


@examples(80)
@given(table=TABLES)
def test_small_tables_are_tested_as_scipy_does_exactly(table):
    a, n, b, m = table
    least = min(n, m) * min(a + b, n + m - a - b) / (n + m)
    expected = stats.fisher_exact([[a, n - a], [b, m - b]]).pvalue
    if least < 10:
        assert p_of([table]) == pytest.approx(expected, rel=1e-6)


def test_large_tables_are_tested_by_their_chi_square():
    a, n, b, m = 350, 1000, 600, 2100
    chi = stats.chi2_contingency([[a, n - a], [b, m - b]], correction=False)
    exact_variance = chi.statistic * (n + m - 1) / (n + m)  # margins are fixed
    assert p_of([Table(a, n, b, m)]) == pytest.approx(stats.chi2.sf(exact_variance, 1), rel=1e-9)


def test_strata_are_tested_as_their_hypergeometric_means_and_variances_say():
    surplus = variance = 0.0
    for a, n, b, m in BY_AGE:
        law = stats.hypergeom(n + m, a + b, n)
        surplus, variance = surplus + a - law.mean(), variance + law.var()
    assert p_of(BY_AGE) == pytest.approx(stats.chi2.sf(surplus**2 / variance, 1), rel=1e-9)


def test_the_difference_within_strata_weighs_them_as_mantel_and_haenszel_did():
    weights = [n * m / (n + m) for _, n, _, m in BY_AGE]
    differences = [a / n - b / m for a, n, b, m in BY_AGE]
    expected = np.average(differences, weights=weights)
    assert common_difference(BY_AGE).value == pytest.approx(expected)


def test_simpsons_paradox_shows_as_two_signs():
    # Charig et al. 1986, kidney stones: open surgery succeeds more often with small and with large stones, not overall.
    strata = [Table(81, 87, 234, 270), Table(192, 263, 55, 80)]
    overall = Table(*(sum(column) for column in zip(*strata, strict=True)))
    assert difference(overall).value < 0 < common_difference(strata).value


@pytest.mark.parametrize("sizes", [[(40, 90)] * 4, [(3, 7)] * 60, [(900, 2000), (12, 5)]], ids=["few", "sparse", "two"])
def test_intervals_within_strata_hold_the_true_difference_as_often_as_they_say(sizes):
    random, hit, n_draws, true = np.random.default_rng(0), 0, 1500, 0.1
    bases = [0.1 + 0.5 * (k % 3) / 2 for k in range(len(sizes))]
    for _ in range(n_draws):
        tables = [
            Table(int(random.binomial(n, base + true)), n, int(random.binomial(m, base)), m)
            for (n, m), base in zip(sizes, bases, strict=True)
        ]
        interval = common_difference(tables)
        hit += interval.low <= true <= interval.high
    assert 0.93 < hit / n_draws < 0.97


@pytest.mark.parametrize("sizes", [[(300, 700)], [(25, 400)], [(40, 90)] * 4, [(3, 7)] * 60], ids=str)
def test_where_nothing_differs_p_is_below_a_bound_no_more_often_than_that(sizes):
    random, below, n_draws = np.random.default_rng(1), 0, 1500
    for _ in range(n_draws):
        tables = [Table(int(random.binomial(n, 0.2)), n, int(random.binomial(m, 0.2)), m) for n, m in sizes]
        p = p_of(tables)
        below += p is not None and p < 0.05
    assert below / n_draws < 0.065


def test_strata_without_documents_of_both_say_nothing():
    one_sided = [Table(3, 10, 0, 0), Table(0, 0, 4, 50)]
    assert (common_difference(one_sided), p_of(one_sided)) == (None, None)
    shared = Table(30, 100, 10, 100)
    assert common_difference([*one_sided, shared]) == common_difference([shared])
    assert p_of([*one_sided, shared]) == p_of([shared])


def test_strata_that_leave_the_drops_no_choice_are_not_tested():
    assert p_of([Table(1, 2, 0, 3), Table(0, 1, 1, 4)]) is None


def test_all_dropped_and_none_dropped_are_no_difference():
    assert p_of([Table(0, 50, 0, 900)]) == p_of([Table(50, 50, 900, 900)]) == 1
    assert difference(Table(0, 50, 0, 900)).value == 0


def test_holm_corrects_for_the_number_of_comparisons():
    # Holm 1979 by hand: 4·0.005, 3·0.01, 2·0.03, 1·0.04, none below the one before
    assert holm([0.01, 0.04, None, 0.03, 0.005]) == pytest.approx([0.03, 0.06, None, 0.06, 0.02])
    assert holm([]) == []


@examples(60)
@given(values=st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_lowers_a_p_and_keeps_their_order(values):
    corrected = holm(values)
    assert all(after >= before or math.isclose(after, before) for before, after in zip(values, corrected, strict=True))
    ranked = [after for _, after in sorted(zip(values, corrected, strict=True))]
    assert ranked == sorted(ranked)


def test_groups_that_change_alike_seldom_seem_to_change_otherwise():
    random, below, n_draws = np.random.default_rng(2), 0, 1500
    for _ in range(n_draws):
        moves = [Moves(n, *(int(k) for k in random.multinomial(n, [0.1, 0.03, 0.87])[:2])) for n in (150, 900)]
        below += p_of_changes(*moves) < 0.05
    assert 0.035 < below / n_draws < 0.065


def test_changes_of_a_group_are_compared_with_those_of_the_rest():
    group, rest = Moves(200, 40, 10), Moves(1000, 20, 50)
    assert difference_of_changes(group, rest).value == pytest.approx(-30 / 200 - 30 / 1000)
    assert p_of_changes(group, rest) < 1e-10
    assert p_of_changes(Moves(200, 3, 0), Moves(1000, 2, 1)) is None
    assert p_of_changes(Moves(200, 20, 0), Moves(1000, 100, 0)) == 1

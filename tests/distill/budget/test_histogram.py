"""Histograms of integers: ranks as sorting gives them, in whatever portions values come, and in fixed memory."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.soak import examples

from curate.distill.budget.ranks import Histogram, ranks_by, sortable
from curate.distill.scoring.calibration import ranks

values_of = st.floats(width=32, allow_nan=True) | st.sampled_from([0.0, -0.0, 1.0, 2.0])


def histogram_of(values, strata, count, portions=1, **fields):
    found = Histogram(count, **fields)
    known = ~np.isnan(values)
    keys = found.keys_of(values[known], strata[known])
    for some in np.array_split(keys, portions):
        found.add(some)
        found.merge()
    return found


@given(st.lists(values_of, min_size=1))
def test_keys_sort_as_values_do(values):
    values = np.array([value for value in values if value == value])
    keys = sortable(values)
    assert ((keys[:, None] < keys) == (values[:, None] < values)).all()
    assert ((keys[:, None] == keys) == (values[:, None] == values)).all()


@given(st.lists(st.tuples(values_of, st.integers(0, 2)), min_size=1, max_size=50), st.integers(1, 4), st.booleans())
@example([(float("nan"), 0)], 1, True)
@examples(100)
def test_ranks_within_strata(rows, portions, middle_best):
    values, strata = np.array([value for value, _ in rows]), np.array([stratum for _, stratum in rows], np.int32)
    found = ranks_by(histogram_of(values, strata, 3, portions), middle_best=middle_best)(values, strata)
    for stratum in range(3):
        own = (strata == stratum) & ~np.isnan(values)
        n = own.sum()
        if n > 1:
            expected = ranks(values[own])
            if middle_best:
                expected = ranks(-np.abs(2 * expected - (n - 1)))
            np.testing.assert_allclose(found[own], expected / (n - 1))
        else:
            assert (found[own] == 0.5).all()
    assert (found[np.isnan(values)] == 0.5).all()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_many_strata_leave_room_for_the_digits_of_a_score(kind):
    strata = np.repeat(np.arange(100_000, dtype=np.int32), 2)
    values = np.tile(np.array([1, 1 + 2.0**-23], kind), 100_000)
    found = ranks_by(histogram_of(values, strata, 100_000))(values, strata)
    assert found.reshape(-1, 2).tolist() == [[0.0, 1.0]] * 100_000


def test_without_strata_all_digits_of_a_number_count():
    values, strata = np.array([1.0, np.nextafter(1.0, 2), 2.0**53 - 1, 2.0**53 - 2]), np.zeros(4, np.int32)
    assert (3 * ranks_by(histogram_of(values, strata, 1))(values, strata)).tolist() == [0.0, 1.0, 3.0, 2.0]


def test_of_too_many_values_some_share_a_rank_whatever_the_portions():
    draw = np.random.default_rng(2)
    values, strata = draw.lognormal(size=50_000), draw.integers(0, 3, 50_000).astype(np.int32)
    exact = ranks_by(histogram_of(values, strata, 3))(values, strata)
    few = [histogram_of(values, strata, 3, portions, most=2_000) for portions in (1, 7, 500)]
    assert all(len(found.keys) <= 2_000 and found.counts.sum() == 50_000 for found in few)
    first, *others = (ranks_by(found)(values, strata) for found in few)
    assert all((found == first).all() for found in others)
    assert np.abs(first - exact).max() < 0.005
    assert len(np.unique(first)) > 500
    for stratum in range(3):
        own = strata == stratum
        assert (np.diff(first[own][np.argsort(values[own])]) >= 0).all()

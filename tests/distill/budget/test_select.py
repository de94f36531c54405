"""Filling budgets: as sets do it, nested, met, with quotas."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.budgets import by_sets, candidates_of, corpora, quotas_by
from support.soak import examples

from curate.distill.budget.select import (
    REDUNDANT,
    TOLERANCE,
    Candidates,
    gumbel_keys,
    key_span,
    quotas_of,
    repeats_of,
    select,
    shares_of,
)
from curate.kernels import fill


def some_of(candidates, rows):
    """Candidates of some rows, in that order."""
    sets = [candidates.shingles[candidates.offsets[i] : candidates.offsets[i + 1]] for i in rows]
    own = {name: getattr(candidates, name)[rows] for name in ("positions", "keys", "sizes", "strata", "clusters")}
    offsets = np.cumsum([0, *map(len, sets)])
    return Candidates(**own, offsets=offsets, shingles=np.concatenate([np.zeros(0, np.uint32), *sets]))


def selected(candidates, budgets, quotas, novelty, cap=1.0, clusters=1, layers=1):
    """What is kept of candidates that come in layers, each of which is in some order."""
    order = np.lexsort((candidates.positions, -candidates.keys))
    parts = [some_of(candidates, np.sort(rows)[::-1]) for rows in np.array_split(order, layers)]
    return select(lambda wanted: iter(parts), len(order), clusters, budgets, quotas, novelty, cap)


@given(
    corpora(), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.lists(st.floats(0.05, 0.9), min_size=1, max_size=3),
    st.sampled_from([1.0, 0.5, 0.2]), st.integers(1, 5), st.sampled_from([fill.LEAST_TABLE, 4, fill.BITS]),
)  # fmt: skip
@examples(400)
def test_a_budget_is_filled_as_sets_would_in_whatever_layers(corpus, novelty, shares, cap, layers, table):
    candidates, sets = corpus
    total = int(candidates.sizes.sum())
    available = np.bincount(candidates.strata, candidates.sizes, 4).astype(np.int64)
    budgets = sorted(int(total * share) for share in shares)
    quotas = [quotas_by(available, available, budget, 0.5, 0.0, {}) for budget in budgets]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fill, "LEAST_TABLE", table)
        found = selected(candidates, budgets, quotas, novelty, cap, 3, layers)
    rung, redundant = by_sets(candidates, budgets, quotas, novelty, cap, sets)
    assert np.maximum(found.rung, -1).tolist() == rung
    assert set(np.flatnonzero(found.rung == REDUNDANT).tolist()) == redundant
    for k, budget in enumerate(budgets):
        within = (found.rung >= 0) & (found.rung <= k)
        taken = candidates.sizes[within].sum()
        assert taken == found.taken[k].sum() <= budget
        assert within.sum() == found.documents[k]
        assert budget - taken <= TOLERANCE * budget or not (candidates.sizes[~within] <= budget - taken).any()


def test_many_shingles_make_the_table_grow():
    draw = np.random.default_rng(5)
    sets = [set(draw.integers(0, 1 << 32, 300).tolist()) for _ in range(200)]
    sets += [set(sorted(sets[i])[:200]) | set(draw.integers(0, 1 << 32, 20).tolist()) for i in range(50)]
    candidates = candidates_of([10] * 250, [0] * 250, sets, np.r_[np.ones(200), np.zeros(50)])
    found = selected(candidates, [2400], [np.array([2400])], 0.5)
    assert (found.rung[:200] == 0).all()
    assert (found.rung[200:] == REDUNDANT).sum() + (found.rung[200:] == 0).sum() == 50
    assert found.taken.sum() == 2400  # redundant ones fill what would be left
    assert (found.rung[200:] == 0).sum() == 40


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=6), st.floats(0, 1.2), st.floats(0, 1), st.floats(0, 0.3))
@examples(300)
def test_quotas_come_to_the_budget_and_no_stratum_to_more_than_it_has(available, share, temperature, floor):
    available = np.array(available, np.int64)
    budget = int(available.sum() * share)
    quotas = quotas_by(available, available, budget, temperature, floor, {})
    assert ((quotas >= 0) & (quotas <= available)).all()
    assert quotas.sum() == min(budget, available.sum())


def test_where_much_was_seen_no_document_is_redundant_by_chance():
    draw = np.random.default_rng(6)
    table = fill.Seen()
    table.table = np.full(fill.BITS, 0x55555555, np.uint32)  # half of all shingles that there are
    table.count[0] = 1 << 31
    sets = [set(draw.integers(0, 1 << 32, 400).tolist()) for _ in range(100)]
    known = [{one & 0xFFFFFFFE for one in found} for found in sets]  # whose bits are set
    candidates = candidates_of([1] * 200, [0] * 200, known + sets, np.repeat([1, 0], 100))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curate.distill.budget.select.Seen", lambda: table)
        found = selected(candidates, [90], [np.array([90])], 0.6)
    assert (found.rung[:100] == REDUNDANT).all()
    assert (found.rung[100:190] == 0).all()


def test_quotas_by_temperature_floor_and_targets():
    available = np.array([90_000, 9_000, 1_000], np.int64)
    assert quotas_by(available, available, 1_000, 1.0, 0.0, {}).tolist() == [900, 90, 10]
    assert quotas_by(available, available, 900, 0.0, 0.0, {}).tolist() == [300, 300, 300]
    shares = np.sqrt(available / available.sum())
    assert np.abs(quotas_by(available, available, 10_000, 0.5, 0.0, {}) - 10_000 * shares / shares.sum()).max() <= 1000
    assert quotas_by(available, available, 1_000, 1.0, 0.1, {}).tolist() == [800, 100, 100]
    assert quotas_by(available, available, 1_000, 1.0, 0.0, {2: 0.5}).tolist() == [455, 45, 500]
    assert quotas_by(available, available, 10_000, 1.0, 0.0, {0: 0.0, 1: 0.5}).tolist() == [0, 9_000, 1_000]


def test_what_a_floor_takes_is_taken_from_the_others_in_proportion():
    available = np.full(3, 1_000_000)

    def shares(*masses, floor):
        return shares_of(np.array(masses), available, 1.0, floor, {}).tolist()

    assert shares(0.5, 0.3, 0.2, floor=0.25) == pytest.approx([0.46875, 0.28125, 0.25])
    assert shares(0.6, 0.251, 0.149, floor=0.25) == pytest.approx([0.5, 0.25, 0.25])  # the second falls below it then
    assert shares(0.5, 0.3, 0.2, floor=0.2) == pytest.approx([0.5, 0.3, 0.2])
    assert shares(0.5, 0.3, 0.2, floor=0.9) == pytest.approx([1 / 3] * 3)


def test_what_rounding_down_took_goes_to_the_largest_rests():
    assert quotas_of(np.array([0.55, 0.28, 0.17]), np.full(3, 100), 10).tolist() == [5, 3, 2]


def test_what_a_stratum_lacks_goes_to_the_others():
    assert quotas_by(np.ones(3), np.array([50, 1_000, 1_000]), 900, 0.0, 0.0, {}).tolist() == [50, 425, 425]


def test_a_warm_draw_follows_its_probabilities_and_a_cold_one_the_order():
    wanted = np.array([0.0, 0.1])
    assert gumbel_keys(wanted, np.zeros(2, np.uint64), 0).tolist() == [0.0, 0.1]
    draw = np.random.default_rng(3)
    hashes = draw.integers(0, 1 << 64, (20_000, 2), dtype=np.uint64)
    keys = np.stack([gumbel_keys(wanted, some, 0.1) for some in hashes])
    share = (keys[:, 1] > keys[:, 0]).mean()
    assert share == pytest.approx(np.e / (1 + np.e), abs=0.015)  # exp(1) against exp(0)
    hashes = draw.integers(0, 1 << 64, (20_000, 3), dtype=np.uint64)  # of three: noise the other way round wins 0.617
    keys = np.stack([gumbel_keys(np.array([0.0, 0.0, 0.1]), some, 0.1) for some in hashes])
    assert (keys.argmax(axis=1) == 2).mean() == pytest.approx(np.e / (2 + np.e), abs=0.015)


@pytest.mark.parametrize("temperature", [0.0, 0.01, 1.0])
def test_no_two_keys_differ_by_more_than_their_span(temperature):
    ends = np.array([0, (1 << 64) - 1], np.uint64)
    low, high = gumbel_keys(np.array([0.0, 1.0]), ends, temperature)
    assert 0 < high - low < key_span(temperature)


def test_repeats_bring_thin_strata_to_their_quota():
    assert repeats_of(np.array([60, 30, 10, 0]), np.array([0.3, 0.45, 0.2, 0.05])).tolist() == [1.0, 1.5, 2.0, 1.0]

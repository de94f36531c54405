"""Layers of candidates: all of them in order, however many there are, and no more files than a budget looks into."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.budgets import by_sets, candidates_of, corpora, quotas_by
from support.soak import examples

from curate.distill.budget import layers
from curate.distill.budget.layers import ROW_BYTES, Layers, columns_in, write_columns
from curate.distill.budget.select import REDUNDANT, select


def layers_of(folder, candidates, budget, batch=7):
    """Layers of candidates in input order."""
    count = len(candidates.keys)
    sets = np.split(candidates.shingles, candidates.offsets[1:-1])
    names = {"key": "keys", "size": "sizes", "bytes": "sizes", "stratum": "strata", "cluster": "clusters"}

    def batches():
        for start in range(0, count, batch):
            yield {name: getattr(candidates, own)[start : start + batch] for name, own in names.items()}

    def shingles():
        for start in range(0, count, batch):
            yield pa.array(
                [found if len(found) else None for found in sets[start : start + batch]], pa.list_(pa.uint32())
            )

    return Layers(folder, batches, shingles, budget, 4)


def documents_of(keys, strata):
    """Documents of a token each, whose only shingle is their place."""
    return candidates_of([1] * len(keys), strata, [{k} for k in range(len(keys))], keys)


def sizes_of(folder, keys):
    found = layers_of(folder, documents_of(keys, [0] * len(keys)), len(keys))
    return [len(some.keys) for some in found.best_first(np.ones(4, bool))]


@given(
    st.lists(st.tuples(st.integers(0, 6) | st.just(-np.inf), st.integers(0, 2)), min_size=1, max_size=60),
    st.integers(1, 20), st.integers(1, 4), st.integers(0, 60), st.integers(2, 100),
)  # fmt: skip
@examples(200, 15)
def test_layers_give_all_candidates_the_best_first(tmp_path_factory, documents, size, files, budget, classes):
    keys, strata = zip(*documents, strict=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "LAYER", size * ROW_BYTES)
        patch.setattr(layers, "MAX_FILES", files)
        patch.setattr(layers, "MAX_CLASSES", classes)
        found = layers_of(tmp_path_factory.mktemp("layers"), documents_of(keys, strata), budget)
        for wanted in (np.array([True, False, False, False]), np.ones(4, bool)):
            rows = []
            for some in found.best_first(wanted):
                assert some.shingles.tolist() == some.positions.tolist()
                own = [k for k in zip(-some.keys, some.positions, some.strata, strict=True) if wanted[k[2]]]
                rows += sorted(own)
            expected = [(-key, k, s) for k, (key, s) in enumerate(documents) if wanted[s] and key != -np.inf]
            assert rows == sorted(expected)


@given(
    corpora(), st.sampled_from([0.0, 0.5, 1.0]), st.lists(st.floats(0.05, 0.9), min_size=1, max_size=3),
    st.sampled_from([1.0, 0.2]), st.integers(1, 2000), st.integers(1, 4),
)  # fmt: skip
@examples(200, 15)
def test_a_budget_is_filled_from_layers_as_sets_would(tmp_path_factory, corpus, novelty, shares, cap, size, files):
    candidates, sets = corpus
    available = np.bincount(candidates.strata, candidates.sizes, 4).astype(np.int64)
    budgets = sorted(int(available.sum() * share) for share in shares)
    quotas = [quotas_by(available, available, budget, 0.5, 0.0, {}) for budget in budgets]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "LAYER", size)
        patch.setattr(layers, "MAX_FILES", files)
        found = layers_of(tmp_path_factory.mktemp("layers"), candidates, budgets[-1])
        kept = select(found.best_first, len(candidates.keys), 3, budgets, quotas, novelty, cap)
    rung, redundant = by_sets(candidates, budgets, quotas, novelty, cap, sets)
    assert np.maximum(kept.rung, -1).tolist() == rung
    assert set(np.flatnonzero(kept.rung == REDUNDANT).tolist()) == redundant


@pytest.mark.parametrize("classes", [1 << 20, 100])
@pytest.mark.parametrize("shuffled", [False, True])
def test_a_layer_is_not_much_more_than_asked_for(tmp_path, monkeypatch, shuffled, classes):
    monkeypatch.setattr(layers, "LAYER", 50 * ROW_BYTES)
    monkeypatch.setattr(layers, "MAX_CLASSES", classes)  # a frequent key shares its class with others, and they part
    draw = np.random.default_rng(1)
    keys = np.array([*[0.5] * 700, *draw.random(1000)])
    sizes = sizes_of(tmp_path, draw.permutation(keys) if shuffled else keys)
    assert sum(sizes) == 1700
    assert max(sizes) <= 100
    assert len(sizes) <= 2 * 1700 / 50


def test_only_what_a_budget_looks_into_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(layers, "LAYER", 10 * ROW_BYTES)
    found = layers_of(tmp_path, documents_of(np.arange(1000), [0] * 500 + [1] * 500), 100)
    wanted = np.ones(4, bool)
    upper = [len(some.keys) for some, _ in zip(found.best_first(wanted), range(10), strict=False)]
    assert sum(upper) == 100
    assert len(list(tmp_path.iterdir())) == 13  # a quarter more than the budget
    wanted[1] = False
    assert [some.strata.max() for some in found.best_first(wanted)][13:] == [0] * 50  # nothing of the other one
    assert list(found.best_first(np.zeros(4, bool))) == []


def test_columns_come_back_as_they_were_written(tmp_path):
    batches = [{"a": np.arange(3, dtype=np.uint32), "b": np.array([1.5, np.nan, -np.inf])},
               {"a": np.zeros(0, np.uint32), "b": np.zeros(0)}]  # fmt: skip
    write_columns(tmp_path / "columns", batches)
    for written, read in zip(batches, columns_in(tmp_path / "columns"), strict=True):
        assert all(np.array_equal(written[name], read[name], equal_nan=name == "b") for name in "ab")
    write_columns(tmp_path / "none", [])
    assert list(columns_in(tmp_path / "none")) == []

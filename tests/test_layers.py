"""Layers of candidates: all of them in order, however many there are, and no more files than a budget looks into."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import layers
from curate.distill.histogram import Histogram, sortable
from curate.layers import Layers, columns_in, cuts_of, write_columns


def layers_of(folder, keys, strata, budget, batch=7):
    """Layers of documents of a token each, whose only shingle is their place."""
    keys, strata = np.array(keys, float), np.array(strata, np.int32)
    count = len(keys)

    def batches():
        for start in range(0, count, batch):
            here = slice(start, start + batch)
            ones = np.ones(len(keys[here]), np.uint32)
            yield {"key": keys[here], "tokens": ones, "stratum": strata[here], "cluster": ones.astype(np.int32)}

    def shingles():
        for start in range(0, count, batch):
            yield pa.array([[k] for k in range(start, min(count, start + batch))], pa.list_(pa.uint32()))

    histogram = Histogram()
    histogram.add(sortable(keys[~np.isneginf(keys)]))
    return Layers(folder, cuts_of(histogram, count), batches, shingles, budget, 3)


@given(
    st.lists(st.tuples(st.integers(0, 6) | st.just(-np.inf), st.integers(0, 2)), min_size=1, max_size=60),
    st.integers(1, 20), st.integers(1, 4), st.integers(0, 60),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_layers_give_all_candidates_the_best_first(tmp_path_factory, documents, size, files, budget):
    keys, strata = zip(*documents, strict=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "LAYER", size)
        patch.setattr(layers, "MOST_FILES", files)
        found = layers_of(tmp_path_factory.mktemp("layers"), keys, strata, budget)
        for wanted in (np.array([True, False, False]), np.ones(3, bool)):
            rows = []
            for some in found.best_first(wanted):
                assert some.shingles.tolist() == some.places.tolist()
                own = [k for k in zip(-some.keys, some.places, some.strata, strict=True) if wanted[k[2]]]
                rows += sorted(own)
            expected = [(-key, k, s) for k, (key, s) in enumerate(documents) if wanted[s] and key != -np.inf]
            assert rows == sorted(expected)


def test_a_layer_is_not_much_more_than_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(layers, "LAYER", 50)
    draw = np.random.default_rng(1)
    keys = draw.permutation([*draw.random(1000), *[0.5] * 700])
    found = layers_of(tmp_path, keys, [0] * 1700, 1700)
    sizes = [len(some.keys) for some in found.best_first(np.ones(3, bool))]
    assert sum(sizes) == 1700
    assert max(sizes) <= 100
    assert len(sizes) <= 2 * 1700 / 50


def test_only_what_a_budget_looks_into_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(layers, "LAYER", 10)
    found = layers_of(tmp_path, np.arange(1000), [0] * 500 + [1] * 500, 100)
    wanted = np.ones(3, bool)
    upper = [len(some.keys) for some, _ in zip(found.best_first(wanted), range(10), strict=False)]
    assert sum(upper) == 100
    assert len(list(tmp_path.iterdir())) == 13  # a quarter more than the budget
    wanted[1] = False
    assert [some.strata.max() for some in found.best_first(wanted)][13:] == [0] * 50  # nothing of the other one


def test_columns_come_back_as_they_were_written(tmp_path):
    batches = [{"a": np.arange(3, dtype=np.uint32), "b": np.array([1.5, np.nan, -np.inf])},
               {"a": np.zeros(0, np.uint32), "b": np.zeros(0)}]  # fmt: skip
    write_columns(tmp_path / "columns", batches)
    for written, read in zip(batches, columns_in(tmp_path / "columns"), strict=True):
        assert all(np.array_equal(written[name], read[name], equal_nan=name == "b") for name in "ab")

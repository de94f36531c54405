"""Vectors of documents, and clusters of them: near where the subject is the same, and the same bytes always."""

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.distributions import array, texts_of
from support.paths import ROOT
from support.soak import examples
from support.topics import made
from support.vectors import SMALL, sample

from curate.distill.scoring import clusters, vectors
from curate.distill.scoring.clusters import assign, clusters_of, density
from curate.distill.scoring.vectors import projection_of, vectors_of
from curate.errors import InputError
from curate.kernels.projection import add_by_centre, gather, nearest, orthonormal, project

quick = examples(50)


@pytest.fixture(scope="module")
def projection():
    return projection_of(sample(), SMALL, 1)


def test_texts_about_the_same_are_nearer_to_each_other(projection):
    found = vectors_of(projection, sample(500)).reshape(3, 60, 8)
    middles = found.mean(axis=1)
    own = np.einsum("kid,kd->ki", found, middles)
    others = np.einsum("kid,jd->kij", found, middles)
    assert (others.argmax(axis=2) == np.arange(3)[:, None]).all()
    assert own.min() > 0


def test_vectors_have_length_one_and_texts_without_known_words_none(projection):
    found = vectors_of(projection, pa.array([made("spam", 1), None, "", "zzyzx quux", "ΣΟΦΟΣ"]))
    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 0, 0, 0, 0], abs=1e-6)
    assert found.dtype == np.float32
    assert vectors_of(projection, pa.array([], pa.string())).shape == (0, 8)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_vectors_do_not_depend_on_what_is_read_beside(projection, size):
    texts = sample(700).slice(0, 100)
    parts = [vectors_of(projection, texts.slice(k, size)) for k in range(0, len(texts), size)]
    assert np.array_equal(np.concatenate(parts), vectors_of(projection, texts))


def test_the_same_sample_and_seed_give_the_same_projection_and_another_seed_another(projection, tmp_path):
    assert vectors.content_hash(projection_of(sample(), SMALL, 1)) == vectors.content_hash(projection)
    assert vectors.content_hash(projection_of(sample(), SMALL, 2)) != vectors.content_hash(projection)
    vectors.save(projection, tmp_path / "a.npz")
    again = vectors.load(tmp_path / "a.npz")
    assert np.array_equal(vectors_of(again, sample()), vectors_of(projection, sample()))
    assert vectors.content_hash(again) == vectors.content_hash(projection)


def test_a_sample_without_words_in_common_is_refused():
    with pytest.raises(InputError, match=r"share only 0 words.*at least 8 are needed"):
        projection_of(array([f"word{k}" for k in range(50)]), SMALL, 1)


def test_clusters_are_the_subjects(projection):
    found = clusters_of(vectors_of(projection, sample()), 3, 1)
    own = assign(found, vectors_of(projection, sample(500)))["cluster"].to_numpy().reshape(3, 60)
    assert (own == own[:, :1]).all()
    assert len({*own[:, 0].tolist()}) == 3
    assert found.sizes.tolist() == [60, 60, 60]


def test_what_has_no_vector_has_no_cluster(projection):
    found = clusters_of(vectors_of(projection, sample()), 3, 1)
    assigned = assign(found, vectors_of(projection, pa.array([None, made("good", 1)])))
    assert [column.is_valid().to_pylist() for column in assigned.values()] == [[False, True]] * 2
    assert density(found, assigned).to_pylist() == [None, pytest.approx(1 / 3)]
    assert assigned["similarity"][1].as_py() > 0.5


def test_small_clusters_are_told_from_large_ones(projection):
    some = vectors_of(projection, array(texts_of("good", 90) + texts_of("spam", 10)))
    found = clusters_of(some, 2, 1)
    shares = density(found, assign(found, some)).to_numpy()
    assert shares[:90] == pytest.approx(0.9)
    assert shares[90:] == pytest.approx(0.1)


def test_no_more_clusters_than_documents_and_none_of_nothing():
    some = np.eye(3, dtype=np.float32)
    assert sorted(clusters_of(some, 10, 1).sizes.tolist()) == [1, 1, 1]
    with pytest.raises(InputError, match="no document of the sample has a vector"):
        clusters_of(np.zeros((4, 3), np.float32), 2, 1)


def test_equal_vectors_leave_clusters_empty_and_not_broken():
    some = np.repeat(np.eye(2, dtype=np.float32), 5, axis=0)
    found = clusters_of(some, 4, 1)
    assert np.isfinite(found.centres).all()
    assert found.sizes.sum() == 10


def test_clusters_survive_their_file(tmp_path):
    found = clusters_of(np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32), 5, 1)
    clusters.save(found, tmp_path / "c.npz")
    again = clusters.load(tmp_path / "c.npz")
    assert np.array_equal(again.centres, found.centres)
    assert clusters.content_hash(again) == clusters.content_hash(found)
    with pytest.raises(InputError, match="a projection of another version"):
        vectors.load(tmp_path / "c.npz")


def test_the_number_of_threads_changes_nothing():
    code = (
        "import numpy as np; from curate.distill.scoring import clusters, vectors;"
        "from support.vectors import SMALL, sample;"
        "p = vectors.projection_of(sample(), SMALL, 1); v = vectors.vectors_of(p, sample());"
        "print(vectors.content_hash(p), clusters.content_hash(clusters.clusters_of(v, 5, 1)))"
    )
    told = set()
    for threads in ("1", "2"):
        environment = os.environ | dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), threads
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment | {"PYTHONPATH": str(ROOT / "tests")},
            capture_output=True,
            text=True,
            check=True,
        )
        told.add(done.stdout)
    assert len(told) == 1


@quick
@given(st.lists(st.lists(st.integers(0, 15), max_size=6), max_size=6), st.integers(0, 2**32))
def test_kernels_do_what_numpy_does(rows, seed):
    draw = np.random.default_rng(seed)
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    buckets = np.array([b for row in rows for b in row], dtype=np.int32)
    places = np.concatenate([draw.permutation(8), np.full(8, -1)]).astype(np.int32)
    table = draw.normal(size=(8, 3)).astype(np.float32)
    weights = draw.uniform(1, 2, 8).astype(np.float32)
    given_vectors = draw.normal(size=(len(rows), 3)).astype(np.float32)
    found, back = project(offsets, buckets, places, table), gather(offsets, buckets, places, weights, given_vectors)
    wanted = np.zeros((8, 3))
    for k, row in enumerate(rows):
        known = [places[b] for b in row if places[b] >= 0]
        total = table[known].sum(axis=0)
        assert found[k] == pytest.approx(total / np.linalg.norm(total) if known else total, abs=1e-4)
        if known:
            np.add.at(wanted, known, weights[known, None] / np.linalg.norm(weights[known]) * given_vectors[k])
    assert back == pytest.approx(wanted, abs=1e-4)


@quick
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(6, 12))
def test_columns_become_orthonormal_and_the_nearest_is_the_largest_product(seed, count, size):
    draw = np.random.default_rng(seed)
    columns = draw.normal(size=(size, count)).astype(np.float32)
    made_so = orthonormal(columns)
    assert made_so.T @ made_so == pytest.approx(np.eye(count), abs=1e-3)
    assert made_so @ (made_so.T @ columns) == pytest.approx(columns, abs=1e-2)
    centres = draw.normal(size=(count, count)).astype(np.float32)
    own, products = nearest(columns, centres)
    wanted = columns @ centres.T
    assert products == pytest.approx(wanted.max(axis=1), abs=1e-4)
    assert wanted[np.arange(size), own] == pytest.approx(products, abs=1e-4)
    sums = add_by_centre(columns, own, count)
    assert sums == pytest.approx(np.stack([columns[own == k].sum(axis=0) for k in range(count)]), abs=1e-4)

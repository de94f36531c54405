"""Shingles and signatures against datasketch, xxhash and Python's sets."""

import datasketch
import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import example, given
from hypothesis import strategies as st
from support.oracles import shingles_of
from support.soak import examples
from support.texts import CAPITALS, SAMPLE_TEXTS, TEXTS

from curate.kernels.minhash import agreeing, band_keys, binary_rows, jaccard, minhash, shingle_sets, values_of
from curate.kernels.xxh3 import xxh3_64

quick = examples(100)


def by_datasketch(text, permutations, n):
    shingles = shingles_of(text, n)
    sketch = datasketch.MinHash(
        permutations, scheme="affine32", hashfunc=lambda raw: xxhash.xxh3_64_intdigest(raw) & 0xFFFFFFFF
    )
    sketch.update_batch(list(shingles))
    return sketch.hashvalues.astype("<u4").tobytes() if shingles else None


@pytest.mark.parametrize("sizes", [range(300), [511, 512, 513, 1023, 1024, 1025, 1088, 2047, 2048, 2049, 4000]])
def test_hashes_are_those_of_xxhash_at_every_length(sizes):
    data = np.random.default_rng(1).integers(0, 256, 5000, dtype=np.uint8)
    for size in sizes:
        assert xxh3_64(data.ctypes.data + 3, size) == xxhash.xxh3_64_intdigest(data[3 : 3 + size].tobytes())


@quick
@given(st.lists(TEXTS, max_size=4), st.sampled_from([1, 2, 5, 8]), st.sampled_from([1, 16, 128, 130]))
@example(CAPITALS, 2, 16)
@example(["", " .,", "one", "one two", "a" * 700, "wörd " * 300], 5, 128)
def test_signatures_are_bit_identical_to_datasketch(texts, n, permutations):
    expected = [by_datasketch(text, permutations, n) for text in texts]
    assert minhash(pa.array(texts, pa.string()), permutations, n).to_pylist() == expected


def test_signatures_of_real_texts_are_bit_identical_to_datasketch():
    texts = SAMPLE_TEXTS[::5]
    assert minhash(pa.array(texts), 128, 5).to_pylist() == [by_datasketch(text, 128, 5) for text in texts]


@quick
@given(st.lists(TEXTS, max_size=4), st.sampled_from([1, 3, 5]))
@example(CAPITALS, 2)
def test_sets_of_shingles_are_those_of_python(texts, n):
    expected = [sorted(map(xxhash.xxh3_64_intdigest, shingles_of(text, n))) for text in texts]
    assert shingle_sets(pa.array(texts, pa.string()), n).to_pylist() == expected


def test_slices_nulls_and_wide_offsets_change_nothing():
    texts = [None, "one two three four five six", "", *CAPITALS, None, "seven"]
    for kind in (pa.string(), pa.large_string()):
        whole = pa.array(texts, kind)
        assert minhash(whole.slice(3, 8), 16, 2).to_pylist() == minhash(pa.array(texts[3:11], kind), 16, 2).to_pylist()
        assert shingle_sets(whole.slice(1, 9), 2).to_pylist() == shingle_sets(whole, 2).to_pylist()[1:10]
        assert minhash(whole, 16, 2).is_null().to_pylist() == [text in (None, "") for text in texts]
    assert len(minhash(pa.array([], pa.string()), 16, 2)) == len(shingle_sets(pa.array([], pa.string()), 2)) == 0


def test_bands_have_equal_keys_where_all_their_values_are_equal():
    values = np.arange(48, dtype=np.uint32).reshape(3, 16)
    values[2, :5] = values[0, :5]
    signatures = binary_rows(values, np.zeros(3, bool))
    keys = [key.to_pylist() for key in band_keys(signatures.slice(0, 3), 3, 5)]
    assert [row[0] == row[2] for row in keys] == [True, False, False]
    assert keys[1][1] == xxhash.xxh3_64_intdigest(values[1, 5:10].tobytes())
    assert [key.to_pylist() for key in band_keys(signatures.slice(1, 2), 3, 5)] == [row[1:] for row in keys]
    assert values_of(signatures.slice(1)).tolist() == values[1:].tolist()


@quick
@given(st.lists(st.tuples(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30))), max_size=5))
def test_similarity_is_shared_elements_by_all_elements(pairs):
    kind = pa.large_list(pa.uint64())
    first, second = (pa.array([sorted(pair[k]) for pair in pairs], kind) for k in (0, 1))
    expected = [np.float32(len(a & b) / len(a | b)) if a | b else 0 for a, b in pairs]
    assert jaccard(first, second).to_pylist() == expected
    if len(pairs) > 1:
        assert jaccard(first.slice(1), second.slice(1)).to_pylist() == expected[1:]


def test_values_that_agree_are_counted():
    values = np.zeros((3, 8), dtype=np.uint32)
    values[2, :2] = 1
    assert agreeing(values[[0, 0, 1]], values[[1, 2, 2]]).tolist() == [8, 6, 6]

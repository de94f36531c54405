"""Hashed n-grams, odd words and linear models against slow and obvious ones."""

import functools
import itertools
import operator
import re
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.optimize import minimize
from support.oracles import words_of
from support.soak import examples
from support.texts import CAPITALS, TEXTS

from curate.kernels.hashed_ngrams import hashed_ngrams, ngram_places, text_hashes
from curate.kernels.linear import LANES, Bounds, Rows, fit, sums
from curate.kernels.oddities import NAMES, count_oddities
from curate.kernels.overlap import BASE, SPREAD

quick = examples(100)


def bucket(h, bits):
    return h * int(SPREAD) % 2**64 >> 64 - bits


def ngrams_of(text, bits):
    """Buckets of the words and the pairs of a text, in order."""
    hashes = [xxhash.xxh3_64_intdigest(word.encode(errors="surrogatepass")) for word in words_of(text)]
    pairs = [a * int(BASE) + b for a, b in itertools.pairwise(hashes)]
    return [bucket(h, bits) for h in hashes], [bucket(h % 2**64, bits) for h in pairs]


@quick
@given(st.lists(st.none() | TEXTS, max_size=5), st.sampled_from([10, 18, 24]))
@example([*CAPITALS, None, "", "a a b a b"], 18)
def test_buckets_are_those_of_words_and_pairs_and_each_once(texts, bits):
    found = hashed_ngrams(pa.array(texts, pa.string()), bits)
    for row, text in enumerate(texts):
        words, pairs = ngrams_of(text or "", bits)
        buckets = found.buckets[found.offsets[row] : found.offsets[row + 1]]
        assert sorted(buckets) == sorted({*words, *pairs})
        assert found.counts[row, 0] == len(words)
        assert found.counts[row, 2] == len(pairs)


def test_what_repeats_is_counted_once():
    found = hashed_ngrams(pa.array(["to be or not to be", "to be"]), 18)
    assert found.counts.tolist() == [[6, 4, 5, 4], [2, 2, 1, 1]]


def test_many_texts_do_not_hide_words_from_each_other():
    found = hashed_ngrams(pa.array(["to be", "or not"] * 400), 18)
    assert np.array_equal(found.buckets.reshape(400, 6), np.tile(found.buckets[:6], (400, 1)))
    assert len({*found.buckets.tolist()}) == 6


@quick
@given(st.lists(TEXTS, min_size=2, max_size=6))
def test_a_slice_has_the_buckets_of_its_texts(texts):
    whole, part = (hashed_ngrams(a, 12) for a in (pa.array(texts), pa.array(texts).slice(1)))
    assert np.array_equal(part.buckets, whole.buckets[whole.offsets[1] :])


@quick
@given(TEXTS)
@example("Free V1AGRA, free!")
@example("你好 wörld a")
@example(CAPITALS[0])
def test_places_of_ngrams_hold_their_words(text):
    written, places = ngram_places(text, 18)
    words, pairs = ngrams_of(text, 18)
    assert Counter(places.buckets.tolist()) == Counter(words + pairs)
    raw = written.encode()
    for start, end, number in zip(places.starts, places.ends, places.buckets, strict=True):
        assert number in {*functools.reduce(operator.iadd, ngrams_of(raw[start:end].decode(), 18), [])}


def test_texts_have_the_hash_of_their_bytes():
    assert text_hashes(pa.array(["a", None, "你好"])).tolist() == [
        xxhash.xxh3_64_intdigest(t) for t in (b"a", b"", "你好".encode())
    ]


def odd(text):
    """What `count_oddities` counts, by regular expressions."""
    runs = re.findall(r"(?:[a-zA-Z0-9]|[^\x00-\x7f])+", text)
    plain = [run for run in runs if not re.search("[0-9]", run)]
    marks = r"[!-/:-@\[-`{-~]"
    return {
        "exclamations": text.count("!"),
        "commas": text.count(","),
        "money": text.count("$"),
        "addresses": text.count("@") + text.count("://"),
        "doubled_marks": len(re.findall(rf"({marks})(?=\1)", text)),
        "runs": len(runs),
        "vowelless": sum(len(run) >= 3 and not re.search(r"[aeiouyAEIOUY]|[^\x00-\x7f]", run) for run in plain),
        "mixed": sum(bool(re.search("[0-9]", run) and re.search("[^0-9]", run)) for run in runs),
        "inner_capitals": sum(bool(re.search(r"(?:[a-z]|[^\x00-\x7f])[A-Z]", run)) for run in runs),
    }


@quick
@given(st.lists(st.none() | TEXTS | st.text("aZeB1!?:/,$@.- \n", max_size=30), max_size=4))
@example(["http://a.b/ McX brr brrA1 I am!!! you@me $5,000 x", "a://b", "::// ??", "éB"])
def test_odd_words_and_marks_are_those_of_regular_expressions(texts):
    found = count_oddities(pa.array(texts, pa.string()))
    assert tuple(found) == NAMES
    for name, column in found.items():
        assert column.to_pylist() == [None if text is None else odd(text)[name] for text in texts], name


def random_rows(seed, count=60, size=16, columns=3):
    draw = np.random.default_rng(seed)
    sizes = draw.integers(0, 8, count)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    buckets = np.concatenate([draw.permutation(size)[:n] for n in sizes]).astype(np.int32)
    return Rows(offsets, buckets, draw.normal(size=(count, columns)).astype(np.float32)), draw


def matrix(rows, size):
    table = np.zeros((len(rows.columns), size))
    for row, (begin, end) in enumerate(zip(rows.offsets, rows.offsets[1:], strict=False)):
        table[row, rows.buckets[begin:end]] = 1 / np.sqrt(max(end - begin, 1))
    return np.column_stack([table, rows.columns])


def by_scipy(table, targets, costs, logistic, least):
    def loss(w):
        z = table @ w
        error = np.logaddexp(0, -targets * z) if logistic else (targets - z) ** 2 / 2
        slope = -targets / (1 + np.exp(targets * z)) if logistic else z - targets
        return w @ w / 2 + costs @ error, w + table.T @ (costs * slope)

    bounds = [(None, None)] * (table.shape[1] - len(least)) + [(low, None) for low in least]
    options = {"maxiter": 5000, "ftol": 1e-14, "gtol": 1e-9}
    return minimize(loss, np.zeros(table.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds, options=options).x


@pytest.mark.parametrize("logistic", [True, False])
@pytest.mark.parametrize("least", [-np.inf, 0.0])
def test_weights_are_those_of_a_general_solver_in_each_lane(logistic, least):
    rows, draw = random_rows(3)
    targets = np.where(draw.random((60, LANES)) < 0.5, 1.0, -1.0) if logistic else draw.normal(size=(60, LANES))
    costs = draw.exponential(size=(60, LANES)) * (draw.random((60, LANES)) < 0.8)
    bounds = Bounds(16, np.array([least, least, -np.inf]))
    orders = np.stack([draw.permutation(60) for _ in range(300)])
    words, columns = fit(rows, targets, costs, bounds, logistic, orders)
    for lane in range(LANES):
        wanted = by_scipy(matrix(rows, 16), targets[:, lane], costs[:, lane], logistic, bounds.least)
        assert np.allclose(np.concatenate([words[lane], columns[lane]]), wanted, atol=2e-3)
        assert (columns[lane, :2] >= least).all()


def test_sums_are_those_of_numpy_and_a_row_knows_no_other():
    rows, draw = random_rows(4)
    words, columns = draw.normal(size=(2, 16)).astype(np.float32), draw.normal(size=(2, 3)).astype(np.float32)
    lanes = draw.integers(0, 2, 60)
    found = sums(rows, lanes, words, columns)
    weights = np.column_stack([words, columns])[lanes]
    assert np.allclose(found, (matrix(rows, 16) * weights).sum(axis=1))
    begin, end = rows.offsets[7], rows.offsets[8]
    alone = Rows(np.array([0, end - begin]), rows.buckets[begin:end], rows.columns[7:8])
    assert sums(alone, lanes[7:8], words, columns)[0] == found[7]

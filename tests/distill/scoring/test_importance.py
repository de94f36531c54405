"""Importance: text like the target scores above text like the corpus, whatever its length, and no text by itself."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.distributions import SMALL, array, corpus_distribution, distribution, texts_of
from support.soak import examples
from support.topics import made

from curate.distill.scoring.importance import READ_BITS, Settings, content_hash, contrast_of, importance, load, save
from curate.distill.scoring.linear_model import folds_of, groups_of
from curate.errors import InputError
from curate.kernels.bucket_logs import count_buckets, mean_logs
from curate.kernels.hashed_ngrams import hashed_ngrams

quick = examples(50)


@pytest.fixture(scope="module")
def target():
    return distribution(texts_of("good") + texts_of("menu"), ["prose"] * 40 + ["lists"] * 40)


@pytest.fixture(scope="module")
def corpus():
    return corpus_distribution(texts_of("good", 20, 300) + texts_of("menu", 20, 300) + texts_of("spam", 120, 300))


@pytest.fixture(scope="module")
def contrast(target, corpus):
    return contrast_of(target, corpus)


def test_texts_like_the_target_score_above_others_and_have_their_domain(contrast):
    found = {kind: importance(contrast, array(texts_of(kind, first=700))) for kind in ("good", "menu", "spam")}
    least = min(min(found[kind]["importance"].to_pylist()) for kind in ("good", "menu"))
    assert least > 0 > max(found["spam"]["importance"].to_pylist())
    assert set(found["good"]["domain"].to_pylist()) == {"prose"}
    assert set(found["menu"]["domain"].to_pylist()) == {"lists"}
    assert min(found["good"]["margin"].to_pylist()) > 0


def test_length_does_not_decide(contrast):
    short = [made("good", k) for k in range(900, 930)]
    long = [" ".join(made("good", 30 * k + j) for j in range(30)) for k in range(30, 40)]
    means = [np.mean(importance(contrast, array(texts))["importance"].to_numpy()) for texts in (short, long)]
    assert means[1] == pytest.approx(means[0], rel=0.3)


def test_importance_is_the_mean_difference_of_logs_under_the_likeliest_domain(target, corpus, contrast):
    [text] = texts_of("good", 1, 800)
    found = importance(contrast, array([text]))
    buckets = hashed_ngrams(array([text]), READ_BITS).buckets >> READ_BITS - SMALL.bits
    [fold] = folds_of(array([text]), SMALL.folds)
    logs = [np.mean(target.logs[fold, k, buckets] - corpus.logs[fold, 0, buckets]) for k in range(2)]
    assert found["importance"][0].as_py() == pytest.approx(max(logs), abs=1e-5)
    assert found["domain"][0].as_py() == target.domains[int(np.argmax(logs))]


def test_null_blank_and_wordless_texts_have_no_score(contrast):
    found = importance(contrast, pa.array([None, "", " \n\u3000", "... !", made("good", 1)]))
    for column in found.values():
        assert column.is_valid().to_pylist() == [False] * 4 + [True]
    none = importance(contrast, pa.array([], pa.string()))
    assert {name: column.type for name, column in none.items()} == {
        "importance": pa.float32(), "domain": pa.string(), "margin": pa.float32()
    }  # fmt: skip


@pytest.mark.parametrize("size", [1, 7, 60])
def test_scores_do_not_depend_on_what_is_scored_beside(contrast, size):
    texts = pa.array([*texts_of("good", 30, 500), *texts_of("spam", 30, 500), None, "ΣΟΦΟΣ Σ", "你好 wörld"])
    parts = [importance(contrast, texts.slice(k, size)) for k in range(0, len(texts), size)]
    for name, column in importance(contrast, texts).items():
        assert pa.concat_arrays([part[name] for part in parts]).equals(column)


def test_no_text_is_judged_by_its_own_counts():
    odd = "xylophone quartz zephyr"  # words of this one text
    texts = [*texts_of("good"), f"{odd} {made('spam', 1)}"]
    counts, others = distribution(texts), distribution(texts[:-1])
    corpus = corpus_distribution(texts_of("spam", 100, 200))
    seen, unseen = (
        importance(contrast_of(known, corpus), array(texts[-1:]))["importance"][0].as_py() for known in (counts, others)
    )
    assert seen == unseen
    alone = Settings(bits=12, folds=1)
    by_all = contrast_of(distribution(texts, made_with=alone), corpus)
    assert importance(by_all, array(texts[-1:]))["importance"][0].as_py() > seen + 0.1


def test_equal_texts_of_a_group_are_judged_as_their_original(target, corpus, contrast):
    texts = array(texts_of("good", 10))
    edited = array([text + " " for text in texts.to_pylist()])
    judged = [importance(contrast, given, groups_of(texts))["importance"] for given in (texts, edited)]
    assert judged[0].equals(judged[1])


def test_what_neither_side_has_met_speaks_against_a_text_but_less_than_what_the_corpus_alone_has():
    wide = Settings()  # of so many buckets that few words share one
    target, corpus = distribution(texts_of("good"), made_with=wide), corpus_distribution(texts_of("spam"), wide)
    texts = array(["jabberwock slithy toves gimble wabe mimsy borogoves", made("spam", 999)])
    new, spam = importance(contrast_of(target, corpus), texts)["importance"].to_pylist()
    assert new == pytest.approx(np.log(wide.uniform / wide.unknown), abs=0.05)
    assert spam < new


def test_a_corpus_is_folded_even_where_the_target_is_not(corpus):
    whole = Settings(bits=12, folds=1)
    judged = contrast_of(distribution(texts_of("good"), made_with=whole), corpus_distribution(texts_of("spam"), whole))
    assert judged.folds == judged.logs.shape[0] == 4


def test_a_prior_decides_where_the_words_do_not(target, corpus):
    text = array(["zzyzx"])
    for k in range(2):
        shares = [1e-9, 1e-9]
        shares[k] = 1.0
        assert importance(contrast_of(target, corpus, shares), text)["domain"].to_pylist() == [target.domains[k]]


def test_one_domain_has_no_margin(corpus):
    found = importance(contrast_of(distribution(texts_of("good")), corpus), array(texts_of("good", 3, 900)))
    assert found["margin"].null_count == 3
    assert found["domain"].to_pylist() == ["all"] * 3


def test_a_distribution_survives_its_file_and_equal_ones_are_equal_files(target, tmp_path):
    save(target, tmp_path / "a.npz")
    again = load(tmp_path / "a.npz")
    assert np.array_equal(again.logs, target.logs)
    assert (again.settings, again.domains, again.shares, again.texts) == (SMALL, ("lists", "prose"), target.shares, 80)
    assert content_hash(again) == content_hash(target)
    save(again, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_damage_and_other_files_are_refused(target, tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(InputError, match=r"a\.npz: no such file"):
        load(path)
    save(target, path)
    whole = dict(np.load(path))
    np.savez(path, **whole | {"logs": whole["logs"] * 2})
    with pytest.raises(InputError, match="does not fit its hash"):
        load(path)
    np.savez(path, logs=np.ones(3))
    with pytest.raises(InputError, match="not a distribution of n-grams, or damaged"):
        load(path)


def test_what_cannot_be_compared_or_counted_is_refused(target, corpus):
    other = distribution(texts_of("spam"), made_with=Settings(bits=13))
    with pytest.raises(InputError, match=r"2\^12 buckets and 4 fold.*2\^13"):
        contrast_of(target, other)
    with pytest.raises(InputError, match=r"2 fold.* and 4;"):
        contrast_of(distribution(texts_of("good"), made_with=Settings(bits=12, folds=2)), corpus)
    with pytest.raises(InputError, match="no words in the texts of lists"):
        distribution([made("good", 1), "..."], ["prose", "lists"])
    with pytest.raises(InputError, match="no words in the texts of the corpus"):
        corpus_distribution([])


def test_probabilities_of_a_domain_add_up_to_one(target):
    assert np.exp(target.logs.astype(np.float64)).sum(axis=2) == pytest.approx(1, abs=0.02)


@quick
@given(st.lists(st.lists(st.integers(0, 15), max_size=6), max_size=6), st.integers(0, 2**32))
def test_kernels_do_what_numpy_does(rows, seed):
    draw = np.random.default_rng(seed)
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    buckets = np.array([b for row in rows for b in row], dtype=np.int32)
    lanes, logs = draw.integers(0, 2, len(rows)), draw.normal(size=(2, 16, 3)).astype(np.float32)
    found = mean_logs(offsets, buckets, lanes, logs)
    counts = np.zeros((2, 16), dtype=np.int64)
    count_buckets(offsets, buckets, lanes, counts)
    wanted = np.zeros_like(counts)
    for k, row in enumerate(rows):
        np.add.at(wanted[lanes[k]], row, 1)
        exact = logs[lanes[k], row].astype(np.float64)  # as single ones do not tell sums near 0
        assert np.isnan(found[k]).all() if not row else np.allclose(found[k], exact.mean(axis=0))
    assert np.array_equal(counts, wanted)

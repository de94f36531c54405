"""Likeness: good texts against the corpus they stand in, judged together with importance from one reading."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from support.distributions import array, corpus_distribution, distribution, texts_of
from support.topics import SMALL, made

from curate.distill.scoring.discriminator import explain, score
from curate.distill.scoring.importance import READ_BITS, contrast_of, importance
from curate.distill.scoring.likeness import domain_weights, judge_texts, likeness, train_likeness
from curate.distill.scoring.linear_model import content_hash, folds_of, groups_of, load, save
from curate.errors import InputError
from curate.kernels.hashed_ngrams import hashed_ngrams

DOMAINS = ["prose"] * 60 + ["lists"] * 12


def good_texts():
    return texts_of("good", 60) + texts_of("menu", 12)


def corpus_texts():
    return texts_of("spam", 100, 200) + texts_of("good", 10, 200) + texts_of("menu", 10, 200)


def trained(good, corpus, domains=DOMAINS, settings=SMALL, seed=1, mixture=0.5):
    groups = groups_of(array([*good, *corpus]))
    return train_likeness(array(good), domains, array(corpus), groups, settings, seed, mixture)


@pytest.fixture(scope="module")
def model():
    return trained(good_texts(), corpus_texts())


@pytest.fixture(scope="module")
def contrast():
    return contrast_of(distribution(good_texts(), DOMAINS), corpus_distribution(corpus_texts()))


def test_texts_of_all_good_domains_are_liker_than_the_rest_of_the_corpus(model):
    found = {kind: likeness(model, array(texts_of(kind, first=700))).to_numpy() for kind in ("good", "menu", "spam")}
    assert min(found["good"].min(), found["menu"].min()) > found["spam"].max()


def test_likeness_is_the_log_odds_against_being_of_the_corpus(model):
    texts = array(texts_of("good", 10, 700) + texts_of("spam", 10, 700))
    odds = likeness(model, texts).to_numpy().astype(np.float64)
    assert 1 / (1 + np.exp(odds)) == pytest.approx(score(model, texts).to_numpy(), rel=1e-4)


def test_a_domain_weighs_its_size_to_a_power():
    assert domain_weights(["a"] * 4 + ["b"], 0).tolist() == [0.25] * 4 + [1]
    assert domain_weights(["a"] * 4 + ["b"], 0.5).tolist() == [0.5] * 4 + [1]
    assert domain_weights(["b", "a"], 1).tolist() == [1, 1]


def test_a_small_domain_counts_more_where_all_domains_weigh_the_same():
    lists = array(texts_of("menu", first=700))
    by_size, alike = (
        likeness(trained(good_texts(), corpus_texts(), mixture=power), lists).to_numpy().mean() for power in (1, 0)
    )
    assert alike > by_size


@pytest.mark.parametrize("side", ["good", "corpus"])
def test_no_text_is_judged_by_a_model_that_saw_it(side):
    odd = "xylophone"  # a word of one text alone
    text = f"{odd} {made('spam', 999)}"
    good, corpus = good_texts(), corpus_texts()
    (good if side == "good" else corpus).append(text)
    model = trained(good, corpus, [*DOMAINS, "prose"][: len(good)])
    [bucket] = hashed_ngrams(array([odd]), SMALL.bits).buckets
    [fold] = folds_of(array([text]), SMALL.folds)
    assert np.flatnonzero(model.words[:, bucket] == 0).tolist() == [fold]


def test_looks_only_speak_against_a_text(model):
    assert model.looks[:, :-1].min() >= 0  # of the log-odds of being of the corpus


def test_the_discriminators_functions_explain_save_and_load_it(model, tmp_path):
    path = tmp_path / "a.npz"
    save(model, path)
    assert content_hash(load(path)) == content_hash(model)
    reasons = dict(explain(model, made("spam", 5), 5))
    assert any(name in made("spam", 5).lower() for name in reasons)
    assert model.families == ("corpus",)


def test_both_scores_are_those_of_each_by_itself(contrast):
    texts = array([*texts_of("good", 20, 300), *texts_of("spam", 20, 300), None, " ", "..."])
    for bits in (READ_BITS, 14):
        model = trained(good_texts(), corpus_texts(), settings=replace(SMALL, bits=bits))
        both = judge_texts(contrast, model, texts)
        assert list(both) == ["importance", "domain", "margin", "likeness"]
        assert both["likeness"].equals(likeness(model, texts))
        for name, column in importance(contrast, texts).items():
            assert both[name].equals(column), name
    assert list(judge_texts(contrast, None, texts)) == ["importance", "domain", "margin"]
    assert list(judge_texts(None, model, texts)) == ["likeness"]


def test_null_and_blank_texts_have_no_score(contrast, model):
    found = judge_texts(contrast, model, pa.array([None, " \n", made("good", 1)]))
    for column in found.values():
        assert column.is_valid().to_pylist() == [False, False, True]
    none = judge_texts(contrast, model, pa.array([], pa.string()))
    assert [(column.type, len(column)) for column in none.values()] == [
        (pa.float32(), 0), (pa.string(), 0), (pa.float32(), 0), (pa.float32(), 0)
    ]  # fmt: skip


def test_groups_decide_who_judges(contrast, model):
    texts = array(texts_of("good", 10))
    edited = array([f"{text} " for text in texts.to_pylist()])
    given = [judge_texts(contrast, model, some, groups_of(texts)) for some in (texts, edited)]
    assert given[0]["importance"].equals(given[1]["importance"])


def test_too_few_texts_are_refused():
    with pytest.raises(InputError, match="too few"):
        trained(texts_of("good", 1), corpus_texts(), ["prose"])

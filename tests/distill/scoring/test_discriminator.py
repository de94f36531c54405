"""The discriminator: trained on some texts, it judges others, and those as if it had never seen them."""

import random
import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from support.paths import ROOT
from support.topics import SMALL, TOPICS, made

from curate.distill.scoring import linear_model
from curate.distill.scoring.calibration import brier, calibration_error, platt, ranks, roc_auc, sigmoid, spearman
from curate.distill.scoring.discriminator import (
    content_hash,
    explain,
    folds_of,
    groups_of,
    judge,
    load,
    nearest_family,
    save,
    score,
    train,
)
from curate.distill.scoring.grades import score_grades, train_grades
from curate.distill.scoring.surface import NAMES, oddness, scaling_of, surface
from curate.errors import InputError
from curate.kernels.hashed_ngrams import hashed_ngrams


def corpus(n=80, first=0):
    texts = [made(kind, k) for kind in TOPICS for k in range(first, first + n)]
    families = [{"good": "good", "spam": "mined", "menu": "menus"}[kind] for kind in TOPICS for _ in range(n)]
    return pa.array(texts, pa.large_string()), np.array(families)


def trained(texts, families, seed=1, settings=SMALL, groups=None):
    weights = np.ones(len(texts))
    groups = groups_of(texts) if groups is None else groups
    return train(texts, families != "good", weights, groups, families, settings, seed)


@pytest.fixture(scope="module")
def model():
    return trained(*corpus())


def test_new_texts_are_told_apart(model):
    texts, families = corpus(first=1000)
    p_bad = score(model, texts).to_numpy()
    assert p_bad[families == "good"].max() < 0.5 < p_bad[families != "good"].min()
    assert model.facts["roc_auc"] == 1


def test_the_family_that_a_text_is_most_like_is_named(model):
    texts, families = corpus(first=1000)
    bad = families != "good"
    assert np.mean(np.array(nearest_family(model, texts).to_pylist())[bad] == families[bad]) > 0.95


def test_null_and_blank_texts_have_no_score(model):
    texts = pa.array([None, "", " \n\t", "...", made("spam", 1), "\u3000"])
    valid = [False, False, False, True, True, False]
    assert score(model, texts).is_valid().to_pylist() == valid
    assert nearest_family(model, texts).is_valid().to_pylist() == valid
    assert (
        score(model, texts.slice(0, 0)).to_pylist()
        == nearest_family(model, pa.array([], pa.string())).to_pylist()
        == []
    )
    assert score(model, texts.slice(0, 0)).type == score(model, texts).type == pa.float32()


@pytest.mark.parametrize("size", [1, 7, 100])
def test_scores_do_not_depend_on_what_is_scored_beside(model, size):
    texts, _ = corpus(40, first=500)
    texts = pa.concat_arrays([texts, pa.array([None, "ΣΟΦΟΣ Σ", "你好 wörld"], pa.large_string())])
    parts = [texts.slice(k, size) for k in range(0, len(texts), size)]
    assert pa.concat_arrays([score(model, part) for part in parts]).equals(score(model, texts))
    assert pa.concat_arrays([nearest_family(model, part) for part in parts]).equals(nearest_family(model, texts))
    assert score(model, texts.cast(pa.string())).equals(score(model, texts))


def test_the_same_seed_gives_the_same_model_and_another_one_another(model):
    assert content_hash(trained(*corpus())) == content_hash(model)
    assert content_hash(trained(*corpus(), seed=2)) != content_hash(model)


def test_no_model_saw_the_texts_of_its_fold():
    texts, families = corpus(40)
    model = trained(texts, families)
    folds = folds_of(texts, SMALL.folds)
    told = "xylophone quartz"  # a word that all bad texts of one fold have
    for fold in range(SMALL.folds):
        marked = [
            f"{told} {t}" if f == fold and kind != "good" else t
            for t, f, kind in zip(texts.to_pylist(), folds, families, strict=True)
        ]
        other = trained(pa.array(marked, pa.large_string()), families, groups=groups_of(texts))
        changed = (other.words != model.words).any(axis=1)
        assert np.flatnonzero(~changed).tolist() == [fold]


def test_texts_are_scored_by_the_model_of_their_own_fold_or_of_the_group_they_are_given(model):
    texts, _ = corpus(20)
    folds = folds_of(texts, 4)
    silent = replace(
        model,
        words=np.zeros_like(model.words),
        looks=np.arange(4.0)[:, None] * np.eye(1, 2 * len(NAMES) + 1, 2 * len(NAMES)),
    )
    silent = replace(silent, looks=silent.looks.astype(np.float32), slope=1.0, offset=0.0)
    said = sigmoid(np.arange(4.0)).astype(np.float32)
    assert score(silent, texts).to_numpy().tolist() == said[folds].tolist()
    others = groups_of(texts)[::-1]
    assert score(silent, texts, others).to_numpy().tolist() == said[folds[::-1]].tolist()


def test_texts_split_by_their_hash_are_still_of_all_folds():
    texts = pa.array([str(k) for k in range(4000)])
    assert np.bincount(folds_of(texts, 4)).min() > 900
    for divisor in (2, 4, 5, 8):
        assert np.bincount(folds_of(texts.filter(pa.array(groups_of(texts) % np.uint64(divisor) == 0)), 4)).min() > 90


def test_both_judgements_are_those_of_each_by_itself(model):
    texts, _ = corpus(10, first=200)
    both = judge(model, texts)
    assert list(both) == ["p_bad", "nearest_family"]
    assert both["p_bad"].equals(score(model, texts))
    assert both["nearest_family"].equals(nearest_family(model, texts))


def test_facts_tell_how_each_family_was_judged_good_or_bad():
    texts, families = corpus(40)
    bad = families != "good"
    named = np.where(np.arange(len(texts)) < 20, "ugly", families)  # still good
    facts = train(texts, bad, np.ones(len(texts)), groups_of(texts), named, SMALL, 1).facts
    assert (facts["good"], facts["bad"]) == (40, 80)
    assert {name: of["texts"] for name, of in facts["families"].items()} == {
        "good": 20, "menus": 40, "mined": 40, "ugly": 20,
    }  # fmt: skip
    assert facts["families"]["mined"]["above_good"] == 1
    assert facts["families"]["ugly"]["p_bad"] < 0.5 < facts["families"]["menus"]["p_bad"]
    assert facts["brier"] < 0.1
    assert 0 < facts["calibration_error"] < 0.3


def test_weights_count_and_a_text_of_weight_zero_does_not():
    texts, families = corpus(30)
    model = trained(texts, families)
    more = pa.concat_arrays([texts, pa.array([made("good", 900 + k) for k in range(20)], pa.large_string())])
    names = np.append(families, ["mined"] * 20)
    weights = np.append(np.ones(len(texts)), np.zeros(20))
    with_none = train(more, names != "good", weights, groups_of(more), names, SMALL, 1)
    tests, kinds = corpus(20, first=700)
    assert np.array_equal(score(model, tests).to_numpy() > 0.5, kinds != "good")
    assert np.array_equal(score(with_none, tests).to_numpy() > 0.5, kinds != "good")
    assert with_none.facts["bad"] == model.facts["bad"]


def test_reasons_stand_in_the_text_and_add_up_to_the_score(model):
    text = "Win a free CASINO bonus! " + made("spam", 5)
    reasons = explain(model, text, 10_000)
    [p_bad] = score(model, pa.array([text])).to_pylist()
    assert sigmoid(np.array([sum(share for _, share in reasons)]))[0] == pytest.approx(p_bad, rel=1e-4)
    for name, _ in reasons:
        assert name[1:-1] in (*NAMES, "constant") if name.startswith("<") else name in text
    strongest = [name.lower() for name, share in explain(model, text, 12) if not name.startswith("<")]
    assert {*strongest} & {*TOPICS["spam"].split()}
    assert len(explain(model, text, 3)) == 3
    sizes = [abs(share) for _, share in reasons]
    assert sizes == sorted(sizes, reverse=True)


def test_looks_only_speak_against_a_text(model):
    assert (model.looks[:, :-1] >= 0).all()


def test_a_model_is_the_same_from_its_file_and_the_file_the_same_each_time(model, tmp_path):
    save(model, tmp_path / "a.npz")
    again = load(tmp_path / "a.npz")
    save(again, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    texts, _ = corpus(10, first=300)
    assert score(again, texts).equals(score(model, texts))
    assert nearest_family(again, texts).equals(nearest_family(model, texts))
    assert content_hash(again) == content_hash(model)
    assert again.facts == model.facts


def test_a_file_that_is_no_model_or_damaged_or_of_another_version_is_refused(model, tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    with pytest.raises(InputError, match=r"a\.npz: no such file"):
        load(path)
    path.write_bytes(b"text")
    with pytest.raises(InputError, match="not a discriminator, or damaged"):
        load(path)
    np.savez(path, weights=np.ones(3))
    with pytest.raises(InputError, match="not a discriminator, or damaged"):
        load(path)
    save(replace(model, words=model.words[:2]), path)
    whole = dict(np.load(path))
    np.savez(path, **whole | {"words": whole["words"] * 2})
    with pytest.raises(InputError, match="does not fit its hash"):
        load(path)
    monkeypatch.setitem(linear_model.VERSION, "format", 99)
    save(model, path)
    monkeypatch.undo()
    with pytest.raises(InputError, match="another version"):
        load(path)


def test_too_few_texts_of_a_kind_are_refused():
    texts, families = corpus(20)
    few = np.where(np.arange(len(texts)) == 0, "good", np.where(families == "good", "mined", families))
    with pytest.raises(InputError, match="1 good texts are too few"):
        trained(texts, few)
    with pytest.raises(InputError, match="0 bad texts are too few"):
        trained(texts, np.full(len(texts), "good"))


def test_grades_are_learned_and_their_agreement_is_that_of_models_that_did_not_see_them():
    draw = random.Random(3)
    shares = [draw.random() for _ in range(300)]
    texts = pa.array(
        [
            " ".join(made("good" if draw.random() < share else "spam", draw.random())[:80] for _ in range(8))
            for share in shares
        ]
    )
    grades = np.array(shares) * 5
    model = train_grades(texts, grades, groups_of(texts), SMALL, 1)
    said = score_grades(model, texts).to_numpy().astype(np.float64)
    assert spearman(said, grades) == pytest.approx(model.facts["spearman"], abs=1e-3)
    assert model.facts["spearman"] > 0.8
    assert model.facts["rmse"] < 0.6 * model.facts["spread"]
    nonsense = np.array([draw.random() for _ in range(300)])
    assert abs(train_grades(texts, nonsense, groups_of(texts), SMALL, 1).facts["spearman"]) < 0.2


def test_grades_may_go_by_length_within_what_was_graded(tmp_path):
    draw = random.Random(4)
    sizes = [draw.randint(5, 300) for _ in range(300)]
    texts = pa.array([" ".join(f"w{draw.randrange(5000)}" for _ in range(size)) for size in sizes])
    model = train_grades(texts, np.log(np.array(sizes)), groups_of(texts), SMALL, 1)
    assert model.facts["spearman"] > 0.95
    save(model, tmp_path / "grades.npz")
    longer = pa.array([" ".join(f"v{draw.randrange(10**6)}" for _ in range(size)) for size in (10, 300, 100_000)])
    short, long, longest = score_grades(load(tmp_path / "grades.npz"), longer).to_pylist()
    assert long - short > 2
    assert longest == pytest.approx(long, abs=0.5)


def test_grades_that_teach_nothing_are_refused():
    texts, _ = corpus(10)
    with pytest.raises(InputError, match="all texts have the grade 3"):
        train_grades(texts, np.full(len(texts), 3.0), groups_of(texts), SMALL, 1)
    with pytest.raises(InputError, match="5 graded texts are too few"):
        train_grades(texts.slice(0, 5), np.arange(5.0), groups_of(texts.slice(0, 5)), SMALL, 1)


def test_surface_features_of_good_texts_lie_around_nothing_odd():
    texts = pa.array([made("good", k) for k in range(100)])
    values = surface(texts, hashed_ngrams(texts, 14))
    odd = oddness(values, scaling_of(values), 1.0)
    assert values.shape == (100, len(NAMES))
    assert (odd[:, :-1] >= 0).all()
    assert (odd[:, -1] == 1).all()
    assert odd[:, :-1].max() <= 3 / np.sqrt(len(NAMES)) + 1e-6


def test_calibrated_scores_are_probabilities():
    draw = np.random.default_rng(5)
    log_odds = draw.normal(0, 2, 20_000)
    bad = draw.random(20_000) < sigmoid(log_odds)
    slope, offset = platt(log_odds * 3 - 1, bad, np.ones(20_000))
    assert slope == pytest.approx(1 / 3, rel=0.05)
    assert offset == pytest.approx(1 / 3, abs=0.06)
    assert calibration_error(sigmoid(log_odds), bad, np.ones(20_000)) < 0.015
    assert calibration_error(np.full(20_000, 0.9), bad, np.ones(20_000)) == pytest.approx(0.9 - bad.mean())
    assert brier(np.full(20_000, 0.5), bad, np.ones(20_000)) == 0.25
    assert platt(-log_odds, bad, np.ones(20_000))[0] < 1e-5


def test_areas_and_ranks_are_those_of_pairs():
    draw = np.random.default_rng(6)
    values, bad = draw.integers(0, 5, 60).astype(float), draw.random(60) < 0.4
    pairs = [(b > g) + (b == g) / 2 for b in values[bad] for g in values[~bad]]
    assert roc_auc(values, bad) == pytest.approx(np.mean(pairs))
    assert ranks(np.array([3.0, 1.0, 3.0])).tolist() == [1.5, 0, 1.5]


PAGE = (ROOT / "docs" / "discriminator.md").read_text("utf-8")


def test_the_docs_name_every_feature_fact_and_array(model, tmp_path):
    save(model, tmp_path / "a.npz")
    named = {*re.findall(r"`(\w+)`", PAGE)}
    assert named >= {*NAMES, *model.facts, *np.load(tmp_path / "a.npz").files}


def test_the_example_of_the_docs_runs(capsys):
    exec(re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0], {})
    printed = capsys.readouterr().out
    assert "p_bad" in printed
    assert "'Win'" in printed

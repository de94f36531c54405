"""How far kinds of models agree: rank correlation of arms, pairs in the same order, intervals."""

import json

import numpy as np
import pytest

from curate.distill.evaluate.agreement import agreement
from curate.distill.evaluate.retention import HeldoutDomains, ModelBits

TEXTS = 40
HELDOUT = HeldoutDomains(["a", "b"] * (TEXTS // 2), np.full(TEXTS, 100))
ARMS = ("ours", "rules only", "perplexity, lowest", "without rules", "without lines", "random")
CONTROLS = {"random": "random", "rung 1": "random, as rung 1", **dict.fromkeys(ARMS, "random")}


def of(proxy, levels, noise=0.0, arms=ARMS):
    """A model of each arm, and of all tokens and a rung, which have bits that would upset every order."""
    draw = np.random.default_rng(len(proxy))
    bits = {"full": 1.0, "rung 1": 1e6, **dict(zip(arms, levels, strict=True))}
    return [
        ModelBits(arm=arm, proxy=proxy, budget="epochs", draw=0, documents=5, tokens=600,
                  bits=level * (1 + noise * draw.random(TEXTS)))
        for arm, level in bits.items()
    ]  # fmt: skip


def test_models_that_put_arms_in_one_order_agree_and_the_opposite_order_is_told():
    same = [*of("ngram", [100, 110, 120, 130, 140, 150]), *of("decoder_1m", [50, 51, 52, 53, 54, 90])]
    [row] = agreement(same, CONTROLS, HELDOUT)
    assert row["models"] == ["ngram", "decoder_1m, matched epochs"]
    assert (row["arms"], row["pairs"], row["same_order"]) == (6, 15, 15)
    assert json.loads(json.dumps(row)) == row
    assert [row["rank_correlation"], row["low"], row["high"]] == pytest.approx([1, 1, 1])
    [row] = agreement([*same[:8], *of("decoder_1m", [90, 54, 53, 52, 51, 50])], CONTROLS, HELDOUT)
    assert row["rank_correlation"] == pytest.approx(-1)
    assert row["same_order"] == 0


def test_the_correlation_is_that_of_ranks_and_its_interval_is_wide_for_few_arms_that_differ_little():
    levels = [100, 101, 102, 103, 104, 105]
    swapped = [101, 100, 102, 104, 103, 105]
    [row] = agreement([*of("ngram", levels), *of("decoder_1m", swapped)], CONTROLS, HELDOUT)
    assert row["rank_correlation"] == pytest.approx(1 - 6 * 4 / (6 * 35))
    assert (row["same_order"], row["pairs"]) == (13, 15)
    [noisy] = agreement([*of("ngram", levels, 0.3), *of("decoder_1m", swapped, 0.3)], CONTROLS, HELDOUT)
    assert noisy["high"] - noisy["low"] > row["high"] - row["low"]
    assert noisy["low"] < row["rank_correlation"] < 1


def test_each_two_of_three_models_are_compared_and_draws_of_an_arm_are_one_arm():
    levels = [100, 110, 120, 130, 140, 150]
    models = [*of("ngram", levels), *of("decoder_1m", levels), *of("decoder_10m", levels)]
    assert [row["models"][0] for row in agreement(models, CONTROLS, HELDOUT)] == [
        "ngram", "ngram", "decoder_1m, matched epochs",
    ]  # fmt: skip
    again = [*models, *(model for model in of("ngram", [100, 110, 120, 130, 140, 100]) if model.arm == "random")]
    [first, *_] = agreement(again, CONTROLS, HELDOUT)
    assert first["arms"] == 6
    assert first["rank_correlation"] == pytest.approx(1 - 6 * (1 + 1 + 4) / (6 * 35))  # random is between two others


def test_models_for_which_all_arms_are_alike_have_no_order_to_agree_on():
    models = [*of("ngram", [100] * 6), *of("decoder_1m", [50, 51, 52, 53, 54, 55])]
    assert agreement(models, CONTROLS, HELDOUT) == []


def test_one_model_or_too_few_arms_have_no_agreement():
    assert agreement(of("ngram", [1, 2, 3, 4, 5, 6]), CONTROLS, HELDOUT) == []
    few = [model for model in [*of("ngram", range(1, 7)), *of("decoder_1m", range(1, 7))] if model.arm in ARMS[:2]]
    assert agreement(few, CONTROLS, HELDOUT) == []

"""What repeated tokens are worth, by the law of Muennighoff et al. 2023, and the advice that follows."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.soak import examples

from curate import epochs
from curate.epochs import R_STAR, effective, repeats, summary, training_over, warning

READINGS = st.lists(st.tuples(st.floats(0.05, 7), st.integers(1, 10**12)), min_size=1, max_size=30)


def test_the_example_of_the_paper(monkeypatch):
    assert R_STAR == 15.387756
    monkeypatch.setattr(epochs, "R_STAR", 3.0)
    assert effective(5) == pytest.approx(3.21, abs=0.005)  # four repeats, each token retaining 75 %
    assert effective(101) == pytest.approx(3.99, abs=0.0101)
    assert effective(1e9) == pytest.approx(4)


def test_repeats_are_worth_what_the_law_says():
    four = repeats("x", 400, [(1.0, 100)])
    assert four.effective_tokens == pytest.approx(100 + 100 * R_STAR * (1 - math.exp(-3 / R_STAR)))
    assert (four.epochs, four.mean_reads, four.read_often) == (4, 4, 0)
    assert four.worth == pytest.approx(0.93, abs=0.005)  # 4 epochs: 93 % of fresh text by the law
    at_r_star = repeats("x", round(100 * (1 + R_STAR)), [(1.0, 100)])
    assert (at_r_star.effective_tokens - 100) / (100 * R_STAR) == pytest.approx(1 - 1 / math.e, abs=0.001)


@given(READINGS, st.integers(1, 10**14), st.floats(1, 100))
@examples(200)
def test_more_training_is_worth_more_and_never_more_than_fresh_text(readings, train_tokens, times):
    less, more = (repeats("x", tokens, readings) for tokens in (train_tokens, math.ceil(train_tokens * times)))
    tokens = sum(tokens for _, tokens in readings)
    assert 0 <= less.effective_tokens <= more.effective_tokens * (1 + 1e-9)
    for each, trained in ((less, train_tokens), (more, math.ceil(train_tokens * times))):
        assert each.effective_tokens <= trained * (1 + 1e-9)
        assert each.effective_tokens <= tokens * (1 + R_STAR) * (1 + 1e-9)
        assert each.epochs * each.pass_tokens == pytest.approx(trained, rel=1e-3) or each.pass_tokens < 1000


@given(READINGS, st.integers(1, 10**14))
@examples(200)
def test_uneven_reading_is_worth_no_more_than_even_reading(readings, train_tokens):
    tokens = sum(tokens for _, tokens in readings)
    uneven, even = repeats("x", train_tokens, readings), repeats("x", train_tokens, [(1.0, tokens)])
    assert uneven.mean_reads == even.mean_reads
    assert uneven.effective_tokens <= even.effective_tokens * (1 + 1e-9)


def test_weights_are_the_sum_of_trainings_over_documents_alone():
    weighted = repeats("x", 1000, [(4.0, 50), (0.5, 100)])  # a pass reads 250 tokens
    assert (weighted.epochs, weighted.pass_tokens, weighted.tokens) == (4, 250, 150)
    assert weighted.effective_tokens == pytest.approx(50 * effective(16) + 100 * effective(2))
    assert weighted.read_often == pytest.approx(1 / 3)


def training(train_tokens, output, available=1000, ladder=()):
    found = training_over(
        train_tokens, [(1.0, output)], ladder=dict(ladder), available_tokens=available, input_tokens=2000
    )
    assert found is not None
    return found


def test_a_training_of_few_epochs_has_no_warning():
    assert warning(training(400, 100)) is None
    assert warning(training(401, 100)) is not None
    assert "reads 50.0% of the output once and repeats nothing; keep_tokens: 50" in summary(training(50, 100))
    assert "makes 4 passes over the 100 tokens of the output" in summary(training(400, 100))
    assert "worth 373 fresh tokens, 93% of those that are read" in summary(training(400, 100))


def test_the_advice_is_a_budget_that_can_be_kept_or_a_shorter_training():
    assert "for at most 4 keep at least 250 tokens, 12.5% of the input" in warning(training(1000, 100))
    assert "all 1,000 tokens that there are to keep make 8" in warning(training(8000, 100))
    assert "train on 4,000 tokens, drop less before, or give more input" in warning(training(8000, 100))


def test_budgets_are_compared_from_the_smallest_to_all_that_is_left():
    found = training(1000, 100, ladder={"rung 1": [(1.0, 40)], "rung 2": []})
    assert [(budget.name, budget.tokens) for budget in found.budgets] == [
        ("rung 1", 40), ("the output", 100), ("for 4 epochs", 250), ("all that is left", 1000),
    ]  # fmt: skip
    assert [budget.worth for budget in found.budgets] == sorted(budget.worth for budget in found.budgets)
    assert [budget.name for budget in training(1000, 1000).budgets] == ["the output"]
    assert training_over(10, [(1.0, 0)], ladder={}, available_tokens=0, input_tokens=9) is None

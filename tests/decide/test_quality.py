"""What is said of quality in words: of what is kept, and of what each tier brought."""

from types import SimpleNamespace

from curate.report.quality import agreement_claims, claims, scope, tier_claims, tracked_claims, tracked_scope


def arm(name, retained, behind=(None, None), **columns):
    rest = {"domain": None, "model": "ngram", "tokens": 200, "retained_low": 0.92, "retained_high": 0.95,
            "control_retained": 0.9, "gain_low": 0.1, "gain_high": 0.2}  # fmt: skip
    behind_low, behind_high = behind
    return SimpleNamespace(
        arm=name, retained=retained, behind_low=behind_low, behind_high=behind_high, **(rest | columns)
    )


def stage(name, tokens, retained, low, high, control=0.9):
    return SimpleNamespace(
        stage=name, tokens_out=tokens, sample_tokens=2 * tokens,
        retained=retained, retained_low=low, retained_high=high, control_retained=control,
    )  # fmt: skip


def test_the_output_s_figure_stands_with_its_tokens_their_tokenizer_and_random_documents():
    [line] = claims([arm("full", 1.0, tokens=1000), arm("ours", 0.935)])
    assert line == (
        "The output keeps 20.0% of the tokens (200 of 1,000, by the evaluation's own tokenizer) and retains R 0.935 "
        "(0.920 to 0.950); random documents of as many tokens retain 0.900: better than random documents"
    )
    facts = {"models": ["n-grams of order 4"], "tokens": 1000, "documents": 50, "whole_input": False,
             "vocabulary": 8192, "heldout": {"documents": 9, "domains": ["news"]}}  # fmt: skip
    assert scope(facts) == (
        "This holds for n-grams of order 4, 1,000 tokens of 50 documents (a sample of the input; the evaluation's own "
        "tokenizer has a vocabulary of 8,192) and 9 held-out texts of 1 domain; larger models want less filtering"
    )


def test_of_several_models_each_figure_has_its_own_and_it_is_told_how_far_they_agree():
    arms = [arm("full", 1.0, tokens=1000), arm("ours", 0.935), arm("ours", 0.95, model="decoder_1m, matched epochs")]
    assert [line.partition("(0.920 to 0.950)")[2].partition(";")[0] for line in claims(arms)] == [
        " by ngram", " by decoder_1m, matched epochs",
    ]  # fmt: skip
    row = {"models": ["ngram", "decoder_1m, matched epochs"], "arms": 6, "rank_correlation": 0.943, "low": 0.6,
           "high": 1.0, "pairs": 15, "same_order": 14}  # fmt: skip
    assert agreement_claims({"agreement": [row, row | {"low": -0.1}, row | {"low": -1.0, "high": -0.2}]}) == [
        f"ngram and decoder_1m, matched epochs {verdict} 6 arms of one size: rank correlation 0.94 ({low} to {high}), "
        "14 of 15 pairs in the same order"
        for verdict, low, high in (
            ("agree on", "0.60", "1.00"), ("need not agree on", "-0.10", "1.00"),
            ("contradict each other on", "-1.00", "-0.20"),
        )
    ]  # fmt: skip


def test_what_a_tier_brought_is_told_by_the_interval_of_its_difference():
    arms = [
        arm("ours", 0.935), arm("without rules", 0.91, (0.01, 0.03)), arm("without bands", 0.95, (-0.03, -0.01)),
        arm("without purify", 0.9351, (-0.01, 0.01)), arm("without lines", 0.9, (-0.01, 0.2)),
    ]  # fmt: skip
    assert tier_claims(arms) == [
        "Rule filtering raises quality by this measure: R 0.935 with it, 0.910 without",
        "The perplexity band lowers quality by this measure: R 0.935 with it, 0.950 without",
        "Cutting repeated lines changes nothing that this can see: R 0.935 with it, 0.900 without",
        "Tier 2 changes nothing that this can see: R 0.935 with it and without it",
    ]


def test_stage_by_stage_a_tier_that_moves_nothing_beyond_the_intervals_is_said_to_change_nothing():
    stages = [
        stage("input", 1000, 1.0, 1.0, 1.0, None), stage("exact", 900, 0.99, 0.98, 1.0),
        stage("near", 800, 0.98, 0.97, 1.0), stage("purify", 700, 0.98, 0.97, 0.99),
        stage("distil", 150, 0.935, 0.92, 0.95, 0.9),
    ]  # fmt: skip
    assert tracked_claims(stages) == [
        "Deduplication took 20.0% of the tokens and changed nothing that this can see: tracked R 0.980 with it, 1.000 "
        "without",
        "Tier 2 took 10.0% of the tokens and changed nothing that this can see: tracked R 0.980 with it and without it",
        "The budget took 55.0% of the tokens, and tracked R went from 0.980 to 0.935; random documents of as many "
        "tokens as are left have 0.900",
    ]
    assert tracked_claims(stages[:1]) == tracked_claims([]) == []
    facts = {"documents": 30, "whole_input": True, "heldout": 12, "vocabulary": 8192, "tokenizer": "estimate"}
    assert tracked_scope(stages, facts).startswith(
        "Tracked R is that of n-grams on 30 documents (all of the input), 2,000 tokens by a tokenizer of their own of "
        "at most 8,192, and 12 held-out texts; tokens left are counted by the recipe's tokenizer, estimate. "
    )

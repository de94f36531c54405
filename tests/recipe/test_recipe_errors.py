"""What is told of a recipe that is wrong: in YAML's words, with what was meant."""

import pytest

from curate.decide.counts import most_drifted
from curate.errors import RecipeError, closest
from curate.filters import registry
from curate.recipe.load import load_recipe, parse_recipe
from curate.recipe.recipe import Recipe


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "web.yaml"
    path.write_text("name: web\ninput: {paths: [data]}\n")
    return path


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("tier1.rules=gopher", 'tier1.rules: input should be a list, got "gopher"; write [gopher]'),
        ("input.paths=data", 'input.paths: input should be a list, got "data"; write [data]'),
        ("tier1.thresholds=[a]", 'tier1.thresholds: input should be a mapping, got ["a"]'),
        ("dedup=true", "dedup: input should be a mapping, got true"),
        ("dedup.near=3", "dedup.near: input should be a mapping, got 3"),
        ("distil.keep_tokens=15%", "the recipe has no field 'distil'; did you mean 'distill'?"),
        ("seed=1.5", "seed: input should be a whole number, got 1.5"),
        ("allow_empty=3", "allow_empty: input should be true or false, got 3"),
        ("tier1.language.min_confidence=x", 'tier1.language.min_confidence: input should be a number, got "x"'),
        ("tier1.perplexity.band=[0]", "tier1.perplexity.band: list should have at least 2 items, not 1, got [0]"),
        (
            "name=my data",
            "name: a name has letters, digits, '.', '_' and '-', beginning with a letter or digit, got \"my data\"",
        ),
        (
            "tier1.rules=[{reason: Bad, when: 'true'}]",
            "tier1.rules.0.reason: a name has small letters, digits and '_', beginning with a letter, got \"Bad\"",
        ),
        ("workers=4", "the recipe has no field 'workers': it is an option of the command; give --workers 4"),
        ("quiet=true", "the recipe has no field 'quiet': it is an option of the command; give --quiet"),
    ],
)
def test_a_wrong_value_is_told_in_words_of_yaml(recipe, change, told):
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe, [change])
    assert str(caught.value) == f"{recipe}: {told}"


@pytest.mark.parametrize(
    "field",
    ["tier1.language", "tier1.perplexity", "tier1.length_penalty", "dedup.near", "dedup.lines", "tier2", "distill"],
)
def test_true_is_a_section_with_its_defaults_and_false_is_none(recipe, field):
    found = {value: load_recipe(recipe, [f"{field}={value}"]) for value in ("true", "{}", "false", "null")}
    assert found["true"] == found["{}"] != found["null"] == found["false"]
    assert found["true"].digest() == found["{}"].digest()


def test_a_small_budget_is_taken_for_a_share_unless_it_is_allowed(recipe):
    with pytest.raises(RecipeError, match=r"keep_tokens: 15 tokens; did you mean 15%\?"):
        load_recipe(recipe, ["distill.keep_tokens=15"])
    allowed = load_recipe(recipe, ["distill.keep_tokens=15", "distill.allow_small=true"])
    assert allowed.distill.keep_tokens == 15
    fields = {"name": "x", "input": {"paths": ["a"]}, "distill": {"keep_tokens": 1000, "ladder": [1, "5%"]}}
    assert isinstance(parse_recipe(fields, "x"), Recipe)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("fineweb_quality", "fineweb"),
        ("FineWeb-Edu", "fineweb"),
        ("gofer", "gopher"),
        ("gopher_repetitions", "gopher_repetition"),
        ("c4_filters", "c4"),
        ("xyz", None),
    ],
)
def test_the_name_that_was_meant_begins_with_the_same_words_or_has_like_letters(typed, meant):
    assert closest(typed, registry.rule_sets()) == meant


def test_what_did_not_move_is_not_among_what_moved_most():
    still = {"signal": "n_urls", "psi": 0.3}
    moved = {"signal": "n_words", "psi": 0.2}
    for row in (still, moved):
        for name in ("mean", "p5", "p50", "p95"):
            row |= {f"{name}_before": 3.0, f"{name}_after": 3.0}
    moved["p95_after"] = 4.0
    still["p50_after"] = 3.00001  # printed as 3 too
    assert [row["signal"] for row in most_drifted([still, moved])] == ["n_words"]

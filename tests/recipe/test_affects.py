"""What a change of a field affects stands at the field, and digests follow it."""

import pytest

from curate.recipe.affects import changed_settings, fields_affecting, settings
from curate.recipe.distill import Distill
from curate.recipe.load import parse_recipe
from curate.recipe.recipe import changed_fields
from curate.recipe.tier2 import Tier2

FIELDS = {
    "name": "affects",
    "input": {"paths": ["in"], "license": "terms", "columns": ["terms"]},
    "tier1": {"perplexity": {}, "length_penalty": {}},
    "dedup": {"near": {}, "lines": {}},
    "tier2": {},
    "distill": {},
    "reference": ["good"],
}
RECIPE = parse_recipe(FIELDS, "here")
# Another value for fields of each effect, and for some without metadata.
OTHERS = {
    "name": "other", "export": ["hf"], "input.license": None, "input.columns": None,
    "seed": 7, "on_error": "quarantine", "shard_size": 1000, "exclude": ["out.txt"], "reference": ["better"],
    "input.text": "body", "input.id": "url", "input.max_document_bytes": 10, "tier1.perplexity.form": "plain-1",
    "tier1.perplexity.min_documents": 3, "tier1.length_penalty": {"low": 3}, "dedup.near.shingle": 3,
    "dedup.near.threshold": 0.7, "dedup.keep": "first", "tier2.rounds": 1, "tier2.max_false_drop": 0.1,
    "tier2.by": ["language"], "distill.keep_tokens": 0.3, "distill.good": 200, "distill.vectors": {"static": "m"},
}  # fmt: skip


def changed(name):
    """The recipe with another value for a field."""
    fields = {key: dict(value) if isinstance(value, dict) else value for key, value in FIELDS.items()}
    fields["tier1"] = {key: dict(value) for key, value in FIELDS["tier1"].items()}
    fields["dedup"] = {key: dict(value) for key, value in FIELDS["dedup"].items()}
    *sections, last = name.split(".")
    place = fields
    for section in sections:
        place = place[section]
    place[last] = OTHERS[name]
    return parse_recipe(fields, "here")


@pytest.mark.parametrize("name", OTHERS)
def test_the_digest_of_a_recipe_changes_with_every_field_but_those_that_affect_nothing(name):
    effects = next(setting.effects for setting in settings(RECIPE) if setting.name == name)
    assert (changed(name).digest() == RECIPE.digest()) == ("nothing" in effects)
    assert bool(changed_fields(RECIPE, changed(name))) == ("nothing" not in effects)


@pytest.mark.parametrize("effect", ["measures", "tier2", "distill", "nothing"])
def test_a_changed_field_is_listed_under_what_it_affects_and_nowhere_else(effect):
    for setting in settings(RECIPE):
        if setting.name in OTHERS:
            listed = changed_settings(effect, RECIPE, changed(setting.name))
            assert listed == ([setting.name] if effect in setting.effects else []), setting.name


def test_models_depend_on_the_fields_that_say_what_they_are_trained_on():
    assert fields_affecting("tier2", Tier2) == set(Tier2.model_fields) - {"max_false_drop", "by", "passages"}
    assert fields_affecting("distill", Distill) == {"good", "sample", "grades", "vectors", "tune"}


def test_fields_of_a_section_that_one_recipe_lacks_are_not_compared():
    without = parse_recipe(FIELDS | {"tier2": None}, "here")
    assert changed_settings("tier2", RECIPE, without) == []

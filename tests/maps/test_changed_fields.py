"""Which changed fields of a recipe need new measurements."""

import pytest

from curate.maps.changed_fields import changed_measurements
from curate.recipe.load import parse_recipe


def recipe(**sections):
    return parse_recipe({"name": "x", "input": {"paths": ["in"]}} | sections, "here")


@pytest.mark.parametrize(
    ("before", "after", "fields"),
    [
        ({}, {"tier1": {"rules": ["gopher"]}}, []),
        ({}, {"tier1": {"rules": ["c4"]}}, ["tier1.rules"]),
        ({"tier1": {"pii": "count"}}, {"tier1": {"pii": "drop"}}, []),
        ({"tier1": {"pii": "count"}}, {"tier1": {"pii": "redact"}}, ["tier1.pii"]),
        ({"tier1": {"pii": "redact"}}, {"tier1": {"pii": "redact", "thresholds": {"email": None}}}, ["tier1.rules"]),
        (
            {"tier1": {"block": [{"reason": "bad", "regex": "x"}]}},
            {"tier1": {"block": [{"reason": "bad", "regex": "x", "max": 3}]}},
            [],
        ),
        ({}, {"tier1": {"block": [{"reason": "bad", "regex": "x"}]}}, ["tier1.block: bad"]),
        ({}, {"tier1": {"decontaminate": {"against": ["sets"]}}}, ["tier1.decontaminate"]),
        ({"tier1": {"decontaminate": {"against": ["sets"]}}}, {}, []),
        ({"tier1": {"decontaminate": {"against": ["sets"], "action": "cut"}}}, {}, ["tier1.decontaminate"]),
        ({"dedup": {"near": {}}}, {"dedup": {"near": {"shingle": 3}}}, ["dedup.near.shingle"]),
        ({"dedup": {"near": {}}}, {"dedup": {"near": {"threshold": 0.7}}}, []),
        ({}, {"input": {"paths": ["in"], "cast": {"year": "int64"}}}, ["input.cast"]),
        ({}, {"input": {"paths": ["in"], "cast": {"unread": "int64"}}}, []),
    ],
)
def test_a_change_is_named_where_it_changes_what_is_measured_and_not_where_it_changes_verdicts(before, after, fields):
    assert changed_measurements(recipe(**before), recipe(**after), ["year"]) == fields

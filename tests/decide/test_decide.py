"""The generated SQL as reviewable files, and what it makes of small tables."""

import os

import pyarrow as pa
import pytest
from support.commands import carry_out
from support.corpora import PROSE, write_shard
from support.paths import GOLDEN
from support.recipes import write_recipe
from support.runs import documents
from support.soak import repeats

from curate.decide.plan import signals_schema
from curate.decide.schema import survivors_sql
from curate.decide.verdicts import (
    candidate_columns,
    candidates_sql,
    copies_sql,
    decisions_sql,
    duplicates_sql,
    judged_sql,
    named_copies_sql,
    passing_columns,
    passing_sql,
    repeated_sql,
)
from curate.dedup.exact import exact_sql
from curate.filters.rules.conditions import condition
from curate.filters.rules.resolve import resolve
from curate.recipe.load import parse_recipe

RECIPE = parse_recipe(
    {
        "name": "golden",
        "input": {"paths": ["x"]},
        "tier1": {"rules": ["gopher", {"reason": "own", "when": "input.license = 'MIT' AND n_words < 100"}]},
        "dedup": {"near": {}},
        "distill": {"keep_tokens": "15%"},
    },
    "golden",
)


@pytest.mark.parametrize(
    "name",
    [
        "repeated",
        "judged",
        "passing",
        "exact",
        "copies",
        "named_copies",
        "duplicates",
        "survivors",
        "candidates",
        "decisions",
    ],
)
def test_the_sql_of_each_step_is_the_reviewed_one(name):
    """Set CURATE_GOLDEN=write to accept a change, and read the diff."""
    types = {field.name: field.type for field in signals_schema(dict.fromkeys(("characters", "words", "lines"), ""))}
    sql = {
        "repeated": repeated_sql(),
        "judged": judged_sql(RECIPE, resolve(RECIPE.tier1), types),
        "passing": passing_sql(passing_columns(RECIPE, {}, {}), "position BETWEEN 3 AND 7"),
        "exact": exact_sql(RECIPE),
        "copies": copies_sql(),
        "named_copies": named_copies_sql(RECIPE, "(FROM part)"),
        "duplicates": duplicates_sql(),
        "survivors": survivors_sql("purify"),
        "candidates": candidates_sql(candidate_columns(RECIPE, {}, "distil"), "position BETWEEN 3 AND 7", "purify"),
        "decisions": decisions_sql("position BETWEEN 3 AND 7"),
    }[name]
    path = GOLDEN / f"{name}.sql"
    if os.environ.get("CURATE_GOLDEN") == "write":
        path.write_text(sql.strip("\n") + "\n")
    assert path.read_text() == sql.strip("\n") + "\n"


@pytest.mark.parametrize(
    ("fields", "kind", "sql"),
    [
        ({"signal": "n", "min": 50}, pa.int64(), 'coalesce("n" < 50::BIGINT, false)'),
        ({"signal": "n", "min": 2.5}, pa.int64(), 'coalesce("n" < 3::BIGINT, false)'),
        ({"signal": "n", "max": 2.5}, pa.int64(), 'coalesce("n" > 2::BIGINT, false)'),
        ({"signal": "n", "max": 0.1}, pa.float32(), 'coalesce("n" > 0.1::FLOAT, false)'),
        ({"signal": "n", "max": 0.1}, pa.float64(), 'coalesce("n" > 0.1::DOUBLE, false)'),
        ({"signal": "n", "min": 0, "if": "a OR b"}, pa.int64(), 'coalesce((a OR b) AND "n" < 0::BIGINT, false)'),
        ({"when": "a OR b"}, None, "coalesce((a OR b), false)"),
    ],
)
def test_a_rule_becomes_a_condition_that_is_never_null(fields, kind, sql):
    from curate.recipe.tier1 import Rule

    assert condition(Rule.model_validate({"reason": "r", **fields}), {"n": kind}) == sql


def test_null_never_fires_a_rule(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", ["123 456", PROSE])  # no letters: uppercase_ratio is null
    rules = [
        {"reason": "quiet", "signal": "uppercase_ratio", "min": 0.001},
        {"reason": "free", "when": "uppercase_ratio < 2 AND n_words < 5"},
    ]
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": rules})
    carry_out(recipe)
    assert documents(run, "uppercase_ratio IS NULL, reason") == [(True, None), (False, None)]


def test_a_copy_dropped_by_a_rule_is_nobodys_survivor(tmp_path):
    shouted = PROSE.upper() + "#" * 99  # first in the input, but dropped by the rule
    write_shard(tmp_path / "in" / "a.parquet", [shouted, shouted.lower().replace(" ", "  "), PROSE])
    rule = {"reason": "loud", "signal": "uppercase_ratio", "max": 0.5}
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [rule]}, dedup={"keep": "first"})
    carry_out(recipe)
    assert documents(run, "reason, duplicate_of") == [("loud", None), (None, None), (None, None)]


@pytest.mark.parametrize("keep", ["first", "longest", "best"])
def test_of_equal_documents_in_two_files_that_of_the_first_stays(tmp_path, keep):
    for name in ("a", "b"):
        write_shard(tmp_path / "in" / f"{name}.parquet", [PROSE])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"keep": keep})
    carry_out(recipe)
    assert documents(run, "file", "kept") == [("a.parquet",)]


def test_a_document_of_as_many_bytes_as_it_may_have_is_not_too_large(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE, PROSE + "x"])
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe, f"input.max_document_bytes={len(PROSE)}")
    assert documents(run, "reason") == [(None,), ("too_large",)]


def test_exact_duplicates_stay_where_the_recipe_says_so(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE, PROSE, PROSE.upper()])
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", dedup={"exact": False})
    assert carry_out(recipe)["documents_out"] == 3


def test_the_reason_tells_equal_texts_from_texts_equal_but_for_case_and_white_space(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE, PROSE, "\n" + PROSE, PROSE.upper()])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"keep": "first"})
    carry_out(recipe)
    reasons = [None, "exact_duplicate", "normalised_duplicate", "normalised_duplicate"]
    assert documents(run, "reason") == [(reason,) for reason in reasons]


def test_decisions_do_not_depend_on_how_many_documents_are_joined_at_a_time(tmp_path, monkeypatch):
    texts = [PROSE, "short", PROSE.upper(), PROSE, "", PROSE + " end.", PROSE, "short", None, PROSE + " END."]
    for k, text in enumerate(texts):
        write_shard(tmp_path / "in" / f"{k}.parquet", [text, f"{PROSE} {k}"])
    taken = []
    for rows in (1, 5, 1000):
        monkeypatch.setattr("curate.ledger.views.RANGE_ROWS", rows)
        run = tmp_path / f"run{rows}"
        recipe, _ = write_recipe(tmp_path, tmp_path / "in", output=str(run))
        carry_out(recipe)
        taken.append(documents(run, "doc_id, stage, reasons, duplicate_of, coarse_score, shard"))
    assert taken[0] == taken[1] == taken[2]
    assert sum(stage == "exact" for _, stage, *_ in taken[0]) == 5


@pytest.mark.parametrize("rows", [4, *repeats(1, 1000)])
def test_files_that_come_before_others_later_on_are_decided_as_if_they_had_always_been_there(
    tmp_path, monkeypatch, rows
):
    """Files are numbered as they are first seen, and decided in the order of their names."""
    monkeypatch.setattr("curate.ledger.views.RANGE_ROWS", rows)
    texts = [PROSE, "short", PROSE.upper(), PROSE + " end.", PROSE + " END.", PROSE]
    for new in ((1, 4, 5), (0, 2, 3)):
        for k in new:
            write_shard(tmp_path / "in" / f"{k}.parquet", [texts[k], f"{PROSE} {k}", f"{PROSE} {k // 2}."])
        recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"keep": "first"})
        carry_out(recipe)
    found = documents(run, "doc_id, stage, reasons, duplicate_of, shard")
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"keep": "first"}, output=str(tmp_path / "fresh"))
    assert carry_out(recipe)["documents_in"] == 18
    assert found == documents(tmp_path / "fresh", "doc_id, stage, reasons, duplicate_of, shard")
    assert sum(stage == "exact" for _, stage, *_ in found) == 6


def test_all_named_sets_can_stand_in_one_recipe_and_a_rule_that_two_share_counts_once():
    from curate.filters import registry
    from curate.recipe.tier1 import Tier1

    settled = {"line_too_short": 4}  # on which c4 and datatrove_c4 are not of one mind
    reasons = [found.reason for found in resolve(Tier1(rules=list(registry.rule_sets()), thresholds=settled))]
    assert len(reasons) == len(set(reasons))
    assert "too_many_words_cut" in reasons

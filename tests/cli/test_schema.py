"""The JSON schema accepts what a run accepts."""

import json

import jsonschema
import pytest
import yaml
from support.commands import command
from support.corpora import PROSE, SAMPLE, write_shard
from support.docs import whole_recipes

from curate.cli.schema import recipe_schema
from curate.errors import CurateError
from curate.filters.rules.resolve import resolve, resolve_editors
from curate.init.folder import sort_files
from curate.init.recipe import recipe_lines, short_lines
from curate.recipe.load import parse_recipe

SCHEMA = recipe_schema()
RULE = {"reason": "own", "signal": "n_words", "min": 3}
GOOD = [
    {"export": ["hf", "trl"]},
    {},
    {"seed": 3, "output": "runs/x", "on_error": "quarantine", "allow_empty": True, "exclude": ["gone.txt"]},
    {"input": {"paths": ["a", "b/*.parquet"], "text": "t", "id": None, "strata": ["source", "domain?"]}},
    {"input": {"paths": [{"paths": ["a"]}]}},
    {"shard_size": 1000},
    {"shard_size": "1.5 GiB"},
    {"input": {"paths": ["a"], "max_document_bytes": "10MB"}},
    {"tier1": {"rules": ["gopher", RULE]}},
    {"tier1": {"rules": [RULE | {"if": "n_lines > 2", "source": "me"}]}},
    {"tier1": {"rules": [RULE | {"max": None, "when": None}]}},
    {"tier1": {"rules": [{"reason": "own", "signal": "n_words", "max": 3.5}]}},
    {"tier1": {"rules": [{"reason": "own", "when": "n_words > 3"}]}},
    {"tier1": {"rules": ["gopher"], "thresholds": {"too_few_words": 30, "too_few_stop_words": None}}},
    {"tier1": {"rules": [RULE], "thresholds": {"own": 4}}},
    {"input": {"paths": ["a", {"paths": ["b"], "text": "t", "source": "s", "license": "CC0"}]}},
    {"input": {"paths": [{"dataset": "b", "config": "c", "split": "test", "revision": "main"}]}},
    {"tier1": {"rules": [RULE | {"signal": "cut_word_ratio"}]}},
    {"tier1": {"rules": ["c4"], "thresholds": {"line_too_short": 3, "line_with_policy": None}}},
    {"tier1": {"decontaminate": {"against": ["b"], "columns": ["q"], "ngram": 8}, "thresholds": {"contaminated": 3}}},
    {"dedup": {"exact": False, "keep": "longest"}},
    {"dedup": {"near": {}}},
    {"dedup": {"near": {"threshold": 0.7, "permutations": 64, "verify": "exact"}}},
    {"tier1": {"block": [{"reason": "own", "regex": "a+", "max": 2}, {"reason": "sites", "urls": "sites.txt"}]}},
    {"tier1": {"pii": "redact"}},
    {"tier1": {"pii": False}},  # YAML's `off`
    {"tier1": {"pii": {"action": "drop", "kinds": ["email"], "keep_reserved": True}}},
    {"tokenizer": "estimate", "tier2": None, "reference": [], "models": {"pin": None}},
    {"tier2": {}, "reference": ["good.parquet"]},
    {"tier2": {"max_false_drop": "2%", "judge": {}, "held_out": None, "families": ["seo_fluff"]}},
    {"tier2": {"max_false_drop": 0.1, "by": []}, "models": {"pin": "runs/web"}},
    {"dedup": {"near": True, "lines": False}, "tier2": True, "distill": True},
    {"tier1": {"language": True, "perplexity": True, "length_penalty": True}},
    {"distill": {"keep_tokens": 300, "allow_small": True}},
]
BAD = [
    {"name": None},
    {"name": "a b"},
    {"seed": "3"},
    {"seed": 1.5},
    {"nme": "x"},
    {"input": {}},
    {"input": {"paths": []}},
    {"input": {"paths": "data"}},
    {"input": {"paths": [3]}},
    {"input": {"paths": [{}]}},
    {"input": {"paths": [{"paths": []}]}},
    {"input": {"paths": [{"dataset": ""}]}},
    {"input": {"paths": [{"paths": ["a"], "dataset": "b"}]}},
    {"input": {"paths": [{"paths": ["a"], "split": "test"}]}},
    {"input": {"paths": [{"paths": ["a"], "txt": "t"}]}},
    {"input": {"paths": ["a"], "txt": "t"}},
    {"shard_size": 0},
    {"shard_size": "10 mb"},
    {"shard_size": True},
    {"on_error": "go on"},
    {"allow_empty": "yes"},
    {"tier1": {"rules": "gopher"}},
    {"tier1": {"rules": ["gofer"]}},
    {"tier1": {"rules": [{"reason": "own", "signal": "n_words"}]}},
    {"tier1": {"rules": [RULE | {"max": 4}]}},
    {"tier1": {"rules": [RULE | {"when": "true"}]}},
    {"tier1": {"rules": [RULE | {"signal": "n_word"}]}},
    {"tier1": {"rules": [RULE | {"reason": "Own"}]}},
    {"tier1": {"rules": [{"reason": "own", "when": "true", "if": "true"}]}},
    {"tier1": {"rules": ["gopher"], "thresholds": {"too_few_words": "30"}}},
    {"tier1": {"rules": ["c4"], "thresholds": {"line_too_short": 2.5}}},
    {"tier1": {"rules": ["c4"], "thresholds": {"line_with_policy": 1}}},
    {"tier1": {"decontaminate": {}}},
    {"tier1": {"decontaminate": {"against": []}}},
    {"tier1": {"decontaminate": {"against": ["b"], "ngram": 0}}},
    {"tier1": {"decontaminate": {"against": ["b"], "action": "keep"}}},
    {"tier1": {"rulez": []}},
    {"tier1": {"block": [{"reason": "own"}]}},
    {"tier1": {"block": [{"reason": "own", "regex": "a+", "words": "words.txt"}]}},
    {"tier1": {"block": [{"reason": "own", "regex": "a+", "max": -1}]}},
    {"tier1": {"pii": "shred"}},
    {"tier1": {"pii": True}},
    {"tier1": {"pii": {"kinds": []}}},
    {"tier1": {"pii": {"kinds": ["name"]}}},
    {"dedup": {"keep": "worst"}},
    {"dedup": {"near": {"threshold": 1.5}}},
    {"dedup": {"lines": {"max_repeats": 0}}},
    {"dedup": {"near": 3}},
    {"dedup": True},
    {"tokenizer": "gpt2"},
    {"tier2": {"rounds": 0}},
    {"tier2": {"max_false_drop": 0.5}},
    {"tier2": {"judge": {"documents": 3}}},
    {"distill": {"keep_tokens": "15 percent"}},
    {"distill": {"keep_tokens": 0}},
    {"distill": {"scores": {"discriminator": 0}}},
    {"distill": {"quotas": {"temperature": 2}}},
    {"export": "hf"},
]


def accepted(fields):
    """Whether a run would accept these fields."""
    try:
        tier1 = parse_recipe(fields, "test").tier1
        resolve(tier1)
        resolve_editors(tier1)
    except CurateError:
        return False
    return True


@pytest.mark.parametrize(
    ("fields", "good"), [(f, True) for f in GOOD] + [(f, False) for f in BAD], ids=lambda value: str(value)[:60]
)
def test_the_schema_and_the_run_agree_on_a_recipe(fields, good):
    recipe = {"name": "x", "input": {"paths": ["data"]}, **fields}
    assert jsonschema.Draft202012Validator(SCHEMA).is_valid(recipe) == accepted(recipe) == good


def test_the_schema_is_one_itself_and_accepts_every_recipe_of_the_docs_and_of_the_project(tmp_path):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    write_shard(tmp_path / "a.parquet", [PROSE] * 3)
    found = sort_files([tmp_path], tmp_path)
    begun = [lines(tmp_path / "r.yaml", "x", found, tmp_path) for lines in (short_lines, recipe_lines)]
    started = [yaml.safe_load("\n".join(lines)) for lines in begun]
    packaged = yaml.safe_load((SAMPLE / "demo.yaml").read_text("utf-8"))
    recipes = [*whole_recipes(), *started, packaged]
    recipes += [parse_recipe(fields, "test").model_dump(mode="json", by_alias=True) for fields in recipes]
    for recipe in recipes:
        jsonschema.validate(recipe, SCHEMA)


def test_the_command_prints_the_schema_with_what_each_field_means():
    done = command("schema")
    assert done.stderr == ""
    printed = json.loads(done.stdout)
    assert printed == SCHEMA
    assert printed["$defs"]["Input"]["properties"]["text"]["description"] == "the column with the text"
    assert "of gopher" not in done.stdout
    assert (
        "n_words min 50"
        in printed["$defs"]["Tier1"]["properties"]["thresholds"]["properties"]["too_few_words"]["description"]
    )

"""What can go wrong with a recipe, a rule or an argument, and what the user is told: one line each."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import carry_out, command, refused
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe
from support.runs import documents

from curate.engine.base import InProcess
from curate.errors import CurateError, EmptyOutputError, InputError, RecipeError
from curate.pipeline.run import run as run_recipe
from curate.pipeline.state import RunOptions
from curate.recipe.load import load_recipe


def test_a_run_that_keeps_nothing_fails_with_the_reasons_and_can_be_looked_into(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", ["too short"] * 3)
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["gopher"]})
    assert "none of 3 documents is kept (too_few_words 3)" in refused(recipe, EmptyOutputError)
    assert documents(run, "reason") == [("too_few_words",)] * 3
    assert not (run / "manifest.json").exists()
    assert carry_out(recipe, "allow_empty=true")["shards"] == 0
    assert list((run / "data").glob("*")) == []


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"reason": "x", "signal": "n_word", "min": 1}, "no signal 'n_word'; did you mean 'n_words'?"),
        ({"reason": "x", "when": "n_word > 3"}, "x: no signal 'n_word'; did you mean 'n_words'?"),
        ({"reason": "x", "when": "n_words > "}, "is not a condition"),
        ({"reason": "x", "when": "n_words + 1"}, "a condition is true or false, not BIGINT"),
        ({"reason": "x", "when": "true) OR (true"}, "is not a condition"),
        ({"reason": "x", "when": "n_words > 3 AS y"}, "is not a condition"),
        ({"reason": "x", "when": "random() < 0.5"}, "random does not depend on the document's own row alone"),
        ({"reason": "x", "when": "COLUMNS(*) IS NULL"}, "star does not depend on"),
        ({"reason": "x", "when": "N_WORD > 3"}, "no signal 'N_WORD'; did you mean 'n_words'?"),
        ({"reason": "x", "when": "count(*) > 5"}, "count_star does not depend on"),
        ({"reason": "x", "when": "n_words IN (SELECT 1)"}, "subquery does not depend on"),
        ({"reason": "x", "signal": "n_words", "min": 1, "if": "n_lines"}, "a condition is true or false, not BIGINT"),
        ({"reason": "x", "when": "input.score = 'high'"}, "Conversion Error"),
        ({"reason": "x", "signal": "n_words", "min": 10**19}, "Conversion Error"),
        ({"reason": "x", "when": "unnest([true, false])"}, "x: a condition has one value, not 2"),
        ({"reason": "x", "when": "input.nope = 1"}, "the input has no column 'nope'"),
        ({"reason": "empty_text", "when": "true"}, "the reason 'empty_text' is built in"),
        ("gophr", "no rule set 'gophr'; did you mean 'gopher'?"),
    ],
)
def test_a_bad_rule_is_refused_before_any_document_is_read(tmp_path, good, rule, told):
    write_shard(tmp_path / "in" / "b.parquet", [PROSE], score=pa.array([1]))
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [rule]})
    assert told in refused(recipe, RecipeError)
    assert not (run / "ledger" / "signals").exists()


def test_a_condition_that_fails_on_the_data_is_one_line(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE], score=pa.array(["high"]))
    rule = {"reason": "low", "when": "CAST(input.score AS INTEGER) < 3"}
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [rule]})
    told = refused(recipe, RecipeError)
    assert "a condition fails on the data: Conversion Error" in told
    assert "high" not in told  # a value may be personal data


@pytest.mark.parametrize("name", ["2024-13-45", "!!int one", "[" * 3000 + "]" * 3000])
def test_a_recipe_that_yaml_itself_cannot_make_values_of_is_one_line(tmp_path, name):
    (tmp_path / "recipe.yaml").write_text(f"name: {name}\ninput: {{paths: [in]}}\n")
    assert "recipe.yaml: not YAML: " in refused(tmp_path / "recipe.yaml", RecipeError)


def test_no_document_stands_in_an_error(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE * 10] * 2)
    rule = {"reason": "low", "when": "input.text::INTEGER > 3"}
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [rule]})
    assert len(refused(recipe, RecipeError)) < 500
    assert len(refused(recipe, InputError, "tier1.rules=[]", "input.id=text")) < 500


def test_a_signal_outside_the_measured_groups_is_measured_where_a_rule_names_it(tmp_path, good):
    rule = {"reason": "odd", "when": "text_hash_low % 2 = 1"}
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [rule]}, dedup={"exact": False})
    carry_out(recipe)
    assert {bool(low % 2) == (reason == "odd") for low, reason in documents(run, "text_hash_low, reason")} == {True}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "nowhere.yaml"], "Error: nowhere.yaml: no such file"),
        (["run", "."], "Error: .: a folder, not a recipe; write a recipe for its files: curate init ."),
        (["demo", "--set", "shard_size=99999999999999999999"], "Error: "),
        (["demo", "--set", "name={[1]: 2}"], "Error: "),
        (["demo", "--set", "input.paths=['']"], "Error: input.paths: an empty path"),
        (["demo", "--set", "seed=2024-13-45"], "Error: --set seed=2024-13-45: '2024-13-45' is not YAML"),
        (
            ["demo", "--set", "input.paths=[~no-such-user/x]"],
            "Error: input.paths: ~no-such-user/x: Could not determine home",
        ),
        (["demo", "--set", f"input.paths=[{'a' * 300}]"], f"Error: input.paths: {'a' * 300}: File name too long"),
        (["demo", "--set", "input.paths=['://']"], "Error: input.paths: ://: a URI begins with a scheme"),
        (["demo", "--set", "input.paths=['hf://datasets/x']"], "Error: input.paths: hf://datasets/x: Invalid HF URI"),
        (
            ["demo", "--set", "input.paths=['file:///*[z-a]']"],
            "Error: input.paths: file:///*[z-a]: bad character range",
        ),
        (["demo", "--set", "input.paths=[{dataset: ''}]"], "Error: "),
        (["demo", "--set", "input.paths=[{paths: [a], split: test}]"], "Error: "),
        (["demo", "--set", f"output={'b' * 300}"], f"Error: {'b' * 300}: File name too long; choose another output"),
        (
            ["sql", "nowhere", "SELECT 1"],
            "Error: nowhere: no such folder; `curate runs FOLDER` lists the runs in a folder",
        ),
        (["verify", "nowhere"], "Error: nowhere: no such folder; `curate runs FOLDER` lists the runs in a folder"),
        (["rules", "gofer"], "Error: tier1.rules: no rule set 'gofer'"),
        (["signals", "word"], "Error: signals: no group 'word'; did you mean 'words'?"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_one(tmp_path, arguments, told):
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(told)
    assert done.stderr.count("\n") == 1


def test_every_error_that_a_user_meets_is_a_curate_error():
    import curate.errors

    raised = [kind for kind in vars(curate.errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert all(issubclass(kind, CurateError) for kind in raised)


def test_a_run_that_fails_leaves_the_result_before_it_with_its_own_recipe(tmp_path, good):
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    names = ("manifest.json", "recipe.yaml", "run.json")
    before = [(run / name).read_bytes() for name in names]
    table = pa.table({"text": [PROSE, PROSE], "key": ["a", "a"]})
    pq.write_table(table, tmp_path / "b.parquet")
    changes = [f'input.paths=["{tmp_path / "b.parquet"}"]', "input.id=key"]
    with pytest.raises(InputError, match="ids must differ"):
        run_recipe(load_recipe(recipe, changes), InProcess(), threads=2, quiet=True, options=RunOptions(force=True))
    assert [(run / name).read_bytes() for name in names] == before
    assert command("verify", run).returncode == 0

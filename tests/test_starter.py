"""`curate init` writes a recipe that runs and explains every field."""

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import PROSE, SAMPLE, carry_out, command, write_shard
from test_docs import fields_of, reserved_by

from curate.errors import RecipeError
from curate.recipe import Recipe, load_recipe
from curate.sections import Near
from curate.starter import look_around, write_recipe


def opened(text):
    """A recipe with the sections that are off taken out of their comments."""
    while (found := re.sub(r"^( *)# (?=\w+:$|  )", r"\1", text, flags=re.MULTILINE)) != text:
        text = found
    return text


def test_the_written_recipe_runs_on_the_sample(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    for path in SAMPLE.glob("*.parquet"):
        (tmp_path / "data" / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    done = command("init", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("recipe.yaml: 4 files in data, text in column 'text'\nnext: curate plan")
    summary = carry_out(tmp_path / "recipe.yaml")
    assert (summary["documents_in"], summary["documents_out"]) == (1309, 773)


def test_every_field_that_is_built_stands_there_with_its_default_and_no_other(tmp_path):
    write_recipe(tmp_path / "recipe.yaml", tmp_path)
    (tmp_path / "recipe.yaml").write_text(text := opened((tmp_path / "recipe.yaml").read_text("utf-8")))
    written, default = load_recipe(tmp_path / "recipe.yaml"), yaml.safe_load(text)
    chosen = {
        "name",
        "input.paths",
        "tier1.rules",
        "tier1.decontaminate.against",
        "evaluate.heldout",
        "distill.keep_tokens",
        "tier3.domains",
    }
    for place, field, is_section in fields_of(Recipe):
        if place.startswith(("teacher.", "distill.vectors.")):  # they stand there as one word: rules, hashed
            continue
        *sections, name = place.split(".")
        found = default
        for section in sections:
            found = found.get(section, {})
        assert (name in found) == (reserved_by(place) is None), place
        if not is_section and reserved_by(place) is None:
            assert re.search(rf"^ *#.*(default: |required)[^\n]*\n *{name}:", text, re.MULTILINE), place
            if place not in chosen:
                value = written
                for part in place.split("."):
                    value = getattr(value, part)
                assert value == field.get_default(), place


def test_a_section_that_is_off_by_default_is_commented_out_and_runs_when_the_comment_is_taken_away(tmp_path):
    write_recipe(tmp_path / "recipe.yaml", tmp_path)
    text = (tmp_path / "recipe.yaml").read_text("utf-8")
    assert "\n  # near:\n" in text
    assert "\n  #   threshold: 0.8\n" in text
    assert load_recipe(tmp_path / "recipe.yaml").dedup.near is None
    (tmp_path / "recipe.yaml").write_text(opened(text))
    assert load_recipe(tmp_path / "recipe.yaml").dedup.near == Near()


def test_an_existing_file_is_not_overwritten(tmp_path):
    (tmp_path / "mine.yaml").write_text("mine")
    done = command("init", "mine.yaml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "Error: mine.yaml: exists; give another path, or remove it first\n")
    assert (tmp_path / "mine.yaml").read_text() == "mine"
    with pytest.raises(RecipeError, match="cannot be written"):
        write_recipe(tmp_path / "no" / "folder.yaml", tmp_path)


def test_files_and_text_column_are_proposed_by_looking(tmp_path):
    assert look_around(tmp_path).files == 0
    write_shard(tmp_path / "runs" / "old" / "data" / "train.parquet", [PROSE])
    (tmp_path / "runs" / "old" / "ledger").mkdir()
    write_shard(tmp_path / ".hidden" / "x.parquet", [PROSE])
    assert look_around(tmp_path).files == 0
    table = pa.table({"url": ["http://a"], "words": [PROSE], "n": [1]})
    for name in ("b/2.parquet", "a/1.parquet"):
        (tmp_path / name).parent.mkdir()
        pq.write_table(table, tmp_path / name)
    found = look_around(tmp_path)
    assert (found.paths, found.files, found.text) == (("a", "b"), 2, "words")
    write_shard(tmp_path / "top.parquet", [PROSE], long=[PROSE * 9])
    found = look_around(tmp_path)
    assert (found.paths, found.text) == (("*.parquet",), "text")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "x.parquet").write_bytes(b"not Parquet")
    assert look_around(tmp_path / "broken").text == "text"

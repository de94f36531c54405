"""Plan and run warn of files and texts that input, reference, held-out and evaluation files share."""

import gzip
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from support.commands import carry_out, command
from support.corpora import PROSE, write_shard

from curate.init.survey import ALL_BYTES, DECODED_BYTES, survey_file


def prose(start, count):
    """Texts that differ in their first words."""
    return [f"Story number {k} of the old town. {PROSE}" for k in range(start, start + count)]


def write_recipe(folder, paths, **fields):
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"name": "t", "output": "runs/t", "input": {"paths": paths}, **fields}))
    return path


def planned(folder, recipe):
    done = command("plan", str(recipe), "--json", "--quiet", cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["warnings"]


def test_plan_and_run_tell_how_many_texts_of_the_input_measure_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_shard(tmp_path / "in" / "web.parquet", [*prose(0, 40), *[text.upper() for text in prose(100, 4)]])
    write_shard(tmp_path / "sets" / "a.parquet", prose(100, 20))
    write_shard(tmp_path / "good" / "b.parquet", [*prose(38, 30), *prose(110, 2)])
    write_shard(tmp_path / "far" / "c.parquet", [*prose(66, 30), *prose(7, 1)])
    recipe = write_recipe(
        tmp_path, ["in"], reference=["good"], tier1={"decontaminate": {"against": ["sets"]}},
        evaluate={"heldout": ["far"], "track": False}, allow_empty=True,
    )  # fmt: skip
    told = planned(tmp_path, recipe)
    shares = [line.split(":")[0] for line in told]
    assert shares == [
        "2 of 44 sampled documents of input.paths (4.5%) are in reference too, 2 in good/b.parquet",
        "1 of 44 sampled documents of input.paths (2.3%) are in evaluate.heldout too, 1 in far/c.parquet",
        "4 of 44 sampled documents of input.paths (9.1%) are in tier1.decontaminate.against too, 4 in sets/a.parquet",
        "2 of 32 texts that were looked at of reference (6.2%) are in evaluate.heldout too, 2 in far/c.parquet",
        "2 of 32 texts that were looked at of reference (6.2%) are in tier1.decontaminate.against too, 2 in "
        "sets/a.parquet",
    ]
    assert carry_out(recipe)["warnings"] == told
    done = command("run", str(recipe), cwd=tmp_path)
    assert (done.stderr + done.stdout).count(f"warning: {told[0]}\n") == 1
    assert f"warning: {told[0]}\n" in done.stderr
    done = command("run", str(recipe), "--quiet", cwd=tmp_path)
    assert f"warning: {told[0]}\n" in done.stdout


def test_a_run_compares_texts_with_those_of_other_files_again_only_where_a_file_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_shard(tmp_path / "in" / "web.parquet", prose(0, 40))
    write_shard(tmp_path / "sets" / "a.parquet", prose(39, 20))
    recipe = write_recipe(tmp_path, ["in"], tier1={"decontaminate": {"against": ["sets"]}}, allow_empty=True)
    [first] = carry_out(recipe)["warnings"]
    assert first.startswith("1 of 40 sampled documents")
    facts = json.loads((tmp_path / "runs" / "t" / "run.json").read_text())
    assert facts["overlaps"]["told"] == [first]
    marked = facts["overlaps"] | {"told": ["as the run before told"]}
    (tmp_path / "runs" / "t" / "run.json").write_text(json.dumps(facts | {"overlaps": marked}))
    assert carry_out(recipe)["warnings"] == ["as the run before told"]
    write_shard(tmp_path / "sets" / "a.parquet", prose(38, 21))
    [again] = carry_out(recipe)["warnings"]
    assert again.startswith("2 of 40 sampled documents")


@pytest.mark.parametrize("name", ["run", "plan"])
def test_the_folder_of_the_input_is_listed_once(tmp_path, monkeypatch, name):
    write_shard(tmp_path / "in" / "web.parquet", prose(0, 40))
    write_recipe(tmp_path, ["in"])
    listed = []
    for function in (os.scandir, os.listdir):

        def listing(folder=".", function=function):
            listed.append(folder if isinstance(folder, int) else os.path.abspath(folder))
            return function(folder)

        monkeypatch.setattr(os, function.__name__, listing)
    done = command(name, "recipe.yaml", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert listed.count(str(tmp_path / "in")) == 1


def test_plan_tells_of_one_file_in_two_fields_by_path_link_and_content(tmp_path):
    write_shard(tmp_path / "in" / "web.parquet", prose(0, 40))
    write_shard(tmp_path / "in" / "x.parquet", prose(50, 10))
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "link.parquet").symlink_to(tmp_path / "in" / "x.parquet")
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "copy.parquet").write_bytes((tmp_path / "in" / "x.parquet").read_bytes())
    recipe = write_recipe(tmp_path, ["in"], reference=["good"], evaluate={"heldout": ["far"], "track": False})
    told = planned(tmp_path, recipe)
    for line in (
        "input.paths and reference have 1 file in common, as in/x.parquet and good/link.parquet: ",
        "input.paths and evaluate.heldout have 1 file in common, as in/x.parquet and far/copy.parquet: ",
        "reference and evaluate.heldout have 1 file in common, as good/link.parquet and far/copy.parquet: ",
    ):
        assert any(one.startswith(line) for one in told), told


def test_inputs_that_are_called_as_evaluation_sets_are_told_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_shard(tmp_path / "data" / "web.parquet", prose(0, 40))
    write_shard(tmp_path / "evals" / "a.parquet", prose(50, 20))
    write_shard(tmp_path / "evals" / "b.parquet", prose(80, 10))
    recipe = write_recipe(tmp_path, ["data", "evals"])
    told = (
        "input.paths: 2 files with 30 documents may be evaluation sets, as evals/a.parquet (folder evals); name them "
        "in tier1.decontaminate.against, and not here"
    )
    assert planned(tmp_path, recipe) == [told]
    assert carry_out(recipe)["warnings"] == [told]
    assert json.loads((tmp_path / "runs" / "t" / "run.json").read_text())["warnings"] == [told]


def test_fields_that_share_nothing_are_not_warned_of(tmp_path):
    write_shard(tmp_path / "in" / "web.parquet", [*prose(0, 40), "yes", "no"])
    pq.write_table(
        pa.table({"question": prose(50, 5), "answer": ["yes", "no", "yes", "no", "4"]}), tmp_path / "q.parquet"
    )
    recipe = write_recipe(tmp_path, ["in"], tier1={"decontaminate": {"against": ["q.parquet"]}})
    assert planned(tmp_path, recipe) == []


def test_a_held_out_column_that_changes_its_type_does_not_stop_a_plan(tmp_path):
    write_shard(tmp_path / "in" / "web.parquet", prose(0, 40))
    with gzip.open(tmp_path / "mixed.jsonl.gz", "wt") as file:
        for k, text in enumerate(prose(0, 9000)):
            file.write(json.dumps({"text": text, "score": k if k < 6000 else f"about {k}"}) + "\n")
    recipe = write_recipe(tmp_path, ["in"], evaluate={"heldout": ["mixed.jsonl.gz"], "track": False})
    told = planned(tmp_path, recipe)
    assert told[0].startswith("40 of 40 sampled documents of input.paths (100.0%) are in evaluate.heldout too")


def test_of_a_small_file_that_decodes_to_endless_texts_a_part_is_looked_at(tmp_path):
    text = f"{PROSE} " * (1_000_000 // len(PROSE))
    pq.write_table(pa.table({"text": [text] * 1000}), tmp_path / "bomb.parquet", compression="zstd")
    assert (tmp_path / "bomb.parquet").stat().st_size < 100_000
    seen = survey_file(tmp_path / "bomb.parquet", tmp_path, tmp_path, ALL_BYTES)
    assert (seen.problem, seen.rows, seen.texts) == ("", 1000, ("text",))
    assert len(seen.keys) * len(text) < 2 * DECODED_BYTES

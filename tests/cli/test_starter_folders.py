"""`curate init` on folders as they come: other types from file to file, bad lines, compressed JSON, many files."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.commands import carry_out, command
from support.corpora import PROSE, write_shard
from support.runs import output
from support.starter_folders import fields_written, prose, write_lines

from curate.corpus.folders import expand_glob, list_folder
from curate.init.folder import sort_files
from curate.init.patterns import patterns_of
from curate.init.recipe import write_recipe
from curate.init.survey import MOST
from curate.recipe.load import load_recipe


def test_columns_with_other_types_from_file_to_file_get_a_cast_with_which_plan_and_run_go_on(tmp_path, monkeypatch):
    write_shard(tmp_path / "data" / "a.parquet", prose(0, 9), score=range(9), n=range(9), at=pa.array(["x"] * 9))
    write_shard(tmp_path / "data" / "b.parquet", prose(20, 9), score=["high"] * 9, n=[0.5] * 9, at=pa.array([1] * 9))
    write_lines(tmp_path / "data" / "c.jsonl", [{"text": text, "at": {"day": 1}} for text in prose(40, 9)])
    write_shard(tmp_path / "data" / "d.parquet", prose(60, 9), score=range(9))
    found, said = fields_written(tmp_path)
    assert found["input"]["cast"] == {"score": "string", "n": "float64", "at": "string"}
    assert (
        "types: column 'score' is int64 in data/a.parquet and string in data/b.parquet; input.cast reads it as string\n"
    ) in said
    planned = command("plan", "recipe.yaml", "--json", "--quiet", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    write_recipe(tmp_path / "full.yaml", tmp_path, full=True)
    assert load_recipe(tmp_path / "full.yaml").input.cast == found["input"]["cast"]
    monkeypatch.chdir(tmp_path)
    assert carry_out(tmp_path / "recipe.yaml", "tier1.rules=[]")["documents_out"] == 36
    written = output(next(tmp_path.glob("runs/*")))
    assert set(written["score"].to_pylist()) == {None, "high", *map(str, range(9))}
    assert written["at"].to_pylist()[-10] == '{"day":1}'


def test_types_that_a_run_unifies_by_itself_get_no_cast(tmp_path):
    write_shard(tmp_path / "data" / "a.parquet", prose(0, 9), n=pa.array(range(9), pa.int32()), only=[1] * 9)
    write_shard(tmp_path / "data" / "b.parquet", prose(20, 9), n=pa.array(range(9), pa.int64()))
    write_shard(tmp_path / "data" / "c.parquet", pa.array(prose(40, 9), pa.large_string()), n=pa.nulls(9))
    found, said = fields_written(tmp_path)
    assert "cast" not in found["input"]
    assert "types:" not in said


def test_a_bad_line_is_counted_and_told_and_leaves_the_rest_of_its_file_in(tmp_path, monkeypatch):
    lines = [json.dumps({"text": text}) for text in prose(0, 20)]
    lines[6] = '{"text": "cut'
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl").write_text("\n".join(lines))
    with gzip.open(tmp_path / "data" / "b.jsonl.gz", "wt") as file:
        file.write("\n".join([*(json.dumps({"text": text}) for text in prose(40, 9)), "[1, 2]"]))
    found, said = fields_written(tmp_path)
    assert found["input"]["paths"] == ["data"]
    assert found["on_error"] == "quarantine"
    told = "bad lines: data/a.jsonl: 1 line beside 19 good ones (line 7 is not JSON: "
    assert told in said
    assert "bad lines: data/b.jsonl.gz: 1 line beside 9 good ones (line 10 is not a JSON object but a list)" in said
    planned = command("plan", "recipe.yaml", "--json", "--quiet", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    monkeypatch.chdir(tmp_path)
    assert carry_out(tmp_path / "recipe.yaml")["documents_in"] == 28


def test_a_bad_line_beside_the_corpus_leaves_its_file_out_and_is_named(tmp_path):
    write_shard(tmp_path / "data" / "web.parquet", prose(0, 9))
    (tmp_path / "heldout").mkdir()
    (tmp_path / "heldout" / "a.jsonl").write_text(json.dumps({"text": PROSE}) + "\nno JSON\n")
    found, said = fields_written(tmp_path)
    assert "evaluate" not in found
    assert "left out: heldout/a.jsonl: line 2 is not JSON: Expecting value" in said
    assert "; mend or remove that line\n" in said


@pytest.mark.parametrize("ending", [".json", ".json.gz", ".json.zst", ".jsonl.gz", ".jsonl.zst", ".ndjson.gz"])
def test_json_lines_are_read_by_whatever_name_a_run_can_read(tmp_path, monkeypatch, ending):
    text = "".join(json.dumps({"text": text}) + "\n" for text in prose(0, 9)).encode()
    codec = {"gz": "gzip", "zst": "zstd"}.get(ending.split(".")[-1])
    (tmp_path / "data").mkdir()
    with pa.output_stream(str(tmp_path / "data" / f"a{ending}"), compression=codec) as file:
        file.write(text)
    write_shard(tmp_path / "data" / "b.parquet", prose(20, 9))
    found, said = fields_written(tmp_path)
    assert "input.paths: 2 files, 18 rows" in said
    in_folders = ending.startswith((".jsonl", ".ndjson"))
    assert found["input"]["paths"] == (["data"] if in_folders else ["data", f"data/a{ending}"])
    monkeypatch.chdir(tmp_path)
    assert carry_out(tmp_path / "recipe.yaml")["documents_in"] == 18


@pytest.mark.parametrize("depth", [2_000, 20_000, 60_000])
def test_lines_that_are_nested_too_deeply_leave_their_file_out_and_are_told(tmp_path, depth):
    deep = json.dumps({"text": "x"}).replace('"x"', "[" * depth + "]" * depth) + "\n"
    write_lines(tmp_path / "data" / "a.jsonl", [{"text": text} for text in prose(0, 5)])
    (tmp_path / "data" / "deep.jsonl").write_text('{"text": "a"}\n' + deep)
    (tmp_path / "data" / "deep.json").write_text(deep * 2)
    (tmp_path / "data" / "one.json").write_text(deep)
    found, said = fields_written(tmp_path)
    assert found["input"]["paths"] == ["data/a.jsonl"]
    assert "left out: data/deep.jsonl: line 2 with text is nested too deeply\n" in said
    assert "not read: 2 .json" in said


def test_json_files_that_hold_no_lines_of_texts_are_told_and_not_read(tmp_path):
    write_shard(tmp_path / "data" / "web.parquet", prose(0, 9))
    (tmp_path / "data" / "config.json").write_text(json.dumps({"text": PROSE}, indent=1))
    (tmp_path / "data" / "one.json").write_text(json.dumps({"text": PROSE}))
    (tmp_path / "data" / "all.json").write_text(json.dumps([{"text": PROSE}] * 3))
    (tmp_path / "data" / "n.json").write_text('{"n": 1}\n{"n": 2}\n')
    with gzip.open(tmp_path / "data" / "broken.json.gz", "wt") as file:
        file.write("{\n")
    found, said = fields_written(tmp_path)
    assert found["input"]["paths"] == ["data"]
    assert "not read: 4 .json, 1 .json.gz (only Parquet and JSON lines are: one object a line)\n" in said


def test_of_many_files_some_are_looked_at_and_odd_ones_and_copies_are_found_all_the_same(tmp_path):
    table = pa.table({"text": prose(0, 2)})
    for k in range(2 * MOST):
        (tmp_path / "data" / f"dump-{k % 3}").mkdir(parents=True, exist_ok=True)
        pq.write_table(table, tmp_path / "data" / f"dump-{k % 3}" / f"part-{k:05d}.parquet")
    items = [f"{text} {text}" for text in prose(500, 30)]
    write_shard(tmp_path / "evals" / "items.parquet", items)
    (tmp_path / "data" / "dump-1" / "part-00100.parquet").write_bytes(
        (tmp_path / "evals" / "items.parquet").read_bytes()
    )
    pq.write_table(
        pa.table({"content": prose(700, 2), "n": [1, 2]}), tmp_path / "data" / "dump-2" / "part-00101.parquet"
    )
    found, said = fields_written(tmp_path)
    files = sort_files([tmp_path], tmp_path).roles["input"]
    looked = sum(file.is_surveyed for file in files)
    assert len(files) == 2 * MOST - 1
    assert MOST // 2 < looked <= MOST + 1
    assert f"files, {2 * len(files):,} rows, texts in column 'text', 'content' in 1; {looked} of the files were" in said
    assert "left out: data/dump-1/part-00100.parquet: 30 of 30 texts are those of evals/items.parquet" in said
    assert {"paths": ["data/dump-2/part-00101.parquet"], "text": "content"} in found["input"]["paths"]
    assert found["input"]["paths"][0] == "data/dump-0"


def test_a_folder_for_each_day_is_one_glob_and_names_that_alternate_stay_on_one_line(tmp_path):
    for k in range(20):
        write_shard(tmp_path / f"day={k:02d}" / "a.parquet", prose(10 * k, 2))
    write_shard(tmp_path / "eval" / "x.parquet", prose(900, 2))
    found, _ = fields_written(tmp_path)
    assert found["input"]["paths"] == ["d*/**/*.parquet"]
    (tmp_path / "day=07" / "_old").mkdir()
    write_shard(tmp_path / "day=07" / "_old" / "a.parquet", prose(950, 2))
    found, _ = fields_written(tmp_path, "--force")
    assert found["input"]["paths"] == [f"day={k:02d}" for k in range(20)]
    for k in range(100):
        write_shard(tmp_path / "mixed" / f"{k:03d}{'-eval' if k % 2 else ''}.parquet", prose(1000 + k, 1))
    found, _ = fields_written(tmp_path, "--force")
    assert {f"mixed/{k:03d}.parquet" for k in range(0, 100, 2)} <= set(found["input"]["paths"])


NAMES = st.text("ab.-", min_size=0, max_size=4).map(lambda name: f"x{name}.parquet")
FOLDERS = st.sampled_from(["", "a/", "ab/", "a/b/", "b[c]/", *(f"d{k}/" for k in range(15))])


@given(st.dictionaries(st.builds(str.__add__, FOLDERS, NAMES), st.booleans(), min_size=1, max_size=60))
def test_patterns_say_the_chosen_files_and_no_others(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("files")
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    chosen = {name for name, is_chosen in files.items() if is_chosen}
    matched = []
    for pattern in patterns_of(folder, sorted(files), chosen, lambda place: True):
        place = folder / pattern
        there = list_folder(place) if place.is_dir() else None
        if there is None:
            there = type(list_folder(folder))([place]) if place.exists() else expand_glob(place)
        matched += [path.relative_to(folder).as_posix() for path in there.files]
    assert sorted(matched) == sorted(chosen)

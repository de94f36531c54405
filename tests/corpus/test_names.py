"""Names of files, folders and columns, however odd: nothing else is read for them, or one line tells."""

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import carry_out, command, refused
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe
from support.runs import documents

from curate.errors import InputError, RecipeError, RunError


@pytest.mark.parametrize("place", ["a,b", "what?"])
def test_a_run_path_that_duckdb_cannot_open_is_refused(tmp_path, good, place):
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    assert "DuckDB cannot open" in refused(recipe, RunError, f"output='{tmp_path / place}'")


def test_a_run_path_with_a_nul_character_is_refused(tmp_path, good):
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    assert refused(recipe, RunError, 'output="a\\0b"') == "output: a path has no NUL character; choose another output"


def test_no_name_of_a_folder_changes_what_is_read(tmp_path):
    place = "n_words=3/row=2/a*b/a[1]/it's/ü and é"
    write_shard(tmp_path / place / "in" / "ab.parquet", [PROSE, PROSE + "b"], lang=pa.array(["de", "en"]))
    write_shard(tmp_path / place / "in" / "a*.parquet", [PROSE + "c"], lang=pa.array(["fr"]))
    rule = {"reason": "few", "signal": "n_words", "min": 10}
    recipe, run = write_recipe(tmp_path / place, tmp_path / place / "in", tier1={"rules": [rule]})
    carry_out(recipe)
    assert documents(run, "kept, n_words") == [(True, 49), (True, 48), (True, 49)]
    from curate.ledger.run import connect

    with connect(run) as connection:
        rows = connection.execute("SELECT file, row, input.lang FROM corpus ORDER BY 1, 2").fetchall()
    assert rows == [("a*.parquet", 0, "fr"), ("ab.parquet", 0, "de"), ("ab.parquet", 1, "en")]


def test_the_name_of_a_run_directory_may_hold_marks_of_globs_and_be_relative(tmp_path, monkeypatch, good):
    place = "a*b/a[1]/it's"
    monkeypatch.chdir(tmp_path)
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe, f'output="{place}"')
    assert command("verify", place, cwd=tmp_path).returncode == 0
    assert command("sql", place, "SELECT count(*) FROM corpus", "--format", "csv", cwd=tmp_path).stdout.endswith("20\n")


def test_odd_column_names_are_carried_through(tmp_path):
    names = ["file_row_number", "location", "row", "file_no", "Text", "TEXT", "a.b", 'quo"te', "", " "]
    columns = {name: pa.array([f"value of {name}"]) for name in names}
    write_shard(tmp_path / "in" / "a.parquet", [PROSE], **columns)
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    assert pq.read_table(run / "data").select(names).to_pydict() == {name: [f"value of {name}"] for name in names}
    assert command("verify", run).returncode == 0


def test_columns_that_stand_twice_or_cannot_be_told_apart_are_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array([PROSE]), pa.array([1]), pa.array([2])], names=["text", "k", "k"])
    (tmp_path / "in").mkdir()
    pq.write_table(table, tmp_path / "in" / "a.parquet")
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    assert "column 'k' appears 2 times" in refused(recipe, InputError)
    write_shard(tmp_path / "in" / "a.parquet", [PROSE], k=pa.array([1]), K=pa.array([2]))
    assert "that SQL cannot tell apart" in refused(recipe, RecipeError, "input.strata=[k, K]")


def test_linked_files_are_ordered_and_named_by_their_links(tmp_path):
    write_shard(tmp_path / "blobs" / "zzz", [PROSE + "0"])
    write_shard(tmp_path / "blobs" / "aaa", [PROSE + "1"])
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "train-0.parquet").symlink_to("../blobs/zzz")
    (tmp_path / "in" / "train-1.parquet").symlink_to("../blobs/aaa")
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    assert pq.read_table(run / "data")["text"].to_pylist() == [PROSE + "0", PROSE + "1"]
    assert documents(run, "file") == [("train-0.parquet",), ("train-1.parquet",)]
    (tmp_path / "in" / "train-2.parquet").symlink_to("../blobs/gone")
    assert "train-2.parquet: cannot be read as Parquet: [Errno 2]" in refused(recipe, InputError)
    assert carry_out(recipe, "on_error=quarantine")["quarantined"] == ["train-2.parquet"]


def test_the_name_of_the_folder_that_curate_is_started_in_is_no_pattern(tmp_path, monkeypatch):
    place = "[1]/a*b/what?"
    write_shard(tmp_path / place / "in" / "a.parquet", [PROSE])
    write_shard(tmp_path / "a-b" / "in" / "b.parquet", [PROSE])
    monkeypatch.chdir(tmp_path / place)
    recipe, run = write_recipe(tmp_path, "in/*.parquet")
    carry_out(recipe)
    assert documents(run, "file") == [("a.parquet",)]


def test_a_file_whose_name_is_no_text_is_named(tmp_path, good):
    good.rename(good.with_name(os.fsdecode(b"caf\xe9.parquet")))
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    assert "caf\\udce9.parquet': its name is not UTF-8; rename it" in refused(recipe, InputError)

"""Inputs that cannot be read, that do not fit, or that are large: one line each, or a row with a reason."""

import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import carry_out, command, refused
from support.corpora import PROSE, write_shard
from support.paths import ROOT
from support.recipes import write_recipe
from support.runs import documents
from support.soak import ALL

from curate.errors import InputError


def test_a_truncated_file_is_named(tmp_path, good):
    broken = tmp_path / "in" / "b.parquet"
    broken.write_bytes(good.read_bytes()[:-100])
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    assert refused(recipe, InputError).startswith(f"{broken}: not a whole Parquet file")


def test_a_file_with_broken_pages_is_named(tmp_path, good):
    data = bytearray(good.read_bytes())
    data[4:400] = bytes(396)
    broken = tmp_path / "in" / "b.parquet"
    broken.write_bytes(data)
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    assert f"{broken}: rows 0 to 20 cannot be read" in refused(recipe, InputError)


@pytest.mark.parametrize("damage", ["truncated", "broken pages"])
def test_quarantine_sets_a_bad_file_aside_and_lists_it(tmp_path, good, damage):
    data = bytearray(good.read_bytes())
    data = data[:-100] if damage == "truncated" else data[:4] + bytes(396) + data[400:]
    (tmp_path / "in" / "b.parquet").write_bytes(data)
    write_shard(tmp_path / "in" / "c.parquet", [f"{PROSE} c{k}" for k in range(5)])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", on_error="quarantine")
    summary = carry_out(recipe)
    assert summary["quarantined"] == ["b.parquet"]
    assert summary["documents_in"] == summary["documents_out"] == 25
    assert {file for (file,) in documents(run, "file")} == {"a.parquet", "c.parquet"}
    import json

    manifest = json.loads((run / "manifest.json").read_text())
    assert [("error" in file) for file in manifest["inputs"]] == [False, True, False]
    assert str(tmp_path) not in manifest["inputs"][1]["error"]
    assert command("verify", run).returncode == 0
    # the file is repaired: it comes in, and the rest is not measured again
    write_shard(tmp_path / "in" / "b.parquet", [PROSE + "repaired"])
    assert carry_out(recipe)["documents_out"] == 26


def test_a_missing_text_column_is_named_with_those_that_are_there(tmp_path):
    pq.write_table(pa.table({"content": ["x"], "url": ["y"]}), tmp_path / "a.parquet")
    recipe, _ = write_recipe(tmp_path, tmp_path / "a.parquet")
    expected = f"{tmp_path}/a.parquet: no column 'text' (has: content, url); set input.text: content"
    assert refused(recipe, InputError) == expected


def test_a_text_column_that_holds_no_strings_is_refused_with_those_that_do(tmp_path):
    pq.write_table(pa.table({"text": [1, 2], "body": ["x", "y"]}), tmp_path / "a.parquet")
    recipe, _ = write_recipe(tmp_path, tmp_path / "a.parquet")
    expected = f"{tmp_path}/a.parquet: column 'text' holds int64, not strings; set input.text: body"
    assert refused(recipe, InputError) == expected


def test_schemas_that_contradict_are_refused_with_file_and_column(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", ["x"], score=pa.array([1]))
    write_shard(tmp_path / "in" / "b.parquet", ["y"], score=pa.array(["high"]))
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    assert "b.parquet: column 'score' holds string, and int64 in a.parquet; give it" in refused(recipe, InputError)


def test_a_file_without_rows_is_fine_and_a_corpus_without_documents_is_not(tmp_path, good):
    empty = write_shard(tmp_path / "in" / "b.parquet", pa.array([], pa.string()))
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    assert carry_out(recipe)["documents_out"] == 20
    recipe, _ = write_recipe(tmp_path, empty)
    assert "no documents in the 1 file(s)" in refused(recipe, InputError, f"output={tmp_path / 'other'}")


def test_a_document_of_two_hundred_megabytes_is_a_row_with_a_reason(tmp_path):
    words = 40_000_000 if ALL else 10_000_000
    write_shard(tmp_path / "in" / "a.parquet", [PROSE, "word " * words, PROSE + "b"])
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    assert documents(run, "reason, n_words") == [(None, 48), ("too_large", words), (None, 49)]


def test_clashing_and_null_ids_are_named(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", ["x", "y"], id=pa.array(["one", "two"]))
    write_shard(tmp_path / "in" / "b.parquet", ["z"], id=pa.array(["one"]))
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", allow_empty=True)
    message = refused(recipe, InputError, "input.id=id")
    assert message.startswith("b.parquet:0: id 'one' occurs 2 times, first in a.parquet:0")
    write_shard(tmp_path / "in" / "b.parquet", ["z"], id=pa.array([None], pa.string()))
    assert "b.parquet:0: column 'id' (input.id) is null" in refused(recipe, InputError, "input.id=id")


def test_when_every_file_is_quarantined_the_first_reason_is_told(tmp_path, good):
    good.write_bytes(good.read_bytes()[:4] + bytes(396) + good.read_bytes()[400:])
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", on_error="quarantine")
    assert "every input file is quarantined, the first because: " in refused(recipe, InputError)


def test_other_runs_within_an_input_folder_are_passed_over(tmp_path, good):
    recipe, _run = write_recipe(tmp_path, tmp_path)
    carry_out(recipe)
    assert carry_out(recipe, f"output={tmp_path / 'second'}")["documents_in"] == 20


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_large_other_columns_and_dictionaries_do_not_swell_a_worker(tmp_path):
    rows, most = (4000, 0.9) if ALL else (1500, 0.7)
    repeated = pa.array(["x" * 200_000] * rows).dictionary_encode()
    write_shard(tmp_path / "in" / "a.parquet", [f"{PROSE} {k}" for k in range(rows)], html=repeated)
    write_shard(tmp_path / "in" / "b.parquet", pa.array(["y " * 100_000] * rows).dictionary_encode())
    recipe, _run = write_recipe(tmp_path, tmp_path / "in")
    # From /proc, because getrusage would count what this process held when it started the other.
    code = (
        "import pathlib, sys; from support.commands import carry_out; carry_out(pathlib.Path(sys.argv[1]));"
        "print(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    arguments = [sys.executable, "-c", code, str(recipe)]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)
    peak = int(done.stdout) / 2**20
    assert peak < most, f"{peak:.1f} GiB for {rows * 4e-4:.1f} GB of values in small batches"


def test_a_file_with_fewer_rows_than_a_reader_was_told_is_named(tmp_path, good):
    from curate.corpus.parquet import read_rows

    for start, stop in ((0, 21), (20, 40), (30, 40)):
        with pytest.raises(InputError, match=f"has fewer rows than the {stop} it had"):
            list(read_rows(str(good), start, stop, ["text"]))


def test_inputs_that_move_keep_what_was_measured(tmp_path, good):
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    part = next((run / "ledger" / "signals" / "words").iterdir())
    measured = part.stat().st_mtime_ns
    (tmp_path / "in").rename(tmp_path / "moved")
    more = write_shard(tmp_path / "more" / "b.parquet", [PROSE + "more"])
    paths = f"input.paths=[{tmp_path / 'moved'}, {more}]"
    assert carry_out(recipe, paths)["documents_out"] == 21
    assert part.stat().st_mtime_ns == measured
    assert [file for (file,) in documents(run, "DISTINCT file")] == ["more/b.parquet", "moved/a.parquet"]


def test_a_folder_below_a_hidden_one_is_read(tmp_path, monkeypatch):
    write_shard(tmp_path / ".hidden" / "in" / "a.parquet", [PROSE])
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    recipe, _ = write_recipe(tmp_path, "../.hidden/in")
    assert carry_out(recipe)["documents_out"] == 1


def test_an_input_that_changes_is_measured_anew(tmp_path, good):
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    write_shard(good, [f"{PROSE} changed {k}" for k in range(3)])
    assert carry_out(recipe)["documents_out"] == 3
    assert command("verify", run).returncode == 0

"""A failure that nobody foresaw: its traceback is in a log, and the terminal has one line with the way on."""

import json
import os
import stat
from pathlib import Path

import pytest
from support.commands import command, program
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe
from support.runs import documents

# Python imports a module of this name by itself when it starts: a library that fails on one of the files.
LIBRARY = """
import sys

if any(word.endswith("worker.py") for word in sys.orig_argv):
    import pyarrow.json as pj
    import pyarrow.parquet as pq
    read = pq.ParquetFile.iter_batches

    def iter_batches(file, *arguments, **options):
        if file.metadata.num_rows == 13:
            raise KeyError("a text of the file")
        return read(file, *arguments, **options)

    def read_json(*arguments):
        raise KeyError("a text of the file")

    pq.ParquetFile.iter_batches = iter_batches
    pj.read_json = read_json
"""


@pytest.fixture
def recipe(tmp_path):
    """A recipe over three files, and the environment in which a library fails on the second."""
    for name, rows in (("a", 20), ("b", 13), ("c", 5)):
        write_shard(tmp_path / "in" / f"{name}.parquet", [f"{PROSE} {name} {k}" for k in range(rows)])
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "sitecustomize.py").write_text(LIBRARY)
    path, run = write_recipe(tmp_path, tmp_path / "in")
    return path, run, {"PYTHONPATH": str(tmp_path / "library"), "TMPDIR": str(tmp_path)}


def test_the_terminal_has_one_line_and_the_log_the_traceback(recipe):
    path, run, environment = recipe
    done = program("run", path, "--quiet", "--workers", 1, **environment)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.endswith(
        f": failed with KeyError, which is a bug of curate; its traceback is in {run}/run.log; to go on without a file "
        "at fault: --set on_error=quarantine"
    )
    assert str(path.parent / "in" / "a.parquet") in line
    [bug] = [event for event in events(run) if event["event"] == "bug"]
    assert "KeyError: 'a text of the file'" in bug["traceback"]
    assert "iter_batches" in bug["traceback"]


def test_quarantine_sets_the_file_at_fault_aside_and_no_other(recipe):
    path, run, environment = recipe
    done = program("run", path, "--quiet", "--json", "--workers", 1, "--set", "on_error=quarantine", **environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["quarantined"] == ["b.parquet"]
    assert {file for (file,) in documents(run, "file")} == {"a.parquet", "c.parquet"}
    [error] = [file["error"] for file in json.loads((run / "manifest.json").read_text())["inputs"] if "error" in file]
    assert error.endswith(
        "failed with KeyError, which is a bug of curate; its traceback is in run.log"
    )  # wherever it is
    assert command("verify", run).returncode == 0


def test_a_command_without_a_log_keeps_the_traceback_in_a_file_of_its_own(recipe, tmp_path):
    path, _, environment = recipe
    (tmp_path / "lines.jsonl").write_text(json.dumps({"text": PROSE}) + "\n")
    done = program("plan", path, "--quiet", "--set", f"input.paths=[{tmp_path / 'lines.jsonl'}]", **environment)
    assert done.returncode == 1, done.stdout
    [line] = done.stderr.splitlines()
    kept = Path(line.partition("its traceback is in ")[2].partition(";")[0])
    assert "KeyError: 'a text of the file'" in kept.read_text()
    assert stat.S_IMODE(os.stat(kept).st_mode) == 0o600


def test_a_file_whose_conversion_fails_is_set_aside_by_the_forecast_as_by_the_run(recipe, tmp_path):
    path, run, environment = recipe
    (tmp_path / "in" / "b.parquet").unlink()
    (tmp_path / "in" / "lines.jsonl").write_text(json.dumps({"text": PROSE}) + "\n")
    change = ("--set", "on_error=quarantine", "--json", "--quiet", "--workers", 1)
    done = program("plan", path, *change, **environment)
    assert done.returncode == 0, done.stderr
    done = program("run", path, *change, **environment)
    assert json.loads(done.stdout)["quarantined"] == ["lines.jsonl"], done.stderr
    [error] = [file["error"] for file in json.loads((run / "manifest.json").read_text())["inputs"] if "error" in file]
    assert error == "lines.jsonl: failed with KeyError, which is a bug of curate; its traceback is in run.log"
    assert any(event["event"] == "bug" for event in events(run))


def events(run):
    return [json.loads(line) for line in (run / "run.log").read_text().splitlines()]

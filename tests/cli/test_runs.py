"""`curate runs` lists runs with what they came to; `curate --help` lists commands by what they are for."""

import json
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner
from support.commands import command
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe

from curate import cli
from curate.cli.options import GROUPS
from curate.ledger.runs import list_runs


def stopped_run(folder):
    """A run whose inputs fail while they are measured: it has a ledger and no manifest."""
    folder.mkdir()
    texts = [f"{PROSE} {k}" for k in range(4)]
    write_shard(folder / "in" / "a.parquet", texts, key=["a", "b", "b", "c"])
    recipe, run = write_recipe(folder, folder / "in")
    done = command("run", recipe, "--set", "input.id=key")
    assert done.returncode == 1
    assert "occurs 2 times" in done.stderr
    return run


def test_runs_are_listed_with_their_closing_figures_and_state(demo, tmp_path):
    shutil.copytree(demo, tmp_path / "runs" / "web" / "demo")
    stopped = stopped_run(tmp_path / "other")
    (tmp_path / "runs" / "empty").mkdir()
    done = command("runs", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    [line] = [line for line in done.stdout.splitlines() if "demo" in line]
    figures = ["1,309", "682", "52.1%", "816,925", "500,693", "61.3%", "62.6%"]
    assert line.split()[:9] == ["runs/web/demo", "whole", *figures]
    assert "stopped" not in done.stdout
    listed = json.loads(command("runs", tmp_path, "--json").stdout)
    assert [(run["run"], run["state"]) for run in listed] == [
        (str(stopped), "stopped"), (str(tmp_path / "runs" / "web" / "demo"), "whole"),
    ]  # fmt: skip
    facts = json.loads((demo / "run.json").read_text())
    assert listed[1] | {"run": ""} == {
        "run": "", "name": "demo", "state": "whole", "documents": 1309, "kept": 682, "tokens": 816925,
        "tokens_kept": 500693, "bytes": 3424975, "bytes_kept": 2145032, "shards": 1, "finished": facts["finished"],
    }  # fmt: skip
    assert listed[0]["kept"] is None
    assert listed[0]["finished"].startswith("20")
    assert "goes on where it was" in command("runs", tmp_path).stdout


def test_a_run_is_listed_by_its_own_folder_and_what_lies_inside_is_not(demo, tmp_path):
    shutil.copytree(demo, tmp_path / "run")
    shutil.copytree(demo, tmp_path / "run" / "evaluation" / "arms")
    assert [found.run for found in list_runs(tmp_path / "run")] == [str(tmp_path / "run")]
    (tmp_path / "run" / "manifest.json").write_text("{")  # damaged
    assert [found.state for found in list_runs(tmp_path)] == ["stopped"]


RUN_COMMANDS = [
    ["sql", "{run}", "SELECT 1"], ["why", "{run}", "x"], ["report", "{run}"], ["sample", "{run}"],
    ["evaluate", "{run}"], ["compare", "{run}", "runs/web"], ["compare", "runs/web", "{run}"],
    ["what-if", "{run}", "--set", "seed=1"],
    ["export", "{run}", "--to", "hf", "--out", "out"], ["verify", "{run}"], ["card", "{run}"], ["gc", "{run}"],
    ["domains", "{run}"],
]  # fmt: skip


@pytest.mark.parametrize("words", RUN_COMMANDS, ids=" ".join)
def test_a_run_that_is_not_there_is_one_line_with_the_run_that_may_be_meant(tmp_path, words):
    for name in ("web", "books"):
        (tmp_path / "runs" / name / "ledger").mkdir(parents=True)
        (tmp_path / "runs" / name / "run.log").touch()
    done = command(*(word.format(run="runs/wbe") for word in words), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: runs/wbe: no such folder; did you mean runs/web?\n"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("web", "web: no such folder; did you mean runs/web?"),
        ("runs/else", "runs/else: no such folder; runs near by: runs/books, runs/more, runs/news and 1 more"),
        ("runs", "runs: no run.duckdb: not a run directory; runs near by: runs/books, runs/more, runs/news and 1 more"),
        ("runs/web/data", "runs/web/data: no run.duckdb: not a run directory; did you mean runs/web?"),
        ("web.yaml", "web.yaml: a file, not a run directory; did you mean runs/web?"),
        ("runs/web", "runs/web: no run.duckdb: its run did not get far enough; run it again"),
        ("a" * 300, f"{'a' * 300}: no such folder; runs near by: runs/books, runs/more, runs/news and 1 more"),
    ],
)
def test_what_is_no_run_is_answered_with_runs_near_by(tmp_path, given, told):
    for name in ("web", "books", "news", "more"):
        (tmp_path / "runs" / name / "ledger").mkdir(parents=True)
        (tmp_path / "runs" / name / "run.log").touch()
    (tmp_path / "runs" / "web" / "data").mkdir()
    (tmp_path / "web.yaml").write_text("name: web")
    done = command("sql", given, "SELECT 1", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, f"Error: {told}\n")


def test_a_folder_without_runs_and_none_at_all_are_told(tmp_path):
    assert command("runs", tmp_path).stdout.startswith(f"no run in {tmp_path}; start one with `curate run`")
    done = command("runs", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        1,
        "Error: runs: runs: no such folder; give the folder that your runs lie in\n",
    )


def test_help_has_every_command_once_in_its_group_with_a_whole_sentence():
    listed = [name for names in GROUPS.values() for name in names]
    assert sorted(listed) == sorted(cli.main.commands)
    told = CliRunner().invoke(cli.main, ["--help"]).output
    assert [line[:-1] for line in told.splitlines() if line in [f"{title}:" for title in GROUPS]] == list(GROUPS)
    words = " ".join(told.split())
    for name in listed:
        first = " ".join(cli.main.commands[name].help.split("\n\n")[0].split()).split(". ")[0].rstrip(".")
        assert f" {name} {first}." in words


def test_help_imports_nothing_heavy():
    words = [sys.executable, "-X", "importtime", "-m", "curate", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    imported = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines()}
    assert "click" in imported
    assert not imported & {"numba", "duckdb", "pyarrow", "numpy", "pydantic", "yaml", "rich"}

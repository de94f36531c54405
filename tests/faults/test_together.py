"""Two runs on one directory, and runs that are stopped by hand."""

import os
import signal
import subprocess
import sys
import threading
import time

import click
import pytest
from click.testing import CliRunner
from support.commands import carry_out, program, refused
from support.corpora import PROSE, write_shard
from support.processes import seen
from support.recipes import write_recipe
from support.soak import SOAK
from support.whole_runs import UNIT, files_of_run, undisturbed, whole_recipe

from curate.cli.options import Commands
from curate.errors import RunError
from curate.ledger.ledger import locked
from curate.manifests.verify import verify
from curate.progress import unwritten_log
from curate.sql import open_database

MOMENTS = ["measured", "verifying", "cutting", "scoring", "wrote", "indexing"] if SOAK else ["scoring"]


def test_two_runs_on_one_directory_are_refused_with_the_owner(tmp_path, good):
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    with locked(run):
        message = refused(recipe, RunError)
    assert message.startswith(f"{run}: in use by process {os.getpid()} on ")
    carry_out(recipe)


def test_of_two_processes_one_is_refused_in_one_line_and_the_other_ends_well(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [f"{PROSE * 20} {k}" for k in range(3000)])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["gopher"]})
    arguments = [sys.executable, "-m", "curate", "run", str(recipe), "--workers", "1", "--quiet"]
    options = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True}
    both = [subprocess.Popen(arguments, **options) for _ in range(2)]
    told = [one.communicate(timeout=240)[1] for one in both]
    ended = sorted(zip([one.returncode for one in both], told, strict=True))
    assert ended[0] == (0, "")
    assert ended[1][0] in (0, 1)  # 0 where it began when the other had ended
    assert ended[1][1] == "" or ended[1][1].startswith(f"Error: {run}: in use by process ")
    assert ended[1][1].count("\n") <= 1
    assert verify(run, 1, unwritten_log(True)) == []


@pytest.mark.slow  # a run with models, twice: test_same_bytes.py has Ctrl-C, and runs that go on to the same bytes
@pytest.mark.parametrize("event", MOMENTS)
def test_ctrl_c_however_often_ends_in_one_line_and_the_run_that_goes_on_gives_the_same_bytes(
    tmp_path, tmp_path_factory, event
):
    corpus, wanted, _ = undisturbed(tmp_path_factory)
    recipe, run = whole_recipe(tmp_path / "x", corpus)
    driver = start(recipe)
    pressed = press_at(driver, run, event)
    for _ in range(3):
        time.sleep(0.01)
        if driver.poll() is None:
            os.killpg(driver.pid, signal.SIGINT)
    ended = driver.wait(timeout=60)
    told = driver.stderr.read()
    driver.stderr.close()
    if pressed:
        assert ended == 130
        assert told.count("\n") == 1, told
        assert "stopped" in told
    done = program("run", recipe, "--quiet", **UNIT)
    assert done.returncode == 0, done.stderr
    assert files_of_run(run) == wanted


@pytest.mark.skipif(sys.platform != "linux", reason="takes cores away from itself")
def test_ctrl_c_in_the_middle_of_a_query_ends_a_command_like_any_other():
    @click.group(cls=Commands)
    def group():
        pass

    @group.command
    def endless():
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        database.execute("SELECT count(*) FROM range(20_000_000_000) WHERE range % 7 = hash(range)")

    before, cores = signal.getsignal(signal.SIGINT), os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # where the query is the other threads', it would go on to its end
    open_database().close()  # such a one is interrupted too
    try:
        with open_database(threads="4") as database:
            began = time.monotonic()
            done = CliRunner().invoke(group, ["endless"])
            assert time.monotonic() - began < 20
    finally:
        signal.signal(signal.SIGINT, before)
        os.sched_setaffinity(0, cores)
    assert (done.exit_code, done.stderr) == (130, "stopped\n")


def start(recipe):
    arguments = [sys.executable, "-m", "curate", "run", str(recipe), "--workers", "2", "--quiet"]
    environment = {**os.environ, **UNIT}
    return subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)


def press_at(driver, run, event):
    """Press Ctrl-C when run.log tells of an event; whether the run was still on."""
    while driver.poll() is None and not seen(run, event):
        time.sleep(0.002)
    if driver.poll() is None:
        os.killpg(driver.pid, signal.SIGINT)
        return True
    return False

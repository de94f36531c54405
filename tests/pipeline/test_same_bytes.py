"""The same recipe over the same input gives the same bytes, however many workers there are and whatever dies."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from support.commands import command, program
from support.runs import digests
from support.small_files import UNIT, recipe_for
from support.soak import repeats

from curate.ledger.ledger import read_ledger


@pytest.mark.slow  # two of which one is killed are below
@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_workers_changes_no_byte(small_files, expected_digests, tmp_path, workers):
    recipe, run = recipe_for(tmp_path / "x", small_files)
    assert program("run", recipe, "--workers", workers, "--quiet", **UNIT).returncode == 0
    assert digests(run) == expected_digests


def verified_tasks(run):
    """How often each task verified pairs: a unit may have one in each round of bands."""
    told = [json.loads(line) for line in (run / "run.log").read_text().splitlines() if line.endswith("}")]
    return Counter(event["task"] for event in told if event["event"] == "verifying")


# One of each kind; tests/faults/test_kills.py draws others.
MOMENTS = [("verifying", 2), *repeats(("measured", 4), ("decided", 1), ("wrote", 3))]


@pytest.mark.parametrize(("event", "times"), MOMENTS)
def test_a_run_killed_and_started_again_gives_the_same_bytes_and_repeats_nothing(
    small_files, expected_digests, undisturbed, tmp_path, event, times
):
    recipe, run = recipe_for(tmp_path / "x", small_files)
    _kill_at(recipe, run, event, times)
    assert not (run / "manifest.json").exists()
    told = [json.loads(line) for line in (run / "run.log").read_text().splitlines(keepends=True) if line.endswith("\n")]
    used_up = "shingles"  # parts that are deleted once they were used
    finished = [part.path for part in read_ledger(run).parts if part.group != used_up]
    passing = ("verifying", "reading", "scoring")  # whose parts are used up by the decisions
    assert len(finished) >= sum(event.get("parts", 0) for event in told if event["event"] not in passing)
    written = {path: (run / path).stat().st_mtime_ns for path in finished}
    assert written
    done = program("run", recipe, "--workers", 1, "--quiet", **UNIT)
    assert done.returncode == 0, done.stderr
    assert {path: (run / path).stat().st_mtime_ns for path in finished} == written
    assert digests(run) == expected_digests
    once = verified_tasks(undisturbed / "run")
    assert verified_tasks(run) <= once
    assert once.total() > 3
    assert command("verify", run).returncode == 0
    assert not list(run.rglob(".aside-*"))


def test_a_worker_killed_in_the_middle_changes_nothing(small_files, expected_digests, tmp_path):
    recipe, run = recipe_for(tmp_path / "x", small_files)
    driver = _start(recipe)
    _wait_for(run, driver, "measured", 1)
    for child in _children(driver.pid):
        os.kill(child, signal.SIGKILL)
    assert driver.wait(timeout=120) == 0, driver.stderr.read()
    assert digests(run) == expected_digests


def test_ctrl_c_stops_within_two_seconds_and_says_how_to_go_on(small_files, tmp_path):
    recipe, run = recipe_for(tmp_path / "x", small_files)
    driver = _start(recipe, start_new_session=True)
    _wait_for(run, driver, "measured", 1)
    pressed = time.monotonic()
    os.killpg(driver.pid, signal.SIGINT)
    assert driver.wait(timeout=30) == 130
    assert time.monotonic() - pressed < 2
    assert driver.stderr.read().endswith("run the same command to go on\n")


def _start(recipe, **options):
    arguments = [sys.executable, "-m", "curate", "run", str(recipe), "--workers", "2", "--quiet"]
    environment = {**os.environ, **UNIT}
    return subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True, **options)


def _kill_at(recipe, run, event, times):
    """Start a run and kill -9 its driver at the moment that run.log tells an event for the n-th time."""
    driver = _start(recipe)
    _wait_for(run, driver, event, times)
    driver.kill()
    driver.wait()
    driver.stderr.close()


def _wait_for(run, driver, event, times):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        log = run / "run.log"
        if log.exists() and log.read_text().count(f'"event": "{event}"') >= times:
            return
        assert driver.poll() is None, driver.stderr.read()
        time.sleep(0.002)
    raise AssertionError(f"{event} was not seen {times} times")


def _children(pid):
    if sys.platform != "linux":
        listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
        return [int(child) for child in listed.split()]
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]

"""Ctrl-C as a terminal sends it, to the whole group, once and again: one line, exit code 130, nothing else."""

import os
import signal
import subprocess
import sys
import time

import pytest
from support.processes import check_all_end, living, marked, seen, wait_until
from support.soak import SOAK, drawn
from support.whole_runs import make_corpus, whole_recipe

EARLY = [(spacing, moment) for spacing in (0.0, 0.02, 1.2) for moment in ("first worker", "imports")]
LATE = [(spacing, "measured") for spacing in (0.0, 0.02, 1.2)] + [(0.3, "first worker"), (0.3, "imports")]
PRESSES = [(0.3, "measured"), *EARLY, *(LATE if SOAK else [])]
COMMAND = """
import time
import click
from curate.cli.options import Commands
from curate.progress import Steps, unwritten_log

@click.group(cls=Commands)
def group():
    pass

class Slow:
    def __del__(self):
        print("begun", flush=True)
        time.sleep(3)

@group.command
def careless():
    Slow()
    time.sleep(60)

@group.command
def deaf():
    try:
        print("begun", flush=True)
        time.sleep(60)
    except BaseException:
        pass
    steps = Steps(unwritten_log(True), "working")
    steps("the next step")
    time.sleep(60)

@group.command
def tidy():
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        time.sleep(60)

group()
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("interrupt") / "corpus")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.slow  # test_same_bytes.py has one press while it measures; those below have two
@pytest.mark.parametrize(("spacing", "moment"), PRESSES)
def test_two_presses_end_a_run_in_one_line(corpus, tmp_path, moment, spacing):
    recipe, run = whole_recipe(tmp_path / "x", corpus)
    words = [sys.executable, "-m", "curate", "run", str(recipe), "--workers", "4", "--quiet"]
    driver, mark = marked(words, start_new_session=True)
    if moment == "measured":
        wait_until(driver, lambda: seen(run, moment), 120)
    else:
        wait_until(driver, lambda: living(mark) - {driver.pid}, 60)
        time.sleep(drawn(f"{moment} {spacing}").random() if moment == "imports" else 0)
    press(driver)
    time.sleep(spacing)
    press(driver)
    _, told = driver.communicate(timeout=60)
    assert driver.returncode == 130, told
    assert told.count("\n") == 1, told
    assert "stopped" in told
    check_all_end(mark)


def test_a_press_that_a_callback_swallows_is_not_lost():
    assert pressed("careless", []) == (130, "stopped\n")


def test_a_press_that_code_catches_ends_the_command_at_its_next_step():
    assert pressed("deaf", []) == (130, "stopped\n")


def test_a_second_press_ends_at_once_what_takes_its_time_to_clean_up():
    began = time.monotonic()
    told = "Error: stopped at once; what was finished is kept: run the same command to go on\n"
    assert pressed("tidy", [0.1, 1.2]) == (130, told)
    assert time.monotonic() - began < 40


def pressed(command, spacings):
    """The exit code and stderr of a command in which Ctrl-C is pressed as soon as it has begun, and again."""
    words = [sys.executable, "-c", COMMAND, command]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes, start_new_session=True) as process:
        assert process.stdout.readline() == "begun\n"
        press(process)
        for spacing in spacings:
            time.sleep(spacing)
            press(process)
        return process.wait(timeout=60), process.stderr.read()


def press(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)

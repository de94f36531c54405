"""kill -9 of `curate evaluate` at drawn moments: the one that goes on leaves the bytes of one that nothing stopped."""

import hashlib
import shutil
import subprocess
import sys
import time

import pytest
from support.commands import carry_out
from support.evaluation import evaluated, planted_recipe
from support.processes import wait_until
from support.runs import table
from support.soak import MOMENTS, drawn, tell

from curate.manifests.verify import verify
from curate.progress import unwritten_log

CLOCK = ("run.log", "run.json", "run.duckdb", "lock")  # and what DuckDB lays out anew each time
PATIENCE = 300


@pytest.mark.slow  # at moments that are drawn: test_evaluate.py has one
def test_a_killed_evaluation_that_goes_on_leaves_the_files_of_one_that_was_never_stopped(planted, tmp_path):
    random, kills = drawn("evaluation"), 0
    path, kept = planted_recipe(planted, tmp_path)
    carry_out(path)
    undisturbed = copied(kept, tmp_path / "undisturbed")
    began = time.monotonic()
    evaluated(undisturbed)
    seconds = time.monotonic() - began
    assert not (undisturbed / "evaluation" / "arms").exists()
    while kills < MOMENTS:
        run = copied(kept, tmp_path / "killed")
        for _ in range(random.randint(1, 3)):
            evaluating = start(run)
            arms = run / "evaluation" / "arms"
            if random.random() < 0.7:  # from the first arm that is decided on
                wait_until(evaluating, lambda arms=arms: arms.exists(), PATIENCE)
                wait_until(evaluating, lambda: False, random.uniform(0, seconds / 2))
            else:
                wait_until(evaluating, lambda: False, random.uniform(0, seconds))
            kills += evaluating.poll() is None
            evaluating.kill()
            evaluating.wait()
        evaluated(run)
        assert content(run) == content(undisturbed)
        for name in ("evaluation", "retention"):
            query = f"FROM {name} ORDER BY ALL"
            assert table(run, query) == table(undisturbed, query)
        assert verify(run, 2, unwritten_log(True)) == []
    tell(f"kills of an evaluation: {kills}")


def copied(run, place):
    shutil.rmtree(place, ignore_errors=True)
    return shutil.copytree(run, place, copy_function=shutil.copy2)


def start(run):
    return subprocess.Popen([sys.executable, "-m", "curate", "evaluate", run, "--quiet"])


def content(run):
    """The hash of every file of a run whose bytes follow from its input."""
    return {
        path.relative_to(run).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name not in CLOCK
    }

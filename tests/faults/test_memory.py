"""Workers without memory: the task is tried again, and after three times one line tells."""

import resource
import sys
import time

import pytest
from support.commands import carry_out, command
from support.corpora import PROSE, write_shard
from support.processes import children, seen, start, wait_until
from support.recipes import write_recipe
from support.runs import digests
from support.tasks import doubled, greedy, late
from support.whole_runs import UNIT

from curate.engine.processes import Processes
from curate.errors import WorkerError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of other processes")


def test_a_task_whose_worker_has_no_memory_left_is_tried_again(tmp_path):
    tasks = [(tmp_path / str(k), False) for k in range(3)]
    with Processes(2) as engine:
        assert sorted(result for task, result in engine.map(greedy, tasks) if task) == ["done"] * 3


def test_after_three_times_one_line_tells(tmp_path):
    with (
        Processes(1) as engine,
        pytest.raises(WorkerError, match="had no memory left, 3 times; out of memory"),
    ):
        list(engine.map(greedy, [(tmp_path / "x", True)]))


def test_a_map_that_is_given_up_leaves_the_next_one_nothing():
    with Processes(2) as engine:
        found = engine.map(late, [1, 2, 3])
        task, answer = next(one for one in found if one[0] is not None)
        assert answer == -task
        found.close()
        answers = [one for one in engine.map(doubled, [10, 11, 12]) if one[0] is not None]
        assert sorted(answers) == [(10, 20), (11, 22), (12, 24)]


def test_a_map_may_be_given_up_after_all_workers_ended():
    with Processes(2) as engine:
        found = engine.map(late, [2, 3, 4])
        next(found)
    found.close()


def test_a_run_whose_workers_are_short_of_memory_gives_them_up_and_loses_nothing(tmp_path, monkeypatch):
    for k in range(6):
        write_shard(tmp_path / "in" / f"{k}.parquet", [f"{PROSE * 40} {k} {n}" for n in range(200)])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["gopher"]}, on_error="quarantine")
    driver = start(recipe, 2)
    wait_until(driver, lambda: seen(run, "measuring"), 120)
    limited = set(children(driver.pid))
    for child in limited:
        limit(child)
    left = limited
    while driver.poll() is None:
        left = limited & set(children(driver.pid)) if driver.poll() is None else left
        time.sleep(0.02)
    told = driver.stderr.read()  # may hold what an interpreter without memory has to say
    driver.stderr.close()
    assert driver.returncode == 0, told
    assert left < limited, "no worker was short of memory"
    monkeypatch.setattr("curate.corpus.units.MIN_UNIT_BYTES", int(UNIT["CURATE_UNIT_BYTES"]))
    monkeypatch.setattr("curate.corpus.units.MAX_UNIT_BYTES", 2 * int(UNIT["CURATE_UNIT_BYTES"]))
    monkeypatch.setattr("curate.maps.measure.TASK_BYTES", 1.5 * int(UNIT["CURATE_UNIT_BYTES"]))
    carry_out(recipe, f"output={tmp_path / 'other'}")
    assert digests(run) == digests(tmp_path / "other")


def test_a_database_without_memory_is_one_line_and_more_is_the_way_on(tmp_path, good):
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    done = command("run", recipe, CURATE_DUCKDB_MEMORY="1MB")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "Error: to decide so many documents takes more than the 1 MB that DuckDB may hold; nothing finished is lost: "
        "set CURATE_DUCKDB_MEMORY=256MB and run the same command again"
    )
    assert "Traceback" not in done.stderr
    done = command("run", recipe, CURATE_DUCKDB_MEMORY="much")
    assert done.stderr.splitlines()[-1].startswith("Error: CURATE_DUCKDB_MEMORY: 'much' is not a size; write bytes")
    assert command("run", recipe, CURATE_DUCKDB_MEMORY="256MB").returncode == 0
    assert command("verify", run).returncode == 0


def limit(pid):
    """Let a process have no more memory than it has now."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            pages = int(file.read().split()[0])
        size = pages * resource.getpagesize()
        resource.prlimit(pid, resource.RLIMIT_AS, (size, size))
    except (OSError, ValueError):  # it has ended
        return

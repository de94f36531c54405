"""kill -9 of the driver or of a worker at moments that are drawn: the run that goes on gives the same bytes."""

import json
import os
import signal

import pytest
from support.processes import children, seen, start, wait_until
from support.soak import MOMENTS, drawn, tell
from support.whole_runs import files_of_run, undisturbed, whole_recipe

from curate.ledger.ledger import read_ledger
from curate.ledger.parts import is_intact
from curate.manifests.verify import verify
from curate.progress import unwritten_log

EVENTS = ("planned", "measuring", "measured", "verifying", "cutting", "reading", "scoring", "decided", "wrote")
PATIENCE = 300


@pytest.mark.slow  # at four moments that are drawn: test_same_bytes.py has one
def test_whatever_is_killed_whenever_the_run_that_goes_on_gives_the_same_bytes(tmp_path, tmp_path_factory):
    random, killed, runs = drawn("kills"), {"driver": 0, "worker": 0}, 0
    corpus, wanted, seconds = undisturbed(tmp_path_factory)
    while sum(killed.values()) < MOMENTS:
        runs += 1
        recipe, run = whole_recipe(tmp_path / f"x{runs}", corpus)
        finished = False
        while not finished:
            driver = start(recipe, random.choice([1, 2, 3]))
            if sum(killed.values()) < MOMENTS:
                if random.random() < 0.5:
                    moment = random.uniform(0.5, seconds)
                    wait_until(driver, lambda: False, moment)
                else:
                    event = random.choice(EVENTS)
                    times = seen(run, event) + random.randint(1, 4)
                    wait_until(driver, lambda run=run, event=event, times=times: seen(run, event) >= times, seconds)
                what = random.choice(["driver", "worker"])
                if driver.poll() is None and kill(driver, what):
                    killed[what] += 1
                if what == "driver":
                    driver.wait()
                    check_no_part_is_half_written(run)
            finished = driver.wait(timeout=PATIENCE) == 0
            told = driver.stderr.read()
            driver.stderr.close()
            assert "Traceback" not in told, told
        assert files_of_run(run) == wanted, recipe.read_text()
        assert verify(run, 2, unwritten_log(True)) == []
        assert not [path for path in run.rglob(".aside-*") if "evaluation" not in path.parts]
    tell(f"kills: {killed['driver']} of the driver and {killed['worker']} of a worker, in {runs} runs")


def kill(driver, what):
    """Kill the driver, or the first of its workers; whether there was one."""
    if what == "driver":
        driver.kill()
        return True
    for child in children(driver.pid):
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            continue
        return True
    return False


def check_no_part_is_half_written(run):
    """What the ledger that a kill left has in force is whole."""
    if (run / "ledger" / "snapshot.json").exists():
        assert [part.path for part in read_ledger(run).parts if not is_intact(run, part)] == []
    if (run / "manifest.json").exists():
        json.loads((run / "manifest.json").read_text())

"""Workers end with their driver, whatever they are doing, and one that cannot start says so."""

import os
import re
import resource
import sys
import threading
import time
from pathlib import Path

import pytest
from support.processes import SECONDS, check_all_end, living, marked, state, wait_until
from support.soak import MOMENTS, drawn, repeats, tell
from support.tasks import parent_of
from support.whole_runs import make_corpus, whole_recipe

from curate.engine.processes import Processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
SPIN = 're.match("(a+)+$", "a" * 64 + "b")'  # takes years, and keeps the interpreter's lock
DRIVER = """
import sys
import curate.engine.processes as engine
from curate.errors import CurateError

sys.path.insert(0, {folder!r})
engine.START_CPU_SECONDS = {cpu_seconds}

def main():
    from spinning import spin
    with engine.Processes(2) as processes:
        try:
            list(processes.map(spin, [1, 2]))
        except CurateError as error:
            sys.exit(str(error))

main()
"""


@pytest.mark.slow  # at four moments that are drawn: those below have one
def test_two_seconds_after_the_driver_was_killed_at_any_moment_no_worker_lives(tmp_path):
    random, corpus, killed = drawn("orphans"), make_corpus(tmp_path / "corpus"), 0
    recipe, _ = whole_recipe(tmp_path / "x", corpus)
    while killed < MOMENTS:
        driver, mark = marked([sys.executable, "-m", "curate", "run", str(recipe), "--workers", "4", "--quiet"])
        wait_until(driver, lambda driver=driver, mark=mark: living(mark) - {driver.pid}, 60)  # the first worker
        time.sleep(random.choice([0, 0.1, 1, 10]) * random.random())
        workers = living(mark) - {driver.pid}
        assert all(parent(pid) in (driver.pid, None) for pid in workers), "a worker started a process"
        killed += driver.poll() is None and bool(workers)
        driver.kill()
        driver.wait()
        check_all_end(mark)
    tell(f"orphans: none {SECONDS:.0f} s after {killed} kills of the driver")


@pytest.mark.parametrize("where", ["task", *repeats("import")])
def test_a_worker_that_keeps_the_lock_of_the_interpreter_ends_with_its_driver(tmp_path, where):
    spinning(tmp_path, where)
    driver, mark = marked([sys.executable, "-c", DRIVER.format(folder=str(tmp_path), cpu_seconds=60.0)])
    wait_until(driver, lambda: (tmp_path / "spins").exists(), 60)
    driver.kill()
    driver.wait()
    check_all_end(mark)
    assert (tmp_path / "spins").exists()


def test_a_worker_whose_imports_spin_is_ended_and_the_driver_says_so(tmp_path):
    spinning(tmp_path, "task")
    (tmp_path / "pyarrow.py").write_text(f"import re\n{SPIN}\n")
    driver, mark = marked([sys.executable, "-c", DRIVER.format(folder=str(tmp_path), cpu_seconds=1.0)])
    _, told = driver.communicate(timeout=120)
    assert told.startswith("a worker could not start, 3 times: its imports took 1 s of CPU time; "), told
    assert len(told.splitlines()) == 1
    check_all_end(mark)


@pytest.mark.parametrize("megabytes", [240, *repeats(160, 400)])
def test_a_worker_without_address_space_for_its_imports_says_so_in_one_line(tmp_path, megabytes):
    spinning(tmp_path, "task")
    limit = (megabytes << 20, megabytes << 20)
    driver, mark = marked(
        [sys.executable, "-c", DRIVER.format(folder=str(tmp_path), cpu_seconds=5.0)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit),
    )
    _, told = driver.communicate(timeout=120)
    *of_libraries, line = told.splitlines()
    assert re.match(r"a worker could not start, 3 times: (\w+: |ended with status)", line), told
    assert all(text.startswith("OpenBLAS") for text in of_libraries), told
    check_all_end(mark)


def test_workers_outlive_the_thread_that_started_them():
    with Processes(2) as engine:
        starting = threading.Thread(target=engine.start, args=(2,))
        starting.start()
        starting.join()
        workers = [worker.process.pid for worker in engine._pool]
        answers = {answer for task, answer in engine.map(parent_of, [1, 2, 3]) if task}
        assert answers == {os.getpid()}
        assert [worker.process.pid for worker in engine._pool] == workers


def spinning(folder, where):
    """A module `spinning` with a task that spins, or in a worker already its import does."""
    touch = f'open({str(folder / "spins")!r}, "w").close()'
    if where == "task":
        text = f"import re\ndef spin(task):\n    {touch}\n    {SPIN}\n"
    else:
        text = f'import re, sys\ndef spin(task): pass\nif "worker.py" in sys.argv[0]:\n    {touch}\n    {SPIN}\n'
    (folder / "spinning.py").write_text(text)


def parent(pid):
    try:
        return int(state(Path(f"/proc/{pid}"))[1])
    except OSError:
        return None

"""Processes of a run: started, waited for, counted, and seen to end."""

import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

from support.whole_runs import UNIT


def start(recipe, workers, *more):
    arguments = [sys.executable, "-m", "curate", "run", str(recipe), "--workers", str(workers), "--quiet", *more]
    return subprocess.Popen(arguments, env={**os.environ, **UNIT}, stderr=subprocess.PIPE, text=True)


def wait_until(driver, happened, seconds):
    """Wait for something, so many seconds, or until the driver has ended."""
    deadline = time.monotonic() + seconds
    while driver.poll() is None and time.monotonic() < deadline and not happened():
        time.sleep(0.005)


def seen(run, event):
    """How often run.log tells of an event."""
    log = run / "run.log"
    return log.read_text().count(f'"event": "{event}"') if log.exists() else 0


def children(pid):
    listed = subprocess.run(["pgrep", "-P", str(pid), "-f", "curate/process/worker.py"], capture_output=True, text=True)
    return [int(child) for child in listed.stdout.split()]


SECONDS = 2.0  # in which workers have ended


def marked(words, environment=UNIT, **options):
    """A process, and what the environment of all that it starts holds."""
    mark = f"CURATE_TEST_{secrets.token_hex(8)}"
    environment = {**os.environ, **environment, mark: "1"}
    driver = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True, **options)
    return driver, mark


def living(mark):
    """The processes of an environment that have not ended."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (path / "environ").read_bytes() and state(path)[0] != "Z":
                found.add(int(path.name))
        except OSError:
            continue
    return found


def state(path):
    return (path / "stat").read_text().rpartition(")")[2].split()


def check_all_end(mark):
    time.sleep(SECONDS)
    left = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ") for pid in living(mark)}
    for pid in left:
        os.kill(pid, 9)
    assert left == {}

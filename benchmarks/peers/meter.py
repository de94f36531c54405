"""What a command costs: CPU seconds of all its processes, and the peak memory of the largest.

Usage: python meter.py COMMAND ...    print a line of JSON: CPU seconds, wall seconds, peak MB, exit code

CPU seconds are user and system time as the kernel adds them up for children that have been waited for. Workers whose
parent has gone would be missed: on Linux this process adopts them (PR_SET_CHILD_SUBREAPER) and waits for them too.
What still runs ten seconds after the command has ended is killed. Knows nothing of curate.
"""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
GRACE = 10  # seconds


@dataclass(frozen=True)
class Cost:
    """What a run of a command took."""

    cpu: float  # seconds, user and system
    wall: float  # seconds
    peak: float  # megabytes of the largest process


def measure(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> Cost:
    """Run a command in a folder.

    Errors: RuntimeError with the last line that a command wrote before it failed.
    """
    log = folder / "log.txt"
    with log.open("wb") as complaints:
        done = subprocess.run(
            [sys.executable, __file__, *command],
            cwd=folder, env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE, stderr=complaints, check=True,
        )  # fmt: skip
    cpu, wall, peak, code = json.loads(done.stdout)
    if code:
        lines = log.read_text("utf-8", "replace").strip().splitlines()
        raise RuntimeError(f"exit code {code}: {lines[-1] if lines else 'no message'}")
    return Cost(cpu, wall, peak)


def main(*command: str) -> None:
    """Do what the usage says."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    started = time.monotonic()
    code = subprocess.run(command, stdout=sys.stderr, check=False).returncode
    wall = time.monotonic() - started
    _adopt()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    print(json.dumps([usage.ru_utime + usage.ru_stime, wall, peak, code]))


def _adopt() -> None:
    """Wait for the processes that the command has left behind."""
    deadline = time.monotonic() + GRACE
    while True:
        try:
            process, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not process:
            if time.monotonic() > deadline:
                for child in Path("/proc/self/task", str(os.getpid()), "children").read_text().split():
                    os.kill(int(child), signal.SIGKILL)
            time.sleep(0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Processes that are started by this one and end with it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from curate.cache import VARIABLE, cache_home
from curate.process import worker

ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # of BLAS, whose threads would be as many as cores in each of as many workers


def start_child(start: Callable[[], "subprocess.Popen[bytes]"]) -> "subprocess.Popen[bytes]":
    """Start a process that `worker.end_with` binds to this one. Ctrl-C is blocked in it from its first moment.

    Linux ends such a process with the *thread* that started it, so one thread starts all of them, which lasts as long
    as this process.
    """
    return _starter(os.getpid()).submit(start).result()


@cache
def _starter(pid: int) -> ThreadPoolExecutor:
    """The thread that starts processes; a fork of this process has another one."""
    block = (signal.SIG_BLOCK, {signal.SIGINT})
    return ThreadPoolExecutor(1, "start", initializer=signal.pthread_sigmask, initargs=block)


def start_worker(
    cpu_seconds: float, prepare: Callable[[], None], reply: Callable[[bytes], bytes]
) -> tuple["subprocess.Popen[bytes]", Connection]:
    """A worker that makes itself ready by `prepare`, within so much CPU time, and the pipe to it.

    Then it sends `reply` of each message; both are functions of a module.
    """
    ours, theirs = Pipe()
    with theirs:
        words = [sys.executable, "-P", worker.__file__, *map(str, (theirs.fileno(), os.getpid(), cpu_seconds))]
        environment = {**ONE_THREAD, **os.environ, VARIABLE: str(cache_home().parent)}  # the same, were it a new one
        options = {"stdin": subprocess.DEVNULL, "pass_fds": (theirs.fileno(),), "env": environment}
        process = start_child(lambda: subprocess.Popen(words, **options))  # type: ignore[call-overload]
    ours.send(sys.path)
    ours.send((prepare, reply))
    return process, ours

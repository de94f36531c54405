"""Child processes that end when this process ends."""

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

ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # else BLAS starts a thread per core in every worker


def start_child(start: Callable[[], "subprocess.Popen[bytes]"]) -> "subprocess.Popen[bytes]":
    """Start a process that `worker.end_with` binds to this one. SIGINT is blocked in it from the start.

    Linux ends such a process with the *thread* that started it, so a single thread that lives as long as this process
    starts all of them.
    """
    return _starter(os.getpid()).submit(start).result()


@cache
def _starter(pid: int) -> ThreadPoolExecutor:
    """Return the thread that starts processes; a fork of this process gets a new one."""
    block = (signal.SIG_BLOCK, {signal.SIGINT})
    return ThreadPoolExecutor(1, "start", initializer=signal.pthread_sigmask, initargs=block)


def start_worker(
    cpu_seconds: float, prepare: Callable[[], None], reply: Callable[[bytes], bytes]
) -> tuple["subprocess.Popen[bytes]", Connection]:
    """Start a worker; return its process and the pipe to it.

    The worker calls `prepare`, for which it has `cpu_seconds`, and then answers each message with `reply(message)`.
    Both must be functions of a module, since they are pickled by name.
    """
    driver_end, worker_end = Pipe()
    with worker_end:
        arguments = map(str, (worker_end.fileno(), os.getpid(), cpu_seconds))
        command = [sys.executable, "-P", worker.__file__, *arguments]
        # The cache folder is passed on, so that the worker uses this one even where it would choose a new one.
        environment = {**ONE_THREAD, **os.environ, VARIABLE: str(cache_home().parent)}
        options = {"stdin": subprocess.DEVNULL, "pass_fds": (worker_end.fileno(),), "env": environment}
        process = start_child(lambda: subprocess.Popen(command, **options))  # type: ignore[call-overload]
    driver_end.send(sys.path)
    driver_end.send((prepare, reply))
    return process, driver_end

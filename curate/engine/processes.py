"""Tasks on processes of this machine: a pool that is started once and replaces workers that die."""

import pickle
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.engine.base import (
    ATTEMPTS,
    BUG,
    DIED,
    NO_MEMORY,
    TICK_SECONDS,
    attempts_message,
    bug_of,
    open_local_model,
    prepare_worker,
    result_of,
    run_task,
)
from curate.errors import WorkerError, shortened
from curate.process.child import start_worker
from curate.process.worker import READY, UNABLE

if TYPE_CHECKING:
    from curate.distill.teacher.protocol import Model
    from curate.progress import Log
    from curate.recipe.teacher import Teacher

START_CPU_SECONDS = 60.0  # to start a worker: it needs 2, but a library without memory may spin forever


@dataclass
class _Worker:
    process: "subprocess.Popen[bytes]"
    pipe: Connection
    ready: bool = False


@dataclass
class Processes:
    """Tasks on a pool of processes, which are started once and kept for later maps.

    If a worker dies or runs out of memory, only its own task is affected: a new worker runs it again, up to three
    attempts in all.
    """

    workers: int
    prepare: Callable[[], None] = prepare_worker  # called by a worker before its first task
    _pool: list[_Worker] = field(default_factory=list)

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop all workers, busy or not."""
        for worker in self._pool:
            worker.process.kill()
        for worker in self._pool:
            worker.process.wait()
            worker.pipe.close()
        self._pool.clear()

    def start(self, count: int) -> None:
        """Start workers until there are `count`. Called early, they import while the driver plans."""
        while len(self._pool) < min(self.workers, count):
            self._pool.append(_Worker(*start_worker(START_CPU_SECONDS, self.prepare, reply)))

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """See `Engine`. Starts no more workers than there are tasks; workers must be able to import the function.

        Errors: WorkerError for a task whose worker died three times, or could not start.
        """
        waiting = deque((task, 1) for task in tasks)
        self.start(len(waiting))
        idle = list(self._pool)
        busy: dict[Connection, tuple[_Worker, Any, int]] = {}
        try:
            while waiting or busy:
                while waiting and idle:
                    task, attempt = waiting.popleft()
                    worker = self._send(idle.pop(), function, task)
                    busy[worker.pipe] = worker, task, attempt
                ready = wait(list(busy), TICK_SECONDS)
                if not ready:
                    yield None, None
                for pipe in ready:
                    assert isinstance(pipe, Connection)
                    worker, task, attempt = busy[pipe]
                    kind, value = _receive(worker)
                    if kind == READY:
                        continue
                    del busy[pipe]
                    if kind in (DIED, UNABLE):  # one without memory is replaced too, which frees what it holds
                        idle.append(self._replace(worker))
                        if attempt == ATTEMPTS:
                            raise WorkerError(_start_message(value) if kind == UNABLE else _death_message(task, value))
                        waiting.appendleft((task, attempt + 1))
                        continue
                    idle.append(worker)
                    yield task, result_of(task, kind, value)
        finally:
            for worker, *_ in busy.values():  # of an abandoned map: the next map must not receive their replies
                self._end(worker)

    def check(self, folder: Path, files: Iterable[str] = ()) -> None:
        """See `Engine`: processes of this machine see the same files."""

    def open_model(self, section: "Teacher", folder: Path, log: "Log") -> AbstractContextManager["Model"]:
        """See `Engine`."""
        return open_local_model(section, folder, log)

    def _send(self, worker: _Worker, function: Callable[[Any], Any], task: object) -> _Worker:
        """Send a task to a worker, or to a new one if it died while idle; return the worker that has it."""
        try:
            worker.pipe.send((function, task))
        except OSError:
            worker = self._replace(worker)
            worker.pipe.send((function, task))
        return worker

    def _replace(self, worker: _Worker) -> _Worker:
        self._end(worker)
        self._pool.append(_Worker(*start_worker(START_CPU_SECONDS, self.prepare, reply)))
        return self._pool[-1]

    def _end(self, worker: _Worker) -> None:
        if worker in self._pool:  # `__exit__` may have ended it before an abandoned map is closed
            worker.process.kill()
            worker.process.wait()
            worker.pipe.close()
            self._pool.remove(worker)


def _death_message(task: object, exit_code: int | None) -> str:
    """The error message for a task whose workers died: by a status, a signal (below 0) or lack of memory (None)."""
    if exit_code is None:
        return attempts_message(task, *NO_MEMORY)
    return attempts_message(task, f"its worker {_exit_text(exit_code)}", exit_code == -signal.SIGKILL)


def _exit_text(exit_code: int) -> str:
    return f"was killed by signal {-exit_code}" if exit_code < 0 else f"ended with status {exit_code}"


def _start_message(reason: str) -> str:
    """The error message for workers that could not start."""
    return (
        f"a worker could not start, {ATTEMPTS} times: {shortened(reason)}; is there too little memory or address space "
        "(ulimit -v)? try fewer --workers; finished work is kept: run the same command to go on"
    )


def _receive(worker: _Worker) -> tuple[str, Any]:
    """Return the next message of a worker, or its exit code if it ended. READY comes once, before all replies."""
    try:
        kind, value = worker.pipe.recv()
    except (EOFError, OSError):
        code = worker.process.wait()
        if worker.ready or code == -signal.SIGKILL:
            return DIED, code
        timeout = f"its imports took {START_CPU_SECONDS:.0f} s of CPU time" if code == -signal.SIGPROF else None
        return UNABLE, timeout or _exit_text(code)
    worker.ready = worker.ready or kind == READY
    return kind, value


def reply(message: bytes) -> bytes:
    """Run a pickled function on its task in a worker; return the pickled reply."""
    try:
        return pickle.dumps(run_task(*pickle.loads(message)))
    except MemoryError:
        return pickle.dumps((DIED, None))
    except Exception as error:  # the function cannot be imported, or its result cannot be pickled
        return pickle.dumps((BUG, bug_of(error)))

"""Tasks on processes of this machine: a pool that is started once, and outlives what dies in it."""

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
    answer,
    bug_of,
    given_up,
    model_here,
    prepare_worker,
    result_of,
)
from curate.errors import WorkerError, shortened
from curate.process.child import start_worker
from curate.process.worker import READY, UNABLE

if TYPE_CHECKING:
    from curate.distill.teacher.protocol import Model
    from curate.progress import Log
    from curate.recipe.teacher import Teacher

START_CPU_SECONDS = 60.0  # in which a worker is ready: it takes 2, but may spin where a library finds no memory


@dataclass
class _Worker:
    process: "subprocess.Popen[bytes]"
    pipe: Connection
    ready: bool = False


@dataclass
class Processes:
    """Tasks on a pool of processes, which are started once and kept for later maps.

    A worker that dies, or has no memory left, takes only its own task with it, which is given to a new worker, three
    times at most.
    """

    workers: int
    prepare: Callable[[], None] = prepare_worker  # what a worker does before its first task
    _pool: list[_Worker] = field(default_factory=list)

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop all workers, whatever they do."""
        for worker in self._pool:
            worker.process.kill()
        for worker in self._pool:
            worker.process.wait()
            worker.pipe.close()
        self._pool.clear()

    def start(self, count: int) -> None:
        """Start workers until there are `count`, so that they import while the driver plans."""
        while len(self._pool) < min(self.workers, count):
            self._pool.append(_Worker(*start_worker(START_CPU_SECONDS, self.prepare, reply)))

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """See `Engine`. Not more workers are started than there are tasks; they must be able to import the function.

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
                    worker = self._given(idle.pop(), function, task)
                    busy[worker.pipe] = worker, task, attempt
                ready = wait(list(busy), TICK_SECONDS)
                if not ready:
                    yield None, None
                for pipe in ready:
                    assert isinstance(pipe, Connection)
                    worker, task, attempt = busy[pipe]
                    kind, value = _heard(worker)
                    if kind == READY:
                        continue
                    del busy[pipe]
                    if kind in (DIED, UNABLE):  # or has no memory left: what it holds goes with it
                        idle.append(self._replace(worker))
                        if attempt == ATTEMPTS:
                            raise WorkerError(_unable(value) if kind == UNABLE else _died(task, value))
                        waiting.appendleft((task, attempt + 1))
                        continue
                    idle.append(worker)
                    yield task, result_of(task, kind, value)
        finally:
            for worker, *_ in busy.values():  # of a map that is given up: their answers are not the next one's
                self._end(worker)

    def check(self, folder: Path, files: Iterable[str] = ()) -> None:
        """See `Engine`: processes of this machine see the same files."""

    def open_model(self, section: "Teacher", folder: Path, log: "Log") -> AbstractContextManager["Model"]:
        """See `Engine`."""
        return model_here(section, folder, log)

    def _given(self, worker: _Worker, function: Callable[[Any], Any], task: object) -> _Worker:
        """The worker that has a task now: another one where this one died while idle."""
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
        if worker in self._pool:  # or all of them were ended, before a map that nobody went on with
            worker.process.kill()
            worker.process.wait()
            worker.pipe.close()
            self._pool.remove(worker)


def _died(task: object, exit_code: int | None) -> str:
    """One line on a worker that ended with a status, or by a signal (below 0), or had no memory left (None)."""
    if exit_code is None:
        return given_up(task, *NO_MEMORY)
    return given_up(task, f"its worker {_ended(exit_code)}", exit_code == -signal.SIGKILL)


def _ended(exit_code: int) -> str:
    return f"was killed by signal {-exit_code}" if exit_code < 0 else f"ended with status {exit_code}"


def _unable(reason: str) -> str:
    """One line on workers that could not start."""
    return (
        f"a worker could not start, {ATTEMPTS} times: {shortened(reason)}; is there too little memory or address space "
        "(ulimit -v)? try fewer --workers; finished work is kept: run the same command to go on"
    )


def _heard(worker: _Worker) -> tuple[str, Any]:
    """What a worker says, or how it ended: an exit code; READY is said once, before all answers."""
    try:
        kind, value = worker.pipe.recv()
    except (EOFError, OSError):
        code = worker.process.wait()
        if worker.ready or code == -signal.SIGKILL:
            return DIED, code
        spun = f"its imports took {START_CPU_SECONDS:.0f} s of CPU time" if code == -signal.SIGPROF else None
        return UNABLE, spun or _ended(code)
    worker.ready = worker.ready or kind == READY
    return kind, value


def reply(message: bytes) -> bytes:
    """The pickled answer of a worker to a pickled function and its task."""
    try:
        return pickle.dumps(answer(*pickle.loads(message)))
    except MemoryError:
        return pickle.dumps((DIED, None))
    except Exception as error:  # the function cannot be imported, or its result cannot be pickled
        return pickle.dumps((BUG, bug_of(error)))

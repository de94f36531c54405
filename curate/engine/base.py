"""A map over tasks on local processes: retry, cancel, and a driver that learns of every result at once."""

import pickle
import signal
import subprocess
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from curate.errors import CurateError, TaskError, WorkerError, shortened
from curate.process.child import start_worker
from curate.process.worker import READY, UNABLE

if TYPE_CHECKING:
    from curate.distill.teacher.protocol import Model
    from curate.progress import Log
    from curate.recipe.teacher import Teacher

ATTEMPTS = 3
TICK_SECONDS = 0.2
DONE, BUG = "done", "bug"
DIED = "died"  # how a worker answers whose memory did not suffice, as if it had died
NO_MEMORY = ("its worker had no memory left", True)
START_CPU_SECONDS = 60.0  # in which a worker is ready: it takes 2, but may spin where a library finds no memory


def prepare_worker() -> None:
    """Make a process a worker: Arrow has one thread in it, and pandas stays out."""
    import pyarrow

    from curate.kernels.arrow import spare_pandas

    pyarrow.set_cpu_count(1)
    spare_pandas()


class Engine(Protocol):
    """Where tasks run."""

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Yield (task, result or CurateError) as tasks finish, in any order; (None, None) now and then meanwhile."""
        ...

    def check(self, folder: Path, files: Iterable[str] = ()) -> None:
        """Refuse a machine whose tasks would not see a folder that they write to, or local files that they read.

        Errors: WorkerError naming it.
        """
        ...

    def open_model(self, section: "Teacher", folder: Path, log: "Log") -> AbstractContextManager["Model"]:
        """The language model of a teacher, where the engine has GPUs for it; what a server tells goes to `folder`.

        Errors: see `curate.distill.teacher.protocol.open_teacher`.
        """
        ...


def all_of(engine: Engine, function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
    """What tasks, which are hashable, return, in their order.

    Errors: the first CurateError of a task.
    """
    found = {}
    for task, result in engine.map(function, tasks):
        if isinstance(result, CurateError):
            raise result
        if task is not None:
            found[task] = result
    return [found[task] for task in tasks]


@dataclass(frozen=True)
class InProcess:
    """Tasks one after another in this process."""

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """See `Engine`."""
        for task in tasks:
            try:
                yield task, function(task)
            except CurateError as error:
                yield task, error

    def check(self, folder: Path, files: Iterable[str] = ()) -> None:
        """See `Engine`: this process sees what it sees."""

    def open_model(self, section: "Teacher", folder: Path, log: "Log") -> AbstractContextManager["Model"]:
        """See `Engine`."""
        return _model_here(section, folder, log)


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
        return _model_here(section, folder, log)

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


def _model_here(section: "Teacher", folder: Path, log: "Log") -> AbstractContextManager["Model"]:
    """A model in the driver's process: workers are for what has no GPU."""
    from curate.distill.teacher.protocol import open_model  # which no worker needs

    return open_model(section, folder, log)


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


def given_up(task: object, how: str, out_of_memory: bool) -> str:
    """What the user is told of a task that was tried `ATTEMPTS` times; `how` it ended, perhaps for want of memory."""
    hint = "; out of memory? try fewer --workers" if out_of_memory else ""
    return f"{task}: {how}, {ATTEMPTS} times{hint}; finished work is kept: run the same command to go on"


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
        return pickle.dumps((BUG, _bug(error)))


def answer(function: Callable[[Any], Any], task: object) -> tuple[str, Any]:
    """What a worker sends back: its result or CurateError, as DONE; DIED without memory; a BUG with its traceback."""
    try:
        return DONE, function(task)
    except CurateError as error:
        return DONE, error
    except MemoryError:
        return DIED, None
    except Exception as error:
        return BUG, _bug(error)


def _bug(error: Exception) -> tuple[str, str]:
    return type(error).__name__, "".join(traceback.format_exception(error))


def result_of(task: object, kind: str, value: Any) -> object:  # noqa: ANN401 - whatever a task returns
    """The value of an answer; a TaskError with the worker's traceback where it is a BUG."""
    return TaskError(str(task), *value) if kind == BUG else value

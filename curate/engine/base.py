"""The protocol of engines, the engine of this process, and what engines share: workers, results and errors."""

import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from curate.errors import CurateError, TaskError

if TYPE_CHECKING:
    from curate.distill.teacher.protocol import Model
    from curate.progress import Log
    from curate.recipe.teacher import Teacher

ATTEMPTS = 3
TICK_SECONDS = 0.2
DONE, BUG = "done", "bug"
DIED = "died"  # also the reply of a worker that ran out of memory
NO_MEMORY = ("its worker had no memory left", True)


def prepare_worker() -> None:
    """Set a process up as a worker: one thread for Arrow, and no pandas."""
    import pyarrow

    from curate.kernels.arrow import spare_pandas

    pyarrow.set_cpu_count(1)
    spare_pandas()


class Engine(Protocol):
    """Where tasks run."""

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Yield (task, result or CurateError) as tasks finish, in any order; (None, None) from time to time."""
        ...

    def check(self, folder: Path, files: Iterable[str] = ()) -> None:
        """Check that all machines see the folder that tasks write to and the local files that they read.

        Errors: WorkerError that names the machine.
        """
        ...

    def open_model(self, section: "Teacher", folder: Path, log: "Log") -> AbstractContextManager["Model"]:
        """Open the teacher's language model on the engine's GPUs; the logs of servers go to `folder`.

        Errors: see `curate.distill.teacher.open.open_teacher`.
        """
        ...


def map_in_order(engine: Engine, function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
    """Run tasks, which must be hashable; return their results in the order of the tasks.

    Errors: the first CurateError of a task.
    """
    results = {}
    for task, result in engine.map(function, tasks):
        if isinstance(result, CurateError):
            raise result
        if task is not None:
            results[task] = result
    return [results[task] for task in tasks]


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
        """See `Engine`; a process always sees its own files."""

    def open_model(self, section: "Teacher", folder: Path, log: "Log") -> AbstractContextManager["Model"]:
        """See `Engine`."""
        return open_local_model(section, folder, log)


def open_local_model(section: "Teacher", folder: Path, log: "Log") -> AbstractContextManager["Model"]:
    """Open a model in the driver's process, since workers use no GPU."""
    from curate.distill.teacher.open import open_model  # no worker needs it

    return open_model(section, folder, log)


def attempts_message(task: object, outcome: str, out_of_memory: bool) -> str:
    """The error message for a task that failed `ATTEMPTS` times, each time with this outcome."""
    hint = "; out of memory? try fewer --workers" if out_of_memory else ""
    return f"{task}: {outcome}, {ATTEMPTS} times{hint}; finished work is kept: run the same command to go on"


def run_task(function: Callable[[Any], Any], task: object) -> tuple[str, Any]:
    """Run a task in a worker; return the kind and value of its reply.

    DONE has the result or a CurateError, DIED stands for lack of memory, BUG has another exception with its traceback.
    """
    try:
        return DONE, function(task)
    except CurateError as error:
        return DONE, error
    except MemoryError:
        return DIED, None
    except Exception as error:
        return BUG, bug_of(error)


def bug_of(error: Exception) -> tuple[str, str]:
    """The name of an unexpected exception and its traceback."""
    return type(error).__name__, "".join(traceback.format_exception(error))


def result_of(task: object, kind: str, value: Any) -> object:  # noqa: ANN401 - whatever a task returns
    """The value of a reply; for a BUG a TaskError with the worker's traceback."""
    return TaskError(str(task), *value) if kind == BUG else value


def prepare_remote_worker(folder: str) -> None:
    """Prepare a worker of Ray's, in the driver's folder where it exists, since paths in tasks may be relative."""
    with suppress(OSError):
        os.chdir(folder)
    _prepare_once()


@cache
def _prepare_once() -> None:
    prepare_worker()

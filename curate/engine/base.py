"""What an engine is, tasks in this process, and what all engines say of a task that failed."""

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
DIED = "died"  # how a worker answers whose memory did not suffice, as if it had died
NO_MEMORY = ("its worker had no memory left", True)


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

        Errors: see `curate.distill.teacher.open.open_teacher`.
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
        return model_here(section, folder, log)


def model_here(section: "Teacher", folder: Path, log: "Log") -> AbstractContextManager["Model"]:
    """A model in the driver's process: workers are for what has no GPU."""
    from curate.distill.teacher.open import open_model  # which no worker needs

    return open_model(section, folder, log)


def given_up(task: object, how: str, out_of_memory: bool) -> str:
    """What the user is told of a task that was tried `ATTEMPTS` times; `how` it ended, perhaps for want of memory."""
    hint = "; out of memory? try fewer --workers" if out_of_memory else ""
    return f"{task}: {how}, {ATTEMPTS} times{hint}; finished work is kept: run the same command to go on"


def answer(function: Callable[[Any], Any], task: object) -> tuple[str, Any]:
    """What a worker sends back: its result or CurateError, as DONE; DIED without memory; a BUG with its traceback."""
    try:
        return DONE, function(task)
    except CurateError as error:
        return DONE, error
    except MemoryError:
        return DIED, None
    except Exception as error:
        return BUG, bug_of(error)


def bug_of(error: Exception) -> tuple[str, str]:
    """The name of an error that is ours, and its traceback."""
    return type(error).__name__, "".join(traceback.format_exception(error))


def result_of(task: object, kind: str, value: Any) -> object:  # noqa: ANN401 - whatever a task returns
    """The value of an answer; a TaskError with the worker's traceback where it is a BUG."""
    return TaskError(str(task), *value) if kind == BUG else value


def settle(folder: str) -> None:
    """Make a worker ready: paths in tasks may be relative to the driver's folder, if that is there."""
    with suppress(OSError):
        os.chdir(folder)
    _prepare_once()


@cache
def _prepare_once() -> None:
    prepare_worker()

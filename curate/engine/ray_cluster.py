"""The map of `curate.engine.base` on Ray: tasks on the nodes of a cluster, which share files and nothing else.

Ray starts and watches worker processes, places tasks, and tells what died with a worker or a node. What tasks make are
files, as on one machine; through Ray go the tasks themselves, which name files, and what they tell of theirs.
"""

import logging
import os
import platform
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any

import curate
from curate.distill.teacher.open import open_model
from curate.distill.teacher.protocol import Model
from curate.engine.base import (
    ATTEMPTS,
    DIED,
    NO_MEMORY,
    TICK_SECONDS,
    answer,
    given_up,
    result_of,
    settle,
)
from curate.errors import TaskError, WorkerError, shortened
from curate.progress import Log
from curate.recipe.teacher import Teacher
from curate.storage.files import ASIDE
from curate.storage.mirror import is_mirror

TASKS_PER_CPU = 2  # under way: one that runs and one that waits, so that no CPU waits for the driver
CONNECT_SECONDS = 3.0
CHECK_SECONDS = 120.0  # a node may load everything over a network
SETTINGS_OF_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",  # one that is started here would report to its makers
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # what later versions do by themselves, and earlier ones warn of
}
STORE_BYTES = 100 << 20  # for Ray's objects where it is started here: tasks and what they tell are small
# The start of every connection in HTTP/2, which Ray's head speaks: the client's preface and its empty settings.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
SETTINGS = 4  # the kind of frame with which a server answers, in its fourth byte


@dataclass
class Nodes:
    """Tasks on a Ray cluster: the one at `address` (host:port, or auto for one on this machine), or one started here.

    At most `workers` tasks are under way; by default so many as the cluster's CPUs can do, also of nodes that join.

    Errors: WorkerError where Ray is missing, cannot be started, or does not answer at the address.
    """

    address: str | None = None
    workers: int | None = None
    _opened: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "Nodes":
        """Start Ray, or connect to it."""
        for name, value in SETTINGS_OF_RAY.items():
            os.environ.setdefault(name, value)
        try:
            import ray
        except ImportError:
            raise WorkerError("--engine ray: ray is not installed; pip install 'curate-lm[ray]'") from None
        if self.address is None:
            # Not where TMPDIR says: paths of the sockets in it may have 107 bytes.
            folder = self._opened.enter_context(
                TemporaryDirectory(prefix="curate-", dir="/tmp", ignore_cleanup_errors=True)
            )
            where: dict[str, Any] = {
                "address": "local", "num_cpus": self.workers, "include_dashboard": False,
                "object_store_memory": STORE_BYTES, "_temp_dir": folder,
            }  # fmt: skip
        else:
            where = {"address": _checked(self.address)}
        # What becomes of nodes and tasks is ours to tell, and no option keeps Ray from printing it on stdout.
        ray._private.worker._worker_logs_enabled = False
        try:
            ray.init(**where, log_to_driver=False, logging_level=logging.CRITICAL)
        except Exception as error:  # Ray has no class for what goes wrong here, and some of it is of this one
            self._opened.close()
            what = f"--address {self.address}" if self.address else "--engine ray: Ray cannot be started"
            raise WorkerError(f"{what}: {_line(error)}") from None
        self._opened.callback(ray.shutdown)
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the cluster, which ends our workers; end a Ray that was started here."""
        self._opened.close()

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """See `Engine`. Ray gets a window of tasks, as each that it knows of costs it memory.

        Errors: WorkerError for a task whose worker or node died three times; TaskError where our own code cannot be
        loaded there.
        """
        import ray
        from ray.exceptions import LocalRayletDiedError, RayError, RayTaskError

        remote = ray.remote(_carry_out).options(max_retries=0)  # Ray would try for ever what finds no memory
        waiting = deque((task, 1) for task in tasks)
        under_way: dict[Any, tuple[Any, int]] = {}
        try:
            while waiting or under_way:
                for _ in range(min(len(waiting), self._window() - len(under_way))):
                    task, attempt = waiting.popleft()
                    under_way[remote.remote(os.getcwd(), function, task)] = task, attempt
                done, _ = ray.wait(list(under_way), timeout=TICK_SECONDS)
                if not done:
                    yield None, None
                for one in done:
                    task, attempt = under_way.pop(one)
                    how: tuple[str, bool] | None = None
                    try:
                        kind, value = ray.get(one)
                        how = NO_MEMORY if kind == DIED else None
                    except RayTaskError as error:  # our own code cannot be loaded there
                        raise TaskError(str(task), type(error.cause).__name__, str(error)) from None
                    except LocalRayletDiedError:
                        raise WorkerError("Ray on this machine died; start it and run the same command again") from None
                    except RayError as error:
                        how = _death(error)
                    if how is not None:
                        if attempt == ATTEMPTS:
                            raise WorkerError(given_up(task, *how))
                        waiting.appendleft((task, attempt + 1))
                        continue
                    yield task, result_of(task, kind, value)
        finally:
            for one in under_way:
                ray.cancel(one, force=True)

    def _window(self) -> int:
        """How many tasks may be under way, of which Ray starts as many as there are CPUs."""
        import ray

        cpus = int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
        window = max(1, cpus) * TASKS_PER_CPU  # 1: all nodes are lost, and may come back
        return min(self.workers or window, window)

    @contextmanager
    def open_model(self, section: Teacher, folder: Path, log: Log) -> Iterator[Model]:
        """See `Engine`: in actors, one for all GPUs that one model takes; where no node has these, in this process."""
        import ray

        from curate.engine.ray_models import gpus_of, open_on_gpus

        each = gpus_of(section)
        nodes = ray.nodes()  # type: ignore[no-untyped-call]
        gpus = [int(node["Resources"].get("GPU", 0)) for node in nodes if node["Alive"]]
        count = sum(found // each for found in gpus) if each else 0
        opened = open_on_gpus(section, count, folder, log) if count else open_model(section, folder, log)
        with opened as model:
            yield model

    def check(self, folder: Path, files: Iterable[str] = ()) -> None:
        """See `Engine`; also refuse a node with other versions, on which the same task might give other bytes."""
        import ray
        from ray.exceptions import NodeDiedError, RayError, TaskUnschedulableError
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        known = ray.nodes()  # type: ignore[no-untyped-call]
        nodes = [node for node in known if node["Alive"] and node["Resources"].get("CPU")]
        if not nodes:
            raise WorkerError(f"--address {self.address}: no node of the cluster has a CPU")
        with _new_file(folder) as new:
            sizes = {path: os.stat(path).st_size for path in (new, *files)}
            asked = {}
            for node in nodes:
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                look = ray.remote(_look).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
                name = f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
                asked[look.remote(os.getcwd(), list(sizes))] = name
            done, late = ray.wait(list(asked), num_returns=len(asked), timeout=CHECK_SECONDS)
            if late:
                raise WorkerError(f"{asked[late[0]]}: did not answer within {CHECK_SECONDS:.0f} s; end Ray there")
            for one in done:
                try:
                    versions, seen = ray.get(one)
                except (NodeDiedError, TaskUnschedulableError):  # it is gone, and no task will meet it
                    continue
                except RayError as error:
                    raise WorkerError(f"{asked[one]}: curate cannot be started there: {_line(error)}") from None
                _compare(asked[one], versions, sizes, seen, folder)


def _compare(
    node: str, versions: Mapping[str, str], sizes: Mapping[str, int], seen: Mapping[str, int | None], folder: Path
) -> None:
    """Refuse a node that differs from this machine."""
    for name, here in _versions().items():
        if versions.get(name) != here:
            raise WorkerError(f"{node}: has {name} {versions.get(name)}, and this machine {here}; install the same")
    for path, size in sizes.items():
        if seen[path] != size:
            what = str(folder) if Path(path).name.startswith(ASIDE) else path
            if is_mirror(folder):
                raise WorkerError(
                    f"{node}: does not see what this machine has of {what}; set CURATE_RUNS to a folder on a file "
                    "system that all nodes share"
                )
            raise WorkerError(
                f"{node}: does not see {what} as this machine does; put it on a file system that all nodes share, "
                "under the same path"
            )


def _death(error: Exception) -> tuple[str, bool]:
    """How a task ended without a result, and whether that may have been for want of memory."""
    told = {
        "OutOfMemoryError": ("its node ran out of memory", True),
        "NodeDiedError": ("its node was lost", False),
        "WorkerCrashedError": ("its worker died", True),
    }
    return told.get(type(error).__name__, (f"Ray lost it ({_line(error)})", False))


def _carry_out(folder: str, function: Callable[[Any], Any], task: object) -> tuple[str, Any]:
    """Carry out a task in a worker of Ray's."""
    settle(folder)
    return answer(function, task)


def _look(folder: str, paths: list[str]) -> tuple[dict[str, str], dict[str, int | None]]:
    """The versions of a node, and the size of files there; None where there is no such file."""
    settle(folder)
    sizes: dict[str, int | None] = dict.fromkeys(paths)
    for path in paths:
        with suppress(OSError):
            sizes[path] = os.stat(path).st_size
    return _versions(), sizes


def _versions() -> dict[str, str]:
    """What the same bytes depend on."""
    return {
        "curate": curate.__version__,
        **{name: version(name) for name in ("pyarrow", "numba", "duckdb")},
        "Python": platform.python_version(),
        "architecture": platform.machine(),
    }


@contextmanager
def _new_file(folder: Path) -> Iterator[str]:
    """A file of a name that was never there, so that no node knows it from before."""
    with NamedTemporaryFile(prefix=ASIDE, dir=folder) as file:
        file.write(b"curate")
        file.flush()
        os.fsync(file.fileno())
        yield file.name


def _checked(address: str) -> str:
    """An address at which something answers as Ray does; Ray itself would try for minutes.

    Errors: WorkerError.
    """
    place = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    if place == "auto":
        return place
    host, _, port = place.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise WorkerError(f"--address {place}: give auto, or host:port of the cluster's head (by default port 6379)")
    try:
        with socket.create_connection((host, int(port)), CONNECT_SECONDS) as connection:
            connection.sendall(PREFACE)
            is_ray = connection.recv(9)[3:4] == bytes((SETTINGS,))
    except (OSError, OverflowError):
        raise WorkerError(f"--address {place}: nobody answers; start Ray there with `ray start --head`") from None
    if not is_ray:
        raise WorkerError(f"--address {place}: what answers is not Ray's head, whose port is 6379 by default")
    return place


def _line(error: Exception) -> str:
    return shortened(" ".join(str(error).split()))

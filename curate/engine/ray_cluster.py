"""The engine on Ray: tasks on the nodes of a cluster, which share a file system.

Ray starts and watches worker processes, places tasks, and reports workers and nodes that died. Tasks write files, as on
one machine; only the tasks themselves, which name files, and their small results go through Ray.
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
    attempts_message,
    prepare_remote_worker,
    result_of,
    run_task,
)
from curate.errors import TaskError, WorkerError, shortened
from curate.progress import Log
from curate.recipe.teacher import Teacher
from curate.storage.files import ASIDE
from curate.storage.mirror import is_mirror

TASKS_PER_CPU = 2  # one that runs and one that is queued, so that no CPU waits for the driver
CONNECT_SECONDS = 3.0
CHECK_SECONDS = 120.0  # a node may import everything over a network
RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # a local cluster would send usage statistics
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the default of later versions; earlier ones warn without it
}
STORE_BYTES = 100 << 20  # of the object store of a local cluster: tasks and their results are small
# Ray's head speaks HTTP/2. Every connection starts with the client's preface and an empty SETTINGS frame.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
SETTINGS = 4  # the type of the frame with which a server answers, in its fourth byte


@dataclass
class Nodes:
    """Tasks on a Ray cluster: the one at `address` (host:port, or auto for one on this machine), or a local one.

    At most `workers` tasks run at a time; by default as many as the cluster has CPUs, including nodes that join later.

    Errors: WorkerError where Ray is missing, cannot be started, or does not answer at the address.
    """

    address: str | None = None
    workers: int | None = None
    _opened: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "Nodes":
        """Start Ray, or connect to it."""
        for name, value in RAY_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            import ray
        except ImportError:
            raise WorkerError("--engine ray: ray is not installed; pip install 'curate-lm[ray]'") from None
        address = None if self.address is None else _checked_address(self.address)
        # We report failed nodes and tasks ourselves, and no option keeps Ray from printing them on stdout.
        ray._private.worker._worker_logs_enabled = False
        try:
            if address is None:
                self._start_local()
            else:
                ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL)
        except Exception as error:  # Ray raises no class of its own here
            self._opened.close()
            subject = f"--address {self.address}" if self.address else "--engine ray: Ray cannot be started"
            raise WorkerError(f"{subject}: {_line(error)}") from None
        self._opened.callback(ray.shutdown)
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the cluster, which ends our workers; stop a local one."""
        self._opened.close()

    def _start_local(self) -> None:
        """Start a cluster on this machine."""
        import ray

        # Not in TMPDIR: the paths of Ray's sockets are limited to 107 bytes.
        folder = TemporaryDirectory(prefix="curate-", dir="/tmp", ignore_cleanup_errors=True)
        ray.init(
            "local",
            num_cpus=self.workers,
            include_dashboard=False,
            object_store_memory=STORE_BYTES,
            _temp_dir=self._opened.enter_context(folder),
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """See `Engine`. Ray gets a window of tasks, since every submitted task costs it memory.

        Errors: WorkerError for a task whose worker or node died three times; TaskError where our own code cannot be
        loaded there.
        """
        import ray

        remote = ray.remote(_run_task).options(max_retries=0)  # Ray retries forever what runs out of memory
        waiting = deque((task, 1) for task in tasks)
        submitted: dict[Any, tuple[Any, int]] = {}
        try:
            while waiting or submitted:
                for _ in range(min(len(waiting), self._window() - len(submitted))):
                    task, attempt = waiting.popleft()
                    submitted[remote.remote(os.getcwd(), function, task)] = task, attempt
                done, _ = ray.wait(list(submitted), timeout=TICK_SECONDS)
                if not done:
                    yield None, None
                for reference in done:
                    task, attempt = submitted.pop(reference)
                    reply, death = _reply_or_death(reference, task)
                    if death is None:
                        yield task, result_of(task, *reply)
                    elif attempt == ATTEMPTS:
                        raise WorkerError(attempts_message(task, *death))
                    else:
                        waiting.appendleft((task, attempt + 1))
        finally:
            for reference in submitted:
                ray.cancel(reference, force=True)

    def _window(self) -> int:
        """How many tasks may be submitted at a time; Ray runs as many of them as there are CPUs."""
        import ray

        cpus = int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
        window = max(1, cpus) * TASKS_PER_CPU  # at least 1: lost nodes may come back
        return min(self.workers or window, window)

    @contextmanager
    def open_model(self, section: Teacher, folder: Path, log: Log) -> Iterator[Model]:
        """See `Engine`: an actor for each set of GPUs that a model takes; in this process if no node has as many."""
        import ray

        from curate.engine.ray_models import gpus_of, open_on_gpus

        each = gpus_of(section)
        nodes = ray.nodes()  # type: ignore[no-untyped-call]
        gpus = [int(node["Resources"].get("GPU", 0)) for node in nodes if node["Alive"]]
        count = sum(on_node // each for on_node in gpus) if each else 0
        opened = open_on_gpus(section, count, folder, log) if count else open_model(section, folder, log)
        with opened as model:
            yield model

    def check(self, folder: Path, files: Iterable[str] = ()) -> None:
        """See `Engine`; also refuse a node with other versions, on which a task might produce different bytes."""
        import ray
        from ray.exceptions import NodeDiedError, RayError, TaskUnschedulableError
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        listed = ray.nodes()  # type: ignore[no-untyped-call]
        nodes = [node for node in listed if node["Alive"] and node["Resources"].get("CPU")]
        if not nodes:
            raise WorkerError(f"--address {self.address}: no node of the cluster has a CPU")
        with _new_file(folder) as new:
            sizes = {path: os.stat(path).st_size for path in (new, *files)}
            names = {}
            for node in nodes:
                on_node = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                inspect = ray.remote(_inspect_node).options(num_cpus=0, max_retries=0, scheduling_strategy=on_node)
                name = f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
                names[inspect.remote(os.getcwd(), list(sizes))] = name
            done, late = ray.wait(list(names), num_returns=len(names), timeout=CHECK_SECONDS)
            if late:
                raise WorkerError(f"{names[late[0]]}: did not answer within {CHECK_SECONDS:.0f} s; end Ray there")
            for reference in done:
                try:
                    versions, seen = ray.get(reference)
                except (NodeDiedError, TaskUnschedulableError):  # the node is gone, so no task will run there
                    continue
                except RayError as error:
                    raise WorkerError(f"{names[reference]}: curate cannot be started there: {_line(error)}") from None
                _compare(names[reference], versions, sizes, seen, folder)


def _compare(
    node: str, versions: Mapping[str, str], sizes: Mapping[str, int], seen: Mapping[str, int | None], folder: Path
) -> None:
    """Refuse a node whose versions or files differ from this machine's."""
    for name, here in _versions().items():
        if versions.get(name) != here:
            raise WorkerError(f"{node}: has {name} {versions.get(name)}, and this machine {here}; install the same")
    for path, size in sizes.items():
        if seen[path] != size:
            shown = str(folder) if Path(path).name.startswith(ASIDE) else path
            if is_mirror(folder):
                raise WorkerError(
                    f"{node}: does not see what this machine has of {shown}; set CURATE_RUNS to a folder on a file "
                    "system that all nodes share"
                )
            raise WorkerError(
                f"{node}: does not see {shown} as this machine does; put it on a file system that all nodes share, "
                "under the same path"
            )


def _reply_or_death(reference: Any, task: object) -> tuple[tuple[str, Any], tuple[str, bool] | None]:  # noqa: ANN401 - Ray's
    """The kind and value of a task's reply, and how its worker died, if it did.

    Errors: TaskError where our own code cannot be loaded there; WorkerError where Ray on this machine died.
    """
    import ray
    from ray.exceptions import LocalRayletDiedError, RayError, RayTaskError

    try:
        kind, value = ray.get(reference)
    except RayTaskError as error:  # our own code cannot be loaded there
        raise TaskError(str(task), type(error.cause).__name__, str(error)) from None
    except LocalRayletDiedError:
        raise WorkerError("Ray on this machine died; start it and run the same command again") from None
    except RayError as error:
        return (DIED, None), _death(error)
    return (kind, value), NO_MEMORY if kind == DIED else None


def _death(error: Exception) -> tuple[str, bool]:
    """How a task ended without a reply, and whether that may have been for lack of memory."""
    outcomes = {
        "OutOfMemoryError": ("its node ran out of memory", True),
        "NodeDiedError": ("its node was lost", False),
        "WorkerCrashedError": ("its worker died", True),
    }
    return outcomes.get(type(error).__name__, (f"Ray lost it ({_line(error)})", False))


def _run_task(folder: str, function: Callable[[Any], Any], task: object) -> tuple[str, Any]:
    """Run a task in a worker of Ray's."""
    prepare_remote_worker(folder)
    return run_task(function, task)


def _inspect_node(folder: str, paths: list[str]) -> tuple[dict[str, str], dict[str, int | None]]:
    """Return the versions on a node and the sizes of files as it sees them; None for a file that it does not see."""
    prepare_remote_worker(folder)
    sizes: dict[str, int | None] = dict.fromkeys(paths)
    for path in paths:
        with suppress(OSError):
            sizes[path] = os.stat(path).st_size
    return _versions(), sizes


def _versions() -> dict[str, str]:
    """Versions that decide which bytes a task produces."""
    return {
        "curate": curate.__version__,
        **{name: version(name) for name in ("pyarrow", "numba", "duckdb")},
        "Python": platform.python_version(),
        "architecture": platform.machine(),
    }


@contextmanager
def _new_file(folder: Path) -> Iterator[str]:
    """A file with a fresh name, so that no node has it cached."""
    with NamedTemporaryFile(prefix=ASIDE, dir=folder) as file:
        file.write(b"curate")
        file.flush()
        os.fsync(file.fileno())
        yield file.name


def _checked_address(address: str) -> str:
    """Check that Ray answers at an address, since Ray itself would try for minutes; return the address.

    Errors: WorkerError.
    """
    resolved = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    if resolved == "auto":
        return resolved
    host, _, port = resolved.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise WorkerError(f"--address {resolved}: give auto, or host:port of the cluster's head (by default port 6379)")
    try:
        with socket.create_connection((host, int(port)), CONNECT_SECONDS) as connection:
            connection.sendall(PREFACE)
            is_ray = connection.recv(9)[3:4] == bytes((SETTINGS,))
    except (OSError, OverflowError):
        raise WorkerError(f"--address {resolved}: nobody answers; start Ray there with `ray start --head`") from None
    if not is_ray:
        raise WorkerError(f"--address {resolved}: what answers is not Ray's head, whose port is 6379 by default")
    return resolved


def _line(error: Exception) -> str:
    return shortened(" ".join(str(error).split()))

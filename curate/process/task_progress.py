"""The progress of running tasks: a worker writes it to a small file, which the driver polls.

The files are in a folder of the run directory, which workers on other machines share. They only feed progress lines:
nothing depends on them. Files of killed workers are removed with other half-written files.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDER = ".aside-begun"  # has the prefix `ASIDE` of storage/files.py, so that it is cleaned up after a kill


@contextmanager
def report_progress(folder: Path, task: str) -> Iterator[Callable[[float], None]]:
    """Yield a function that records which share of the task is done; the record is removed at the end of the block."""
    path = folder / FOLDER / task

    def report(share: float) -> None:
        with suppress(OSError):  # a full disk is reported where output is written
            path.parent.mkdir(exist_ok=True)  # the last task to end removes it
            path.write_text(f"{share:.6f}")

    report(0.0)
    try:
        yield report
    finally:
        with suppress(OSError):
            path.unlink()
            path.parent.rmdir()


def read_progress(folder: Path) -> dict[str, float]:
    """Return the share that is done of each running task."""
    shares: dict[str, float] = {}
    for path in (folder / FOLDER).glob("*"):
        with suppress(OSError, ValueError):  # the task has just ended, or is writing
            shares[path.name] = float(path.read_text())
    return shares

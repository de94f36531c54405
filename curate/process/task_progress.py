"""How far tasks have come that are under way: a worker writes it to a small file, which the driver reads at times.

The files lie in the run directory, which workers on other machines share, in a folder of their own, as results may be
many. They are for eyes alone: nothing is decided by them, and what a killed worker leaves goes with all else that was
left half written.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDER = ".aside-begun"  # begins as `ASIDE` of storage/files.py does: what a killed worker leaves is removed with it


@contextmanager
def telling(folder: Path, task: str) -> Iterator[Callable[[float], None]]:
    """Yield what takes the share of a task that is done; the task has begun, and ends with the block."""
    path = folder / FOLDER / task

    def tell(share: float) -> None:
        with suppress(OSError):  # a full disk is reported where output is written
            path.parent.mkdir(exist_ok=True)  # the last task to end took it away
            path.write_text(f"{share:.6f}")

    tell(0.0)
    try:
        yield tell
    finally:
        with suppress(OSError):
            path.unlink()
            path.parent.rmdir()


def shares_begun(folder: Path) -> dict[str, float]:
    """The share of each task under way that is done."""
    shares: dict[str, float] = {}
    for path in (folder / FOLDER).glob("*"):
        with suppress(OSError, ValueError):  # it has ended since, or is being written
            shares[path.name] = float(path.read_text())
    return shares

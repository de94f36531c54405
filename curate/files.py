"""The one way to commit a file: written aside, fsynced, renamed, folder fsynced."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from curate.errors import disk_error

ASIDE = ".aside-"


@contextmanager
def committed(path: Path) -> Iterator[Path]:
    """Yield a path to write to; when the block ends well, that file becomes `path` at once and for good.

    Errors: WorkerError naming `path` where the disk is full or the folder not writable.
    """
    aside = path.with_name(f"{ASIDE}{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        sync(aside)
        os.replace(aside, path)
        sync(path.parent)
    except BaseException as error:
        with suppress(OSError):
            aside.unlink()
        if isinstance(error, OSError):
            raise disk_error(error, str(path)) from error
        raise


def write_json(path: Path, value: object) -> None:
    """Commit `value` as JSON with sorted keys."""
    with committed(path) as aside:
        aside.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")


def sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_asides(run: Path) -> None:
    """Delete what killed processes left half written in a run directory."""
    folders = (run, run / "data", run / "inputs", run / "models")
    places = [folder.glob(f"{ASIDE}*") for folder in folders] + [(run / "ledger").rglob(f"{ASIDE}*")]
    for path in (path for place in places for path in place):
        with suppress(OSError):
            path.unlink()

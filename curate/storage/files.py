"""The one way to commit a file: written aside, fsynced, renamed, folder fsynced."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TypeVar

from curate.errors import disk_error

ASIDE = ".aside-"
_MACHINE = secrets.token_hex(4)  # with the process id unique among the processes of all machines
SEAL = "seal"

Value = TypeVar("Value")


def aside_of(path: Path) -> Path:
    """The path at which a file is written before it is committed."""
    return path.with_name(f"{ASIDE}{_MACHINE}-{os.getpid()}-{path.name}")


@contextmanager
def committed(path: Path) -> Iterator[Path]:
    """Yield a path to write to; when the block succeeds, that file becomes `path` atomically and durably.

    Errors: WorkerError naming `path` where the disk is full or the folder not writable.
    """
    aside = aside_of(path)
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


@contextmanager
def committed_files(folder: Path) -> Iterator[Path]:
    """Yield a folder to write files to; when the block succeeds, each file is committed to `folder`.

    Errors: WorkerError naming `folder` where the disk is full or the folder not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=ASIDE, dir=folder) as aside:
            yield Path(aside)
            for path in sorted(Path(aside).iterdir()):
                with committed(folder / path.name) as target:
                    os.replace(path, target)
    except OSError as error:
        raise disk_error(error, str(folder)) from error


def write_json(path: Path, value: object) -> None:
    """Commit `value` as JSON with sorted keys."""
    with committed(path) as aside:
        aside.write_text(json_text(value), "utf-8")


def write_sealed(path: Path, fields: Mapping[str, object]) -> None:
    """Commit a mapping as JSON with its seal."""
    write_json(path, sealed(fields))


def sealed(fields: Mapping[str, object]) -> dict[str, object]:
    """The fields with a `seal`: the hash of their JSON file without it, which detects a single flipped bit."""
    unsealed = {name: value for name, value in fields.items() if name != SEAL}
    return unsealed | {SEAL: _seal_of(unsealed)}


def unsealed(fields: Mapping[str, Value]) -> dict[str, Value]:
    """The fields without their seal.

    Errors: ValueError where they differ from those that were sealed.
    """
    content = {name: value for name, value in fields.items() if name != SEAL}
    if fields.get(SEAL) != _seal_of(content):
        raise ValueError("its bytes changed")
    return content


def is_sealed(path: Path) -> bool:
    """Whether a file is, bit for bit, one that `write_sealed` wrote.

    Errors: OSError where it cannot be read.
    """
    content = path.read_bytes()
    try:
        fields = json.loads(content)
        seal = fields.pop(SEAL)
        return bool(seal == _seal_of(fields) and content == json_text(fields | {SEAL: seal}).encode())
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return False


def _seal_of(fields: Mapping[str, object]) -> str:
    return hashlib.sha256(json_text(fields).encode()).hexdigest()


def json_text(value: object) -> str:
    """A value as the text of a JSON file, with sorted keys."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def leads_out(path: str) -> bool:
    """Whether a path in a manifest or another list leads outside of its folder."""
    return PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts


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
    """Delete files that killed processes left unfinished in a run directory."""
    folders = (run, *(run / name for name in ("data", "inputs", "models", "synthetic")))
    for folder in folders:
        _unlink(folder.glob(f"{ASIDE}*"))
    _unlink((run / "ledger").rglob(f"{ASIDE}*"))


def remove_asides_below(folder: Path) -> None:
    """Delete files that killed processes left unfinished anywhere below a folder."""
    _unlink(folder.rglob(f"{ASIDE}*"))


def _unlink(paths: Iterable[Path]) -> None:
    for path in list(paths):
        with suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

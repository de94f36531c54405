"""A lock of a folder on this machine, which ends with its process."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from curate.errors import RunError


@contextmanager
def held(folder: Path, name: str = "lock", keep: bool = True) -> Iterator[None]:
    """Hold a folder, or something in it, for this process, by a file of that name in it.

    Unless it is to be kept, the file is gone afterwards.

    Errors: RunError where another process holds it (naming it), or where the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _locked_file(folder / name)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror}; choose another output") from None
    with lock:
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        lock.flush()
        try:
            yield
        finally:
            if not keep:  # while it is locked: see below
                (folder / name).unlink(missing_ok=True)
        lock.truncate(0)


def _locked_file(path: Path) -> TextIO:
    """A file, open and locked by this process.

    Who held it may have removed it between our opening and our locking, and another process may hold a new file of that
    name: so what is locked must be what has the name now.
    """
    while True:
        lock = path.open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            with lock:
                lock.seek(0)
                owner = lock.read().strip() or "another process"
            raise RunError(f"{path.parent}: in use by {owner}; wait for it, or choose another output") from None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                return lock
        lock.close()

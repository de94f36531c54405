"""A lock on a folder of this machine, released when its process ends."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from curate.errors import RunError


@contextmanager
def folder_lock(folder: Path, name: str = "lock", keep: bool = True) -> Iterator[None]:
    """Lock a folder, or something in it, for this process by a file called `name`; without `keep`, remove the file.

    Errors: RunError where another process has the lock (naming it), or the folder is not writable.
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
            if not keep:  # while it is locked: see _locked_file
                (folder / name).unlink(missing_ok=True)
        lock.truncate(0)


def _locked_file(path: Path) -> TextIO:
    """A file, opened and locked by this process.

    Its last owner may have removed it after we opened it, and another process may have locked a new file of that name:
    so the locked file must still be the one at the path.
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

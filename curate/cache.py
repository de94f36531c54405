"""curate's cache folder on a machine, private to the user, as numba executes files in it.

Every parent folder, with symbolic links resolved, belongs to this user or root, and other users can replace nothing in
it; created folders have mode 0700. The first possible one of these is used: `curate` in $CURATE_CACHE, in
$XDG_CACHE_HOME or in ~/.cache; a folder of this user in the temporary folder; a new folder, removed with this process.
If $CURATE_CACHE is set and cannot be used, a line on stderr says so.
"""

import atexit
import grp
import os
import pwd
import shutil
import stat
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

VARIABLE = "CURATE_CACHE"
NAME = "curate"


@cache
def cache_home() -> Path:
    """The cache folder, which exists; its path has no symbolic links."""
    configured = os.environ.get(VARIABLE)
    try:
        return private_folder(user_path(configured or os.environ.get("XDG_CACHE_HOME") or "~/.cache") / NAME)
    except OSError as error:
        folder = _temporary_home()
        if configured:
            print(  # noqa: T201 - workers receive the folder in use, so this is printed once
                f"{VARIABLE}: {error}; {folder} is used instead: name a folder that nobody else can write to, "
                "nor replace anything above it",
                file=sys.stderr,
            )
        return folder


def user_path(folder: str) -> Path:
    """The absolute path of a folder from the environment, with `~` for the user's home.

    Errors: FileNotFoundError where the user has no home, as with an unknown user id in a container.
    """
    try:
        return Path(folder).expanduser().absolute()
    except RuntimeError:
        raise FileNotFoundError(f"{folder}: this user has no home") from None


def _temporary_home() -> Path:
    """A substitute in the temporary folder."""
    with suppress(OSError):
        return private_folder(Path(tempfile.gettempdir()).absolute() / f"{NAME}-{os.getuid()}" / NAME)
    folder = Path(tempfile.mkdtemp(prefix=f"{NAME}-"))
    atexit.register(_remove, folder, os.getpid())
    return private_folder(folder / NAME)


def cache_folder(name: str) -> Path:
    """A folder in `cache_home`, created if missing; a new temporary one if it belongs to another user."""
    try:
        return private_folder(cache_home() / name)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix=f"{NAME}-"))
        atexit.register(_remove, folder, os.getpid())
        return private_folder(folder / name)


def private_folder(path: Path) -> Path:
    """The real path of a folder that only this user can change, created with its parents if missing.

    Errors: OSError where it cannot be created, or other users could replace its contents.
    """
    for link in (path, *path.parents):
        if link.is_symlink() and (owner := os.lstat(link).st_uid) not in (0, os.getuid()):
            raise PermissionError(f"{link}: a link of user {owner}")
    parent = path.parent if path.parent.exists() else private_folder(path.parent)
    real = (parent / path.name).resolve()
    for folder in reversed(real.parents):
        status = os.lstat(folder)
        if status.st_uid not in (0, os.getuid()):
            raise PermissionError(f"{folder}: belongs to user {status.st_uid}")
        if _is_open(status) and not status.st_mode & stat.S_ISVTX:
            raise PermissionError(f"{folder}: others can write there")
    return private_leaf(real)


def private_leaf(path: Path) -> Path:
    """A folder that only this user can change, created with its parents, which other users may be able to write to.

    Errors: OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        status = os.lstat(path)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(f"{path}: not a folder") from None
        if status.st_uid != os.getuid():
            raise PermissionError(f"{path}: belongs to user {status.st_uid}") from None
        if _is_open(status):  # its contents may be another user's
            raise PermissionError(f"{path}: others can write there") from None
        if stat.S_IMODE(status.st_mode) != 0o700:
            os.chmod(path, 0o700)
    if not os.access(path, os.W_OK):
        raise PermissionError(f"{path}: cannot be written")
    return path


def _is_open(status: os.stat_result) -> bool:
    """Whether users other than its owner can write to a folder."""
    return bool(status.st_mode & (stat.S_IWOTH | (0 if _is_private_group(status.st_gid) else stat.S_IWGRP)))


@cache
def _is_private_group(gid: int) -> bool:
    """Whether a group is the user's private group, which many systems create, without other members."""
    try:
        user, group = pwd.getpwuid(os.getuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return user.pw_gid == gid and user.pw_name == group.gr_name and not set(group.gr_mem) - {user.pw_name}


def _remove(folder: Path, pid: int) -> None:
    if os.getpid() == pid:  # not in its forks
        shutil.rmtree(folder, ignore_errors=True)

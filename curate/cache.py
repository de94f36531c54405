"""The folder that curate keeps on a machine: ours alone, as numba executes what it finds there.

Each folder on the way, symbolic links followed, belongs to this user or root, and others can replace nothing in it; the
ones that are made have mode 0700. The first of these that can be so is taken: `curate` in $CURATE_CACHE, in
$XDG_CACHE_HOME or in ~/.cache; a folder for this user in the temporary one; a new one, which goes with this process.
Where $CURATE_CACHE is set and cannot be the one, a line on stderr says so.
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
    """The folder: it exists, and no link is in its path."""
    named = os.environ.get(VARIABLE)
    try:
        return made_private(user_path(named or os.environ.get("XDG_CACHE_HOME") or "~/.cache") / NAME)
    except OSError as error:
        folder = _temporary_home()
        if named:
            print(  # noqa: T201 - workers are given the folder that is taken, so that this is said once
                f"{VARIABLE}: {error}; {folder} is used instead: name a folder that nobody else can write to, "
                "nor replace anything above it",
                file=sys.stderr,
            )
        return folder


def user_path(named: str) -> Path:
    """The absolute path of a folder that the environment names, with `~` for the user's home.

    Errors: FileNotFoundError where the user has no home, as in a container under a number that no user has.
    """
    try:
        return Path(named).expanduser().absolute()
    except RuntimeError:
        raise FileNotFoundError(f"{named}: this user has no home") from None


def _temporary_home() -> Path:
    """The folder where the user's own cannot be had: in the temporary one."""
    with suppress(OSError):
        return made_private(Path(tempfile.gettempdir()).absolute() / f"{NAME}-{os.getuid()}" / NAME)
    folder = Path(tempfile.mkdtemp(prefix=f"{NAME}-"))
    atexit.register(_remove, folder, os.getpid())
    return made_private(folder / NAME)


def cache_folder(name: str) -> Path:
    """A folder in `cache_home`, made where it is missing; in a new temporary one where somebody else has it."""
    try:
        return made_private(cache_home() / name)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix=f"{NAME}-"))
        atexit.register(_remove, folder, os.getpid())
        return made_private(folder / name)


def made_private(path: Path) -> Path:
    """The real path of a folder that belongs to this user alone, made with those above it that are missing.

    Errors: OSError where it cannot be made, or others could replace what is in it.
    """
    for place in (path, *path.parents):
        if place.is_symlink() and (owner := os.lstat(place).st_uid) not in (0, os.getuid()):
            raise PermissionError(f"{place}: a link of user {owner}")
    parent = path.parent if path.parent.exists() else made_private(path.parent)
    real = (parent / path.name).resolve()
    for folder in reversed(real.parents):
        found = os.lstat(folder)
        if found.st_uid not in (0, os.getuid()):
            raise PermissionError(f"{folder}: belongs to user {found.st_uid}")
        if _is_open(found) and not found.st_mode & stat.S_ISVTX:
            raise PermissionError(f"{folder}: others can write there")
    return private_leaf(real)


def private_leaf(path: Path) -> Path:
    """A folder that belongs to this user alone, whoever can write to those above it, which are made too.

    Errors: OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(f"{path}: not a folder") from None
        if found.st_uid != os.getuid():
            raise PermissionError(f"{path}: belongs to user {found.st_uid}") from None
        if _is_open(found):  # what is in it may be somebody else's
            raise PermissionError(f"{path}: others can write there") from None
        if stat.S_IMODE(found.st_mode) != 0o700:
            os.chmod(path, 0o700)
    if not os.access(path, os.W_OK):
        raise PermissionError(f"{path}: cannot be written")
    return path


def _is_open(found: os.stat_result) -> bool:
    """Whether others than its owner can write to a folder."""
    return bool(found.st_mode & (stat.S_IWOTH | (0 if _is_own_group(found.st_gid) else stat.S_IWGRP)))


@cache
def _is_own_group(gid: int) -> bool:
    """Whether a group is the one that many systems make for each user, with nobody else in it."""
    try:
        user, group = pwd.getpwuid(os.getuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return user.pw_gid == gid and user.pw_name == group.gr_name and not set(group.gr_mem) - {user.pw_name}


def _remove(folder: Path, pid: int) -> None:
    if os.getpid() == pid:  # not in its forks
        shutil.rmtree(folder, ignore_errors=True)

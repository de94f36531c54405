"""Places that inputs are read from: local files, and object stores by URI through pyarrow.fs and fsspec."""

import glob
import inspect
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache

import pyarrow as pa
import pyarrow.fs as pafs

from curate.errors import InputError

# What a reader asks an object store for at a time: a request costs tens of milliseconds there.
REMOTE_BUFFER = 8 << 20


def is_remote(location: str) -> bool:
    """Whether a location is a URI."""
    return "://" in location


def expand(pattern: str) -> list[str]:
    """The files that a URI, a folder's URI or a glob names, sorted.

    Errors: InputError for a store that cannot be reached, or where nothing matches.
    """
    scheme = pattern.split("://")[0]
    try:
        store, path = _store(pattern)
        magic = glob.has_magic(path)
        if magic:
            base = path[: re.search(r"[*?[]", path).start()].rpartition("/")[0]  # type: ignore[union-attr]
        elif store.get_file_info(path).type == pafs.FileType.Directory:
            base = path
        elif store.get_file_info(path).type == pafs.FileType.File:
            return [pattern]
        else:
            raise InputError(f"input.paths: {pattern}: no such file or folder")
        wanted = re.compile(_glob_pattern(path)) if magic else None
        found = store.get_file_info(pafs.FileSelector(base, recursive=True, allow_not_found=True))
    except (OSError, ValueError, re.error, pa.ArrowException) as error:  # ValueError: not a URI of this store
        raise InputError(f"input.paths: {pattern}: {one_line(error)}") from None
    files = [f.path for f in found if f.type == pafs.FileType.File and (wanted is None or wanted.fullmatch(f.path))]
    if not files:
        raise InputError(f"input.paths: {pattern} matches no file")
    return [f"{scheme}://{file}" for file in sorted(files)]


def _glob_pattern(path: str) -> str:
    """A glob as a regular expression: `**` any folders, `*` and `?` within one name, `[…]` a set."""
    pieces = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.findall(r"\*\*/|\*\*|\*|\?|\[!?[^]]+\]|.", path, re.DOTALL)
    return "".join(
        pieces.get(token) or (token.replace("[!", "[^", 1) if len(token) > 1 else re.escape(token)) for token in tokens
    )


def status(location: str) -> tuple[int, int]:
    """Size in bytes and time of change in nanoseconds.

    Errors: OSError; ArrowException from an object store.
    """
    if not is_remote(location):
        found = os.stat(location)
        return found.st_size, found.st_mtime_ns
    store, path = _store(location)
    info = store.get_file_info(path)
    if info.type != pafs.FileType.File:
        raise FileNotFoundError(2, "No such file", location)
    changed = info.mtime
    assert changed is None or isinstance(changed, datetime)
    return info.size, info.mtime_ns if changed is not None else 0


@contextmanager
def opened(location: str) -> Iterator[pa.NativeFile]:
    """The file, for reading anywhere in it.

    Errors: OSError; ArrowException from an object store.
    """
    if is_remote(location):
        store, path = _store(location)
        with store.open_input_file(path) as file:
            yield file
    else:
        with pa.OSFile(location) as file:
            yield file


def _store(uri: str) -> tuple[pafs.FileSystem, str]:
    """The object store that a URI names, and the path within it.

    Credentials come from the environment, as each store's own tools take them.
    Errors: InputError for a scheme that nothing installed can read.
    """
    scheme, _, path = uri.partition("://")
    if not scheme:
        raise InputError(f"input.paths: {uri}: a URI begins with a scheme, as in s3://bucket/data")
    bucket = path.split("/")[0]
    if has_password(bucket):
        raise InputError(
            f"input.paths: {uri}: credentials come from the environment, not from the URI; write "
            f"{scheme}://{bucket.rpartition('@')[2]}/…"
        )
    return store_of(scheme, bucket), path


def has_password(authority: str) -> bool:
    """Whether `user:password@` precedes a host or bucket; a name alone is no secret: sftp://user@, abfss://container@."""
    return ":" in authority.rpartition("@")[0]


@cache
def store_of(scheme: str, bucket: str) -> pafs.FileSystem:
    """The file system behind a scheme.

    Errors: InputError for a scheme that nothing installed can read.
    """
    if scheme in ("gs", "gcs"):
        return pafs.GcsFileSystem()
    if scheme in ("s3", "s3a"):
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if endpoint is None and region is None:
            region = pafs.resolve_s3_region(bucket)
        return pafs.S3FileSystem(endpoint_override=endpoint, region=region)
    import fsspec

    try:
        inspect.signature(fsspec.get_filesystem_class(scheme).__init__).bind(None)
        return pafs.PyFileSystem(pafs.FSSpecHandler(fsspec.filesystem(scheme)))
    except (ImportError, ValueError, TypeError) as error:  # the last: of a store that needs more than its scheme
        raise InputError(f"input.paths: {scheme}://: {one_line(error)}") from None


def one_line(error: BaseException) -> str:
    """An error's text on one line."""
    return " ".join(str(error).split())

"""Reading local files, and object stores by URI through pyarrow.fs and fsspec."""

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

# Bytes per request to an object store, where a request takes tens of milliseconds.
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
        matching = re.compile(_glob_pattern(path)) if magic else None
        entries = store.get_file_info(pafs.FileSelector(base, recursive=True, allow_not_found=True))
    except (OSError, ValueError, re.error, pa.ArrowException) as error:  # ValueError: not a URI of this store
        raise InputError(f"input.paths: {pattern}: {one_line(error)}") from None
    files = [entry.path for entry in entries if entry.type == pafs.FileType.File]
    if matching is not None:
        files = [path for path in files if matching.fullmatch(path)]
    if not files:
        raise InputError(f"input.paths: {pattern} matches no file")
    return [f"{scheme}://{file}" for file in sorted(files)]


def _glob_pattern(path: str) -> str:
    """A glob as a regular expression: `**` any folders, `*` and `?` within one name, `[…]` a set."""
    patterns = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.findall(r"\*\*/|\*\*|\*|\?|\[!?[^]]+\]|.", path, re.DOTALL)
    return "".join(
        patterns.get(token) or (token.replace("[!", "[^", 1) if len(token) > 1 else re.escape(token))
        for token in tokens
    )


def status(location: str) -> tuple[int, int]:
    """Size in bytes and modification time in nanoseconds.

    Errors: OSError; ArrowException from an object store.
    """
    if not is_remote(location):
        result = os.stat(location)
        return result.st_size, result.st_mtime_ns
    store, path = _store(location)
    info = store.get_file_info(path)
    if info.type != pafs.FileType.File:
        raise FileNotFoundError(2, "No such file", location)
    modified = info.mtime
    assert modified is None or isinstance(modified, datetime)
    return info.size, info.mtime_ns if modified is not None else 0


@contextmanager
def open_location(location: str) -> Iterator[pa.NativeFile]:
    """The file, opened for random access.

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

    Credentials come from the environment, as for each store's own tools.
    Errors: InputError for a scheme that no installed package reads.
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

    Errors: InputError for a scheme that no installed package reads.
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
    except (ImportError, ValueError, TypeError) as error:  # TypeError: a store that needs more than its scheme
        raise InputError(f"input.paths: {scheme}://: {one_line(error)}") from None


def one_line(error: BaseException) -> str:
    """An error's text on one line."""
    return " ".join(str(error).split())

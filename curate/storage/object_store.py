"""Object stores that a run may live on: objects by key, whole or not there, each with a tag that changes with it.

S3 through boto3, which puts an object only if what it replaces is what was read; any other store through
`curate.storage.places`, where the tag is compared just before.
"""

import os
import random
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.fs as pafs

from curate.errors import InputError, RunError, WorkerError, shortened
from curate.storage.places import REMOTE_BUFFER, has_password, one_line, store_of

ATTEMPTS = 8  # of a request, with pauses that double from 1 s to 20 s, each cut by chance: half a minute in all
SECONDS = 20  # in which a connection is made, and in which an answer begins
KEYS_AT_ONCE = 1000  # that S3 deletes by one request
AGAIN = "nothing finished is lost: run the same command again"


class Changed(Exception):
    """An object is not what it was when it was read."""


class Gone(Exception):
    """There is no such object any more."""


class Store(Protocol):
    """The objects below a URI. Keys are relative to it.

    Errors of all methods: WorkerError, in one line, where the store does not answer or refuses.
    """

    uri: str

    def listed(self) -> dict[str, str]:
        """The tag of each object."""
        ...

    def get(self, key: str, path: Path) -> str:
        """Write an object to a file; its tag. Errors: Gone."""
        ...

    def put(self, key: str, path: Path) -> str:
        """Make a file an object; its tag. Errors: FileNotFoundError."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects that may be there."""
        ...

    def read(self, key: str) -> tuple[bytes, str]:
        """A small object and its tag. Errors: Gone."""
        ...

    def replace(self, key: str, data: bytes, tag: str | None) -> str:
        """Write a small object in place of the one with a tag, or, with None, where there is none; its tag.

        Errors: Changed.
        """
        ...


def open_store(uri: str) -> Store:
    """The store behind a URI; nothing is asked of it yet.

    Errors: RunError for a URI that cannot hold a run; InputError for a scheme that nothing installed knows.
    """
    scheme, _, path = uri.partition("://")
    bucket, _, prefix = path.strip("/").partition("/")
    if has_password(bucket):
        raise RunError("output: credentials come from the environment, not from the URI; write s3://bucket/run")
    if not bucket or not prefix:
        raise RunError(f"output: {uri}: names no place within a bucket; write {scheme}://{bucket or 'bucket'}/run")
    if scheme == "file":
        raise RunError(f"output: {uri}: write a plain path for a local folder")
    return S3(uri, bucket, prefix) if scheme in ("s3", "s3a") else Objects(uri, scheme, bucket, prefix)


class S3:
    """Objects of S3, or of a server that speaks as it does."""

    def __init__(self, uri: str, bucket: str, prefix: str) -> None:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ImportError:
            raise RunError(f"output: {uri}: boto3 is not installed; pip install 'curate-lm[s3]'") from None
        self.uri, self.bucket, self.prefix = uri, bucket, prefix + "/"
        try:
            attempts = int(os.environ.get("AWS_MAX_ATTEMPTS") or ATTEMPTS)
            config = Config(
                retries={"mode": "standard", "total_max_attempts": attempts}, connect_timeout=SECONDS,
                read_timeout=SECONDS, max_pool_connections=32,
            )  # fmt: skip
            self._client: Any = boto3.Session().client("s3", config=config)
        except (BotoCoreError, ValueError) as error:
            raise WorkerError(f"{uri}: {shortened(one_line(error))}") from None

    def listed(self) -> dict[str, str]:
        """See `Store`."""
        with self._told():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
            return {
                one["Key"].removeprefix(self.prefix): one["ETag"] for page in pages for one in page.get("Contents", ())
            }

    def get(self, key: str, path: Path) -> str:
        """See `Store`."""
        with path.open("wb") as file:
            return self._copied(key, file)

    def put(self, key: str, path: Path) -> str:
        """See `Store`: large files in pieces, of which S3 makes the object when it has all."""
        place = {"Bucket": self.bucket, "Key": self.prefix + key}
        with self._told():
            if path.stat().st_size <= REMOTE_BUFFER:
                return str(self._client.put_object(Body=path.read_bytes(), **place)["ETag"])
            self._client.upload_file(str(path), self.bucket, self.prefix + key)
            return str(self._client.head_object(**place)["ETag"])

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store`."""
        objects = [{"Key": self.prefix + key} for key in keys]
        for k in range(0, len(objects), KEYS_AT_ONCE):
            with self._told():
                some = {"Objects": objects[k : k + KEYS_AT_ONCE], "Quiet": True}
                answer = self._client.delete_objects(Bucket=self.bucket, Delete=some)
            if errors := answer.get("Errors"):
                raise WorkerError(f"{self.uri}: the store deletes nothing ({errors[0].get('Code')}); {AGAIN}")

    def read(self, key: str) -> tuple[bytes, str]:
        """See `Store`."""
        data = BytesIO()
        tag = self._copied(key, data)
        return data.getvalue(), tag

    def replace(self, key: str, data: bytes, tag: str | None) -> str:
        """See `Store`: S3 itself refuses to replace another object."""
        from botocore.exceptions import ClientError

        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        with self._told():
            try:
                answer = self._client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=data, **condition)
                return str(answer["ETag"])
            except ClientError as error:
                if _code(error) not in ("412", "409", "404", "PreconditionFailed", "ConditionalRequestConflict",
                                        "NoSuchKey"):  # fmt: skip
                    raise
        try:
            there, found = self.read(key)
        except Gone:
            raise Changed from None
        if there != data:  # else it was put by this request, whose answer was lost, so that it was sent again
            raise Changed
        return found

    def _copied(self, key: str, file: BinaryIO) -> str:
        """Copy an object to a file, and its tag; again where it is cut off on its way, which boto3 leaves to us."""
        from botocore.exceptions import BotoCoreError, ClientError
        from urllib3.exceptions import HTTPError

        with self._told():
            for attempt in range(ATTEMPTS):
                file.seek(0)
                file.truncate()
                try:
                    answer = self._client.get_object(Bucket=self.bucket, Key=self.prefix + key)
                except ClientError as error:
                    if _code(error) == "NoSuchKey":
                        raise Gone from None
                    raise
                try:
                    for piece in answer["Body"].iter_chunks(REMOTE_BUFFER):
                        file.write(piece)
                    return str(answer["ETag"])
                except (BotoCoreError, HTTPError):
                    if attempt == ATTEMPTS - 1:
                        raise
                    time.sleep(random.uniform(0, min(2**attempt, SECONDS)))
        raise AssertionError("unreachable")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell what boto3 raises in one line, by its kind: a server's own words may hold a key."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
        from urllib3.exceptions import HTTPError

        try:
            yield
        except (NoCredentialsError, PartialCredentialsError):
            raise WorkerError(
                f"{self.uri}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what AWS's tools use"
            ) from None
        except (ClientError, BotoCoreError, Boto3Error, HTTPError) as error:
            cause = error.__context__ if isinstance(error, Boto3Error) and error.__context__ else error
            raise WorkerError(f"{self.uri}: {self._reason(cause)}") from None

    def _reason(self, error: BaseException) -> str:
        from botocore.exceptions import ClientError

        code = _code(error) if isinstance(error, ClientError) else ""
        if code == "NoSuchBucket":
            return f"there is no bucket {self.bucket}; create it"
        if code in ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"):
            return f"the store refuses these credentials ({code}); check AWS_ACCESS_KEY_ID and what it may do there"
        return f"the store does not answer as it should ({code or type(error).__name__}); {AGAIN}"


def _code(error: Any) -> str:  # noqa: ANN401 - botocore's error, which has no types
    return str(error.response.get("Error", {}).get("Code", ""))


class Objects:
    """Objects of any store that inputs are read from."""

    def __init__(self, uri: str, scheme: str, bucket: str, prefix: str) -> None:
        self.uri, self.base = uri, f"{bucket}/{prefix}/"
        try:
            self._files = store_of(scheme, bucket)
        except InputError as error:
            raise RunError(str(error).replace("input.paths", "output", 1)) from None

    def listed(self) -> dict[str, str]:
        """See `Store`."""
        with self._told():
            found = self._files.get_file_info(
                pafs.FileSelector(self.base.rstrip("/"), recursive=True, allow_not_found=True)
            )
        return {
            info.path.lstrip("/").removeprefix(self.base): _tag(info) for info in found
            if info.type == pafs.FileType.File
        }  # fmt: skip

    def get(self, key: str, path: Path) -> str:
        """See `Store`."""
        with path.open("wb") as file:
            data, tag = self._open(key)
            with self._told(), data:
                while piece := data.read(REMOTE_BUFFER):
                    file.write(piece)
        return tag

    def put(self, key: str, path: Path) -> str:
        """See `Store`."""
        with path.open("rb") as file, self._told():
            self._files.create_dir((self.base + key).rpartition("/")[0], recursive=True)
            try:
                with self._files.open_output_stream(self.base + key, compression=None) as stream:
                    while piece := file.read(REMOTE_BUFFER):
                        stream.write(piece)
            except BaseException:  # closing a stream makes an object of what it had got
                with suppress(OSError):
                    self._files.delete_file(self.base + key)
                raise
            return _tag(self._files.get_file_info(self.base + key))

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store`."""
        for key in keys:
            with self._told():
                if self._files.get_file_info(self.base + key).type == pafs.FileType.File:
                    self._files.delete_file(self.base + key)

    def read(self, key: str) -> tuple[bytes, str]:
        """See `Store`."""
        data, tag = self._open(key)
        with self._told(), data:
            return data.read(), tag

    def replace(self, key: str, data: bytes, tag: str | None) -> str:
        """See `Store`: between the comparison and the write another process may write, too."""
        with self._told():
            info = self._files.get_file_info(self.base + key)
            if (_tag(info) if info.type == pafs.FileType.File else None) != tag:
                raise Changed
            self._files.create_dir((self.base + key).rpartition("/")[0], recursive=True)
            with self._files.open_output_stream(self.base + key, compression=None) as stream:
                stream.write(data)
            return _tag(self._files.get_file_info(self.base + key))

    def _open(self, key: str) -> tuple[pa.NativeFile, str]:
        with self._told():
            info = self._files.get_file_info(self.base + key)
            if info.type != pafs.FileType.File:
                raise Gone
            return self._files.open_input_file(self.base + key), _tag(info)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise Gone from None
        except (OSError, ValueError, pa.ArrowException) as error:
            raise WorkerError(f"{self.uri}: {shortened(one_line(error))}; {AGAIN}") from None


def _tag(info: pafs.FileInfo) -> str:
    """What changes with an object: its size and time."""
    return f"{info.size}-{info.mtime_ns if info.mtime is not None else 0}"

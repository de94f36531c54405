"""Object stores for runs: objects by key, written atomically, each with a tag that changes with it.

S3 through boto3, whose conditional puts replace only the object that was read; other stores through
`curate.storage.places`, where the tag is compared just before the write.
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

ATTEMPTS = 8  # of a request, with random pauses of up to 1 s to 20 s, doubling: half a minute in all
SECONDS = 20  # to connect, and until a response begins
KEYS_AT_ONCE = 1000  # that S3 deletes by one request
CONDITION_CODES = (  # of responses to a conditional put that was refused
    "412",
    "409",
    "404",
    "PreconditionFailed",
    "ConditionalRequestConflict",
    "NoSuchKey",
)
RETRY_HINT = "nothing finished is lost: run the same command again"


class Changed(Exception):
    """An object has changed since it was read."""


class Gone(Exception):
    """An object does not exist."""


class Store(Protocol):
    """The objects below a URI. Keys are relative to it.

    Errors of all methods: WorkerError, in one line, where the store does not respond or refuses.
    """

    uri: str

    def tags(self) -> dict[str, str]:
        """The tag of each object."""
        ...

    def get(self, key: str, path: Path) -> str:
        """Write an object to a file; return its tag. Errors: Gone."""
        ...

    def put(self, key: str, path: Path) -> str:
        """Write a file to an object; return its tag. Errors: FileNotFoundError."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, if they exist."""
        ...

    def read(self, key: str) -> tuple[bytes, str]:
        """A small object and its tag. Errors: Gone."""
        ...

    def replace(self, key: str, data: bytes, tag: str | None) -> str:
        """Write a small object in place of the one with a tag, or with None a new one; return its tag.

        Errors: Changed.
        """
        ...


def open_store(uri: str) -> Store:
    """The store behind a URI, without a request to it.

    Errors: RunError for a URI that cannot be a run's; InputError for a scheme that no installed package reads.
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
    """Objects of S3, or of a server with its protocol."""

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
                retries={"mode": "standard", "total_max_attempts": attempts},
                connect_timeout=SECONDS,
                read_timeout=SECONDS,
                max_pool_connections=32,
            )
            self._client: Any = boto3.Session().client("s3", config=config)
        except (BotoCoreError, ValueError) as error:
            raise WorkerError(f"{uri}: {shortened(one_line(error))}") from None

    def tags(self) -> dict[str, str]:
        """See `Store`."""
        with self._errors():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
            return {
                entry["Key"].removeprefix(self.prefix): entry["ETag"]
                for page in pages
                for entry in page.get("Contents", ())
            }

    def get(self, key: str, path: Path) -> str:
        """See `Store`."""
        with path.open("wb") as file:
            return self._download(key, file)

    def put(self, key: str, path: Path) -> str:
        """See `Store`: large files in parts, from which S3 makes the object once it has all."""
        address = {"Bucket": self.bucket, "Key": self.prefix + key}
        with self._errors():
            if path.stat().st_size <= REMOTE_BUFFER:
                return str(self._client.put_object(Body=path.read_bytes(), **address)["ETag"])
            self._client.upload_file(str(path), self.bucket, self.prefix + key)
            return str(self._client.head_object(**address)["ETag"])

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store`."""
        objects = [{"Key": self.prefix + key} for key in keys]
        for k in range(0, len(objects), KEYS_AT_ONCE):
            with self._errors():
                batch = {"Objects": objects[k : k + KEYS_AT_ONCE], "Quiet": True}
                response = self._client.delete_objects(Bucket=self.bucket, Delete=batch)
            if errors := response.get("Errors"):
                raise WorkerError(f"{self.uri}: the store deletes nothing ({errors[0].get('Code')}); {RETRY_HINT}")

    def read(self, key: str) -> tuple[bytes, str]:
        """See `Store`."""
        data = BytesIO()
        tag = self._download(key, data)
        return data.getvalue(), tag

    def replace(self, key: str, data: bytes, tag: str | None) -> str:
        """See `Store`: S3 itself refuses to replace another object."""
        from botocore.exceptions import ClientError

        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        with self._errors():
            try:
                response = self._client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=data, **condition)
                return str(response["ETag"])
            except ClientError as error:
                if _code(error) not in CONDITION_CODES:
                    raise
        try:
            stored, stored_tag = self.read(key)
        except Gone:
            raise Changed from None
        if stored != data:  # else this request put it, but the response was lost and boto3 sent it again
            raise Changed
        return stored_tag

    def _download(self, key: str, file: BinaryIO) -> str:
        """Write an object to a file; return its tag. Retry interrupted downloads, which boto3 does not."""
        from botocore.exceptions import BotoCoreError, ClientError
        from urllib3.exceptions import HTTPError

        with self._errors():
            for attempt in range(ATTEMPTS):
                file.seek(0)
                file.truncate()
                try:
                    response = self._client.get_object(Bucket=self.bucket, Key=self.prefix + key)
                except ClientError as error:
                    if _code(error) == "NoSuchKey":
                        raise Gone from None
                    raise
                try:
                    for chunk in response["Body"].iter_chunks(REMOTE_BUFFER):
                        file.write(chunk)
                    return str(response["ETag"])
                except (BotoCoreError, HTTPError):
                    if attempt == ATTEMPTS - 1:
                        raise
                    time.sleep(random.uniform(0, min(2**attempt, SECONDS)))
        raise AssertionError("unreachable")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Report boto3's errors in one line, by their code: a server's message may contain a key."""
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
        return f"the store does not answer as it should ({code or type(error).__name__}); {RETRY_HINT}"


def _code(error: Any) -> str:  # noqa: ANN401 - botocore's untyped error
    return str(error.response.get("Error", {}).get("Code", ""))


class Objects:
    """Objects of any store that inputs can be read from."""

    def __init__(self, uri: str, scheme: str, bucket: str, prefix: str) -> None:
        self.uri, self.base = uri, f"{bucket}/{prefix}/"
        try:
            self._files = store_of(scheme, bucket)
        except InputError as error:
            raise RunError(str(error).replace("input.paths", "output", 1)) from None

    def tags(self) -> dict[str, str]:
        """See `Store`."""
        with self._errors():
            entries = self._files.get_file_info(
                pafs.FileSelector(self.base.rstrip("/"), recursive=True, allow_not_found=True)
            )
        files = (entry for entry in entries if entry.type == pafs.FileType.File)
        return {file.path.lstrip("/").removeprefix(self.base): _tag(file) for file in files}

    def get(self, key: str, path: Path) -> str:
        """See `Store`."""
        with path.open("wb") as file:
            data, tag = self._open(key)
            with self._errors(), data:
                while chunk := data.read(REMOTE_BUFFER):
                    file.write(chunk)
        return tag

    def put(self, key: str, path: Path) -> str:
        """See `Store`."""
        with path.open("rb") as file, self._errors():
            self._files.create_dir((self.base + key).rpartition("/")[0], recursive=True)
            try:
                with self._files.open_output_stream(self.base + key, compression=None) as stream:
                    while chunk := file.read(REMOTE_BUFFER):
                        stream.write(chunk)
            except BaseException:  # closing the stream has written an incomplete object
                with suppress(OSError):
                    self._files.delete_file(self.base + key)
                raise
            return _tag(self._files.get_file_info(self.base + key))

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store`."""
        for key in keys:
            with self._errors():
                if self._files.get_file_info(self.base + key).type == pafs.FileType.File:
                    self._files.delete_file(self.base + key)

    def read(self, key: str) -> tuple[bytes, str]:
        """See `Store`."""
        data, tag = self._open(key)
        with self._errors(), data:
            return data.read(), tag

    def replace(self, key: str, data: bytes, tag: str | None) -> str:
        """See `Store`: another process may write between the comparison and the write."""
        with self._errors():
            info = self._files.get_file_info(self.base + key)
            if (_tag(info) if info.type == pafs.FileType.File else None) != tag:
                raise Changed
            self._files.create_dir((self.base + key).rpartition("/")[0], recursive=True)
            with self._files.open_output_stream(self.base + key, compression=None) as stream:
                stream.write(data)
            return _tag(self._files.get_file_info(self.base + key))

    def _open(self, key: str) -> tuple[pa.NativeFile, str]:
        with self._errors():
            info = self._files.get_file_info(self.base + key)
            if info.type != pafs.FileType.File:
                raise Gone
            return self._files.open_input_file(self.base + key), _tag(info)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise Gone from None
        except (OSError, ValueError, pa.ArrowException) as error:
            raise WorkerError(f"{self.uri}: {shortened(one_line(error))}; {RETRY_HINT}") from None


def _tag(info: pafs.FileInfo) -> str:
    """Size and modification time of an object."""
    return f"{info.size}-{info.mtime_ns if info.mtime is not None else 0}"

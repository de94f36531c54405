"""The request cache: keep every answer of a model, so that no question is sent twice.

A folder of append-only parts, `part-00001.jsonl` and so on, with lines `{"key": …, "hash": …, "method": …,
"answer": …}`. Each process writes to a separate part, a line per answer as it arrives, so a killed process loses at
most one line. Truncated and damaged lines are ignored: `hash` is the xxh3-64 of the key and of what follows the hash.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from xxhash import xxh3_64_hexdigest

from curate.distill.teacher.protocol import Answer, ModelFacts, Question, Reply, Score
from curate.errors import RunError, disk_error

KEY_VERSION = 1
START, HASH = b'{"key":"', b'","hash":"'
KEY_BYTES = 32
KEY_END = len(START) + 2 * KEY_BYTES
HASH_START, HASH_END = KEY_END + len(HASH), KEY_END + len(HASH) + 16


def key_of(facts: ModelFacts, question: Question) -> bytes:
    """SHA-256 of a question and of what identifies the model and the adapter that answer it."""
    value = {
        "version": KEY_VERSION,
        "method": question.method,
        "model": {name: fact for name, fact in facts.items() if name != "adapters"},
        "adapter": question.adapter and {"name": question.adapter, "content": facts["adapters"].get(question.adapter)},
        "prompt": question.prompt,
        "sampling": question.sampling and asdict(question.sampling),
        "labels": question.labels,
    }
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).digest()


@dataclass
class Cache:
    """Answers by key. Only their locations are in memory."""

    folder: Path
    _locations: dict[bytes, tuple[int, int, int]] = field(default_factory=dict)  # index of the file, start, length
    _files: list[BinaryIO] = field(default_factory=list)
    _part: BinaryIO | None = None  # the last of the files, which this process writes

    def __contains__(self, key: bytes) -> bool:
        return key in self._locations

    def get(self, key: bytes, method: str) -> Answer | None:
        """The answer with this key; None where there is none."""
        if key not in self._locations:
            return None
        number, start, length = self._locations[key]
        line = os.pread(self._files[number].fileno(), length, start)
        return _decode(json.loads(line)["answer"], method)

    def put(self, key: bytes, method: str, answer: Answer) -> None:
        """Add an answer.

        Errors: WorkerError where the disk is full.
        """
        if self._part is None:
            self._part = _new_part(self.folder)
            self._files.append(self._part)
        rest_of_line = b'","method":"%s","answer":%s}\n' % (method.encode(), _encode(answer))
        hex_key = key.hex().encode()
        line = b"".join([START, hex_key, HASH, xxh3_64_hexdigest(hex_key + rest_of_line).encode(), rest_of_line])
        start = self._part.tell()
        try:
            self._part.write(line)
            self._part.flush()
        except OSError as error:
            raise disk_error(error, self._part.name) from error
        self._locations[key] = (len(self._files) - 1, start, len(line))

    def load(self, path: Path) -> None:
        """Index a part that another process wrote."""
        file = path.open("rb")
        self._files.append(file)
        start = 0
        for line in file:
            if _is_intact(line):
                key = bytes.fromhex(line[len(START) : KEY_END].decode())
                self._locations[key] = (len(self._files) - 1, start, len(line))
            start += len(line)

    def close(self) -> None:
        """Sync and close all files."""
        for file in self._files:
            with suppress(OSError):
                os.fsync(file.fileno())
            file.close()


@contextmanager
def open_cache(folder: Path) -> Iterator[Cache]:
    """Open the request cache in a folder; create the folder if it does not exist.

    Errors: RunError where it cannot be read, WorkerError where it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, str(folder)) from error
    cache = Cache(folder)
    try:
        for path in sorted(folder.glob("part-*.jsonl")):
            cache.load(path)
    except OSError as error:
        raise RunError(f"{error.filename}: cannot be read: {error.strerror}") from error
    try:
        yield cache
    finally:
        cache.close()


def _new_part(folder: Path) -> BinaryIO:
    """Create the next part, which only this process writes."""
    number = 1 + max((int(path.stem.removeprefix("part-")) for path in folder.glob("part-*.jsonl")), default=0)
    while True:
        try:
            return (folder / f"part-{number:05d}.jsonl").open("x+b")
        except FileExistsError:
            number += 1
        except OSError as error:
            raise disk_error(error, str(folder)) from error


def _is_intact(line: bytes) -> bool:
    """Whether a line is complete and undamaged."""
    hashed_bytes = line[len(START) : KEY_END] + line[HASH_END:]
    expected = b"".join(
        [START, line[len(START) : KEY_END], HASH, xxh3_64_hexdigest(hashed_bytes).encode(), line[HASH_END:]]
    )
    return line == expected


def _encode(answer: Answer) -> bytes:
    value = asdict(answer) if isinstance(answer, Reply) else answer
    return json.dumps(value, separators=(",", ":")).encode()


def _decode(value: Any, method: str) -> Answer:  # noqa: ANN401 - any JSON
    if method == "generate":
        return Reply(**value)
    return Score(*value) if method == "score" else dict(value)

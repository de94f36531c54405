"""The request cache: what a model once answered is not asked again.

A folder of parts, `part-00001.jsonl` and so on, to which lines are only ever added: `{"key": …, "hash": …,
"method": …, "answer": …}`. Each process that gets answers writes a part of its own, a line as each answer comes in, so
that one that is killed loses nothing but the line it was writing; a line without its end, or one that is damaged, which
its hash (xxh3-64 of its key and of what follows the hash) tells, is as if it were not there.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from xxhash import xxh3_64_hexdigest

from curate.distill.teacher.protocol import Answer, Question, Reply, Score
from curate.errors import RunError, disk_error

KEY_VERSION = 1
START, HASH = b'{"key":"', b'","hash":"'
KEY_BYTES = 32
KEY_END = len(START) + 2 * KEY_BYTES
HASH_START, HASH_END = KEY_END + len(HASH), KEY_END + len(HASH) + 16


def key_of(facts: Mapping[str, Any], question: Question) -> bytes:
    """SHA-256 of a question and of the model and adapter that it is put to."""
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
    """Answers by key. In memory is only where each one stands."""

    folder: Path
    _places: dict[bytes, tuple[int, int, int]] = field(default_factory=dict)  # number of the file, start, length
    _files: list[BinaryIO] = field(default_factory=list)
    _own: BinaryIO | None = None  # the last of the files, where this process writes

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def get(self, key: bytes, method: str) -> Answer | None:
        """The answer to a question, None where there is none."""
        if key not in self._places:
            return None
        number, start, length = self._places[key]
        line = os.pread(self._files[number].fileno(), length, start)
        return _decoded(json.loads(line)["answer"], method)

    def put(self, key: bytes, method: str, answer: Answer) -> None:
        """Add an answer.

        Errors: WorkerError where the disk is full.
        """
        if self._own is None:
            self._own = _new_part(self.folder)
            self._files.append(self._own)
        said = b'","method":"%s","answer":%s}\n' % (method.encode(), _encoded(answer))
        known = key.hex().encode()
        line = b"".join([START, known, HASH, xxh3_64_hexdigest(known + said).encode(), said])
        start = self._own.tell()
        try:
            self._own.write(line)
            self._own.flush()
        except OSError as error:
            raise disk_error(error, self._own.name) from error
        self._places[key] = (len(self._files) - 1, start, len(line))

    def load(self, path: Path) -> None:
        """Take in a part that another process wrote."""
        file = path.open("rb")
        self._files.append(file)
        start = 0
        for line in file:
            if _is_whole(line):
                key = bytes.fromhex(line[len(START) : KEY_END].decode())
                self._places[key] = (len(self._files) - 1, start, len(line))
            start += len(line)

    def close(self) -> None:
        """Bring everything to the disk."""
        for file in self._files:
            with suppress(OSError):
                os.fsync(file.fileno())
            file.close()


@contextmanager
def open_cache(folder: Path) -> Iterator[Cache]:
    """The request cache in a folder, which is made where it is missing.

    Errors: RunError where it cannot be read, WorkerError where it cannot be made.
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
    """A part that no process has written to."""
    number = 1 + max((int(path.stem.removeprefix("part-")) for path in folder.glob("part-*.jsonl")), default=0)
    while True:
        try:
            return (folder / f"part-{number:05d}.jsonl").open("x+b")
        except FileExistsError:
            number += 1
        except OSError as error:
            raise disk_error(error, str(folder)) from error


def _is_whole(line: bytes) -> bool:
    """Whether a line is as it was written."""
    hashed = line[len(START) : KEY_END] + line[HASH_END:]
    said = b"".join([START, line[len(START) : KEY_END], HASH, xxh3_64_hexdigest(hashed).encode(), line[HASH_END:]])
    return line == said


def _encoded(answer: Answer) -> bytes:
    value = asdict(answer) if isinstance(answer, Reply) else answer
    return json.dumps(value, separators=(",", ":")).encode()


def _decoded(value: Any, method: str) -> Answer:  # noqa: ANN401 - any JSON
    if method == "generate":
        return Reply(**value)
    return Score(*value) if method == "score" else dict(value)

"""Hashes that find texts shared between files of different roles: training and evaluation texts must differ."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from xxhash import xxh3_64_intdigest

LEAST_CHARACTERS = 32  # shorter texts are equal by chance
MOST_CHARACTERS = 2000  # from the beginning of a text, that are compared

Keys = npt.NDArray[np.uint64]


def keys_of(texts: Iterable[str | None]) -> Keys:
    """The hash of each text's beginning, ignoring case and white space; 0 for short texts."""
    return np.array([_key(text) if text else 0 for text in texts], np.uint64)


def count_shared(keys: Keys, other_keys: Keys) -> tuple[int, int]:
    """How many texts are long enough to be compared, and how many of these are also among the other texts."""
    long = keys[keys > 0]
    return len(long), int(np.isin(long, other_keys).sum())


@dataclass(frozen=True)
class FileKeys:
    """The sorted keys of several files, each with the number of its file."""

    keys: Keys
    owners: npt.NDArray[np.int64]

    @classmethod
    def of(cls, files: Sequence[Keys]) -> "FileKeys":
        """Merge the keys of files."""
        keys = np.concatenate([np.empty(0, np.uint64), *files])
        owners = np.repeat(np.arange(len(files)), [len(keys) for keys in files])
        order = np.argsort(keys, kind="stable")
        return cls(keys[order], owners[order])

    def count_shared(self, keys: Keys) -> tuple[int, dict[int, int]]:
        """How many texts are long enough to be compared, and how many of these each file has (if any)."""
        long = keys[keys > 0]
        if not len(long):
            return 0, {}
        first, last = (np.searchsorted(self.keys, long, side) for side in ("left", "right"))
        counts = last - first
        starts = np.repeat(first - np.cumsum(counts) + counts, counts)
        owners, hits = np.unique(self.owners[starts + np.arange(counts.sum())], return_counts=True)
        return len(long), dict(zip(owners.tolist(), hits.tolist(), strict=True))


def _key(text: str) -> int:
    plain = " ".join(text[:MOST_CHARACTERS].split()).lower()
    return int(xxh3_64_intdigest(plain.encode("utf-8", "surrogatepass"))) if len(plain) >= LEAST_CHARACTERS else 0


def texts_in(array: pa.Array | pa.ChunkedArray) -> list[str | None]:
    """The texts of a column as Python strings; bytes that are not UTF-8 are replaced."""
    try:
        return array.to_pylist()  # type: ignore[no-any-return]
    except UnicodeDecodeError:
        raw = array.cast(pa.large_binary()).to_pylist()
        return [None if text is None else text.decode("utf-8", "replace") for text in raw]

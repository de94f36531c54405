"""Hashes by which equal texts are found in files of two roles: what is trained on must not be what measures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from xxhash import xxh3_64_intdigest

LEAST_CHARACTERS = 32  # shorter texts are equal by chance
MOST_CHARACTERS = 2000  # of a text, from its beginning, that are compared

Keys = npt.NDArray[np.uint64]


def keys_of(texts: Iterable[str | None]) -> Keys:
    """The hash of each text: equal where texts begin alike, but for case and white space; 0 for short ones."""
    found = [_key(text) if text else 0 for text in texts]
    return np.array(found, np.uint64)


def shared(keys: Keys, others: Keys) -> tuple[int, int]:
    """How many of some texts are long enough to be compared, and how many of these are among `others` too."""
    long = keys[keys > 0]
    return len(long), int(np.isin(long, others).sum())


@dataclass(frozen=True)
class Owned:
    """The keys of several files, sorted, each with the number of its file."""

    keys: Keys
    owners: npt.NDArray[np.int64]

    @classmethod
    def of(cls, files: Sequence[Keys]) -> "Owned":
        """The keys of files."""
        keys = np.concatenate([np.empty(0, np.uint64), *files])
        owners = np.repeat(np.arange(len(files)), [len(keys) for keys in files])
        order = np.argsort(keys, kind="stable")
        return cls(keys[order], owners[order])

    def shared(self, keys: Keys) -> tuple[int, dict[int, int]]:
        """How many of some texts are long enough to be compared, and how many of these each file has that has any."""
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
    """The texts of a column as Python has them; what is not UTF-8 is left out."""
    try:
        return array.to_pylist()  # type: ignore[no-any-return]
    except UnicodeDecodeError:
        raw = array.cast(pa.large_binary()).to_pylist()
        return [None if one is None else one.decode("utf-8", "replace") for one in raw]

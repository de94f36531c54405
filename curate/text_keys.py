"""Hashes by which equal texts are found in files of two roles: what is trained on must not be what measures."""

from collections.abc import Iterable

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

"""Reproducible random keys: the same for the same seed and purpose, independent for another."""

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

Keys = npt.NDArray[np.uint64]


def mixed(keys: Keys, seed: int, purpose: str) -> Keys:
    """Map keys of documents to random keys (splitmix64), which give each seed and purpose its own order."""
    x = keys ^ np.uint64(xxh3_64_intdigest(f"{seed} {purpose}".encode()))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray(x ^ (x >> np.uint64(31)), np.uint64)

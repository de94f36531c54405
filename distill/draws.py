"""Reproducible random keys: the same for the same seed and purpose, independent for another."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_intdigest

from curate.filters.signals.hashes import hash_texts

Keys = npt.NDArray[np.uint64]
WEIGHT = "weight"  # the purpose of the draw of a document with a weight


def mixed(keys: Keys, seed: int, purpose: str) -> Keys:
    """Map keys of documents to random keys (splitmix64), which give each seed and purpose its own order."""
    x = keys ^ np.uint64(xxh3_64_intdigest(f"{seed} {purpose}".encode()))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray(x ^ (x >> np.uint64(31)), np.uint64)


def times_read(doc_ids: pa.Array | pa.ChunkedArray, weights: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """How often each document is read, in whole numbers: its weight rounded up or down at random; null counts as 1.

    The chance to be rounded up is the fraction of the weight, so that weights and readings agree in the mean. The draw
    depends on the doc_id alone: a document with a larger weight is read no less often.
    """
    exact = _contiguous(pc.fill_null(weights, 1)).to_numpy(zero_copy_only=False).astype(np.float64)
    keys = np.asarray(hash_texts(_contiguous(doc_ids))[1])
    uniform = (mixed(keys, 0, WEIGHT) >> np.uint64(11)).astype(np.float64) / 2.0**53
    times: npt.NDArray[np.int64] = (np.floor(exact) + (uniform < exact - np.floor(exact))).astype(np.int64)
    return times


def _contiguous(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column

"""Held-out texts that a model was trained on, or nearly: found by the shingles that they share with other texts."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.kernels.minhash import shingle_sets

SHINGLE = 5  # words
LEAK = 0.5  # of a held-out text's shingles, from which on another text nearly holds it
SIEVE_BITS = 24

LEAKS = pa.schema([("heldout", pa.int64()), ("place", pa.int64()), ("shared", pa.float32())])


def leaks(heldout: pa.Array, others: Iterable[pa.Array], least: float = LEAK) -> pa.Table:
    """The held-out texts of whose shingles one other text has `least` or more, with the first text that has most.

    Equal texts share all shingles, and so do texts that are equal but for case and punctuation. A short text in a long
    held-out one is no leak; a held-out text in a long one is.

    Out:    heldout (its number), place (of the other text, counted through all), shared.
    Cost:   about 7 MB of the others per CPU second.
    """
    sets = shingle_sets(heldout, SHINGLE)
    owners = np.repeat(np.arange(len(heldout)), np.diff(sets.offsets.to_numpy()))
    hashes = sets.values.to_numpy()
    order = np.argsort(hashes, kind="stable")
    hashes, owners = hashes[order], owners[order]
    sizes = np.bincount(owners, minlength=len(heldout))
    sieve = np.zeros(1 << SIEVE_BITS, bool)
    sieve[_sieved(hashes)] = True
    best, place = np.zeros(len(heldout)), np.full(len(heldout), -1, np.int64)
    first = 0
    for texts in others:
        found = shingle_sets(texts, SHINGLE)
        rows = np.repeat(np.arange(len(texts)), np.diff(found.offsets.to_numpy()))
        values = found.values.to_numpy()
        met = np.flatnonzero(sieve[_sieved(values)])
        for owner, row, count in _shared(values[met], rows[met], hashes, owners, len(heldout)):
            if count > best[owner]:
                best[owner], place[owner] = count, first + row
        first += len(texts)
    shares = best / np.maximum(sizes, 1)
    leaked = np.flatnonzero((shares >= least) & (sizes > 0))
    return pa.table([leaked, place[leaked], shares[leaked]], names=LEAKS.names).cast(LEAKS)


def _sieved(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    return (hashes >> np.uint64(64 - SIEVE_BITS)).astype(np.int64)


def _shared(
    values: npt.NDArray[np.uint64], rows: npt.NDArray[np.int64], hashes: npt.NDArray[np.uint64],
    owners: npt.NDArray[np.int64], heldout: int,
) -> list[list[int]]:  # fmt: skip
    """Held-out text, other text and the number of their shared shingles, in the order of the other texts."""
    start, stop = np.searchsorted(hashes, values, "left"), np.searchsorted(hashes, values, "right")
    times = stop - start
    places = np.repeat(start - np.cumsum(times) + times, times) + np.arange(times.sum())
    pairs = np.repeat(rows, times) * heldout + owners[places]
    keys, counts = np.unique(pairs, return_counts=True)
    found: list[list[int]] = np.stack([keys % heldout, keys // heldout, counts], axis=1).tolist() if heldout else []
    return found

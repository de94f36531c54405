"""Find held-out texts that are (nearly) contained in training texts, by shared shingles."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.kernels.minhash import shingle_sets

SHINGLE = 5  # words
LEAK = 0.5  # share of a held-out text's shingles in another text from which on it counts as leaked
SIEVE_BITS = 24

Hashes = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]

LEAKS = pa.schema([("heldout", pa.int64()), ("place", pa.int64()), ("shared", pa.float32())])


def leaks(heldout: pa.Array, batches: Iterable[pa.Array], min_share: float = LEAK) -> pa.Table:
    """Find held-out texts of which another text contains at least `min_share` of the shingles.

    Texts that differ only in case and punctuation share all shingles. A held-out text within a long text is a leak; a
    short text within a long held-out one is not.

    Out:    heldout (index), place (index of the first other text that contains most, over all batches), shared (share).
    Cost:   about 7 MB of the other texts per CPU second.
    """
    sets = shingle_sets(heldout, SHINGLE)
    owners = np.repeat(np.arange(len(heldout)), np.diff(sets.offsets.to_numpy()))
    hashes = sets.values.to_numpy()
    order = np.argsort(hashes, kind="stable")
    hashes, owners = hashes[order], owners[order]
    sizes = np.bincount(owners, minlength=len(heldout))
    sieve = np.zeros(1 << SIEVE_BITS, bool)
    sieve[_sieve_buckets(hashes)] = True
    best, best_rows = np.zeros(len(heldout)), np.full(len(heldout), -1, np.int64)
    n_rows_before = 0
    for texts in batches:
        batch_sets = shingle_sets(texts, SHINGLE)
        rows = np.repeat(np.arange(len(texts)), np.diff(batch_sets.offsets.to_numpy()))
        values = batch_sets.values.to_numpy()
        in_sieve = np.flatnonzero(sieve[_sieve_buckets(values)])
        for owner, row, count in _shared_counts(values[in_sieve], rows[in_sieve], hashes, owners, len(heldout)):
            if count > best[owner]:
                best[owner], best_rows[owner] = count, n_rows_before + row
        n_rows_before += len(texts)
    shares = best / np.maximum(sizes, 1)
    leaked = np.flatnonzero((shares >= min_share) & (sizes > 0))
    return pa.table([leaked, best_rows[leaked], shares[leaked]], names=LEAKS.names).cast(LEAKS)


def _sieve_buckets(hashes: Hashes) -> Indices:
    return (hashes >> np.uint64(64 - SIEVE_BITS)).astype(np.int64)


def _shared_counts(values: Hashes, rows: Indices, hashes: Hashes, owners: Indices, n_heldout: int) -> list[list[int]]:
    """Triples of held-out text, other text and the number of their shared shingles, in the order of the other texts.

    `values` are the shingles of the other texts `rows`; `hashes`, sorted, those of the held-out texts `owners`.
    """
    start, stop = np.searchsorted(hashes, values, "left"), np.searchsorted(hashes, values, "right")
    n_matches = stop - start
    positions = np.repeat(start - np.cumsum(n_matches) + n_matches, n_matches) + np.arange(n_matches.sum())
    pairs = np.repeat(rows, n_matches) * n_heldout + owners[positions]
    keys, counts = np.unique(pairs, return_counts=True)
    if not n_heldout:
        return []
    triples: list[list[int]] = np.stack([keys % n_heldout, keys // n_heldout, counts], axis=1).tolist()
    return triples

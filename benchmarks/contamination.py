"""Measure how fast texts are searched for n-grams of evaluation sets.

Usage: python benchmarks/contamination.py OTHERS FOLDER...

Looks in the texts of the Parquet files in FOLDER for a million n-grams of 13 words, drawn evenly from the texts of
OTHERS (a file or folder), and then with five shorter lengths beside, as short items have them. Figures are the least
CPU seconds of five, since machines are shared.
"""

import sys

import numpy as np
from timing import batches_in, least_of_five

from curate.kernels.overlap import find_overlaps, ngram_keys, ngram_table

NGRAM, COUNT = 13, 1_000_000


def main(others: str, *folders: str) -> None:
    """Print the figures."""
    batches = batches_in(folders)
    size = sum(batch.nbytes for batch in batches)
    keys = np.unique(np.concatenate([ngram_keys(batch, NGRAM, NGRAM)[0] for batch in batches_in([others])]))
    keys = keys[:: max(1, len(keys) // COUNT)][:COUNT]
    for shortest in (NGRAM, NGRAM - 5):
        table = ngram_table(keys, np.arange(len(keys), dtype=np.uint64), range(shortest, NGRAM + 1))
        hits = sum(int(find_overlaps(batch, table).ngrams.sum()) for batch in batches)
        seconds = least_of_five(lambda table=table: [find_overlaps(batch, table) for batch in batches])
        print(
            f"{len(keys):,} n-grams of {shortest} to {NGRAM} words, {size / 1e6:,.0f} MB of text: {hits:,} hits, "
            f"{size / 1e6 / seconds:,.0f} MB per CPU second"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])

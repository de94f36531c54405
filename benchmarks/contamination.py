"""Measure how fast texts are searched for n-grams of evaluation sets.

Usage: python benchmarks/contamination.py OTHERS FOLDER...

Looks in the texts of the Parquet files in FOLDER for a million n-grams of 13 words, drawn evenly from the texts of
OTHERS (a file or folder), and then with five shorter lengths beside, as short items have them. Figures are the least
CPU seconds of five, since machines are shared.
"""

import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.kernels.overlap import find_overlaps, ngram_keys, ngram_table

NGRAM, COUNT = 13, 1_000_000
BATCH = 1024


def main(others: str, *folders: str) -> None:
    """Print the figures."""
    batches = batches_in(*folders)
    size = sum(batch.nbytes for batch in batches)
    keys = np.unique(np.concatenate([ngram_keys(batch, NGRAM, NGRAM)[0] for batch in batches_in(others)]))
    keys = keys[:: max(1, len(keys) // COUNT)][:COUNT]
    for shortest in (NGRAM, NGRAM - 5):
        table = ngram_table(keys, np.arange(len(keys), dtype=np.uint64), range(shortest, NGRAM + 1))
        found = [find_overlaps(batch, table) for batch in batches]
        seconds = []
        for _ in range(5):
            started = time.process_time()
            for batch in batches:
                find_overlaps(batch, table)
            seconds.append(time.process_time() - started)
        hits = sum(int(some.ngrams.sum()) for some in found)
        print(
            f"{len(keys):,} n-grams of {shortest} to {NGRAM} words, {size / 1e6:,.0f} MB of text: {hits:,} hits, "
            f"{size / 1e6 / min(seconds):,.0f} MB per CPU second"
        )


def batches_in(*folders: str) -> list[pa.Array]:
    """The texts of Parquet files, and of those in folders, in batches."""
    given = [Path(folder) for folder in folders]
    files = [path for f in given for path in ([f] if f.is_file() else sorted(f.rglob("*.parquet")))]
    chunks = [c for path in files if "text" in pq.read_schema(path).names for c in pq.read_table(path)["text"].chunks]
    texts = pa.chunked_array(chunks)
    return [texts.slice(k, BATCH).combine_chunks() for k in range(0, len(texts), BATCH)]


if __name__ == "__main__":
    main(*sys.argv[1:])

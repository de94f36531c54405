"""Near duplicates by other tools. Runs in their own environment and knows nothing of curate.

Usage: python theirs_indexes.py daft|rensa|datasketch CORPUS OUT    write the rows that the tool would drop, as JSON

128 permutations and 5-word shingles of lower-cased words throughout; documents are those of
CORPUS/documents.parquet in their order, and the first of each group of duplicates stays. Each tool is used as its
documentation shows: datasketch and rensa through their LSH index with its own choice of bands for 0.8, daft through
its expression `minhash`, with bands of 18 x 7 grouped by hand, because it has no index.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

THRESHOLD, PERMUTATIONS, SHINGLE = 0.8, 128, 5
BANDS, ROWS = 18, 7


def main(tool: str, corpus: str, out: str) -> None:
    """Do what the usage says."""
    dropped = {"daft": daft, "rensa": rensa, "datasketch": datasketch}[tool](f"{corpus}/documents.parquet")
    Path(out).write_text(json.dumps(sorted(dropped)))


def shingles(documents: str) -> Iterator[list[str]]:
    """The shingles of each document."""
    for text in pq.read_table(documents, columns=["text"])["text"].to_pylist():
        words = re.findall(r"\w+", text.lower())
        yield [" ".join(words[k : k + SHINGLE]) for k in range(max(1, len(words) - SHINGLE + 1))]


def datasketch(documents: str) -> set[int]:
    """Documents whose query finds an earlier one."""
    from datasketch import MinHash, MinHashLSH

    index, dropped = MinHashLSH(THRESHOLD, PERMUTATIONS), set()
    for row, found in enumerate(shingles(documents)):
        signature = MinHash(PERMUTATIONS)
        signature.update_batch([shingle.encode() for shingle in found])
        if index.query(signature):
            dropped.add(row)
        else:
            index.insert(row, signature)
    return dropped


def rensa(documents: str) -> set[int]:
    """Documents for which the index holds an earlier one that is estimated at the threshold."""
    from rensa import RMinHash, RMinHashLSH

    index, signatures, dropped = RMinHashLSH(THRESHOLD, PERMUTATIONS, 16), {}, set()
    for row, found in enumerate(shingles(documents)):
        signature = RMinHash(PERMUTATIONS, 42)
        signature.update(found)
        if any(signature.jaccard(signatures[other]) >= THRESHOLD for other in index.query(signature)):
            dropped.add(row)
        else:
            index.insert(row, signature)
            signatures[row] = signature
    return dropped


def daft(documents: str) -> set[int]:
    """All documents but the first of those that agree in a band, directly or through others."""
    import daft as engine
    import numpy as np

    text = engine.col("text").normalize(remove_punct=True, lowercase=True, nfd_unicode=False, white_space=True)
    hashed = engine.read_parquet(documents).select(
        text.minhash(num_hashes=PERMUTATIONS, ngram_size=SHINGLE, seed=1).alias("minhash")
    )
    column = hashed.to_arrow()["minhash"].combine_chunks()
    values = column.flatten().to_numpy().reshape(-1, PERMUTATIONS)
    parent = list(range(len(values)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    for band in range(BANDS):
        keys = np.ascontiguousarray(values[:, band * ROWS : (band + 1) * ROWS]).view(f"V{4 * ROWS}").ravel()
        _, first, group = np.unique(keys, return_index=True, return_inverse=True)
        for row in np.flatnonzero(first[group] != np.arange(len(values))).tolist():
            a, b = sorted((root(row), root(int(first[group[row]]))))
            parent[b] = a
    return {row for row in range(len(values)) if root(row) != row}


if __name__ == "__main__":
    main(*sys.argv[1:])

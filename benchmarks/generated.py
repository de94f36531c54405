"""A generated corpus: as many documents as wanted, with copies, near copies, stubs and gibberish among them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

COMMON = "the be to of and a in that have I it for not on with he as you do at this but his by from they we say her she"
SHARD_ROWS = 250_000
ROW_GROUP = 1000


def write_corpus(folder: Path, documents: int, seed: int = 17) -> None:
    """Parquet shards of `documents` texts of 5 to 200 words, with columns text, id and source."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    rare = ["".join(letters) for letters in draw.choice(list("abcdefghilmnoprstu"), (20_000, 7))]
    vocabulary = np.array(COMMON.split() + rare)
    weights = 1 / np.arange(5, len(vocabulary) + 5)
    weights /= weights.sum()
    for shard, start in enumerate(range(0, documents, SHARD_ROWS)):
        count = min(SHARD_ROWS, documents - start)
        sizes = draw.integers(5, 120, count)
        words = draw.choice(vocabulary, int(sizes.sum()), p=weights)
        texts = [" ".join(some) for some in np.split(words, np.cumsum(sizes)[:-1])]
        for k in draw.choice(count - 1, count // 10, replace=False):  # a tenth are copies of the next one, half changed
            texts[k] = texts[k + 1] if k % 2 else f"{texts[k + 1]} once more"
        table = pa.table(
            {
                "text": texts,
                "id": [f"d{number:09d}" for number in range(start, start + count)],
                "source": np.array(["books", "code", "forum", "news", "web"])[draw.integers(0, 5, count)],
            }
        )
        pq.write_table(table, folder / f"{shard:05d}.parquet", compression="zstd", row_group_size=ROW_GROUP)

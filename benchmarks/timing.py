"""What benchmarks of kernels share: texts in batches, and CPU seconds."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

BATCH = 1024


def parquet_in(places: Iterable[Path | str]) -> list[Path]:
    """The Parquet files with a column `text` among these files, and in these folders."""
    given = map(Path, places)
    files = [path for place in given for path in (sorted(place.rglob("*.parquet")) if place.is_dir() else [place])]
    return [path for path in files if "text" in pq.read_schema(path).names]


def batches_in(places: Iterable[Path | str]) -> list[pa.Array]:
    """The texts of these files and folders, in batches."""
    columns = [pq.read_table(path, columns=["text"])["text"] for path in parquet_in(places)]
    texts = pa.chunked_array([chunk.cast(pa.large_string()) for column in columns for chunk in column.chunks])
    return [texts.slice(k, BATCH).combine_chunks() for k in range(0, len(texts), BATCH)]


def least_of_five(work: Callable[[], object]) -> float:
    """Least CPU seconds of five runs after one that compiles."""
    work()
    seconds = []
    for _ in range(5):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)

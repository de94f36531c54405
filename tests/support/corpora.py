"""Small corpora on disk: the packaged sample, and files of made texts."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import curate.sample

SAMPLE = Path(curate.sample.__path__[0])
EXCERPT = Path(__file__).with_name("gsm8k_excerpt.jsonl")  # of a benchmark of sums, its licence beside it
PROSE = (
    "The quick brown fox jumps over the lazy dog, and that is what the people of the town have seen with their own "
    "eyes. "
    "It is said to be one of the oldest stories, told by the fire to children who have asked for it again and again. "
)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """The sample as a corpus, and half of its good documents as a reference, which the corpus then lacks."""
    folder = tmp_path_factory.mktemp("corpus")
    table = pa.concat_tables([pq.read_table(path) for path in sorted(SAMPLE.glob("*.parquet"))])
    good = [label == "good" and k % 3 > 0 for k, label in enumerate(table["label"].to_pylist())]
    pq.write_table(table.filter(pa.array(good)), folder / "reference.parquet")
    pq.write_table(table.filter(pa.array([not one for one in good])), folder / "corpus.parquet")
    return folder


def write_shard(path, texts, **columns):
    """A Parquet file with a text column and others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string())
    pq.write_table(pa.table({"text": text, **columns}), path)
    return path


@pytest.fixture
def good(tmp_path):
    """A small Parquet file of good documents."""
    return write_shard(tmp_path / "in" / "a.parquet", [f"{PROSE} {k}" for k in range(20)])


def write_lines(path, rows, codec=None):
    data = "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)
    data = data.encode("utf-8", "surrogateescape")
    path.parent.mkdir(parents=True, exist_ok=True)
    if codec == "gzip":
        path.write_bytes(gzip.compress(data))
    elif codec == "zstd":
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(data)
    else:
        path.write_bytes(data)
    return path

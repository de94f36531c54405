"""Reads Parquet files that were damaged at places drawn by a seed, in a process of its own: a crash is seen.

Prints a line before each file that it reads, and how many were read and refused at the end.
"""

import io
import random
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curate.corpus.parquet import open_footer, read_documents
from curate.errors import CurateError
from curate.recipe.input import Input, Source

COLUMNS = {
    "text": [f"some text {k} " * (k % 7) for k in range(300)],
    "n": list(range(300)),
    "d": pa.array(["a", "b", None] * 100).dictionary_encode(),
    "s": [{"a": k, "b": ["x"] * (k % 3)} for k in range(300)],
}
VARIANTS = [
    {"compression": "none"},
    {"compression": "zstd", "write_page_checksum": True},
    {"compression": "snappy", "data_page_version": "2.0", "use_dictionary": False},
    {"compression": "gzip", "write_page_index": True, "row_group_size": 50},
]


def main(seed, count):
    """Read so many damaged files."""
    draw = random.Random(seed)
    whole = []
    for options in VARIANTS:
        buffer = io.BytesIO()
        pq.write_table(pa.table(COLUMNS), buffer, **options)
        whole.append(buffer.getvalue())
    counts = {"read": 0, "refused": 0}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        for k in range(count):
            data = bytearray(draw.choice(whole))
            footer = int.from_bytes(data[-8:-4], "little")
            first = draw.choice([0, len(data) - 8 - footer, len(data) - 8 - footer])  # most in the footer
            for _ in range(draw.choice([1, 1, 2, 8])):
                data[draw.randrange(first, len(data))] = draw.randrange(256)
            path.write_bytes(data)
            sys.stdout.write(f"{k}\n")
            sys.stdout.flush()
            counts[read(path)] += 1
    sys.stdout.write(f"{counts['read']} read, {counts['refused']} refused\n")


def read(path):
    """What became of a file: read, or refused in one line."""
    try:
        place = str(path)
        file = open_footer("a.parquet", place, place, Source(paths=[place]), Input(paths=[place]))
        for _ in read_documents(file.source, 0, file.rows, ["text"]):
            pass
        for _ in read_documents(file.source, 0, file.rows):
            pass
    except CurateError as error:
        assert len(str(error).splitlines()) == 1, str(error)
        return "refused"
    return "read"


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

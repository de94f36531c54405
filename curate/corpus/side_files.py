"""Files other than the corpus, such as evaluation sets, models and reference texts: their rows and hashes."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_128

from curate.corpus.inputs import local_files
from curate.corpus.jsonl import json_tables
from curate.corpus.parquet import read_rows
from curate.errors import InputError
from curate.storage.endings import is_json_lines
from curate.storage.places import is_remote, one_line

READ_BYTES = 1 << 20


def side_files(patterns: Sequence[str], field: str, noun: str) -> list[Path]:
    """The files that a field of the recipe names, each once; `noun` is what messages call them.

    Errors: InputError for a file that is missing, or on an object store.
    """
    for pattern in patterns:
        if is_remote(pattern):
            raise InputError(f"{field}: {pattern}: {noun} are read from local files only; copy it")
    return list(dict.fromkeys(path for pattern in patterns for path in local_files(pattern, field)))


def content_of(paths: Sequence[Path], field: str) -> str:
    """Hex xxh3-128 of the concatenated bytes of files.

    Errors: InputError for a file that cannot be read.
    """
    content = xxh3_128()
    for path in paths:
        try:
            with path.open("rb") as file:
                for block in iter(partial(file.read, READ_BYTES), b""):
                    content.update(block)
        except OSError as error:
            raise InputError(f"{field}: {path}: cannot be read: {error.strerror or error}") from None
    return str(content.hexdigest())


def tables_of(path: Path, field: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The rows of a Parquet or JSON lines file in batches of bounded size; of Parquet only `columns`.

    Errors: InputError for a file that cannot be read.
    """
    try:
        if is_json_lines(path.name):
            yield from (table for table, _ in json_tables(str(path), share=1.0))
            return
        with pq.ParquetFile(path) as file:
            names, rows = file.schema_arrow.names, file.metadata.num_rows
        for batch in read_rows(str(path), 0, rows, names if columns is None else columns):
            yield pa.Table.from_batches([batch])
    except (OSError, pa.ArrowException, EOFError) as error:
        raise InputError(f"{field}: {path}: cannot be read: {one_line(error)}") from None

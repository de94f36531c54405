"""Inputs that cannot be read at any row, JSON lines and Hugging Face datasets, written once as Parquet into the run.

Every later map then reads any rows of them at Parquet's speed, however often, and knows how many there are.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_64_hexdigest

from curate.corpus.datasets import dataset_tables
from curate.corpus.jsonl import BAD_LINES, BadLines, fitted, json_tables, widened
from curate.errors import InputError
from curate.process.task_progress import report_progress
from curate.storage.files import committed, sync
from curate.storage.places import one_line

SPOOL_VERSION = 2  # to be raised when the same input is written otherwise


def bad_lines_of(metadata: Mapping[bytes, bytes] | None) -> BadLines:
    """The lines that were left out of a file, by the metadata of its footer."""
    found = (metadata or {}).get(BAD_LINES.encode())
    return BadLines(**json.loads(found)) if found is not None else BadLines()


@dataclass(frozen=True)
class SpoolTask:
    """One input to be written as Parquet."""

    name: str
    location: str  # of the JSON lines; empty for a dataset
    dataset: Mapping[str, str]  # arguments of `datasets.load_dataset`; empty for JSON lines
    target: str
    share: float = 1.0  # about how much of it; a forecast reads the beginning only
    lenient: bool = False  # lines that are no objects are left out and counted, and are no error

    def __str__(self) -> str:
        """What is converted, for messages."""
        return self.name


def spool(task: SpoolTask) -> tuple[int, float, str]:
    """Write a task's documents as Parquet; return how many they are, their share of all, and where they lie.

    The name that the task gives gets the hash of the file's footer, and pages have checksums: so damage is found where
    the file is read, without a look at all of it before.

    Errors: InputError naming the file and the line, or the dataset, that cannot be read.
    """
    bad = BadLines()
    pieces = (
        dataset_tables(task.name, task.dataset)
        if task.dataset
        else json_tables(task.location, task.share, bad if task.lenient else None)
    )
    share = 0.0

    def tables(tell: Callable[[float], None]) -> Iterator[pa.Table]:
        nonlocal share
        for table, share in pieces:
            yield table
            tell(min(1.0, share / task.share))
            if share >= task.share < 1:
                return
        share = 1.0

    try:
        target = Path(task.target)
        target.parent.mkdir(parents=True, exist_ok=True)
        with report_progress(target.parent, target.name) as tell:
            documents = _write(tables(tell), target, bad)
        if bad.count and not documents:
            target.unlink()
            raise InputError(f"{task.location}: {bad.problems[0]}; no line of this file is a JSON object")
        named = target.with_stem(f"{target.stem}-{footer_hash(target)}")
        target.replace(named)
        sync(named.parent)
        return documents, share, str(named)
    except MemoryError:
        raise
    except (pa.ArrowException, EOFError) as error:
        raise InputError(f"{task.name}: cannot be read: {one_line(error)}") from None


def footer_hash(path: Path) -> str:
    """Hex xxh3-64 of the end of a Parquet file, from its footer on; of a file without one nothing in particular."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 8))
        length = int.from_bytes(file.read(4), "little") + 8
        file.seek(max(0, size - length))
        return str(xxh3_64_hexdigest(file.read()))


def found_spooled(target: Path) -> Path | None:
    """The undamaged file that an earlier run wrote for a target, if there is one."""
    found = target.parent.glob(f"{target.stem}-*.parquet")
    return next((path for path in found if path.stem == f"{target.stem}-{footer_hash(path)}"), None)


def _write(tables: Iterator[pa.Table], target: Path, bad: BadLines) -> int:
    """Write tables as row groups of one schema: what is written anew if a later table needs a wider one.

    The lines that were left out, known when all tables are, go into the footer.
    """
    schema: pa.Schema | None = None
    with committed(target) as aside:
        pieces: list[Path] = []
        writer: pq.ParquetWriter | None = None
        try:
            for table in tables:
                wider = widened(schema or pa.schema([]), table.schema)
                if writer is None or wider != schema:
                    schema = wider
                    if writer is not None:
                        writer.close()
                    pieces.append(aside.with_name(f"{aside.name}-{len(pieces)}"))
                    writer = _writer(pieces[-1], schema)
                writer.write_table(fitted(table, schema), row_group_size=max(1, len(table)))
            if writer is None:
                schema = pa.schema([])
                pq.write_table(schema.empty_table(), aside)
                return 0
            if len(pieces) == 1:
                writer.add_key_value_metadata(bad.as_metadata())
            writer.close()
            if len(pieces) == 1:
                pieces[0].rename(aside)
            else:
                _join(pieces, schema, aside, bad)
            return int(pq.read_metadata(aside).num_rows)
        finally:
            if writer is not None:
                writer.close()
            for piece in pieces:
                piece.unlink(missing_ok=True)


def _join(pieces: Iterable[Path], schema: pa.Schema, target: Path, bad: BadLines) -> None:
    with _writer(target, schema) as writer:
        writer.add_key_value_metadata(bad.as_metadata())
        for piece in pieces:
            with pq.ParquetFile(piece) as file:
                for k in range(file.num_row_groups):
                    table = fitted(file.read_row_group(k), schema)
                    writer.write_table(table, row_group_size=max(1, len(table)))


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True)

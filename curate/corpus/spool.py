"""Inputs without random access, JSON lines and Hugging Face datasets, written once as Parquet into the run.

Later maps then read any of their rows at Parquet's speed, and know the number of rows.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_64_hexdigest

from curate.corpus.datasets import dataset_tables
from curate.corpus.jsonl import BAD_LINES, BadLines, fit_table, json_tables, widen_schema
from curate.errors import InputError
from curate.process.task_progress import report_progress
from curate.storage.files import committed, sync
from curate.storage.places import one_line

SPOOL_VERSION = 2  # raise it when the same input is written differently


def bad_lines_of(metadata: Mapping[bytes, bytes] | None) -> BadLines:
    """The lines left out of a file, from the metadata of its footer."""
    fields = (metadata or {}).get(BAD_LINES.encode())
    return BadLines(**json.loads(fields)) if fields is not None else BadLines()


@dataclass(frozen=True)
class SpoolTask:
    """An input to write as Parquet."""

    name: str
    location: str  # of the JSON lines; empty for a dataset
    dataset: Mapping[str, str]  # arguments of `datasets.load_dataset`; empty for JSON lines
    target: str
    share: float = 1.0  # approximately; a forecast reads the beginning only
    lenient: bool = False  # leave out and count lines that are no objects

    def __str__(self) -> str:
        """The input's name, for messages."""
        return self.name


@dataclass(frozen=True, slots=True)
class SpooledFile:
    """The Parquet that a task wrote."""

    documents: int
    share: float  # of the input
    path: str


def spool(task: SpoolTask) -> SpooledFile:
    """Write a task's documents as Parquet.

    The hash of the file's footer is appended to the target's name, and pages have checksums: so damage is detected
    where the file is read, without a pass over all of it.

    Errors: InputError naming the file and the line, or the dataset, that cannot be read.
    """
    bad = BadLines()
    progress = Progress(task.share)
    try:
        target = Path(task.target)
        target.parent.mkdir(parents=True, exist_ok=True)
        with report_progress(target.parent, target.name) as report:
            documents = _write(progress.tables(_tables_of(task, bad), report), target, bad)
        if bad.count and not documents:
            target.unlink()
            raise InputError(f"{task.location}: {bad.problems[0]}; no line of this file is a JSON object")
        path = target.with_stem(f"{target.stem}-{footer_hash(target)}")
        target.replace(path)
        sync(path.parent)
        return SpooledFile(documents, progress.share, str(path))
    except MemoryError:
        raise
    except (pa.ArrowException, EOFError) as error:
        raise InputError(f"{task.name}: cannot be read: {one_line(error)}") from None


def _tables_of(task: SpoolTask, bad: BadLines) -> Iterator[tuple[pa.Table, float]]:
    """The documents of a task as tables, each with the share of the input read by then."""
    if task.dataset:
        return dataset_tables(task.name, task.dataset)
    return json_tables(task.location, task.share, bad if task.lenient else None)


class Progress:
    """The share of an input that is read, up to a limit."""

    def __init__(self, limit: float) -> None:
        self.limit, self.share = limit, 0.0

    def tables(self, source: Iterable[tuple[pa.Table, float]], report: Callable[[float], None]) -> Iterator[pa.Table]:
        """The tables up to the limit; `report` receives the share of the limit that is read."""
        for table, self.share in source:
            yield table
            report(min(1.0, self.share / self.limit))
            if self.share >= self.limit < 1:
                return
        self.share = 1.0


def footer_hash(path: Path) -> str:
    """Hex xxh3-64 of a Parquet file from its footer on; for a file without footer, of arbitrary bytes."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 8))
        length = int.from_bytes(file.read(4), "little") + 8
        file.seek(max(0, size - length))
        return str(xxh3_64_hexdigest(file.read()))


def find_spooled(target: Path) -> Path | None:
    """The undamaged file that an earlier run wrote for a target, if there is one."""
    paths = target.parent.glob(f"{target.stem}-*.parquet")
    return next((path for path in paths if path.stem == f"{target.stem}-{footer_hash(path)}"), None)


def _write(tables: Iterator[pa.Table], target: Path, bad: BadLines) -> int:
    """Write tables as row groups of one schema; if a later table needs a wider one, rewrite those before it.

    The footer records the bad lines, which are complete after the last table.
    """
    schema: pa.Schema | None = None
    with committed(target) as aside:
        pieces: list[Path] = []
        writer: pq.ParquetWriter | None = None
        try:
            for table in tables:
                wider = widen_schema(schema or pa.schema([]), table.schema)
                if writer is None or wider != schema:
                    schema = wider
                    if writer is not None:
                        writer.close()
                    pieces.append(aside.with_name(f"{aside.name}-{len(pieces)}"))
                    writer = _writer(pieces[-1], schema)
                writer.write_table(fit_table(table, schema), row_group_size=max(1, len(table)))
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
                    table = fit_table(file.read_row_group(k), schema)
                    writer.write_table(table, row_group_size=max(1, len(table)))


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True)

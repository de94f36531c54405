"""The first map: read the units of a task once, edit the texts, measure all missing groups, commit the parts."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_128

from curate.corpus.edits import PART as EDIT_PART
from curate.corpus.parquet import Source, read_documents
from curate.corpus.texts import texts_of
from curate.corpus.units import MAX_UNIT_BYTES, MAX_UNIT_ROWS, MIN_UNIT_BYTES, Unit
from curate.errors import InputError
from curate.filters.signals.hashes import hash_texts
from curate.ledger.names import DOCUMENTS, EDITS
from curate.ledger.parts import Part, write_part
from curate.maps.groups import RAW_HASH, Batch, group
from curate.maps.reading import Reading
from curate.process.task_progress import report_progress

TASK_BYTES = (MIN_UNIT_BYTES + MAX_UNIT_BYTES) // 2


@dataclass(frozen=True)
class MeasureTask:
    """Units to read, and the groups to measure on them."""

    run: str
    units: tuple[Unit, ...]
    sources: Mapping[int, Source]  # by file_no
    groups: Mapping[str, str]  # group to digest
    reading: Reading

    @property
    def name(self) -> str:
        """The position of the first unit; names the task's parts."""
        return f"{self.units[0].file_no:05d}-{self.units[0].start:010d}"

    def __str__(self) -> str:
        """The files and rows of the task, for messages."""
        first, last = self.units[0], self.units[-1]
        path = self.sources[first.file_no].location
        more = f" to {self.sources[last.file_no].location}" if last.file_no != first.file_no else ""
        return f"{path} rows {first.start} to {last.stop}{more}"


def measure(task: MeasureTask) -> list[Part]:
    """Measure a task's groups and commit one part each.

    Errors: InputError with `file_no` of the file that cannot be read.
    """
    collected: dict[str, list[pa.Table]] = {name: [] for name in task.groups}
    contents: list[str] = []
    with report_progress(Path(task.run), task.name) as report:
        _read_units(task, collected, contents, report)
    parts = []
    for name, digest in task.groups.items():
        table = pa.concat_tables(collected[name])
        hashes = tuple(contents) if name == DOCUMENTS else ()
        parts.append(write_part(Path(task.run), name, digest, task.name, table, units=task.units, contents=hashes))
    return parts


def _read_units(
    task: MeasureTask, collected: Mapping[str, list[pa.Table]], contents: list[str], report: Callable[[float], None]
) -> None:
    """Measure the task's documents batch by batch into `collected`, and hash each unit's content."""
    groups = [group(name) for name in task.groups]
    columns = list(dict.fromkeys(column for measured in groups for column in measured.needs(task.reading)))
    rows, done = max(1, sum(unit.stop - unit.start for unit in task.units)), 0
    for unit in task.units:
        source = task.sources[unit.file_no]
        content = xxh3_128()
        try:
            row = unit.start
            for columns_read in read_documents(source, unit.start, unit.stop, columns):
                batch = Batch(columns_read, task.reading)
                for measured in groups:
                    table = measured.measure(batch)
                    if measured.name == DOCUMENTS:
                        _feed(content, *(table[name].combine_chunks() for name in RAW_HASH))
                    collected[measured.name].append(_keyed(measured.name, table, unit.file_no, row))
                row += len(columns_read)
                done += len(columns_read)
                report(done / rows)
        except InputError as error:
            prefix = "" if source.location in str(error) else f"{source.location}: "
            raise InputError(f"{prefix}{error}", unit.file_no) from None
        contents.append(content.hexdigest())


def _keyed(name: str, table: pa.Table, file_no: int, row: int) -> pa.Table:
    """`table`, measured on a batch that starts at `row` of a file, with the key (file_no, row)."""
    if "row" in table.schema.names:  # within the batch
        table = table.set_column(0, "row", pc.add(table["row"], row))
    else:
        table = table.add_column(0, "row", pa.array(np.arange(row, row + len(table), dtype=np.int64)))
    table = table.add_column(0, "file_no", pa.array(np.full(len(table), file_no, np.int32)))
    return table.cast(EDIT_PART) if name == EDITS else table


def content_hash(texts: Iterable[pa.Array]) -> str:
    """Hex xxh3-128 over the hashes of a unit's raw texts (or messages) in order, independent of batches."""
    content = xxh3_128()
    for array in texts:
        _feed(content, *hash_texts(pc.fill_null(texts_of(array), "")))
    return str(content.hexdigest())


def _feed(content: Any, high: pa.Array, low: pa.Array) -> None:  # noqa: ANN401 - xxhash has no public type for its state
    """Add documents' hashes, big-endian, to the hash of a unit's content."""
    content.update(np.stack([half.to_numpy().byteswap() for half in (high, low)], axis=1).tobytes())


def plan_tasks(
    run: Path,
    units: Sequence[Unit],
    sizes: Sequence[int],
    sources: Mapping[int, Source],
    reading: Reading,
    missing: Mapping[Unit, tuple[str, ...]],
    digests: Mapping[str, str],
) -> list[MeasureTask]:
    """Tasks of about 96 MB of text over all units, each with the groups that its units lack.

    Small units are combined, so that a corpus of many small files makes few parts. The boundaries depend on all units
    and not on what is already measured, so a resumed run writes the same parts as an uninterrupted one.
    """
    tasks = []
    for together in _combined(units, sizes):
        for groups in dict.fromkeys(missing[unit] for unit in together):
            if not groups:
                continue
            lacking = tuple(unit for unit in together if missing[unit] == groups)
            task = MeasureTask(
                run=str(run),
                units=lacking,
                sources={file_no: sources[file_no] for file_no in {unit.file_no for unit in lacking}},
                groups={name: digests[name] for name in groups},
                reading=reading,
            )
            tasks.append(task)
    return tasks


def _combined(units: Sequence[Unit], sizes: Sequence[int]) -> Iterator[list[Unit]]:
    """Consecutive units combined up to TASK_BYTES and MAX_UNIT_ROWS."""
    combined: list[Unit] = []
    size = rows = 0
    for unit, unit_size in zip(units, sizes, strict=True):
        if combined and (size + unit_size > TASK_BYTES or rows + unit.stop - unit.start > MAX_UNIT_ROWS):
            yield combined
            combined, size, rows = [], 0, 0
        combined.append(unit)
        size += unit_size
        rows += unit.stop - unit.start
    yield combined

"""The first map: read a task's units once, edit them, measure every signal group that lacks them, commit the parts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
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
    """Some units, and the groups to be measured on each."""

    run: str
    units: tuple[Unit, ...]
    sources: Mapping[int, Source]  # by file_no
    groups: Mapping[str, str]  # group to digest
    reading: Reading

    @property
    def name(self) -> str:
        """Names the task's parts: the place where it starts."""
        return f"{self.units[0].file_no:05d}-{self.units[0].start:010d}"

    def __str__(self) -> str:
        """Where the task works, for messages."""
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
    with report_progress(Path(task.run), task.name) as tell:
        _read_units(task, collected, contents, tell)
    parts = []
    for name, digest in task.groups.items():
        table = pa.concat_tables(collected[name])
        hashes = tuple(contents) if name == DOCUMENTS else ()
        parts.append(write_part(Path(task.run), name, digest, task.name, table, units=task.units, contents=hashes))
    return parts


def _read_units(
    task: MeasureTask, collected: Mapping[str, list[pa.Table]], contents: list[str], tell: Callable[[float], None]
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
                tell(done / rows)
        except InputError as error:
            where = "" if source.location in str(error) else f"{source.location}: "
            raise InputError(f"{where}{error}", unit.file_no) from None
        contents.append(content.hexdigest())


def _keyed(name: str, table: pa.Table, file_no: int, row: int) -> pa.Table:
    """`table`, measured on a batch that begins at `row` of a file, with its key."""
    if "row" in table.schema.names:  # within the batch
        table = table.set_column(0, "row", pc.add(table["row"], row))
    else:
        table = table.add_column(0, "row", pa.array(np.arange(row, row + len(table), dtype=np.int64)))
    table = table.add_column(0, "file_no", pa.array(np.full(len(table), file_no, np.int32)))
    return table.cast(EDIT_PART) if name == EDITS else table


def content_hash(texts: Iterable[pa.Array]) -> str:
    """Hex xxh3-128 over the hashes of a unit's raw texts (or messages) in order, however they were cut into batches."""
    content = xxh3_128()
    for array in texts:
        _feed(content, *hash_texts(pc.fill_null(texts_of(array), "")))
    return str(content.hexdigest())


def _feed(content: Any, high: pa.Array, low: pa.Array) -> None:  # noqa: ANN401 - xxhash has no public type for its state
    """Add documents' hashes, big-endian, to the hash of a unit's content."""
    content.update(np.stack([half.to_numpy().byteswap() for half in (high, low)], axis=1).tobytes())


def plan_tasks(
    run: Path, units: Sequence[Unit], sizes: Sequence[int], sources: Mapping[int, Source], reading: Reading,
    missing: Mapping[Unit, tuple[str, ...]], digests: Mapping[str, str],
) -> list[MeasureTask]:  # fmt: skip
    """Tasks of about 96 MB of text over all units, each without the groups that its units have.

    Small units are put together, so that a corpus of many small files makes few parts. The cuts depend on all units
    and not on what is done already: a resumed run makes the same parts as one that was never stopped.
    """
    tasks: list[MeasureTask] = []

    def close(held: list[Unit]) -> None:
        for groups in dict.fromkeys(missing[unit] for unit in held):  # units that lack the same groups go together
            chosen = tuple(unit for unit in held if missing[unit] == groups)
            if groups:
                used = {no: sources[no] for no in {unit.file_no for unit in chosen}}
                tasks.append(MeasureTask(str(run), chosen, used, {g: digests[g] for g in groups}, reading))

    held: list[Unit] = []
    size = rows = 0
    for unit, unit_size in zip(units, sizes, strict=True):
        if held and (size + unit_size > TASK_BYTES or rows + unit.stop - unit.start > MAX_UNIT_ROWS):
            close(held)
            held, size, rows = [], 0, 0
        held.append(unit)
        size += unit_size
        rows += unit.stop - unit.start
    close(held)
    return tasks

"""Maps over some documents of a corpus that are read again while a run decides."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_128

from curate.corpus.parquet import Source, read_documents
from curate.corpus.texts import texts_of
from curate.corpus.units import Unit, by_units
from curate.digest import READING, code_of, digest_of
from curate.ledger.parts import Part, write_part
from curate.maps.reading import Reading
from curate.process.task_progress import telling


@dataclass(frozen=True, eq=False)
class Again:
    """Some documents of a unit, with what is to be known of each."""

    run: str
    unit: Unit
    documents: pa.Table  # row, and further columns; sorted
    source: Source
    reading: Reading
    digest: str
    more: Any = None

    @property
    def name(self) -> str:
        """Names the task's parts: the place where it starts."""
        return f"{self.unit.file_no:05d}-{self.unit.start:010d}"

    def __str__(self) -> str:
        """Where the task works, for messages."""
        return f"{self.source.location} rows {self.unit.start} to {self.unit.stop}"


def plan_again(
    run: Path, documents: pa.Table, units: Sequence[Unit], sources: Mapping[int, Source], reading: Reading,
    code: Sequence[str], depends: object = None, more: Any = None,  # noqa: ANN401
) -> list[Again]:  # fmt: skip
    """A task for each unit that holds some of the documents (file_no, row, …), which are sorted.

    `code` names the modules that do the work, and its results depend on `depends`; `more` goes with each task.
    """
    digest = digest_of(
        [code_of(__name__, *READING, *code), str(reading), edits_in(reading), _content(documents), depends]
    )
    columns = [name for name in documents.schema.names if name != "file_no"]
    return [
        Again(str(run), unit, held.select(columns), sources[unit.file_no], reading, digest, more)
        for unit, held in by_units(documents, units)
    ]


def edits_in(reading: Reading) -> list[Any]:
    """What the edits of documents depend on."""
    return [(editor.name, editor.bounds, editor.code) for editor in reading.editors]


def _content(documents: pa.Table) -> str:
    """Hash of a table of numbers and lists of numbers."""
    content = xxh3_128()
    for column in (column.combine_chunks() for column in documents.columns):
        if pa.types.is_large_list(column.type) or pa.types.is_list(column.type):
            content.update(np.ascontiguousarray(pc.list_value_length(column).to_numpy()).tobytes())
            column = column.flatten()
        content.update(np.ascontiguousarray(pc.fill_null(column, 0).to_numpy()).tobytes())
    return str(content.hexdigest())


def texts_again(task: Again) -> Iterator[tuple[pa.Table, pa.Array]]:
    """The task's documents, batch by batch, with their raw texts."""
    wanted = task.documents["row"].to_numpy()
    position, rows = task.unit.start, max(1, task.unit.stop - task.unit.start)
    with telling(Path(task.run), task.name) as tell:
        for batch in read_documents(task.source, task.unit.start, task.unit.stop, [task.reading.text]):
            start, stop = np.searchsorted(wanted, (position, position + len(batch)))
            places = pa.array(wanted[start:stop] - position)
            yield task.documents.slice(start, stop - start), texts_of(batch.column(task.reading.text).take(places))
            position += len(batch)
            tell((position - task.unit.start) / rows)


def write_again(task: Again, group: str, tables: Sequence[pa.Table]) -> Part:
    """Commit what a task made of its documents as one part; the tables begin with file_no and row."""
    return write_part(Path(task.run), group, task.digest, task.name, pa.concat_tables(tables), units=(task.unit,))


def keyed(table: pa.Table, rows: np.ndarray, file_no: int | np.ndarray) -> pa.Table:
    """A table with rows among some documents as one with rows of their file, or of the file of each."""
    places = table["row"].to_numpy()
    file_nos = np.broadcast_to(file_no, len(rows)).astype(np.int32)
    table = table.set_column(0, "row", pa.array(rows[places], pa.int64()))
    return table.add_column(0, "file_no", pa.array(file_nos[places]))

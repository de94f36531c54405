"""Maps over some documents of a corpus that are read again while a run decides."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from xxhash import xxh3_128

from curate.corpus.edits import sorted_edits
from curate.corpus.parquet import Source, read_documents
from curate.corpus.texts import texts_of
from curate.corpus.units import Unit, by_units
from curate.digest import READING, code_of, digest_of
from curate.ledger.parts import Part, write_part
from curate.maps.reading import Reading
from curate.process.task_progress import report_progress


@dataclass(frozen=True, eq=False)
class RereadTask:
    """Some documents of a unit that are read again, with what is to be known of each."""

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

    def texts(self) -> Iterator[tuple[pa.Table, pa.Array]]:
        """The task's documents, batch by batch, with their raw texts."""
        wanted = self.documents["row"].to_numpy()
        position, rows = self.unit.start, max(1, self.unit.stop - self.unit.start)
        with report_progress(Path(self.run), self.name) as tell:
            for batch in read_documents(self.source, self.unit.start, self.unit.stop, [self.reading.text]):
                start, stop = np.searchsorted(wanted, (position, position + len(batch)))
                places = pa.array(wanted[start:stop] - position)
                yield self.documents.slice(start, stop - start), texts_of(batch.column(self.reading.text).take(places))
                position += len(batch)
                tell((position - self.unit.start) / rows)

    def write(self, group: str, tables: Sequence[pa.Table]) -> Part:
        """Commit what was made of the documents as one part; the tables begin with file_no and row."""
        return write_part(Path(self.run), group, self.digest, self.name, pa.concat_tables(tables), units=(self.unit,))


@dataclass(frozen=True)
class CorpusReader:
    """The corpus of a run, of which some documents can be read again."""

    run: Path
    units: Sequence[Unit]
    sources: Mapping[int, Source]
    reading: Reading

    def plan(
        self,
        documents: pa.Table,
        code: Sequence[str],
        depends: object = None,
        more: Any = None,  # noqa: ANN401
    ) -> list[RereadTask]:
        """A task for each unit that has some of the documents (file_no, row, …), which are sorted.

        `code` names the modules that do the work, and its results depend on `depends`; `more` goes with each task.
        """
        digest = digest_of([
            code_of(__name__, *READING, *code), str(self.reading), edits_in(self.reading), _content(documents), depends,
        ])  # fmt: skip
        columns = [name for name in documents.schema.names if name != "file_no"]
        return [
            RereadTask(
                str(self.run), unit, held.select(columns), self.sources[unit.file_no], self.reading, digest, more
            )
            for unit, held in by_units(documents, self.units)
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


def keyed(table: pa.Table, rows: np.ndarray, file_no: int | np.ndarray) -> pa.Table:
    """A table with rows among some documents as one with rows of their file, or of the file of each."""
    places = table["row"].to_numpy()
    file_nos = np.broadcast_to(file_no, len(rows)).astype(np.int32)
    table = table.set_column(0, "row", pa.array(rows[places], pa.int64()))
    return table.add_column(0, "file_no", pa.array(file_nos[places]))


def with_cuts(edits: pa.Table, cuts: Sequence[str], file_no: int, rows: np.ndarray) -> pa.Table:
    """Edits of some documents (rows among them), and the lines that were cut out of them."""
    if not cuts or not len(rows):
        return edits
    wanted = [("file_no", "=", file_no), ("row", ">=", int(rows[0])), ("row", "<=", int(rows[-1]))]
    table = pq.read_table(list(cuts), columns=["row", "start", "end", "replacement", "reason"], filters=wanted)
    places = np.minimum(np.searchsorted(rows, table["row"].to_numpy()), len(rows) - 1)
    held = pa.array(rows[places] == table["row"].to_numpy())
    table = table.set_column(0, "row", pa.array(places, pa.int64())).filter(held)
    return sorted_edits(pa.concat_tables([edits, table.cast(edits.schema)]).unify_dictionaries())

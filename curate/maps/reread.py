"""Maps that read some documents of the corpus again while a run decides."""

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
from curate.maps.reading import Reading, editor_identities
from curate.process.task_progress import report_progress


@dataclass(frozen=True, eq=False)
class RereadTask:
    """Some documents of a unit to read again, with further columns for each."""

    run: str
    unit: Unit
    documents: pa.Table  # row, and further columns; sorted
    source: Source
    reading: Reading
    digest: str
    more: Any = None  # what the map's function needs

    @property
    def name(self) -> str:
        """The position of the unit; names the task's parts."""
        return f"{self.unit.file_no:05d}-{self.unit.start:010d}"

    def __str__(self) -> str:
        """The rows of the unit, for messages."""
        return f"{self.source.location} rows {self.unit.start} to {self.unit.stop}"

    def texts(self) -> Iterator[tuple[pa.Table, pa.Array]]:
        """The task's documents, batch by batch, with their raw texts."""
        rows = self.documents["row"].to_numpy()
        position, rows_in_unit = self.unit.start, max(1, self.unit.stop - self.unit.start)
        with report_progress(Path(self.run), self.name) as report:
            for batch in read_documents(self.source, self.unit.start, self.unit.stop, [self.reading.text]):
                start, stop = np.searchsorted(rows, (position, position + len(batch)))
                indices = pa.array(rows[start:stop] - position)
                yield self.documents.slice(start, stop - start), texts_of(batch.column(self.reading.text).take(indices))
                position += len(batch)
                report((position - self.unit.start) / rows_in_unit)

    def write(self, group: str, tables: Sequence[pa.Table]) -> Part:
        """Commit results as one part; the tables begin with file_no and row."""
        return write_part(Path(self.run), group, self.digest, self.name, pa.concat_tables(tables), units=(self.unit,))


@dataclass(frozen=True)
class CorpusReader:
    """The corpus of a run, to plan maps over some of its documents."""

    run: Path
    units: Sequence[Unit]
    sources: Mapping[int, Source]  # by file_no
    reading: Reading

    def plan(
        self,
        documents: pa.Table,
        code: Sequence[str],
        depends: object = None,
        more: Any = None,  # noqa: ANN401
    ) -> list[RereadTask]:
        """A task for each unit that contains some of the documents (file_no, row, …; sorted).

        `code` names the modules that do the work, and its results depend on `depends`; `more` goes with each task.
        """
        digest = digest_of(
            [
                code_of(__name__, *READING, *code),
                str(self.reading),
                editor_identities(self.reading),
                _content(documents),
                depends,
            ]
        )
        columns = [name for name in documents.schema.names if name != "file_no"]
        return [
            RereadTask(
                run=str(self.run),
                unit=unit,
                documents=in_unit.select(columns),
                source=self.sources[unit.file_no],
                reading=self.reading,
                digest=digest,
                more=more,
            )
            for unit, in_unit in by_units(documents, self.units)
        ]


def _content(documents: pa.Table) -> str:
    """Hash of a table of numbers and lists of numbers."""
    content = xxh3_128()
    for column in (column.combine_chunks() for column in documents.columns):
        if pa.types.is_large_list(column.type) or pa.types.is_list(column.type):
            content.update(np.ascontiguousarray(pc.list_value_length(column).to_numpy()).tobytes())
            column = column.flatten()
        content.update(np.ascontiguousarray(pc.fill_null(column, 0).to_numpy()).tobytes())
    return str(content.hexdigest())


def add_keys(table: pa.Table, rows: np.ndarray, file_no: int | np.ndarray) -> pa.Table:
    """Replace `row`, an index into documents, by the key (file_no, row) of that document.

    `rows` are the rows of the documents in their files; `file_no` is their file, or the file of each.
    """
    indices = table["row"].to_numpy()
    file_nos = np.broadcast_to(file_no, len(rows)).astype(np.int32)
    table = table.set_column(0, "row", pa.array(rows[indices], pa.int64()))
    return table.add_column(0, "file_no", pa.array(file_nos[indices]))


def with_cuts(edits: pa.Table, cuts: Sequence[str], file_no: int, rows: np.ndarray) -> pa.Table:
    """Edits of some documents, whose `row` is an index into `rows`, and the lines cut out of these documents."""
    if not cuts or not len(rows):
        return edits
    in_rows = [("file_no", "=", file_no), ("row", ">=", int(rows[0])), ("row", "<=", int(rows[-1]))]
    table = pq.read_table(list(cuts), columns=["row", "start", "end", "replacement", "reason"], filters=in_rows)
    indices = np.minimum(np.searchsorted(rows, table["row"].to_numpy()), len(rows) - 1)
    is_among = pa.array(rows[indices] == table["row"].to_numpy())
    table = table.set_column(0, "row", pa.array(indices, pa.int64())).filter(is_among)
    return sorted_edits(pa.concat_tables([edits, table.cast(edits.schema)]).unify_dictionaries())

"""Sample a corpus for a forecast: evenly spaced pieces of rows, the same at every call."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.corpus.parquet import InputFile, read_documents
from curate.corpus.units import Unit, unit_bytes
from curate.decide.plan import Plan
from curate.maps.shards import cast_to_schema, value_bytes

SHARE = 0.01  # of the documents
MIN_DOCUMENTS = 4096
MAX_BYTES = 64_000_000  # of text
PIECE_DOCUMENTS = 64
MAX_PIECES = 512
GOLDEN = (math.sqrt(5) - 1) / 2
DECODED_BYTES = 512_000_000  # of text, at most: to reach a row, its row group is decoded from the start


@dataclass(frozen=True)
class Sample:
    """The sample as one file, and its size."""

    path: Path
    documents: int
    text_bytes: int
    corpus_text_bytes: int  # an estimate for the whole corpus


def sample_units(plan: Plan) -> list[Unit]:
    """Choose the rows to read: pieces of equal size, spread evenly over the corpus or the decodable part of it."""
    groups = [group for no, file in plan.files.items() for group in _row_groups(no, file)]
    documents = sum(unit.stop - unit.start for unit, _ in groups)
    size = sum(size for _, size in groups)
    rows = min(max(SHARE * documents, MIN_DOCUMENTS), documents)
    rows = max(1, math.floor(min(rows, documents * MAX_BYTES / max(size, 1))))
    if rows == documents:
        return [unit for unit, _ in groups]
    pieces = min(max(1, rows // PIECE_DOCUMENTS), MAX_PIECES)
    return spread(_within_reach(groups, pieces), rows, pieces)


def _row_groups(file_no: int, file: InputFile) -> Iterator[tuple[Unit, int]]:
    """Yield each row group that has documents, with its text bytes; for a partial preview, only what it has."""
    if file.rows_present is not None:
        yield Unit(file_no, 0, file.rows_present), sum(file.group_bytes) * file.rows_present // max(1, file.rows)
        return
    start = 0
    for rows, size in zip(file.group_rows, file.group_bytes, strict=True):
        if rows:
            yield Unit(file_no, start, start + rows), size
        start += rows


def _within_reach(groups: Sequence[tuple[Unit, int]], pieces: int) -> list[Unit]:
    """The ranges of rows to take pieces from: whole row groups, or the first rows of huge ones.

    A row is reached by decoding the rows before it, so huge row groups would take too long.
    """
    size = sum(size for _, size in groups)
    if size <= DECODED_BYTES:
        return [unit for unit, _ in groups]
    count = max(1, min(pieces, len(groups), DECODED_BYTES * len(groups) // size))
    touched = spread([unit for unit, _ in groups], count, count)[::-1]
    chosen: list[tuple[Unit, int]] = []
    for unit, size in groups:  # both are in the order of the input
        inside = False
        while touched and touched[-1].file_no == unit.file_no and touched[-1].start < unit.stop:
            touched.pop()
            inside = True
        if inside:
            chosen.append((unit, size))
    reach = DECODED_BYTES // len(chosen)
    return [
        Unit(unit.file_no, unit.start, unit.start + max(1, (unit.stop - unit.start) * min(reach, size) // max(1, size)))
        for unit, size in chosen
    ]


def spread(ranges: Sequence[Unit], count: int, pieces: int) -> list[Unit]:
    """About `count` rows of `ranges` in pieces, one in each of `pieces` equal shares of all rows.

    The offset of a piece within its share follows the golden ratio, so that it is not in step with periodic data.
    """
    lengths = [unit.stop - unit.start for unit in ranges]
    ends = list(accumulate(lengths))
    pieces = min(pieces, ends[-1])
    length = min(-(-count // pieces), ends[-1] // pieces)
    units: list[Unit] = []
    k = 0
    for piece in range(pieces):
        first, last = ends[-1] * piece // pieces, ends[-1] * (piece + 1) // pieces - length
        start = first + math.floor((last - first) * (piece * GOLDEN % 1))
        stop = start + length
        while start < stop:  # a piece may span several ranges
            while ends[k] <= start:
                k += 1
            upto = min(stop, ends[k])
            offset = ranges[k].start - (ends[k] - lengths[k])
            units.append(Unit(ranges[k].file_no, start + offset, upto + offset))
            start = upto
    return units


def write_sample(plan: Plan, folder: Path) -> Sample:
    """Copy the sampled rows, with all columns in the corpus's schema, into one Parquet file.

    Errors: InputError for a file that cannot be read.
    """
    path = folder / "sample.parquet"
    tables: list[pa.Table] = []
    sizes: list[tuple[int, int]] = []  # of each piece: its text bytes, true and by the footer
    for unit, rows in _read(plan, sample_units(plan)):
        tables.append(rows)
        sizes.append((value_bytes(rows[plan.reading.text]), unit_bytes(unit, plan.files[unit.file_no])))
    table = pa.concat_tables(tables).combine_chunks()
    pq.write_table(table, path, compression="zstd", row_group_size=max(1, len(table)))
    text = sum(size for size, _ in sizes)
    is_complete = all(file.rows_present is None for file in plan.files.values())
    if is_complete and len(table) == sum(file.rows for file in plan.files.values()):
        return Sample(path, len(table), text, text)
    footer_bytes = sum(sum(file.group_bytes) for file in plan.files.values())
    return Sample(path, len(table), text, round(footer_bytes * _correction(sizes)))


def _read(plan: Plan, units: Sequence[Unit]) -> Iterator[tuple[Unit, pa.Table]]:
    """Yield pieces of `units` with their rows; the units of a row group are read in one pass."""
    for (no, _), group in groupby(units, key=lambda unit: (unit.file_no, group_of(unit, plan))):
        members = list(group)
        source = plan.sources[no]
        position = members[0].start
        for batch in read_documents(source, members[0].start, members[-1].stop, plan.inputs.names):
            for unit in members:
                first, last = max(unit.start, position), min(unit.stop, position + len(batch))
                if first < last:
                    # Copied, since a slice would keep the whole batch in memory.
                    rows = batch.take(pa.array(np.arange(first - position, last - position)))
                    table = cast_to_schema(pa.Table.from_batches([rows]), plan.inputs, source.location)
                    yield Unit(no, first, last), table
            position += len(batch)


def group_of(unit: Unit, plan: Plan) -> int:
    """The number of the row group in which a unit begins."""
    return bisect_right(list(accumulate(plan.files[unit.file_no].group_rows)), unit.start)


def _correction(sizes: Sequence[tuple[int, int]]) -> float:
    """The factor to correct the footers' text sizes by: 1, unless the sample contradicts them.

    A footer has the exact size of a column whose values are stored one by one. Where a dictionary stores repeated
    values once, its size is too low. The sample's size has an error, since documents differ in length. So the footers
    are trusted as long as the sample's size is within three standard errors of theirs.
    """
    text, footer = (sum(column) for column in zip(*sizes, strict=True))
    if not text or not footer:
        return 1.0
    ratio = text / footer
    spread = sum((text_size - ratio * footer_size) ** 2 for text_size, footer_size in sizes)
    error = math.sqrt(spread * len(sizes) / max(1, len(sizes) - 1)) / footer
    return 1.0 if len(sizes) > 1 and abs(ratio - 1) <= 3 * error else ratio

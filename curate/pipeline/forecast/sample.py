"""A small corpus for a forecast: batches of rows from evenly spaced places of a large one, the same at every call."""

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
from curate.maps.shards import fitted, payload

SHARE = 0.01  # of the documents
MIN_DOCUMENTS = 4096
MAX_BYTES = 64_000_000  # of text
PLACE_DOCUMENTS = 64  # read in one piece
MAX_PLACES = 512
GOLDEN = (math.sqrt(5) - 1) / 2
DECODED_BYTES = 512_000_000  # of text, at most, to reach the rows: a row group is decoded from its begin


@dataclass(frozen=True)
class Sample:
    """A sampled corpus: one file, and what is known of it."""

    path: Path
    documents: int
    text_bytes: int
    corpus_text_bytes: int  # of the whole corpus, as estimated


def place_units(plan: Plan) -> list[Unit]:
    """The rows to read: pieces of equal size, spread evenly over the corpus or what can be decoded of it."""
    groups = [group for no, file in plan.files.items() for group in _row_groups(no, file)]
    documents = sum(unit.stop - unit.start for unit, _ in groups)
    size = sum(size for _, size in groups)
    wanted = min(max(SHARE * documents, MIN_DOCUMENTS), documents)
    wanted = max(1, math.floor(min(wanted, documents * MAX_BYTES / max(size, 1))))
    if wanted == documents:
        return [unit for unit, _ in groups]
    places = min(max(1, wanted // PLACE_DOCUMENTS), MAX_PLACES)
    return spread(_within_reach(groups, places), wanted, places)


def _row_groups(file_no: int, file: InputFile) -> Iterator[tuple[Unit, int]]:
    """Each row group with documents, and its bytes of text; of an input that is only begun, what is there."""
    if file.held is not None:
        yield Unit(file_no, 0, file.held), sum(file.group_bytes) * file.held // max(1, file.rows)
        return
    start = 0
    for rows, size in zip(file.group_rows, file.group_bytes, strict=True):
        if rows:
            yield Unit(file_no, start, start + rows), size
        start += rows


def _within_reach(groups: Sequence[tuple[Unit, int]], places: int) -> list[Unit]:
    """The row groups to take places from, or the begin of huge ones: a row is reached through those before it."""
    size = sum(size for _, size in groups)
    if size <= DECODED_BYTES:
        return [unit for unit, _ in groups]
    count = max(1, min(places, len(groups), DECODED_BYTES * len(groups) // size))
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


def spread(ranges: Sequence[Unit], wanted: int, places: int) -> list[Unit]:
    """About `wanted` rows of `ranges` in pieces, one in each of `places` equal shares of all rows.

    Where in its share a piece lies follows the golden ratio, so as not to be in step with anything that repeats.
    """
    rows = [unit.stop - unit.start for unit in ranges]
    ends = list(accumulate(rows))
    places = min(places, ends[-1])
    length = min(-(-wanted // places), ends[-1] // places)
    units: list[Unit] = []
    k = 0
    for place in range(places):
        first, last = ends[-1] * place // places, ends[-1] * (place + 1) // places - length
        start = first + math.floor((last - first) * (place * GOLDEN % 1))
        stop = start + length
        while start < stop:  # a piece may reach over several ranges
            while ends[k] <= start:
                k += 1
            upto = min(stop, ends[k])
            offset = ranges[k].start - (ends[k] - rows[k])
            units.append(Unit(ranges[k].file_no, start + offset, upto + offset))
            start = upto
    return units


def write_sample(plan: Plan, folder: Path) -> Sample:
    """Copy the sampled rows, with all columns in the corpus's schema, into one Parquet file.

    Errors: InputError for a file that cannot be read.
    """
    path = folder / "sample.parquet"
    tables: list[pa.Table] = []
    sizes: list[tuple[int, int]] = []  # of each place: its text, and what the footer thinks of it
    for unit, table in _read(plan, place_units(plan)):
        tables.append(table)
        sizes.append((payload(table[plan.reading.text]), unit_bytes(unit, plan.files[unit.file_no])))
    whole = pa.concat_tables(tables).combine_chunks()
    pq.write_table(whole, path, compression="zstd", row_group_size=max(1, len(whole)))
    text = sum(size for size, _ in sizes)
    if all(file.held is None for file in plan.files.values()) and len(whole) == sum(
        f.rows for f in plan.files.values()
    ):
        return Sample(path, len(whole), text, text)
    known = sum(sum(file.group_bytes) for file in plan.files.values())
    return Sample(path, len(whole), text, round(known * _correction(sizes)))


def _read(plan: Plan, units: Sequence[Unit]) -> Iterator[tuple[Unit, pa.Table]]:
    """Pieces of `units` with their rows; those of one row group are read in one pass."""
    for (no, _), group in groupby(units, key=lambda unit: (unit.file_no, group_of(unit, plan))):
        held = list(group)
        source = plan.sources[no]
        position = held[0].start
        for batch in read_documents(source, held[0].start, held[-1].stop, plan.inputs.names):
            for unit in held:
                first, last = max(unit.start, position), min(unit.stop, position + len(batch))
                if first < last:
                    # A slice would keep the whole batch in memory.
                    rows = batch.take(pa.array(np.arange(first - position, last - position)))
                    table = fitted(pa.Table.from_batches([rows]), plan.inputs, source.location)
                    yield Unit(no, first, last), table
            position += len(batch)


def group_of(unit: Unit, plan: Plan) -> int:
    """The number of the row group in which a unit begins."""
    return bisect_right(list(accumulate(plan.files[unit.file_no].group_rows)), unit.start)


def _correction(sizes: Sequence[tuple[int, int]]) -> float:
    """What to multiply the footers' sizes of text with: 1, unless the sample contradicts them.

    A footer knows the size of a column exactly where its values are stored one by one, and too low where a dictionary
    stores repeated values once. The sample knows the size with an error, since documents differ in length; so the
    footers are believed as long as the sample's size lies within three standard errors of theirs.
    """
    text, footer = (sum(column) for column in zip(*sizes, strict=True))
    if not text or not footer:
        return 1.0
    ratio = text / footer
    spread = sum((found - ratio * known) ** 2 for found, known in sizes)
    error = math.sqrt(spread * len(sizes) / max(1, len(sizes) - 1)) / footer
    return 1.0 if len(sizes) > 1 and abs(ratio - 1) <= 3 * error else ratio

"""A small corpus for a forecast: batches of rows from evenly spaced places of a large one, the same at every call."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curate.corpus import InputFile, Unit, check_unchanged, read_rows, unit_bytes
from curate.plan import Plan
from curate.shards import fitted, payload

SHARE = 0.01  # of the documents
MIN_DOCUMENTS = 4096
MAX_BYTES = 64_000_000  # of text
PLACE_DOCUMENTS = 64  # read in one piece
MAX_PLACES = 512
GOLDEN = (math.sqrt(5) - 1) / 2
SKIP_BYTES = 256_000_000  # that are decoded and thrown away, over all places, to reach rows within large row groups


@dataclass(frozen=True)
class Sample:
    """A sampled corpus: one file, and what is known of it."""

    path: Path
    documents: int
    text_bytes: int
    places: int
    corpus_text_bytes: int  # of the whole corpus, as estimated


def place_units(plan: Plan) -> list[Unit]:
    """The rows to read: pieces of equal size, spread evenly over the corpus."""
    numbers = list(plan.files)
    rows = [plan.files[no].rows for no in numbers]
    size = sum(sum(plan.files[no].group_bytes) for no in numbers)
    documents = sum(rows)
    wanted = min(max(SHARE * documents, MIN_DOCUMENTS), documents)
    wanted = max(1, math.floor(min(wanted, documents * MAX_BYTES / max(size, 1))))
    places = min(max(1, wanted // PLACE_DOCUMENTS), MAX_PLACES)
    length = min(-(-wanted // places), documents // places)
    ends = list(accumulate(rows))
    units: list[Unit] = []
    file = 0
    for k in range(places):  # one in each equal share of the corpus, and not in step with anything that repeats in it
        first, last = documents * k // places, documents * (k + 1) // places - length
        start = first + math.floor((last - first) * (k * GOLDEN % 1))
        stop = start + length
        while start < stop:
            while ends[file] <= start:
                file += 1
            begins = ends[file] - rows[file]
            upto = min(stop, ends[file])
            units.append(Unit(numbers[file], start - begins, upto - begins))
            start = upto
    return [_within_reach(unit, plan.files[unit.file_no], SKIP_BYTES // len(units)) for unit in units]


def _within_reach(unit: Unit, file: InputFile, skip: int) -> Unit:
    """The unit, moved towards the begin of its row group where reading up to it would take too long."""
    begin = 0
    for rows in file.group_rows:
        if begin + rows > unit.start:
            break
        begin += rows
    before = unit_bytes(Unit(unit.file_no, begin, unit.start), file)
    if before <= skip:
        return unit
    start = begin + (unit.start - begin) * skip // before
    return Unit(unit.file_no, start, start + unit.stop - unit.start)


def write_sample(plan: Plan, folder: Path) -> Sample:
    """Copy the sampled rows, with all columns in the corpus's schema, into one Parquet file.

    Errors: InputError for a file that cannot be read.
    """
    units = place_units(plan)
    path = folder / "sample.parquet"
    sizes: list[tuple[int, int]] = []  # of each place: its text, and what the footer thinks of it
    with pq.ParquetWriter(path, plan.inputs, compression="zstd") as writer:
        tables = []
        for unit in units:
            table = pa.concat_tables(_rows(plan, unit))
            tables.append(table)
            sizes.append((payload(table[plan.reading.text]), unit_bytes(unit, plan.files[unit.file_no])))
        whole = pa.concat_tables(tables).combine_chunks()
        writer.write_table(whole, row_group_size=max(1, len(whole)))
    known = sum(sum(file.group_bytes) for file in plan.files.values())
    return Sample(path, len(whole), sum(size for size, _ in sizes), len(units), round(known * _correction(sizes)))


def _rows(plan: Plan, unit: Unit) -> Iterator[pa.Table]:
    source = plan.sources[unit.file_no]
    check_unchanged(Path(source.path), source.size, source.mtime_ns)
    columns = [name for name in plan.inputs.names if name in plan.files[unit.file_no].schema.names]
    for batch in read_rows(Path(source.path), unit.start, unit.stop, columns):
        yield fitted(pa.Table.from_batches([batch]), plan.inputs, Path(source.path))


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

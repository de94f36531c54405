"""Units: ranges of rows of a file that are measured at a time."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from curate.corpus.parquet import InputFile

MIN_UNIT_BYTES = int(os.environ.get("CURATE_UNIT_BYTES", 64 << 20))
MAX_UNIT_BYTES = 2 * MIN_UNIT_BYTES
MAX_UNIT_ROWS = 1 << 18  # bounds the memory of a unit's signals where documents are tiny


@dataclass(frozen=True, order=True)
class Unit:
    """A range of rows of one file: the grain of work, resume and retry."""

    file_no: int
    start: int
    stop: int


def cut_units(file_no: int, file: InputFile) -> list[Unit]:
    """Ranges of rows with 64 to 128 MB of text; small row groups are joined, large ones are split."""
    units: list[Unit] = []
    start = position = 0
    held = 0
    for rows, size in zip(file.group_rows, file.group_bytes, strict=True):
        if not rows:  # a group without rows has bytes all the same, such as a dictionary's
            continue
        if held and (held + size > MAX_UNIT_BYTES or position + rows - start > MAX_UNIT_ROWS):
            units.append(Unit(file_no, start, position))
            start, held = position, 0
        position += rows
        held += size
        pieces = max(-(-held // MAX_UNIT_BYTES), -(-(position - start) // MAX_UNIT_ROWS))
        if pieces > 1:
            bounds = [start + (position - start) * k // pieces for k in range(pieces + 1)]
            units += [Unit(file_no, a, b) for a, b in pairwise(bounds) if a < b]
            start, held = position, 0
        elif held >= MIN_UNIT_BYTES:
            units.append(Unit(file_no, start, position))
            start, held = position, 0
    if position > start:
        units.append(Unit(file_no, start, position))
    return units


def unit_bytes(unit: Unit, file: InputFile) -> int:
    """Estimated bytes of text in a unit."""
    total = position = 0
    for rows, size in zip(file.group_rows, file.group_bytes, strict=True):
        overlap = min(unit.stop, position + rows) - max(unit.start, position)
        total += size * max(0, overlap) // max(1, rows)
        position += rows
    return total


def by_units(documents: pa.Table, units: Sequence[Unit]) -> Iterator[tuple[Unit, pa.Table]]:
    """Those of `units` that hold some of the documents (file_no, row, …), which are sorted, each with what it holds."""
    file_nos, rows = documents["file_no"].to_numpy(), documents["row"].to_numpy()
    for unit in units:
        first, last = np.searchsorted(file_nos, (unit.file_no, unit.file_no + 1))
        start, stop = first + np.searchsorted(rows[first:last], (unit.start, unit.stop))
        if stop > start:
            yield unit, documents.slice(start, stop - start)

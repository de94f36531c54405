"""Units: ranges of rows of a file, each measured by one task."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from curate.corpus.parquet import InputFile

MIN_UNIT_BYTES = int(os.environ.get("CURATE_UNIT_BYTES", 64 << 20))
MAX_UNIT_BYTES = 2 * MIN_UNIT_BYTES
MAX_UNIT_ROWS = 1 << 18  # bounds the memory of a unit's signals for tiny documents


@dataclass(frozen=True, order=True)
class Unit:
    """A range of rows of one file: the grain of work, resume and retry."""

    file_no: int
    start: int
    stop: int


def cut_units(file_no: int, file: InputFile) -> list[Unit]:
    """Ranges of rows with 64 to 128 MB of text; small row groups are joined, large ones split."""
    units: list[Unit] = []
    start = position = 0
    pending_bytes = 0
    for rows, size in zip(file.group_rows, file.group_bytes, strict=True):
        if not rows:  # such a group may have bytes, of a dictionary for example
            continue
        if pending_bytes and (pending_bytes + size > MAX_UNIT_BYTES or position + rows - start > MAX_UNIT_ROWS):
            units.append(Unit(file_no, start, position))
            start, pending_bytes = position, 0
        position += rows
        pending_bytes += size
        pieces = max(-(-pending_bytes // MAX_UNIT_BYTES), -(-(position - start) // MAX_UNIT_ROWS))
        if pieces > 1:
            bounds = [start + (position - start) * k // pieces for k in range(pieces + 1)]
            units += [Unit(file_no, a, b) for a, b in pairwise(bounds) if a < b]
            start, pending_bytes = position, 0
        elif pending_bytes >= MIN_UNIT_BYTES:
            units.append(Unit(file_no, start, position))
            start, pending_bytes = position, 0
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
    """The units that have any of the sorted documents (file_no, row, …), each with its documents."""
    file_nos, rows = documents["file_no"].to_numpy(), documents["row"].to_numpy()
    for unit in units:
        first, last = np.searchsorted(file_nos, (unit.file_no, unit.file_no + 1))
        start, stop = first + np.searchsorted(rows[first:last], (unit.start, unit.stop))
        if stop > start:
            yield unit, documents.slice(start, stop - start)

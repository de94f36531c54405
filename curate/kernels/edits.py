"""Apply edits, and resolve overlaps between them."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.kernels.arrow import Bytes, Offsets, plain_text, text_views
from curate.kernels.jit import kernel

Flags = npt.NDArray[np.bool_]


def edited(texts: pa.Array, rows: pa.Array, starts: pa.Array, ends: pa.Array, replacements: pa.Array) -> pa.Array:
    """Apply edits: replace bytes start to end of a row, or delete them where the replacement is null.

    In:     texts as string or large_string, sliced or not, nulls allowed; sorted edits without overlaps: rows, starts
            and ends as integers, replacements as string.
    Out:    large_string, null where the text is null.
    Cost:   one copy of the bytes.
    Oracle: slices of Python's bytes, the last edit first (tests/corpus/test_edits.py).
    Errors: ValueError for an edit that reaches beyond its text, overlaps the previous edit or splits a character.
    """
    texts = plain_text(texts)
    if len(rows) == 0:
        return texts.cast(pa.large_string())
    offsets, data = text_views(texts)
    places = (_int64(rows), _int64(starts), _int64(ends))
    inserted, insertions = text_views(plain_text(replacements))
    sizes = np.diff(offsets)
    wrong = _sizes(offsets, data, *places, inserted, sizes)
    if wrong >= 0:
        row, start, end = (int(place[wrong]) for place in places)
        size = int(offsets[row + 1] - offsets[row]) if 0 <= row < len(texts) else "no"
        raise ValueError(f"edit {start}:{end} of row {row} does not fit a text of {size} bytes, or the edit before it")
    bounds = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum(sizes, out=bounds[1:])
    made = np.empty(int(bounds[-1]), dtype=np.uint8)
    _make(offsets, data, *places, inserted, insertions, bounds, made)
    valid = pa.array(texts.is_valid().to_numpy(zero_copy_only=False)).buffers()[1] if texts.null_count else None
    return pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(bounds), pa.py_buffer(made), valid)


def first_hold(rows: pa.Array, starts: pa.Array, ends: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Resolve overlaps: return the new start (int32) of each edit and whether it is kept.

    An edit within an earlier one is dropped. An edit that extends beyond an earlier one begins where that one ends.

    In:     integers; edits sorted by row, start and descending end.
    """
    trimmed, keep = _first_hold(_int64(rows), _int64(starts), _int64(ends))
    return pa.array(trimmed, pa.int64()).cast(pa.int32()), pa.array(keep)


def _int64(column: pa.Array) -> Offsets:
    # A writable copy: these kernels are compiled for one signature, and Arrow arrays are read-only.
    return np.array(column.to_numpy(), dtype=np.int64)


@kernel
def _sizes(
    offsets: Offsets, data: Bytes, rows: Offsets, starts: Offsets, ends: Offsets, inserted: Offsets, sizes: Offsets
) -> int:
    """Change `sizes` to those of the edited texts; return the index of the first edit that does not fit, or -1."""
    row, reached = np.int64(-1), np.int64(0)
    for k in range(len(rows)):
        if rows[k] < row or rows[k] >= len(offsets) - 1:
            return k
        if rows[k] != row:
            row, reached = rows[k], np.int64(0)
        base, size = offsets[row], offsets[row + 1] - offsets[row]
        if not reached <= starts[k] <= ends[k] <= size:
            return k
        for place in (starts[k], ends[k]):
            if place < size and data[base + place] & 0xC0 == 0x80:
                return k
        reached = ends[k]
        sizes[row] += inserted[k + 1] - inserted[k] - (ends[k] - starts[k])
    return -1


@kernel
def _make(
    offsets: Offsets, data: Bytes, rows: Offsets, starts: Offsets, ends: Offsets, inserted: Offsets,
    insertions: Bytes, bounds: Offsets, made: Bytes,
) -> None:  # fmt: skip
    k = 0
    for row in range(len(offsets) - 1):
        out, source = bounds[row], offsets[row]
        while k < len(rows) and rows[k] == row:
            stop = offsets[row] + starts[k]
            made[out : out + stop - source] = data[source:stop]
            out += stop - source
            size = inserted[k + 1] - inserted[k]
            made[out : out + size] = insertions[inserted[k] : inserted[k + 1]]
            out += size
            source = offsets[row] + ends[k]
            k += 1
        made[out : out + offsets[row + 1] - source] = data[source : offsets[row + 1]]


@kernel
def _first_hold(rows: Offsets, starts: Offsets, ends: Offsets) -> tuple[Offsets, Flags]:
    trimmed, keep = starts.copy(), np.ones(len(rows), dtype=np.bool_)
    row, reached = np.int64(-1), np.int64(0)
    for k in range(len(rows)):
        if rows[k] != row:
            row, reached = rows[k], np.int64(0)
        if starts[k] < reached:
            keep[k] = ends[k] > reached
            trimmed[k] = reached
        if keep[k]:
            reached = ends[k]
    return trimmed, keep

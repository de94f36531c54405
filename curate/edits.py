"""Edits: cuts and replacements in byte offsets of the raw text, kept so that the original stays reachable."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from curate.filters.registry import Edit
from curate.kernels.arrow import plain_text, text_views

# Within a batch; parts carry file_no before these and stage after them.
FOUND = pa.schema(
    [
        ("row", pa.int64()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("replacement", pa.large_string()),
        ("reason", pa.string()),
    ]
)
PART = pa.schema([("file_no", pa.int32()), *FOUND, ("stage", pa.string())])


def find_edits(texts: pa.Array, editors: Sequence[Edit]) -> pa.Table:
    """The cuts that all editors make in `texts`, sorted by row and place; where two overlap, the first one holds."""
    tables = [editor.find(texts).cast(FOUND) for editor in editors]
    if not tables:
        return FOUND.empty_table()
    table = pa.concat_tables(tables).sort_by([("row", "ascending"), ("start", "ascending"), ("end", "descending")])
    rows, starts, ends = (table[name].to_numpy() for name in ("row", "start", "end"))
    keep = np.ones(len(table), dtype=bool)
    row, reached = -1, 0
    for k in range(len(table)):
        if rows[k] != row:
            row, reached = rows[k], 0
        keep[k] = starts[k] >= reached
        if keep[k]:
            reached = ends[k]
    return table.filter(pa.array(keep))


def apply_edits(texts: pa.Array, edits: pa.Table) -> pa.Array:
    """`texts` with `edits` made (rows count within `texts`, sorted, not overlapping), as large_string.

    Errors: ValueError for an edit that reaches beyond its text or cuts a character in two.
    """
    texts = plain_text(texts)
    if len(edits) == 0:
        return texts.cast(pa.large_string())
    offsets, data = text_views(texts)
    edited: dict[int, list[bytes]] = {}
    reached: dict[int, int] = {}
    columns = (edits[name].to_pylist() for name in ("row", "start", "end", "replacement"))
    for row, start, end, replacement in zip(*columns, strict=True):
        if not 0 <= row < len(texts):
            raise ValueError(f"an edit in row {row}, of {len(texts)} texts")
        base, size = int(offsets[row]), int(offsets[row + 1] - offsets[row])
        last = reached.get(row, 0)
        inside = any(place < size and data[base + place] & 0xC0 == 0x80 for place in (start, end) if place >= 0)
        if not last <= start <= end <= size or inside:
            raise ValueError(f"edit {start}:{end} does not fit a text of {size} bytes edited up to {last}")
        edited.setdefault(row, []).append(data[base + last : base + start].tobytes() + (replacement or "").encode())
        reached[row] = end
    pieces: list[bytes | memoryview | None] = []
    view, present = memoryview(data), texts.is_valid().to_pylist()  # type: ignore[arg-type]
    for row in range(len(texts)):
        start, end = int(offsets[row]), int(offsets[row + 1])
        if not present[row]:
            pieces.append(None)
        elif row in edited:
            pieces.append(b"".join(edited[row]) + data[start + reached[row] : end].tobytes())
        else:
            pieces.append(view[start:end])
    result = pa.array(pieces, pa.large_binary()).cast(pa.large_string(), safe=True)
    return result

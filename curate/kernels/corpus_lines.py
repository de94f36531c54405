"""Lines that a corpus repeats: the hashes that identify them, and the cuts that remove them."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.kernels.arrow import Bytes, Offsets, plain_text, text_views
from curate.kernels.cuts import BLANK, KEPT, Codes, Cuts, as_cuts, cut_lines, split_lines
from curate.kernels.jit import kernel
from curate.kernels.lines import strip
from curate.kernels.minhash import GROWTH, IN_CONTEXT, split_words
from curate.kernels.xxh3 import xxh3_64

Hashes = npt.NDArray[np.uint64]

NO_SPANS = np.empty((0, 4), dtype=np.int64)
NO_WORDS = np.uint64(0)  # hash of a line without words, such as "}" or "---", which never counts as repeated


def line_hashes(texts: pa.Array) -> pa.Array:
    r"""Sorted, distinct hashes of each text's lines.

    Two lines are equal if they have the same shingle words (see minhash.py), whatever the punctuation and white space
    between them. A line without words has no hash. If the lower case of a capital depends on its context, the hash is
    that of the line's bytes.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    large_list of uint64, null where the text is null.
    Oracle: `xxhash.xxh3_64_intdigest` over the words that `re` finds in each line (tests/dedup/test_lines.py).
    """
    texts = plain_text(texts)
    views = text_views(texts)
    lines, begins = split_lines(*views)
    bounds, hashes = _distinct(_hashes(*views, lines, begins), lines)
    found = pa.LargeListArray.from_arrays(pa.array(bounds), pa.array(hashes))
    if not texts.null_count:
        return found
    return pa.LargeListArray.from_arrays(pa.array(bounds), pa.array(hashes), mask=texts.is_null())


def repeated_line_cuts(texts: pa.Array, repeated: pa.Array) -> Cuts:
    """Find the cuts that remove the lines whose hashes are listed for their text (see `cuts.cut_lines`).

    In:     texts as for `line_hashes`; for each text a sorted list of hashes, as large_list of uint64.
    Oracle: lines from Python's `str.split` (tests/dedup/test_lines.py).
    """
    views = text_views(plain_text(texts))
    lines, begins = split_lines(*views)
    listed = repeated.offsets.to_numpy(), repeated.values.to_numpy()
    codes = _codes(*views, lines, begins, _hashes(*views, lines, begins), *listed)
    return as_cuts(cut_lines(*views, lines, begins, codes, NO_SPANS, 0))


def raw_places(
    cuts: Cuts, rows: pa.Array, starts: pa.Array, ends: pa.Array, sizes: pa.Array
) -> tuple[Offsets, Offsets]:
    """Map cuts in edited texts to their starts and ends in the raw texts.

    A raw cut includes the edits inside it and excludes those directly before and after it.

    In:     cuts sorted by row and start; edits, sorted likewise: row, start and end in the raw text, and the size of
            the replacement.
    Oracle: edits applied one by one (tests/dedup/test_lines.py).
    """
    edits = tuple(np.array(column, dtype=np.int64) for column in (rows, starts, ends, sizes))
    places = (np.array(column, dtype=np.int64) for column in cuts[:3])
    return _raw_places(*places, *edits)


@kernel
def _hashes(offsets: Offsets, data: Bytes, lines: Offsets, begins: Offsets) -> Hashes:
    hashes = np.zeros(len(begins), dtype=np.uint64)
    longest = np.int64(0)
    for row in range(len(offsets) - 1):
        for j in range(lines[row], lines[row + 1]):
            longest = max(longest, _line_end(offsets, lines, begins, row, j) - begins[j])
    out = np.empty(GROWTH * longest + 8, dtype=np.uint8)
    starts = np.empty(longest // 2 + 3, dtype=np.int64)
    for row in range(len(offsets) - 1):
        for j in range(lines[row], lines[row + 1]):
            begin, finish, _, _ = strip(data, begins[j], _line_end(offsets, lines, begins, row, j))
            if begin >= finish:
                continue
            n = split_words(data, begin, finish, out, starts)
            if n > 0:
                hashes[j] = xxh3_64(np.int64(out.ctypes.data), starts[n] - 1)
            elif n == IN_CONTEXT:
                hashes[j] = xxh3_64(data.ctypes.data + begin, finish - begin)
    return hashes


@kernel
def _line_end(offsets: Offsets, lines: Offsets, begins: Offsets, row: int, j: int) -> int:
    return offsets[row + 1] if j == lines[row + 1] - 1 else begins[j + 1] - 1


@kernel
def _distinct(hashes: Hashes, lines: Offsets) -> tuple[Offsets, Hashes]:
    bounds = np.zeros(len(lines), dtype=np.int64)
    found = np.empty(len(hashes), dtype=np.uint64)
    for row in range(len(lines) - 1):
        mine = np.sort(hashes[lines[row] : lines[row + 1]])
        size = bounds[row]
        for k in range(len(mine)):
            if mine[k] != NO_WORDS and (k == 0 or mine[k] != mine[k - 1]):
                found[size] = mine[k]
                size += 1
        bounds[row + 1] = size
    return bounds, found[: bounds[len(lines) - 1]].copy()


@kernel
def _codes(
    offsets: Offsets, data: Bytes, lines: Offsets, begins: Offsets, hashes: Hashes, bounds: Offsets, listed: Hashes
) -> Codes:
    codes = np.full(len(begins), KEPT, dtype=np.int8)
    for row in range(len(offsets) - 1):
        mine = listed[bounds[row] : bounds[row + 1]]
        for j in range(lines[row], lines[row + 1]):
            begin, finish, _, _ = strip(data, begins[j], _line_end(offsets, lines, begins, row, j))
            k = np.searchsorted(mine, hashes[j])
            if begin >= finish:
                codes[j] = BLANK
            elif hashes[j] != NO_WORDS and k < len(mine) and mine[k] == hashes[j]:
                codes[j] = 0
    return codes


@kernel
def _raw_places(
    rows: Offsets, starts: Offsets, ends: Offsets,
    edit_rows: Offsets, edit_starts: Offsets, edit_ends: Offsets, sizes: Offsets,
) -> tuple[Offsets, Offsets]:  # fmt: skip
    raw_starts, raw_ends = starts.copy(), ends.copy()
    # at_place: whether an edit that leaves nothing at a position counts as before it
    for raw, at_place in ((raw_starts, 1), (raw_ends, 0)):
        edit = grown = np.int64(0)
        row = np.int64(-1)
        for k in range(len(rows)):
            if rows[k] != row:
                row, grown = rows[k], np.int64(0)
                while edit < len(edit_rows) and edit_rows[edit] < row:
                    edit += 1
            while edit < len(edit_rows) and edit_rows[edit] == row:
                begin = edit_starts[edit] + grown
                if begin + sizes[edit] > raw[k] or (begin == raw[k] and not at_place):
                    break
                grown += sizes[edit] - (edit_ends[edit] - edit_starts[edit])
                edit += 1
            raw[k] -= grown
    return raw_starts, raw_ends

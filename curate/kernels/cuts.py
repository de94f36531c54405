"""Cutting lines: where lines begin, and the cuts that take some of them out and leave no gaps."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.kernels.arrow import Bytes, Offsets
from curate.kernels.jit import kernel
from curate.kernels.lines import find_byte

Codes = npt.NDArray[np.int8]
Table = npt.NDArray[np.int64]

NEWLINE = 0x0A
KEPT, BLANK = -1, -2  # what a line is, where it is not the code of the reason for which it is cut
LINE, START, END, CODE = range(4)  # columns of cuts within lines
ROW = 0  # and in the place of LINE, of all cuts


class Cuts(NamedTuple):
    """Cuts sorted by row and place, with the number of the reason."""

    rows: pa.Array  # int64
    starts: pa.Array  # int32, bytes from the beginning of the text
    ends: pa.Array  # int32
    codes: pa.Array  # int8


def as_cuts(table: Table) -> Cuts:
    """Rows of (row, start, end, code) as Arrow columns."""
    rows, starts, ends, codes = (pa.array(np.ascontiguousarray(table[:, k])) for k in range(4))
    return Cuts(rows, starts.cast(pa.int32()), ends.cast(pa.int32()), codes.cast(pa.int8()))


@kernel
def split_lines(offsets: Offsets, data: Bytes) -> tuple[Offsets, Offsets]:
    """For each text the number of its first line, and for each line the byte where it begins; a text has one at least.

    Line j ends before begins[j + 1] - 1, where a newline stands, and the last line of a text where the text ends.
    """
    n = len(offsets) - 1
    total = np.int64(n)
    for i in range(offsets[0], offsets[n]):
        total += data[i] == NEWLINE
    lines, begins = np.zeros(n + 1, dtype=np.int64), np.empty(total, dtype=np.int64)
    j = np.int64(0)
    for row in range(n):
        lines[row] = j
        begins[j] = offsets[row]
        j += 1
        stop = find_byte(data, offsets[row], offsets[row + 1], NEWLINE)
        while stop < offsets[row + 1]:
            begins[j] = stop + 1
            j += 1
            stop = find_byte(data, stop + 1, offsets[row + 1], NEWLINE)
    lines[n] = j
    return lines, begins


@kernel
def cut_lines(
    offsets: Offsets, data: Bytes, lines: Offsets, begins: Offsets, codes: Codes, spans: Table, n_spans: int
) -> Table:
    """The cuts (row, start, end, code) that take out the lines with a code, and the spans within lines that stay.

    1. A line goes with the newline that ends it.
    2. A blank line stays, but for blank lines right behind a cut line where a blank line, or nothing, stays before it.
    3. Where nothing but blank lines stays behind a cut line, the text ends with the last line that stays before it, and
       with a newline if it ended with one: all behind that line goes, so the cuts reach back over blank lines, and
       without a newline at the end they begin at the newline before a line instead of after it.
    """
    size = n_spans
    for j in range(len(codes)):
        size += codes[j] >= 0
    cuts = np.empty((size, 4), dtype=np.int64)
    n = span = np.int64(0)
    for row in range(len(offsets) - 1):
        base, end = offsets[row], offsets[row + 1]
        pending, kept_stop = n, np.int64(-1)  # the first cut behind the last line that stays, and where that one ends
        after_blank = True
        for j in range(lines[row], lines[row + 1]):
            last = j == lines[row + 1] - 1
            begin, after = begins[j], end if last else begins[j + 1]
            while span < n_spans and spans[span, LINE] < j:
                span += 1
            if codes[j] >= 0:
                cuts[n, ROW], cuts[n, START], cuts[n, END], cuts[n, CODE] = row, begin, after, codes[j]
                n += 1
            elif codes[j] == BLANK:
                if after_blank and n > pending and cuts[n - 1, END] == begin:
                    cuts[n - 1, END] = after
                else:
                    after_blank = True
            else:
                while span < n_spans and spans[span, LINE] == j:
                    cuts[n, ROW], cuts[n, START], cuts[n, END] = row, spans[span, START], spans[span, END]
                    cuts[n, CODE] = spans[span, CODE]
                    n += 1
                    span += 1
                pending, after_blank = n, False
                kept_stop = after if last else after - 1
        if n > pending:
            ends_with_newline = data[end - 1] == NEWLINE
            cuts[pending, START] = base
            if kept_stop >= 0:
                cuts[pending, START] = kept_stop + ends_with_newline
            back = np.int64(kept_stop >= 0 and not ends_with_newline)
            for k in range(pending, n - 1):
                cuts[k, END] = cuts[k + 1, START] = cuts[k + 1, START] - back
            cuts[n - 1, END] = end
        for k in range(n - 1, -1, -1):
            if cuts[k, ROW] != row:
                break
            cuts[k, START] -= base
            cuts[k, END] -= base
    return cuts[:n]


@kernel
def add_span(spans: Table, n: int, line: int, start: int, end: int, code: int) -> Table:
    """`spans` with a further cut within a line, in more memory where it is full."""
    if n == len(spans):
        more = np.empty((2 * n + 16, 4), dtype=np.int64)
        more[:n] = spans
        spans = more
    spans[n, LINE], spans[n, START], spans[n, END], spans[n, CODE] = line, start, end, code
    return spans

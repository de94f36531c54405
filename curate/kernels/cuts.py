"""Cutting lines: where lines begin, and the cuts that remove lines without leaving gaps."""

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
KEPT, BLANK = -1, -2  # codes of lines that are not cut; other codes are the reasons for cuts
LINE, START, END, CODE = range(4)  # columns of a table of cuts within lines
ROW = 0  # takes the place of LINE in a table of cuts within texts


class Cuts(NamedTuple):
    """Cuts sorted by row and start, with the codes of their reasons."""

    rows: pa.Array  # int64
    starts: pa.Array  # int32, bytes from the beginning of the text
    ends: pa.Array  # int32
    codes: pa.Array  # int8


def as_cuts(table: Table) -> Cuts:
    """Convert rows of (row, start, end, code) to Arrow columns."""
    rows, starts, ends, codes = (pa.array(np.ascontiguousarray(table[:, k])) for k in range(4))
    return Cuts(rows, starts.cast(pa.int32()), ends.cast(pa.int32()), codes.cast(pa.int8()))


@kernel
def split_lines(offsets: Offsets, data: Bytes) -> tuple[Offsets, Offsets]:
    """Index of each text's first line, and first byte of each line; every text has at least one line.

    Line j ends at its newline, begins[j + 1] - 1. The last line of a text ends where the text ends.
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
    """Find the cuts (row, start, end, code) that remove the lines with a code, and the spans within lines that stay.

    1. A line is cut with the newline that ends it.
    2. A blank line stays, unless it directly follows a cut line and what stays before that is a blank line or nothing.
    3. If only blank lines would stay after a cut line, the text ends with the last non-blank line that stays before it,
       and with a newline if it ended with one. Everything after that line is cut: the cuts extend back over blank
       lines. Without a newline at the end of the text, they begin at the newline before a line instead of after it.
    """
    size = n_spans
    for j in range(len(codes)):
        size += codes[j] >= 0
    cuts = np.empty((size, 4), dtype=np.int64)
    n = span = np.int64(0)
    for row in range(len(offsets) - 1):
        base, end = offsets[row], offsets[row + 1]
        pending, kept_stop = n, np.int64(-1)  # first cut after the last non-blank line that stays, and its end
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
    """Append a cut within a line to `spans`; return the table, reallocated if it was full."""
    if n == len(spans):
        more = np.empty((2 * n + 16, 4), dtype=np.int64)
        more[:n] = spans
        spans = more
    spans[n, LINE], spans[n, START], spans[n, END], spans[n, CODE] = line, start, end, code
    return spans

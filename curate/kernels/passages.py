"""The passages of texts: lines, or runs of lines that belong together, which are kept or cut as a whole."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.kernels.arrow import Bytes, Offsets, plain_text, text_views
from curate.kernels.cuts import split_lines
from curate.kernels.jit import inline, kernel
from curate.kernels.lines import BULLETS, TERMINALS, continuations, strip

KINDS = ("prose", "short", "list", "table", "indented", "fenced")  # of a passage: that of its first line
PROSE, SHORT, LIST, TABLE, INDENTED, FENCED = range(len(KINDS))
SHORT_LINE = 45  # characters; shorter lines without a mark at their end are headings, entries of menus and the like
WRAPPED_LINE = 120  # characters; longer lines are not wrapped, so the next line begins a passage
INDENT = 4  # spaces
TAB, SPACE, BAR, BACKTICK, TILDE = 0x09, 0x20, 0x7C, 0x60, 0x7E

Reals = npt.NDArray[np.float64]


class Passages(NamedTuple):
    """Passages of texts in order: text i has those from `offsets[i]` to `offsets[i + 1]`."""

    offsets: Offsets
    starts: Offsets  # first byte of a passage's first line, from the beginning of its text
    ends: Offsets  # the byte after the last character that is no white space
    kinds: npt.NDArray[np.int8]  # indices into KINDS
    lines: Offsets  # not blank ones
    closed: npt.NDArray[np.bool_]  # whether the last character ends a sentence

    @property
    def texts(self) -> Offsets:
        """The index of each passage's text."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


def passage_texts(texts: pa.Array, passages: Passages) -> pa.Array:
    """The passages as texts of their own, from their first line's beginning on, as large_string."""
    texts = plain_text(texts).cast(pa.large_string())
    if not len(passages.starts):
        return pa.array([], pa.large_string())
    if texts.null_count:
        texts = texts.fill_null("")
    begins = text_views(texts)[0][passages.texts]
    bounds = np.column_stack([begins + passages.starts, begins + passages.ends]).ravel()  # of passages and gaps
    buffers = [None, pa.py_buffer(np.ascontiguousarray(bounds)), texts.buffers()[2]]
    pieces = pa.Array.from_buffers(pa.large_string(), len(bounds) - 1, buffers)
    return pieces.take(pa.array(np.arange(0, len(pieces), 2)))


def split_passages(texts: pa.Array) -> Passages:
    r"""Split each text into passages at blank lines and at the ends of lines; blank lines belong to none.

    Between blank lines, a line continues the passage of the line before it

    1. in a fence of ``` or ~~~, whatever it is, blank or not;
    2. if both are entries of a list (begin with a bullet), rows of a table (a tab or two bars within), indented (by
       four spaces or a tab), or short (under 45 characters, without a mark that ends sentences);
    3. if the passage is a list and the line is indented by any white space, and has no bullet;
    4. if the line before is prose that was wrapped: 45 to 120 characters, and no mark at its end that ends sentences.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    see Passages; none for nulls and blank texts.
    Cost:   two passes over the bytes.
    Oracle: Python's `str.split` over each text (tests/kernels/test_split_passages.py).
    """
    offsets, data = text_views(plain_text(texts))
    bounds, table = _split(offsets, data, *split_lines(offsets, data))
    starts, ends, lines = (np.ascontiguousarray(table[:, k]) for k in (0, 1, 3))
    return Passages(bounds, starts, ends, table[:, 2].astype(np.int8), lines, table[:, 4] == 1)


@kernel
def _split(offsets: Offsets, data: Bytes, lines: Offsets, begins: Offsets) -> tuple[Offsets, Offsets]:
    bounds = np.zeros(len(offsets), dtype=np.int64)
    table = np.empty((len(begins), 5), dtype=np.int64)  # start, end, kind, lines, closed
    n = np.int64(0)
    for row in range(len(offsets) - 1):
        base = offsets[row]
        joins = wrapped = False  # whether the line before was not blank; was wrapped prose
        fence = np.int64(0)  # the byte that the open fence is made of
        for j in range(lines[row], lines[row + 1]):
            stop = offsets[row + 1] if j == lines[row + 1] - 1 else begins[j + 1] - 1
            begin, finish, first, last = strip(data, begins[j], stop)
            if begin >= finish:
                joins = joins and fence != 0
                continue
            length = finish - begin - continuations(data, begin, finish)
            mark = _fence(data, begin, finish)
            kind = FENCED if fence or mark else _kind(data, begins[j], begin, finish, first, last, length)
            passage = table[n - 1, 2] if joins else np.int64(-1)
            continues = fence != 0 or (kind == passage and kind != PROSE and kind != FENCED)
            continues |= passage == LIST and begin > begins[j] and kind != LIST and kind != FENCED
            if joins and (continues or (wrapped and kind != LIST and kind != TABLE and kind != FENCED)):
                table[n - 1, 1] = finish - base
                table[n - 1, 3] += 1
            else:
                table[n, 0], table[n, 1], table[n, 2], table[n, 3] = begins[j] - base, finish - base, kind, 1
                n += 1
            closed = _is_in(last, TERMINALS)
            table[n - 1, 4] = closed
            if mark and (fence == 0 or fence == mark):
                fence = np.int64(0) if fence else mark
            wrapped = table[n - 1, 2] == PROSE and kind == PROSE and SHORT_LINE <= length <= WRAPPED_LINE and not closed
            joins = True
        bounds[row + 1] = n
    return bounds, table[:n]


@inline
def _fence(data: Bytes, begin: int, finish: int) -> int:
    """The byte that a line which opens or closes a fence begins with; 0 for other lines."""
    byte = np.int64(data[begin])
    if finish - begin < 3 or (byte != BACKTICK and byte != TILDE):
        return np.int64(0)
    return byte if data[begin + 1] == byte and data[begin + 2] == byte else np.int64(0)


@inline
def _kind(data: Bytes, line: int, begin: int, finish: int, first: int, last: int, length: int) -> int:
    if _is_in(first, BULLETS) and (first >= 0x80 or (begin + 1 < finish and data[begin + 1] == SPACE)):
        return np.int64(LIST)
    bars = np.int64(0)
    for i in range(begin, finish):
        if data[i] == TAB:
            return np.int64(TABLE)
        bars += data[i] == BAR
    if bars > 1:
        return np.int64(TABLE)
    if begin - line >= INDENT or (begin > line and data[line] == TAB):
        return np.int64(INDENTED)
    return np.int64(SHORT) if length < SHORT_LINE and not _is_in(last, TERMINALS) else np.int64(PROSE)


@inline
def _is_in(character: int, characters: Offsets) -> bool:
    found = False
    for other in characters:
        found |= character == other
    return found


def neighbour_means(offsets: Offsets, scores: Reals, weights: Reals, reach: int) -> Reals:
    """The weighted mean score of up to `reach` passages on either side of each, within its text; 0 where it is alone.

    In:     passages of text i from `offsets[i]` to `offsets[i + 1]`; a score and a positive weight of each.
    Out:    float64; depends on nothing but the passages of the same text.
    Cost:   2 `reach` steps a passage.
    Oracle: NumPy over each neighbourhood (tests/kernels/test_split_passages.py).
    """
    return _means(offsets, scores, weights, reach)


@kernel
def _means(offsets: Offsets, scores: Reals, weights: Reals, reach: int) -> Reals:
    means = np.zeros(len(scores), dtype=np.float64)
    for text in range(len(offsets) - 1):
        for k in range(offsets[text], offsets[text + 1]):
            total = weight = np.float64(0)
            for j in range(max(offsets[text], k - reach), min(offsets[text + 1], k + reach + 1)):
                if j != k:
                    total += scores[j] * weights[j]
                    weight += weights[j]
            if weight > 0:
                means[k] = total / weight
    return means

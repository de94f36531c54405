"""C4's line filters."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from curate.kernels.arrow import Bytes, Offsets, plain_text, text_views
from curate.kernels.cuts import (
    BLANK,
    END,
    KEPT,
    START,
    Codes,
    Cuts,
    Table,
    add_span,
    as_cuts,
    cut_lines,
    split_lines,
)
from curate.kernels.jit import kernel, part
from curate.kernels.lines import DOT, TERMINALS, find_byte, strip
from curate.kernels.phrases import Phrases, phrase_in, phrase_table
from curate.kernels.some_words import words_outside, words_up_to
from curate.kernels.unicode import ASCII_CLASS, SPACE, SPACELESS, class_of, decode

LONG_WORD, NO_TERMINAL, FEW_WORDS, JAVASCRIPT, POLICY, CITATION = range(6)
JAVASCRIPT_PHRASES = ("javascript",)
POLICY_PHRASES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
# An ellipsis does not end a sentence.
SENTENCE_ENDS = np.array([code for code in TERMINALS if code != 0x2026], dtype=np.int64)
OPEN, CLOSE = ord("["), ord("]")
EDIT_MARK = np.frombuffer(b"edit]", np.uint8)
NEEDED_MARK = np.frombuffer(b"citation needed]", np.uint8)
OFF = -1


def c4_cuts(texts: pa.Array, bounds: Sequence[int]) -> Cuts:
    """Find the lines that C4 cuts, each for the first reason that applies, and the citation marks in kept lines.

    In:     texts as string or large_string, sliced or not, nulls allowed; a bound for each code from LONG_WORD to
            CITATION, or -1 for off: most characters of a word, 1, fewest words of a line, 1, 1, 1.
    Out:    cuts sorted by row and start (see `cut_lines`), none in nulls.
    Cost:   two passes over the bytes.
    Oracle: `str.split`, `re` and `str.endswith` over each text (tests/filters/edits/test_line_rules.py).
    """
    views = text_views(plain_text(texts))
    phrases = [(p, JAVASCRIPT) for p in JAVASCRIPT_PHRASES if bounds[JAVASCRIPT] != OFF]
    phrases += [(p, POLICY) for p in POLICY_PHRASES if bounds[POLICY] != OFF]
    lines, begins = split_lines(*views)
    tables = phrase_table(tuple(phrases)), phrase_table(tuple(one for one in phrases if one[1] == JAVASCRIPT))
    codes, spans, n = _judge(*views, lines, begins, np.array(bounds, dtype=np.int64), *tables)
    return as_cuts(cut_lines(*views, lines, begins, codes, spans, n))


@kernel
def _judge(
    offsets: Offsets, data: Bytes, lines: Offsets, begins: Offsets, bounds: Offsets, phrases: Phrases, sooner: Phrases
) -> tuple[Codes, Table, int]:
    codes = np.full(len(begins), KEPT, dtype=np.int8)
    spans = np.empty((16, 4), dtype=np.int64)
    n = np.int64(0)
    for row in range(len(offsets) - 1):
        for j in range(lines[row], lines[row + 1]):
            after = offsets[row + 1] if j == lines[row + 1] - 1 else begins[j + 1] - 1
            begin, finish, _, last = strip(data, begins[j], after)
            if begin >= finish:
                codes[j] = BLANK
                continue
            longest = bounds[LONG_WORD]
            if longest != OFF and finish - begin > longest and _has_long_word(data, begin, finish, longest):
                codes[j] = LONG_WORD
                continue
            first = n
            if bounds[CITATION] != OFF:
                i = find_byte(data, begin, finish, OPEN)
                while i < finish:
                    stop = _citation(data, i, finish)
                    if stop > i:
                        spans = add_span(spans, n, j, i, stop, CITATION)
                        n += 1
                    i = find_byte(data, max(stop, i + 1), finish, OPEN)
                kept = n
                while kept > first and spans[kept - 1, END] == finish:  # trailing marks follow the full stop
                    kept -= 1
                    _, finish, _, last = strip(data, begin, spans[kept, START])
            if bounds[NO_TERMINAL] != OFF and not _ends_a_sentence(data, begin, finish, last):
                codes[j] = NO_TERMINAL
            elif bounds[FEW_WORDS] != OFF and _has_fewer_words(data, begin, finish, bounds[FEW_WORDS], spans, first, n):
                codes[j] = FEW_WORDS
            elif len(phrases.codes):
                codes[j] = phrase_in(data, begin, finish, phrases)
                if codes[j] == POLICY and len(sooner.codes):  # the line may contain both
                    javascript = phrase_in(data, begin, finish, sooner)
                    if javascript != KEPT:
                        codes[j] = javascript
            if codes[j] != KEPT:
                n = first
    return codes, spans, n


@part
def _has_fewer_words(data: Bytes, begin: int, finish: int, limit: int, spans: Table, first: int, last: int) -> bool:
    if first == last:
        return words_up_to(data, begin, finish, limit) < limit
    return words_outside(data, begin, finish, limit, spans, first, last) < limit


@part
def _has_long_word(data: Bytes, begin: int, end: int, longest: int) -> bool:
    """Whether more than `longest` consecutive characters are neither spaces nor letters of a script without spaces."""
    while begin + longest < end:  # every run up to the last ASCII space in this window is short enough: skip to it
        i = begin + longest
        while i >= begin and (data[i] >= 0x80 or ASCII_CLASS[data[i]] & SPACE == 0):
            i -= 1
        if i < begin:
            return _has_long_run(data, begin, end, longest)
        begin = i + 1
    return False


@part
def _has_long_run(data: Bytes, begin: int, end: int, longest: int) -> bool:
    """Do the same as `_has_long_word`, character by character."""
    length = np.int64(0)
    while begin < end:
        code, size = decode(data, begin, end)
        begin += size
        bits = np.int64(class_of(code))
        length = 0 if bits & (SPACE | SPACELESS) else length + 1
        if length > longest:
            return True
    return False


@part
def _citation(data: Bytes, i: int, end: int) -> int:
    """End of the citation mark at `i`: [1], [], [edit] or [citation needed]; `i` if there is none."""
    k = i + 1
    while k < end and 0x30 <= data[k] <= 0x39:
        k += 1
    if k < end and data[k] == CLOSE:
        return k + 1
    for mark in (EDIT_MARK, NEEDED_MARK):
        k = i + 1
        same = k + len(mark) <= end
        for letter in mark:
            same = same and data[k] == letter
            k += 1
        if same:
            return k
    return i


@part
def _ends_a_sentence(data: Bytes, begin: int, finish: int, last: int) -> bool:
    """Whether data[begin:finish], whose last character is `last`, ends like a sentence and not in "..."."""
    if finish <= begin:
        return False
    if last == DOT:
        return not (finish - begin >= 3 and data[finish - 2] == DOT and data[finish - 3] == DOT)
    ends = False
    for code in SENTENCE_ENDS:
        ends = ends or last == code
    return ends

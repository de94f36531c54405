"""Cut lines by RefinedWeb's line-wise corrections, and cut web addresses from text."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pyarrow as pa

from curate.kernels.arrow import Bytes, Offsets, plain_text, text_views
from curate.kernels.cuts import (
    BLANK,
    KEPT,
    NEWLINE,
    Codes,
    Cuts,
    Table,
    add_span,
    as_cuts,
    cut_lines,
    split_lines,
)
from curate.kernels.jit import kernel, part
from curate.kernels.lines import strip
from curate.kernels.phrases import LOWER, Needle, Phrases, find_needle, is_phrase, needle, phrase_table
from curate.kernels.some_words import words_up_to
from curate.kernels.unicode import ASCII_CLASS, DIGIT, LETTER, SPACE, UPPER, class_of, decode

UPPERCASE, NUMERIC, COUNTER, ONE_WORD, NAVIGATION = range(5)
ADDRESS, NEWLINES = range(2)
COUNTED = ("like", "likes", "share", "shares", "comment", "comments", "view", "views", "follower", "followers", "reply",
           "replies", "download", "downloads", "vote", "votes", "upvotes", "downvotes", "points", "retweets", "reposts",
           "tweets", "posts", "reviews", "ratings", "subscribers", "members", "bookmarks", "favorites")  # fmt: skip
AT_BEGINNING = ("sign-in", "sign in", "sign-up", "sign up")
AT_END = ("read more...", "read more…", "read more")
CART = " in cart"
ANYWHERE = ("items" + CART, "item" + CART)
ASCII_KIND = np.where(ASCII_CLASS & UPPER, 1, 0) + np.where(ASCII_CLASS & DIGIT, 1 << 20, 0)
ASCII_KIND += np.where(ASCII_CLASS & SPACE, 1 << 40, 0)
FIELD = (1 << 20) - 1
BEGINS, ENDS = 1, 2
ADDRESS_ROLE = np.zeros(256, dtype=np.uint8)
ADDRESS_ROLE[[NEWLINE, ord(":"), ord("w"), ord("W")]] = 1
WWW = 0  # index of "www." in BEGINNINGS; the others are schemes
BEGINNINGS = (("www.", 0), ("http", 1), ("https", 2), ("ftp", 3))


def refinedweb_cuts(texts: pa.Array, bounds: Sequence[float]) -> Cuts:
    """Find the lines that RefinedWeb removes, each with the first reason that applies, and navigation in short lines.

    In:     texts as string or large_string, sliced or not, nulls allowed; a bound for each code above, -1 for off:
            highest share of upper-case letters, 1, 1, words of the shortest line to keep, words of a short line.
    Out:    cuts sorted by row and position (see `cut_lines`), none in nulls.
    Cost:   two passes over the bytes.
    Oracle: `str.split`, `str.isupper` and `re` over each text (tests/filters/edits/test_line_rules.py).
    """
    views = text_views(plain_text(texts))
    lines, begins = split_lines(*views)
    nouns = phrase_table(tuple((noun, 0) for noun in COUNTED))
    limits = np.array(bounds, dtype=np.float64)
    at_beginning, at_end, anywhere = (
        phrase_table(tuple((phrase, 0) for phrase in place)) for place in (AT_BEGINNING, AT_END, ANYWHERE)
    )
    tables = (nouns, at_beginning, at_end, anywhere, _pairs(), needle(CART))
    codes, spans, n = _judge(*views, lines, begins, limits, *tables)
    return as_cuts(cut_lines(*views, lines, begins, codes, spans, n))


def address_cuts(texts: pa.Array, bounds: Sequence[int]) -> Cuts:
    """Find web addresses with the spaces before them, and excess newlines in a row.

    In:     texts as string or large_string, sliced or not, nulls allowed; 1 or -1 (off) for addresses, and the highest
            number of newlines in a row, or -1 (off).
    Out:    cuts sorted by row and position, none in nulls.
    Cost:   one pass over the bytes.
    Oracle: `re` over each text (tests/filters/edits/test_line_rules.py).
    """
    beginnings = phrase_table(BEGINNINGS)
    table, n = _addresses(*text_views(plain_text(texts)), bounds[ADDRESS], bounds[NEWLINES], beginnings)
    return as_cuts(table[:n])


@kernel
def _judge(
    offsets: Offsets, data: Bytes, lines: Offsets, begins: Offsets, bounds: Table, nouns: Phrases,
    at_beginning: Phrases, at_end: Phrases, anywhere: Phrases, pairs: Bytes, within: Needle,
) -> tuple[Codes, Table, int]:  # fmt: skip
    codes = np.full(len(begins), KEPT, dtype=np.int8)
    spans = np.empty((16, 4), dtype=np.int64)
    n = np.int64(0)
    for row in range(len(offsets) - 1):
        cart = np.int64(-1)  # position of the next " in cart"
        for j in range(lines[row], lines[row + 1]):
            after = offsets[row + 1] if j == lines[row + 1] - 1 else begins[j + 1] - 1
            begin, finish, _, _ = strip(data, begins[j], after)
            if begin >= finish:
                codes[j] = BLANK
                continue
            characters, upper, digits, spaces = _shape(data, begin, finish)
            if bounds[UPPERCASE] >= 0 and upper > bounds[UPPERCASE] * characters:
                codes[j] = UPPERCASE
            elif bounds[NUMERIC] >= 0 and digits + spaces == characters:
                codes[j] = NUMERIC
            elif bounds[COUNTER] >= 0 and digits and _is_counter(data, begin, finish, nouns):
                codes[j] = COUNTER
            elif bounds[ONE_WORD] >= 0 and _has_fewer_words(data, begin, finish, bounds[ONE_WORD]):
                codes[j] = ONE_WORD
            elif bounds[NAVIGATION] >= 0:
                if cart < begin:
                    cart = find_needle(data, begin, offsets[row + 1], within)
                if cart >= finish and not _may_begin_or_end(data, begin, finish, pairs):
                    continue
                first = n
                spans, n = _navigation(data, begin, finish, j, spans, n, at_beginning, at_end, anywhere)
                if n > first and not _has_fewer_words(data, begin, finish, bounds[NAVIGATION] + 1):
                    n = first
                elif n > first and not _has_letter(data, begin, finish, spans, first, n):
                    codes[j] = NAVIGATION
                    n = first
    return codes, spans, n


@part
def _has_fewer_words(data: Bytes, begin: int, end: int, bound: float) -> bool:
    limit = np.int64(np.ceil(bound))
    return words_up_to(data, begin, end, limit) < limit


@part
def _shape(data: Bytes, begin: int, end: int) -> tuple[int, int, int, int]:
    """Count characters, upper-case letters, digits and spaces, of at most the first million characters."""
    packed = characters = np.int64(0)
    while begin < end and characters < FIELD:  # the limit of the packed counters
        first, stop = begin, min(end, begin + FIELD - characters)
        while begin < stop and data[begin] < 0x80:
            packed += ASCII_KIND[data[begin]]
            begin += 1
        characters += begin - first
        if begin < stop:
            code, size = decode(data, begin, end)
            bits = np.int64(class_of(code))
            packed += ((bits & UPPER) != 0) + (((bits & DIGIT) != 0) << 20) + (((bits & SPACE) != 0) << 40)
            begin += size
            characters += 1
    return characters, packed & FIELD, packed >> 20 & FIELD, packed >> 40


@part
def _is_counter(data: Bytes, begin: int, end: int, nouns: Phrases) -> bool:
    """Whether data[begin:end] is a number and a noun of `nouns`, as in "1.2K likes", surrounded by marks at most."""
    i = begin
    while i < end and data[i] < 0x80 and ASCII_CLASS[data[i]] & (LETTER | DIGIT) == 0:
        i += 1
    number = i
    while i < end and (0x30 <= data[i] <= 0x39 or (i > number and data[i] in (0x2C, 0x2E))):
        i += 1
    if i == number:
        return False
    i += i < end and LOWER[data[i]] in (0x6B, 0x6D, 0x62)  # k, m, b: thousand, million, billion
    space = i
    while i < end and data[i] == 0x20:
        i += 1
    if i == space:
        return False
    stop = i
    while stop < end and data[stop] < 0x80 and ASCII_CLASS[data[stop]] & LETTER:
        stop += 1
    for k in range(stop, end):
        if data[k] >= 0x80 or ASCII_CLASS[data[k]] & (LETTER | DIGIT):
            return False
    for k in range(len(nouns.codes)):
        if stop - i == nouns.bounds[k + 1] - nouns.bounds[k] and is_phrase(data, i, i, stop, nouns, k):
            return True
    return False


@cache
def _pairs() -> Bytes:
    """Table by two bytes (first << 8 | second): whether a phrase begins or ends with them, as bits."""
    pairs = np.zeros(1 << 16, dtype=np.uint8)
    for phrases, bit in ((AT_BEGINNING, BEGINS), (AT_END, ENDS)):
        for phrase in phrases:
            raw = phrase.encode()
            at = 0 if bit == BEGINS else len(raw) - 2
            for a in (raw[at], ord(chr(raw[at]).upper()) if raw[at] < 0x80 else raw[at]):
                for b in (raw[at + 1], ord(chr(raw[at + 1]).upper()) if raw[at + 1] < 0x80 else raw[at + 1]):
                    pairs[a << 8 | b] |= bit
    return pairs


@part
def _may_begin_or_end(data: Bytes, begin: int, end: int, pairs: Bytes) -> bool:
    """Prefilter by the first two and last two bytes: False if the line neither begins nor ends with navigation."""
    if end - begin < 2:
        return False
    first = np.int64(data[begin]) << 8 | np.int64(data[begin + 1])
    last = np.int64(data[end - 2]) << 8 | np.int64(data[end - 1])
    return pairs[first] & BEGINS != 0 or pairs[last] & ENDS != 0


@kernel
def _navigation(
    data: Bytes, begin: int, end: int, line: int, spans: Table, n: int,
    at_beginning: Phrases, at_end: Phrases, anywhere: Phrases,
) -> tuple[Table, int]:  # fmt: skip
    """Append the spans of navigation in a short line, with adjacent spaces: at its beginning, within, at its end."""
    first, last = begin, end
    for k in range(len(at_beginning.codes)):
        stop = begin + at_beginning.bounds[k + 1] - at_beginning.bounds[k]
        if (
            first == begin
            and is_phrase(data, begin, begin, end, at_beginning, k)
            and _is_border(data, begin, stop, end)
        ):
            first = stop
            while first < end and data[first] == 0x20:
                first += 1
            spans = add_span(spans, n, line, begin, first, NAVIGATION)
            n += 1
    for k in range(len(at_end.codes)):
        start = end - (at_end.bounds[k + 1] - at_end.bounds[k])
        if last == end and is_phrase(data, first, start, end, at_end, k) and _is_border(data, first, start, end):
            last = start
            while last > first and data[last - 1] == 0x20:
                last -= 1
    i = reached = first
    while i < last:
        k = anywhere.first[data[i]]
        i += 1
        while k >= 0:
            start = i - 1 - anywhere.anchors[k]
            stop = start + anywhere.bounds[k + 1] - anywhere.bounds[k]
            found = is_phrase(data, reached, start, last, anywhere, k)
            if found and _is_border(data, first, start, last) and _is_border(data, first, stop, last):
                while start > reached and data[start - 1] == 0x20:
                    start -= 1
                spans = add_span(spans, n, line, start, stop, NAVIGATION)
                n += 1
                i = reached = stop
                break
            k = anywhere.following[k]
    if last < end:
        spans = add_span(spans, n, line, last, end, NAVIGATION)
        n += 1
    return spans, n


@part
def _is_border(data: Bytes, begin: int, place: int, end: int) -> bool:
    """Whether `place`, next to a letter, is a word boundary of data[begin:end]."""
    return place in (begin, end) or not (_is_word(data[place - 1]) and _is_word(data[place]))


@part
def _is_word(byte: int) -> bool:
    """Whether a byte belongs to a word: an ASCII letter or digit, or part of a character beyond ASCII."""
    return byte >= 0x80 or ASCII_CLASS[byte] & (LETTER | DIGIT) != 0


@part
def _has_letter(data: Bytes, begin: int, end: int, spans: Table, first: int, last: int) -> bool:
    """Whether data[begin:end] contains a letter outside of spans[first:last]."""
    i, span = begin, first
    while i < end:
        if span < last and i == spans[span, 1]:
            i = spans[span, 2]
            span += 1
            continue
        code, size = decode(data, i, end)
        if np.int64(class_of(code)) & LETTER:
            return True
        i += size
    return False


@kernel
def _addresses(offsets: Offsets, data: Bytes, addresses: int, newlines: int, beginnings: Phrases) -> tuple[Table, int]:
    cuts = np.empty((16, 4), dtype=np.int64)
    n = np.int64(0)
    for row in range(len(offsets) - 1):
        base, end = offsets[row], offsets[row + 1]
        reached = i = base
        while i < end:
            while i < end and ADDRESS_ROLE[data[i]] == 0:
                i += 1
            if i == end:
                break
            byte = data[i]
            start = np.int64(-1)
            if byte == NEWLINE and newlines >= 0:
                stop = i
                while stop < end and data[stop] == NEWLINE:
                    stop += 1
                if stop - i > newlines:
                    cuts = add_span(cuts, n, row, i + newlines - base, stop - base, NEWLINES)
                    n += 1
                i = reached = stop
                continue
            if addresses >= 0 and byte == 0x3A:
                start = _scheme(data, reached, i, end, beginnings)
            elif (
                addresses >= 0
                and i + 4 < end
                and data[i + 1] | 0x20 == 0x77
                and is_phrase(data, i, i, end, beginnings, WWW)
            ):
                start = i if i == base or not _is_word(data[i - 1]) else start
            if start < 0:
                i += 1
                continue
            stop = _address_end(data, i, end)
            while start > reached and (data[start - 1] == 0x20 or data[start - 1] == 0x09):
                start -= 1
            cuts = add_span(cuts, n, row, start - base, stop - base, ADDRESS)
            n += 1
            i = reached = stop
    return cuts, n


@part
def _scheme(data: Bytes, begin: int, colon: int, end: int, beginnings: Phrases) -> int:
    """The start of the scheme of the address whose colon is at `colon`, or -1."""
    if colon + 3 > end or data[colon + 1] != 0x2F or data[colon + 2] != 0x2F:
        return -1
    for k in range(WWW + 1, len(beginnings.codes)):
        start = colon - (beginnings.bounds[k + 1] - beginnings.bounds[k])
        if is_phrase(data, begin, start, colon, beginnings, k) and (start == begin or not _is_word(data[start - 1])):
            return start
    return -1


@part
def _address_end(data: Bytes, i: int, end: int) -> int:
    """The end of an address: a space, quote, angle bracket or non-ASCII character, without punctuation before it."""
    stop = i
    while stop < end and 0x20 < data[stop] < 0x80 and data[stop] not in (0x22, 0x3C, 0x3E):
        stop += 1
    while stop > i and data[stop - 1] in (0x21, 0x27, 0x29, 0x2C, 0x2E, 0x3A, 0x3B, 0x3F, 0x5D, 0x7D):
        stop -= 1
    return stop

"""Find candidates for personal data and secrets by their form alone; `curate.filters.edits.pii` validates them."""

import numpy as np
import pyarrow as pa

from curate.kernels.arrow import Bytes, Offsets, plain_text, text_views
from curate.kernels.cuts import Cuts, Table, add_span, as_cuts
from curate.kernels.digits import (
    ZERO,
    abroad,
    address,
    card,
    digits_of_call,
    gap_size,
    iban,
    is_digit,
    national,
    social,
)
from curate.kernels.jit import inline, kernel, part
from curate.kernels.secrets import (
    ALNUM,
    DIGITS,
    api_key,
    byte_table,
    ends_prefix,
    key_without_beginning,
    private_key,
    webhook,
)
from curate.kernels.unicode import LETTER, MARK, SPACELESS, class_of, decode

EMAIL, PHONE, IP, CARD, IBAN, SSN, API_KEY, PRIVATE_KEY = range(8)
DASH, DOT, AT, COLON, PLUS, PERCENT, EQUALS = (ord(c) for c in "-.@:+%=")


IS_ANCHOR = byte_table(DIGITS + "@:+-_GIJz")  # rare in ordinary text; every candidate contains one
IS_WORD = byte_table(ALNUM + "_")
IS_LOCAL = byte_table(ALNUM + ".!#$%'*+^_`{|}~-")  # the part of an e-mail address before the @; no URL delimiters
IS_DOMAIN = byte_table(ALNUM + "-.")
IS_HEX = byte_table(DIGITS + "abcdefABCDEF")

MAX_ADDRESS, MAX_LOCAL, MAX_DOMAIN = 45, 64, 253
LAST_SPACED_MARK = 0x0DFF  # from Thai on, marks belong to letters of scripts without spaces


def personal_candidates(texts: pa.Array) -> Cuts:
    """Find what has the form of an e-mail address (code 0), phone, IP, card, IBAN, SSN, API key or private key (7).

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    spans sorted by row only, which may overlap; a phone or IBAN may be followed by more digits.
    Cost:   one pass over the bytes, most of which are read once.
    Oracle: regular expressions (tests/filters/edits/test_pii.py).
    """
    return as_cuts(_find(*text_views(plain_text(texts))))


@kernel
def _find(offsets: Offsets, data: Bytes) -> Table:
    found = np.empty((64, 4), dtype=np.int64)
    n = np.int64(0)
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        i = begin
        i = _next_anchor(data, begin, end)
        while i < end:
            following = i + 1
            if is_digit(data[i]):
                while following < end and is_digit(data[following]):
                    following += 1
                for code in (SSN, PHONE, IP, CARD, IBAN):
                    if not _may_begin(data, begin, i, following, end, code):
                        continue
                    start, stop = _number(data, begin, i, following, end, code)
                    if stop > start:
                        found = add_span(found, n, row, start - begin, stop - begin, code)
                        n += 1
                start, stop, code = _around_digits(data, begin, i, following, end)
                if stop > start:
                    found = add_span(found, n, row, start - begin, stop - begin, code)
                    n += 1
            elif data[i] <= AT or ends_prefix(data, begin, i):
                start, stop, code = _marked(data, begin, i, end)
                if stop > start:
                    found = add_span(found, n, row, start - begin, stop - begin, code)
                    n += 1
                    following = max(following, stop if code in (IP, API_KEY, PRIVATE_KEY) else following)
            i = _next_anchor(data, following, end)
    return found[:n]


@part
def _next_anchor(data: Bytes, i: int, end: int) -> int:
    while i < end and not IS_ANCHOR[data[i]]:
        i += 1
    return i


@inline
def _may_begin(data: Bytes, begin: int, i: int, after: int, end: int, code: int) -> bool:
    """Whether the digits data[i:after] may begin a candidate of a kind: a cheap test that avoids most calls."""
    n = after - i
    if code == SSN:
        return n == 3
    if code == PHONE:
        return n == 3 or n == 1 or data[i] == ZERO
    if code == IP:
        return n <= 3 and after < end and data[after] == DOT
    if code == CARD:
        return n >= 4
    return n >= 2 and i > begin and data[i - 1] > AT


@part
def _number(data: Bytes, begin: int, i: int, after: int, end: int, code: int) -> tuple[int, int]:
    """The candidate of a kind that begins with the digits data[i:after]."""
    if code == SSN:
        return social(data, begin, i, after, end)
    if code == PHONE:
        return abroad(data, begin, i, after, end) if data[i] == ZERO else national(data, begin, i, after, end)
    if code == IP:
        return address(data, begin, i, after, end)
    if code == CARD:
        return card(data, begin, i, after, end)
    return iban(data, begin, i, after, end)


@part
def _around_digits(data: Bytes, begin: int, i: int, after: int, end: int) -> tuple[int, int, int]:
    """The candidate other than a number that contains the digits data[i:after], and its code: `ya29.`, `%40` as `@`."""
    if i > begin and data[i - 1] == PERCENT and i + 1 < after and data[i] == ord("4") and data[i + 1] == ord("0"):
        start, stop = _email(data, begin, i - 1, i + 2, end)
        return start, stop, EMAIL
    start, stop = api_key(data, begin, after - 1, end)
    return start, stop, API_KEY


@part
def _marked(data: Bytes, begin: int, i: int, end: int) -> tuple[int, int, int]:
    """The candidate that contains the anchor at `i`, which is not a digit, and its code."""
    byte = data[i]
    if byte == AT:
        start, stop = _email(data, begin, i, i + 1, end)
        return start, stop, EMAIL
    if byte == COLON:
        start, stop = webhook(data, begin, i, end)
        if stop > start:
            return start, stop, API_KEY
        start, stop = _ipv6(data, begin, i, end)
        return start, stop, IP
    if byte == PLUS:
        start, stop = _international(data, begin, i, end)
        return start, stop, PHONE
    if byte == DASH and i + 1 < end and data[i + 1] == DASH:
        start, stop = private_key(data, i, end)
        if stop == start:
            start, stop = key_without_beginning(data, begin, i, end)
        if stop > start:
            return start, stop, PRIVATE_KEY
    start, stop = api_key(data, begin, i, end)
    return start, stop, API_KEY


@part
def _email(data: Bytes, begin: int, at: int, behind: int, end: int) -> tuple[int, int]:
    """The e-mail address around data[at:behind], the `@` or `%40`; its domain has at least one full stop."""
    stop, unspaced = _domain(data, at, behind, end)
    if stop == behind:
        return at, at
    start = _local(data, begin, at, end, unspaced)
    return (start, stop) if start < at else (at, at)


@part
def _domain(data: Bytes, at: int, behind: int, end: int) -> tuple[int, bool]:
    """The end of the domain that begins at `behind`, and whether a label is in a script without spaces.

    Letters of such a script belong to a label only if it begins with one; after any other label they are the next word.
    """
    stop, i = behind, behind
    dots, last_dot = 0, behind - 1
    unspaced, anywhere = False, False  # of the current label, of any label
    while i < end and i - at <= MAX_DOMAIN:
        size = 1
        if i == last_dot + 1:
            unspaced = data[i] >= 0x80 and _is_unspaced(data, i, end)
        if data[i] >= 0x80:
            if not _in_name(data, i, end, unspaced):
                break
            _, size = decode(data, i, end)
        elif not IS_DOMAIN[data[i]]:
            break
        if data[i] == DOT:
            if i == last_dot + 1:
                break
            last_dot = i
        elif data[i] != DASH:
            if stop <= last_dot:
                dots += 1
            stop = i + size
            anywhere = anywhere or unspaced
        i += size
    return (stop, anywhere) if dots > 0 else (behind, False)


@part
def _local(data: Bytes, begin: int, at: int, end: int, unspaced: bool) -> int:
    """The start of the local part that ends at `at`; letters of scripts without spaces count only if it ends in one.

    Before a domain in such a script it may also end in a digit. Otherwise these letters may belong to the word before.
    """
    last = at
    while last > begin and at - last < 4 and (last == at or data[last] & 0xC0 == 0x80):
        last -= 1
    cjk = last < at and data[last] >= 0x80 and _is_unspaced(data, last, end)
    cjk = cjk or (unspaced and last < at and is_digit(data[last]))
    start = at
    while start > begin and at - start < 2 * MAX_LOCAL:
        i = start - 1
        if data[i] < 0x80:
            if not IS_LOCAL[data[i]] and not (data[i] == EQUALS and _is_bounce(data, begin, i)):
                break
        else:
            while i > begin and data[i] & 0xC0 == 0x80:
                i -= 1
            if not _in_name(data, i, end, cjk):
                break
        start = i
    while start < at and data[start] < 0x80 and not IS_WORD[data[start]]:  # skip quotes and full stops before it
        start += 1
    return start


@part
def _is_bounce(data: Bytes, begin: int, i: int) -> bool:
    """Whether the `=` at `i` is part of an embedded address, as in bounces+jane=roe.org@list.org."""
    k = i - 1
    while k >= begin and i - k <= MAX_LOCAL and IS_LOCAL[data[k]]:
        if data[k] == PLUS:
            return True
        k -= 1
    return False


@part
def _letter_bits(data: Bytes, i: int, end: int) -> int:
    """The bits LETTER, MARK and SPACELESS of the character at `i`.

    SPACELESS is set for marks of scripts without spaces, too.
    """
    code, _ = decode(data, i, end)
    bits = np.int64(class_of(code)) & (LETTER | MARK | SPACELESS)
    return bits | SPACELESS if bits & MARK != 0 and code > LAST_SPACED_MARK else bits


@part
def _in_name(data: Bytes, i: int, end: int, unspaced: bool) -> bool:
    """Whether the character at `i` is a letter or mark allowed in an address."""
    bits = _letter_bits(data, i, end)
    return bits & (LETTER | MARK) != 0 and (unspaced or bits & SPACELESS == 0)


@part
def _is_unspaced(data: Bytes, i: int, end: int) -> bool:
    return _letter_bits(data, i, end) & SPACELESS != 0


@part
def _ipv6(data: Bytes, begin: int, i: int, end: int) -> tuple[int, int]:
    """The IPv6 address around the colon at `i`: hexadecimal digits and colons, with `::` or seven colons.

    A leading `word:` is not part of it.
    """
    start, stop = i, i
    while start > begin and i - start < MAX_ADDRESS and (IS_HEX[data[start - 1]] or data[start - 1] == COLON):
        start -= 1
    while stop < end and stop - i <= MAX_ADDRESS and (IS_HEX[data[stop]] or data[stop] == COLON or data[stop] == DOT):
        stop += 1
    while stop > start and (data[stop - 1] == DOT or (data[stop - 1] == COLON and data[stop - 2] != COLON)):
        stop -= 1
    while start < stop and not _begins_address(data, begin, start, stop):
        start += 1
        while start < stop and data[start - 1] != COLON:
            start += 1
    colons, double, digits = 0, False, False
    for k in range(start, stop):
        colons += data[k] == COLON
        double = double or (k > start and data[k] == COLON and data[k - 1] == COLON)
        digits = digits or is_digit(data[k])
    whole = stop - start <= MAX_ADDRESS and (stop == end or not IS_WORD[data[stop]])
    shaped = colons == 7 or (double and (colons > 2 or data[start] != COLON))
    return (start, stop) if whole and digits and shaped else (i, i)


@part
def _begins_address(data: Bytes, begin: int, i: int, stop: int) -> bool:
    """Whether an address may begin at `i`: not inside a word, nor at a single colon."""
    if i > begin and IS_WORD[data[i - 1]]:
        return False
    return data[i] != COLON or (i + 1 < stop and data[i + 1] == COLON)


@part
def _international(data: Bytes, begin: int, i: int, end: int) -> tuple[int, int]:
    """`+` and up to 15 digits, with up to three other marks between two digits; after a letter, only if grouped."""
    if i + 1 >= end or (i > begin and IS_WORD[data[i - 1]] and not _is_grouped(data, i, end)):
        return i, i
    digits, stop = digits_of_call(data, i + 1, end)
    return (i, stop) if digits >= 7 else (i, i)


@part
def _is_grouped(data: Bytes, i: int, end: int) -> bool:
    """Whether the `+` at `i` follows a letter and precedes a country code that a space or dash follows."""
    if is_digit(data[i - 1]) or data[i - 1] == ord("_"):
        return False
    k = i + 1
    while k < end and is_digit(data[k]):
        k += 1
    return 1 <= k - i - 1 <= 3 and gap_size(data, k, end) > 0

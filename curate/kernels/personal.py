"""Where personal data and secrets may stand in text: by form alone, for `curate.filters.pii` to check."""

import numpy as np
import pyarrow as pa

from curate.kernels.arrow import Bytes, Offsets, plain_text, text_views
from curate.kernels.cuts import Cuts, Table, add_span, as_cuts
from curate.kernels.digits import CLOSE, OPEN, address, card, gap_size, iban, is_digit, national, social
from curate.kernels.jit import kernel, part
from curate.kernels.unicode import LETTER, SPACELESS, class_of, decode

EMAIL, PHONE, IP, CARD, IBAN, SSN, API_KEY, PRIVATE_KEY = range(8)
DASH, DOT, AT, COLON, PLUS = (ord(c) for c in "-.@:+")


def _table(letters: str) -> Bytes:
    """1 for each of some ASCII bytes."""
    table = np.zeros(256, dtype=np.uint8)
    table[[ord(c) for c in letters]] = 1
    return table


DIGITS, UPPER = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ALNUM = DIGITS + UPPER + UPPER.lower()
IS_ANCHOR = _table(DIGITS + "@:+-_IJz")  # the bytes by which everything is found: rare in ordinary text
IS_WORD = _table(ALNUM + "_")
IS_LOCAL = _table(ALNUM + ".!#$%&'*+/=?^_`{|}~-")  # of an e-mail address, before the @
IS_DOMAIN = _table(ALNUM + "-.")
IS_HEX = _table(DIGITS + "abcdefABCDEF")
IS_TOKEN = _table(ALNUM + "_-")
IS_BASE64 = _table(ALNUM + "+/=\r\n")

# What a key begins with, up to the byte that it is found by.
PREFIXES = (
    "AKI", "ASI", "AIz", "eyJ", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_", "glpat-", "xoxa-", "xoxb-", "xoxe-",
    "xoxp-", "xoxr-", "xoxs-", "xapp-", "sk-", "sk_", "rk_", "hf_", "npm_", "pypi-",
)  # fmt: skip
PREFIX_BYTES = np.frombuffer("".join(PREFIXES).encode(), np.uint8).copy()
PREFIX_ENDS = np.cumsum([0, *map(len, PREFIXES)], dtype=np.int64)
IS_PREFIX_END = np.zeros(1 << 16, dtype=np.uint8)  # by the last two bytes of a prefix
IS_PREFIX_END[[ord(prefix[-2]) << 8 | ord(prefix[-1]) for prefix in PREFIXES]] = 1
BEGIN, END, KEY = (np.frombuffer(s, np.uint8).copy() for s in (b"-----BEGIN ", b"-----END ", b"PRIVATE KEY"))
MIN_KEY, MAX_KEY, MAX_HEADER = 16, 1 << 16, 40  # bytes
MAX_ADDRESS, MAX_LOCAL, MAX_DOMAIN = 45, 64, 253


def personal_candidates(texts: pa.Array) -> Cuts:
    """What has the form of an e-mail address (code 0), phone, IP, card, IBAN, SSN, API key or private key (7).

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    spans sorted by row, not otherwise, which may overlap; a phone, card or IBAN may have more digits behind it.
    Cost:   one pass over the bytes, most of which are looked at once.
    Oracle: regular expressions (tests/test_pii.py).
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
                    start, stop = _number(data, begin, i, following, end, code)
                    if stop > start:
                        found = add_span(found, n, row, start - begin, stop - begin, code)
                        n += 1
            else:
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


@part
def _number(data: Bytes, begin: int, i: int, after: int, end: int, code: int) -> tuple[int, int]:
    """What of a kind begins with the digits data[i:after]."""
    if code == SSN:
        return social(data, begin, i, after, end)
    if code == PHONE:
        return national(data, begin, i, after, end)
    if code == IP:
        return address(data, begin, i, after, end)
    if code == CARD:
        return card(data, begin, i, after, end)
    return iban(data, begin, i, after, end)


@part
def _marked(data: Bytes, begin: int, i: int, end: int) -> tuple[int, int, int]:
    """What stands around a byte that is no digit, and its code."""
    byte = data[i]
    if byte == AT:
        start, stop = _email(data, begin, i, end)
        return start, stop, EMAIL
    if byte == COLON:
        start, stop = _ipv6(data, begin, i, end)
        return start, stop, IP
    if byte == PLUS:
        start, stop = _international(data, begin, i, end)
        return start, stop, PHONE
    if byte == DASH and i + 1 < end and data[i + 1] == DASH and _equal(data, i, end, BEGIN):
        start, stop = _private_key(data, i, end)
        if stop > start:
            return start, stop, PRIVATE_KEY
    start, stop = _api_key(data, begin, i, end)
    return start, stop, API_KEY


@part
def _equal(data: Bytes, i: int, end: int, letters: Bytes) -> bool:
    if i + len(letters) > end:
        return False
    k = 0
    while k < len(letters) and data[i + k] == letters[k]:
        k += 1
    return k == len(letters)


@part
def _email(data: Bytes, begin: int, at: int, end: int) -> tuple[int, int]:
    """Letters of all scripts with spaces, and the marks allowed, around `@`; behind it a full stop at least."""
    start = at
    while start > begin and at - start < 2 * MAX_LOCAL:
        i = start - 1
        if data[i] < 0x80:
            if not IS_LOCAL[data[i]]:
                break
        else:
            while i > begin and data[i] & 0xC0 == 0x80:
                i -= 1
            if not _is_letter(data, i, end):
                break
        start = i
    while start < at and data[start] < 0x80 and not IS_WORD[data[start]]:  # quotes and full stops before an address
        start += 1
    stop, i = at + 1, at + 1
    dots, last_dot = 0, at
    while i < end and i - at <= MAX_DOMAIN:
        size = 1
        if data[i] >= 0x80:
            if not _is_letter(data, i, end):
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
        i += size
    return (start, stop) if start < at and dots > 0 else (at, at)


@part
def _is_letter(data: Bytes, i: int, end: int) -> bool:
    code, _ = decode(data, i, end)
    bits = np.int64(class_of(code))
    return bits & LETTER != 0 and bits & SPACELESS == 0


@part
def _ipv6(data: Bytes, begin: int, i: int, end: int) -> tuple[int, int]:
    """A run of hexadecimal digits and colons with two colons together, or seven."""
    start, stop = i, i
    while start > begin and i - start < MAX_ADDRESS and (IS_HEX[data[start - 1]] or data[start - 1] == COLON):
        start -= 1
    while (
        stop < end and stop - start <= MAX_ADDRESS and (IS_HEX[data[stop]] or data[stop] == COLON or data[stop] == DOT)
    ):
        stop += 1
    while stop > start and (data[stop - 1] == DOT or (data[stop - 1] == COLON and data[stop - 2] != COLON)):
        stop -= 1
    colons, double, digits = 0, False, False
    for k in range(start, stop):
        colons += data[k] == COLON
        double = double or (k > start and data[k] == COLON and data[k - 1] == COLON)
        digits = digits or is_digit(data[k])
    whole = (start == begin or not IS_WORD[data[start - 1]]) and (stop == end or not IS_WORD[data[stop]])
    return (start, stop) if whole and digits and ((double and colons > 2) or colons == 7) else (i, i)


@part
def _international(data: Bytes, begin: int, i: int, end: int) -> tuple[int, int]:
    """`+` and up to 15 digits with up to three other marks between two of them."""
    if (i > begin and IS_WORD[data[i - 1]]) or i + 1 >= end:
        return i, i
    digits, gap, stop, group = 0, 0, i, i
    k = i + 1
    while k < end and gap <= 3:
        if is_digit(data[k]):
            if digits == 15:
                stop = group if gap == 0 else stop
                break
            digits += 1
            gap = 0
            stop = k + 1
        else:
            size = 1 if data[k] in (OPEN, CLOSE) else gap_size(data, k, end)
            if size == 0:
                break
            if gap == 0:
                group = stop
            gap += 1
            k += size - 1
        k += 1
    return (i, stop) if digits >= 7 else (i, i)


@part
def _api_key(data: Bytes, begin: int, i: int, end: int) -> tuple[int, int]:
    """A prefix that ends at `i` and a token of at least 16 bytes, in which a JWT has full stops."""
    if i == begin or not IS_PREFIX_END[np.int64(data[i - 1]) << 8 | np.int64(data[i])]:
        return i, i
    for k in range(len(PREFIX_ENDS) - 1):
        size = PREFIX_ENDS[k + 1] - PREFIX_ENDS[k]
        start = i + 1 - size
        if start < begin or (start > begin and IS_TOKEN[data[start - 1]]):
            continue
        same = True
        for j in range(size):
            same = same and data[start + j] == PREFIX_BYTES[PREFIX_ENDS[k] + j]
        if not same:
            continue
        stop = i + 1
        dots = data[i] == ord("J")
        while stop < end and stop - start < MAX_KEY and (IS_TOKEN[data[stop]] or (dots and data[stop] == DOT)):
            stop += 1
        while data[stop - 1] == DOT:
            stop -= 1
        if stop - start >= MIN_KEY:
            return start, stop
    return i, i


@part
def _private_key(data: Bytes, i: int, end: int) -> tuple[int, int]:
    """A block from BEGIN … PRIVATE KEY to its END, or without one as far as base64 reaches."""
    k = i + len(BEGIN)
    limit = min(end, k + MAX_HEADER)
    while k < limit and not _equal(data, k, end, KEY):
        k += 1
    if k >= limit:
        return i, i
    while k < end and data[k] != DASH and data[k] != ord("\n"):
        k += 1
    while k < end and data[k] == DASH:
        k += 1
    header = k
    limit = min(end, k + MAX_KEY)
    while k < limit and not _equal(data, k, end, END):
        k += 1
    if k < limit:
        k += len(END)
        while k < end and data[k] != DASH and data[k] != ord("\n"):
            k += 1
        while k < end and data[k] == DASH:
            k += 1
        return i, k
    k = header
    while k < end and IS_BASE64[data[k]]:
        k += 1
    while data[k - 1] == ord("\n") or data[k - 1] == ord("\r"):
        k -= 1
    return i, k

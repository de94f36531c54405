"""Keys and tokens in text: those of services by their prefix, private keys by their PEM header."""

import numpy as np

from curate.kernels.arrow import Bytes
from curate.kernels.jit import part

DASH, DOT, COLON, NEWLINE, RETURN, BACKSLASH, EQUALS, PERCENT = (ord(c) for c in "-.:\n\r\\=%")
DIGITS, UPPER = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ALNUM = DIGITS + UPPER + UPPER.lower()


def byte_table(letters: str) -> Bytes:
    """1 for each of some ASCII bytes."""
    table = np.zeros(256, dtype=np.uint8)
    table[[ord(c) for c in letters]] = 1
    return table


IS_ALNUM = byte_table(ALNUM)
IS_HEX = byte_table(DIGITS + "abcdefABCDEF")
IS_TOKEN = byte_table(ALNUM + "_-")
IS_BASE64 = byte_table(ALNUM + "+/=")
IS_LABEL = byte_table(ALNUM + " ")
IS_BETWEEN = byte_table(" \t\r\n\"'+,>#*;|/")  # what may part lines of a key: of YAML, JSON, code, comments, quotes
IS_ESCAPE = byte_table("nrt")

# What a key begins with, up to the byte that it is found by.
PREFIXES = (
    "AKI", "ASI", "AIz", "eyJ", "SG", "ya29", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_", "glpat-", "glrt-",
    "xoxa-", "xoxb-", "xoxc-", "xoxd-", "xoxe-", "xoxp-", "xoxr-", "xoxs-", "xapp-", "sk-", "sk_", "rk_", "gsk_",
    "hf_", "npm_", "pypi-", "dop_v1_", "whsec_",
)  # fmt: skip
WITH_DOTS = np.array([prefix in ("eyJ", "SG", "ya29") for prefix in PREFIXES])
PREFIX_BYTES = np.frombuffer("".join(PREFIXES).encode(), np.uint8).copy()
PREFIX_ENDS = np.cumsum([0, *map(len, PREFIXES)], dtype=np.int64)
IS_PREFIX_END = np.zeros(1 << 16, dtype=np.uint8)  # by the last two bytes of a prefix
IS_PREFIX_END[[ord(prefix[-2]) << 8 | ord(prefix[-1]) for prefix in PREFIXES]] = 1
HOOK = np.frombuffer(b"://hooks.slack.com/services/", np.uint8).copy()
BEGIN, END, KEY = (np.frombuffer(s, np.uint8).copy() for s in (b"-----BEGIN ", b"-----END ", b"PRIVATE KEY"))
MIN_KEY, MAX_KEY, MAX_LABEL, MAX_TAG, MAX_HEADER, MAX_HEADERS = 16, 1 << 16, 60, 8, 256, 16  # bytes; header lines
LONG_RUN = 48  # letters of base64 that are no value of a header: the longest, AES's, has 32


@part
def _equal(data: Bytes, i: int, end: int, letters: Bytes) -> bool:
    if i + len(letters) > end:
        return False
    k = 0
    while k < len(letters) and data[i + k] == letters[k]:
        k += 1
    return k == len(letters)


@part
def api_key(data: Bytes, begin: int, i: int, end: int) -> tuple[int, int]:
    """A prefix that ends at `i` and a token of at least 16 bytes, in which some have full stops."""
    if i == begin or not IS_PREFIX_END[np.int64(data[i - 1]) << 8 | np.int64(data[i])]:
        return i, i
    for k in range(len(PREFIX_ENDS) - 1):
        size = PREFIX_ENDS[k + 1] - PREFIX_ENDS[k]
        start = i + 1 - size
        if start < begin or not _begins_token(data, begin, start):
            continue
        same = True
        for j in range(size):
            same = same and data[start + j] == PREFIX_BYTES[PREFIX_ENDS[k] + j]
        if not same:
            continue
        stop = i + 1
        while stop < end and stop - start < MAX_KEY and (IS_TOKEN[data[stop]] or (WITH_DOTS[k] and data[stop] == DOT)):
            stop += 1
        while data[stop - 1] == DOT:
            stop -= 1
        if stop - start >= MIN_KEY:
            return start, stop
    return i, i


@part
def _begins_token(data: Bytes, begin: int, i: int) -> bool:
    r"""Whether no letter or digit stands before `i`, but that of an escape: `\n`, `%3D`, `\u003d`."""
    if i == begin or not IS_ALNUM[data[i - 1]]:
        return True
    if i - 2 >= begin and data[i - 2] == BACKSLASH and IS_ESCAPE[data[i - 1]]:
        return True
    if i - 3 < begin or not IS_HEX[data[i - 1]] or not IS_HEX[data[i - 2]]:
        return False
    return data[i - 3] == PERCENT or (i - 6 >= begin and data[i - 6] == BACKSLASH and data[i - 5] == ord("u"))


@part
def webhook(data: Bytes, begin: int, i: int, end: int) -> tuple[int, int]:
    """The address of a Slack webhook, whose `:` stands at `i`."""
    if not _equal(data, i, end, HOOK):
        return i, i
    start, stop = i, i + len(HOOK)
    while start > begin and IS_ALNUM[data[start - 1]] and i - start < 5:
        start -= 1
    while stop < end and (IS_ALNUM[data[stop]] or data[stop] == ord("/")):
        stop += 1
    return start, stop


@part
def private_key(data: Bytes, i: int, end: int) -> tuple[int, int]:
    """A block from BEGIN … PRIVATE KEY to the END of the same label, or without one as far as the key's lines reach."""
    if not _equal(data, i, end, BEGIN):
        return i, i
    label = i + len(BEGIN)
    k, keyed = label, False
    while k < end and k - label < MAX_LABEL and IS_LABEL[data[k]]:
        keyed = keyed or _equal(data, k, end, KEY)
        k += 1
    if not keyed or k >= end or data[k] != DASH:
        return i, i
    label_end = k
    k = _after_dashes(data, k, end)
    for _ in range(MAX_HEADERS):
        line = _after_gap(data, k, end)
        following = _after_header(data, line, end)
        if following == line:
            break
        k = following
    stop = _after_lines(data, k, end)
    if stop == k:
        return i, i
    k = _after_gap(data, stop, end)
    if not _equal(data, k, end, END):
        return i, stop
    k += len(END)
    for j in range(label, label_end):
        if k >= end or data[k] != data[j]:
            return i, stop
        k += 1
    return i, _after_dashes(data, k, end)


@part
def _after_dashes(data: Bytes, k: int, end: int) -> int:
    while k < end and data[k] == DASH:
        k += 1
    return k


@part
def _escape_size(data: Bytes, k: int, end: int) -> int:
    r"""The size of `\n`, `\r`, `\t`, `\\n` and so on, or of a backslash before the end of a line; 0 for none."""
    first = k
    while k < end and data[k] == BACKSLASH:
        k += 1
    if k == first or k >= end:
        return 0
    return k + 1 - first if IS_ESCAPE[data[k]] or data[k] in (NEWLINE, RETURN, ord('"')) else 0


@part
def _tag_size(data: Bytes, first: int, end: int) -> int:
    """The size of `<br>`, `</p>` and the like, or of `%0A`; 0 for none."""
    if data[first] == PERCENT and first + 2 < end and data[first + 1] == ord("0"):
        return 3 if data[first + 2] | 0x20 in (ord("a"), ord("d")) else 0
    if data[first] != ord("<"):
        return 0
    k = first
    while k < end and k - first < MAX_TAG:
        if data[k] == ord(">"):
            return k + 1 - first
        k += 1
    return 0


@part
def _after_gap(data: Bytes, k: int, end: int) -> int:
    """Where what parts the lines of a key ends."""
    while k < end:
        size = 1 if IS_BETWEEN[data[k]] else _escape_size(data, k, end) + _tag_size(data, k, end)
        if size == 0:
            break
        k += size
    return k


@part
def _after_header(data: Bytes, first: int, end: int) -> int:
    """Behind a line such as `Proc-Type: 4,ENCRYPTED` at `first`; `first` where there is none."""
    k = first
    while k < end and k - first < MAX_LABEL and IS_TOKEN[data[k]]:
        k += 1
    if k == first or k >= end or data[k] != COLON:
        return first
    run = 0
    while k < end and k - first < MAX_HEADER:
        if data[k] == NEWLINE or _escape_size(data, k, end) > 0:
            return k
        run = run + 1 if IS_BASE64[data[k]] else 0
        k += 1
        if run == LONG_RUN:  # the key itself, where newlines became spaces
            return k - run
    return first


@part
def _after_lines(data: Bytes, first: int, end: int) -> int:
    """Behind runs of base64 of at least 16 letters, and a shorter last one; `first` where there is none."""
    stop, k = first, first
    while True:
        k = _after_gap(data, k, end)
        line = k
        while k < end and IS_BASE64[data[k]]:
            k += 1
        if k - line < MIN_KEY:
            last = stop > first and k > line and _is_last(data, line, k, end)
            return k if last else stop
        stop = k


@part
def _is_last(data: Bytes, line: int, k: int, end: int) -> bool:
    """Whether a short run of base64 is the last line of a key and no word: padded, cut off, or alone in fours."""
    if k == end or data[k - 1] == EQUALS or data[line] == EQUALS:
        return True
    return (k - line) % 4 == 0 and (data[k] in (NEWLINE, RETURN, ord('"')) or _escape_size(data, k, end) > 0)

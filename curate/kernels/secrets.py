"""Find secrets in text: API keys and tokens by their prefix, private keys by their PEM header."""

import numpy as np

from curate.kernels.arrow import Bytes
from curate.kernels.jit import inline, part

DASH, DOT, COLON, NEWLINE, RETURN, BACKSLASH, EQUALS, PERCENT = (ord(c) for c in "-.:\n\r\\=%")
DIGITS, UPPER = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ALNUM = DIGITS + UPPER + UPPER.lower()


def byte_table(letters: str) -> Bytes:
    """Build a table that is 1 for the given ASCII characters."""
    table = np.zeros(256, dtype=np.uint8)
    table[[ord(c) for c in letters]] = 1
    return table


IS_ALNUM = byte_table(ALNUM)
IS_HEX = byte_table(DIGITS + "abcdefABCDEF")
IS_TOKEN = byte_table(ALNUM + "_-")
IS_BASE64 = byte_table(ALNUM + "+/=")
IS_LABEL = byte_table(ALNUM + " ")
IS_BETWEEN = byte_table(" \t\r\n\"'+,>#*;|/%!")  # separators of a key's lines in YAML, JSON, code, comments, quotes
IS_ESCAPE = byte_table("nrt")

# Prefixes of keys, up to the anchor byte that the search looks for.
PREFIXES = (
    "AKI", "ASI", "AIz", "eyJ", "eyAiYWxnI", "eyAidHlwI", "eyAia2lkI", "eyAiZW5jI", "eyAgI", "ewogI", "ewoJI", "ew0KI",
    "SG", "ya29", "GOCSPX-", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_", "glpat-", "glrt-",
    "xoxe.xoxb-", "xoxe.xoxp-", "xoxa-", "xoxb-", "xoxc-", "xoxd-", "xoxe-", "xoxp-", "xoxr-", "xoxs-", "xapp-",
    "sk-", "sk_", "rk_", "gsk_", "hf_", "npm_", "pypi-", "dop_v1_", "whsec_",
    "shpat_", "shpca_", "shpss_", "dckr_pat_", "xai-", "pplx-", "r8_",
)  # fmt: skip
IS_JSON = np.array([prefix.startswith(("eyJ", "eyA", "ew")) for prefix in PREFIXES])  # base64 of `{"`, `{ `, `{\n` …
WITH_DOTS = IS_JSON | np.array([prefix in ("SG", "ya29", "glpat-", "glrt-") for prefix in PREFIXES])
PREFIX_BYTES = np.frombuffer("".join(PREFIXES).encode(), np.uint8).copy()
PREFIX_ENDS = np.cumsum([0, *map(len, PREFIXES)], dtype=np.int64)
IS_PREFIX_END = np.zeros(1 << 16, dtype=np.uint8)  # by the last two bytes of a prefix
IS_PREFIX_END[[ord(prefix[-2]) << 8 | ord(prefix[-1]) for prefix in PREFIXES]] = 1
HOOK = np.frombuffer(b"://hooks.slack.com/services/", np.uint8).copy()
BEGIN, END, KEY = (np.frombuffer(s, np.uint8).copy() for s in (b"-----BEGIN ", b"-----END ", b"PRIVATE KEY"))
MIN_KEY, MIN_TAIL, MAX_ELISION = 16, 40, 24  # bytes of a line, of a key without its beginning, of `...` in a key
MAX_KEY, MAX_LABEL, MAX_TAG, MAX_HEADER, MAX_HEADERS = 1 << 16, 60, 8, 256, 16  # in bytes; the last in lines
LONG_RUN = 48  # base64 letters in a row that cannot be a header's value: the longest, of AES, has 32


@part
def _equal(data: Bytes, i: int, end: int, letters: Bytes) -> bool:
    if i + len(letters) > end:
        return False
    k = 0
    while k < len(letters) and data[i + k] == letters[k]:
        k += 1
    return k == len(letters)


@inline
def ends_prefix(data: Bytes, begin: int, i: int) -> bool:
    """Whether the bytes at `i - 1` and `i` may end the prefix of a key."""
    return i > begin and IS_PREFIX_END[np.int64(data[i - 1]) << 8 | np.int64(data[i])] != 0


@part
def api_key(data: Bytes, begin: int, i: int, end: int) -> tuple[int, int]:
    """The API key whose prefix ends at `i`: at least 16 bytes in all; for some prefixes it may contain full stops."""
    if not ends_prefix(data, begin, i):
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
        while stop < end and stop - start < MAX_KEY and _in_token(data[stop], WITH_DOTS[k], IS_JSON[k]):
            stop += 1
        while data[stop - 1] == DOT:
            stop -= 1
        if stop - start >= MIN_KEY:
            return start, stop
    return i, i


@inline
def _in_token(byte: int, dots: bool, padding: bool) -> bool:
    return IS_TOKEN[byte] or (dots and byte == DOT) or (padding and byte == EQUALS)


@part
def _begins_token(data: Bytes, begin: int, i: int) -> bool:
    r"""Whether `i` does not follow a letter or digit, except the end of an escape: `\n`, `%3D`, `\u003d`."""
    if i == begin or not IS_ALNUM[data[i - 1]]:
        return True
    if i - 2 >= begin and data[i - 2] == BACKSLASH and IS_ESCAPE[data[i - 1]]:
        return True
    if i - 3 < begin or not IS_HEX[data[i - 1]] or not IS_HEX[data[i - 2]]:
        return False
    return data[i - 3] == PERCENT or (i - 6 >= begin and data[i - 6] == BACKSLASH and data[i - 5] == ord("u"))


@part
def webhook(data: Bytes, begin: int, i: int, end: int) -> tuple[int, int]:
    """The address of a Slack webhook with its `:` at `i`."""
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
    """The block from BEGIN … PRIVATE KEY at `i` to the END with the same label.

    Without such an END it reaches to the last line of the key.
    """
    label = i + len(BEGIN)
    label_end = _label_end(data, label, end) if _equal(data, i, end, BEGIN) else label
    if label_end == label:
        return i, i
    k = _after_dashes(data, label_end, end)
    for _ in range(MAX_HEADERS):
        line = _after_gap(data, k, end)
        following = _after_header(data, line, end)
        if following == line:
            break
        k = following
    stop = _after_lines(data, k, end)
    if stop == k:
        return i, i
    k = _before_end(data, stop, end)
    if not _equal(data, k, end, END):
        return i, stop
    k += len(END)
    for j in range(label, label_end):
        if k >= end or data[k] != data[j]:
            return i, stop
        k += 1
    return i, _after_dashes(data, k, end)


@part
def key_without_beginning(data: Bytes, begin: int, i: int, end: int) -> tuple[int, int]:
    """The base64 lines before an END … PRIVATE KEY at `i`, including this END."""
    label = i + len(END)
    label_end = _label_end(data, label, end) if _equal(data, i, end, END) else label
    if label_end == label:
        return i, i
    start, n, k = i, 0, i
    while k > begin and i - k < MAX_KEY:
        while k > begin and _ends_gap(data, begin, k - 1):
            k -= 1
        stop = k
        while k > begin and IS_BASE64[data[k - 1]]:
            k -= 1
        k += k > begin and k < stop and data[k - 1] == BACKSLASH and IS_ESCAPE[data[k]]
        last = n == 0 and stop > k and _is_last(data, k, stop, end)
        if stop - k < MIN_KEY and not last:
            break
        start = k
        n += stop - k
    return (start, _after_dashes(data, label_end, end)) if n >= MIN_TAIL else (i, i)


@part
def _label_end(data: Bytes, label: int, end: int) -> int:
    """The end of a label that names a private key and precedes a dash; `label` if there is none."""
    k, keyed = label, False
    while k < end and k - label < MAX_LABEL and IS_LABEL[data[k]]:
        keyed = keyed or _equal(data, k, end, KEY)
        k += 1
    return k if keyed and k < end and data[k] == DASH else label


@part
def _ends_gap(data: Bytes, begin: int, k: int) -> bool:
    """Whether the byte at `k` ends a separator between the lines of a key."""
    if data[k] == DASH or IS_BETWEEN[data[k]] or data[k] == BACKSLASH:
        return True
    return k > begin and IS_ESCAPE[data[k]] and data[k - 1] == BACKSLASH


@part
def _before_end(data: Bytes, stop: int, end: int) -> int:
    """Where to expect END after lines that end at `stop`: after a gap, or after `...` and more lines."""
    k = _after_gap(data, stop, end)
    if _equal(data, k, end, END):
        return k
    cut = k
    while cut < end and cut - k < MAX_ELISION and data[cut] != NEWLINE and _escape_size(data, cut, end) == 0:
        cut += 1
    resumed = _after_gap(data, _after_lines(data, cut, end), end)
    return resumed if _equal(data, resumed, end, END) else k


@part
def _after_dashes(data: Bytes, k: int, end: int) -> int:
    while k < end and data[k] == DASH:
        k += 1
    return k


@part
def _escape_size(data: Bytes, k: int, end: int) -> int:
    r"""The size of `\n`, `\r`, `\t`, `\\n` and so on, or of a backslash at the end of a line; 0 if there is none."""
    first = k
    while k < end and data[k] == BACKSLASH:
        k += 1
    if k == first or k >= end:
        return 0
    return k + 1 - first if IS_ESCAPE[data[k]] or data[k] in (NEWLINE, RETURN, ord('"')) else 0


@part
def _tag_size(data: Bytes, first: int, end: int) -> int:
    """The size of `<br>`, `</p>`, `&#10;` and the like, or of `%0A`; 0 if there is none."""
    if data[first] == PERCENT and first + 2 < end and data[first + 1] == ord("0"):
        return 3 if data[first + 2] | 0x20 in (ord("a"), ord("d")) else 0
    if data[first] != ord("<") and data[first] != ord("&"):
        return 0
    closing = ord(">") if data[first] == ord("<") else ord(";")
    k = first
    while k < end and k - first < MAX_TAG:
        if data[k] == closing:
            return k + 1 - first
        k += 1
    return 0


@part
def _comment_size(data: Bytes, k: int, end: int) -> int:
    """The size of exactly `--`, not more dashes, or of `REM` with its space; 0 if there is none."""
    if k + 3 >= end:
        return 0
    if data[k] == DASH:
        return 2 if data[k + 1] == DASH and data[k + 2] != DASH else 0
    remark = data[k] | 0x20 == ord("r") and data[k + 1] | 0x20 == ord("e") and data[k + 2] | 0x20 == ord("m")
    return 4 if remark and data[k + 3] == ord(" ") else 0


@part
def _after_gap(data: Bytes, k: int, end: int) -> int:
    """The end of the separator between lines of a key that begins at `k`."""
    while k < end:
        size = _escape_size(data, k, end) + _tag_size(data, k, end) + _comment_size(data, k, end)
        size = 1 if size == 0 and IS_BETWEEN[data[k]] else size
        if size == 0:
            break
        k += size
    return k


@part
def _after_header(data: Bytes, first: int, end: int) -> int:
    """The end of a header line such as `Proc-Type: 4,ENCRYPTED` at `first`; `first` if there is none."""
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
        if run == LONG_RUN:  # the key itself; newlines were replaced by spaces
            return k - run
    return first


@part
def _after_lines(data: Bytes, first: int, end: int) -> int:
    """The end of runs of base64 of at least 16 letters, and of a shorter last run; `first` if there is none."""
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
    """Whether a short run of base64 is the last line of a key, not a word.

    It is padded, cut off by the end of the text, or a line of its own whose length is a multiple of four.
    """
    if k == end or data[k - 1] == EQUALS or data[line] == EQUALS:
        return True
    return (k - line) % 4 == 0 and (data[k] in (NEWLINE, RETURN, ord('"')) or _escape_size(data, k, end) > 0)

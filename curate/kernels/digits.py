"""Numbers that name a person, a machine or an account, by their form."""

from curate.kernels.arrow import Bytes
from curate.kernels.jit import inline, part

ZERO, ONE, TWO, SIX, NINE = (ord(c) for c in "01269")
SPACE, DASH, DOT, COMMA, SLASH, OPEN, CLOSE, UNDERSCORE = (ord(c) for c in " -.,/()_")


@inline
def is_digit(byte: int) -> bool:
    """Whether a byte is 0 to 9."""
    return ZERO <= byte <= NINE


@inline
def _is_capital(byte: int) -> bool:
    return 0x41 <= byte <= 0x5A


@inline
def _is_word(byte: int) -> bool:
    return is_digit(byte) or _is_capital(byte) or 0x61 <= byte <= 0x7A or byte == UNDERSCORE


@part
def alone_before(data: Bytes, begin: int, i: int, dashes: bool) -> bool:
    """Whether what begins at `i` continues no word and no number, be it one with `.` or, with `dashes`, `-`."""
    if i == begin:
        return True
    byte = data[i - 1]
    if _is_word(byte):
        return False
    joins = byte == DOT or (dashes and byte in (DASH, COMMA, SLASH))
    return not (joins and i - 1 > begin and is_digit(data[i - 2]))


@part
def alone_after(data: Bytes, stop: int, end: int, dashes: bool) -> bool:
    """Whether what ends at `stop` is continued by no word and no number."""
    if stop >= end:
        return True
    byte = data[stop]
    if _is_word(byte):
        return False
    joins = byte == DOT or (dashes and byte in (DASH, COMMA, SLASH))
    return not (joins and stop + 1 < end and is_digit(data[stop + 1]))


@inline
def _digits(data: Bytes, i: int, end: int, n: int) -> bool:
    """Whether `n` digits stand at `i` and no further one."""
    if i + n > end:
        return False
    for k in range(i, i + n):
        if not is_digit(data[k]):
            return False
    return i + n == end or not is_digit(data[i + n])


@part
def social(data: Bytes, begin: int, i: int, after: int, end: int) -> tuple[int, int]:
    """Three digits, two and four, with dashes: a US social security number."""
    if after - i != 3 or after >= end or data[after] != DASH or not _digits(data, i + 4, end, 2):
        return i, i
    if i + 6 >= end or data[i + 6] != DASH or not _digits(data, i + 7, end, 4):
        return i, i
    return (i, i + 11) if alone_before(data, begin, i, True) and alone_after(data, i + 11, end, True) else (i, i)


@part
def gap_size(data: Bytes, i: int, end: int) -> int:
    """The size of a space, dash or full stop at `i`, the wider ones too; 0 where there is none."""
    if i >= end:
        return 0
    byte = data[i]
    if byte in (SPACE, DASH, DOT):
        return 1
    if byte == 0xC2 and i + 1 < end and data[i + 1] == 0xA0:  # a space that does not break
        return 2
    return 3 if byte == 0xE2 and i + 2 < end and data[i + 1] == 0x80 and 0x90 <= data[i + 2] <= 0x93 else 0


@part
def national(data: Bytes, begin: int, i: int, after: int, end: int) -> tuple[int, int]:
    """A North American phone number: 202-555-0123, (202) 555-0123, 1 202 555 0123."""
    start = area = i
    if after - i == 1 and data[i] == ONE:
        area += 1 + gap_size(data, i + 1, end)
        area += area < end and data[area] == OPEN
        if area == i + 1:
            return i, i
    elif after - i != 3:
        return i, i
    bracket = area > begin and data[area - 1] == OPEN and area + 3 < end and data[area + 3] == CLOSE
    start -= bracket and area == i
    if not _digits(data, area, end, 3) or data[area] < TWO or not alone_before(data, begin, start, True):
        return i, i
    k = area + 3 + bracket
    size = gap_size(data, k, end)
    k += size
    if (size == 0 and not bracket) or not _digits(data, k, end, 3) or data[k] < TWO:
        return i, i
    size = gap_size(data, k + 3, end)
    k += 3 + size
    if size == 0 or not _digits(data, k, end, 4) or not alone_after(data, k + 4, end, True):
        return i, i
    return start, k + 4


@part
def address(data: Bytes, begin: int, i: int, after: int, end: int) -> tuple[int, int]:
    """Four numbers of up to three digits with full stops between them: an IPv4 address."""
    if after - i > 3 or after >= end or data[after] != DOT or not alone_before(data, begin, i, False):
        return i, i
    k = after
    for _ in range(3):
        if k >= end or data[k] != DOT:
            return i, i
        first = k + 1
        k = first
        while k < end and k - first < 4 and is_digit(data[k]):
            k += 1
        if not 1 <= k - first <= 3:
            return i, i
    return (i, k) if alone_after(data, k, end, False) else (i, i)


@part
def card(data: Bytes, begin: int, i: int, after: int, end: int) -> tuple[int, int]:
    """13 to 19 digits from 2 to 6 on, in one piece or in groups from four digits on: a payment card, perhaps more."""
    if after - i < 4 or not TWO <= data[i] <= SIX or not alone_before(data, begin, i, True):
        return i, i
    n, stop = after - i, after
    grouped = n == 4 and after < end and data[after] in (SPACE, DASH)
    while grouped and stop + 1 < end and data[stop] == data[after] and is_digit(data[stop + 1]):
        k = stop + 1
        while k < end and is_digit(data[k]):
            k += 1
        n += k - stop - 1
        if n > 19:
            break
        stop = k
    n = min(n, 19) if grouped else n
    return (i, stop) if 13 <= n <= 19 and (grouped or alone_after(data, stop, end, True)) else (i, i)


@part
def iban(data: Bytes, begin: int, i: int, after: int, end: int) -> tuple[int, int]:
    """Two capitals, two digits and eleven or more of both, in one piece or in fours."""
    start = i - 2
    if after - i < 2 or start < begin or not (_is_capital(data[i - 1]) and _is_capital(data[start])):
        return i, i
    if start > begin and _is_word(data[start - 1]):
        return i, i
    n, stop, k = 0, start, start
    while k < end and n < 34:
        if is_digit(data[k]) or _is_capital(data[k]):
            n += 1
            stop = k + 1
        elif data[k] != SPACE or n % 4 or data[k - 1] == SPACE:
            break
        k += 1
    return (start, stop) if n >= 15 else (i, i)

"""Numbers that identify a person, a machine or an account, recognised by their form.

`social`, `national`, `abroad`, `address`, `card` and `iban` take a run of digits, data[i:after], within the text
data[begin:end]. They return the start and end of the number around it, or (i, i) if there is none.
"""

import numpy as np

from curate.kernels.arrow import Bytes
from curate.kernels.jit import inline, part

ZERO, ONE, TWO, SIX, NINE = (ord(c) for c in "01269")
SPACE, DASH, DOT, COMMA, SLASH, OPEN, CLOSE, UNDERSCORE = (ord(c) for c in " -.,/()_")
WORD_IBAN = np.frombuffer(b"iban", np.uint8).copy()


@inline
def is_digit(byte: int) -> bool:
    """Whether a byte is 0 to 9."""
    return ZERO <= byte <= NINE


@inline
def _is_letter(byte: int) -> bool:
    return 0x61 <= byte | 0x20 <= 0x7A


@inline
def _is_word(byte: int) -> bool:
    return is_digit(byte) or _is_letter(byte) or byte == UNDERSCORE


@part
def alone_before(data: Bytes, begin: int, i: int, dashes: bool) -> bool:
    """Whether no word or number continues at `i`, not even a number with `.` in it or, with `dashes`, with `-`."""
    if i == begin:
        return True
    byte = data[i - 1]
    if _is_word(byte):
        return False
    joins = byte == DOT or (dashes and byte == DASH)
    return not (joins and i - 1 > begin and is_digit(data[i - 2]))


@part
def alone_after(data: Bytes, stop: int, end: int, dashes: bool) -> bool:
    """Whether no word or number continues at `stop`; see `alone_before`."""
    if stop >= end:
        return True
    byte = data[stop]
    if _is_word(byte):
        return False
    joins = byte == DOT or (dashes and byte == DASH)
    return not (joins and stop + 1 < end and is_digit(data[stop + 1]))


@inline
def _digits(data: Bytes, i: int, end: int, n: int) -> bool:
    """Whether exactly `n` digits begin at `i`."""
    if i + n > end:
        return False
    for k in range(i, i + n):
        if not is_digit(data[k]):
            return False
    return i + n == end or not is_digit(data[i + n])


@part
def space_size(data: Bytes, i: int, end: int) -> int:
    """Size of the space at `i` (also U+00A0, U+2000 to U+200A and U+202F); 0 if there is none."""
    if i >= end:
        return 0
    if data[i] == SPACE:
        return 1
    if data[i] == 0xC2 and i + 1 < end and data[i + 1] == 0xA0:
        return 2
    wide = data[i] == 0xE2 and i + 2 < end and data[i + 1] == 0x80
    return 3 if wide and (0x80 <= data[i + 2] <= 0x8A or data[i + 2] == 0xAF) else 0


@part
def dash_size(data: Bytes, i: int, end: int) -> int:
    """Size of the dash at `i` (also U+2010 to U+2013); 0 if there is none."""
    if i >= end:
        return 0
    if data[i] == DASH:
        return 1
    return 3 if data[i] == 0xE2 and i + 2 < end and data[i + 1] == 0x80 and 0x90 <= data[i + 2] <= 0x93 else 0


@part
def gap_size(data: Bytes, i: int, end: int) -> int:
    """Size of the space, dash or full stop at `i`; 0 if there is none."""
    if i < end and data[i] == DOT:
        return 1
    return space_size(data, i, end) + dash_size(data, i, end)


@part
def social(data: Bytes, begin: int, i: int, after: int, end: int) -> tuple[int, int]:
    """US social security number: three, two and four digits with dashes between them."""
    first = dash_size(data, after, end)
    k = after + first
    if after - i != 3 or first == 0 or not _digits(data, k, end, 2):
        return i, i
    second = dash_size(data, k + 2, end)
    stop = k + 2 + second + 4
    if second == 0 or not _digits(data, stop - 4, end, 4):
        return i, i
    return (i, stop) if alone_before(data, begin, i, True) and alone_after(data, stop, end, True) else (i, i)


@part
def _wide_gap(data: Bytes, i: int, end: int) -> int:
    """Size of the gap at `i`, in which a dash may have a space on either side."""
    space = space_size(data, i, end)
    dash = dash_size(data, i + space, end)
    return space + dash + space_size(data, i + space + dash, end) if dash > 0 else gap_size(data, i, end)


@part
def _ends_phone(data: Bytes, stop: int, end: int) -> bool:
    """Whether a phone number may end at `stop`: no word or number continues, except for an extension such as x123."""
    if stop + 1 < end and data[stop] | 0x20 == ord("x") and is_digit(data[stop + 1]):
        stop += 2
        while stop < end and is_digit(data[stop]):
            stop += 1
    return alone_after(data, stop, end, True)


@part
def national(data: Bytes, begin: int, i: int, after: int, end: int) -> tuple[int, int]:
    """North American phone number: 202-555-0123, (202) 555-0123, 1 202 555 0123."""
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
    size = _wide_gap(data, k, end) if bracket else gap_size(data, k, end)
    k += size
    if (size == 0 and not bracket) or k >= end or data[k] < TWO:
        return i, i
    if bracket and _digits(data, k, end, 7):
        return (start, k + 7) if _ends_phone(data, k + 7, end) else (i, i)
    if not _digits(data, k, end, 3):
        return i, i
    size = _wide_gap(data, k + 3, end) if bracket else gap_size(data, k + 3, end)
    k += 3 + size
    if size == 0 or not _digits(data, k, end, 4) or not _ends_phone(data, k + 4, end):
        return i, i
    return start, k + 4


@part
def digits_of_call(data: Bytes, i: int, end: int) -> tuple[int, int]:
    """Count and end of the digits that begin at `i`: up to 15, with up to three separators between two of them."""
    digits, gap, stop, group, k = 0, 0, i, i, i
    while k < end and gap <= 3:
        if is_digit(data[k]):
            if digits == 15:
                stop = group if gap == 0 else stop
                break
            digits += 1
            gap = 0
            stop = k + 1
        else:
            size = 1 if data[k] in (OPEN, CLOSE, SLASH) else gap_size(data, k, end)
            if size == 0:
                break
            if gap == 0:
                group = stop
            gap += 1
            k += size - 1
        k += 1
    return (digits, stop) if stop > i else (0, i)  # a single group of more than 15 digits is no number


@part
def abroad(data: Bytes, begin: int, i: int, after: int, end: int) -> tuple[int, int]:
    """Phone number after an international call prefix: 00 and a country code, or 011 and a gap."""
    k = i + 2
    if after - i == 3 and data[i + 1] == ONE and data[i + 2] == ONE:
        k = after + gap_size(data, after, end)
    elif after - i < 3 or data[i + 1] != ZERO or data[k] == ZERO:
        return i, i
    if k == after or k >= end or data[k] == ZERO or not alone_before(data, begin, i, True):
        return i, i
    digits, stop = digits_of_call(data, k, end)
    return (i, stop) if digits >= 8 else (i, i)


@part
def address(data: Bytes, begin: int, i: int, after: int, end: int) -> tuple[int, int]:
    """IPv4 address: four numbers of up to three digits with full stops between them."""
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
def _has_check_digit(data: Bytes, i: int, stop: int) -> bool:
    """Whether the digits in data[i:stop] end with their check digit of ISO/IEC 7812 (Luhn)."""
    total, n = 0, 0
    for k in range(stop - 1, i - 1, -1):
        if is_digit(data[k]):
            digit = np.int64(data[k]) - ZERO
            doubled = digit * 2
            total += digit if n % 2 == 0 else doubled - 9 * (doubled > 9)
            n += 1
    return total % 10 == 0


@part
def card(data: Bytes, begin: int, i: int, after: int, end: int) -> tuple[int, int]:
    """Payment card: 13 to 19 digits, the first from 2 to 6, with a check digit, unbroken or grouped as on cards."""
    if after - i < 4 or not TWO <= data[i] <= SIX or not alone_before(data, begin, i, True):
        return i, i
    if after - i > 4:
        whole = 13 <= after - i <= 19 and alone_after(data, after, end, True) and not _is_fraction(data, begin, i)
        return (i, after) if whole and _has_check_digit(data, i, after) else (i, i)
    size = space_size(data, after, end) + dash_size(data, after, end)
    stop, k, n, groups, second = i, after, 4, 1, 0
    while size > 0 and groups < 5 and _same(data, after, k, size, end):
        first = k + size
        k = first
        while k < end and is_digit(data[k]):
            k += 1
        n += k - first
        groups += 1
        second = k - first if groups == 2 else second
        formed = (groups > 3 and 13 <= n <= 19) if second == 4 else (groups == 3 and 4 <= k - first <= 5)
        if k - first < 1 or (second != 4 and second != 6):
            break
        if formed and _has_check_digit(data, i, k) and alone_after(data, k, end, False):
            stop = k
        if (second == 4 and k - first != 4) or (second == 6 and groups == 3):
            break
    return i, stop


@part
def _same(data: Bytes, first: int, k: int, size: int, end: int) -> bool:
    """Whether the `size` bytes at `first` and at `k` are equal."""
    if k + size > end:
        return False
    j = 0
    while j < size and data[first + j] == data[k + j]:
        j += 1
    return j == size


@part
def _is_fraction(data: Bytes, begin: int, i: int) -> bool:
    """Whether `0,` directly precedes `i`, with no digit or comma before it."""
    if i - 1 <= begin or data[i - 1] != COMMA or data[i - 2] != ZERO:
        return False
    return i - 2 == begin or not (is_digit(data[i - 3]) or data[i - 3] == COMMA)


@part
def _shifted(remainder: int, byte: int) -> int:
    """Remainder modulo 97 after one more digit or letter (A is 10) is appended to the number."""
    if is_digit(byte):
        return (remainder * 10 + np.int64(byte) - ZERO) % 97
    return (remainder * 100 + (np.int64(byte) | 0x20) - 0x61 + 10) % 97


@part
def _before_iban(data: Bytes, begin: int, start: int) -> bool:
    """Whether an IBAN may begin at `start`: data[start - 1] is no letter or digit, or ends the word `IBAN`."""
    if not _is_word(data[start - 1]) or data[start - 1] == UNDERSCORE:
        return True
    if start - 4 < begin or (start - 4 > begin and _is_word(data[start - 5])):
        return False
    same = True
    for k in range(4):
        same = same and data[start - 4 + k] | 0x20 == WORD_IBAN[k]
    return same


@part
def iban(data: Bytes, begin: int, i: int, after: int, end: int) -> tuple[int, int]:
    """IBAN: two letters, two digits, eleven or more of either, unbroken or in fours, with check digits (ISO 7064)."""
    start = i - 2
    if after - i < 2 or start < begin or not (_is_letter(data[i - 1]) and _is_letter(data[start])):
        return i, i
    case = data[start] & 0x20
    if data[i - 1] & 0x20 != case or (start > begin and not _before_iban(data, begin, start)):
        return i, i
    n, k, remainder, stop = 0, start, 0, start
    while k < end and n < 34:
        if is_digit(data[k]) or (_is_letter(data[k]) and data[k] & 0x20 == case):
            if n >= 4:
                remainder = _shifted(remainder, data[k])
            n += 1
            k += 1
            inside = k < end and (is_digit(data[k]) or (_is_letter(data[k]) and data[k] & 0x20 == case))
            if n >= 15 and not inside:
                checked = remainder
                for j in range(4):
                    checked = _shifted(checked, data[start + j])
                stop = k if checked == 1 else stop
        else:
            size = space_size(data, k, end) + dash_size(data, k, end)
            ahead = k + size
            if size == 0 or n % 4 or ahead >= end or not _is_word(data[ahead]):
                break
            k = ahead
    return (start, stop) if stop > start else (i, i)

"""Parse the numbers of a text with their units into one form: 1,000 and 1000, or 5 % and five percent, are equal.

A date is parsed into its parts (numbers of day and year, and the month), so that their order does not matter.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from itertools import zip_longest

from curate.distill.text import number_words
from curate.distill.text.number_words import ORDINALS, dates, number_of, scales, units

Reading = tuple[str, str]  # a number in plain form, and its unit or ""

CURRENCY = "$€£¥₹₩₽"
MARKS = r"\u0900-\u0903\u093a-\u094f\u0981-\u0983\u09bc-\u09cd"  # of Devanagari and Bengali; `\w` does not match them
SPACE = r" \u00a0\u2009\u202f"
NUMBER = re.compile(
    rf"(?:(?:US|HK|NZ|[ACRS])?(?P<currency>[{CURRENCY}])[{SPACE}]?|(?<![A-Za-zÀ-ɏ_\d]))(?P<minus>(?<![\w)\]])[-−])?"
    rf"(?P<digits>\d{{1,3}}(?:[{SPACE}]\d{{3}})+(?:[.,]\d+)?(?!\d)|\d+(?:[.,'’٫٬:/]\d+)*)(?P<suffix>[A-Za-zµ]+)?"
)
ISO_DATE = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?!\d)")
SHORT_DATE = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})(?!\d)")  # day and month in either order
FOLLOWING = re.compile(
    rf"[{SPACE}-]?(per cent|p\.m|a\.m|b\.c|°[{SPACE}]?[CFcf]\b|[%％٪°℃℉¢{CURRENCY}]|µ?(?:[^\W\d_][{MARKS}]*)+)"
)
ENDINGS = ("st", "nd", "rd", "th", "er", "s")  # 3rd, 1er, 1990s
# Scales written as suffixes, as in $5m. All but k require a currency.
SUFFIX_SCALES = {"k": 10**3, "m": 10**6, "b": 10**9, "bn": 10**9, "tn": 10**12}
RANGE = re.compile(rf"[{SPACE}]?(?:[-–—~,]|to|and|or|bis|à|y|und|oder)[{SPACE}]?")
ITEM_NUMBER = re.compile(  # 1. (2) 3.1.2. Q4: Step 5: [6]
    r"^[ \t*•#>-]*"
    r"(?:\(?\d{1,3}[.)](?!\d)|(?:\d{1,3}\.){2,}(?!\d)|(?:[A-Z](?:[a-zé]{3,9} )?)?\d{1,3}\**:(?!\d))|\[\d{1,3}\]",
    re.MULTILINE,
)
MONTH_SIGNS = ("月", "월")
DATE = re.compile(r"\b[A-Z][a-z]{2,8}\b")
AMBIGUOUS = ("may", "march")  # months only next to a number or after BEFORE_MONTH
BEFORE_MONTH = re.compile(
    r"(?:\d(?:st|nd|rd|th)?,?|\b(?:in|of|by|on|to|from|and|until|since|last|next|this|late|early|mid|during|before|after"
    r"|through))[\s-]\Z",
    re.IGNORECASE,
)
DIGIT_FOLLOWS = re.compile(r"\.?\s\d")
BEFORE_SECONDS = re.compile(r"(?:\d|\b(?:a|per|each|every|half))[\s-]\Z", re.IGNORECASE)  # the unit, not the ordinal
CONTEXT = 12  # characters before a word that the patterns see


@dataclass(frozen=True)
class Quantity:
    """A number, a month or a day of the week in a text.

    readings  possible meanings, the likeliest first
    counts    whether it is a fact, unlike an item's number, `one` or `first`
    scale     the multiplier already applied: 10^6 in 2.5 million
    """

    start: int
    end: int
    readings: tuple[Reading, ...]
    counts: bool = True
    scale: Decimal = Decimal(1)


def quantities(text: str) -> list[Quantity]:
    """The numbers of a text in order: in digits of any script, and in English words."""
    result: list[Quantity] = []
    position = 0
    while match := NUMBER.search(text, position):
        parsed = [*_date_parts(text, match)] or [*_in_digits(text, match)]
        result += parsed
        position = max(match.end("digits"), parsed[-1].end)
    covered = {position for quantity in result for position in range(quantity.start, quantity.end)}
    in_words = [*_in_words(text), *_month_and_day_names(text)]
    result += (quantity for quantity in in_words if quantity.start not in covered)
    result.sort(key=lambda quantity: (quantity.start, quantity.end))
    in_item_numbers = {position for match in ITEM_NUMBER.finditer(text) for position in range(*match.span())}
    return [
        replace(quantity, counts=quantity.counts and quantity.start not in in_item_numbers)
        for quantity in _with_range_units(text, result)
    ]


def _date_parts(text: str, match: re.Match[str]) -> Iterator[Quantity]:
    """The parts of a date in digits."""
    if date := ISO_DATE.match(text, match.start("digits")):
        year, month, day = 1, 2, 3
    elif date := SHORT_DATE.match(text, match.start("digits")):
        day, month, year = 1, 3, 4
    else:
        return
    is_short = year == 4
    number = {part: _plain(_ascii(date[part])) for part in (day, month, year)}
    if not (1 <= int(number[day]) <= 31 and 1 <= int(number[month]) <= (31 if is_short else 12)):
        return
    for part in sorted(number):
        months = [(f"month {number[part]}", "")] if part != year and int(number[part]) <= 12 else []
        plain = [(number[part], "")]
        if part == year or (part == day and not is_short):
            readings = plain
        else:
            readings = plain + months if is_short else months + plain
        yield Quantity(*date.span(part), tuple(readings))


def _in_digits(text: str, match: re.Match[str]) -> Iterator[Quantity]:
    """Parse a run of digits and separators as one number or several. The last one gets the following scale and unit."""
    *leading, (offset, part, values) = _parts(match["digits"])
    digits_start = match.start("digits")
    for position, digits, leading_values in leading:
        start = digits_start + position
        yield Quantity(start, start + len(digits), tuple((value, "") for value in leading_values))
    start, end = digits_start + offset, digits_start + offset + len(part)
    if " " in part:  # the space may separate numbers instead of thousands
        for group in re.finditer(r"\d+", part):
            position = start + group.start()
            yield Quantity(position, position + len(group[0]), ((_plain(_ascii(group[0])), ""),), counts=False)
    if not leading:
        start = match.start()
    suffix = (match["suffix"] or "").lower()
    unit = units()[match["currency"]] if match["currency"] else ""
    scale = Decimal(1)
    if suffix in SUFFIX_SCALES and (unit or suffix == "k"):
        scale, end = Decimal(SUFFIX_SCALES[suffix]), match.end()
    elif suffix in ENDINGS:
        end = match.end()
    elif suffix and suffix not in units() and suffix not in scales():
        yield Quantity(start, match.end(), ((f"{values[0]}{suffix}", unit),))  # 3D
        return
    scale, unit, end = _scale_and_unit(text, end, scale, unit)
    minus = "-" if match["minus"] and not leading else ""
    readings = [(minus + _times(value, scale), unit) for value in values]
    if text[end : end + 1] in MONTH_SIGNS and values[0] in map(str, range(1, 13)):
        readings.insert(0, (f"month {values[0]}", ""))
    yield Quantity(start, end, tuple(readings), scale=scale)


def _scale_and_unit(text: str, end: int, scale: Decimal, unit: str) -> tuple[Decimal, str, int]:
    """Parse what follows a number: multipliers such as million, then a unit. Returns scale, unit and end."""
    while word := _lookup(text, end, scales()):
        scale, end = scale * Decimal(word[0]), word[1]
    if not unit and (word := _lookup(text, end, units())):
        unit, end = word
    return scale, unit, end


def _lookup(text: str, start: int, words: Mapping[str, str]) -> tuple[str, int] | None:
    """The meaning and the end of the next word: in scripts without spaces, of the longest match in `words`."""
    match = FOLLOWING.match(text, start)
    if match is None:
        return None
    word = re.sub(rf"[{SPACE}]", "", match[1].lower()).translate(str.maketrans("％٪", "%%"))
    if word in words:
        return words[word], match.end()
    if word[0] >= "\u2e80":
        for length in (2, 1):
            if word[:length] in words:
                return words[word[:length]], match.start(1) + length
    return None


def _parts(digits: str) -> list[tuple[int, str, tuple[str, ...]]]:
    """The numbers in a run of digits and separators: offset, digits as written, possible values."""
    values = _values(digits)
    if values:
        return [(0, digits, values)]
    matches = re.finditer(r"[\d.]+", digits)  # 1,2,3 and 1/2/2020 are several
    return [(match.start(), match[0], _values(match[0]) or (match[0],)) for match in matches]


def _values(digits: str) -> tuple[str, ...]:
    """The possible values of a run of digits and separators as one number; none where it is several."""
    groups = [_ascii(group) for group in re.split(r"\D", digits)]
    signs = re.sub(r"\d", "", digits).translate(str.maketrans("٫٬", ".,"))
    integer = _plain("".join(groups))
    grouped_by_3 = len(groups[0]) <= 3 and groups[0] != "0" and all(len(group) == 3 for group in groups[1:])
    same_separator = len(set(signs)) == 1
    if not signs or (grouped_by_3 and same_separator and signs[0] not in ".:/" and signs != ","):
        return (integer,)
    if set(signs) == {":"} or signs == "/":
        return (signs[0].join(map(_plain, groups)),)
    if signs in (".", ","):
        decimal = _plain(".".join(groups))
        return ((integer, decimal) if signs == "," else (decimal, integer)) if grouped_by_3 else (decimal,)
    if set(signs) == {"."}:
        return (integer,) if grouped_by_3 else (".".join(groups),)  # else a version or a section
    if same_separator:  # 12,34,567, as in India
        grouped_by_2 = [len(group) for group in groups[1:]] == [2] * (len(groups) - 2) + [3] and len(groups[0]) <= 2
        return (integer,) if signs[0] == "," and grouped_by_2 else ()
    if signs[-1] in ".," and len(set(signs[:-1])) == 1 and all(len(group) == 3 for group in groups[1:-1]):
        return (_plain(f"{''.join(groups[:-1])}.{groups[-1]}"),)
    return ()


def _ascii(digits: str) -> str:
    return digits if digits.isascii() else "".join(str(unicodedata.decimal(digit)) for digit in digits)


def _plain(written: str) -> str:
    """A number without redundant zeros: 7 for 07, 2.5 for 2.50."""
    integer, _, fraction = written.partition(".")
    fraction = fraction.rstrip("0")
    return (integer.lstrip("0") or "0") + (f".{fraction}" if fraction else "")


def _is_number(value: str) -> bool:
    return value.replace(".", "", 1).isdecimal()


def _times(value: str, scale: Decimal) -> str:
    return value if scale == 1 or not _is_number(value) else _plain(f"{Decimal(value) * scale:f}")


def _in_words(text: str) -> Iterator[Quantity]:
    """Numbers in English words: seventy-five, two hundred and six, the third."""
    for match in number_words.NUMBER.finditer(text):
        start, end = match.span()
        lower, unit = match[0].lower(), ""
        preceding = text[max(0, start - CONTEXT) : start]
        if lower in ORDINALS:
            counts = text[end : end + 1] != "," and not (lower == "second" and BEFORE_SECONDS.search(preceding))
            counts = counts and lower != "first"
        else:
            counts = lower != "one"
            _, unit, end = _scale_and_unit(text, end, Decimal(1), "")
        yield Quantity(start, end, ((str(number_of(lower)), unit),), counts)


def _month_and_day_names(text: str) -> Iterator[Quantity]:
    """Capitalized English months and days of the week."""
    for match in DATE.finditer(text):
        name = match[0].lower()
        if name not in dates():
            continue
        start, end = match.span()
        number = DIGIT_FOLLOWS.match(text, end)
        preceding = BEFORE_MONTH.search(text[max(0, start - CONTEXT) : start])
        if number or (preceding and (len(name) > 4 or name in ("may", "june", "july") or preceding[0][0].isdecimal())):
            is_date = True
        else:
            is_date = name not in AMBIGUOUS and name in full_names()
        if is_date:
            yield Quantity(start, end, ((dates()[name], ""),))


@cache
def full_names() -> frozenset[str]:
    """Unabbreviated months and days of the week."""
    return frozenset([*number_words.meanings("months").values(), *number_words.meanings("days").values()])


def _with_range_units(text: str, items: Sequence[Quantity]) -> Iterator[Quantity]:
    """Let the first quantity of a range, as in `5 to 10 million km`, also have the scale and unit of the second."""
    for quantity, following in zip_longest(items, items[1:]):
        value, unit = quantity.readings[0]
        if following and not unit and _is_number(value) and RANGE.fullmatch(text, quantity.end, following.start):
            shared = (_times(value, following.scale), following.readings[0][1])
            quantity = replace(quantity, readings=tuple(dict.fromkeys([*quantity.readings, shared])))
        yield quantity

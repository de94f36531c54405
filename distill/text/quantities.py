"""Numbers in a text with what they count, told alike however they are written: 1,000 and 1000, 5 % and five percent.

A date is its parts, so that it may be written in any order: the numbers of day and year, and the month.
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

Reading = tuple[str, str]  # a number in its plain form and its unit; "" where it has none

CURRENCY = "$€£¥₹₩₽"
MARKS = r"\u0900-\u0903\u093a-\u094f\u0981-\u0983\u09bc-\u09cd"  # of Devanagari and Bengali, which `\w` lacks
SPACE = r" \u00a0\u2009\u202f"
NUMBER = re.compile(
    rf"(?:(?:US|HK|NZ|[ACRS])?(?P<currency>[{CURRENCY}])[{SPACE}]?|(?<![A-Za-zÀ-ɏ_\d]))(?P<minus>(?<![\w)\]])[-−])?"
    rf"(?P<digits>\d{{1,3}}(?:[{SPACE}]\d{{3}})+(?:[.,]\d+)?(?!\d)|\d+(?:[.,'’٫٬:/]\d+)*)(?P<suffix>[A-Za-zµ]+)?"
)
ISO_DATE = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?!\d)")
SHORT_DATE = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})(?!\d)")  # day and month in either order
BEHIND = re.compile(
    rf"[{SPACE}-]?(per cent|p\.m|a\.m|b\.c|°[{SPACE}]?[CFcf]\b|[%％٪°℃℉¢{CURRENCY}]|µ?(?:[^\W\d_][{MARKS}]*)+)"
)
ENDINGS = ("st", "nd", "rd", "th", "er", "s")  # 3rd, 1er, 1990s
GLUED = {"k": 10**3, "m": 10**6, "b": 10**9, "bn": 10**9, "tn": 10**12}  # $5m; of them k behind any number
RANGE = re.compile(rf"[{SPACE}]?(?:[-–—~,]|to|and|or|bis|à|y|und|oder)[{SPACE}]?")
MARK = re.compile(  # what numbers items and says nothing of them: 1. (2) 3.1.2. Q4: Step 5: [6]
    r"^[ \t*•#>-]*"
    r"(?:\(?\d{1,3}[.)](?!\d)|(?:\d{1,3}\.){2,}(?!\d)|(?:[A-Z](?:[a-zé]{3,9} )?)?\d{1,3}\**:(?!\d))|\[\d{1,3}\]",
    re.MULTILINE,
)
MONTH_SIGNS = ("月", "월")
DATE = re.compile(r"\b[A-Z][a-z]{2,8}\b")
OTHER_USES = ("may", "march")  # months only beside a number or behind one of BEFORE_MONTH
BEFORE_MONTH = re.compile(
    r"(?:\d(?:st|nd|rd|th)?,?|\b(?:in|of|by|on|to|from|and|until|since|last|next|this|late|early|mid|during|before|after"
    r"|through))[\s-]\Z",
    re.IGNORECASE,
)
DIGIT_BEHIND = re.compile(r"\.?\s\d")
NO_RANK = re.compile(r"(?:\d|\b(?:a|per|each|every|half))[\s-]\Z", re.IGNORECASE)  # a second
NEAR = 12  # characters before a word that are looked at


@dataclass(frozen=True)
class Quantity:
    """A number, a month or a day of the week in a text.

    readings  what it may mean, the likeliest first
    counts    whether it is a fact, and not the number of a list's item, `one` or `first`
    scale     what the number was multiplied by: a million in 2.5 million
    """

    start: int
    end: int
    readings: tuple[Reading, ...]
    counts: bool = True
    scale: Decimal = Decimal(1)


def quantities(text: str) -> list[Quantity]:
    """The numbers of a text in order: in digits of any script, and in English words."""
    found: list[Quantity] = []
    position = 0
    while match := NUMBER.search(text, position):
        some = [*_dated(text, match)] or [*_in_digits(text, match)]
        found += some
        position = max(match.end("digits"), some[-1].end)
    taken = {place for one in found for place in range(one.start, one.end)}
    found += (one for one in [*_in_words(text), *_named(text)] if one.start not in taken)
    found.sort(key=lambda one: (one.start, one.end))
    marked = {place for match in MARK.finditer(text) for place in range(*match.span())}
    return [replace(one, counts=one.counts and one.start not in marked) for one in _ranged(text, found)]


def _dated(text: str, match: re.Match[str]) -> Iterator[Quantity]:
    """The parts of a date in digits."""
    if found := ISO_DATE.match(text, match.start("digits")):
        year, month, day = 1, 2, 3
    elif found := SHORT_DATE.match(text, match.start("digits")):
        day, month, year = 1, 3, 4
    else:
        return
    short = year == 4
    number = {part: _plain(_ascii(found[part])) for part in (day, month, year)}
    if not (1 <= int(number[day]) <= 31 and 1 <= int(number[month]) <= (31 if short else 12)):
        return
    for part in sorted(number):
        months = [(f"month {number[part]}", "")] if part != year and int(number[part]) <= 12 else []
        own = [(number[part], "")]
        readings = own if part == year or (part == day and not short) else months + own if not short else own + months
        yield Quantity(*found.span(part), tuple(readings))


def _in_digits(text: str, match: re.Match[str]) -> Iterator[Quantity]:
    """The numbers that one stretch of digits and separators stands for; the last of them has what stands behind it."""
    *before, (offset, part, values) = _parts(match["digits"])
    begin = match.start("digits")
    for place, digits, own in before:
        yield Quantity(begin + place, begin + place + len(digits), tuple((value, "") for value in own))
    start, end = begin + offset, begin + offset + len(part)
    if " " in part:  # perhaps no thousands
        for found in re.finditer(r"\d+", part):
            place = start + found.start()
            yield Quantity(place, place + len(found[0]), ((_plain(_ascii(found[0])), ""),), counts=False)
    if not before:
        start = match.start()
    suffix = (match["suffix"] or "").lower()
    unit = units()[match["currency"]] if match["currency"] else ""
    scale = Decimal(1)
    if suffix in GLUED and (unit or suffix == "k"):
        scale, end = Decimal(GLUED[suffix]), match.end()
    elif suffix in ENDINGS:
        end = match.end()
    elif suffix and suffix not in units() and suffix not in scales():
        yield Quantity(start, match.end(), ((f"{values[0]}{suffix}", unit),))  # 3D
        return
    scale, unit, end = _counted(text, end, scale, unit)
    minus = "-" if match["minus"] and not before else ""
    readings = [(minus + _times(value, scale), unit) for value in values]
    if text[end : end + 1] in MONTH_SIGNS and values[0] in map(str, range(1, 13)):
        readings.insert(0, (f"month {values[0]}", ""))
    yield Quantity(start, end, tuple(readings), scale=scale)


def _counted(text: str, end: int, scale: Decimal, unit: str) -> tuple[Decimal, str, int]:
    """What stands behind a number: words such as million, which multiply it, then a unit."""
    while found := _known(text, end, scales()):
        scale, end = scale * Decimal(found[0]), found[1]
    if not unit and (found := _known(text, end, units())):
        unit, end = found
    return scale, unit, end


def _known(text: str, start: int, words: Mapping[str, str]) -> tuple[str, int] | None:
    """What the next word means, and where it ends; where no spaces divide words, the longest known one is it."""
    match = BEHIND.match(text, start)
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
    """The numbers in digits with separators: where each begins, how it stands there, and what it may be."""
    values = _values(digits)
    if values:
        return [(0, digits, values)]
    found = re.finditer(r"[\d.]+", digits)  # 1,2,3 and 1/2/2020 are several
    return [(one.start(), one[0], _values(one[0]) or (one[0],)) for one in found]


def _values(digits: str) -> tuple[str, ...]:
    """What digits with separators may be as one number; nothing where they are several."""
    groups = [_ascii(group) for group in re.split(r"\D", digits)]
    signs = re.sub(r"\d", "", digits).translate(str.maketrans("٫٬", ".,"))
    whole = _plain("".join(groups))
    threes = len(groups[0]) <= 3 and groups[0] != "0" and all(len(group) == 3 for group in groups[1:])
    alike = len(set(signs)) == 1
    if not signs or (threes and alike and signs[0] not in ".:/" and signs != ","):
        return (whole,)
    if set(signs) == {":"} or signs == "/":
        return (signs[0].join(map(_plain, groups)),)
    if signs in (".", ","):
        decimal = _plain(".".join(groups))
        return ((whole, decimal) if signs == "," else (decimal, whole)) if threes else (decimal,)
    if set(signs) == {"."}:
        return (whole,) if threes else (".".join(groups),)  # the latter a version or a section
    if alike:  # 12,34,567, as in India
        twos = [len(group) for group in groups[1:]] == [2] * (len(groups) - 2) + [3] and len(groups[0]) <= 2
        return (whole,) if signs[0] == "," and twos else ()
    if signs[-1] in ".," and len(set(signs[:-1])) == 1 and all(len(group) == 3 for group in groups[1:-1]):
        return (_plain(f"{''.join(groups[:-1])}.{groups[-1]}"),)
    return ()


def _ascii(digits: str) -> str:
    return digits if digits.isascii() else "".join(str(unicodedata.decimal(digit)) for digit in digits)


def _plain(written: str) -> str:
    """A number without zeros that say nothing: 7 for 07, 2.5 for 2.50."""
    whole, _, fraction = written.partition(".")
    fraction = fraction.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{fraction}" if fraction else "")


def _is_number(value: str) -> bool:
    return value.replace(".", "", 1).isdecimal()


def _times(value: str, scale: Decimal) -> str:
    return value if scale == 1 or not _is_number(value) else _plain(f"{Decimal(value) * scale:f}")


def _in_words(text: str) -> Iterator[Quantity]:
    """Numbers in English words: seventy-five, two hundred and six, the third."""
    for match in number_words.NUMBER.finditer(text):
        start, end = match.span()
        lower, unit = match[0].lower(), ""
        before = text[max(0, start - NEAR) : start]
        if lower in ORDINALS:
            counts = text[end : end + 1] != "," and not (lower == "second" and NO_RANK.search(before))
            counts = counts and lower != "first"
        else:
            counts = lower != "one"
            _, unit, end = _counted(text, end, Decimal(1), "")
        yield Quantity(start, end, ((str(number_of(lower)), unit),), counts)


def _named(text: str) -> Iterator[Quantity]:
    """Months and days of the week by their English names, with a capital."""
    for match in DATE.finditer(text):
        name = match[0].lower()
        if name not in dates():
            continue
        start, end = match.span()
        number = DIGIT_BEHIND.match(text, end)
        before = BEFORE_MONTH.search(text[max(0, start - NEAR) : start])
        if number or (before and (len(name) > 4 or name in ("may", "june", "july") or before[0][0].isdecimal())):
            known = True
        else:
            known = name not in OTHER_USES and name in full_names()
        if known:
            yield Quantity(start, end, ((dates()[name], ""),))


@cache
def full_names() -> frozenset[str]:
    """Months and days of the week that are not shortened."""
    return frozenset([*number_words.meanings("months").values(), *number_words.meanings("days").values()])


def _ranged(text: str, found: Sequence[Quantity]) -> Iterator[Quantity]:
    """Quantities, of which the first in `5 to 10 million km` may also have the scale and the unit of the second."""
    for one, following in zip_longest(found, found[1:]):
        value, unit = one.readings[0]
        if following and not unit and _is_number(value) and RANGE.fullmatch(text, one.end, following.start):
            more = (_times(value, following.scale), following.readings[0][1])
            one = replace(one, readings=tuple(dict.fromkeys([*one.readings, more])))
        yield one

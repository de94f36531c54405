"""Numbers, months and days of the week in English words."""

import re
from collections.abc import Mapping, Sequence
from functools import cache

from curate.distill.text.phrases import phrases

ONES = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEENS = (
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
FIRST_TO_NINTH = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
LATER = ("tenth", "eleventh", "twelfth", *(f"{word}th" for word in TEENS[3:]))
ORDINALS = {
    **dict(zip(FIRST_TO_NINTH, range(1, 10), strict=True)),
    **dict(zip(LATER, range(10, 20), strict=True)),
    **{f"{word[:-1]}ieth": 10 * k for k, word in enumerate(TENS, 2)},
}
VALUES = {
    **dict(zip((*ONES, *TEENS), range(1, 20), strict=True)),
    **{word: 10 * k for k, word in enumerate(TENS, 2)},
    **ORDINALS,
}


def _alternatives(words: Sequence[str]) -> str:
    return f"(?:{'|'.join(sorted(words, key=len, reverse=True))})"


_ONES, _TEENS, _TENS, _SCALES = map(_alternatives, (ONES, TEENS, TENS, tuple(SCALES)))
_TWO_DIGITS = rf"{_TENS}[- ]{_ONES}|{_TENS}|{_TEENS}"
_UNDER_100 = rf"(?:{_TWO_DIGITS}|{_ONES})"
_YEAR = rf"(?:{_TENS}|{_TEENS})[- ](?:{_TWO_DIGITS})"
_AFTER_SCALE = "|".join(rf"(?<={word})" for word in SCALES)
CARDINAL = (
    rf"(?:(?:{_YEAR}|{_UNDER_100})(?:[- ]{_SCALES})*|{_SCALES})"
    rf"(?:(?:{_AFTER_SCALE})(?: and |[- ]){_UNDER_100}(?:[- ]{_SCALES})*)*"
)
NUMBER = re.compile(rf"\b(?:(?:{_TENS}[- ])?{_alternatives(tuple(ORDINALS))}|{CARDINAL})\b", re.IGNORECASE)


def number_of(words: str) -> int:
    """The value of a match of NUMBER: 206 for two hundred and six, 1984 for nineteen eighty-four."""
    total = current = 0
    for word in re.findall(r"[a-z]+", words.lower()):
        if word == "hundred":
            current = max(current, 1) * 100
        elif word in SCALES:
            total, current = total + max(current, 1) * SCALES[word], 0
        elif word != "and":
            year = 10 <= current < 100 and (current % 10 or VALUES[word] >= 10)
            current = current * (100 if year else 1) + VALUES[word]
    return total + current


def meanings(name: str) -> Mapping[str, str]:
    """Map each word under `name` in phrases/quantities.yaml to its canonical form, the first word on its line."""
    lines = [line.split() for line in phrases("quantities")[name].splitlines()]
    return {word: line[0] for line in lines for word in line}


@cache
def scales() -> Mapping[str, str]:
    """Multipliers by word: 1000000 for million."""
    return meanings("scales")


@cache
def units() -> Mapping[str, str]:
    """Canonical units by word or sign."""
    return meanings("units")


@cache
def dates() -> Mapping[str, str]:
    """Canonical months (as `month 3`) and days of the week, by name. Months also by short forms."""
    months = {first: f"month {k}" for k, first in enumerate(dict.fromkeys(meanings("months").values()), 1)}
    return {word: months[first] for word, first in meanings("months").items()} | dict(meanings("days"))

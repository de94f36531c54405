"""Attacks on facts: numbers, dates and names replaced with others."""

import re
from collections import Counter
from collections.abc import Sequence
from random import Random

from curate.distill.attacks.changes import Changed, Replacement, changed
from curate.distill.attacks.registry import attack
from curate.distill.text.passages import is_latin, names

DIGITS = re.compile(r"(?<![\w.,])\d+(?:[.,]\d+)*(?![\w])")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
COUNTS = (
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "fifteen",
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
)
SCALES = ("hundred", "thousand", "million", "billion", "trillion")
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
SERIES = {word: series for series in (MONTHS, DAYS, COUNTS, SCALES, ORDINALS) for word in series}
WORD = re.compile(r"\b(?:" + "|".join([*SERIES, *map(str.capitalize, (*COUNTS, *SCALES, *ORDINALS))]) + r")\b(?!-)")


@attack("number_swap", family="number_entity_swap", bad=True)
def number_swap(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """Numbers, dates, months and number words: a third or more are those of another place, or others like them."""
    digits = [match.span() for match in DIGITS.finditer(text)]
    words = [match.span() for match in WORD.finditer(text) if match.group() != "May" or _is_month(text, match.end())]
    spans = digits + words
    if len(spans) < 2:
        return None
    same_shape: dict[str, set[str]] = {}
    for start, end in digits:
        same_shape.setdefault(_shape(text[start:end]), set()).add(text[start:end])
    numbers_by_shape = {shape: sorted(numbers) for shape, numbers in same_shape.items()}
    swapped: list[Replacement] = []
    for start, end in random.sample(spans, max(2, round(len(spans) * random.uniform(0.35, 1)))):
        old = text[start:end]
        if old[0].isdigit():
            new = _other_number(old, numbers_by_shape[_shape(old)], random)
        else:
            new = _other_word(old, random)
        swapped.append((start, end, new))
    return changed(text, swapped)


def _is_month(text: str, end: int) -> bool:
    return text[end : end + 2].strip()[:1].isdigit()


def _other_number(old: str, same_shape: Sequence[str], random: Random) -> str:
    """Another number of the text with the same shape, or a new one of that shape."""
    new = random.choice(same_shape)
    if new != old and random.random() < 0.6:
        return new
    if _shape(old) == "year":
        return str(int(old) + random.choice((-1, 1)) * random.choice((1, 2, 3, 7, 10, 11, 20, 31, 50, 84, 100)))
    if len(old) < 3 and old.isascii():
        return str(random.choice([n for n in range(1, 100 if len(old) == 2 else 13) if str(n) != old]))
    return _other_digits(old, random)


def _other_digits(old: str, random: Random) -> str:
    """The number with one or more digits changed."""
    positions = [at for at, sign in enumerate(old) if sign.isdecimal()]
    new = list(old)
    for at in random.sample(positions, random.randint(1, len(positions))):
        new[at] = random.choice([digit for digit in ("123456789" if at == 0 else "0123456789") if digit != old[at]])
    return "".join(new)


def _shape(number: str) -> str:
    if len(number) == 4 and number.isascii() and number.isdecimal() and 1000 <= int(number) <= 2100:
        return "year"
    return re.sub(r"\d+", lambda match: "9" * min(3, len(match.group())), number)


def _other_word(old: str, random: Random) -> str:
    series = SERIES.get(old) or SERIES[old.lower()]
    new = random.choice([word for word in series if word.lower() != old.lower()])
    return new.capitalize() if old[0].isupper() else new


@attack("name_swap", family="number_entity_swap", bad=True)
def name_swap(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """Names of people and places: exchanged with each other, or against those of other texts. Latin script."""
    if not is_latin(text):
        return None
    spans = names(text)
    counts = Counter(text[a:b] for a, b in spans)
    local_names = [name for name, _ in counts.most_common(20)]
    foreign = _foreign_names(text, random, others) if len(local_names) < 3 or random.random() < 0.3 else []
    if not local_names or len(local_names) + len(foreign) < 2:
        return None
    if random.random() < 0.5:
        return changed(text, _exchange_names(text, spans, local_names, foreign, random))
    share = random.uniform(0.4, 1)
    pool = local_names + [name for name in foreign if random.random() < 0.5]
    sampled = random.sample(spans, max(1, round(len(spans) * share)))
    return changed(text, [(a, b, _different_name(text[a:b], pool, random)) for a, b in sampled])


def _exchange_names(
    text: str, spans: Sequence[tuple[int, int]], local_names: Sequence[str], foreign: Sequence[str], random: Random
) -> list[Replacement]:
    """Replace each frequent name with another one consistently throughout the text."""
    changing = random.sample(local_names, max(1, round(len(local_names) * random.uniform(0.4, 1))))
    pool = changing[1:] + changing[:1] if len(changing) > 1 and random.random() < 0.6 else []
    substitutes = {
        name: pool[k] if pool else _different_name(name, [*foreign, *local_names], random)
        for k, name in enumerate(changing)
    }
    return [(a, b, substitutes.get(text[a:b], text[a:b])) for a, b in spans]


def _different_name(name: str, pool: Sequence[str], random: Random) -> str:
    """A different name from the pool, with the same number of words if possible."""
    candidates = [other for other in pool if other != name]
    same_length = [other for other in candidates if other.count(" ") == name.count(" ")]
    return random.choice(same_length or candidates or [name])


def _foreign_names(text: str, random: Random, others: Sequence[str]) -> list[str]:
    collected: list[str] = []
    for other in random.sample(others, min(2, len(others))):
        start = random.randrange(max(1, len(other) - 3000))
        window = other[start : start + 3000]
        if window.count(" the ") < 3:  # other languages capitalize words that are not names
            continue
        collected += [window[a:b] for a, b in names(window) if window[a:b] not in text]
    return sorted(set(collected))

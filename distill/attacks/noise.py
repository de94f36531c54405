"""Noise attacks: a few typos or OCR errors, as in good texts, or so many that the text is spoilt."""

import re
from collections.abc import Sequence
from random import Random
from typing import TypeVar

from curate.distill.attacks.changes import Changed, Replacement, changed, without_overlaps
from curate.distill.attacks.registry import attack

Item = TypeVar("Item")

ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
NEAR = {
    letter: "".join(near[max(0, at - 1) : at + 2] for near in ROWS[max(0, k - 1) : k + 2]).replace(letter, "")
    for k, row in enumerate(ROWS)
    for at, letter in enumerate(row)
}
CONFUSED = {
    "a": "oeâ@", "b": "hl6", "c": "eo(", "d": "co", "e": "cco6é", "f": "t", "g": "qy9", "h": "bnli", "i": "l1!j;",
    "j": "i;", "k": "lc", "l": "1I!i|t", "m": "nw", "n": "uri", "o": "0ce", "p": "n", "q": "g9", "r": "ri", "s": "5$8",
    "t": "fl+", "u": "ni", "v": "y", "w": "vu", "x": "z", "y": "vg", "z": "2s", "A": "4", "B": "8R", "C": "G(O",
    "D": "O0", "E": "FB", "F": "PE", "G": "6C", "H": "NIl", "I": "1l|", "L": "I", "M": "NI", "N": "H", "O": "0Q",
    "P": "F",
    "Q": "O", "R": "B", "S": "5$", "T": "7I", "U": "V", "V": "Y", "Z": "2", "0": "O", "1": "lI", "5": "S",
    "8": "B", "6": "b",
    ".": ",:", ",": ".", "-": "~_", "“": "\"", "”": "\"", "'": "`’", "\"": "'*", ";": ":", ":": ";",
}  # fmt: skip
GROUPS = (
    ("rn", "m"), ("m", "rn"), ("cl", "d"), ("d", "cl"), ("vv", "w"), ("w", "vv"), ("li", "h"), ("h", "li"),
    ("fi", "ﬁ"), ("fl", "ﬂ"), ("in", "m"), ("nn", "rm"), ("ti", "d"), ("tt", "H"), ("il", "d"), ("th", "tli"),
    ("the", "tbe"), ("The", "Tlie"), ("and", "aud"), ("ll", "11"), ("ri", "n"), ("ii", "u"),
)  # fmt: skip
GROUPED = {wrong: [new for old, new in GROUPS if old == wrong] for wrong, _ in GROUPS}
GROUP = re.compile("|".join(sorted(map(re.escape, GROUPED), key=len, reverse=True)))
JUNK = "|~^_.,'`*•°»«\\/=;:!¦§■"
MISTAKES = {
    "their": "there", "there": "their", "its": "it's", "it's": "its", "than": "then", "then": "than", "your": "you're",
    "to": "too", "too": "to", "of": "off", "receive": "recieve", "believe": "beleive", "separate": "seperate",
    "definitely": "definately", "which": "wich", "because": "becuase", "until": "untill", "beginning": "begining",
    "occurred": "occured", "government": "goverment", "necessary": "neccessary", "different": "diffrent",
    "environment": "enviroment", "really": "realy", "with": "wiht", "that": "taht", "the": "teh", "and": "adn",
    "from": "form", "people": "poeple", "their own": "thier own", "lose": "loose", "affect": "effect",
    "effect": "affect",
    "were": "where", "where": "were", "whether": "wether", "weather": "whether", "would have": "would of",
    "could have": "could of", "should have": "should of", "a lot": "alot", "business": "buisness",
    "similar": "similiar",
}  # fmt: skip
MISTAKEN = re.compile(r"\b(?:" + "|".join(sorted(MISTAKES, key=len, reverse=True)) + r")\b")
WITHIN = re.compile(r"(?<=[^\W\d_])[^\W\d_](?=[^\W\d_])")
LETTER = re.compile(r"[^\W\d_]")


@attack("typos", family="typos_ocr", bad=False)
def typos(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """Mistyped, left out, doubled and swapped letters, and the usual mistakes, in up to 1.5% of the letters."""
    positions = [match.start() for match in WITHIN.finditer(text)]
    if len(positions) < 20:
        return None
    sampled = random.sample(positions, max(1, round(len(positions) * random.uniform(0.003, 0.013))))
    slips = [(at, *_slip(text, at, random)) for at in sampled]
    for match in MISTAKEN.finditer(text):
        if random.random() < 0.02:
            slips.append((*match.span(), MISTAKES[match.group()]))
    return changed(text, without_overlaps(slips))


def _slip(text: str, at: int, random: Random) -> tuple[int, str]:
    """A typo at a letter: the end of the replaced characters, and the replacement."""
    letter, following = text[at], text[at + 1]
    way = random.random()
    if way < 0.3 and letter.lower() in NEAR:
        near = random.choice(NEAR[letter.lower()])
        return at + 1, near.upper() if letter.isupper() else near
    if way < 0.6:
        return at + 2, following + letter
    return (at + 1, "") if way < 0.85 else (at + 1, letter * 2)


@attack("ocr_light", family="typos_ocr", bad=False)
def ocr_light(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """A good scan: up to 1.5% of the letters read as others that look like them, a few stray spaces and hyphens."""
    positions = [match.start() for match in WITHIN.finditer(text) if match.group() in CONFUSED]
    if len(positions) < 20:
        return None
    rate = random.uniform(0.003, 0.012)
    misread = [
        (at, at + 1, _look_alike(text[at], random)) for at in _sample(positions, max(rate, 1 / len(positions)), random)
    ]
    groups = [match.span() for match in GROUP.finditer(text)]
    misread += [(a, b, random.choice(GROUPED[text[a:b]])) for a, b in _sample(groups, rate, random)]
    misread += [(at, at, random.choice((" ", "-\n", "- "))) for at in _sample(positions, rate / 8, random)]
    return changed(text, without_overlaps(misread))


@attack("ocr_heavy", family="ocr_heavy", bad=True)
def ocr_heavy(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """A spoilt scan: 5 to 30% of the letters wrong, words in pieces or run together, lines broken, specks as signs."""
    positions = [match.start() for match in LETTER.finditer(text)]
    if len(positions) < 10:
        return None
    rate = random.uniform(0.05, 0.3)
    alphabet = [text[at] for at in random.sample(positions, min(60, len(positions)))]  # for scripts without look-alikes
    misread: list[Replacement] = []
    for at in _sample(positions, rate, random):
        misread.append((at, at + 1, _misread(text[at], alphabet, random)))
    gaps = [match.start() for match in re.finditer(" ", text)]
    misread += [
        (at, at + 1, random.choice(("", "\n", "  ", " " + random.choice(JUNK) + " ")))
        for at in _sample(gaps, rate / 2, random)
    ]
    return changed(text, without_overlaps(misread))


def _misread(letter: str, alphabet: Sequence[str], random: Random) -> str:
    """A letter as a bad scanner reads it."""
    way = random.random()
    if way < 0.55 and letter in CONFUSED:
        return _look_alike(letter, random)
    if way < 0.7:
        return random.choice(alphabet)
    if way < 0.8:
        return random.choice(JUNK)
    if way < 0.9:
        return letter + random.choice((" ", "-\n", "'", "."))
    return "" if way < 0.96 else letter.swapcase()


def _look_alike(letter: str, random: Random) -> str:
    return random.choice(CONFUSED[letter])


def _sample(candidates: Sequence[Item], rate: float, random: Random) -> list[Item]:
    return random.sample(candidates, min(len(candidates), round(len(candidates) * rate)))

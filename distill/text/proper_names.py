"""Names in a text, as far as capitals tell them: of people, places and works, acronyms, identifiers of code."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from curate.distill.text.number_words import dates
from curate.distill.text.passages import ABBREVIATED, word_list

SIGN = r"[^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\uffef]"  # of words; not of scripts without spaces
TOKEN = re.compile(rf"(?:[A-Z]\.){{2,}}|{SIGN}+(?:[-'’&]{SIGN}+)*")
PART = re.compile(rf"{SIGN}+")
CAMEL = re.compile(r"[A-ZÀ-Þ]?[a-zß-ÿ]+|[A-Z]+(?![a-z])|\d+")
POSSESSIVE = re.compile(r"['’][sS]?\Z")
CONTRACTED = re.compile(r"['’].*")
INNER_CAPITAL = re.compile(r"[a-z][A-Z]")
LINKS = frozenset(("of", "de", "van", "von", "der", "del", "di", "da", "du", "la", "al", "bin", "ibn"))  # within names
TITLES = frozenset(("Mr", "Mrs", "Ms", "Dr", "Sir"))
NOT_NAMES = frozenset(("i", "faq", "ok", "tldr", "qa", "am", "pm", "bc", "ad", "ie", "eg"))
# A sentence, a heading, an item or a quotation begins behind these.
BEGINS = re.compile(
    rf"(?:\A|\n|[.!?…](?:(?<=[!?…])|{ABBREVIATED})[\"'”’)\]*_]*\s|[:;|—–]\s|[。！？：；])[\s\"'“‘«„([*_#>•|`-]*\Z|[\"“«„]\Z"
)
BEFORE = 40  # characters before a word that are looked at
DENSE, FEWEST = 0.2, 20  # share of words with capitals within sentences, of so many, from which on they tell no names
HEADING, SHOUTED = 10, 4  # words of a heading at most, of a line in capitals at least


@dataclass(frozen=True)
class Name:
    """A name in a text, and its words as they stand there."""

    start: int
    end: int
    words: tuple[str, ...]


@dataclass(frozen=True)
class _Token:
    start: int
    end: int
    text: str  # without the s of the possessive
    begins: bool  # a sentence or a heading, so that its capital says nothing
    capital: bool
    marked: bool  # an acronym or an identifier: a name wherever it stands


def names(text: str, passed: Sequence[tuple[int, int]] = ()) -> list[Name]:
    """The names of a text, in order; none in the places that are `passed` over.

    A word with a capital that begins a sentence or stands in a heading counts only if it has one elsewhere too. In
    texts where more than a fifth of all words have capitals, as in German, single ones do not count.
    """
    tokens = [*_tokens(text, passed)]
    within = [one for one in tokens if not one.begins and one.text[0].isalpha()]
    inside = {one.text.lower() for one in within if one.capital}
    dense = len(within) >= FEWEST and sum(one.capital for one in within) > DENSE * len(within)
    return [
        Name(run[0].start, run[-1].end, words_of(" ".join(one.text for one in run)))
        for run in _runs(text, tokens, inside)
        if not dense or len(run) > 1 or run[0].marked
    ]


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text: runs of letters, digits and `_`, in scripts that divide words."""
    return tuple(PART.findall(text))


def parts_of(word: str) -> list[str]:
    """What a word is made of, in lower case: web and assembly of WebAssembly."""
    return [part.lower() for part in CAMEL.findall(word)]


def _tokens(text: str, passed: Sequence[tuple[int, int]]) -> Iterator[_Token]:
    """The words of a text."""
    places = {place for start, end in passed for place in range(start, end)}
    headings = {place: text[start:end].isupper() for start, end in _headings(text) for place in range(start, end)}
    for match in TOKEN.finditer(text):
        start = match.start()
        word = POSSESSIVE.sub("", match[0])
        if start in places or not word:
            continue
        begins = start in headings or BEGINS.search(text, max(0, start - BEFORE), start) is not None
        other = CONTRACTED.sub("", word).lower().replace(".", "") in NOT_NAMES
        marked = not other and _is_marked(word) and not headings.get(start, False)
        capital = marked or (not other and len(word) > 1 and word[0].isupper())
        yield _Token(start, start + len(word), word, begins, capital, marked)


def _is_marked(word: str) -> bool:
    """Whether a word is an acronym or an identifier."""
    letters = [sign for sign in word if sign.lower() != sign.upper()]
    if not letters or word[0].isdigit():
        return False
    mixed = "_" in word.strip("_") or any(map(str.isdigit, word)) or INNER_CAPITAL.search(word) is not None
    upper = "".join(letters).removesuffix("s")  # CPUs
    return mixed or (len(upper) > 1 and upper.isupper())


def _headings(text: str) -> Iterator[tuple[int, int]]:
    """Lines, and what stands in a line before a colon, whose words have capitals but for the short ones."""
    start = 0
    for line in text.split("\n"):
        for piece in (line, line.partition(":")[0]):
            words = piece.split()
            begin = re.sub(r"^\W*", "", piece)
            long = [word for word in re.findall(r"[^\W\d_]+", piece) if len(word) > 3]
            titled = begin[:1].isupper() and all(word[0].isupper() for word in long) and len(words) <= HEADING
            sentence = piece.rstrip("\"'”’)*_ \t").endswith((".", "!", "?", ",", ";"))
            if long and ((titled and not sentence) or (piece.isupper() and len(words) >= SHOUTED)):
                yield start, start + len(piece)
                break
        start += len(line) + 1


def _runs(text: str, tokens: Sequence[_Token], inside: set[str]) -> Iterator[list[_Token]]:
    """Words that follow each other and make one name."""
    run: list[_Token] = []
    for one in tokens:
        part = _is_part(one, inside)
        follows = bool(run) and not one.begins and text[run[-1].end : one.start] == " " and _joins(run[-1])
        if follows and (one.text in LINKS or (part and _joins(one))):
            run.append(one)
            continue
        yield from _trimmed(run)
        run = [one] if part else []
    yield from _trimmed(run)


def _joins(one: _Token) -> bool:
    """Whether a word may be one of several of a name: no identifier is."""
    return "_" not in one.text and (one.text[0].isupper() or one.text in LINKS)


def _is_part(one: _Token, inside: set[str]) -> bool:
    lower = CONTRACTED.sub("", one.text).lower()
    if one.marked or not one.capital:
        return one.marked
    common = lower in dates() or lower in word_list("stop_words") or lower in word_list("determiners")
    return not common and (not one.begins or one.text.lower() in inside)


def _trimmed(run: list[_Token]) -> Iterator[list[_Token]]:
    """A name without a title, and without words behind it that only link names."""
    while run and run[-1].text in LINKS:
        run = run[:-1]
    if run and run[0].text in TITLES:
        run = run[1:]
    if run:
        yield run

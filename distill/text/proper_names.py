"""Names in a text, recognised by capitals: of people, places and works, acronyms, identifiers of code."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from curate.distill.text.number_words import dates
from curate.distill.text.passages import ABBREVIATED, word_list

SIGN = r"[^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\uffef]"  # word characters, except in scripts without spaces
TOKEN = re.compile(rf"(?:[A-Z]\.){{2,}}|{SIGN}+(?:[-'’&]{SIGN}+)*")
PART = re.compile(rf"{SIGN}+")
CAMEL = re.compile(r"[A-ZÀ-Þ]?[a-zß-ÿ]+|[A-Z]+(?![a-z])|\d+")
POSSESSIVE = re.compile(r"['’][sS]?\Z")
CONTRACTED = re.compile(r"['’].*")
INNER_CAPITAL = re.compile(r"[a-z][A-Z]")
LINKS = frozenset(("of", "de", "van", "von", "der", "del", "di", "da", "du", "la", "al", "bin", "ibn"))  # within names
TITLES = frozenset(("Mr", "Mrs", "Ms", "Dr", "Sir"))
NOT_NAMES = frozenset(("i", "faq", "ok", "tldr", "qa", "am", "pm", "bc", "ad", "ie", "eg"))
# What precedes the beginning of a sentence, a heading, an item or a quotation.
SENTENCE_START = re.compile(
    rf"(?:\A|\n|[.!?…](?:(?<=[!?…])|{ABBREVIATED})[\"'”’)\]*_]*\s|[:;|—–]\s|[。！？：；])[\s\"'“‘«„([*_#>•|`-]*\Z|[\"“«„]\Z"
)
CONTEXT = 40  # characters before a word that SENTENCE_START sees
MAX_CAPITALIZED = 0.2  # share of mid-sentence words with capitals, above which a capital does not imply a name
MIN_WORDS = 20  # mid-sentence words for that share to count
MAX_HEADING = 10  # words
MIN_SHOUTED = 4  # words of a line in capitals that counts as a heading


@dataclass(frozen=True)
class Name:
    """A name in a text, and its words as written there."""

    start: int
    end: int
    words: tuple[str, ...]


@dataclass(frozen=True)
class _Token:
    start: int
    end: int
    text: str  # without the possessive ending
    starts_sentence: bool  # or is in a heading; so its capital carries no information
    capitalized: bool
    distinctive: bool  # an acronym or an identifier: always a name


def names(text: str, excluded: Sequence[tuple[int, int]] = ()) -> list[Name]:
    """The names of a text, in order, except in `excluded` spans.

    A capitalized word that begins a sentence or is in a heading counts only if it is also capitalized mid-sentence. In
    texts where over a fifth of all words are capitalized, as in German, single words do not count.
    """
    tokens = [*_tokens(text, excluded)]
    mid_sentence = [token for token in tokens if not token.starts_sentence and token.text[0].isalpha()]
    capitalized_mid_sentence = {token.text.lower() for token in mid_sentence if token.capitalized}
    n_capitalized = sum(token.capitalized for token in mid_sentence)
    mostly_capitalized = len(mid_sentence) >= MIN_WORDS and n_capitalized > MAX_CAPITALIZED * len(mid_sentence)
    return [
        Name(run[0].start, run[-1].end, words_of(" ".join(token.text for token in run)))
        for run in _runs(text, tokens, capitalized_mid_sentence)
        if not mostly_capitalized or len(run) > 1 or run[0].distinctive
    ]


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text: runs of letters, digits and `_`, in scripts with spaces between words."""
    return tuple(PART.findall(text))


def parts_of(word: str) -> list[str]:
    """The parts of a camel-case word, in lower case: web and assembly for WebAssembly."""
    return [part.lower() for part in CAMEL.findall(word)]


def _tokens(text: str, excluded: Sequence[tuple[int, int]]) -> Iterator[_Token]:
    """The words of a text."""
    excluded_positions = {position for start, end in excluded for position in range(start, end)}
    headings = {position: text[start:end].isupper() for start, end in _headings(text) for position in range(start, end)}
    for match in TOKEN.finditer(text):
        start = match.start()
        word = POSSESSIVE.sub("", match[0])
        if start in excluded_positions or not word:
            continue
        starts_sentence = start in headings or SENTENCE_START.search(text, max(0, start - CONTEXT), start) is not None
        excluded_word = CONTRACTED.sub("", word).lower().replace(".", "") in NOT_NAMES
        distinctive = not excluded_word and _is_distinctive(word) and not headings.get(start, False)
        capitalized = distinctive or (not excluded_word and len(word) > 1 and word[0].isupper())
        yield _Token(start, start + len(word), word, starts_sentence, capitalized, distinctive)


def _is_distinctive(word: str) -> bool:
    """Whether a word is an acronym or an identifier."""
    letters = [sign for sign in word if sign.lower() != sign.upper()]
    if not letters or word[0].isdigit():
        return False
    mixed = "_" in word.strip("_") or any(map(str.isdigit, word)) or INNER_CAPITAL.search(word) is not None
    upper = "".join(letters).removesuffix("s")  # CPUs
    return mixed or (len(upper) > 1 and upper.isupper())


def _headings(text: str) -> Iterator[tuple[int, int]]:
    """The spans of headings: lines, or parts of lines before a colon, with all longer words capitalized."""
    start = 0
    for line in text.split("\n"):
        for candidate in (line, line.partition(":")[0]):
            words = candidate.split()
            without_marks = re.sub(r"^\W*", "", candidate)
            long_words = [word for word in re.findall(r"[^\W\d_]+", candidate) if len(word) > 3]
            titled = (
                without_marks[:1].isupper()
                and all(word[0].isupper() for word in long_words)
                and len(words) <= MAX_HEADING
            )
            sentence = candidate.rstrip("\"'”’)*_ \t").endswith((".", "!", "?", ",", ";"))
            if long_words and ((titled and not sentence) or (candidate.isupper() and len(words) >= MIN_SHOUTED)):
                yield start, start + len(candidate)
                break
        start += len(line) + 1


def _runs(text: str, tokens: Sequence[_Token], capitalized_mid_sentence: set[str]) -> Iterator[list[_Token]]:
    """Consecutive words that form one name."""
    run: list[_Token] = []
    for token in tokens:
        part = _is_name_part(token, capitalized_mid_sentence)
        follows = (
            bool(run) and not token.starts_sentence and text[run[-1].end : token.start] == " " and _may_join(run[-1])
        )
        if follows and (token.text in LINKS or (part and _may_join(token))):
            run.append(token)
            continue
        yield from _trim(run)
        run = [token] if part else []
    yield from _trim(run)


def _may_join(token: _Token) -> bool:
    """Whether a word may be part of a name of several words. Identifiers may not."""
    return "_" not in token.text and (token.text[0].isupper() or token.text in LINKS)


def _is_name_part(token: _Token, capitalized_mid_sentence: set[str]) -> bool:
    lower = CONTRACTED.sub("", token.text).lower()
    if token.distinctive or not token.capitalized:
        return token.distinctive
    common = lower in dates() or lower in word_list("stop_words") or lower in word_list("determiners")
    return not common and (not token.starts_sentence or token.text.lower() in capitalized_mid_sentence)


def _trim(run: list[_Token]) -> Iterator[list[_Token]]:
    """A name without a title before it and without linking words after it; nothing if none is left."""
    while run and run[-1].text in LINKS:
        run = run[:-1]
    if run and run[0].text in TITLES:
        run = run[1:]
    if run:
        yield run

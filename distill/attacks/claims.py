"""The opposite of what was said, in its place or beside it. English."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from random import Random

from curate.distill.attacks.changes import Changed, Replacement, changed
from curate.distill.attacks.registry import attack
from curate.distill.attacks.templates import grammar, with_articles, written
from curate.distill.text.passages import Place, claims, in_english, words_that_are
from curate.distill.text.phrases import phrases

AUXILIARIES = "is|are|was|were|am|can|could|will|would|should|must|may|might|shall|does|do|did"
NEGATED = re.compile(
    rf"\b({AUXILIARIES}|has|have|had) (not|never) |\b({AUXILIARIES}|has|have|had)(n't|n’t)\b|\b(can)(not)\b",
    re.IGNORECASE,
)
AUXILIARY = re.compile(
    rf"\b({AUXILIARIES})\b(?! not\b| never\b|n't|[?.,;:!])|\b(has|have|had)\b(?= (?:been|\w+ed|\w+en) )"
)
DENIED = re.compile(r"\b(has|have|had|with|contains|contain|requires|require|needs|need) (an?|some|any|many|several) ")
VERB = re.compile(
    r"\b(I|he|she|it|we|they|who|that|which|He|She|They|We|It) (?=(?:\w{3,}(?:[^aeious]s|ed)|said|went|came|saw|took"
    r"|gave|made|knew|told|thought|found|left|felt|kept|began|ran|held|stood|wrote|brought|sat|spoke|met|heard|became"
    r"|sent) )"
)
WORD = re.compile(r"(?<![\w-])(?P<article>[Aa]n? )?(?P<word>at least|at most|far from|[A-Za-z]+)(?![\w-])")


@cache
def opposites() -> dict[str, tuple[str, ...]]:
    """Words to the words that say the contrary, both ways."""
    found: dict[str, list[str]] = {}
    for pair in _pairs():
        for word, other in (pair, pair[::-1]):
            found.setdefault(word, []).append(other)
    return {word: tuple(others) for word, others in found.items()}


def _pairs() -> Iterator[tuple[str, str]]:
    for pairs in phrases("opposites").values():
        for pair in pairs.replace("\n", " ").split(","):
            one, _, other = pair.strip().partition(" / ")
            yield one, other


@attack("negation", family="contradiction", bad=True)
def negation(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """Sentences say the opposite: denied, no longer denied, with contrary words, comparatives turned round. English."""
    if not in_english(text):
        return None
    places = claims(text)
    random.shuffle(places)
    wanted = max(1, round(len(places) * random.uniform(0.2, 0.8)))
    turned = (opposite(text, place, random) for place in places)
    return changed(text, (one for found in islice(filter(None, turned), wanted) for one in found))


@attack("opposite_claim", family="contradiction", bad=True)
def opposite_claim(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """Some sentences come once more, saying the opposite of themselves. English."""
    if not in_english(text):
        return None
    places = claims(text)
    found: list[Replacement] = []
    for k in random.sample(
        range(len(places)), max(1, round(len(places) * random.uniform(0.08, 0.35))) if places else 0
    ):
        start, end = places[k]
        turned = opposite(text, places[k], random)
        if turned:
            said = changed(text[start:end], [(a - start, b - start, new) for a, b, new in turned])
            at = places[min(len(places) - 1, k + random.choice((0, 0, 1, 2, 4, 7)))][1]
            found.append((at, at, f" {_led_in(said.text if said else text[start:end], random)}"))
    return changed(text, found)


def _led_in(sentence: str, random: Random) -> str:
    """A sentence that contradicts, sometimes behind "However," and the like."""
    lead = written(grammar("claims"), "lead", random, {})
    first = sentence.split(" ", 1)[0]
    if not lead or first.lower() not in words_that_are("begin_sentences"):
        return sentence
    return f"{lead} {sentence[0].lower()}{sentence[1:]}"


def opposite(text: str, place: Place, random: Random) -> list[Replacement]:
    """One or two changes that make the sentence at a place say the opposite; none where no rule fits."""
    start, end = place
    ways = [_denials, _verbs, _undone, _words, _words]
    random.shuffle(ways)
    for way in ways:
        found = list(way(text, start, end, random))
        if found:
            return [random.choice(found)]
    return []


def _undone(text: str, start: int, end: int, random: Random) -> Iterator[Replacement]:
    """What is denied is no longer: "is" for "is not"."""
    for match in NEGATED.finditer(text, start, end):
        word = match.group(1) or match.group(3) or match.group(5)
        whole = {"ca": "can", "wo": "will", "sha": "shall"}.get(word.lower(), word)
        yield *match.span(), whole + (" " if match.group(1) else "")


def _denials(text: str, start: int, end: int, random: Random) -> Iterator[Replacement]:
    """What is said is denied: "is not" for "is", and "has no" for "has a"."""
    for match in AUXILIARY.finditer(text, start, end):
        yield match.end(), match.end(), random.choice((" not", " not", " never", " hardly"))
    for match in DENIED.finditer(text, start, end):
        yield *match.span(2), "no"


def _verbs(text: str, start: int, end: int, random: Random) -> Iterator[Replacement]:
    """What is done is not: "she never walked" for "she walked"."""
    for match in VERB.finditer(text, start, end):
        yield match.end(), match.end(), random.choice(("never ", "never ", "rarely "))


def _words(text: str, start: int, end: int, random: Random) -> Iterator[Replacement]:
    """Words for the contrary: "less" for "more"."""
    for match in WORD.finditer(text, start, end):
        if contrary := opposites().get(match["word"].lower()):
            new = (match["article"] or "") + _in_case(random.choice(contrary), match["word"])
            yield *match.span(), with_articles(new)


def _in_case(new: str, old: str) -> str:
    if old.isupper() and len(old) > 1:
        return new.upper()
    return new.capitalize() if old[0].isupper() else new

"""Contradiction attacks: sentences replaced with, or followed by, their opposite. English."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain, islice
from random import Random

from curate.distill.attacks.changes import Changed, Replacement, changed
from curate.distill.attacks.registry import attack
from curate.distill.attacks.templates import generate, grammar, with_articles
from curate.distill.text.passages import Span, claims, is_english, word_list
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
def antonyms_by_word() -> dict[str, tuple[str, ...]]:
    """The antonyms of each word, in both directions."""
    antonyms: dict[str, list[str]] = {}
    for pair in _pairs():
        for word, antonym in (pair, pair[::-1]):
            antonyms.setdefault(word, []).append(antonym)
    return {word: tuple(antonyms_of_word) for word, antonyms_of_word in antonyms.items()}


def _pairs() -> Iterator[tuple[str, str]]:
    for pairs in phrases("opposites").values():
        for pair in pairs.replace("\n", " ").split(","):
            word, _, antonym = pair.strip().partition(" / ")
            yield word, antonym


@attack("negation", family="contradiction", bad=True)
def negation(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """Sentences say the opposite: denied, no longer denied, with contrary words, comparatives turned round. English."""
    if not is_english(text):
        return None
    spans = claims(text)
    random.shuffle(spans)
    n_sentences = max(1, round(len(spans) * random.uniform(0.2, 0.8)))
    contradictions = (contradict(text, span, random) for span in spans)
    return changed(text, chain.from_iterable(islice(filter(None, contradictions), n_sentences)))


@attack("opposite_claim", family="contradiction", bad=True)
def opposite_claim(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """Some sentences come once more, saying the opposite of themselves. English."""
    if not is_english(text):
        return None
    spans = claims(text)
    replacements: list[Replacement] = []
    for k in random.sample(range(len(spans)), max(1, round(len(spans) * random.uniform(0.08, 0.35))) if spans else 0):
        start, end = spans[k]
        contradiction = contradict(text, spans[k], random)
        if contradiction:
            sentence = text[start:end]
            opposite = changed(sentence, [(a - start, b - start, new) for a, b, new in contradiction])
            at = spans[min(len(spans) - 1, k + random.choice((0, 0, 1, 2, 4, 7)))][1]
            replacements.append((at, at, f" {_with_lead(opposite.text if opposite else sentence, random)}"))
    return changed(text, replacements)


def _with_lead(sentence: str, random: Random) -> str:
    """A sentence, sometimes led by "However," or similar."""
    lead = generate(grammar("claims"), "lead", random, {})
    first = sentence.split(" ", 1)[0]
    if not lead or first.lower() not in word_list("begin_sentences"):
        return sentence
    return f"{lead} {sentence[0].lower()}{sentence[1:]}"


def contradict(text: str, span: Span, random: Random) -> list[Replacement]:
    """The replacement that makes a sentence say the opposite; none where no rule applies."""
    start, end = span
    strategies = [_negations, _verb_negations, _removed_negations, _antonyms, _antonyms]
    random.shuffle(strategies)
    for strategy in strategies:
        candidates = list(strategy(text, start, end, random))
        if candidates:
            return [random.choice(candidates)]
    return []


def _removed_negations(text: str, start: int, end: int, random: Random) -> Iterator[Replacement]:
    """Remove a negation: "is" for "is not"."""
    for match in NEGATED.finditer(text, start, end):
        word = match.group(1) or match.group(3) or match.group(5)
        auxiliary = {"ca": "can", "wo": "will", "sha": "shall"}.get(word.lower(), word)
        yield *match.span(), auxiliary + (" " if match.group(1) else "")


def _negations(text: str, start: int, end: int, random: Random) -> Iterator[Replacement]:
    """Add a negation: "is not" for "is", and "has no" for "has a"."""
    for match in AUXILIARY.finditer(text, start, end):
        yield match.end(), match.end(), random.choice((" not", " not", " never", " hardly"))
    for match in DENIED.finditer(text, start, end):
        yield *match.span(2), "no"


def _verb_negations(text: str, start: int, end: int, random: Random) -> Iterator[Replacement]:
    """Negate a verb: "she never walked" for "she walked"."""
    for match in VERB.finditer(text, start, end):
        yield match.end(), match.end(), random.choice(("never ", "never ", "rarely "))


def _antonyms(text: str, start: int, end: int, random: Random) -> Iterator[Replacement]:
    """Replace a word with an antonym: "less" for "more"."""
    for match in WORD.finditer(text, start, end):
        if contrary := antonyms_by_word().get(match["word"].lower()):
            new = (match["article"] or "") + _match_case(random.choice(contrary), match["word"])
            yield *match.span(), with_articles(new)


def _match_case(new: str, old: str) -> str:
    if old.isupper() and len(old) > 1:
        return new.upper()
    return new.capitalize() if old[0].isupper() else new

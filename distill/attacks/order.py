"""Attacks on order: shuffled sentences and paragraphs, truncated texts, texts spliced with another."""

from collections.abc import Sequence
from random import Random

from curate.distill.attacks.changes import Changed, Replacement, changed
from curate.distill.attacks.registry import attack
from curate.distill.text.passages import Span, excerpt, paragraphs, sentences

JOINTS = (" ", " ", "\n", "\n\n", "", "... ", " - ", "... [more]\n\n", " ")


@attack("sentence_shuffle", family="sentence_shuffle", bad=True)
def sentence_shuffle(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """Sentences or paragraphs out of order: all, within windows, some far away, or backwards."""
    spans = sentences(text)
    blocks = paragraphs(text)
    if len(blocks) > 3 and random.random() < 0.25:
        spans = blocks
    if len(spans) < 3:
        return None
    order = _permutation(len(spans), random)
    return changed(text, (_move(text, spans[slot], spans[k]) for slot, k in enumerate(order)))


def _move(text: str, slot: Span, source: Span) -> Replacement:
    return (*slot, text[source[0] : source[1]])


def _permutation(n: int, random: Random) -> list[int]:
    """A permutation of `range(n)` that is not the identity (except by chance)."""
    order = list(range(n))
    way = random.choice(("all", "all", "windows", "far", "backwards"))
    if way == "backwards":
        first = random.randrange(n // 2)
        order[first:] = order[first:][::-1]
    elif way == "windows":
        size = random.randint(3, 8)
        for start in range(0, n, size):
            window = order[start : start + size]
            random.shuffle(window)
            order[start : start + size] = window
    elif way == "far":
        for _ in range(max(2, round(n * random.uniform(0.15, 0.5)))):
            order.insert(random.randrange(n), order.pop(random.randrange(n)))
    if way == "all" or order == list(range(n)):
        random.shuffle(order)
    return order


@attack("truncation_splice", family="truncation_splice", bad=True)
def truncation_splice(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """The text breaks off in a sentence and goes on in the middle of another, or lacks a stretch of its own."""
    if len(text) < 80:
        return None
    way = random.choice(("tail", "tail", "head", "hole", "foreign hole"))
    foreign = excerpt(others, text, random, random.randint(len(text) // 4, len(text) // 4 + 1500))
    joint = random.choice(JOINTS)
    if way == "tail" and foreign:
        cut = _cut_position(text, random.uniform(0.2, 0.8), random)
        return changed(text, [(cut, len(text), joint + _from_mid_sentence(foreign, random))])
    if way == "head" and foreign:
        cut = _cut_position(text, random.uniform(0.2, 0.7), random)
        return changed(text, [(0, cut, foreign[: _cut_position(foreign, 0.9, random)] + joint)])
    start = _cut_position(text, random.uniform(0.1, 0.5), random)
    end = max(start + 1, _cut_position(text, random.uniform(0.6, 0.9), random))
    filling = (
        joint + _from_mid_sentence(foreign, random) + joint if way == "foreign hole" else random.choice(("", " ", "\n"))
    )
    return changed(text, [(start, end, filling)])


def _cut_position(text: str, share: float, random: Random) -> int:
    """A position near `share` of the text, after a word within a sentence; sometimes within a word."""
    at = min(len(text) - 1, max(1, int(len(text) * share)))
    if random.random() < 0.15:
        return at
    while at < len(text) - 1 and not (text[at].isspace() and text[at - 1].isalnum()):
        at += 1
    return at if at < len(text) - 1 else max(1, int(len(text) * share))


def _from_mid_sentence(text: str, random: Random) -> str:
    """A text without its first words, so that it begins mid-sentence."""
    return text[_cut_position(text, 0.05, random) :].lstrip() if len(text) > 40 else text

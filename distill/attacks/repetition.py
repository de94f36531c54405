"""Repetition attacks: repeated sentences, paragraphs, phrases and endings."""

import re
from collections.abc import Iterator, Sequence
from random import Random

from curate.distill.attacks.changes import Changed, Replacement, changed
from curate.distill.attacks.registry import attack
from curate.distill.text.passages import paragraphs, sentences, separator

TOKEN = re.compile(r"\S+")


@attack("repetition", family="repetition", bad=True)
def repetition(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """Sentences, paragraphs or phrases repeated, in their place or later, or an ending that runs in a circle."""
    if len(text.strip()) < 20:
        return None
    way = random.choice((_sentences_at_once, _sentences_later, _paragraphs, _phrases, _circle))
    return changed(text, way(text, random)) or changed(text, _circle(text, random))


def _sentences_at_once(text: str, random: Random) -> Iterator[Replacement]:
    """Repeat some sentences in place, so that each occurs two to six times in a row."""
    spans = sentences(text)
    for start, end in random.sample(spans, max(1, round(len(spans) * random.uniform(0.1, 0.5)))):
        yield end, end, (random.choice((" ", " ", "\n")) + text[start:end]) * random.randint(1, 5)


def _sentences_later(text: str, random: Random) -> Iterator[Replacement]:
    """Repeat a few sentences throughout the text."""
    spans = sentences(text)
    if len(spans) < 4:
        return
    candidates = [place for place in spans if place[1] - place[0] > 20] or spans
    repeated = random.sample(candidates, random.randint(1, min(4, len(candidates))))
    for _, end in random.sample(spans, max(3, round(len(spans) * random.uniform(0.2, 0.8)))):
        start, stop = random.choice(repeated)
        yield end, end, " " + text[start:stop]


def _paragraphs(text: str, random: Random) -> Iterator[Replacement]:
    """Repeat paragraphs further below, some more than once."""
    spans = paragraphs(text)
    for k in random.sample(range(len(spans)), max(1, round(len(spans) * random.uniform(0.2, 0.8)))):
        start, end = spans[k]
        below = random.choice(spans[k:])[1]
        yield below, below, (separator(text) + text[start:end]) * random.choice((1, 1, 2, 3))


def _phrases(text: str, random: Random) -> Iterator[Replacement]:
    """Repeat words and phrases in place, like a stutter."""
    spans = [match.span() for match in TOKEN.finditer(text)]
    share = random.uniform(0.02, 0.12)
    k = 0
    while k < len(spans):
        size = random.choice((1, 1, 2, 3, 4, 6))
        if random.random() < share and k + size <= len(spans):
            start, end = spans[k][0], spans[k + size - 1][1]
            yield end, end, (" " + text[start:end]) * random.choice((1, 1, 2, 3))
            k += size
        else:
            k += 1


def _circle(text: str, random: Random) -> Iterator[Replacement]:
    """Replace the end of the text with one repeated phrase, like a language model stuck in a loop."""
    spans = [match.span() for match in TOKEN.finditer(text)]
    size = min(random.randint(2, 14), len(spans))
    if len(spans) < 8:  # also scripts without spaces
        start = random.randrange(max(1, len(text) // 2))
        phrase = text[start : start + random.randint(4, 20)]
        yield len(text), len(text), phrase * random.randint(3, 12)
        return
    first = random.randrange(len(spans) // 4, len(spans) - size + 1) if len(spans) > 2 * size else 0
    start, end = spans[first][0], spans[first + size - 1][1]
    yield end, len(text), (random.choice((" ", " ", ", ", "\n")) + text[start:end]) * random.randint(4, 30)

"""The same facts as lists, tables and below headings. The headings are in the text's own words, in any script."""

import re
from collections.abc import Iterator, Sequence
from random import Random

from curate.distill.attacks.changes import Changed, Replacement, changed
from curate.distill.attacks.registry import attack
from curate.distill.text.passages import Place, in_english, paragraphs, sentences, topics

LINE_END = re.compile(r"\s*\n\s*")
BULLETS = ("- ", "* ", "• ", "– ", "  - ", "o ", "· ")


@attack("lists_tables", family="lists_tables", bad=False)
def lists_tables(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """Sentences become bullets, numbered points or the rows of a table; some paragraphs get headings."""
    blocks = paragraphs(text)
    if len(sentences(text)) < 3:
        return None
    way = random.choice((_bullets, _bullets, _numbered, _table))
    share = random.choice((0.4, 0.7, 1, 1))
    found: list[Replacement] = []
    for block in blocks:
        if random.random() < share:
            inside = [(a + block[0], b + block[0]) for a, b in sentences(text[slice(*block)])]
            heading = _heading(text[slice(*block)], random) if random.random() < 0.3 else ""
            found += [*_headed(block, heading), *way(text, inside, random)] if len(inside) > 1 else []
    if not found:
        inside = sentences(text)
        found = list(way(text, inside, random))
    return changed(text, found)


def _heading(block: str, random: Random) -> str:
    """A heading out of the words of a paragraph; "" where it has no topic."""
    found = topics(block, 3)
    if not found:
        return ""
    title = random.choice((found[0], " and ".join(found[:2]) if in_english(block) else found[0]))
    return random.choice(("## {}\n\n", "{}:\n", "**{}**\n\n", "{}\n", "=== {} ===\n")).format(title.capitalize())


def _headed(block: Place, heading: str) -> Iterator[Replacement]:
    if heading:
        yield block[0], block[0], heading


def _points(places: Sequence[Place], marks: Sequence[str], gap: str) -> Iterator[Replacement]:
    """Each sentence on a line of its own, behind its mark."""
    yield places[0][0], places[0][0], marks[0]
    for (_, end), (start, _), mark in zip(places, places[1:], marks[1:], strict=False):
        yield end, start, gap + mark


def _bullets(text: str, places: Sequence[Place], random: Random) -> Iterator[Replacement]:
    yield from _points(places, [random.choice(BULLETS)] * len(places), random.choice(("\n", "\n", "\n\n")))


def _numbered(text: str, places: Sequence[Place], random: Random) -> Iterator[Replacement]:
    mark = random.choice(("{}. ", "{}) ", "({}) ", "Step {}: " if in_english(text) else "{}. ", "{} - "))
    yield from _points(places, [mark.format(k + 1) for k in range(len(places))], "\n")


def _table(text: str, places: Sequence[Place], random: Random) -> Iterator[Replacement]:
    """A row for each sentence, with its number and maybe its first topic."""
    topical = random.random() < 0.5
    left = []
    for k, (start, end) in enumerate(places):
        yield from ((start + m.start(), start + m.end(), " ") for m in LINE_END.finditer(text[start:end]))
        topic = topics(text[start:end], 1) if topical else []
        left.append(f"| {topic[0] if topic else k + 1} | ")
    head = random.choice(("", "|---|---|\n", "| | |\n|---|---|\n"))
    yield from _points(places, [head + left[0], *left[1:]], " |\n")
    yield places[-1][1], places[-1][1], " |"

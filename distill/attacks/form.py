"""Attacks on form: the same facts as lists, as tables and below headings. Works in any script."""

import re
from collections.abc import Iterator, Sequence
from random import Random

from curate.distill.attacks.changes import Changed, Replacement, changed
from curate.distill.attacks.registry import attack
from curate.distill.text.passages import Span, is_english, paragraphs, sentences, topics

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
    replacements: list[Replacement] = []
    for block in blocks:
        if random.random() < share:
            spans = [(a + block[0], b + block[0]) for a, b in sentences(text[slice(*block)])]
            heading = _heading(text[slice(*block)], random) if random.random() < 0.3 else ""
            replacements += [*_insert_heading(block, heading), *way(text, spans, random)] if len(spans) > 1 else []
    if not replacements:
        spans = sentences(text)
        replacements = list(way(text, spans, random))
    return changed(text, replacements)


def _heading(block: str, random: Random) -> str:
    """A heading made of the paragraph's topics; "" where it has none."""
    candidates = topics(block, 3)
    if not candidates:
        return ""
    title = random.choice((candidates[0], " and ".join(candidates[:2]) if is_english(block) else candidates[0]))
    return random.choice(("## {}\n\n", "{}:\n", "**{}**\n\n", "{}\n", "=== {} ===\n")).format(title.capitalize())


def _insert_heading(block: Span, heading: str) -> Iterator[Replacement]:
    if heading:
        yield block[0], block[0], heading


def _points(spans: Sequence[Span], marks: Sequence[str], gap: str) -> Iterator[Replacement]:
    """Put each sentence on a separate line after its mark."""
    yield spans[0][0], spans[0][0], marks[0]
    for (_, end), (start, _), mark in zip(spans, spans[1:], marks[1:], strict=False):
        yield end, start, gap + mark


def _bullets(text: str, spans: Sequence[Span], random: Random) -> Iterator[Replacement]:
    yield from _points(spans, [random.choice(BULLETS)] * len(spans), random.choice(("\n", "\n", "\n\n")))


def _numbered(text: str, spans: Sequence[Span], random: Random) -> Iterator[Replacement]:
    mark = random.choice(("{}. ", "{}) ", "({}) ", "Step {}: " if is_english(text) else "{}. ", "{} - "))
    yield from _points(spans, [mark.format(k + 1) for k in range(len(spans))], "\n")


def _table(text: str, spans: Sequence[Span], random: Random) -> Iterator[Replacement]:
    """Make each sentence a table row, with its number or its first topic in the first column."""
    topical = random.random() < 0.5
    row_starts = []
    for k, (start, end) in enumerate(spans):
        yield from ((start + m.start(), start + m.end(), " ") for m in LINE_END.finditer(text[start:end]))
        topic = topics(text[start:end], 1) if topical else []
        row_starts.append(f"| {topic[0] if topic else k + 1} | ")
    head = random.choice(("", "|---|---|\n", "| | |\n|---|---|\n"))
    yield from _points(spans, [head + row_starts[0], *row_starts[1:]], " |\n")
    yield spans[-1][1], spans[-1][1], " |"

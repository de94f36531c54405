"""Attacks on tone: the same facts as a forum post. English."""

import re
from collections.abc import Iterator, Sequence
from random import Random

from curate.distill.attacks.changes import Changed, Replacement, changed, without_overlaps
from curate.distill.attacks.registry import attack
from curate.distill.attacks.templates import generate, grammar
from curate.distill.text.passages import Span, is_english, paragraphs, sentences, separator

SHORT = {
    "you": "u", "your": "ur", "are": "r", "because": "cuz", "with": "w/", "without": "w/o", "people": "ppl",
    "please": "pls",
    "through": "thru", "though": "tho", "although": "altho", "about": "abt", "before": "b4", "between": "btwn",
    "okay": "ok",
    "probably": "prob", "information": "info", "something": "smth", "and": "&", "for example": "eg", "that is": "ie",
    "do not": "dont", "does not": "doesnt", "did not": "didnt", "is not": "isnt", "are not": "arent",
    "was not": "wasnt",
    "cannot": "cant", "can not": "cant", "could not": "couldnt", "will not": "wont", "would not": "wouldnt",
    "it is": "its",
    "I am": "im", "I have": "ive", "I will": "ill", "they are": "theyre", "going to": "gonna", "want to": "wanna",
    "to be honest": "tbh", "as far as I know": "afaik", "by the way": "btw", "tomorrow": "tmrw", "minutes": "mins",
    "especially": "esp", "example": "ex", "however": "but", "therefore": "so", "thus": "so", "very": "rly",
    "large": "big",
    "approximately": "approx", "question": "q", "documentation": "docs", "application": "app", "database": "db",
}  # fmt: skip
SHORTENED = re.compile(r"\b(?:" + "|".join(sorted(map(re.escape, SHORT), key=len, reverse=True)) + r")\b")
CAPITAL = re.compile(r"[A-ZÀ-Þ]")
APOSTROPHE = re.compile(r"(?<=[a-z])['’](?=(?:t|s|re|ve|ll|m|d)\b)")
STOP = re.compile(r"(?<=[a-z])\.(?=\s|$)|(?<=[a-z]),(?= )")


@attack("forum_tone", family="forum_tone", bad=False)
def forum_tone(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """Lower case, a greeting, "imho", short forms, quoting marks, few commas, short lines. English."""
    if not is_english(text):
        return None
    replacements: list[Replacement] = list(_asides(text, random))
    if random.random() < 0.35:
        replacements += _quote(text, random)
    if random.random() < 0.85:
        replacements += _lower_case(text, random)
    if random.random() < 0.8:
        share = random.uniform(0.2, 0.9)
        replacements += [(*m.span(), SHORT[m.group()]) for m in SHORTENED.finditer(text) if random.random() < share]
    if random.random() < 0.7:
        replacements += [(*m.span(), "") for m in APOSTROPHE.finditer(text)]
    if random.random() < 0.7:
        replacements += _punctuate(text, random)
    return changed(text, without_overlaps(replacements))


def _asides(text: str, random: Random) -> Iterator[Replacement]:
    """Add a greeting, remarks between sentences, and a goodbye."""
    words = grammar("forum")
    gap = separator(text)
    if random.random() < 0.75:
        yield 0, 0, generate(words, "greeting", random, {}) + random.choice((gap, gap, " "))
    spans = sentences(text)
    for start, _ in random.sample(spans, min(len(spans), random.choice((0, 1, 2, 3)))):
        yield start, start, generate(words, "aside", random, {}) + " "
    for _, end in random.sample(spans, min(len(spans), random.choice((0, 0, 1, 2)))):
        yield end, end, " " + generate(words, "remark", random, {})
    if random.random() < 0.6:
        yield len(text), len(text), gap + generate(words, "bye", random, {})


def _quote(text: str, random: Random) -> Iterator[Replacement]:
    """Put quote marks before a paragraph or two, as in a reply."""
    blocks = paragraphs(text)
    for start, end in random.sample(blocks, min(len(blocks), random.choice((1, 1, 2)))):
        yield start, start, "> "
        for match in re.finditer("\n", text[start:end]):
            yield start + match.end(), start + match.end(), "> "


def _lower_case(text: str, random: Random) -> Iterator[Replacement]:
    """Lower-case all capitals, or those that begin sentences."""
    if random.random() < 0.6:
        spans: Sequence[Span] = [match.span() for match in CAPITAL.finditer(text)]
    else:
        spans = [(start, start + 1) for start, _ in sentences(text)]
    for start, end in spans:
        if random.random() < 0.97:
            yield start, end, text[start:end].lower()


def _punctuate(text: str, random: Random) -> Iterator[Replacement]:
    """Replace full stops with dots, line breaks or nothing, and drop commas."""
    habit = random.choice((("...", "..", "."), ("\n", ".\n", "."), ("", ".", "!"), (".", "!!", " lol.")))
    for match in STOP.finditer(text):
        if match.group() == ",":
            if random.random() < 0.5:
                yield *match.span(), ""
        elif random.random() < 0.6:
            yield *match.span(), random.choice(habit)

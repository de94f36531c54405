"""Filler attacks: confident sentences without content, added to the text or replacing its own. English templates."""

from collections.abc import Sequence
from random import Random

from curate.distill.attacks.changes import Changed, Replacement, changed
from curate.distill.attacks.registry import attack
from curate.distill.attacks.spam import slots_of
from curate.distill.attacks.templates import Slots, generate, generate_several, grammar
from curate.distill.text.passages import claims, insertion_points, paragraphs, sentences, separator

STYLES = ("essay", "essay", "marketing", "assistant", "assistant", "corporate")


@attack("confident_filler", family="confident_filler", bad=True, splices=True)
def confident_filler(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """Padding in the manner of essays, brochures and chat bots, added to the text or put in the place of sentences."""
    slots = slots_of(text, random)
    if slots is None:
        return None
    style = random.choice(STYLES)
    way = random.choice(("between", "between", "within", "instead", "around"))
    gap = separator(text)
    if way == "instead":
        spans = paragraphs(text) if len(paragraphs(text)) > 4 else sentences(text)
        sampled = random.sample(spans, max(1, round(len(spans) * random.uniform(0.3, 0.9))))
        return changed(text, [(a, b, _of_length(b - a, style, random, slots)) for a, b in sampled])
    replacements: list[Replacement] = []
    if way == "within":
        spans = claims(text) or sentences(text)
        for _, end in random.sample(spans, max(1, round(len(spans) * random.uniform(0.15, 0.7)))):
            replacements.append((end, end, " " + _sentence(style, random, slots)))
        return changed(text, replacements)
    if way == "around" or random.random() < 0.4:
        replacements.append((0, 0, _paragraph("opening", style, random, slots) + gap))
        replacements.append((len(text), len(text), gap + _paragraph("closing", style, random, slots)))
    for at in insertion_points(text, random, random.randint(1, 6) if way == "between" else 1):
        replacements.append((at, at, gap + _paragraph("sentence", style, random, slots)))
    return changed(text, replacements)


def _sentence(style: str, random: Random, slots: Slots) -> str:
    return generate(grammar("filler"), random.choice((style, style, "any")), random, slots)


def _paragraph(first: str, style: str, random: Random, slots: Slots) -> str:
    """One to seven sentences of filler, led by one of kind `first`."""
    lead = [] if first == "sentence" else [generate(grammar("filler"), first, random, slots)]
    body = generate_several(grammar("filler"), style, random.randint(1, 4), random, slots)
    tail = generate_several(grammar("filler"), "any", random.choice((0, 1, 2)), random, slots)
    return " ".join([*lead, *body, *tail])


def _of_length(size: int, style: str, random: Random, slots: Slots) -> str:
    """Filler of about `size` characters in 1 to 30 sentences."""
    filler_sentences = [_sentence(style, random, slots)]
    while sum(map(len, filler_sentences)) + 60 < size and len(filler_sentences) < 30:
        filler_sentences.append(_sentence(style, random, slots))
    return " ".join(filler_sentences)

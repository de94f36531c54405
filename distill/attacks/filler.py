"""Filler: confident sentences without content, between those of the text or in their place. English templates."""

from collections.abc import Sequence
from random import Random

from curate.distill.attacks.changes import Changed, Replacement, changed
from curate.distill.attacks.registry import attack
from curate.distill.attacks.spam import slots_of
from curate.distill.attacks.templates import Slots, grammar, several, written
from curate.distill.text.passages import claims, joint, paragraphs, places_between, sentences

STYLES = ("essay", "essay", "marketing", "assistant", "assistant", "corporate")


@attack("confident_filler", family="confident_filler", bad=True)
def confident_filler(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """Padding in the manner of essays, brochures and chat bots, added to the text or put in the place of sentences."""
    slots = slots_of(text, random)
    if slots is None:
        return None
    style = random.choice(STYLES)
    way = random.choice(("between", "between", "within", "instead", "around"))
    gap = joint(text)
    if way == "instead":
        places = paragraphs(text) if len(paragraphs(text)) > 4 else sentences(text)
        drawn = random.sample(places, max(1, round(len(places) * random.uniform(0.3, 0.9))))
        return changed(text, [(a, b, _of_length(b - a, style, random, slots)) for a, b in drawn])
    found: list[Replacement] = []
    if way == "within":
        places = claims(text) or sentences(text)
        for _, end in random.sample(places, max(1, round(len(places) * random.uniform(0.15, 0.7)))):
            found.append((end, end, " " + _sentence(style, random, slots)))
        return changed(text, found)
    if way == "around" or random.random() < 0.4:
        found.append((0, 0, _paragraph("opening", style, random, slots) + gap))
        found.append((len(text), len(text), gap + _paragraph("closing", style, random, slots)))
    for at in places_between(text, random, random.randint(1, 6) if way == "between" else 1):
        found.append((at, at, gap + _paragraph("sentence", style, random, slots)))
    return changed(text, found)


def _sentence(style: str, random: Random, slots: Slots) -> str:
    return written(grammar("filler"), random.choice((style, style, "any")), random, slots)


def _paragraph(first: str, style: str, random: Random, slots: Slots) -> str:
    """Two to six sentences of filler, the first of a kind."""
    lead = [] if first == "sentence" else [written(grammar("filler"), first, random, slots)]
    own = several(grammar("filler"), style, random.randint(1, 4), random, slots)
    return " ".join([*lead, *own, *several(grammar("filler"), "any", random.choice((0, 1, 2)), random, slots)])


def _of_length(size: int, style: str, random: Random, slots: Slots) -> str:
    """Filler of about so many characters, one sentence at least and thirty at most."""
    made = [_sentence(style, random, slots)]
    while sum(map(len, made)) + 60 < size and len(made) < 30:
        made.append(_sentence(style, random, slots))
    return " ".join(made)

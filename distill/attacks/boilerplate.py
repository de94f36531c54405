"""Boilerplate attacks: menus, notices, adverts and passages of other pages spliced into texts."""

from collections.abc import Sequence
from random import Random

from curate.distill.attacks.changes import Changed, Replacement, changed
from curate.distill.attacks.registry import attack
from curate.distill.attacks.spam import slots_of
from curate.distill.attacks.templates import Slots, generate, grammar
from curate.distill.text.passages import excerpt, insertion_points, passage, sentences, separator

TOP = ("menu", "menu", "crumbs", "cookie", "login", "share", "byline")
AMID = ("share", "newsletter", "related", "cookie", "poll", "login", "paywall", "caption", "related")
END = ("share", "related", "comments", "newsletter", "legal", "legal", "menu", "pager", "archive")
ADVERTS = ("offer", "offer", "listing", "listing", "text_ad", "text_ad", "affiliate", "shop")
JOINTS = ("\n", "\n", "\n", " | ", " ", " · ", " » ", "\n• ", "\n  * ", " / ", "\n- ")


@attack("boilerplate", family="boilerplate_splice", bad=True, splices=True)
def boilerplate(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """Menus, notices, share bars, sign-ups and footers around and between the paragraphs. English, Latin script."""
    slots = slots_of(text, random)
    if slots is None:
        return None
    gap = separator(text)
    top = [_block(kind, random, slots) for kind in random.sample(TOP, random.randint(0, 4))]
    end = [_block(kind, random, slots) for kind in random.sample(END, random.randint(1, 6))]
    replacements: list[Replacement] = [(0, 0, "".join(block + gap for block in top))]
    for at in insertion_points(text, random, random.choice((0, 1, 1, 2, 3, 5))):
        replacements.append((at, at, gap + _block(random.choice(AMID), random, slots)))
    return changed(text, [*replacements, (len(text), len(text), "".join(gap + block for block in end))])


def _block(kind: str, random: Random, slots: Slots) -> str:
    """A block of boilerplate: a list of entries as web pages have it, or whole sentences."""
    words = grammar("boilerplate")
    if f"{kind}_entry" not in words:
        return generate(words, kind, random, slots)
    entries = [generate(words, f"{kind}_entry", random, slots) for _ in range(random.randint(3, 14))]
    lead = generate(words, kind, random, slots)
    gap = "" if not lead else " " if lead.endswith((":", "≡ Menu")) else "\n"
    return lead + gap + random.choice(JOINTS).join(dict.fromkeys(entries))


@attack("adverts", family="boilerplate_splice", bad=True, splices=True)
def adverts(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """Adverts, offers and lists of products with prices, between paragraphs or within them. English, Latin script."""
    slots = slots_of(text, random)
    if slots is None:
        return None
    replacements: list[Replacement] = []
    for at in insertion_points(text, random, random.randint(1, 6)):
        replacements.append((at, at, separator(text) + _block(random.choice(ADVERTS), random, slots)))
    ends = [end for _, end in sentences(text)]
    for at in random.sample(ends, min(len(ends), random.randint(0, 2))):
        replacements.append((at, at, " " + generate(grammar("boilerplate"), "text_ad", random, slots)))
    return changed(text, replacements)


@attack("foreign_passages", family="boilerplate_splice", bad=True)
def foreign_passages(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """Pieces of other texts stand between the paragraphs, cut where sentences end or anywhere."""
    replacements: list[Replacement] = []
    for at in insertion_points(text, random, random.randint(1, 4)):
        size = random.randint(80, 200 + len(text) // 3)
        whole_sentences = random.random() < 0.7
        piece = passage(others, text, random, size) if whole_sentences else excerpt(others, text, random, size)
        if piece.strip():
            replacements.append((at, at, (separator(text) if random.random() < 0.8 else " ") + piece.strip()))
    return changed(text, replacements)

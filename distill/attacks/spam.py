"""Spam attacks: stuffed key phrases, clickbait, unwanted offers. English, Latin script."""

from collections.abc import Sequence
from random import Random

from curate.distill.attacks.changes import Changed, Replacement, changed
from curate.distill.attacks.registry import attack
from curate.distill.attacks.templates import Slots, generate, generate_several, grammar
from curate.distill.text.passages import claims, insertion_points, is_latin, sentences, separator, topics

THEMES = ("pills", "loan", "work", "prize", "product", "dating", "investment", "help", "software")  # of unwanted mail


def slots_of(text: str, random: Random) -> Slots | None:
    """The document's topics, to fill into templates; None where it has too little Latin text."""
    if not is_latin(text):
        return None
    candidates = topics(text)
    if not candidates:
        return None
    singular = [topic for topic in candidates if not topic.endswith("s")]  # most templates are about one thing
    candidates = singular if len(singular) > 2 else candidates
    weighted = [topic for k, topic in enumerate(candidates) for _ in range(max(1, 4 - k))]
    return {"topic": weighted, "main": [random.choice(weighted)], "second": [random.choice(candidates)]}


@attack("keyword_stuffing", family="seo_fluff", bad=True, splices=True)
def keyword_stuffing(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """Key phrases of the text stuffed into its sentences, as lists, and as what people may search for."""
    slots = slots_of(text, random)
    if slots is None:
        return None
    words = grammar("seo")
    replacements: list[Replacement] = []
    claim_spans = claims(text)
    for start, end in random.sample(claim_spans, round(len(claim_spans) * random.uniform(0.05, 0.5))):
        way = random.random()
        if way < 0.5:
            replacements.append((end, end, " " + generate(words, "stuffed", random, slots)))
        elif text.find(" ", start) >= 0:
            at = end - 1 if text[end - 1] in ".!?" else end
            aside = generate(words, "aside", random, slots)
            replacements.append((at, at, aside if aside.startswith(",") else f" {aside}"))
    for at in insertion_points(text, random, random.randint(1, 4)):
        replacements.append((at, at, separator(text) + _key_phrases(random, slots)))
    return changed(text, replacements)


def _key_phrases(random: Random, slots: Slots) -> str:
    """A list of key phrases in one of the forms that web pages use."""
    words = grammar("seo")
    phrases = [generate(words, "key", random, slots) for _ in range(random.randint(4, 18))]
    if random.random() < 0.3:
        phrases = ["#" + phrase.title().replace(" ", "") for phrase in phrases]
        return " ".join(phrases)
    lead = generate(words, "key_lead", random, slots)
    return (lead and lead + " ") + random.choice((", ", ", ", " | ", " - ", "\n", " / ", "; ")).join(phrases)


@attack("clickbait", family="seo_fluff", bad=True, splices=True)
def clickbait(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """Headlines that promise, introductions that lead nowhere, calls to read on, "near me" and the year."""
    slots = slots_of(text, random)
    if slots is None:
        return None
    words = grammar("seo")
    lead = [generate(words, "headline", random, slots), _paragraph("intro", random.randint(1, 4), random, slots)]
    replacements: list[Replacement] = [(0, 0, separator(text).join(lead[random.choice((0, 0, 1)) :]) + separator(text))]
    for at in insertion_points(text, random, random.randint(1, 5)):
        piece = generate(words, random.choice(("heading", "teaser", "teaser", "question")), random, slots)
        replacements.append((at, at, separator(text) + piece if random.random() < 0.7 else " " + piece))
    if random.random() < 0.7:
        replacements.append(
            (len(text), len(text), separator(text) + _paragraph("outro", random.randint(1, 4), random, slots))
        )
    return changed(text, replacements)


@attack("solicitation", family="seo_fluff", bad=True, splices=True)
def solicitation(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """Offers as in unwanted mail: money, pills, loans, work at home, links, how to be removed from the list."""
    if not is_latin(text):
        return None
    candidates = topics(text) or ["offer"]
    slots: Slots = {"topic": candidates, "main": [random.choice(candidates)], "second": candidates}
    words = grammar("solicitation")
    theme = random.choice(THEMES)
    body = generate_several(words, theme, random.randint(2, 5), random, slots)
    urgent = generate_several(words, "urgent", random.randint(1, 3), random, slots)
    parts = [generate(words, "greeting", random, slots), *body, *urgent, generate(words, "order", random, slots)]
    foot = generate_several(words, "foot", random.randint(1, 3), random, slots)
    gap = separator(text)
    mail = random.choice((gap, gap, " ")).join(part for part in parts if part)
    if random.random() < 0.3:
        mail = mail.upper()
    tail = (len(text), len(text), gap + gap.join(foot))
    if random.random() < 0.35:  # the mail, with a passage of the text to fool filters
        spans = sentences(text)
        kept_end = spans[random.randrange(len(spans))][1]
        return changed(text, [(0, 0, mail + gap), (kept_end, len(text), gap + gap.join(foot))])
    [at] = insertion_points(text, random, 1)
    return changed(text, [(0, 0, mail + gap) if random.random() < 0.5 else (at, at, gap + mail), tail])


def _paragraph(name: str, size: int, random: Random, slots: Slots) -> str:
    return " ".join(generate_several(grammar("seo"), name, size, random, slots))

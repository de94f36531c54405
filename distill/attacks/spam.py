"""Texts made for search engines and mail boxes: stuffed key phrases, bait, offers. English, Latin script."""

from collections.abc import Sequence
from random import Random

from curate.distill.attacks.changes import Changed, Replacement, changed
from curate.distill.attacks.registry import attack
from curate.distill.attacks.templates import Slots, grammar, several, written
from curate.distill.text.passages import claims, in_latin, joint, places_between, sentences, topics

THEMES = ("pills", "loan", "work", "prize", "product", "dating", "investment", "help", "software")  # of unwanted mail


def slots_of(text: str, random: Random) -> Slots | None:
    """What a document is about, to be filled into templates; None where it has too little Latin text."""
    if not in_latin(text):
        return None
    found = topics(text)
    if not found:
        return None
    singular = [topic for topic in found if not topic.endswith("s")]  # most templates are about one thing
    found = singular if len(singular) > 2 else found
    weighted = [topic for k, topic in enumerate(found) for _ in range(max(1, 4 - k))]
    return {"topic": weighted, "main": [random.choice(weighted)], "second": [random.choice(found)]}


@attack("keyword_stuffing", family="seo_fluff", bad=True)
def keyword_stuffing(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """Key phrases of the text stuffed into its sentences, as lists, and as what people may search for."""
    slots = slots_of(text, random)
    if slots is None:
        return None
    words = grammar("seo")
    found: list[Replacement] = []
    within = claims(text)
    for start, end in random.sample(within, round(len(within) * random.uniform(0.05, 0.5))):
        way = random.random()
        if way < 0.5:
            found.append((end, end, " " + written(words, "stuffed", random, slots)))
        elif text.find(" ", start) >= 0:
            at = end - 1 if text[end - 1] in ".!?" else end
            aside = written(words, "aside", random, slots)
            found.append((at, at, aside if aside.startswith(",") else f" {aside}"))
    for at in places_between(text, random, random.randint(1, 4)):
        found.append((at, at, joint(text) + _key_phrases(random, slots)))
    return changed(text, found)


def _key_phrases(random: Random, slots: Slots) -> str:
    """A list of key phrases, in one of the forms that pages have them in."""
    words = grammar("seo")
    phrases = [written(words, "key", random, slots) for _ in range(random.randint(4, 18))]
    if random.random() < 0.3:
        phrases = ["#" + phrase.title().replace(" ", "") for phrase in phrases]
        return " ".join(phrases)
    lead = written(words, "key_lead", random, slots)
    return (lead and lead + " ") + random.choice((", ", ", ", " | ", " - ", "\n", " / ", "; ")).join(phrases)


@attack("clickbait", family="seo_fluff", bad=True)
def clickbait(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """Headlines that promise, introductions that lead nowhere, calls to read on, "near me" and the year."""
    slots = slots_of(text, random)
    if slots is None:
        return None
    words = grammar("seo")
    lead = [written(words, "headline", random, slots), _paragraph("intro", random.randint(1, 4), random, slots)]
    found: list[Replacement] = [(0, 0, joint(text).join(lead[random.choice((0, 0, 1)) :]) + joint(text))]
    for at in places_between(text, random, random.randint(1, 5)):
        piece = written(words, random.choice(("heading", "teaser", "teaser", "question")), random, slots)
        found.append((at, at, joint(text) + piece if random.random() < 0.7 else " " + piece))
    if random.random() < 0.7:
        found.append((len(text), len(text), joint(text) + _paragraph("outro", random.randint(1, 4), random, slots)))
    return changed(text, found)


@attack("solicitation", family="seo_fluff", bad=True)
def solicitation(text: str, random: Random, others: Sequence[str]) -> Changed | None:
    """Offers as in unwanted mail: money, pills, loans, work at home, links, how to be removed from the list."""
    if not in_latin(text):
        return None
    found_topics = topics(text) or ["offer"]
    slots: Slots = {"topic": found_topics, "main": [random.choice(found_topics)], "second": found_topics}
    words = grammar("solicitation")
    theme = random.choice(THEMES)
    body = several(words, theme, random.randint(2, 5), random, slots)
    urgent = several(words, "urgent", random.randint(1, 3), random, slots)
    parts = [written(words, "greeting", random, slots), *body, *urgent, written(words, "order", random, slots)]
    foot = several(words, "foot", random.randint(1, 3), random, slots)
    gap = joint(text)
    mail = random.choice((gap, gap, " ")).join(part for part in parts if part)
    if random.random() < 0.3:
        mail = mail.upper()
    tail = (len(text), len(text), gap + gap.join(foot))
    if random.random() < 0.35:  # the mail, with a piece of the text to fool filters
        places = sentences(text)
        keep = places[random.randrange(len(places))][1]
        return changed(text, [(0, 0, mail + gap), (keep, len(text), gap + gap.join(foot))])
    [at] = places_between(text, random, 1)
    return changed(text, [(0, 0, mail + gap) if random.random() < 0.5 else (at, at, gap + mail), tail])


def _paragraph(name: str, size: int, random: Random, slots: Slots) -> str:
    return " ".join(several(grammar("seo"), name, size, random, slots))

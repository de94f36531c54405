"""Made texts of a topic: good prose, spam, menus."""

import random

from curate.distill.scoring.discriminator import Settings

TOPICS = {
    "good": "river valley stone harvest council letter winter garden theory measure evidence village",
    "spam": "casino viagra free winner click prize loan cheap pills offer guarantee bonus",
    "menu": "home login cart register sitemap contact privacy cookies newsletter subscribe archive search",
}
JOINTS = ["the", "of", "and", "to", "in", "that", "it", "was", "with", "for", "as", "on"]
SMALL = Settings(bits=14)


def made(kind, seed):
    """A text of some sentences about a topic."""
    draw = random.Random(f"{kind} {seed}")
    sentences = []
    for _ in range(6):
        words = [draw.choice(draw.choice([JOINTS, TOPICS[kind].split()])) for _ in range(12)]
        sentences.append(" ".join(words).capitalize() + draw.choice([".", ".", "!" if kind == "spam" else "."]))
    return "\n".join(sentences) if kind == "menu" else " ".join(sentences)

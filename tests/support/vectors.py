"""Settings of vectors so small that they train in no time, and texts of each topic for them."""

from support.distributions import array, texts_of
from support.topics import TOPICS

from curate.distill.scoring.vectors import Settings

SMALL = Settings(dimensions=8, least=0.02, most=0.9)


def sample(first=0):
    return array([text for kind in TOPICS for text in texts_of(kind, 60, first)])

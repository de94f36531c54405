"""Distributions of made texts, as importance and likeness compare them."""

import pyarrow as pa
from support.topics import made

from curate.distill.scoring.importance import Settings, corpus_of, distribution_of
from curate.distill.scoring.linear_model import groups_of

SMALL = Settings(bits=12)


def texts_of(kind, n=40, first=0):
    return [made(kind, k) for k in range(first, first + n)]


def array(texts):
    return pa.array(texts, pa.large_string())


def distribution(texts, domains=None, made_with=SMALL):
    texts = array(texts)
    return distribution_of(texts, domains or ["all"] * len(texts), groups_of(texts), made_with)


def corpus_distribution(texts, made_with=SMALL):
    return corpus_of(array(texts), groups_of(array(texts)), made_with)

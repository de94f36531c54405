"""Likeness: how much a text is like good texts rather than like the corpus that it stands in.

The discriminator's machinery with other sides: logistic regression over hashed words, pairs of words and surface
features, good texts on one side and documents drawn from the corpus on the other, whatever they are worth. As the
corpus has good documents too, no odds are to be read from it; it puts texts in an order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from curate.distill.scoring.clusters import Clusters, assign
from curate.distill.scoring.discriminator import GOOD, train
from curate.distill.scoring.importance import KINDS, READ_BITS, Columns, Contrast, joined, judged
from curate.distill.scoring.linear_model import (
    BATCH,
    Hashes,
    Model,
    Reals,
    Settings,
    Texts,
    groups_of,
    lanes_of,
    raw_scores,
    read_texts,
)
from curate.distill.scoring.static_vectors import StaticVectors, vectors_of
from curate.distill.scoring.vectors import Projection, projected
from curate.kernels.arrow import plain_text
from curate.kernels.hashed_ngrams import Ngrams, hashed_ngrams
from curate.kernels.projection import Vectors

CORPUS = "corpus"
MIXTURE = 0.5  # a domain of the good texts weighs its number of texts to this power: 0 for all alike, 1 by size


def train_likeness(
    good: pa.Array,
    domains: Sequence[str],
    corpus: pa.Array,
    groups: Hashes,
    settings: Settings,
    seed: int,
    mixture: float = MIXTURE,
) -> Model:
    """A model of documents of the corpus against good texts, each side half of the weight.

    domains  of each good text
    groups   of the good texts, then of the corpus's: `groups_of` them. A text that stands on both sides is then
             judged by models that saw it on neither.

    Errors: InputError where the texts of a side are too few.
    """
    texts = pa.concat_arrays([side.cast(pa.large_string()) for side in (good, corpus)])
    of_corpus = np.arange(len(texts)) >= len(good)
    weights = np.concatenate([domain_weights(domains, mixture), np.ones(len(corpus))])
    model = train(texts, of_corpus, weights, groups, np.where(of_corpus, CORPUS, GOOD).tolist(), settings, seed)
    return replace(model, trained=np.unique(groups))


def domain_weights(domains: Sequence[str], mixture: float) -> Reals:
    """What each text weighs so that a domain of n texts weighs n to the power of `mixture`."""
    _, numbers, sizes = np.unique(
        np.asarray(domains, dtype=object).astype(str), return_inverse=True, return_counts=True
    )
    weights: Reals = np.power(sizes.astype(np.float64), mixture - 1)[numbers]
    return weights


def likeness(model: Model, texts: pa.Array, groups: Hashes | None = None) -> pa.Array:
    """Log-odds of being a good text rather than one of the corpus, float32; null for blank text."""
    return judge_texts(None, model, texts, groups)["likeness"]


@dataclass(frozen=True)
class Space:
    """Where documents lie by what they are about."""

    vectors: Projection | StaticVectors  # what makes them
    clusters: Clusters


def judge_texts(
    contrast: Contrast | None, model: Model | None, texts: pa.Array, groups: Hashes | None = None,
    space: Space | None = None,
) -> Columns:  # fmt: skip
    """What `importance`, `likeness` and `assign` say, from reading the texts once.

    Columns importance, domain and margin with a contrast, likeness with a model, cluster with a space. `groups` are
    those by which equal texts were counted or trained on, if not by their own.
    """
    asked = [name for name in KINDS if {"likeness": model, "cluster": space}.get(name, contrast) is not None]
    parts = []
    for k in range(0, len(texts), BATCH):
        some = texts.slice(k, BATCH)
        of = groups_of(some) if groups is None else groups[k : k + BATCH]
        parts.append(_judge_some(contrast, model, some, of, space))
    return joined(parts, asked)


def _judge_some(
    contrast: Contrast | None, model: Model | None, texts: pa.Array, groups: Hashes, space: Space | None
) -> Columns:
    columns: Columns = {}
    ngrams: Texts | Ngrams | None = None
    if model is not None:
        read = read_texts(texts, model.settings.bits)
        rows = read.rows(model.scaling, model.settings.looks)
        odds = -raw_scores(model, rows, lanes_of(model, groups))
        columns["likeness"] = pa.array(odds.astype(np.float32), mask=read.blank)
        ngrams = read if model.settings.bits == READ_BITS else None
    if contrast is None and space is None:
        return columns
    ngrams = ngrams or hashed_ngrams(plain_text(texts), READ_BITS)
    if contrast is not None:
        columns |= judged(contrast, ngrams.offsets, ngrams.buckets, groups)
    if space is not None:
        columns["cluster"] = assign(space.clusters, _vectors(space, texts, ngrams))["cluster"]
    return columns


def _vectors(space: Space, texts: pa.Array, ngrams: Texts | Ngrams) -> Vectors:
    if isinstance(space.vectors, StaticVectors):
        return vectors_of(space.vectors, texts)
    return projected(space.vectors, ngrams.offsets, ngrams.buckets)

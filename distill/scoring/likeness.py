"""Likeness: how much more a text resembles good texts than the corpus it comes from.

The discriminator with other classes: good texts against documents drawn from the corpus, whatever their quality. Its
scores are no odds of being good, since the corpus has good documents too; they rank texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from curate.distill.scoring.clusters import Clusters, assign
from curate.distill.scoring.discriminator import GOOD, train
from curate.distill.scoring.importance import KINDS, READ_BITS, Columns, Contrast, concat_columns, importance_of_ngrams
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
MIXTURE = 0.5  # the weight of a domain is its number of texts to this power: 0 for equal weights, 1 for size


def train_likeness(
    good: pa.Array,
    domains: Sequence[str],
    corpus: pa.Array,
    groups: Hashes,
    settings: Settings,
    seed: int,
    mixture: float = MIXTURE,
) -> Model:
    """Train a model of documents of the corpus against good texts, each with half of the weight.

    domains  of the good texts
    groups   of the good texts, then of the corpus's (`groups_of`), so that a text in both is scored by models that saw
             it in neither

    Errors: InputError where either has too few texts.
    """
    texts = pa.concat_arrays([side.cast(pa.large_string()) for side in (good, corpus)])
    of_corpus = np.arange(len(texts)) >= len(good)
    weights = np.concatenate([domain_weights(domains, mixture), np.ones(len(corpus))])
    families = np.where(of_corpus, CORPUS, GOOD).tolist()
    model = train(texts, of_corpus, weights=weights, groups=groups, families=families, settings=settings, seed=seed)
    return replace(model, trained=np.unique(groups))


def domain_weights(domains: Sequence[str], mixture: float) -> Reals:
    """Weights of texts such that those of a domain with n texts sum to n ** mixture."""
    _, inverse, sizes = np.unique(
        np.asarray(domains, dtype=object).astype(str), return_inverse=True, return_counts=True
    )
    weights: Reals = np.power(sizes.astype(np.float64), mixture - 1)[inverse]
    return weights


def likeness(model: Model, texts: pa.Array, groups: Hashes | None = None) -> pa.Array:
    """Log-odds of being one of the good texts rather than of the corpus, float32; null for blank text."""
    return judge_texts(None, model, texts, groups)["likeness"]


@dataclass(frozen=True)
class Space:
    """The vector space of document topics, and its clusters."""

    vectors: Projection | StaticVectors  # maps texts to vectors
    clusters: Clusters


def judge_texts(
    contrast: Contrast | None,
    model: Model | None,
    texts: pa.Array,
    groups: Hashes | None = None,
    space: Space | None = None,
) -> Columns:
    """The results of `importance`, `likeness` and `assign` from one pass over the texts.

    Columns importance, domain and margin with a contrast, likeness with a model, cluster with a space. `groups` are
    those by which the texts were counted or trained on, if not their own.
    """
    names = [name for name in KINDS if {"likeness": model, "cluster": space}.get(name, contrast) is not None]
    parts = []
    for k in range(0, len(texts), BATCH):
        batch = texts.slice(k, BATCH)
        batch_groups = groups_of(batch) if groups is None else groups[k : k + BATCH]
        parts.append(_judge_batch(contrast, model, batch, batch_groups, space))
    return concat_columns(parts, names)


def _judge_batch(
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
        columns |= importance_of_ngrams(contrast, ngrams.offsets, ngrams.buckets, groups)
    if space is not None:
        columns["cluster"] = assign(space.clusters, _vectors(space, texts, ngrams))["cluster"]
    return columns


def _vectors(space: Space, texts: pa.Array, ngrams: Texts | Ngrams) -> Vectors:
    if isinstance(space.vectors, StaticVectors):
        return vectors_of(space.vectors, texts)
    return projected(space.vectors, ngrams.offsets, ngrams.buckets)

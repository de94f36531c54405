"""Short vectors of documents, close where topics are alike: made for clusters, not for semantic search.

Words and pairs of words that are neither too rare nor too common in a sample of the corpus, weighted by inverse
document frequency, are projected onto the directions of largest variance (latent semantic analysis, by power iteration
from random signs: Halko, Martinsson and Tropp 2011, arXiv 0909.4061). Random projections alone do not suffice: in 64
dimensions their noise exceeds the differences between documents (docs/scores.md).
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.distill.scoring.importance import READ_BITS
from curate.distill.scoring.linear_model import BATCH, Integers
from curate.distill.scoring.model_file import hash_of, load_arrays, save_arrays
from curate.errors import InputError
from curate.kernels.arrow import plain_text
from curate.kernels.hashed_ngrams import Buckets, hashed_ngrams
from curate.kernels.projection import Vectors, gather, orthonormal, project

VERSION: dict[str, object] = {"format": 1, "kind": "projection"}
LEAST_DOCUMENTS = 5  # that must contain an n-gram, however small the sample


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters of projections."""

    dimensions: int = 64
    least: float = 0.006  # least and largest share of the documents that contain an n-gram
    most: float = 0.1
    rounds: int = 3  # of power iteration


@dataclass(frozen=True)
class Projection:
    """A vector for each informative n-gram."""

    settings: Settings
    buckets: Buckets  # their hashes to READ_BITS, ascending
    table: Vectors  # shape (buckets, dimensions), rounded as in the file
    documents: int  # size of the sample


def projection_of(texts: pa.Array, settings: Settings, seed: int) -> Projection:
    """Fit a projection to a sample of documents.

    Errors: InputError where the sample has too few words in common.
    """
    offsets, buckets = _ngrams(texts)
    documents = int((np.diff(offsets) > 0).sum())
    counts = np.bincount(buckets, minlength=1 << READ_BITS)
    least = max(LEAST_DOCUMENTS, settings.least * documents)
    informative = np.flatnonzero((counts >= least) & (counts <= settings.most * documents)).astype(np.int32)
    if len(informative) < settings.dimensions:
        raise InputError(
            f"vectors: the {documents:,} documents of the sample share only {len(informative)} words and pairs of "
            f"words; at least {settings.dimensions} are needed: give more documents"
        )
    weights = np.log(documents / counts[informative]).astype(np.float32)
    rows = _rows_of_buckets(informative)
    draw = np.random.default_rng(seed)
    vectors = draw.integers(0, 2, (len(informative), settings.dimensions)).astype(np.float32) * 2 - 1
    for _ in range(settings.rounds):
        spread = project(offsets, buckets, rows, weights[:, None] * vectors)
        vectors = gather(offsets, buckets, rows, weights, orthonormal(spread))
    table = (weights[:, None] * vectors).astype(np.float16).astype(np.float32)
    return Projection(settings, informative, table, documents)


def _ngrams(texts: pa.Array) -> tuple[Integers, Buckets]:
    """Offsets and buckets of the n-grams of all texts, hashed in batches."""
    sizes, buckets = [np.zeros(1, np.int64)], [np.zeros(0, np.int32)]
    for k in range(0, len(texts), BATCH):
        ngrams = hashed_ngrams(plain_text(texts.slice(k, BATCH)), READ_BITS)
        sizes.append(np.diff(ngrams.offsets))
        buckets.append(ngrams.buckets)
    return np.cumsum(np.concatenate(sizes)), np.concatenate(buckets)


def _rows_of_buckets(informative: Buckets) -> Buckets:
    """Row in the table of each bucket, or -1."""
    rows = np.full(1 << READ_BITS, -1, dtype=np.int32)
    rows[informative] = np.arange(len(informative), dtype=np.int32)
    return rows


def vectors_of(projection: Projection, texts: pa.Array) -> Vectors:
    """The vector of each text, of length 1, shape (texts, dimensions); 0 for null and without informative n-grams."""
    vectors = [np.zeros((0, projection.table.shape[1]), np.float32)]
    for k in range(0, len(texts), BATCH):
        ngrams = hashed_ngrams(plain_text(texts.slice(k, BATCH)), READ_BITS)
        vectors.append(projected(projection, ngrams.offsets, ngrams.buckets))
    return np.concatenate(vectors)


def projected(projection: Projection, offsets: Integers, buckets: Buckets) -> Vectors:
    """`vectors_of` texts by their n-grams, hashed to READ_BITS."""
    return project(offsets, buckets, _rows_of_buckets(projection.buckets), projection.table)


def save(projection: Projection, path: Path) -> None:
    """Commit a projection as one file (docs/scores.md)."""
    save_arrays(path, *_packed(projection))


def load(path: Path) -> Projection:
    """Read a projection from its file.

    Errors: InputError for a file that is not one, is of another format, or is damaged.
    """
    arrays, about = load_arrays(path, "a projection", VERSION)
    table = arrays["table"].astype(np.float32)
    return Projection(Settings(**about["settings"]), arrays["known"], table, about["documents"])


def content_hash(projection: Projection) -> str:
    """Hex SHA-256 of the content of a projection's file."""
    return hash_of(*_packed(projection))


def _packed(projection: Projection) -> tuple[dict[str, npt.NDArray[Any]], dict[str, object]]:
    about = VERSION | {"settings": asdict(projection.settings), "documents": projection.documents}
    return {"known": projection.buckets, "table": projection.table.astype(np.float16)}, about

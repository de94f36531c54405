"""Short vectors of documents, near each other where documents are about the same: for clusters, not for meaning.

Words and pairs of words that a sample of the corpus has neither too rarely nor too often, weighed by how few documents
have them, projected onto the directions in which the sample differs most (latent semantic analysis, by power iteration
from random signs: Halko, Martinsson and Tropp 2011, arXiv 0909.4061). Random signs alone were tried: in 64 dimensions
their noise is larger than what tells documents apart (docs/scores.md).
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

VERSION = {"format": 1, "kind": "projection"}
LEAST_DOCUMENTS = 5  # that an n-gram stands in, however small the sample


@dataclass(frozen=True)
class Settings:
    """What projections are made with."""

    dimensions: int = 64
    least: float = 0.006  # share of the documents that an n-gram must stand in
    most: float = 0.1  # and may stand in
    rounds: int = 3  # of power iteration


@dataclass(frozen=True)
class Projection:
    """A vector for each n-gram that tells documents apart."""

    settings: Settings
    known: Buckets  # their buckets of READ_BITS, rising
    table: Vectors  # shape (known, dimensions), as the file rounds them
    documents: int  # of the sample


def projection_of(texts: pa.Array, settings: Settings, seed: int) -> Projection:
    """A projection made for the documents of a sample.

    Errors: InputError where the sample has too few words in common.
    """
    offsets, buckets = _ngrams(texts)
    documents = int((np.diff(offsets) > 0).sum())
    counts = np.bincount(buckets, minlength=1 << READ_BITS)
    least = max(LEAST_DOCUMENTS, settings.least * documents)
    known = np.flatnonzero((counts >= least) & (counts <= settings.most * documents)).astype(np.int32)
    if len(known) < settings.dimensions:
        raise InputError(
            f"vectors: the {documents:,} documents of the sample share only {len(known)} words and pairs of words; "
            f"at least {settings.dimensions} are needed: give more documents"
        )
    weights = np.log(documents / counts[known]).astype(np.float32)
    places = _places(known)
    draw = np.random.default_rng(seed)
    vectors = draw.integers(0, 2, (len(known), settings.dimensions)).astype(np.float32) * 2 - 1
    for _ in range(settings.rounds):
        spread = project(offsets, buckets, places, weights[:, None] * vectors)
        vectors = gather(offsets, buckets, places, weights, orthonormal(spread))
    table = (weights[:, None] * vectors).astype(np.float16).astype(np.float32)
    return Projection(settings, known, table, documents)


def _ngrams(texts: pa.Array) -> tuple[Integers, Buckets]:
    """N-grams of texts, some at a time."""
    sizes, buckets = [np.zeros(1, np.int64)], [np.zeros(0, np.int32)]
    for k in range(0, len(texts), BATCH):
        ngrams = hashed_ngrams(plain_text(texts.slice(k, BATCH)), READ_BITS)
        sizes.append(np.diff(ngrams.offsets))
        buckets.append(ngrams.buckets)
    return np.cumsum(np.concatenate(sizes)), np.concatenate(buckets)


def _places(known: Buckets) -> Buckets:
    """The row that each bucket has among those known, or -1."""
    places = np.full(1 << READ_BITS, -1, dtype=np.int32)
    places[known] = np.arange(len(known), dtype=np.int32)
    return places


def vectors_of(projection: Projection, texts: pa.Array) -> Vectors:
    """The vector of each text, of length 1, shape (texts, dimensions); 0 for null and where no n-gram is known."""
    found = [np.zeros((0, projection.table.shape[1]), np.float32)]
    for k in range(0, len(texts), BATCH):
        ngrams = hashed_ngrams(plain_text(texts.slice(k, BATCH)), READ_BITS)
        found.append(projected(projection, ngrams.offsets, ngrams.buckets))
    return np.concatenate(found)


def projected(projection: Projection, offsets: Integers, buckets: Buckets) -> Vectors:
    """The same of texts whose n-grams are read, with READ_BITS."""
    return project(offsets, buckets, _places(projection.known), projection.table)


def save(projection: Projection, path: Path) -> None:
    """Commit a projection as one file: see docs/scores.md."""
    save_arrays(path, *_packed(projection))


def load(path: Path) -> Projection:
    """A projection from its file.

    Errors: InputError for what is none, for another format, and for damage.
    """
    arrays, about = load_arrays(path, "a projection", VERSION)
    table = arrays["table"].astype(np.float32)
    return Projection(Settings(**about["settings"]), arrays["known"], table, about["documents"])


def content_hash(projection: Projection) -> str:
    """Hex SHA-256 of all that a projection's file holds."""
    return hash_of(*_packed(projection))


def _packed(projection: Projection) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    about = VERSION | {"settings": asdict(projection.settings), "documents": projection.documents}
    return {"known": projection.known, "table": projection.table.astype(np.float16)}, about

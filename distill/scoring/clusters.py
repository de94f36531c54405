"""Clusters of documents that are about the same: their centres from a sample, then the nearest one of any document."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from curate.distill.scoring.linear_model import Integers
from curate.distill.scoring.model_file import hash_of, load_arrays, save_arrays
from curate.errors import InputError
from curate.kernels.hashed_ngrams import Buckets
from curate.kernels.projection import Vectors, add_by_centre, nearest

VERSION = {"format": 1, "kind": "clusters"}
PASSES = 25  # at most
SETTLED = 0.002  # share of the vectors that still change their cluster, below which no more passes are made


@dataclass(frozen=True)
class Clusters:
    """Centres, and what was found of the sample."""

    centres: Vectors  # shape (clusters, dimensions), of length 1
    sizes: Integers  # documents of the sample


def clusters_of(vectors: Vectors, count: int, seed: int) -> Clusters:
    """Centres of at most `count` clusters by spherical k-means (Dhillon and Modha 2001), from vectors of length 1.

    Vectors of length 0 are passed over. A cluster that runs empty is begun anew at the vector that is farthest from its
    own centre. All sums run in one order: the same vectors and seed give the same bytes.

    Errors: InputError where all vectors are of length 0.
    """
    known = vectors[np.any(vectors != 0, axis=1)]
    if not len(known):
        raise InputError("clusters: no document of the sample has a vector; give documents with words in common")
    order = np.random.default_rng(seed).permutation(len(known))
    centres = known[order[: min(count, len(known))]].copy()
    before = np.full(len(known), -1, np.int32)
    for _ in range(PASSES):
        own, products = nearest(known, centres)
        if np.mean(own != before) < SETTLED:
            break
        before = own
        centres = _moved(known, own, products, len(centres))
    return Clusters(centres, np.bincount(nearest(known, centres)[0], minlength=len(centres)))


def _moved(vectors: Vectors, own: Buckets, products: Vectors, count: int) -> Vectors:
    """The direction of the sum of each cluster's vectors."""
    sums = add_by_centre(vectors, own, count)
    empty = np.flatnonzero(np.bincount(own, minlength=count) == 0)
    farthest = np.lexsort((np.arange(len(vectors)), products))[: len(empty)]
    sums[empty] = vectors[farthest]
    lengths = np.sqrt((sums * sums).sum(axis=1, keepdims=True))
    return (sums / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def assign(clusters: Clusters, vectors: Vectors) -> dict[str, pa.Array]:
    """The cluster of each vector.

    cluster     int32, the number of the nearest centre
    similarity  float32, cosine to that centre: near 1 for what the cluster has much of

    Both are null for a vector of length 0.
    """
    own, products = nearest(vectors, clusters.centres)
    none = ~np.any(vectors != 0, axis=1)
    return {"cluster": pa.array(own, mask=none), "similarity": pa.array(products, mask=none)}


def density(clusters: Clusters, assigned: dict[str, pa.Array]) -> pa.Array:
    """How much of the sample lies in the cluster of each document, as a share from 0 to 1, float32; null without one.

    The rarer a document's cluster, the more it adds to what a budget covers (Sachdeva et al. 2024, arXiv 2402.09668,
    take the inverse of a like mass as the chance to be chosen).
    """
    shares = pa.array((clusters.sizes / clusters.sizes.sum()).astype(np.float32))
    return shares.take(assigned["cluster"])


def save(clusters: Clusters, path: Path) -> None:
    """Commit clusters as one file: see docs/scores.md."""
    save_arrays(path, {"centres": clusters.centres, "sizes": clusters.sizes}, VERSION)


def load(path: Path) -> Clusters:
    """Clusters from their file.

    Errors: InputError for what is none, for another format, and for damage.
    """
    arrays, _ = load_arrays(path, "a file of clusters", VERSION)
    return Clusters(arrays["centres"], arrays["sizes"])


def content_hash(clusters: Clusters) -> str:
    """Hex SHA-256 of all that a file of clusters holds."""
    return hash_of({"centres": clusters.centres, "sizes": clusters.sizes}, VERSION)

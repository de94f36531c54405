"""Clusters of documents by topic: centres from a sample, then the nearest centre of any document."""

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
MAX_PASSES = 25
SETTLED = 0.002  # stop when fewer than this share of the vectors change their cluster


@dataclass(frozen=True)
class Clusters:
    """Centres, and the sizes of their clusters."""

    centres: Vectors  # shape (clusters, dimensions), of length 1
    sizes: Integers  # in documents of the sample


def clusters_of(vectors: Vectors, count: int, seed: int) -> Clusters:
    """At most `count` clusters by spherical k-means (Dhillon and Modha 2001), from vectors of length 1.

    Vectors of length 0 are ignored. An empty cluster restarts at the vector farthest from its own centre. All sums have
    a fixed order: the same vectors and seed give the same bytes.

    Errors: InputError where all vectors are of length 0.
    """
    nonzero = vectors[np.any(vectors != 0, axis=1)]
    if not len(nonzero):
        raise InputError("clusters: no document of the sample has a vector; give documents with words in common")
    order = np.random.default_rng(seed).permutation(len(nonzero))
    centres = nonzero[order[: min(count, len(nonzero))]].copy()
    previous = np.full(len(nonzero), -1, np.int32)
    for _ in range(MAX_PASSES):
        assigned, products = nearest(nonzero, centres)
        if np.mean(assigned != previous) < SETTLED:
            break
        previous = assigned
        centres = _new_centres(nonzero, assigned, products, len(centres))
    return Clusters(centres, np.bincount(nearest(nonzero, centres)[0], minlength=len(centres)))


def _new_centres(vectors: Vectors, assigned: Buckets, products: Vectors, count: int) -> Vectors:
    """The normalised sum of each cluster's vectors."""
    sums = add_by_centre(vectors, assigned, count)
    empty = np.flatnonzero(np.bincount(assigned, minlength=count) == 0)
    farthest = np.lexsort((np.arange(len(vectors)), products))[: len(empty)]
    sums[empty] = vectors[farthest]
    lengths = np.sqrt((sums * sums).sum(axis=1, keepdims=True))
    return (sums / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def assign(clusters: Clusters, vectors: Vectors) -> dict[str, pa.Array]:
    """The cluster of each vector.

    cluster     int32, index of the nearest centre
    similarity  float32, cosine to that centre: near 1 for a typical document of the cluster

    Both are null for a vector of length 0.
    """
    assigned, products = nearest(vectors, clusters.centres)
    is_zero = ~np.any(vectors != 0, axis=1)
    return {"cluster": pa.array(assigned, mask=is_zero), "similarity": pa.array(products, mask=is_zero)}


def density(clusters: Clusters, assigned: dict[str, pa.Array]) -> pa.Array:
    """Share of the sample in the cluster of each document, float32 from 0 to 1; null without a cluster.

    The rarer a document's cluster, the more it adds to what a budget covers (Sachdeva et al. 2024, arXiv 2402.09668,
    sample by the inverse of a similar density).
    """
    shares = pa.array((clusters.sizes / clusters.sizes.sum()).astype(np.float32))
    return shares.take(assigned["cluster"])


def save(clusters: Clusters, path: Path) -> None:
    """Commit clusters as one file (docs/scores.md)."""
    save_arrays(path, {"centres": clusters.centres, "sizes": clusters.sizes}, VERSION)


def load(path: Path) -> Clusters:
    """Read clusters from their file.

    Errors: InputError for a file that is not one, is of another format, or is damaged.
    """
    arrays, _ = load_arrays(path, "a file of clusters", VERSION)
    return Clusters(arrays["centres"], arrays["sizes"])


def content_hash(clusters: Clusters) -> str:
    """Hex SHA-256 of the content of a file of clusters."""
    return hash_of({"centres": clusters.centres, "sizes": clusters.sizes}, VERSION)

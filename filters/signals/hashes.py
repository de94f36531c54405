"""Hashes that identify duplicate texts, and bands of MinHash signatures that select candidate pairs.

Texts that share most of their shingles are found by MinHash (Broder 1997) and banding (Leskovec et al., Mining of
Massive Datasets, ch. 3).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from xxhash import xxh3_128_digest

from curate import kernels
from curate.errors import RecipeError
from curate.filters.registry import Columns, signal
from curate.kernels.arrow import plain_text, text_views

HASH_COLUMNS = {"text_hash_high": pa.uint64(), "text_hash_low": pa.uint64()}


@signal(
    group="hashes",
    writes={
        **HASH_COLUMNS,
        "normal_hash_high": pa.uint64(),
        "normal_hash_low": pa.uint64(),
    },
)
def content_hashes(texts: pa.Array) -> Columns:
    """Hashes that are equal for equal documents (xxh3-128, in two halves).

    text_hash_high    upper half of the hash of the text
    text_hash_low     lower half of the hash of the text
    normal_hash_high  upper half of the hash of the text in NFC and lower case with white space collapsed
    normal_hash_low   lower half of that
    """
    high, low = hash_texts(texts)
    normal_high, normal_low = _halves(_digest(text) for text in kernels.normalised(texts))
    return {
        "text_hash_high": high,
        "text_hash_low": low,
        "normal_hash_high": normal_high,
        "normal_hash_low": normal_low,
    }


def hash_texts(texts: pa.Array) -> tuple[pa.Array, pa.Array]:
    """xxh3-128 of each text's UTF-8 in two halves (uint64); null for null."""
    texts = plain_text(texts)
    offsets, data = text_views(texts)
    view, bounds = memoryview(data), offsets.tolist()  # type: ignore[arg-type]
    validity = texts.is_valid().to_pylist()
    return _halves(
        xxh3_128_digest(view[start:end]) if is_present else None
        for start, end, is_present in zip(bounds, bounds[1:], validity, strict=False)
    )


def _digest(text: memoryview | bytes | None) -> bytes | None:
    return None if text is None else xxh3_128_digest(text)


def _halves(digests: Iterable[bytes | None]) -> tuple[pa.Array, pa.Array]:
    """Digests of 16 bytes as two big-endian columns, so that their concatenated hex is the digest's hex."""
    listed = list(digests)
    mask = np.array([digest is None for digest in listed], dtype=bool)
    joined = b"".join(digest or bytes(16) for digest in listed)
    halves = np.frombuffer(joined, ">u8").astype(np.uint64).reshape(-1, 2)
    return pa.array(halves[:, 0], mask=mask), pa.array(halves[:, 1], mask=mask)


RECALL = 0.98  # for pairs exactly at the threshold


@dataclass(frozen=True)
class Bands:
    """How signatures are split into bands. Documents that agree in all values of a band are compared."""

    count: int
    rows: int  # values per band

    def chance(self, similarity: float) -> float:
        """The share of pairs of this similarity that are compared."""
        return float(1 - (1 - similarity**self.rows) ** self.count)

    def __str__(self) -> str:
        """A description of the S-curve."""
        curve = ", ".join(f"{self.chance(s):.1%} at {s}" for s in (0.5, 0.6, 0.7, 0.8, 0.9))
        return f"{self.count} bands of {self.rows} values, which compare {curve}"


def choose_bands(threshold: float, permutations: int) -> Bands:
    """The longest bands that compare pairs at the threshold with a probability of RECALL.

    Errors: RecipeError where no bands of so few permutations do.
    """
    for rows in range(permutations, 0, -1):
        bands = Bands(permutations // rows, rows)
        if bands.chance(threshold) >= RECALL:
            return bands
    raise RecipeError(
        f"dedup.near: {permutations} permutations find fewer than {RECALL:.0%} of the pairs of similarity {threshold}; "
        "take more of them"
    )

r"""Words and word pairs hashed to buckets below 2^bits, as features of linear models over text.

Words are those of shingles: a lower-cased `\w+`, letter by letter in scripts without spaces. The bucket of a word with
the hash (xxh3_64) h is the top bits of h SPREAD modulo 2^64. That of adjacent words with the hashes h and h' is the top
bits of (h BASE + h') SPREAD. Repeats within a text count once. N-grams that share a bucket are one feature to the model
(Weinberger et al. 2009, arXiv 0902.2206).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.kernels.arrow import Bytes, Offsets, plain_text, text_views
from curate.kernels.jit import inline, kernel
from curate.kernels.minhash import GROWTH, IN_CONTEXT, Hashes, lowered, room, split_words
from curate.kernels.overlap import BASE, SPREAD, split_places
from curate.kernels.xxh3 import xxh3_64

Buckets = npt.NDArray[np.int32]
Reals = npt.NDArray[np.float64]
TAGS = 255  # texts that one byte can distinguish: so small a table stays in the cache


class Ngrams(NamedTuple):
    """Distinct buckets by text, in order of first occurrence: `buckets[offsets[i]:offsets[i + 1]]` for text i."""

    offsets: Offsets
    buckets: Buckets
    counts: Offsets  # one row per text: words, distinct words, pairs, distinct pairs (distinct by bucket)


class Places(NamedTuple):
    """Positions of the n-grams of one text."""

    buckets: Buckets
    starts: Offsets  # first byte of each n-gram
    ends: Offsets  # the byte after its last


def hashed_ngrams(texts: pa.Array, bits: int) -> Ngrams:
    """Find the buckets of each text's words and word pairs.

    In:     string or large_string, sliced or not, nulls allowed; 8 <= bits <= 30.
    Out:    see Ngrams; no buckets for nulls and texts without words.
    Cost:   two passes over the bytes, one hash per word, one look-up per n-gram in a table of 2^bits numbers.
    Oracle: sets of `xxhash.xxh3_64_intdigest` (tests/kernels/test_hashed_ngrams.py).
    """
    texts = plain_text(texts)
    offsets, buckets, counts = _ngrams(*text_views(texts), bits)
    if len(counts) and counts[:, 0].min() == IN_CONTEXT:  # rare, so redo all texts
        offsets, buckets, counts = _ngrams(*text_views(lowered(texts, np.arange(len(texts)))), bits)
    return Ngrams(offsets, buckets, counts)


def text_hashes(texts: pa.Array) -> Hashes:
    """Hash (xxh3_64) of each text's bytes; a null has the hash of the empty text."""
    return _text_hashes(*text_views(plain_text(texts)))


@kernel
def _text_hashes(offsets: Offsets, data: Bytes) -> Hashes:
    hashes = np.empty(len(offsets) - 1, dtype=np.uint64)
    for row in range(len(hashes)):
        hashes[row] = xxh3_64(data.ctypes.data + offsets[row], offsets[row + 1] - offsets[row])
    return hashes


@inline
def _bucket(h: int, bits: int) -> int:
    return np.int64((h * SPREAD) >> np.uint64(64 - bits))


@kernel
def _ngrams(offsets: Offsets, data: Bytes, bits: int) -> tuple[Offsets, Buckets, Offsets]:
    count = len(offsets) - 1
    longest = room(offsets)
    out = np.empty(GROWTH * longest + 8, dtype=np.uint8)
    starts = np.empty(longest // 2 + 3, dtype=np.int64)
    seen = np.zeros(1 << bits, dtype=np.uint8)
    bounds = np.zeros(count + 1, dtype=np.int64)
    counts = np.zeros((count, 4), dtype=np.int64)
    buckets = np.empty(1024, dtype=np.int32)
    size = np.int64(0)
    for row in range(count):
        n = split_words(data, offsets[row], offsets[row + 1], out, starts)
        counts[row, 0] = n
        if size + 2 * n > len(buckets):
            wider = np.empty(2 * (size + 2 * n), dtype=np.int32)
            wider[:size] = buckets[:size]
            buckets = wider
        tag = row % TAGS + 1
        if tag == 1:
            seen[:] = 0
        size = _row(out, starts, n, tag, bits, seen, buckets, size, counts[row])
        bounds[row + 1] = size
    return bounds, buckets[:size].copy(), counts


@kernel
def _row(
    out: Bytes, starts: Offsets, n: int, tag: int, bits: int, seen: Bytes, buckets: Buckets, size: int,
    counts: Offsets,
) -> int:  # fmt: skip
    """Append the distinct buckets of a text's n words and their pairs to buckets[:size]; return the new size.

    `seen` has, for each bucket, the tag of the last text that contained it.
    """
    words = pairs = np.int64(0)
    before = np.uint64(0)
    for k in range(n):
        h = xxh3_64(out.ctypes.data + starts[k], starts[k + 1] - 1 - starts[k])
        bucket = _bucket(h, bits)
        new = np.int64(seen[bucket] != tag)
        seen[bucket] = tag
        buckets[size] = bucket  # branchless: the next bucket overwrites one that is not new
        size += new
        words += new
        if k > 0:
            bucket = _bucket(before * BASE + h, bits)
            new = np.int64(seen[bucket] != tag)
            seen[bucket] = tag
            buckets[size] = bucket
            size += new
            pairs += new
        before = h
    if n > 0:
        counts[1], counts[2], counts[3] = words, n - 1, pairs
    return size


def ngram_places(text: str, bits: int) -> tuple[str, Places]:
    """Find every occurrence of a text's words and pairs, in order of their last word.

    Also return the text that the positions refer to: `text`, in lower case if a capital's lower case depends on its
    context.
    """
    texts = pa.array([text], pa.large_string())
    n, *places = _places(*text_views(texts), bits)
    if n == IN_CONTEXT:
        texts = lowered(texts, np.arange(1))
        n, *places = _places(*text_views(texts), bits)
    return texts[0].as_py(), Places(*places)


@kernel
def _places(offsets: Offsets, data: Bytes, bits: int) -> tuple[int, Buckets, Offsets, Offsets]:
    longest = room(offsets)
    out = np.empty(GROWTH * longest + 8, dtype=np.uint8)
    starts = np.empty(longest // 2 + 3, dtype=np.int64)
    words, finishes = np.empty_like(starts), np.empty_like(starts)
    n = split_words(data, offsets[0], offsets[1], out, starts)
    split_places(data, offsets[0], offsets[1], words, finishes)
    buckets = np.empty(2 * max(n, 0), dtype=np.int32)
    begins, ends = np.empty(len(buckets), dtype=np.int64), np.empty(len(buckets), dtype=np.int64)
    size = np.int64(0)
    before = np.uint64(0)
    for k in range(n):
        h = xxh3_64(out.ctypes.data + starts[k], starts[k + 1] - 1 - starts[k])
        if k > 0:
            buckets[size], begins[size], ends[size] = _bucket(before * BASE + h, bits), words[k - 1], finishes[k]
            size += 1
        buckets[size], begins[size], ends[size] = _bucket(h, bits), words[k], finishes[k]
        size += 1
        before = h
    return n, buckets[:size], begins[:size], ends[:size]

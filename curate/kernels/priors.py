"""Look up the tokens of lines in a vocabulary: count unknown tokens, and sum the priors of known tokens."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.kernels.arrow import Bytes, Offsets, text_views
from curate.kernels.jit import kernel
from curate.kernels.xxh3 import xxh3_64

Hashes = npt.NDArray[np.uint64]
Logs = npt.NDArray[np.float64]
SPACE = 0x20


class Vocabulary(NamedTuple):
    """Priors of words by the hash of their bytes: a hash table that is at most half full."""

    keys: Hashes  # 0 in a free slot
    priors: Logs  # of the word in each slot


class Priors(NamedTuple):
    """Sums over the tokens of each text."""

    tokens: Offsets  # number of tokens
    unknown: Offsets  # number of tokens that are not in the vocabulary
    sums: Logs  # of the priors of known tokens
    squares: Logs  # of the squared priors of known tokens


def vocabulary_of(words: pa.Array, priors: Logs) -> Vocabulary:
    """Build a vocabulary of distinct words (string or large_string) and their priors."""
    size = 1 << max(4, (2 * len(words)).bit_length())
    keys, values = np.zeros(size, dtype=np.uint64), np.zeros(size, dtype=np.float64)
    _fill(*text_views(words), priors, keys, values)
    return Vocabulary(keys, values)


def count_priors(lines: pa.Array, owners: pa.Array, texts: int, vocabulary: Vocabulary) -> Priors:
    """Sum the priors of the tokens of lines, by text.

    In:     lines of tokens separated by one space (string or large_string); the index of the text of each, ascending.
    Out:    arrays of length `texts`.
    Cost:   one hash and one lookup per token.
    Oracle: a dictionary (tests/filters/language/test_perplexity.py).
    """
    return Priors(*_count(*text_views(lines), owners.to_numpy(), texts, vocabulary))


@kernel
def _hash(data: Bytes, start: int, end: int) -> int:
    """The hash of a token; never 0, which marks a free slot."""
    h = xxh3_64(data.ctypes.data + start, end - start)
    return h if h != np.uint64(0) else np.uint64(1)


@kernel
def _fill(offsets: Offsets, data: Bytes, priors: Logs, keys: Hashes, values: Logs) -> None:
    mask = np.uint64(len(keys) - 1)
    for word in range(len(offsets) - 1):
        h = _hash(data, offsets[word], offsets[word + 1])
        place = h & mask
        while keys[place] != np.uint64(0):
            place = (place + np.uint64(1)) & mask
        keys[place], values[place] = h, priors[word]


@kernel
def _count(
    offsets: Offsets, data: Bytes, owners: Offsets, texts: int, vocabulary: Vocabulary
) -> tuple[Offsets, Offsets, Logs, Logs]:
    keys, priors = vocabulary.keys, vocabulary.priors
    mask = np.uint64(len(keys) - 1)
    tokens, unknown = np.zeros(texts, dtype=np.int64), np.zeros(texts, dtype=np.int64)
    sums, squares = np.zeros(texts, dtype=np.float64), np.zeros(texts, dtype=np.float64)
    for line in range(len(offsets) - 1):
        text = owners[line]
        start, end = offsets[line], offsets[line + 1]
        for i in range(start, end + 1):
            if i < end and data[i] != SPACE:
                continue
            h = _hash(data, start, i)
            place = h & mask
            while keys[place] != h and keys[place] != np.uint64(0):
                place = (place + np.uint64(1)) & mask
            tokens[text] += 1
            if keys[place] == h:
                sums[text] += priors[place]
                squares[text] += priors[place] * priors[place]
            else:
                unknown[text] += 1
            start = i + 1
    return tokens, unknown, sums, squares

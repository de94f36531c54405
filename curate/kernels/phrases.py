"""Find phrases in text, ignoring ASCII case."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from curate.kernels.arrow import Bytes, Counts, Offsets, count_columns, plain_text, text_views
from curate.kernels.jit import kernel, part

# English letters from frequent to rare: the rarest byte of a phrase is its anchor in the search.
_FREQUENT = " etaoinshrdlcumwfgypbvkjxqz"
LOWER = np.arange(256, dtype=np.uint8)
LOWER[ord("A") : ord("Z") + 1] += 32


class Phrases(NamedTuple):
    """Phrases indexed by their rarest byte, the anchor."""

    letters: Bytes  # of all phrases, in lower case, concatenated
    bounds: Offsets  # offset of each phrase in `letters`
    anchors: Offsets  # index of each phrase's anchor within the phrase
    first: Offsets  # for each byte, the first phrase with that anchor, or -1
    following: Offsets  # for each phrase, the next phrase with the same anchor, or -1
    codes: Offsets  # code of each phrase


@cache
def phrase_table(phrases: Sequence[tuple[str, int]]) -> Phrases:
    """Index lower-case phrases, each with its code."""
    raw = [phrase.encode() for phrase, _ in phrases]
    first, following = np.full(256, -1, dtype=np.int64), np.full(len(raw), -1, dtype=np.int64)
    anchors = np.array([max(range(len(p)), key=lambda k: _FREQUENT.find(chr(p[k])) % 99) for p in raw], dtype=np.int64)
    for k in reversed(range(len(raw))):
        byte = raw[k][anchors[k]]
        following[k] = first[byte]
        first[byte] = first[ord(chr(byte).upper()) if byte < 0x80 else byte] = k
    return Phrases(
        np.frombuffer(b"".join(raw), np.uint8).copy(),
        np.cumsum([0, *map(len, raw)], dtype=np.int64),
        anchors,
        first,
        following,
        np.array([code for _, code in phrases], dtype=np.int64),
    )


def count_phrases(texts: pa.Array, phrases: Sequence[str]) -> dict[str, pa.Array]:
    """Count each phrase (lower case) in each text, with A to Z as a to z; occurrences within a word count too.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    int64 columns by phrase, null where the text is null.
    Cost:   one pass over the bytes; allocates only the result.
    Oracle: `str.startswith` at every position of the text (tests/kernels/test_kernels_of_rules.py).
    """
    texts = plain_text(texts)
    table = phrase_table(tuple((phrase, k) for k, phrase in enumerate(phrases)))
    return count_columns(texts, phrases, _count(*text_views(texts), table))


@kernel
def _count(offsets: Offsets, data: Bytes, phrases: Phrases) -> Counts:
    counts = np.zeros((len(offsets) - 1, len(phrases.codes)), dtype=np.int64)
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        for i in range(begin, end):
            k = phrases.first[data[i]]
            while k >= 0:
                counts[row, k] += is_phrase(data, begin, i - phrases.anchors[k], end, phrases, k)
                k = phrases.following[k]
    return counts


@part
def is_phrase(data: Bytes, begin: int, start: int, end: int, phrases: Phrases, k: int) -> bool:
    """Whether phrase `k` is at `start` and lies within data[begin:end]."""
    first, size = phrases.bounds[k], phrases.bounds[k + 1] - phrases.bounds[k]
    if start < begin or start + size > end:
        return False
    j = 0
    while j < size and LOWER[data[start + j]] == phrases.letters[first + j]:
        j += 1
    return j == size


@part
def phrase_in(data: Bytes, begin: int, end: int, phrases: Phrases) -> int:
    """The code of the first phrase in data[begin:end], ordered by anchor position; -1 if there is none."""
    for i in range(begin, end):
        k = phrases.first[data[i]]
        while k >= 0:
            if is_phrase(data, begin, i - phrases.anchors[k], end, phrases, k):
                return phrases.codes[k]
            k = phrases.following[k]
    return np.int64(-1)


class Needle(NamedTuple):
    """A single phrase, prepared for `find_needle`."""

    letters: Bytes  # in lower case
    steps: Offsets  # for each byte, distance from its last occurrence in the needle to the needle's end; 0 for its last


@cache
def needle(phrase: str) -> Needle:
    """Prepare a lower-case phrase for `find_needle`."""
    raw = phrase.encode()
    steps = np.full(256, len(raw), dtype=np.int64)
    for k, byte in enumerate(raw):
        steps[[byte, ord(chr(byte).upper()) if byte < 0x80 else byte]] = len(raw) - 1 - k
    return Needle(np.frombuffer(raw, np.uint8).copy(), steps)


@part
def find_needle(data: Bytes, i: int, end: int, needle: Needle) -> int:
    """The index of the first needle in data[i:end], or `end`: Horspool's algorithm, which skips most bytes."""
    last = len(needle.letters) - 1
    i += last
    while i < end:
        step = needle.steps[data[i]]
        if step == 0:
            k = 0
            while k < last and LOWER[data[i - last + k]] == needle.letters[k]:
                k += 1
            if k == last:
                return i - last
            step = 1
        i += step
    return end

"""Phrases in text, upper and lower case alike."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from curate.kernels.arrow import Bytes, Counts, Offsets, count_columns, plain_text, text_views
from curate.kernels.jit import kernel, part

# Letters of English text from frequent to rare: a phrase is looked for by its rarest byte.
_FREQUENT = " etaoinshrdlcumwfgypbvkjxqz"
LOWER = np.arange(256, dtype=np.uint8)
LOWER[ord("A") : ord("Z") + 1] += 32


class Phrases(NamedTuple):
    """Phrases as kernels look them up: by the byte at which each is told from other text."""

    letters: Bytes  # of all phrases, in lower case
    bounds: Offsets  # of each phrase in `letters`
    anchors: Offsets  # place of its rarest byte
    first: Offsets  # for each byte, the first phrase with that rarest byte, or -1
    following: Offsets  # for each phrase, the next one with the same, or -1
    codes: Offsets  # what each phrase is found as


@cache
def phrase_table(phrases: Sequence[tuple[str, int]]) -> Phrases:
    """Lower-case phrases, each with the code it is found as."""
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
    """How often each phrase (lower case) stands in a text, A to Z as a to z; one within a word counts too.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    int64 columns by phrase, null where the text is null.
    Cost:   one pass over the bytes; allocates only the result.
    Oracle: every place of the text compared with `str.startswith` (tests/kernels/test_kernels_of_rules.py).
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
    """Whether phrase `k` stands at `start`, within data[begin:end]."""
    first, size = phrases.bounds[k], phrases.bounds[k + 1] - phrases.bounds[k]
    if start < begin or start + size > end:
        return False
    j = 0
    while j < size and LOWER[data[start + j]] == phrases.letters[first + j]:
        j += 1
    return j == size


@part
def phrase_in(data: Bytes, begin: int, end: int, phrases: Phrases) -> int:
    """The code of the first phrase in data[begin:end], by the place of its rarest byte; -1 where there is none."""
    for i in range(begin, end):
        k = phrases.first[data[i]]
        while k >= 0:
            if is_phrase(data, begin, i - phrases.anchors[k], end, phrases, k):
                return phrases.codes[k]
            k = phrases.following[k]
    return np.int64(-1)


class Needle(NamedTuple):
    """One phrase, as `find_needle` looks for it."""

    letters: Bytes  # in lower case
    steps: Offsets  # for each byte, how far the needle's end is from the last such byte in it: 0 for its last byte


@cache
def needle(phrase: str) -> Needle:
    """A lower-case phrase to look for on its own."""
    raw = phrase.encode()
    steps = np.full(256, len(raw), dtype=np.int64)
    for k, byte in enumerate(raw):
        steps[[byte, ord(chr(byte).upper()) if byte < 0x80 else byte]] = len(raw) - 1 - k
    return Needle(np.frombuffer(raw, np.uint8).copy(), steps)


@part
def find_needle(data: Bytes, i: int, end: int, needle: Needle) -> int:
    """The place of the first needle in data[i:end], or `end`: Horspool's search, which reads few bytes of a text."""
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

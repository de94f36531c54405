"""Count the words of a list in text, as whole words, together or by label."""

import unicodedata
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.kernels.arrow import Bytes, Counts, Offsets, count_columns, plain_text, text_views
from curate.kernels.jit import inline, kernel, part
from curate.kernels.phrases import LOWER
from curate.kernels.unicode import (
    ASCII_CLASS,
    CLASS_BLOCKS,
    CLASS_INDEX,
    LOWER_BLOCKS,
    LOWER_INDEX,
    MARK,
    SPACELESS,
    UNSTABLE,
    WORD,
    class_of,
    decode,
    lower_of,
)

ASCII_WORD = np.zeros(256, dtype=np.bool_)
ASCII_WORD[:128] = (ASCII_CLASS & WORD) != 0
CODE_BITS = 21
FREE = -1
# Characters that differ only by position or typography, and are compared as equal: Σ and ς as σ, ’ as '.
ALIKE = {"Σ": "σ", "ς": "σ", "’": "'"}
CAPITAL_SIGMA, FINAL_SIGMA, SIGMA, CURLY, APOSTROPHE = (ord(c) for c in "Σςσ’'")
SPREAD = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing


class WordTable(NamedTuple):
    """A trie of a list of words, with its edges in a hash table, so that its size is proportional to the list."""

    pairs: Bytes  # prefilter: 1 for the first two bytes of a word, in lower case
    keys: Offsets  # (node, letter) of each edge, packed; open addressing with linear probing
    nodes: npt.NDArray[np.int32]  # the node that each edge leads to
    ends: Bytes  # the word's label for each node at which one ends, else 0


def word_table(words: Iterable[str]) -> WordTable:
    """Build the trie of the words to find; case, and whether accents are composed, do not matter."""
    return labelled_table(dict.fromkeys(words, 1))


def labelled_table(labels: Mapping[str, int]) -> WordTable:
    """Build the trie of words with a label each, from 1 to 255."""
    edges: dict[tuple[int, int], int] = {}
    ends = {0: 0}
    pairs = np.zeros((256, 256), dtype=np.uint8)
    forms = {unicodedata.normalize(form, word): label for word, label in labels.items() for form in ("NFC", "NFD")}
    for word, label in sorted(forms.items()):
        node = 0
        for letter in word:
            node = edges.setdefault((node, folded(letter)), len(edges) + 1)
            ends.setdefault(node, 0)
        ends[node] = label
        for first in _first_bytes(word[0]):
            ascii_first = first < 0x80 and len(word) > 1
            pairs[first, _first_bytes(word[1]) if ascii_first else slice(None)] = 1
    size = 1 << max(4, (2 * len(edges)).bit_length())
    keys, nodes = np.full(size, FREE, dtype=np.int64), np.zeros(size, dtype=np.int32)
    packed = np.array([node << CODE_BITS | code for node, code in edges], dtype=np.int64)
    _fill(keys, nodes, packed, np.array(list(edges.values()), dtype=np.int32))
    return WordTable(pairs.reshape(-1), keys, nodes, np.array([ends[k] for k in range(len(ends))], dtype=np.uint8))


def count_labelled_words(texts: pa.Array, table: WordTable, labels: int) -> npt.NDArray[np.int64]:
    r"""Count the words of a list by their labels, each as a whole word, ignoring case; see `count_listed_words`.

    Where several words of the list begin at one place, the longest counts.

    In:     string or large_string, sliced or not, nulls allowed; the words from `labelled_table`.
    Out:    int64, a row per text and a column per label from 1 on; zeros where the text is null.
    Cost:   one pass over the bytes; allocates only the result.
    Oracle: the longest word at every place of a text, in Python (tests/filters/test_block.py).
    """
    return _count(*text_views(plain_text(texts)), table, labels)


def _first_bytes(letter: str) -> list[int]:
    """The possible first bytes, ASCII in lower case, of a letter and of its variants in case and in ALIKE."""
    alike = [letter, *(c for c in ALIKE if folded(c) == folded(letter))]
    ascii_ones = {int(LOWER[ord(c)]) for c in [*alike, chr(folded(letter))] if c.isascii()}
    return [*ascii_ones, *(range(0x80, 0x100) if not all(c.isascii() for c in alike) else ())]


def folded(letter: str) -> int:
    """The code point by which a letter is compared: its lower case if that is a single letter in any context."""
    if letter in ALIKE:
        return ord(ALIKE[letter])
    code = ord(letter)
    if CLASS_BLOCKS[CLASS_INDEX[code >> 7], code & 127] & UNSTABLE:
        return code
    return code + int(LOWER_BLOCKS[LOWER_INDEX[code >> 7], code & 127])


def count_listed_words(texts: pa.Array, table: WordTable) -> pa.Array:
    r"""Count the positions in a text at which a word of the list begins as a whole word, ignoring case.

    A match is a whole word if no letter or digit at either end of it is adjacent to another letter or digit. Letters of
    scripts without spaces may be adjacent. An accent or vowel sign after a letter belongs to the letter's word.

    In:     string or large_string, sliced or not, nulls allowed; the words from `word_table`.
    Out:    int64, null where the text is null.
    Cost:   one pass over the bytes; allocates only the result.
    Oracle: a test of every position of a text in Python (tests/filters/test_block.py).
    """
    texts = plain_text(texts)
    return count_columns(texts, ["words"], _count(*text_views(texts), table, 1))["words"]


@inline
def _place(key: int, size: int) -> int:
    return np.int64((np.uint64(key) * SPREAD) >> np.uint64(20)) & (size - 1)


@kernel
def _fill(keys: Offsets, nodes: npt.NDArray[np.int32], edges: Offsets, following: npt.NDArray[np.int32]) -> None:
    for k in range(len(edges)):
        place = _place(edges[k], len(keys))
        while keys[place] != FREE:
            place = (place + 1) & (len(keys) - 1)
        keys[place], nodes[place] = edges[k], following[k]


@kernel
def _count(offsets: Offsets, data: Bytes, table: WordTable, labels: int) -> Counts:
    counts = np.zeros((len(offsets) - 1, labels), dtype=np.int64)
    for row in range(len(offsets) - 1):
        i, end = offsets[row], offsets[row + 1]
        within = False
        while i < end:
            byte = data[i]
            size, joins = 1, ASCII_WORD[byte]  # joins: whether it forms one word with an adjacent character that joins
            mark = False
            if byte >= 0x80:
                code, size = decode(data, i, end)
                joins = _joins(code)
                mark = within and _is_mark(code)
            if not (within and joins) and not mark:
                second = LOWER[data[i + 1]] if i + 1 < end else 0
                if table.pairs[np.int64(LOWER[byte]) << 8 | np.int64(second)]:
                    label = _longest_here(data, i, end, table)
                    if label:
                        counts[row, label - 1] += 1
            i += size
            if joins:
                i = _word_end(data, i, end)
            within = joins or mark
    return counts


@part
def _longest_here(data: Bytes, i: int, end: int, table: WordTable) -> int:
    """The label of the longest word of the list that begins at `i` and ends at a word boundary; 0 for none."""
    node = label = np.int64(0)
    while i < end:
        code, size = decode(data, i, end)
        code = _folded(code)
        key = node << CODE_BITS | np.int64(code)
        place = _place(key, len(table.keys))
        while table.keys[place] != key and table.keys[place] != FREE:
            place = (place + 1) & (len(table.keys) - 1)
        if table.keys[place] == FREE:
            return label
        node = np.int64(table.nodes[place])
        i += size
        if table.ends[node]:
            whole = i == end or not (_joins(code) or _is_mark(code))
            if not whole:
                code, _ = decode(data, i, end)
                whole = not (_joins(code) or _is_mark(code))
            if whole:
                label = np.int64(table.ends[node])
    return label


@inline
def _joins(code: int) -> bool:
    """Whether a character forms one word with adjacent ones: a word character, except of a script without spaces."""
    bits = np.int64(class_of(code))
    return bits & WORD != 0 and bits & SPACELESS == 0


@inline
def _is_mark(code: int) -> bool:
    """Whether a character is an accent or a vowel sign of the letter before it."""
    return np.int64(class_of(code)) & MARK != 0


@inline
def _folded(code: int) -> int:
    """`folded` for kernels."""
    if code in (CAPITAL_SIGMA, FINAL_SIGMA):
        return SIGMA
    if code == CURLY:
        return APOSTROPHE
    return lower_of(code) if class_of(code) & np.int64(UNSTABLE) == 0 else code


@part
def _word_end(data: Bytes, i: int, end: int) -> int:
    while i < end and ASCII_WORD[data[i]]:
        i += 1
    return i

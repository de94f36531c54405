"""Words of a list in text, as whole words."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.kernels.arrow import Bytes, Counts, Offsets, count_columns, plain_text, text_views
from curate.kernels.jit import kernel
from curate.kernels.phrases import LOWER
from curate.kernels.unicode import ASCII_CLASS, WORD, class_of, decode

Trie = npt.NDArray[np.int16]  # next node by node and symbol; a word ends at a node where symbol 0 leads anywhere

ASCII_WORD = np.zeros(256, dtype=np.bool_)
ASCII_WORD[:128] = (ASCII_CLASS & WORD) != 0


def count_listed_words(texts: pa.Array, words: Sequence[str]) -> pa.Array:
    r"""Places in a text where a word of the list (lower case) begins, as a whole word (`\b` in re), A to Z as a to z.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    int64, null where the text is null.
    Cost:   one pass over the bytes; allocates only the result.
    Oracle: `re` with look-around over each text (tests/test_kernels_of_rules.py).
    """
    texts = plain_text(texts)
    return count_columns(texts, ["words"], _count(*text_views(texts), *_trie(tuple(words))))["words"]


@cache
def _trie(words: Sequence[str]) -> tuple[Bytes, Trie]:
    """The symbol of each byte (0: none) and the trie over symbols."""
    symbols = np.zeros(256, dtype=np.uint8)
    used = sorted({byte for word in words for byte in word.encode()})
    symbols[used] = np.arange(1, len(used) + 1, dtype=np.uint8)
    nodes: list[dict[int, int]] = [{}]
    for word in words:
        node = 0
        for byte in word.encode():
            following = nodes[node].setdefault(int(symbols[byte]), len(nodes))
            if following == len(nodes):
                nodes.append({})
            node = following
        nodes[node][0] = 1
    trie = np.zeros((len(nodes), len(used) + 1), dtype=np.int16)
    for k, node_of in enumerate(nodes):
        for symbol, following in node_of.items():
            trie[k, symbol] = following
    return symbols[LOWER], trie


@kernel
def _count(offsets: Offsets, data: Bytes, symbols: Bytes, trie: Trie) -> Counts:
    counts = np.zeros((len(offsets) - 1, 1), dtype=np.int64)
    for row in range(len(offsets) - 1):
        i, end = offsets[row], offsets[row + 1]
        within = False
        while i < end:
            byte = data[i]
            if not within and trie[0, symbols[byte]] and _begins_here(data, i, end, symbols, trie):
                counts[row, 0] += 1
            if byte < 0x80:
                within = ASCII_WORD[byte]
                i += 1
                while within and i < end and ASCII_WORD[data[i]]:
                    i += 1
            else:
                code, size = decode(data, i, end)
                within = class_of(code) & np.int64(WORD) != 0
                i += size
    return counts


@kernel
def _begins_here(data: Bytes, i: int, end: int, symbols: Bytes, trie: Trie) -> bool:
    """Whether a word of the list begins at `i` and ends before a character that is of no word."""
    node = np.int64(0)
    while i < end:
        symbol = symbols[data[i]]
        node = np.int64(trie[node, symbol]) if symbol else np.int64(0)
        if node == 0:
            return False
        i += 1
        if trie[node, 0]:
            if i == end:
                return True
            code, _ = decode(data, i, end)
            if class_of(code) & np.int64(WORD) == 0:
                return True
    return False

r"""Tokenise text for word-level language models: lines of tokens separated by one space. The format is `words-1`.

First, curly quotes, dashes and the ellipsis become ' " - . and control characters, other invisible characters and
variation selectors are removed. Then the text is split at \n, and lines without tokens are dropped. A token is

* a run of word characters (`\w`, and marks after them), lower-cased letter by letter, each ASCII digit as 0; an
  apostrophe between two word characters belongs to the run;
* in scripts without spaces, a single letter with the marks after it;
* any other character that is not white space; a run of the same such character is one token.

`<` is a token, so `<s>`, `</s>` and `<unk>` never are.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from curate.kernels.arrow import Bytes, Offsets, null_mask, plain_text, text_views
from curate.kernels.jit import inline, kernel
from curate.kernels.unicode import (
    ASCII_CLASS,
    CONTROL,
    MARK,
    REPLACEMENT,
    SPACE,
    SPACELESS,
    UNSTABLE,
    WORD,
    class_of,
    decode,
    encode,
    lower_of,
)

FORM = "words-1"  # to be incremented when the same text gives different lines
GROWTH = 3  # worst case "\xff,": a broken byte becomes U+FFFD, three bytes, and each token is followed by a space

# The output byte for an ASCII byte: BLANK between tokens, OTHER where the byte alone does not decide.
BLANK, OTHER, NEWLINE, APOSTROPHE = 0x20, 0xFF, 0x0A, 0x27
STREAM = np.full(256, OTHER, dtype=np.uint8)
STREAM[:128] = np.where(ASCII_CLASS & WORD, np.frombuffer(bytes(range(128)).lower(), np.uint8), OTHER)
STREAM[:128][(ASCII_CLASS & SPACE) != 0] = BLANK
STREAM[ord("0") : ord("9") + 1] = ord("0")
STREAM[NEWLINE] = OTHER

LETTER = -1  # value of `mark` in `_line`: the last token is a spaceless letter, which only marks extend
DROPPED = 0  # NUL may serve as the flag, since control characters are dropped too
PUNCTUATION_FROM, PUNCTUATION_TO = 0x2000, 0x2070
FOLDED = np.arange(PUNCTUATION_FROM, PUNCTUATION_TO)  # replacement of each character of General Punctuation
for _codes, _becomes in (
    ((0x200B, 0x2010), DROPPED),  # zero-width spaces, joiners, direction marks
    ((0x2010, 0x2016), ord("-")),
    ((0x2018, 0x201A), APOSTROPHE),
    ((0x201B, 0x201C), APOSTROPHE),
    ((0x201C, 0x2020), ord('"')),
    ((0x2026, 0x2027), ord(".")),
    ((0x202A, 0x202F), DROPPED),
    ((0x2060, 0x2070), DROPPED),
):
    FOLDED[_codes[0] - PUNCTUATION_FROM : _codes[1] - PUNCTUATION_FROM] = _becomes
SOFT_HYPHEN, BYTE_ORDER_MARK, MINUS = 0xAD, 0xFEFF, 0x2212
SELECTORS_FROM, SELECTORS_TO = 0xFE00, 0xFE10
SURROGATES_FROM, SURROGATES_TO = 0xD800, 0xE000
# Capitals that `lower_of` does not cover, and the first letter of their lower case.
CAPITALS = np.array([ord(c) for c in "\u0130\u03a3\u1fbb\u1fc9\u1fcb\u1fdb\u1feb\u1ff9\u1ffb\u2126\u212a\u212b"])
SMALL = np.array([ord(chr(c).lower()[0]) for c in CAPITALS])


class Lines(NamedTuple):
    """Tokenised lines of several texts."""

    lines: pa.Array  # large_string without nulls, each with at least one token
    owners: pa.Array  # int64: index of the text of each line, ascending
    tokens: pa.Array  # int64: number of tokens of each text; null for a null text


def lm_lines(texts: pa.Array) -> Lines:
    """Tokenise texts into the lines that a word-level language model scores, in the format `FORM`.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    lines in the order of the texts; a text without tokens has none.
    Cost:   one pass over the bytes; memory for three times the bytes, of which only the lines are kept.
    Oracle: `re` over text whose characters were folded one by one (tests/kernels/test_lm_words.py).
    """
    texts = plain_text(texts)
    bounds, data, owners, tokens = _lines(*text_views(texts))
    lines = pa.LargeStringArray.from_buffers(len(owners), pa.py_buffer(bounds), pa.py_buffer(data))
    return Lines(lines, pa.array(owners), pa.array(tokens, mask=null_mask(texts)))


@inline
def _folded(code: int) -> int:
    """The character that replaces a character, or DROPPED."""
    if PUNCTUATION_FROM <= code < PUNCTUATION_TO:
        return FOLDED[code - PUNCTUATION_FROM]
    if SURROGATES_FROM <= code < SURROGATES_TO:
        return np.int64(REPLACEMENT)
    if code in (SOFT_HYPHEN, BYTE_ORDER_MARK) or SELECTORS_FROM <= code < SELECTORS_TO:
        return np.int64(DROPPED)
    if code == MINUS:
        return np.int64(ord("-"))
    bits = np.int64(class_of(code))
    if bits & CONTROL:
        return np.int64(DROPPED)
    if bits & UNSTABLE:
        for k in range(len(CAPITALS)):
            if code == CAPITALS[k]:
                return SMALL[k]
    return np.int64(lower_of(code))


@inline
def _continues(data: Bytes, i: int, end: int) -> bool:
    """Whether the next character that is not dropped, from byte `i` on, is a word character of a spaced script."""
    while i < end:
        code, length = decode(data, i, end)
        code = _folded(code)
        if code != DROPPED:
            bits = np.int64(class_of(code))
            return bits & WORD != 0 and bits & SPACELESS == 0
        i += length
    return False


@inline
def _closed(out: Bytes, size: int, inside: int) -> int:
    """Write a space after the open token, if any, and return the size of `out`."""
    out[size] = BLANK
    return size + inside


@kernel
def _lines(offsets: Offsets, data: Bytes) -> tuple[Offsets, Bytes, Offsets, Offsets]:
    count = len(offsets) - 1
    most = np.int64(count)
    for i in range(offsets[0], offsets[count]):
        most += data[i] == NEWLINE
    bounds = np.zeros(most + 1, dtype=np.int64)
    owners = np.empty(most, dtype=np.int64)
    tokens = np.zeros(count, dtype=np.int64)
    out = np.empty(GROWTH * (offsets[count] - offsets[0]) + 8, dtype=np.uint8)
    lines = size = np.int64(0)
    for row in range(count):
        i, end = offsets[row], offsets[row + 1]
        n = np.int64(0)
        while i < end:
            start = size
            i, size, found = _line(data, i, end, out, size)
            n += found
            if size > start:
                size -= 1  # drop the space after the last token
                lines += 1
                bounds[lines] = size
                owners[lines - 1] = row
        tokens[row] = n
    return bounds[: lines + 1].copy(), out[:size].copy(), owners[:lines].copy(), tokens


@inline
def _line(data: Bytes, i: int, end: int, out: Bytes, size: int) -> tuple[int, int, int]:
    """Write the tokens of one line from byte `i` on, each followed by a space.

    Returns the index after the line, the size of `out`, and the number of tokens.
    """
    n = inside = np.int64(0)  # inside: whether a word is open, which another letter would extend
    mark = np.int64(0)  # the character of the last token where a repetition extends it; LETTER where a mark does
    while i < end:
        byte = STREAM[data[i]]
        if byte != OTHER:  # branch-free, because word ends are too frequent to be predicted
            word = np.int64(byte != BLANK)
            out[size] = byte
            n += word & ~inside
            size += word | inside
            inside = word
            mark = np.int64(0)
            i += 1
            continue
        if data[i] == NEWLINE:
            i += 1
            break
        code, length = decode(data, i, end)
        i += length
        code = _folded(code)
        if code == DROPPED:
            continue
        bits = np.int64(class_of(code))
        if bits & SPACE:
            size = _closed(out, size, inside)
            inside = mark = np.int64(0)
        elif inside and (
            (bits & WORD and not bits & SPACELESS) or bits & MARK or (code == APOSTROPHE and _continues(data, i, end))
        ):
            size = encode(out, size, code)
        elif mark == LETTER and bits & MARK:
            size = encode(out, size - 1, code)
            out[size] = BLANK
            size += 1
        elif bits & WORD and not bits & SPACELESS:
            size = encode(out, size, code)
            n += 1
            inside = np.int64(1)
            mark = np.int64(0)
        elif code != mark:
            size = encode(out, _closed(out, size, inside), code)
            out[size] = BLANK
            size += 1
            n += 1
            inside = np.int64(0)
            mark = np.int64(LETTER) if bits & SPACELESS else np.int64(code)
    return i, _closed(out, size, inside), n

r"""Text as language models of words read it: lines of tokens with one space between. Its form is named `words-1`.

A text is split at \n, and lines without tokens vanish. A token is

* a run of word characters (`\w`, and marks behind them), in lower case letter by letter, each ASCII digit as 0; an
  apostrophe between two of them belongs to the run;
* in scripts without spaces a letter by itself, with the marks behind it;
* any other character that is no white space; a run of one such character is one token.

Before that curly quotes, dashes and the ellipsis become ' " - . and control characters, other invisible ones and
variation selectors vanish, as if they were not there. `<` is a token, so `<s>`, `</s>` and `<unk>` are none.
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

FORM = "words-1"  # to be raised when the same text gives other lines
GROWTH = 3  # "\xff,": a broken byte becomes U+FFFD, which takes three bytes, and a space stands behind each token

# What an ASCII byte becomes in a line; BLANK between tokens, OTHER where more than the byte counts.
BLANK, OTHER, NEWLINE, APOSTROPHE = 0x20, 0xFF, 0x0A, 0x27
STREAM = np.full(256, OTHER, dtype=np.uint8)
STREAM[:128] = np.where(ASCII_CLASS & WORD, np.frombuffer(bytes(range(128)).lower(), np.uint8), OTHER)
STREAM[:128][(ASCII_CLASS & SPACE) != 0] = BLANK
STREAM[ord("0") : ord("9") + 1] = ord("0")
STREAM[NEWLINE] = OTHER

LETTER = -1  # in the place of the last token's character: one that any letter behind it leaves alone
DROPPED = 0  # control characters are dropped too, so that NUL needs no other sign
PUNCTUATION_FROM, PUNCTUATION_TO = 0x2000, 0x2070
FOLDED = np.arange(PUNCTUATION_FROM, PUNCTUATION_TO)  # what becomes of the characters of General Punctuation
for _codes, _becomes in (
    ((0x200B, 0x2010), DROPPED),  # zero width, joiners, marks of direction
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
# Capitals that `lower_of` knows nothing of, and the first letter of their lower case.
CAPITALS = np.array([ord(c) for c in "\u0130\u03a3\u1fbb\u1fc9\u1fcb\u1fdb\u1feb\u1ff9\u1ffb\u2126\u212a\u212b"])
SMALL = np.array([ord(chr(c).lower()[0]) for c in CAPITALS])


class Lines(NamedTuple):
    """The lines of some texts."""

    lines: pa.Array  # large_string without nulls, each of one token or more
    owners: pa.Array  # int64: the number of the text of each line, in order
    tokens: pa.Array  # int64: the tokens of each text; null for a null text


def lm_lines(texts: pa.Array) -> Lines:
    """The lines that a language model of words scores, in the form `FORM`.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    lines in the order of the texts; a text without tokens has none.
    Cost:   one pass over the bytes; memory for three times their number, of which the lines are kept.
    Oracle: `re` over text whose characters were folded one by one (tests/kernels/test_lm_words.py).
    """
    texts = plain_text(texts)
    bounds, data, owners, tokens = _lines(*text_views(texts))
    lines = pa.LargeStringArray.from_buffers(len(owners), pa.py_buffer(bounds), pa.py_buffer(data))
    return Lines(lines, pa.array(owners), pa.array(tokens, mask=null_mask(texts)))


@inline
def _folded(code: int) -> int:
    """What a character counts as, DROPPED for nothing."""
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
    """Whether the next character that counts, from byte `i` on, is of a word and no letter by itself."""
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
    """The size of `out` with a space behind the token that it ends with, if one is open."""
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
                size -= 1  # the space behind the last token
                lines += 1
                bounds[lines] = size
                owners[lines - 1] = row
        tokens[row] = n
    return bounds[: lines + 1].copy(), out[:size].copy(), owners[:lines].copy(), tokens


@inline
def _line(data: Bytes, i: int, end: int, out: Bytes, size: int) -> tuple[int, int, int]:
    """Write the tokens of one line from byte `i` on, each with a space behind it.

    Returns the first byte behind the line, the size of `out`, and the number of tokens.
    """
    n = inside = np.int64(0)  # inside a token that another letter would belong to
    mark = np.int64(0)  # the last token, where the same character behind it or a mark would not be a new one
    while i < end:
        byte = STREAM[data[i]]
        if byte != OTHER:  # without a branch: words are too short for the processor to foresee where they end
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

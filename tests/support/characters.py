"""Characters by class, from Python's own table of Unicode."""

import sys
import unicodedata

import numpy as np

from curate.kernels import unicode

SPACELESS_NAMES = ("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA",
                   "THAI", "LAO", "KHMER", "MYANMAR", "IDEOGRAPHIC ITERATION MARK", "HENTAIGANA", "YI SYLLABLE",
                   "JAVANESE", "BALINESE", "TAI LE", "NEW TAI LUE", "TAI THAM", "TAI VIET")  # fmt: skip


DIVIDERS = "\u0f0b\u0f0c\u1361"  # two Tibetan marks between syllables, the Ethiopic mark between words
# The table and this Python may know different versions of Unicode: text is made of what both know.
ALL_CODES = np.arange(sys.maxunicode + 1)
CLASSES = unicode.CLASS_BLOCKS[unicode.CLASS_INDEX[ALL_CODES >> 7], ALL_CODES & 127].astype(int)
LOWERED = ALL_CODES + unicode.LOWER_BLOCKS[unicode.LOWER_INDEX[ALL_CODES >> 7], ALL_CODES & 127]
CODES = [c for c in range(sys.maxunicode + 1) if CLASSES[c] & unicode.ASSIGNED and unicodedata.category(chr(c)) != "Cn"]


def is_spaceless(c):
    return c.isalpha() and unicodedata.name(c, "").startswith(SPACELESS_NAMES)


def kind_of(c):
    """White space or a divider, a letter of a script without spaces (N), another letter or digit (A), or else (O)."""
    if c.isspace() or c in DIVIDERS:
        return " "
    if is_spaceless(c):
        return "N"
    return "A" if c.isalpha() or unicodedata.category(c) == "Nd" else "O"

"""Classes and lower case of code points, and UTF-8 decoding and encoding."""

from pathlib import Path

import numpy as np

from curate.kernels.arrow import Bytes
from curate.kernels.jit import inline

# Class bits of code points, as make_unicode.py writes them.
SPACE = 1  # str.isspace()
LETTER = 2  # str.isalpha()
DIGIT = 4  # category Nd
UPPER = 8  # categories Lu, Lt
PUNCTUATION = 16  # categories P*
SYMBOL = 32  # categories S*
MARK = 64  # categories M*
CONTROL = 128  # category Cc, white space excepted
SPACELESS = 256  # a letter of a script written without spaces: Han, Kana, Thai, Lao, Khmer, Myanmar, Yi, Javanese …
WORD = 512  # `\w` in re
ASSIGNED = 1024  # assigned in the table's Unicode version
UNSTABLE = 2048  # its NFC or lower case depends on context or is not one to one
DIVIDER = 4096  # separates words or syllables as a space does elsewhere: the Tibetan tsheg, the Ethiopic wordspace

_tables = np.load(Path(__file__).parent / "unicode.npz")
UNICODE_VERSION = str(_tables["version"])
CLASS_INDEX = _tables["class_index"].astype(np.int64)
CLASS_BLOCKS = _tables["class_blocks"]
LOWER_INDEX = _tables["lower_index"].astype(np.int64)
LOWER_BLOCKS = _tables["lower_blocks"]
ASCII_CLASS = CLASS_BLOCKS[CLASS_INDEX[0]].copy()

REPLACEMENT = 0xFFFD


@inline
def class_of(code: int) -> int:
    """The class bits of code point `code`."""
    return CLASS_BLOCKS[CLASS_INDEX[code >> 7], code & 127]


@inline
def lower_of(code: int) -> int:
    """The lower case of code point `code`, which must not be UNSTABLE."""
    return code + LOWER_BLOCKS[LOWER_INDEX[code >> 7], code & 127]


@inline
def decode(data: Bytes, i: int, end: int) -> tuple[int, int]:
    """Decode the code point at byte `i`; return it and its length in bytes, which never passes `end`.

    A byte that cannot begin a character, or whose character would pass `end`, decodes as U+FFFD. Other invalid UTF-8
    decodes deterministically to arbitrary code points; `curate.maps.groups` replaces such texts by null beforehand.
    """
    lead = np.int64(data[i])
    code = REPLACEMENT
    size = 1
    if lead < 0x80:
        code = lead
    elif 0xC2 <= lead < 0xE0 and i + 1 < end:
        code = (lead & 0x1F) << 6 | (np.int64(data[i + 1]) & 0x3F)
        size = 2
    elif 0xE0 <= lead < 0xF0 and i + 2 < end:
        code = (lead & 0x0F) << 12 | (np.int64(data[i + 1]) & 0x3F) << 6 | (np.int64(data[i + 2]) & 0x3F)
        size = 3
    elif 0xF0 <= lead < 0xF5 and i + 3 < end:
        code = (lead & 0x07) << 18 | (np.int64(data[i + 1]) & 0x3F) << 12
        code |= (np.int64(data[i + 2]) & 0x3F) << 6 | (np.int64(data[i + 3]) & 0x3F)
        size = 4
        if code > 0x10FFFF:
            code = REPLACEMENT
    return code, size


@inline
def encode(out: Bytes, size: int, code: int) -> int:
    """Write code point `code` as UTF-8 to out[size:] and return the new size."""
    if code < 0x80:
        out[size] = code
        return size + 1
    if code < 0x800:
        out[size] = 0xC0 | code >> 6
        out[size + 1] = 0x80 | code & 0x3F
        return size + 2
    if code < 0x10000:
        out[size] = 0xE0 | code >> 12
        out[size + 1] = 0x80 | code >> 6 & 0x3F
        out[size + 2] = 0x80 | code & 0x3F
        return size + 3
    out[size] = 0xF0 | code >> 18
    out[size + 1] = 0x80 | code >> 12 & 0x3F
    out[size + 2] = 0x80 | code >> 6 & 0x3F
    out[size + 3] = 0x80 | code & 0x3F
    return size + 4

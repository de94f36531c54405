"""Operations on eight bytes at once, packed into one little-endian number.

A mask marks a byte by setting its top bit. Functions on ASCII bytes return meaningless masks for other bytes.
"""

import numpy as np

from curate.kernels.arrow import Bytes
from curate.kernels.jit import inline, load_u64

ONES, TOPS, LOW_SEVEN = (np.uint64(0x0101010101010101 * byte) for byte in (0x01, 0x80, 0x7F))
SPACES = np.uint64(0x2020202020202020)
# ASCII white space is TAB to CARRIAGE_RETURN and FILE_SEPARATOR to BLANK.
TAB, CARRIAGE_RETURN, FILE_SEPARATOR, BLANK = 0x09, 0x0D, 0x1C, 0x20


@inline
def load_until(data: Bytes, i: int, end: int) -> int:
    """Load eight bytes from `i` on, with spaces in place of those from `end` on."""
    eight = np.uint64(0)
    if i + 8 <= len(data):
        eight = load_u64(data, i)
    else:
        for k in range(i, end):
            eight |= np.uint64(data[k]) << np.uint64(8 * (k - i))
    return blank_from(eight, end - i) if i + 8 > end else eight


@inline
def blank_from(eight: int, n: int) -> int:
    """Keep the first `n` (0 to 7) of eight bytes; replace the others with spaces."""
    beyond = ~np.uint64(0) << np.uint64(8 * n)
    return eight & ~beyond | SPACES & beyond


@inline
def between(eight: int, low: int, high: int) -> int:
    """Mask of the ASCII bytes from `low` to `high`."""
    return (eight + ONES * np.uint64(0x80 - low)) & ~(eight + ONES * np.uint64(0x7F - high)) & TOPS


@inline
def spaces(eight: int) -> int:
    """Mask of the ASCII bytes that are white space."""
    return between(eight, TAB, CARRIAGE_RETURN) | between(eight, FILE_SEPARATOR, BLANK)


@inline
def number_of(mask: int) -> int:
    """Number of bytes that a mask marks."""
    return np.int64((mask >> np.uint64(7)) * ONES >> np.uint64(56))

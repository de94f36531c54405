"""Normalise text for exact deduplication: NFC, lower case, collapsed white space."""

import unicodedata
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from curate.kernels.arrow import Bytes, plain_text, text_views
from curate.kernels.eight import SPACES, TOPS, between, spaces
from curate.kernels.jit import kernel, load_u64, store_u64
from curate.kernels.unicode import SPACE, UNSTABLE, class_of, decode, encode, lower_of

_GROWTH = 3  # a broken byte becomes U+FFFD, which takes three bytes; lower-casing grows a text less
TOP, BYTE, LAST_BYTE = np.uint64(0x80), np.uint64(8), np.uint64(56)


def normalised(texts: pa.Array) -> Iterator[memoryview | bytes | None]:
    """Yield each text in NFC and lower case, stripped, each run of white space as one space, as UTF-8.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    one buffer per text, valid until the next is requested; None for null.
    Cost:   one pass; a text with characters that NFC or lower-casing treats in context goes through Python instead.
    Oracle: `" ".join(unicodedata.normalize("NFC", text).lower().split())` (tests/kernels/test_kernels.py).
    """
    texts = plain_text(texts)
    offsets, data = text_views(texts)
    present = texts.is_valid().to_numpy(zero_copy_only=False)
    longest = int(np.diff(offsets).max(initial=0))
    scratch = np.empty(longest * _GROWTH + 8, dtype=np.uint8)
    view = memoryview(scratch)
    for row in range(len(texts)):
        start, end = offsets[row], offsets[row + 1]
        if not present[row]:
            yield None
        elif (size := _fold(data, start, end, scratch)) >= 0:
            yield view[:size]
        else:
            text = data[start:end].tobytes().decode(errors="replace")
            yield " ".join(unicodedata.normalize("NFC", text).lower().split()).encode()


@kernel
def _fold(data: Bytes, start: int, end: int, out: Bytes) -> int:
    """Write the normalised text to `out` and return its size, or -1 if a character depends on its context."""
    size = 0
    i = start
    after_space = TOP  # TOP at the start of the text and after a space, else 0
    slow_until = i
    while i < end:
        if i >= slow_until and i + 8 <= end:  # the common case: eight bytes of ASCII without two spaces in a row
            eight = load_u64(data, i)
            space = spaces(eight)
            if (eight & TOPS) | (space & (space << BYTE | after_space)) == np.uint64(0):
                blank = (space >> np.uint64(7)) * np.uint64(0xFF)
                lower = eight | between(eight, 0x41, 0x5A) >> np.uint64(2)
                store_u64(out, size, lower & ~blank | SPACES & blank)
                after_space = space >> LAST_BYTE
                size += 8
                i += 8
                continue
            slow_until = i + 8
        code, length = np.int64(data[i]), 1
        if code >= 0x80:
            code, length = decode(data, i, end)
        i += length
        bits = np.int64(class_of(code))
        if bits & UNSTABLE:
            return -1
        if bits & SPACE:
            if after_space == np.uint64(0):
                out[size] = 0x20
                size += 1
            after_space = TOP
            continue
        after_space = np.uint64(0)
        code = lower_of(code)
        size = encode(out, size, code)
    return size - (size > 0 and after_space != np.uint64(0))

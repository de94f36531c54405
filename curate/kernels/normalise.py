"""Normalised text: NFC, lower case, white space collapsed. What makes two copies the same."""

import unicodedata
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from curate.kernels.arrow import Bytes, plain_text, text_views
from curate.kernels.jit import kernel
from curate.kernels.unicode import (
    ASCII_CLASS,
    LOWER_BLOCKS,
    LOWER_INDEX,
    SPACE,
    UNSTABLE,
    class_of,
    decode,
    encode,
    lower_of,
)

_GROWTH = 3  # a broken byte becomes U+FFFD, which takes three; lower case takes less
ASCII_LOWER = (np.arange(128) + LOWER_BLOCKS[LOWER_INDEX[0]]).astype(np.uint8)


def normalised(texts: pa.Array) -> Iterator[memoryview | bytes | None]:
    """Each text in NFC, lower case, with runs of white space as one space and none at the ends, as UTF-8.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    one buffer a text, valid until the next is asked for; None for null.
    Cost:   one pass; a text with characters that NFC or lower-casing treats in context goes through Python instead.
    Oracle: `" ".join(unicodedata.normalize("NFC", text).lower().split())` (tests/test_kernels.py).
    """
    texts = plain_text(texts)
    offsets, data = text_views(texts)
    present = texts.is_valid().to_numpy(zero_copy_only=False)
    longest = int(np.diff(offsets).max(initial=0))
    scratch = np.empty(longest * _GROWTH + 4, dtype=np.uint8)
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
    """Write the normalised text to `out` and return its size, or -1 where a character needs its context."""
    size = 0
    i = start
    space = False
    while i < end:
        byte = data[i]
        if byte < 0x80:
            i += 1
            if ASCII_CLASS[byte] & SPACE:
                space = size > 0
                continue
            if space:
                out[size] = 32
                size += 1
                space = False
            out[size] = ASCII_LOWER[byte]
            size += 1
            continue
        code, length = decode(data, i, end)
        i += length
        bits = np.int64(class_of(code))
        if bits & UNSTABLE:
            return -1
        if bits & SPACE:
            space = size > 0
            continue
        if space:
            out[size] = 32
            size += 1
            space = False
        code = lower_of(code)
        size = encode(out, size, code)
    return size

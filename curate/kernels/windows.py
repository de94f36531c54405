"""Sample a few evenly spaced windows of each text, for measurements that need only part of a document."""

import numpy as np
import pyarrow as pa

from curate.kernels.arrow import Bytes, Offsets, plain_text, text_views
from curate.kernels.jit import kernel

CONTINUATION = 0x80  # the upper two bits (mask 0xC0) of a UTF-8 continuation byte


def windows(texts: pa.Array, count: int, size: int) -> pa.Array:
    r"""Join `count` windows of about `size` bytes of each text, first at its start, last at its end, into one line.

    In:     string or large_string, sliced or not, nulls allowed; count >= 2.
    Out:    large_string, null for null: the windows separated by a space, with line ends (\n, \r) as spaces; a text of
            at most count * size bytes is taken whole. Windows begin and end at character boundaries.
    Cost:   proportional to the bytes of the windows.
    Oracle: slices of `bytes` (tests/kernels/test_windows.py).
    """
    texts = plain_text(texts)
    offsets, data = text_views(texts)
    bounds, out = _windows(offsets, data, count, size)
    validity = texts.is_valid().cast(pa.uint8()).to_numpy() if texts.null_count else None
    bitmap = None if validity is None else pa.py_buffer(np.packbits(validity, bitorder="little"))
    return pa.Array.from_buffers(
        pa.large_string(), len(texts), [bitmap, pa.py_buffer(bounds), pa.py_buffer(out[: bounds[-1]])]
    )


@kernel
def _windows(offsets: Offsets, data: Bytes, count: int, size: int) -> tuple[Offsets, Bytes]:
    rows = len(offsets) - 1
    bounds = np.zeros(rows + 1, dtype=np.int64)
    room = np.int64(0)
    for row in range(rows):
        length = offsets[row + 1] - offsets[row]
        room += length if length <= count * size else count * (size + 5)
    out = np.empty(room, dtype=np.uint8)
    n = np.int64(0)
    for row in range(rows):
        start, end = offsets[row], offsets[row + 1]
        if end - start <= count * size:
            n = _copy(data, start, end, out, n)
        else:
            for k in range(count):
                left = start + (end - start - size) * k // (count - 1)
                if k:
                    out[n] = 0x20
                    n += 1
                n = _copy(data, _boundary(data, left, end), _boundary(data, left + size, end), out, n)
        bounds[row + 1] = n
    return bounds, out


@kernel
def _boundary(data: Bytes, i: int, end: int) -> int:
    """The first character boundary at or after `i`, at most three bytes later."""
    stop = min(end, i + 4)
    while i < stop and data[i] & 0xC0 == CONTINUATION:
        i += 1
    return i


@kernel
def _copy(data: Bytes, start: int, end: int, out: Bytes, n: int) -> int:
    for i in range(start, end):
        byte = data[i]
        out[n] = 0x20 if byte in (0x0A, 0x0D) else byte
        n += 1
    return n

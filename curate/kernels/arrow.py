"""Conversions between Arrow arrays and the NumPy views that kernels loop over."""

import sys
import types
import warnings
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Offsets = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]  # one row per text, one column per count
A = TypeVar("A", bound=npt.NDArray[Any])


def plain_text(texts: pa.Array) -> pa.Array:
    """Convert texts to string or large_string: decode dictionaries, cast string views and the null type."""
    if pa.types.is_dictionary(texts.type):
        texts = texts.dictionary_decode()
    if pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type):
        return texts
    return texts.cast(pa.large_string())


def text_views(texts: pa.Array) -> tuple[Offsets, Bytes]:
    """Offsets (int64, one more than texts) and bytes of a string or large_string array, both read-only.

    Slices are respected: text i is `data[offsets[i]:offsets[i + 1]]`. A null text is empty, whatever bytes underlie it.
    """
    if texts.null_count:
        texts = texts.fill_null("")
    width = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    _, offset_buffer, data_buffer = texts.buffers()
    if offset_buffer is None or len(offset_buffer) == 0:
        offsets: Offsets = np.zeros(1, dtype=np.int64)
    else:
        offsets = np.frombuffer(offset_buffer, width)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else np.zeros(0, dtype=np.uint8)
    offsets.flags.writeable = data.flags.writeable = False
    return offsets, data


def count_columns(texts: pa.Array, names: Sequence[str], counts: Counts) -> dict[str, pa.Array]:
    """Convert counts of shape (texts, names) to int64 columns, null where the text is null."""
    mask = null_mask(texts)
    return {name: pa.array(counts[:, k], mask=mask) for k, name in enumerate(names)}


def null_mask(texts: pa.Array) -> npt.NDArray[np.bool_] | None:
    """Mask that is True where a text is null; None if no text is null."""
    if texts.null_count == 0:
        return None
    mask: npt.NDArray[np.bool_] = texts.is_null().to_numpy(zero_copy_only=False)
    return mask


def spare_pandas() -> None:
    """Keep pyarrow from importing pandas (a second of CPU per process) in a process that never uses pandas with it.

    pyarrow checks once, at its first conversion, whether pandas is installed. Call this only in processes that we
    start ourselves: pyarrow's `to_pandas` no longer works in them.
    """
    if "pandas" in sys.modules:
        return
    stand_in = types.ModuleType("pandas")
    stand_in.__version__ = "0.0.0"  # type: ignore[attr-defined] # too old for pyarrow, which then does without pandas
    sys.modules["pandas"] = stand_in
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pa.scalar(None)
    finally:
        del sys.modules["pandas"]


def divide(numerator: pa.Array, denominator: pa.Array) -> pa.Array:
    """`numerator / denominator` as float32, null where either is null or the denominator is 0."""
    nonzero = pc.if_else(pc.equal(denominator, 0), pa.scalar(None, denominator.type), denominator)
    ratio: Any = pc.divide(numerator.cast(pa.float64()), nonzero.cast(pa.float64()))
    return ratio.cast(pa.float32())


def read_only(numbers: A) -> A:
    """Return a read-only view of `numbers`: numba would compile again for a writable array."""
    view = numbers.view()
    view.flags.writeable = False
    return view

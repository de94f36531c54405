"""Windows of texts, against slices of bytes."""

import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st
from support.soak import examples

from curate.kernels.windows import windows

TEXTS = st.text("aé你😀 \n\r", max_size=40)


def boundary(raw, i):
    while i < len(raw) and raw[i] & 0xC0 == 0x80:
        i += 1
    return i


def expected(text, count, size):
    if text is None:
        return None
    raw = text.encode()
    parts = [raw]
    if len(raw) > count * size:
        lefts = [(len(raw) - size) * k // (count - 1) for k in range(count)]
        parts = [raw[boundary(raw, left) : boundary(raw, left + size)] for left in lefts]
    return b" ".join(parts).decode().replace("\n", " ").replace("\r", " ")


@examples(200)
@given(st.lists(st.none() | TEXTS, max_size=5), st.integers(2, 4), st.integers(1, 9))
@example(["你" * 30, None, "", "a\nb"], 3, 4)
def test_windows_are_slices_between_characters(texts, count, size):
    array = pa.array(texts, pa.string())
    assert windows(array, count, size).to_pylist() == [expected(text, count, size) for text in texts]
    assert windows(array.slice(1), count, size).to_pylist() == [expected(text, count, size) for text in texts[1:]]
    large = array.cast(pa.large_string())
    assert windows(large, count, size).equals(windows(array, count, size))

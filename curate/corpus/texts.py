"""Texts of documents in Arrow: rendered from columns, and checked for UTF-8."""

import pyarrow as pa
import pyarrow.compute as pc

from curate.corpus.columns import is_messages, render_messages
from curate.kernels.arrow import plain_text


def texts_of(column: pa.Array) -> pa.Array:
    """The texts of a column of texts or of messages."""
    return render_messages(column) if is_messages(column.type) else plain_text(column)


def is_utf8(texts: pa.Array) -> pa.Array:
    """Whether each text is well-formed UTF-8; null for null."""
    try:
        texts.validate(full=True)
        return pc.if_else(texts.is_null(), pa.scalar(None, pa.bool_()), True)
    except pa.ArrowInvalid:
        return pa.array(
            [None if raw is None else _decodes(raw) for raw in texts.cast(_binary_of(texts.type)).to_pylist()],
            pa.bool_(),
        )


def _decodes(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _binary_of(kind: pa.DataType) -> pa.DataType:
    return pa.large_binary() if pa.types.is_large_string(kind) else pa.binary()

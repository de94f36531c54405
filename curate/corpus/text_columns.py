"""Finding the columns with the text of documents, by their names, types and the length of their values."""

import difflib
from collections.abc import Mapping

import pyarrow as pa

from curate.corpus.casts import cast_column
from curate.corpus.columns import is_messages, is_text, render_messages, text_cast
from curate.corpus.text_keys import texts_in

TEXT_NAMES = ("text", "content", "body", "raw_content", "raw_text", "document", "article", "markdown", "story")
ID_WORDS = ("id", "doc_id", "url", "uri", "hash", "path")
TIME_WORDS = ("date", "time", "timestamp")
LABEL_WORDS = ("lang", "language", "source", "license", "label", "title")
NO_TEXTS = frozenset((*ID_WORDS, *TIME_WORDS, *LABEL_WORDS))
LEAST_LENGTH = 40  # mean bytes from which a column with an unusual name may be text
PROBE_ROWS = 64  # of a file, whose values are examined


def text_columns(schema: pa.Schema, probe: pa.Table | None, name: str = "text") -> tuple[str, ...]:
    """The columns that may contain the text, also within structs (doc.text), the likeliest first.

    Columns with a name like `name` come first, then the usual names, then other columns with long values that have
    spaces or letters beyond ASCII; columns with empty values come last. `probe` is a few rows; None where these cannot
    be read.
    """
    kinds = [path for path, kind in _leaves(list(schema)) if may_be_text(kind)]
    lengths, prose = _lengths(probe, kinds) if probe is not None else ({}, set())
    last = {path: path.rsplit(".", 1)[-1].lower() for path in kinds}

    def is_like(path: str) -> bool:
        return bool(difflib.get_close_matches(name.lower(), [last[path]], cutoff=0.8))

    def is_likely(path: str) -> bool:
        if last[path] in TEXT_NAMES or is_like(path):
            return True
        words = last[path].replace("-", "_").split("_")
        is_other = bool(NO_TEXTS.intersection(words)) and words[-1] not in TEXT_NAMES
        return not is_other and path in prose and lengths[path] >= LEAST_LENGTH

    def order(path: str) -> tuple[bool, bool, int, int, float]:
        usual = TEXT_NAMES.index(last[path]) if last[path] in TEXT_NAMES else len(TEXT_NAMES)
        return (lengths.get(path, 1.0) < 1, not is_like(path), usual, path.count("."), -lengths.get(path, 0.0))

    return tuple(sorted(filter(is_likely, kinds), key=order))


def may_be_text(kind: pa.DataType) -> bool:
    """Whether a run can read a column of this type as text: strings, bytes, lists of strings."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return is_text(kind) or text_cast(kind) is not None


def as_texts(column: pa.Array) -> pa.Array | None:
    """A column of texts or chats as strings; None for one of another type."""
    if how := text_cast(column.type):
        return cast_column(column, how)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if is_messages(column.type):
        return render_messages(column)
    return column if is_text(column.type) else None


def _leaves(fields: list[pa.Field], prefix: str = "") -> list[tuple[str, pa.DataType]]:
    """Columns that are no structs, and the fields within structs, by their paths."""
    leaves: list[tuple[str, pa.DataType]] = []
    for field in fields:
        inner = list(field.type) if pa.types.is_struct(field.type) else []
        path = f"{prefix}{field.name}"
        leaves += _leaves(inner, f"{path}.") if inner else [(path, field.type)]
    return leaves


def _lengths(probe: pa.Table, paths: list[str]) -> tuple[Mapping[str, float], set[str]]:
    """Mean bytes of the non-empty values of columns, and the columns of which half the values or more are prose."""
    table = probe.slice(0, PROBE_ROWS)
    while any(pa.types.is_struct(kind) for kind in table.schema.types):
        table = table.flatten()
    lengths: dict[str, float] = {}
    prose: set[str] = set()
    for path, column in zip(table.column_names, table.columns, strict=True):
        if path in paths:
            arrays = [as_texts(chunk) for chunk in column.chunks]
            values = [value for array in arrays if array is not None for value in texts_in(array) if value]
            sizes = [len(value.encode("utf-8", "surrogatepass")) for value in values]
            lengths[path] = sum(sizes) / max(1, len(sizes))
            if 2 * sum(map(_is_prose, values)) >= len(values):
                prose.add(path)
    return lengths, prose


def _is_prose(value: str) -> bool:
    """Whether a value has spaces or letters beyond ASCII, and is not binary data."""
    return (" " in value or not value.isascii()) and value.count("\ufffd") * 8 < len(value)

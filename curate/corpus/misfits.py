"""Errors for files whose columns do not fit the recipe, each with the field of the recipe that would help."""

import difflib
import json

import pyarrow as pa
import pyarrow.parquet as pq

from curate.corpus.casts import cast_of_extension
from curate.corpus.columns import LINES, is_messages, is_text, leaf_type, text_cast
from curate.corpus.text_columns import PROBE_ROWS, may_be_text, text_columns
from curate.errors import InputError
from curate.recipe.input import Input
from curate.recipe.input import Source as SourceSection
from curate.storage.places import open_location

ID_NAMES = ("id", "doc_id", "document_id", "_id", "uuid", "guid", "key")
MOST_NAMED = 30  # columns of a message


class NoTextError(InputError):
    """A file lacks the column of the text; `alone` is the message for when other files have it."""

    def __init__(self, message: str, alone: str) -> None:
        super().__init__(message)
        self.alone = alone


def check_columns(label: str, location: str, schema: pa.Schema, entry: SourceSection, source: Input) -> None:
    """Refuse a schema without the text or id column, or with one of the wrong type."""
    columns = schema.names
    if twice := next((name for name in columns if columns.count(name) > 1), None):
        raise InputError(f"{label}: column {twice!r} appears {columns.count(twice)} times; columns need distinct names")
    text = entry.text or source.column
    if source.id == text != source.column:
        raise InputError(
            f"{label}: column {text!r} is called {source.column!r} in the corpus; set input.id: {source.column}"
        )
    kind = schema.field(text).type if text in columns else leaf_type(schema, text)
    if kind is None:
        raise _no_text(label, location, schema, text, entry, source)
    if source.messages is not None:
        if not is_messages(kind):
            raise InputError(
                f"{label}: column {text!r} holds {kind}, not messages; input.messages names a list of {{role, content}}"
            )
    elif source.cast.get(source.column) != "string":
        _check_text(label, location, schema, text, kind, entry)
    _check_id(label, schema, text, entry, source)


def _check_id(label: str, schema: pa.Schema, text: str, entry: SourceSection, source: Input) -> None:
    if source.id is None:
        return
    name = text if source.id == source.column else entry.id or source.id
    if name != text and name not in schema.names:
        field = "set `id: {}` in its entry" if entry.id else "set input.id: {}"
        candidates = [f.name for f in schema if not pa.types.is_nested(f.type) and f.name != text]
        folded = {candidate.lower(): candidate for candidate in candidates}
        close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.7) or [
            usual for usual in ID_NAMES if usual in folded
        ]
        hint = field.format(folded[close[0]]) if close else "leave input.id out: doc_id is then a hash of the text"
        raise InputError(f"{label}: no column {name!r} (has: {_names(schema)}); {hint}")
    kind = schema.field(name).type if name in schema.names else pa.string()
    if pa.types.is_nested(kind) and text_cast(kind) != LINES:
        raise InputError(f"{label}: column {name!r} holds {kind}, which cannot name documents")


def _no_text(
    label: str, location: str, schema: pa.Schema, text: str, entry: SourceSection, source: Input
) -> InputError:
    """The error for a file that lacks the column of the text."""
    problem = f"{label}: no column {text!r} (has: {_names(schema)})"
    chats = [field.name for field in schema if is_messages(field.type)]
    if source.messages is not None:
        close = difflib.get_close_matches(text, schema.names, n=1)
        named = [*chats, *close]
        return InputError(f"{problem}; " + (f"set input.messages: {named[0]}" if named else "no column holds chats"))
    likely = likely_text(schema, location, text)
    if likely is None:
        if chats:
            return InputError(f"{problem}; set input.messages: {chats[0]}")
        return InputError(f"{problem}; no column looks like the text of documents: set input.text to the one that is")
    if entry.text:
        return InputError(f"{problem}; set `text: {likely}` in its entry")
    alone = f"{{paths: [{json.dumps(label, ensure_ascii=False)}], text: {likely}}}"
    return NoTextError(
        f"{problem}; set input.text: {likely}",
        f"{problem}, which other files have; give this one an entry of its own in input.paths: {alone}",
    )


def _names(schema: pa.Schema) -> str:
    more = f" and {len(schema) - MOST_NAMED} more" if len(schema) > MOST_NAMED else ""
    return ", ".join(schema.names[:MOST_NAMED]) + more


def _check_text(
    label: str, location: str, schema: pa.Schema, text: str, kind: pa.DataType, entry: SourceSection
) -> None:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if is_text(kind) or pa.types.is_null(kind) or text_cast(kind) is not None or cast_of_extension(kind) is not None:
        return
    if is_messages(kind):
        raise InputError(f"{label}: column {text!r} holds messages; set input.messages: {text}")
    likely = likely_text(schema, location, text)
    hint = f"set `text: {likely}` in its entry" if entry.text else f"set input.text: {likely}"
    hint = hint if likely else "no column looks like the text of documents"
    raise InputError(f"{label}: column {text!r} holds {kind}, not strings; {hint}")


def likely_text(schema: pa.Schema, location: str, name: str) -> str | None:
    """The column of a Parquet file that is most likely the text; `name` is the recipe's."""
    return next(iter(text_columns(schema, _probe(location, schema), name)), None)


def _probe(location: str, schema: pa.Schema) -> pa.Table | None:
    """The first rows of a file in the columns that may be text; None where its data cannot be read."""
    columns = [field.name for field in schema if pa.types.is_struct(field.type) or may_be_text(field.type)]
    try:
        with open_location(location) as raw, pq.ParquetFile(raw, pre_buffer=False) as file:
            batch = next(file.iter_batches(PROBE_ROWS, columns=columns, use_threads=False), None)
        return None if batch is None else pa.Table.from_batches([batch])
    except (OSError, pa.ArrowException, UnicodeDecodeError, OverflowError):
        return None

"""A file whose columns do not fit the recipe: what is wrong, and which field of the recipe would put it right."""

import difflib
import json

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate import sections
from curate.columns import CASTS, LINES, cast_column, is_messages, is_text, leaf_type, text_cast
from curate.errors import InputError
from curate.storage import opened

TEXT_NAMES = ("text", "content", "body", "raw_content", "raw_text", "document", "article", "markdown", "story")
ID_NAMES = ("id", "doc_id", "document_id", "_id", "uuid", "guid", "key")
NO_TEXTS = ("id", "url", "uri", "hash", "date", "time", "timestamp", "lang", "language", "source", "license", "path")
PROBE_ROWS = 64  # of a file, whose mean lengths are compared
LEAST_LENGTH = 40  # mean bytes of a column without a usual name that is taken for text
MOST_NAMED = 30  # columns of a message


class NoTextError(InputError):
    """A file lacks the column of the text; `alone` is what to do where other files have it."""

    def __init__(self, message: str, alone: str) -> None:
        super().__init__(message)
        self.alone = alone


def check_columns(where: str, location: str, schema: pa.Schema, entry: sections.Source, source: sections.Input) -> None:
    """Refuse a schema without the text or id column, or with one of the wrong type."""
    columns = schema.names
    if twice := next((name for name in columns if columns.count(name) > 1), None):
        raise InputError(f"{where}: column {twice!r} appears {columns.count(twice)} times; columns need distinct names")
    text = entry.text or source.column
    if source.id == text != source.column:
        raise InputError(
            f"{where}: column {text!r} is called {source.column!r} in the corpus; set input.id: {source.column}"
        )
    kind = schema.field(text).type if text in columns else leaf_type(schema, text)
    if kind is None:
        raise _no_text(where, location, schema, text, entry, source)
    if source.messages is not None:
        if not is_messages(kind):
            raise InputError(
                f"{where}: column {text!r} holds {kind}, not messages; input.messages names a list of {{role, content}}"
            )
    elif source.cast.get(source.column) != "string":
        _check_text(where, location, schema, text, kind, entry)
    _check_id(where, schema, text, entry, source)


def _check_id(where: str, schema: pa.Schema, text: str, entry: sections.Source, source: sections.Input) -> None:
    if source.id is None:
        return
    name = text if source.id == source.column else entry.id or source.id
    if name != text and name not in schema.names:
        field = "set `id: {}` in its entry" if entry.id else "set input.id: {}"
        known = [f.name for f in schema if not pa.types.is_nested(f.type) and f.name != text]
        folded = {one.lower(): one for one in known}
        close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.7) or [
            one for one in ID_NAMES if one in folded
        ]
        hint = field.format(folded[close[0]]) if close else "leave input.id out: doc_id is then a hash of the text"
        raise InputError(f"{where}: no column {name!r} (has: {_names(schema)}); {hint}")
    kind = schema.field(name).type if name in schema.names else pa.string()
    if pa.types.is_nested(kind) and text_cast(kind) != LINES:
        raise InputError(f"{where}: column {name!r} holds {kind}, which cannot name documents")


def _no_text(
    where: str, location: str, schema: pa.Schema, text: str, entry: sections.Source, source: sections.Input
) -> InputError:
    """The error for a file that lacks the column of the text."""
    problem = f"{where}: no column {text!r} (has: {_names(schema)})"
    chats = [field.name for field in schema if is_messages(field.type)]
    if source.messages is not None:
        close = difflib.get_close_matches(text, schema.names, n=1)
        named = [*chats, *close]
        return InputError(f"{problem}; " + (f"set input.messages: {named[0]}" if named else "no column holds chats"))
    found = likely_text(schema, location, text)
    if found is None:
        if chats:
            return InputError(f"{problem}; set input.messages: {chats[0]}")
        return InputError(f"{problem}; no column looks like the text of documents: set input.text to the one that is")
    if entry.text:
        return InputError(f"{problem}; set `text: {found}` in its entry")
    alone = f"{{paths: [{json.dumps(where, ensure_ascii=False)}], text: {found}}}"
    return NoTextError(
        f"{problem}; set input.text: {found}",
        f"{problem}, which other files have; give this one an entry of its own in input.paths: {alone}",
    )


def _names(schema: pa.Schema) -> str:
    more = f" and {len(schema) - MOST_NAMED} more" if len(schema) > MOST_NAMED else ""
    return ", ".join(schema.names[:MOST_NAMED]) + more


def _check_text(
    where: str, location: str, schema: pa.Schema, text: str, kind: pa.DataType, entry: sections.Source
) -> None:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if is_text(kind) or pa.types.is_null(kind) or text_cast(kind) is not None:
        return
    if is_messages(kind):
        raise InputError(f"{where}: column {text!r} holds messages; set input.messages: {text}")
    found = likely_text(schema, location, text)
    hint = f"set `text: {found}` in its entry" if entry.text else f"set input.text: {found}"
    hint = hint if found else "no column looks like the text of documents"
    raise InputError(f"{where}: column {text!r} holds {kind}, not strings; {hint}")


def likely_text(schema: pa.Schema, location: str, asked: str) -> str | None:
    """The column that most likely holds the text, which may lie within structs: by name, type and length of values.

    `asked` is the name that the recipe has; one that is like it comes first, then the usual names, then long values.
    """
    kinds = {path: kind for path, kind in _leaves(list(schema)) if _may_be_text(kind)}
    lengths = _lengths(location, list(kinds))
    last = {path: path.rsplit(".", 1)[-1].lower() for path in kinds}

    def order(path: str) -> tuple[bool, int, int, float]:
        usual = TEXT_NAMES.index(last[path]) if last[path] in TEXT_NAMES else len(TEXT_NAMES)
        like = bool(difflib.get_close_matches(asked.lower(), [last[path]], cutoff=0.8))
        return (not like, usual, path.count("."), -lengths.get(path, 0.0))

    def is_likely(path: str) -> bool:
        names = last[path].replace("-", "_").split("_")
        if last[path] in TEXT_NAMES or difflib.get_close_matches(asked.lower(), [last[path]], cutoff=0.8):
            return not (path in lengths and lengths[path] < 1)
        return not set(names) & set(NO_TEXTS) and lengths.get(path, 0.0) >= LEAST_LENGTH

    return min(filter(is_likely, kinds), key=order, default=None)


def _may_be_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return is_text(kind) or text_cast(kind) is not None


def _leaves(fields: list[pa.Field], prefix: str = "") -> list[tuple[str, pa.DataType]]:
    """Columns that are no structs, and the fields within structs, by their paths."""
    found: list[tuple[str, pa.DataType]] = []
    for field in fields:
        inner = list(field.type) if pa.types.is_struct(field.type) else []
        path = f"{prefix}{field.name}"
        found += _leaves(inner, f"{path}.") if inner else [(path, field.type)]
    return found


def _lengths(location: str, paths: list[str]) -> dict[str, float]:
    """Mean bytes of the first values of columns of text; nothing of a file whose data cannot be read."""
    try:
        with opened(location) as raw, pq.ParquetFile(raw, pre_buffer=False) as file:
            batch = next(file.iter_batches(PROBE_ROWS, columns=paths, use_threads=False), None)
        if batch is None:
            return {}
        table = pa.Table.from_batches([batch])
        while any(pa.types.is_struct(kind) for kind in table.schema.types):
            table = table.flatten()
        return {name: _mean_length(table[name].combine_chunks()) for name in table.column_names if name in paths}
    except (OSError, pa.ArrowException, UnicodeDecodeError, OverflowError):
        return {}


def _mean_length(column: pa.Array) -> float:
    how = text_cast(column.type)
    texts = cast_column(column, how) if how else column.cast(CASTS["string"])
    return pc.mean(pc.binary_length(texts)).as_py() or 0.0

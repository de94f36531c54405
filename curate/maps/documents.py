"""Texts of single documents of a run, read from its inputs, and masked for display."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.corpus.edits import PART, apply_edits
from curate.corpus.parquet import Source, read_documents
from curate.corpus.texts import is_utf8, texts_of
from curate.display import place
from curate.errors import InputError
from curate.filters import registry
from curate.filters.edits import pii
from curate.filters.rules.resolve import PERSONAL_DATA
from curate.filters.signals.hashes import hash_texts
from curate.ledger.ledger import KnownFile, Ledger, is_spooled
from curate.ledger.names import DOCUMENTS, EDITS, LINE_EDITS
from curate.ledger.parts import Part
from curate.maps.groups import RAW_HASH
from curate.storage.places import status

MAX_GAP = 8192  # rows between two documents that are still read in one pass

ROW_BITS = 40

KEYS = pa.schema([("file_no", pa.int32()), ("row", pa.int64())])


def place_keys(file_nos: npt.NDArray[Any], rows: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Pack the places of documents into one number each, in their order."""
    keys: npt.NDArray[np.int64] = (file_nos.astype(np.int64) << ROW_BITS) | rows.astype(np.int64)
    return keys


def document_keys(table: pa.Table) -> npt.NDArray[np.int64]:
    """The places of documents (file_no, row), packed."""
    return place_keys(table["file_no"].to_numpy(), table["row"].to_numpy())


def read_texts(ledger: Ledger, column: str, documents: pa.Table) -> pa.Table:
    """Documents (file_no, row; sorted, distinct) with their raw texts in a further column `text` of large_string.

    Bytes that are not UTF-8 become replacement characters. `column` is the corpus's (`recipe.input.column`).

    Errors: InputError where an input is missing, or its texts differ from those measured.
    """
    files = {file.file_no: file for file in ledger.files}
    documents = documents.select(["file_no", "row"]).cast(KEYS)
    texts = [pa.array([], pa.large_string())]
    for file_no, rows in _stretches(documents):
        file = files[file_no]
        position, stop = int(rows[0]), int(rows[-1]) + 1
        for batch in read_documents(source_of(ledger.run, file), position, stop, [column]):
            if column not in batch.schema.names:
                raise InputError(f"{file.path}: has no column {column!r} now; run again")
            start, end = np.searchsorted(rows, (position, position + len(batch)))
            selected = batch.column(column).take(pa.array(rows[start:end] - position))
            texts.append(texts_of(selected).cast(pa.large_string()))
            position += len(batch)
    documents = documents.append_column("text", pa.chunked_array(texts))
    _check_hashes(ledger, files, documents)
    return documents.set_column(2, "text", pa.chunked_array([_readable(documents["text"].combine_chunks())]))


def _stretches(documents: pa.Table) -> Iterator[tuple[int, np.ndarray]]:
    """The documents by file, in runs of rows close enough to read in one pass."""
    file_nos, rows = documents["file_no"].to_numpy(), documents["row"].to_numpy()
    cuts: list[int] = (np.flatnonzero((np.diff(file_nos) != 0) | (np.diff(rows) > MAX_GAP)) + 1).tolist()
    for start, stop in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        if stop > start:
            yield int(file_nos[start]), rows[start:stop]


def source_of(run: Path, file: KnownFile) -> Source:
    """The source of a file with its current size and time, which may differ from when it was measured.

    Texts are compared by hash after reading, so the file may have been copied or touched.

    Errors: InputError where it is missing.
    """
    location = str(run / file.location) if is_spooled(file) else file.location
    try:
        size, mtime_ns = status(location)
    except (OSError, pa.ArrowException) as error:
        problem = getattr(error, "strerror", None) or "cannot be reached"
        raise InputError(f"{location}: {problem}; it was there when the run measured it") from None
    return Source(location, size, mtime_ns, renamed=file.renamed, added=file.added, lifted=file.lifted, cast=file.cast)


def _check_hashes(ledger: Ledger, files: dict[int, KnownFile], documents: pa.Table) -> None:
    """Refuse texts that differ from those measured."""
    halves = hash_texts(pc.fill_null(documents["text"].combine_chunks(), ""))
    hashes = dict(zip(_keys(documents), zip(*(half.to_pylist() for half in halves), strict=True), strict=True))
    for part in ledger.of(DOCUMENTS):
        table = _rows_of(ledger.run, part, documents, ["file_no", "row", *RAW_HASH])
        measured_hashes = zip(*(table[name].to_pylist() for name in RAW_HASH), strict=True)
        for (file_no, row), measured in zip(_keys(table), measured_hashes, strict=True):
            if hashes[file_no, row] != measured:
                raise InputError(f"{place(files[file_no].path, row)}: is not the text that was measured; run again")


def edits_of(ledger: Ledger, documents: pa.Table, groups: Sequence[str] = (EDITS, LINE_EDITS)) -> pa.Table:
    """The edits in force of documents (file_no, row), as `curate.corpus.edits.PART`, sorted by position."""
    parts = [part for group in groups for part in ledger.of(group)]
    tables = [_rows_of(ledger.run, part, documents, PART.names).cast(PART) for part in parts]
    edits = pa.concat_tables([PART.empty_table(), *tables]).unify_dictionaries()
    return edits.sort_by([(name, "ascending") for name in ("file_no", "row", "start", "end")])


def _rows_of(run: Path, part: Part, documents: pa.Table, columns: list[str]) -> pa.Table:
    """The rows of a part that belong to `documents`."""
    candidates = [("file_no", "in", documents["file_no"].to_pylist()), ("row", "in", documents["row"].to_pylist())]
    table = pq.read_table(run / part.path, columns=columns, filters=candidates)
    keys = set(_keys(documents))
    return table.filter(pa.array([key in keys for key in _keys(table)], pa.bool_()))


def _keys(table: pa.Table) -> Iterator[tuple[int, int]]:
    return zip(table["file_no"].to_pylist(), table["row"].to_pylist(), strict=True)


def _readable(texts: pa.Array) -> pa.Array:
    """Texts with replacement characters for bytes that are not UTF-8."""
    if pc.all(is_utf8(texts)).as_py() is not False:
        return texts
    raw = texts.cast(pa.large_binary()).to_pylist()
    return pa.array([None if text is None else text.decode("utf-8", "replace") for text in raw], pa.large_string())


def masked(texts: pa.Array) -> pa.Array:
    """`texts` with a placeholder for each e-mail address, number and key, as `tier1.pii: redact` writes them.

    Excerpts of a corpus are masked because they end up in terminals, logs and chats.
    """
    return apply_edits(texts, personal_spans(texts))


def masked_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of input columns, with all texts in them `masked`."""
    return {name: _masked_value(value) for name, value in values.items()}


def _masked_value(value: Any) -> Any:  # noqa: ANN401 - any value of a column
    if isinstance(value, str):
        if not pii.may_hold(value):
            return value
        return masked(pa.array([value], pa.large_string()))[0].as_py()
    if isinstance(value, Mapping):
        return masked_values(value)
    return [_masked_value(item) for item in value] if isinstance(value, list | tuple) else value


def personal_spans(texts: pa.Array) -> pa.Table:
    """Spans of personal data: row within `texts`, start, end, replacement, reason; sorted, without overlaps."""
    editor = registry.Editor(PERSONAL_DATA, tuple((kind, True) for kind in pii.KINDS))
    return editor.find(texts)

"""Texts of single documents of a run, read where its inputs lie, and what may be shown of them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
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

NEAR = 8192  # rows between two documents up to which they are read in one go

KEYS = pa.schema([("file_no", pa.int32()), ("row", pa.int64())])


def read_texts(ledger: Ledger, column: str, documents: pa.Table) -> pa.Table:
    """The raw texts of documents (file_no, row; sorted, each once), as a further column `text` of large_string.

    What is not UTF-8 has replacement characters. `column` is that of the corpus (`recipe.input.column`).

    Errors: InputError where an input is gone, or has other texts than were measured.
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
            found = batch.column(column).take(pa.array(rows[start:end] - position))
            texts.append(texts_of(found).cast(pa.large_string()))
            position += len(batch)
    found = documents.append_column("text", pa.chunked_array(texts))
    _check_hashes(ledger, files, found)
    return found.set_column(2, "text", pa.chunked_array([_readable(found["text"].combine_chunks())]))


def _stretches(documents: pa.Table) -> Iterator[tuple[int, np.ndarray]]:
    """Rows of one file that lie close enough to be read in one go."""
    file_nos, rows = documents["file_no"].to_numpy(), documents["row"].to_numpy()
    cuts: list[int] = (np.flatnonzero((np.diff(file_nos) != 0) | (np.diff(rows) > NEAR)) + 1).tolist()
    for start, stop in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        if stop > start:
            yield int(file_nos[start]), rows[start:stop]


def source_of(run: Path, file: KnownFile) -> Source:
    """Where a file lies now; its texts are known by their hashes, so that it may have been copied or touched.

    Errors: InputError where it is gone.
    """
    location = str(run / file.location) if is_spooled(file) else file.location
    try:
        size, mtime_ns = status(location)
    except (OSError, pa.ArrowException) as error:
        problem = getattr(error, "strerror", None) or "cannot be reached"
        raise InputError(f"{location}: {problem}; it was there when the run measured it") from None
    return Source(location, size, mtime_ns, file.renamed, file.added, file.lifted, file.cast)


def _check_hashes(ledger: Ledger, files: dict[int, KnownFile], found: pa.Table) -> None:
    """Refuse texts that are not those that were measured."""
    hashes = hash_texts(pc.fill_null(found["text"].combine_chunks(), ""))
    have = dict(zip(_places(found), zip(*(half.to_pylist() for half in hashes), strict=True), strict=True))
    for part in ledger.of(DOCUMENTS):
        table = _rows_of(ledger.run, part, found, ["file_no", "row", *RAW_HASH])
        measured = zip(*(table[name].to_pylist() for name in RAW_HASH), strict=True)
        for (file_no, row), known in zip(_places(table), measured, strict=True):
            if have[file_no, row] != known:
                raise InputError(f"{place(files[file_no].path, row)}: is not the text that was measured; run again")


def edits_of(ledger: Ledger, documents: pa.Table, groups: Sequence[str] = (EDITS, LINE_EDITS)) -> pa.Table:
    """The edits in force of documents (file_no, row), as `curate.corpus.edits.PART`, sorted by place."""
    parts = [part for group in groups for part in ledger.of(group)]
    tables = [_rows_of(ledger.run, part, documents, PART.names).cast(PART) for part in parts]
    found = pa.concat_tables([PART.empty_table(), *tables]).unify_dictionaries()
    return found.sort_by([(name, "ascending") for name in ("file_no", "row", "start", "end")])


def _rows_of(run: Path, part: Part, documents: pa.Table, columns: list[str]) -> pa.Table:
    """The rows of a part that belong to some documents."""
    wanted = [("file_no", "in", documents["file_no"].to_pylist()), ("row", "in", documents["row"].to_pylist())]
    table = pq.read_table(run / part.path, columns=columns, filters=wanted)
    places = set(_places(documents))
    return table.filter(pa.array([place in places for place in _places(table)], pa.bool_()))


def _places(table: pa.Table) -> Iterator[tuple[int, int]]:
    return zip(table["file_no"].to_pylist(), table["row"].to_pylist(), strict=True)


def _readable(texts: pa.Array) -> pa.Array:
    """Texts in which what is not UTF-8 is replaced."""
    if pc.all(is_utf8(texts)).as_py() is not False:
        return texts
    raw = texts.cast(pa.large_binary()).to_pylist()
    return pa.array([None if one is None else one.decode("utf-8", "replace") for one in raw], pa.large_string())


def masked(texts: pa.Array) -> pa.Array:
    """`texts` with a placeholder for every e-mail address, number and key, as `tier1.pii: redact` would write them.

    What is shown of a corpus ends up in terminals, logs and chats.
    """
    return apply_edits(texts, personal_spans(texts))


def masked_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of input columns, all texts in them `masked`."""
    return {name: _masked_value(value) for name, value in values.items()}


def _masked_value(value: Any) -> Any:  # noqa: ANN401 - whatever a column holds
    if isinstance(value, str):
        return masked(pa.array([value], pa.large_string()))[0].as_py()
    if isinstance(value, Mapping):
        return masked_values(value)
    return [_masked_value(one) for one in value] if isinstance(value, list | tuple) else value


def personal_spans(texts: pa.Array) -> pa.Table:
    """Places of personal data: row within `texts`, start, end, replacement, reason; sorted, none overlap."""
    everything = registry.Editor(PERSONAL_DATA, tuple((kind, True) for kind in pii.KINDS))
    return everything.find(texts)

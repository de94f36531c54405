"""Groups of measurements: what each reads of a batch, how it is measured, and what its values depend on.

A group is the unit of measuring: its columns form parts of the ledger with one digest, and only groups with missing
parts are measured. Most groups are those of the signal registry; groups that need more than texts are in `_special`.
"""

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property, partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.corpus.columns import is_text
from curate.corpus.edits import apply_edits, find_edits
from curate.corpus.texts import is_utf8, texts_of
from curate.digest import LANGUAGE_MODELS, READING, code_of, digest_of
from curate.errors import InputError
from curate.filters import block, registry
from curate.filters.contamination.signals import GROUP as CONTAMINATION
from curate.filters.language import perplexity
from curate.filters.language.perplexity import GROUP as PERPLEXITY
from curate.filters.registry import Columns
from curate.filters.signals.hashes import hash_texts
from curate.kernels.arrow import text_views
from curate.kernels.corpus_lines import line_hashes
from curate.kernels.minhash import minhash
from curate.ledger.names import BLOCK, DOCUMENTS, EDITS, INPUT, LINE_HASHES, OVERLAPS, SIGNATURES
from curate.maps.reading import Reading, editor_identities

LANGUAGE = "language"
RAW_HASH = ("raw_hash_high", "raw_hash_low")


@dataclass
class Batch:
    """Consecutive documents of a file, with what several groups need: computed once, on demand."""

    columns: pa.RecordBatch
    reading: Reading

    @cached_property
    def raw(self) -> pa.Array:
        """The raw texts, UTF-8 or not."""
        return texts_of(self.columns.column(self.reading.text))

    @cached_property
    def valid(self) -> pa.Array:
        """Which texts are valid UTF-8; null for null."""
        return is_utf8(self.raw)

    @cached_property
    def texts(self) -> pa.Array:
        """The raw texts, null where they are not UTF-8."""
        if pc.all(self.valid).as_py() is not False:
            return self.raw
        return pc.if_else(self.valid, self.raw, pa.scalar(None, self.raw.type))

    @cached_property
    def edits(self) -> pa.Table:
        """The local edits of the recipe."""
        return find_edits(self.texts, self.reading.editors)

    @cached_property
    def edited(self) -> pa.Array:
        """The texts with these edits applied."""
        return apply_edits(self.texts, self.edits) if self.reading.editors else self.texts

    @cached_property
    def overlaps(self) -> tuple[Columns, pa.Table]:
        """Overlaps of the texts with evaluation sets: columns, and passages."""
        assert self.reading.sought is not None
        return self.reading.sought.measure_overlaps(self.texts if self.reading.sought.cuts else self.edited)

    @cached_property
    def language(self) -> Columns:
        """The columns of group `language`, which `perplexity` reads too."""
        return _signal_columns(self, LANGUAGE)


@dataclass(frozen=True)
class Group:
    """Measurements that share a digest."""

    name: str
    needs: Callable[[Reading], Iterable[str]]  # input columns
    measure: Callable[[Batch], pa.Table]  # one row per document, or a column `row`: the index within the batch
    depends: Callable[[Reading], object]  # what its values depend on, besides the input and `_reading_code`


def group(name: str) -> Group:
    """The group with this name in the ledger."""
    if name in _special():
        return _special()[name]
    return Group(name, _text_column, partial(_signal_table, name), partial(_signals_depend, name))


def group_digests(names: Iterable[str], reading: Reading) -> dict[str, str]:
    """The digest of each group: its code, its parameters, and the edits made before it, if it reads edited texts."""
    return {name: digest_of([_reading_code(), group(name).depends(reading)]) for name in names}


@cache
def _reading_code() -> list[str]:
    """Code that all values depend on: how rows are read and edited, and Python's tables of Unicode."""
    return [code_of(__name__, "curate.maps.measure", *READING), unicodedata.unidata_version]


@cache
def _special() -> dict[str, Group]:
    """Groups that need more than texts, or that share work with another group."""
    groups = (
        Group(INPUT, _input_column_names, _input_columns, _input_depends),
        Group(DOCUMENTS, _text_and_id_columns, _identities, _identities_depend),
        Group(EDITS, _text_column, _edits, _edited_depends),
        Group(LINE_HASHES, _text_column, _line_hashes, lambda reading: [_edited_depends(reading), LINE_HASHES]),
        Group(
            SIGNATURES,
            _text_column,
            _signatures,
            lambda reading: [_edited_depends(reading), reading.permutations, reading.shingle],
        ),
        Group(BLOCK, _text_and_url_columns, _block_counts, _block_depends),
        Group(LANGUAGE, _text_column, lambda batch: pa.table(batch.language), partial(_signals_depend, LANGUAGE)),
        Group(PERPLEXITY, _text_column, _perplexity, _perplexity_depends),
        Group(CONTAMINATION, _text_column, lambda batch: pa.table(batch.overlaps[0]), _overlaps_depend),
        Group(OVERLAPS, _text_column, lambda batch: batch.overlaps[1], _overlaps_depend),
    )
    return {group.name: group for group in groups}


def _text_column(reading: Reading) -> list[str]:
    return [reading.text]


def _raw_depends(reading: Reading) -> object:
    return [reading.text, []]


def _edited_depends(reading: Reading) -> object:
    return [reading.text, editor_identities(reading)]


def _signal_columns(batch: Batch, name: str) -> Columns:
    columns: Columns = {}
    for signal in registry.groups()[name]:
        columns |= signal(batch.texts if signal.raw else batch.edited)
    return columns


def _signal_table(name: str, batch: Batch) -> pa.Table:
    return pa.table(_signal_columns(batch, name))


def _signals_depend(name: str, reading: Reading) -> object:
    return [
        code_of(*registry.modules_of([name])),
        _raw_depends(reading) if registry.is_raw(name) else _edited_depends(reading),
    ]


def _input_column_names(reading: Reading) -> list[str]:
    return [name for name, _ in reading.input_columns]


def _input_columns(batch: Batch) -> pa.Table:
    """The input columns that decisions need; null where a file lacks the column."""
    columns = {}
    for name, kind in batch.reading.input_columns:
        if name in batch.columns.schema.names:
            columns[f"{INPUT}.{name}"] = _cast(_well_formed(batch.columns.column(name)), kind, name)
        else:
            columns[f"{INPUT}.{name}"] = pa.nulls(len(batch.columns), kind)
    return pa.table(columns)


def _input_depends(reading: Reading) -> object:
    casts = dict(reading.casts)
    return [[name, str(kind), casts.get(name)] for name, kind in reading.input_columns]


def _well_formed(column: pa.Array) -> pa.Array:
    """A column with null for text that is not UTF-8, which SQL cannot read."""
    if not is_text(column.type):
        return column
    return pc.if_else(is_utf8(column), column, pa.scalar(None, column.type))


def _cast(column: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
    """A column in its unified type, validated, for the ledger."""
    try:
        cast = column.cast(kind)
        cast.validate(full=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"column {name!r} of {column.type} cannot be read as {kind}: {error}") from None
    return cast


def _text_and_id_columns(reading: Reading) -> list[str]:
    return [reading.text, *([reading.id] if reading.id else [])]


def _identities(batch: Batch) -> pa.Table:
    """Size and hash of each raw text, and the user's id; a null text has the hash of the empty text."""
    raw = batch.raw
    high, low = hash_texts(pc.fill_null(raw, ""))
    columns = {"raw_n_bytes": pa.array(np.diff(text_views(raw)[0])), RAW_HASH[0]: high, RAW_HASH[1]: low}
    columns |= {"is_null": raw.is_null(), "is_utf8": batch.valid}
    if name := batch.reading.id:
        columns["id"] = _cast(batch.columns.column(name), pa.string(), name)
    return pa.table(columns)


def _identities_depend(reading: Reading) -> object:
    return [code_of(hash_texts.__module__), reading.text, reading.id]


def _edits(batch: Batch) -> pa.Table:
    return batch.edits.append_column("stage", pa.array(["input"] * len(batch.edits), registry.REASONS))


def _line_hashes(batch: Batch) -> pa.Table:
    return pa.table({LINE_HASHES: line_hashes(batch.edited)})


def _signatures(batch: Batch) -> pa.Table:
    return pa.table({"minhash": minhash(batch.edited, batch.reading.permutations, batch.reading.shingle)})


def _text_and_url_columns(reading: Reading) -> list[str]:
    return [reading.text, *([block.URL] if any(listed.kind == "urls" for listed in reading.blocks) else [])]


def _block_counts(batch: Batch) -> pa.Table:
    urls = batch.columns.column(block.URL) if block.URL in batch.columns.schema.names else None
    return pa.table({listed.column: block.count(listed, batch.edited, urls) for listed in batch.reading.blocks})


def _block_depends(reading: Reading) -> object:
    lists = [str(listed) for listed in reading.blocks]
    return [_edited_depends(reading), code_of(block.__name__), lists, dict(reading.casts).get(block.URL)]


def _perplexity(batch: Batch) -> pa.Table:
    languages = batch.language["language"] if batch.reading.by_language else None
    return pa.table(perplexity.measure(batch.edited, languages, batch.reading.models))


def _perplexity_depends(reading: Reading) -> object:
    return [_edited_depends(reading), code_of(*LANGUAGE_MODELS), [str(model) for model in reading.models]]


def _overlaps_depend(reading: Reading) -> object:
    assert reading.sought is not None
    return [_raw_depends(reading) if reading.sought.cuts else _edited_depends(reading), reading.sought.code]

"""The sources of an export: the documents that finished runs kept, each run in its share."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from xxhash import xxh3_64_intdigest

from curate.corpus.parquet import read_rows
from curate.distill.draws import times_read
from curate.engine.base import Engine
from curate.errors import CurateError, InputError, RunError
from curate.manifests.schema.reading import read_manifest
from curate.maps.shards import added_columns_of
from curate.storage.files import sha256_of

TRAIN, VALIDATION = "train", "validation"
SPLIT_SEED, SHARE_SEED = 0x5EED_0001, 0x5EED_0002  # of the hashes of doc_id that assign documents
HASHED_ROWS = 1 << 13  # ids in memory as Python strings at a time
TEXT, MESSAGES, DOC_ID, N_TOKENS, SOURCE = "text", "messages", "doc_id", "n_tokens", "source"

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Shard:
    """One file of a run's output."""

    path: str
    documents: int
    tokens: int
    sha256: str


@dataclass(frozen=True)
class Source:
    """A run's output, and how much of it is exported."""

    name: str
    run: str
    manifest_sha256: str
    text: str | None  # the column with the text; None where documents are chats
    messages: str | None
    doc_id: str
    n_tokens: str
    shards: tuple[Shard, ...]
    share: float = 1.0  # of the documents: those whose hash of doc_id is below
    weight: float = 1.0  # its share of the mixture's tokens
    epochs: float = 1.0  # passes over its documents in a training on the mixture
    role: str = "source"  # or "replay"
    origin: str | None = None  # the column with the doc_id of a written document's original
    weights: str | None = None  # the column that says how often to write a document; None: once
    has_near: bool = False  # whether near duplicates stayed, with weights
    chats: pa.DataType | None = None  # the type of messages, where the runs of a mixture have different ones

    @property
    def column(self) -> str:
        """The column to train on."""
        return self.messages or self.text or ""


def open_source(run: Path, name: str | None = None, once: bool = False) -> Source:
    """The output of a finished run; documents are written as often as their weights say, or `once`.

    Errors: RunError where it did not finish, kept nothing, or lacks a shard.
    """
    manifest = read_manifest(run)
    sections = manifest.recipe.more
    near = (sections.get("dedup") or {}).get("near") or {}
    sections_given = (sections.get("distill") is not None, sections.get("tier3") is not None)
    has_near = near.get("as") == "weight"
    ours = list(added_columns_of(*sections_given, has_near))
    added = [column.name for column in manifest.schema_[-len(ours) :]]
    names = dict(zip(ours, added, strict=True))  # prefixed where the input has such a name
    shards = tuple(Shard(str(run / s.path), s.documents, s.tokens, s.sha256) for s in manifest.shards)
    if not shards:
        raise RunError(f"{run}: kept no document, so there is nothing to export")
    if gone := [shard.path for shard in shards if not Path(shard.path).is_file()]:
        raise RunError(f"{gone[0]}: missing; run the recipe again to write it")
    columns = manifest.recipe.input
    return Source(
        name=name or manifest.name,
        run=str(run),
        manifest_sha256=hashlib.sha256((run / "manifest.json").read_bytes()).hexdigest(),
        text=None if columns.messages else columns.text,
        messages=columns.messages,
        doc_id=names["doc_id"],
        n_tokens=names["n_tokens"],
        shards=shards,
        origin=names.get("source_doc_id"),
        weights=None if once else names.get("weight"),
        has_near=has_near,
    )


def read_named(source: Source, shard: str, *more: str) -> pa.Table:
    """What assigns the documents of a shard to splits and says how often they are written, and more columns.

    Errors: InputError where it cannot be read.
    """
    names = [source.doc_id, source.origin, source.weights, *more]
    return read_columns(shard, [name for name in names if name])


def split_ids(table: pa.Table, source: Source) -> pa.ChunkedArray:
    """The ids that assign documents to splits: a written one goes with its original."""
    ids = table[source.doc_id]
    return ids if source.origin is None else pc.coalesce(table[source.origin], ids)


def hash_fractions(ids: pa.Array | pa.ChunkedArray, seed: int) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each id, from the id and the seed alone."""
    hashes = np.empty(len(ids), np.uint64)
    for start in range(0, len(ids), HASHED_ROWS):
        chunk = ids.slice(start, HASHED_ROWS).to_pylist()
        hashes[start : start + len(chunk)] = [xxh3_64_intdigest(text.encode(), seed) for text in chunk]
    return hashes.astype(np.float64) / 2.0**64


def in_split(source: Source, ids: pa.Array | pa.ChunkedArray, split: str, validation: float) -> npt.NDArray[np.bool_]:
    """Which documents are in a split. Documents with the same id are in the same split, across runs too."""
    held_out = hash_fractions(ids, SPLIT_SEED) < validation
    mask: npt.NDArray[np.bool_] = held_out if split == VALIDATION else ~held_out
    return mask if source.share >= 1 else mask & (hash_fractions(ids, SHARE_SEED) < source.share)


def times_written(source: Source, table: pa.Table, split: str, validation: float) -> npt.NDArray[np.int64]:
    """How often each document of a table is written to a split: by its weight for training, once for validation."""
    written = in_split(source, split_ids(table, source), split, validation).astype(np.int64)
    if source.weights is None or split == VALIDATION:
        return written
    return written * times_read(table[source.doc_id], table[source.weights])


def sizes_by_split(source: Source, shard: Shard, validation: float) -> dict[str, tuple[int, int]]:
    """Documents and tokens (as n_tokens counts them) of a shard by split.

    Errors: InputError where the shard cannot be read.
    """
    table = read_named(source, shard.path, source.n_tokens)
    tokens = table[source.n_tokens].to_numpy()
    times = {split: times_written(source, table, split, validation) for split in (TRAIN, VALIDATION)}
    return {split: (int(n.sum()), int((n * tokens).sum())) for split, n in times.items()}


def check_bytes(shard: Shard) -> None:
    """Refuse a shard that changed since the run wrote it.

    Errors: InputError.
    """
    if sha256_of(Path(shard.path)) != shard.sha256:
        raise InputError(f"{shard.path}: its bytes changed since the run; run the recipe again to write it anew")


def map_tasks(
    engine: Engine, function: Callable[[Task], Result], tasks: Iterable[Task]
) -> Iterator[tuple[Task, Result]]:
    """Tasks with their results, in any order. Errors: that of the first task that fails."""
    for task, result in engine.map(function, tasks):
        if isinstance(result, CurateError):
            raise result
        if task is not None:
            yield task, result


def documents_of(source: Source, shard: str, split: str, validation: float) -> Iterator[pa.Table]:
    """The documents of a shard that are in a split, with all columns, in tables of about 4 MB.

    They are in order, and once more from the start for those that are written twice, and so on: the copies of a
    document are as far apart as the shard allows.

    Errors: InputError where the shard cannot be read.
    """
    file, times = _opened(shard), np.zeros(0, np.int64)
    if source.weights and split == TRAIN:
        times = times_written(source, read_named(source, shard), split, validation)
    for turn in range(max(1, int(times.max(initial=0)))):
        start = 0
        for k in range(file.metadata.num_row_groups):  # one at a time: the sizes of documents differ between them
            stop = start + file.metadata.row_group(k).num_rows
            if not len(times) or (times[start:stop] > turn).any():
                yield from _documents_in(source, shard, (start, stop), split, validation, turn)
            start = stop


def _documents_in(
    source: Source, shard: str, rows: tuple[int, int], split: str, validation: float, turn: int
) -> Iterator[pa.Table]:
    """The documents among some rows of a shard that are written more than `turn` times."""
    for batch in read_rows(shard, *rows, _opened(shard).schema_arrow.names):
        table = pa.Table.from_batches([batch])
        yield table.filter(pa.array(times_written(source, table, split, validation) > turn))


def read_columns(shard: str, names: list[str]) -> pa.Table:
    """Columns of a shard.

    Errors: InputError where it cannot be read.
    """
    try:
        return _opened(shard).read(columns=names)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{shard}: cannot be read: {error}; curate verify tells what else is damaged") from None


def _opened(shard: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(shard)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{shard}: cannot be read: {error}; curate verify tells what else is damaged") from None


def plain(table: pa.Table, source: Source) -> pa.Table:
    """The columns that trainers read, by the names that they expect: text or messages, doc_id, n_tokens, source.

    Their types are the same for all sources of an export: text is `string`, whatever string type a run has.
    """
    column = table[source.column]
    if kind := source.chats if source.messages else pa.string():
        column = column.cast(kind)
    columns = {
        TEXT if source.messages is None else MESSAGES: column,
        DOC_ID: table[source.doc_id],
        N_TOKENS: table[source.n_tokens],
        SOURCE: pa.repeat(pa.scalar(source.name), len(table)),
    }
    return pa.table(columns)


def digest_of_sources(sources: tuple[Source, ...]) -> str:
    """Hex digest of the sources: of their runs, shares and weights, not of their paths."""
    fields = [vars(replace(source, run="", shards=())) for source in sources]
    return hashlib.sha256(json.dumps(fields, sort_keys=True, default=str).encode()).hexdigest()

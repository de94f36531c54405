"""What is exported: the documents that a finished run kept, or those of several, each in its share."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from xxhash import xxh3_64_intdigest

from curate.corpus.parquet import read_rows
from curate.engine.base import Engine
from curate.errors import CurateError, InputError, RunError
from curate.manifests.schema.reading import read_manifest
from curate.maps.shards import columns_added
from curate.storage.files import sha256_of

TRAIN, VALIDATION = "train", "validation"
SPLIT_SEED, SHARE_SEED = 0x5EED_0001, 0x5EED_0002  # of the hashes of doc_id that part documents
HASHED_ROWS = 1 << 13  # ids that stand in memory as Python's strings
TEXT, MESSAGES, DOC_ID, N_TOKENS, SOURCE = "text", "messages", "doc_id", "n_tokens", "source"


@dataclass(frozen=True)
class Shard:
    """One file of a run's output."""

    path: str
    documents: int
    tokens: int
    sha256: str


@dataclass(frozen=True)
class Source:
    """A run's output, and how much of it is taken."""

    name: str
    run: str
    manifest_sha256: str
    text: str | None  # the column with the text; None where documents are chats
    messages: str | None
    doc_id: str
    n_tokens: str
    shards: tuple[Shard, ...]
    share: float = 1.0  # of the documents, drawn by a hash of doc_id: what lies below is taken
    weight: float = 1.0  # its share of the mixture's tokens
    epochs: float = 1.0  # how often a training on the mixture sees each of its documents
    role: str = "source"  # or "replay"
    origin: str | None = None  # the column with the doc_id that a written document was made after
    chats: pa.DataType | None = None  # what messages become, where the runs of a mixture have other ones

    @property
    def column(self) -> str:
        """The column that is learnt from."""
        return self.messages or self.text or ""


def open_source(run: Path, name: str | None = None) -> Source:
    """The output of a finished run.

    Errors: RunError where it did not finish, kept nothing, or lacks a shard.
    """
    manifest = read_manifest(run)
    recipe, schema = manifest["recipe"], [column["name"] for column in manifest["schema"]]
    ours = list(columns_added(recipe.get("distill") is not None, recipe.get("tier3") is not None))
    named = dict(zip(ours, schema[-len(ours) :], strict=True))  # prefixed where the input has such a name
    shards = tuple(Shard(str(run / s["path"]), s["documents"], s["tokens"], s["sha256"]) for s in manifest["shards"])
    if not shards:
        raise RunError(f"{run}: kept no document, so there is nothing to export")
    if gone := [shard.path for shard in shards if not Path(shard.path).is_file()]:
        raise RunError(f"{gone[0]}: missing; run the recipe again to write it")
    messages = recipe["input"]["messages"]
    return Source(
        name or str(manifest["name"]),
        str(run),
        hashlib.sha256((run / "manifest.json").read_bytes()).hexdigest(),
        None if messages else recipe["input"]["text"],
        messages,
        named["doc_id"],
        named["n_tokens"],
        shards,
        origin=named.get("source_doc_id"),
    )


def read_ids(source: Source, shard: str, *more: str) -> tuple[pa.ChunkedArray, pa.Table]:
    """The ids that documents of a shard are parted by, and further columns.

    Errors: InputError where it cannot be read.
    """
    table = read_columns(shard, [source.doc_id, *([source.origin] if source.origin else []), *more])
    return parted_by(table, source), table


def parted_by(table: pa.Table, source: Source) -> pa.ChunkedArray:
    """The ids that documents are parted by: of a written one that of its original, so that both go the same way."""
    ids = table[source.doc_id]
    return ids if source.origin is None else pc.coalesce(table[source.origin], ids)


def places(ids: pa.Array | pa.ChunkedArray, seed: int) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each id, which depends on nothing but the id and the seed."""
    hashes = np.empty(len(ids), np.uint64)
    for start in range(0, len(ids), HASHED_ROWS):
        some = ids.slice(start, HASHED_ROWS).to_pylist()
        hashes[start : start + len(some)] = [xxh3_64_intdigest(one.encode(), seed) for one in some]
    return hashes.astype(np.float64) / 2.0**64


def taken(source: Source, ids: pa.Array | pa.ChunkedArray, split: str, validation: float) -> npt.NDArray[np.bool_]:
    """Which documents belong to a split. Documents of equal id, also of other runs, are in the same one."""
    held_out = places(ids, SPLIT_SEED) < validation
    mask: npt.NDArray[np.bool_] = held_out if split == VALIDATION else ~held_out
    return mask if source.share >= 1 else mask & (places(ids, SHARE_SEED) < source.share)


def counts_by_split(source: Source, shard: Shard, validation: float) -> dict[str, tuple[int, int]]:
    """Documents and tokens (as n_tokens counts them) that a shard gives to each split.

    Errors: InputError where the shard cannot be read.
    """
    ids, table = read_ids(source, shard.path, source.n_tokens)
    tokens = table[source.n_tokens].to_numpy()
    found = {}
    for split in (TRAIN, VALIDATION):
        mask = taken(source, ids, split, validation)
        found[split] = int(mask.sum()), int(tokens[mask].sum())
    return found


def check_bytes(shard: Shard) -> None:
    """Refuse a shard that is not the one that the run wrote.

    Errors: InputError.
    """
    if sha256_of(Path(shard.path)) != shard.sha256:
        raise InputError(f"{shard.path}: its bytes changed since the run; run the recipe again to write it anew")


def mapped(engine: Engine, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Tasks with their results, in any order. Errors: that of the first task that fails."""
    for task, result in engine.map(function, tasks):
        if isinstance(result, CurateError):
            raise result
        if task is not None:
            yield task, result


def documents_of(source: Source, shard: str, split: str, validation: float) -> Iterator[pa.Table]:
    """The documents that a shard gives to a split, in its order, with all its columns, about 4 MB together.

    Errors: InputError where the shard cannot be read.
    """
    file = _opened(shard)
    names, start = file.schema_arrow.names, 0
    for k in range(file.metadata.num_row_groups):  # each by itself: the sizes of documents differ between them
        stop = start + file.metadata.row_group(k).num_rows
        for batch in read_rows(shard, start, stop, names):
            table = pa.Table.from_batches([batch])
            yield table.filter(pa.array(taken(source, parted_by(table, source), split, validation)))
        start = stop


def read_columns(shard: str, names: list[str]) -> pa.Table:
    """Some columns of a shard.

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
    """The columns that trainers read, under the names that they read: text or messages, doc_id, n_tokens, source.

    They have the same types for all sources of an export: text is `string`, whichever kind of string a run has.
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
    """What is exported, in hex: another run, share or weight gives another one; another path does not."""
    told = [{"run": "", "shards": ()} | vars(replace(s, run="", shards=())) for s in sources]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()

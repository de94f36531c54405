"""Maps over signatures that find near duplicates: what is to meet goes through files of a scratch folder.

keys       of a slice of all documents: their keys, by band and range of keys
stars      of some bands and ranges: each document with the best one of its key, by the slice of that one
signatures of a slice: those of its documents that others are compared with, by the slice of the others
pairs      of a slice: its documents with the similarity to those that were sent to it

Where the copy that most resembles the others is to survive, two more follow once clusters are known:

members      of a slice: the signatures of its documents in clusters, by bucket of clusters
resemblance  of a bucket: in how many values each document agrees with the others of its cluster

No map sees more than a slice or a range, whatever the number of documents. Documents go by their rank.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from curate.corpus.parquet import READ_BUFFER
from curate.filters.signals.hashes import Bands
from curate.kernels.minhash import Values, agreeing, band_keys, binary_rows, values_of
from curate.kernels.survivors import dealt, resemblance, stars
from curate.storage.files import aside_of

BATCH_ROWS = 1 << 16
NO_RANK = np.uint32(0xFFFFFFFF)  # of a document that is not compared
HALF, LOW = np.uint64(32), np.uint64(0xFFFFFFFF)

Ranks = npt.NDArray[np.uint32]
Packed = npt.NDArray[np.uint64]  # pairs of ranks as numbers, which sort as the pairs do by second and first


@dataclass(frozen=True)
class Slice:
    """Some parts of signatures that follow each other, and the rank of each of their documents."""

    number: int
    parts: tuple[tuple[str, int], ...]  # files, with their rows


@dataclass(frozen=True)
class Spread:
    """How documents are spread over slices and their keys over ranges, and where the files lie."""

    folder: Path
    slices: tuple[Slice, ...]
    bands: Bands
    range_bits: int  # the highest ones of a key, which tell its range
    earlier: int  # documents of earlier runs, which rank first and are not compared with each other
    documents: int
    round: int = 0  # beyond the first, some documents `only` are wanted
    keys: int = 0  # how often keys were made before: what a task that was given up still writes, nobody reads
    renumbered: bool = False  # documents have other ranks than at first; keys that were made before have the first ones

    @property
    def pieces(self) -> int:
        """Bands and ranges."""
        return self.bands.count << self.range_bits

    def path(self, name: str, number: int | None = None) -> Path:
        """A file of the scratch folder."""
        return self.folder / (name if number is None else f"{name}-{number:06d}")

    def written(self, name: str, number: int) -> Path:
        """A file that a task writes for the tasks behind it."""
        return self.path(f"{name}-{self.keys if name == 'keys' else self.round}", number)

    def array(self, name: str) -> npt.NDArray[Any]:
        """An array of the scratch folder, mapped into memory."""
        return np.load(self.path(name), mmap_mode="r")  # type: ignore[no-any-return]

    def ranked(self, name: str, number: int | None = None) -> Path:
        """The file of what depends on ranks: `ranks` of a slice, or what is known of each document, by rank."""
        return self.path(f"{name}-again" if self.renumbered else name, number)

    def by_rank(self, name: str) -> npt.NDArray[Any]:
        """What is known of each document, by rank, mapped into memory."""
        return np.load(self.ranked(name), mmap_mode="r")  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Task:
    """A slice, or some bands and ranges, of a spread."""

    of: Spread
    number: int
    pieces: range = range(0)  # bands and ranges whose keys are found, or whose stars are
    first: int = 0  # of the pieces that the files of keys hold
    sources: tuple[int, ...] = ()  # the tasks before, whose files have something for this one

    def __str__(self) -> str:
        """What the task is, for messages."""
        return f"near duplicates, task {self.number}"


def save(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array that other processes read."""
    with path.open("wb") as file:
        np.save(file, array)


def packed(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> Packed:
    """Pairs as numbers."""
    return second.astype(np.uint64) << HALF | first.astype(np.uint64)


def distinct(keys: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sorted keys without repeats; `np.unique` takes ten times as long."""
    keys.sort()
    fresh = np.ones(len(keys), dtype=bool)
    fresh[1:] = keys[1:] != keys[:-1]
    return keys[fresh]


def find_keys(task: Task) -> None:
    """Write the keys of a slice, or of those documents in it that are wanted: a batch for each band and range."""
    spread, found = task.of, task.of.slices[task.number]
    ranks = np.load(spread.ranked("ranks", task.number))
    wanted = ranks != NO_RANK
    if spread.round:
        wanted[wanted] = spread.array("only")[ranks[wanted]]
    held: list[tuple[Ranks, list[pa.Array]]] = []
    for place, batch in _signatures(found, wanted):
        there = np.flatnonzero(np.asarray(batch.is_valid()) & wanted[place : place + len(batch)])
        signatures = batch if len(there) == len(batch) else batch.take(pa.array(there))
        held.append((ranks[place + there], band_keys(signatures, spread.bands.count, spread.bands.rows)))
    own = np.concatenate([np.zeros(0, np.uint32), *(some for some, _ in held)])

    def batches() -> Iterator[dict[str, npt.NDArray[Any]]]:
        for band in range(task.pieces.start >> spread.range_bits, task.pieces.stop >> spread.range_bits):
            keys = np.concatenate([np.zeros(0, np.uint64), *(some[band].to_numpy() for _, some in held)])
            order, places = dealt(keys, spread.range_bits)
            for begin, end in pairwise(places):
                yield {"key": keys[order[begin:end]], "rank": own[order[begin:end]]}

    _write(spread.written("keys", task.number), batches())


def find_stars(task: Task) -> list[int]:
    """Write the stars of some bands and ranges, a batch for each slice of the better one; return their numbers."""
    spread = task.of
    only = spread.array("only") if spread.round else None
    order = spread.array("order") if spread.renumbered and not spread.keys else None
    edges = [np.zeros(0, np.uint64)]
    for piece in task.pieces:
        batches = [_batch(spread.written("keys", found.number), piece - task.first) for found in spread.slices]
        keys, ranks = (np.concatenate([batch[name].to_numpy() for batch in batches]) for name in ("key", "rank"))
        if order is not None:
            ranks = order[ranks]
        if only is not None:
            wanted = np.flatnonzero(only[ranks])
            keys, ranks = keys[wanted], ranks[wanted]
        edges = [distinct(np.concatenate([*edges, packed(*stars(ranks.astype(np.int64), keys))]))]
    found = edges[0][edges[0] >> HALF >= np.uint64(spread.earlier)]
    return _write_by_slice(spread, "stars", task.number, found, found & LOW, lambda some: {"pair": some})


def send_signatures(task: Task) -> list[int]:
    """Write pairs that were not compared before with the signatures of their better documents, which are of one slice.

    There is a batch for each slice of the other document; their numbers of pairs are returned.
    """
    spread, known = task.of, task.of.array("known")
    batches = [_batch(spread.written("stars", number), task.number) for number in task.sources]
    edges = distinct(np.concatenate([np.zeros(0, np.uint64), *(batch["pair"].to_numpy() for batch in batches)]))
    if len(known):
        edges = edges[known[np.minimum(np.searchsorted(known, edges), len(known) - 1)] != edges]
    first = distinct((edges & LOW).astype(np.uint32))
    values = _signatures_of(task, first)

    def sent(some: Packed) -> dict[str, Any]:
        own = values[np.searchsorted(first, (some & LOW).astype(np.uint32))]
        return {"pair": some, "minhash": binary_rows(own, np.zeros(len(some), bool))}

    return _write_by_slice(spread, "sent", task.number, edges, edges >> HALF, sent)


def compare_signatures(task: Task) -> int:
    """Write the pairs of a slice with their similarity, sorted; return their number."""
    spread = task.of
    batches = [_batch(spread.written("sent", number), task.number) for number in task.sources]
    pairs = np.concatenate([batch["pair"].to_numpy() for batch in batches])
    second = distinct((pairs >> HALF).astype(np.uint32))
    values = _signatures_of(task, second)
    similarity = []
    for batch in (sent.slice(k, BATCH_ROWS) for sent in batches for k in range(0, len(sent), BATCH_ROWS)):
        other = values_of(batch["minhash"])
        own = values[np.searchsorted(second, (batch["pair"].to_numpy() >> HALF).astype(np.uint32))]
        similarity.append((agreeing(own, other) / max(1, other.shape[1])).astype(np.float32))
    order = np.argsort(pairs)
    _write(
        spread.written("pairs", task.number), [{"pair": pairs[order], "similarity": np.concatenate(similarity)[order]}]
    )
    return len(pairs)


def compared_pairs(spread: Spread, slices: Iterable[int]) -> tuple[Packed, npt.NDArray[np.float32]]:
    """The pairs that were written for some slices, sorted, and their similarity."""
    batches = [_batch(spread.written("pairs", number), 0) for number in slices]
    pairs = np.concatenate([np.zeros(0, np.uint64), *(batch["pair"].to_numpy() for batch in batches)])
    similarity = np.concatenate([np.zeros(0, np.float32), *(batch["similarity"].to_numpy() for batch in batches)])
    order = np.argsort(pairs)
    return pairs[order], similarity[order]


def send_members(task: Task) -> None:
    """Write the signatures of those documents of a slice that stand in clusters: a batch for each bucket."""
    spread = task.of
    members, places, buckets = (spread.array(name) for name in ("members", "places", "buckets"))
    ranks = np.load(spread.path("ranks", task.number))
    found = np.minimum(np.searchsorted(members, ranks), len(members) - 1)
    wanted = members[found] == ranks
    held = [np.zeros(0, np.int64)], [pa.array([], pa.binary(4))]
    for place, batch in _signatures(spread.slices[task.number], wanted):
        there = np.flatnonzero(wanted[place : place + len(batch)])
        if len(there):
            held[0].append(places[found[place + there]])
            held[1].append(batch.take(pa.array(there)))
    own, signatures = np.concatenate(held[0]), pa.concat_arrays(held[1][1:] or held[1])
    order = np.argsort(own)
    bounds = np.searchsorted(own[order], buckets)
    batches = (order[begin:end] for begin, end in pairwise(bounds))
    _write(
        spread.path("sent-members", task.number),
        ({"place": own[some], "minhash": signatures.take(pa.array(some))} for some in batches),
    )


def count_resemblance(task: Task) -> None:
    """Write the resemblance of each document in a bucket of clusters to the copies in its cluster."""
    spread, bounds = task.of, task.pieces
    batches = [_batch(spread.path("sent-members", found.number), task.number) for found in spread.slices]
    places = np.concatenate([batch["place"].to_numpy() for batch in batches]) - bounds.start
    values = np.concatenate([values_of(batch["minhash"]) for batch in batches if len(batch)])[np.argsort(places)]
    begins = spread.array("begins")
    first, last = np.searchsorted(begins, (bounds.start, bounds.stop))
    copies = np.asarray(spread.array("copies")[bounds.start : bounds.stop])
    found = resemblance(values, copies, np.asarray(begins[first : last + 1]) - bounds.start)
    _write(spread.path("resemblance", task.number), [{"resemblance": found}])


def resemblances(spread: Spread, buckets: int) -> npt.NDArray[np.int64]:
    """What `count_resemblance` wrote of all buckets."""
    batches = [_batch(spread.path("resemblance", number), 0) for number in range(buckets)]
    return np.concatenate([batch["resemblance"].to_numpy() for batch in batches])


def _signatures_of(task: Task, wanted: Ranks) -> Values:
    """The signatures of documents of the task's slice, a row each; `wanted` are sorted."""
    ranks = np.load(task.of.ranked("ranks", task.number))
    places = np.minimum(np.searchsorted(wanted, ranks), max(0, len(wanted) - 1))
    hit = wanted[places] == ranks if len(wanted) else np.zeros(len(ranks), bool)
    values = np.empty((len(wanted), 0), dtype=np.uint32)
    for place, batch in _signatures(task.of.slices[task.number], hit):
        here = values_of(batch)
        if values.shape[1] != here.shape[1]:
            values = np.empty((len(wanted), here.shape[1]), dtype=np.uint32)
        found = np.flatnonzero(hit[place : place + len(batch)])
        values[places[place + found]] = here[found]
    return values


def _signatures(of: Slice, wanted: npt.NDArray[np.bool_]) -> Iterator[tuple[int, pa.Array]]:
    """The signatures of a slice, some at a time, with their place in it; row groups with none `wanted` left out."""
    place = 0
    for path, _ in of.parts:
        file = pq.ParquetFile(path, buffer_size=READ_BUFFER)
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if wanted[place : place + rows].any():
                at = place
                for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=["minhash"]):
                    yield at, batch["minhash"]
                    at += len(batch)
            place += rows


def _write_by_slice(
    spread: Spread, name: str, number: int, pairs: Packed, ranks: Packed, columns: Any  # noqa: ANN401
) -> list[int]:  # fmt: skip
    """Write pairs, which are sorted, with a batch for each slice that `ranks` are of; return the batches' lengths."""
    owners = spread.by_rank("slice")[ranks.astype(np.int64)]
    order = np.argsort(owners, kind="stable")
    places = np.searchsorted(owners[order], np.arange(len(spread.slices) + 1))
    dealt_pairs = (pairs[order[begin:end]] for begin, end in pairwise(places))
    _write(spread.written(name, number), map(columns, dealt_pairs))
    return np.diff(places).tolist()  # type: ignore[no-any-return]


def _write(path: Path, batches: Iterable[dict[str, Any]]) -> None:
    """Write batches of named columns as an Arrow file, which is whole or not there."""
    aside, writer = aside_of(path), None
    for columns in batches:
        batch = pa.record_batch(columns)
        writer = writer or pa.ipc.new_file(str(aside), batch.schema)
        writer.write_batch(batch)
    assert writer is not None
    writer.close()
    os.replace(aside, path)


def _batch(path: Path, number: int) -> pa.RecordBatch:
    """A batch of an Arrow file, mapped into memory."""
    return pa.ipc.open_file(pa.memory_map(str(path))).get_batch(number)


def slices_of(sources: Sequence[Sequence[tuple[str, int]]], rows: int) -> list[Slice]:
    """Parts (file, rows) of each source as slices of about so many rows."""
    found: list[Slice] = []
    for parts in sources:
        held: list[tuple[str, int]] = []
        for k, part in enumerate(parts):
            held.append(part)
            if sum(count for _, count in held) >= rows or k == len(parts) - 1:
                found.append(Slice(len(found), tuple(held)))
                held = []
    return found

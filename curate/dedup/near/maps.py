"""Maps over signatures that find near duplicates, and exchange records through files of a scratch folder.

find_keys           one slice of the documents -> their LSH keys, by band and key range
find_stars          one band and key range -> each document paired with the best one of its key, by the best one's slice
send_signatures     one slice -> the signatures of those best documents, by the slice of the documents paired with them
compare_signatures  one slice -> the similarity of its documents to the signatures received

Two more choose the surviving copy once clusters are known (`best_copies.py`):

send_members        one slice -> the signatures of its documents in clusters, by bucket of clusters
count_resemblance   one bucket -> in how many signature values each document agrees with the rest of its cluster

No map holds more than one slice or key range, whatever the number of documents. Documents are named by their rank.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
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
Packed = npt.NDArray[np.uint64]  # pairs of ranks as second << 32 | first, so that they sort by second, then first

ColumnsOf = Callable[[Packed], dict[str, Any]]  # of a batch of pairs


@dataclass(frozen=True)
class Slice:
    """Consecutive parts of signatures, which one task handles."""

    number: int
    parts: tuple[tuple[str, int], ...]  # files, with their rows


@dataclass(frozen=True)
class Spread:
    """How documents are divided into slices and keys into ranges, and the folder of the files."""

    folder: Path
    slices: tuple[Slice, ...]
    bands: Bands
    range_bits: int  # leading bits of a key, which number its range
    earlier: int  # documents of earlier runs, which rank first and are not compared with each other
    documents: int
    round: int = 0  # after the first, only the documents flagged in `only` are compared
    keys: int = 0  # generation of the key files, so that an abandoned task cannot write into files that are read
    renumbered: bool = False  # ranks have changed since the first keys were written, which have the original ones

    @property
    def pieces(self) -> int:
        """Number of (band, key range) pieces."""
        return self.bands.count << self.range_bits

    def path(self, name: str, number: int | None = None) -> Path:
        """A file of the scratch folder."""
        return self.folder / (name if number is None else f"{name}-{number:06d}")

    def written(self, name: str, number: int) -> Path:
        """A file that a task writes for later tasks."""
        return self.path(f"{name}-{self.keys if name == 'keys' else self.round}", number)

    def array(self, name: str) -> npt.NDArray[Any]:
        """An array of the scratch folder, mapped into memory."""
        return np.load(self.path(name), mmap_mode="r")  # type: ignore[no-any-return]

    def ranked(self, name: str, number: int | None = None) -> Path:
        """The file of an array that depends on ranks: `ranks` of a slice, or a property of each document by rank."""
        return self.path(f"{name}-again" if self.renumbered else name, number)

    def by_rank(self, name: str) -> npt.NDArray[Any]:
        """A property of each document by rank, mapped into memory."""
        return np.load(self.ranked(name), mmap_mode="r")  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Task:
    """One slice, or some (band, key range) pieces, of a spread."""

    of: Spread
    number: int
    pieces: range = range(0)
    first: int = 0  # first piece in the key files
    sources: tuple[int, ...] = ()  # earlier tasks whose files have a batch for this one

    def __str__(self) -> str:
        """What the task is, for messages."""
        return f"near duplicates, task {self.number}"


def save(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array that other processes read."""
    with path.open("wb") as file:
        np.save(file, array)


def packed(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> Packed:
    """Pack pairs of ranks into numbers."""
    return second.astype(np.uint64) << HALF | first.astype(np.uint64)


def distinct(keys: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sort keys in place and drop repeats; `np.unique` takes ten times as long."""
    keys.sort()
    fresh = np.ones(len(keys), dtype=bool)
    fresh[1:] = keys[1:] != keys[:-1]
    return keys[fresh]


def find_keys(task: Task) -> None:
    """Write the keys of a slice, or of its documents flagged in `only`: a batch for each piece."""
    spread, part_slice = task.of, task.of.slices[task.number]
    ranks = np.load(spread.ranked("ranks", task.number))
    selected = ranks != NO_RANK
    if spread.round:
        selected[selected] = spread.array("only")[ranks[selected]]
    keyed: list[tuple[Ranks, list[pa.Array]]] = []
    for start, batch in _signatures(part_slice, selected):
        rows = np.flatnonzero(np.asarray(batch.is_valid()) & selected[start : start + len(batch)])
        signatures = batch if len(rows) == len(batch) else batch.take(pa.array(rows))
        keyed.append((ranks[start + rows], band_keys(signatures, spread.bands.count, spread.bands.rows)))
    all_ranks = np.concatenate([np.zeros(0, np.uint32), *(part for part, _ in keyed)])

    def batches() -> Iterator[dict[str, npt.NDArray[Any]]]:
        for band in range(task.pieces.start >> spread.range_bits, task.pieces.stop >> spread.range_bits):
            keys = np.concatenate([np.zeros(0, np.uint64), *(part[band].to_numpy() for _, part in keyed)])
            order, bounds = dealt(keys, spread.range_bits)
            for begin, end in pairwise(bounds):
                yield {"key": keys[order[begin:end]], "rank": all_ranks[order[begin:end]]}

    _write(spread.written("keys", task.number), batches())


def find_stars(task: Task) -> list[int]:
    """Pair each document with the best one of its key; write a batch for each slice of the best, return their sizes."""
    spread = task.of
    only = spread.array("only") if spread.round else None
    order = spread.array("order") if spread.renumbered and not spread.keys else None
    edges = [np.zeros(0, np.uint64)]
    for piece in task.pieces:
        batches = [_batch(spread.written("keys", fresh.number), piece - task.first) for fresh in spread.slices]
        keys, ranks = (np.concatenate([batch[name].to_numpy() for batch in batches]) for name in ("key", "rank"))
        if order is not None:
            ranks = order[ranks]
        if only is not None:
            rows = np.flatnonzero(only[ranks])
            keys, ranks = keys[rows], ranks[rows]
        edges = [distinct(np.concatenate([*edges, packed(*stars(ranks.astype(np.int64), keys))]))]
    fresh = edges[0][edges[0] >> HALF >= np.uint64(spread.earlier)]
    return _write_by_slice(spread, "stars", task.number, fresh, fresh & LOW, lambda pairs: {"pair": pairs})


def send_signatures(task: Task) -> list[int]:
    """Write pairs not compared before with the signatures of their better documents, which are in the task's slice.

    Writes a batch for each slice of the other document; returns the batches' sizes.
    """
    spread, compared = task.of, task.of.array("known")
    batches = [_batch(spread.written("stars", number), task.number) for number in task.sources]
    edges = distinct(np.concatenate([np.zeros(0, np.uint64), *(batch["pair"].to_numpy() for batch in batches)]))
    if len(compared):
        edges = edges[compared[np.minimum(np.searchsorted(compared, edges), len(compared) - 1)] != edges]
    first = distinct((edges & LOW).astype(np.uint32))
    values = _signatures_of(task, first)

    def sent(pairs: Packed) -> dict[str, Any]:
        better = values[np.searchsorted(first, (pairs & LOW).astype(np.uint32))]
        return {"pair": pairs, "minhash": binary_rows(better, np.zeros(len(pairs), bool))}

    return _write_by_slice(spread, "sent", task.number, edges, edges >> HALF, sent)


def compare_signatures(task: Task) -> int:
    """Write the pairs of a slice, sorted, with their similarity; return their number."""
    spread = task.of
    batches = [_batch(spread.written("sent", number), task.number) for number in task.sources]
    pairs = np.concatenate([batch["pair"].to_numpy() for batch in batches])
    second = distinct((pairs >> HALF).astype(np.uint32))
    values = _signatures_of(task, second)
    similarity = []
    for batch in (sent.slice(k, BATCH_ROWS) for sent in batches for k in range(0, len(sent), BATCH_ROWS)):
        other = values_of(batch["minhash"])
        here = values[np.searchsorted(second, (batch["pair"].to_numpy() >> HALF).astype(np.uint32))]
        similarity.append((agreeing(here, other) / max(1, other.shape[1])).astype(np.float32))
    order = np.argsort(pairs)
    _write(
        spread.written("pairs", task.number), [{"pair": pairs[order], "similarity": np.concatenate(similarity)[order]}]
    )
    return len(pairs)


def compared_pairs(spread: Spread, slices: Iterable[int]) -> tuple[Packed, npt.NDArray[np.float32]]:
    """The pairs written for some slices, sorted, and their similarity."""
    batches = [_batch(spread.written("pairs", number), 0) for number in slices]
    pairs = np.concatenate([np.zeros(0, np.uint64), *(batch["pair"].to_numpy() for batch in batches)])
    similarity = np.concatenate([np.zeros(0, np.float32), *(batch["similarity"].to_numpy() for batch in batches)])
    order = np.argsort(pairs)
    return pairs[order], similarity[order]


def send_members(task: Task) -> None:
    """Write the signatures of a slice's documents in clusters: a batch for each bucket."""
    spread = task.of
    members, positions, buckets = (spread.array(name) for name in ("members", "places", "buckets"))
    ranks = np.load(spread.path("ranks", task.number))
    nearest = np.minimum(np.searchsorted(members, ranks), len(members) - 1)
    selected = members[nearest] == ranks
    collected = [np.zeros(0, np.int64)], [pa.array([], pa.binary(4))]
    for start, batch in _signatures(spread.slices[task.number], selected):
        rows = np.flatnonzero(selected[start : start + len(batch)])
        if len(rows):
            collected[0].append(positions[nearest[start + rows]])
            collected[1].append(batch.take(pa.array(rows)))
    all_positions, signatures = np.concatenate(collected[0]), pa.concat_arrays(collected[1][1:] or collected[1])
    order = np.argsort(all_positions)
    bounds = np.searchsorted(all_positions[order], buckets)
    batches = (order[begin:end] for begin, end in pairwise(bounds))
    _write(
        spread.path("sent-members", task.number),
        ({"place": all_positions[rows], "minhash": signatures.take(pa.array(rows))} for rows in batches),
    )


def count_resemblance(task: Task) -> None:
    """Write how far each document in a bucket agrees with the copies in its cluster."""
    spread, bounds = task.of, task.pieces
    batches = [_batch(spread.path("sent-members", agreement.number), task.number) for agreement in spread.slices]
    positions = np.concatenate([batch["place"].to_numpy() for batch in batches]) - bounds.start
    values = np.concatenate([values_of(batch["minhash"]) for batch in batches if len(batch)])[np.argsort(positions)]
    begins = spread.array("begins")
    first, last = np.searchsorted(begins, (bounds.start, bounds.stop))
    copies = np.asarray(spread.array("copies")[bounds.start : bounds.stop])
    agreement = resemblance(values, copies, np.asarray(begins[first : last + 1]) - bounds.start)
    _write(spread.path("resemblance", task.number), [{"resemblance": agreement}])


def resemblances(spread: Spread, buckets: int) -> npt.NDArray[np.int64]:
    """Read what `count_resemblance` wrote for all buckets."""
    batches = [_batch(spread.path("resemblance", number), 0) for number in range(buckets)]
    return np.concatenate([batch["resemblance"].to_numpy() for batch in batches])


def _signatures_of(task: Task, sorted_ranks: Ranks) -> Values:
    """The signatures of documents of the task's slice, one row each, in the order of `sorted_ranks`."""
    ranks = np.load(task.of.ranked("ranks", task.number))
    positions = np.minimum(np.searchsorted(sorted_ranks, ranks), max(0, len(sorted_ranks) - 1))
    hit = sorted_ranks[positions] == ranks if len(sorted_ranks) else np.zeros(len(ranks), bool)
    values = np.empty((len(sorted_ranks), 0), dtype=np.uint32)
    for start, batch in _signatures(task.of.slices[task.number], hit):
        batch_values = values_of(batch)
        if values.shape[1] != batch_values.shape[1]:
            values = np.empty((len(sorted_ranks), batch_values.shape[1]), dtype=np.uint32)
        rows = np.flatnonzero(hit[start : start + len(batch)])
        values[positions[start + rows]] = batch_values[rows]
    return values


def _signatures(of: Slice, selected: npt.NDArray[np.bool_]) -> Iterator[tuple[int, pa.Array]]:
    """Batches of a slice's signatures with their start row; skips row groups without a `selected` document."""
    start = 0
    for path, _ in of.parts:
        file = pq.ParquetFile(path, buffer_size=READ_BUFFER)
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if selected[start : start + rows].any():
                batch_start = start
                for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=["minhash"]):
                    yield batch_start, batch["minhash"]
                    batch_start += len(batch)
            start += rows


def _write_by_slice(
    spread: Spread, name: str, number: int, pairs: Packed, ranks: Packed, columns: ColumnsOf
) -> list[int]:
    """Write sorted pairs, a batch for each slice of the documents `ranks`; return the batches' sizes."""
    owners = spread.by_rank("slice")[ranks.astype(np.int64)]
    order = np.argsort(owners, kind="stable")
    bounds = np.searchsorted(owners[order], np.arange(len(spread.slices) + 1))
    dealt_pairs = (pairs[order[begin:end]] for begin, end in pairwise(bounds))
    _write(spread.written(name, number), map(columns, dealt_pairs))
    return np.diff(bounds).tolist()  # type: ignore[no-any-return]


def _write(path: Path, batches: Iterable[dict[str, Any]]) -> None:
    """Write batches of named columns as an Arrow file, atomically."""
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
    """Divide the parts (file, rows) of each source into slices of about `rows` rows."""
    slices: list[Slice] = []
    for parts in sources:
        collected: list[tuple[str, int]] = []
        for k, part in enumerate(parts):
            collected.append(part)
            if sum(count for _, count in collected) >= rows or k == len(parts) - 1:
                slices.append(Slice(len(slices), tuple(collected)))
                collected = []
    return slices

"""Candidates for a budget in layers, from the best down: a budget reads only the upper ones.

A histogram of keys defines the layers. Those that the budget is likely to reach are written to files with the columns
of their documents, and further ones when the budget reaches them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.distill.budget.ranks import MAX_CLASSES, Histogram, Keys, sortable
from curate.distill.budget.select import Candidates, Flags, Integers

LAYER = 1 << 28  # bytes of documents with their shingles, approximately; twice as much while they are read
ROW_BYTES = 40  # of a document without its shingles
MAX_FILES = 128  # written at a time
MARGIN = 1.25  # times the budget is written at first, as some documents will be redundant

COLUMNS = ("position", "key", "size", "stratum", "cluster")  # of candidates, besides their shingles

Arrays = dict[str, npt.NDArray[Any]]  # columns of a batch of candidates
Batches = Callable[[], Iterable[Arrays]]


def write_columns(path: Path, batches: Iterable[Arrays]) -> None:
    """Write batches of numeric columns."""
    path.touch()
    with ExitStack() as stack:
        write = None
        for columns in batches:
            batch = pa.record_batch({name: pa.array(values) for name, values in columns.items()})
            write = write or _writer(path, batch.schema, stack)
            write(batch)


def columns_in(path: Path) -> Iterator[Arrays]:
    """Read the batches of a file of `write_columns`."""
    for batch in _batches(path):
        yield {name: batch[name].to_numpy(zero_copy_only=False) for name in batch.schema.names}


def _writer(path: Path, schema: pa.Schema, stack: ExitStack) -> Callable[[pa.RecordBatch], None]:
    sink = stack.enter_context(pa.OSFile(str(path), "wb"))
    return stack.enter_context(pa.ipc.new_stream(sink, schema)).write_batch  # type: ignore[no-any-return]


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    if path.stat().st_size:
        with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as reader:
            yield from reader


@dataclass(frozen=True)
class Cuts:
    """The bounds of layers, as keys.

    All candidates from one bound up to the next are in one layer, or in several where one key has too many: these are
    split in input order.
    """

    bounds: Keys  # ascending
    first: Integers  # the first layer from each bound on; at the end, that of candidates below all bounds
    parts: Integers  # the number of layers from each bound on


def cuts_of(batches: Batches) -> Cuts:
    """Layers of about LAYER bytes of candidates (key, bytes); candidates of key -inf are below all layers."""
    keys, sizes, exact = _classes(batches)
    keys, sizes, exact = keys[::-1], sizes[::-1], exact[::-1]  # best first
    alone = exact & (sizes > LAYER)
    begins = np.diff((np.cumsum(sizes) - sizes) // LAYER, prepend=-1) > 0
    begins |= alone
    begins[1:] |= alone[:-1]
    starts = np.flatnonzero(begins)
    parts = np.where(alone[starts], -(-sizes[starts] // LAYER), 1)
    bounds = keys[np.append(starts[1:], len(keys)) - 1] if len(starts) else keys
    upto = np.cumsum(parts)
    return Cuts(bounds[::-1], np.append((upto - parts)[::-1], upto[-1:].sum()), np.append(parts[::-1], 1))


def _classes(batches: Batches) -> tuple[Keys, Integers, Flags]:
    """Classes of keys, ascending: their least key, the bytes of their candidates, whether they have a single key."""
    keys, sizes, exact = _count_classes(batches, lambda keys: np.ones(len(keys), bool))
    coarse = ~exact & (sizes > LAYER)
    if not coarse.any():
        return keys, sizes, exact
    finer = _count_classes(batches, lambda counted: coarse[keys.searchsorted(counted, "right") - 1])
    keys, sizes, exact = (np.append(old[~coarse], new) for old, new in zip((keys, sizes, exact), finer, strict=True))
    order = np.argsort(keys)
    return keys[order], sizes[order], exact[order]


def _count_classes(batches: Batches, is_counted: Callable[[Keys], Flags]) -> tuple[Keys, Integers, Flags]:
    """The classes of the keys that are counted, as `_classes` returns them."""
    histogram = Histogram(most=MAX_CLASSES)
    for columns in batches():
        finite = ~np.isneginf(columns["key"])
        keys, sizes = sortable(columns["key"][finite]), _sizes(columns)[finite]
        counted = is_counted(keys)
        histogram.add(keys[counted], sizes[counted])
    histogram.merge()
    exact = np.full(len(histogram.keys), histogram.shift == 0)
    return histogram.keys << np.uint64(histogram.shift), histogram.counts, exact


def _sizes(columns: Arrays) -> Integers:
    """Bytes of candidates in memory: one shingle of four bytes per eight words, of about four bytes of text each."""
    return ROW_BYTES + columns["bytes"].astype(np.int64) // 8


class Layers:
    """Layers of candidates in a folder, to which files are added.

    `batches` returns the candidates' columns (key, bytes, size, stratum, cluster) and `shingles` their shingles, in
    input order and in the same batches.
    """

    def __init__(
        self, folder: Path, batches: Batches, shingles: Callable[[], Iterable[pa.Array]], budget: int, strata: int
    ) -> None:
        self.folder, self.batches, self.shingles, self.budget = folder, batches, shingles, budget
        self.cuts = cuts_of(batches)
        count = int(self.cuts.first[-1])
        self.files: list[list[Path]] = [[] for _ in range(count)]  # of each layer
        self.written = np.zeros(strata, np.int64)  # number of upper layers in files, of each stratum
        sizes = np.zeros(count + 1, np.int64)
        for columns, layers, _ in self._with_layers():
            sizes += np.bincount(layers, columns["size"], count + 1).astype(np.int64)
        self.size_through = np.cumsum(sizes[:-1])  # size of each layer and those above it, in the unit of the budget

    def best_first(self, open_strata: Flags) -> Iterator[Candidates]:
        """The candidates layer by layer: all of the strata that are open at the time, and maybe others."""
        for layer, files in enumerate(self.files):
            if not open_strata.any():
                return
            missing = open_strata & (self.written <= layer)
            if missing.any():
                self._write(missing, layer)
            if files:
                yield _read_candidates(files)

    def _with_layers(self) -> Iterator[tuple[Arrays, Integers, Integers]]:
        """Batches of candidates, with their layers and positions."""
        begin, bytes_of_class = 0, np.zeros(len(self.cuts.first), np.int64)
        for columns in self.batches():
            positions = np.arange(begin, begin + len(columns["key"]))
            begin += len(positions)
            classes = self.cuts.bounds.searchsorted(sortable(columns["key"]), "right") - 1
            layers = self.cuts.first[classes]
            for split in np.unique(classes[self.cuts.parts[classes] > 1]):
                members = classes == split
                ends = bytes_of_class[split] + np.cumsum(_sizes(columns)[members])
                layers[members] += np.minimum(ends // LAYER, self.cuts.parts[split] - 1)
                bytes_of_class[split] = ends[-1]
            yield columns, layers, positions

    def _write(self, strata: Flags, layer: int) -> None:
        """Write this layer of the strata, and the next ones that are likely to be read."""
        size_above = self.size_through[layer - 1] if layer else 0
        sufficient = int(np.searchsorted(self.size_through, max(MARGIN * self.budget, 2 * size_above)))
        end = min(max(layer, sufficient) + 1, layer + MAX_FILES, len(self.files))
        file_count = sum(map(len, self.files))
        with ExitStack() as stack:
            writers: dict[int, Callable[[pa.RecordBatch], None]] = {}
            for (columns, layers, positions), shingles in zip(self._with_layers(), self.shingles(), strict=True):
                stratum = columns["stratum"]
                rows = np.flatnonzero(strata[stratum] & (layers >= self.written[stratum]) & (layers < end))
                rows = rows[np.argsort(layers[rows], kind="stable")]
                present, starts, sizes = np.unique(layers[rows], return_index=True, return_counts=True)
                by_name = {"position": positions, **columns}
                taken = {name: by_name[name][rows] for name in COLUMNS}
                batch = pa.record_batch({**taken, "shingles": shingles.take(pa.array(rows))})
                for k, start, size in zip(present, starts, sizes, strict=True):
                    if k not in writers:
                        self.files[k].append(self.folder / f"layer-{file_count:06d}")
                        file_count += 1
                        writers[k] = _writer(self.files[k][-1], batch.schema, stack)
                    writers[k](batch.slice(start, size))
        self.written[strata] = end


def _read_candidates(files: Sequence[Path]) -> Candidates:
    batches = [batch for path in files for batch in _batches(path)]
    position, key, size, stratum, cluster = (
        np.concatenate([batch[name].to_numpy() for batch in batches]) for name in COLUMNS
    )
    lists = [batch["shingles"] for batch in batches]
    counts = np.concatenate([pc.fill_null(pc.list_value_length(batch), 0).to_numpy() for batch in lists])
    return Candidates(
        positions=position,
        keys=key,
        sizes=size,
        strata=stratum,
        clusters=cluster,
        offsets=np.append(0, np.cumsum(counts, dtype=np.int64)),
        shingles=np.concatenate([batch.flatten().to_numpy() for batch in lists]),
    )

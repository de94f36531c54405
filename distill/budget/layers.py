"""Candidates for a budget in layers, from the best down: a budget looks at the upper ones alone.

A histogram of keys tells the layers. Those that the budget is likely to reach are written to files with what is to be
known of their documents, and further ones when the budget comes to them.
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

from curate.distill.budget.ranks import MOST_CLASSES, Histogram, Keys, sortable
from curate.distill.budget.select import Candidates, Flags, Integers

LAYER = 1 << 28  # bytes of documents with their shingles, about; as much again while they are read
ROW_BYTES = 40  # of a document without its shingles
MOST_FILES = 128  # that are written at a time
MARGIN = 1.25  # times a budget is written at first, as some of it will be redundant

COLUMNS = ("place", "key", "tokens", "stratum", "cluster")  # of candidates, beside their shingles

Arrays = dict[str, npt.NDArray[Any]]  # some columns of a batch of candidates
Batches = Callable[[], Iterable[Arrays]]


def write_columns(path: Path, batches: Iterable[Arrays]) -> None:
    """Write columns of numbers, batch by batch."""
    path.touch()
    with ExitStack() as stack:
        write = None
        for columns in batches:
            batch = pa.record_batch({name: pa.array(values) for name, values in columns.items()})
            write = write or _writer(path, batch.schema, stack)
            write(batch)


def columns_in(path: Path) -> Iterator[Arrays]:
    """The columns that were written, batch by batch."""
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
    """Where layers part, by keys.

    All candidates with keys from a bound on are in one layer, or in several where they are too many of one key: these
    are parted by input order.
    """

    bounds: Keys  # ascending
    first: Integers  # the layer of what lies from each bound on, the first one of several; at the end, of what is below
    parts: Integers  # how many layers that is


def cuts_of(batches: Batches) -> Cuts:
    """Layers of about LAYER bytes of candidates (key, tokens); those of key -inf are below all of them."""
    keys, sizes, exact = _classes(batches)
    keys, sizes, exact = keys[::-1], sizes[::-1], exact[::-1]  # the best first
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
    """Classes of keys in ascending order: the least key, the bytes of their candidates, whether it is a single key."""
    keys, sizes, exact = _counted(batches, lambda keys: np.ones(len(keys), bool))
    coarse = ~exact & (sizes > LAYER)
    if not coarse.any():
        return keys, sizes, exact
    finer = _counted(batches, lambda some: coarse[keys.searchsorted(some, "right") - 1])
    keys, sizes, exact = (np.append(old[~coarse], new) for old, new in zip((keys, sizes, exact), finer, strict=True))
    order = np.argsort(keys)
    return keys[order], sizes[order], exact[order]


def _counted(batches: Batches, wanted: Callable[[Keys], Flags]) -> tuple[Keys, Integers, Flags]:
    histogram = Histogram(most=MOST_CLASSES)
    for columns in batches():
        kept = ~np.isneginf(columns["key"])
        keys, sizes = sortable(columns["key"][kept]), _sizes(columns)[kept]
        found = wanted(keys)
        histogram.add(keys[found], sizes[found])
    histogram.merge()
    exact = np.full(len(histogram.keys), histogram.shift == 0)
    return histogram.keys << np.uint64(histogram.shift), histogram.counts, exact


def _sizes(columns: Arrays) -> Integers:
    """Bytes of candidates in memory: of texts of eight words a shingle is kept, of four bytes."""
    return ROW_BYTES + columns["tokens"].astype(np.int64) // 2


class Layers:
    """Layers of candidates in a folder, to which files are added.

    `batches` gives the candidates' columns (key, tokens, stratum, cluster) and `shingles` their shingles, in input
    order and in the same batches.
    """

    def __init__(
        self, folder: Path, batches: Batches, shingles: Callable[[], Iterable[pa.Array]], budget: int, strata: int
    ) -> None:
        self.folder, self.batches, self.shingles, self.budget = folder, batches, shingles, budget
        self.cuts = cuts_of(batches)
        count = int(self.cuts.first[-1])
        self.files: list[list[Path]] = [[] for _ in range(count)]  # of each layer
        self.written = np.zeros(strata, np.int64)  # of each stratum, how many of the upper layers lie in files
        tokens = np.zeros(count + 1, np.int64)
        for columns, layers, _ in self._located():
            tokens += np.bincount(layers, columns["tokens"], count + 1).astype(np.int64)
        self.upto = np.cumsum(tokens[:-1])  # tokens down to the end of each layer

    def best_first(self, wanted: Flags) -> Iterator[Candidates]:
        """Layer by layer, candidates of the strata that are still wanted, and others beside them."""
        for layer, files in enumerate(self.files):
            if not wanted.any():
                return
            lacking = wanted & (self.written <= layer)
            if lacking.any():
                self._write(lacking, layer)
            if files:
                yield _candidates(files)

    def _located(self) -> Iterator[tuple[Arrays, Integers, Integers]]:
        """Batches of the candidates, with their layers and places."""
        begin, passed = 0, np.zeros(len(self.cuts.first), np.int64)
        for columns in self.batches():
            places = np.arange(begin, begin + len(columns["key"]))
            begin += len(places)
            classes = self.cuts.bounds.searchsorted(sortable(columns["key"]), "right") - 1
            layers = self.cuts.first[classes]
            for many in np.unique(classes[self.cuts.parts[classes] > 1]):
                own = classes == many
                upto = passed[many] + np.cumsum(_sizes(columns)[own])
                layers[own] += np.minimum(upto // LAYER, self.cuts.parts[many] - 1)
                passed[many] = upto[-1]
            yield columns, layers, places

    def _write(self, strata: Flags, layer: int) -> None:
        """Write this layer of some strata, and those behind it that are likely to be wanted."""
        before = self.upto[layer - 1] if layer else 0
        enough = int(np.searchsorted(self.upto, max(MARGIN * self.budget, 2 * before)))
        end = min(max(layer, enough) + 1, layer + MOST_FILES, len(self.files))
        made = sum(map(len, self.files))
        with ExitStack() as stack:
            writers: dict[int, Callable[[pa.RecordBatch], None]] = {}
            for (columns, layers, places), shingles in zip(self._located(), self.shingles(), strict=True):
                own = columns["stratum"]
                found = np.flatnonzero(strata[own] & (layers >= self.written[own]) & (layers < end))
                found = found[np.argsort(layers[found], kind="stable")]
                there, starts, sizes = np.unique(layers[found], return_index=True, return_counts=True)
                known = {"place": places, **columns}
                some = {name: known[name][found] for name in COLUMNS}
                batch = pa.record_batch({**some, "shingles": shingles.take(pa.array(found))})
                for k, start, size in zip(there, starts, sizes, strict=True):
                    if k not in writers:
                        self.files[k].append(self.folder / f"layer-{made:06d}")
                        made += 1
                        writers[k] = _writer(self.files[k][-1], batch.schema, stack)
                    writers[k](batch.slice(start, size))
        self.written[strata] = end


def _candidates(files: Sequence[Path]) -> Candidates:
    """What files hold."""
    batches = [batch for path in files for batch in _batches(path)]
    place, key, tokens, stratum, cluster = (
        np.concatenate([batch[name].to_numpy() for batch in batches]) for name in COLUMNS
    )
    lists = [batch["shingles"] for batch in batches]
    sizes = np.concatenate([pc.fill_null(pc.list_value_length(some), 0).to_numpy() for some in lists])
    held = np.concatenate([some.flatten().to_numpy() for some in lists])
    return Candidates(place, key, tokens, stratum, cluster, np.append(0, np.cumsum(sizes, dtype=np.int64)), held)

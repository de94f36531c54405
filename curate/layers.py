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

from curate.distill.histogram import Histogram, sortable
from curate.distill.select import Candidates, Flags, Integers, Reals

LAYER = 1 << 20  # documents of a layer, about
MOST_FILES = 128  # that are written at a time
MARGIN = 1.25  # times a budget is written at first, as some of it will be redundant

Columns = dict[str, npt.NDArray[Any]]  # some columns of candidates


def write_columns(path: Path, batches: Iterable[Columns]) -> None:
    """Write columns of numbers, batch by batch."""
    with ExitStack() as stack:
        write = None
        for columns in batches:
            batch = pa.record_batch({name: pa.array(values) for name, values in columns.items()})
            write = write or _writer(path, batch.schema, stack)
            write(batch)


def columns_in(*paths: Path) -> Iterator[Columns]:
    """The columns that were written to files, batch by batch; those of equal batches side by side."""
    for batches in zip(*map(_batches, paths), strict=True):
        yield {
            name: batch[name].to_numpy(zero_copy_only=False) for batch in batches for name in batch.schema.names
        }  # fmt: skip


def _writer(path: Path, schema: pa.Schema, stack: ExitStack) -> Callable[[pa.RecordBatch], None]:
    sink = stack.enter_context(pa.OSFile(str(path), "wb"))
    return stack.enter_context(pa.ipc.new_stream(sink, schema)).write_batch  # type: ignore[no-any-return]


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as reader:
        yield from reader


@dataclass(frozen=True)
class Cuts:
    """Where layers part."""

    keys: Histogram
    first: Integers  # the layer of each class of keys
    parts: Integers  # of each class: one key that many have makes several layers, by places
    documents: int

    @property
    def layers(self) -> int:
        """How many there are."""
        return int(self.first[0] + self.parts[0]) if len(self.first) else 0

    def layer_of(self, keys: Reals, places: Integers) -> Integers:
        """The layers of candidates; such as are never kept, of key -inf, are below all."""
        found = np.full(len(keys), self.layers)
        kept = ~np.isneginf(keys)
        classes = self.keys.classes_of(sortable(keys[kept]))
        found[kept] = self.first[classes] + places[kept] * self.parts[classes] // self.documents
        return found


def cuts_of(keys: Histogram, documents: int) -> Cuts:
    """Layers of about LAYER documents, of a histogram of the sortable keys of those that may be kept."""
    keys.merge()
    counts = keys.counts[::-1]  # from the best down
    parts = np.where((counts > LAYER) & (keys.shift == 0), -(-counts // LAYER), 1)
    filled = (np.cumsum(counts) - counts) // LAYER
    fresh = np.append(True, (np.diff(filled) > 0) | (parts[1:] > 1) | (parts[:-1] > 1))[: len(counts)]
    first = np.cumsum(np.where(fresh, np.append(0, parts[:-1])[: len(counts)], 0))
    return Cuts(keys, first[::-1], parts[::-1], documents)


class Layers:
    """Layers of candidates in a folder.

    `batches` gives the candidates' columns (key, tokens, stratum, cluster) and `shingles` their shingles, in input
    order and in the same batches.
    """

    def __init__(
        self, folder: Path, cuts: Cuts, batches: Callable[[], Iterable[Columns]],
        shingles: Callable[[], Iterable[pa.Array]], budget: int, strata: int,
    ) -> None:  # fmt: skip
        self.folder, self.cuts, self.batches, self.shingles, self.budget = folder, cuts, batches, shingles, budget
        self.written = np.zeros(strata, np.int64)  # of each stratum, how many of the upper layers lie in files
        self.files: list[list[Path]] = [[] for _ in range(cuts.layers)]
        self.upto = np.zeros(cuts.layers + 1, np.int64)
        for columns, layers, _ in self._located():
            self.upto += np.bincount(layers, columns["tokens"], cuts.layers + 1).astype(np.int64)
        self.upto = np.cumsum(self.upto[:-1])  # tokens down to the end of each layer

    def best_first(self, wanted: Flags) -> Iterator[Candidates]:
        """Layer by layer, candidates of strata that are wanted by then, and others beside them."""
        for layer, files in enumerate(self.files):
            lacking = wanted & (self.written <= layer)
            if lacking.any():
                self._write(lacking, layer)
            if files:
                yield _candidates(files)

    def _located(self) -> Iterator[tuple[Columns, Integers, Integers]]:
        """Batches of the candidates, with their layers and places."""
        begin = 0
        for columns in self.batches():
            places = np.arange(begin, begin + len(columns["key"]))
            begin += len(places)
            yield columns, self.cuts.layer_of(columns["key"], places), places

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
                some = {name: values[found] for name, values in {"place": places, **columns}.items()}
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
    table = pa.Table.from_batches([batch for path in files for batch in _batches(path)])
    place, key, tokens, stratum, cluster = (
        table[name].to_numpy() for name in ("place", "key", "tokens", "stratum", "cluster")
    )
    lists = table["shingles"]
    offsets = np.append(0, np.cumsum(pc.fill_null(pc.list_value_length(lists), 0).to_numpy()))
    held = np.concatenate([chunk.flatten().to_numpy() for chunk in lists.chunks])
    return Candidates(place, key, tokens, stratum, cluster, offsets.astype(np.int64), held)

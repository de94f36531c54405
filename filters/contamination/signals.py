"""Text of evaluation sets within documents: n-grams of words that both have (Brown et al. 2020, appendix C)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pyarrow as pa

from curate.digest import code_of
from curate.filters.registry import FOUND, REASONS, Bound, Columns, signal
from curate.kernels.arrow import divide, null_mask
from curate.kernels.overlap import NgramTable, Overlaps, find_overlaps, ngram_table, with_marks

GROUP = "contamination"
REASON = "contaminated"
PLACE_BITS = 40  # of a place for the item, below the number of its benchmark
OVERLAPS = {"row": pa.int64(), "start": pa.int32(), "end": pa.int32(), "n_ngrams": pa.int32(),
            "benchmark": pa.int32(), "item": pa.int64()}  # fmt: skip


@dataclass(frozen=True)
class Sought:
    """The n-grams of a run's evaluation sets. Where they are cut, this is an editor."""

    table: str = field(repr=False)  # the file that holds them
    content: str  # its hash
    lengths: tuple[int, ...]  # their numbers of words
    cuts: bool

    @property
    def name(self) -> str:
        """What the edits are called."""
        return "contaminated_passages"

    @property
    def bounds(self) -> tuple[tuple[str, Bound], ...]:
        """The words of an n-gram, by the reason of the edits."""
        return ((REASON, max(self.lengths)),)

    @property
    def code(self) -> list[object]:
        """What the result depends on besides the texts."""
        return [code_of(__name__), self.content, self.lengths]

    def look(self, texts: pa.Array) -> tuple[Columns, pa.Table]:
        """The signals of the group, and the passages as a table (OVERLAPS)."""
        return look(texts, _loaded(self.table, self.lengths))

    def find(self, texts: pa.Array) -> pa.Table:
        """Cuts of all passages with the marks at their ends; those that overlap are one."""
        spans = with_marks(texts, find_overlaps(texts, _loaded(self.table, self.lengths)).spans)
        starts, ends = (spans[:, 0] << 32 | spans[:, k] for k in (1, 2))
        order = np.argsort(starts)
        starts, ends = starts[order], np.maximum.accumulate(ends[order])
        first = np.flatnonzero(np.r_[True, starts[1:] > ends[:-1]][: len(starts)])
        last = np.r_[first[1:], len(starts)][: len(first)] - 1
        cut = {"row": starts[first] >> 32, "start": starts[first] & 0xFFFFFFFF, "end": ends[last] & 0xFFFFFFFF}
        reason = pa.array([REASON] * len(first), REASONS)
        return pa.table({**cut, "replacement": pa.nulls(len(first), pa.string()), "reason": reason}).cast(FOUND)


@cache
def _loaded(path: str, lengths: tuple[int, ...]) -> NgramTable:
    """A table as it lies in its file, whose name tells its content, shared between processes."""
    return NgramTable.unpacked(lengths, np.asarray(np.load(path, mmap_mode="r")))


def look(texts: pa.Array, table: NgramTable) -> tuple[Columns, pa.Table]:
    """The signals of the group, and the passages as a table."""
    found = find_overlaps(texts, table)
    return _columns(texts, found), _passages(found)


def _columns(texts: pa.Array, found: Overlaps) -> Columns:
    mask = null_mask(texts)
    counts: Mapping[str, pa.Array] = {name: pa.array(getattr(found, name), mask=mask) for name in ("words", "covered")}
    return {
        "n_contaminated_ngrams": pa.array(found.ngrams, mask=mask),
        "contaminated_word_ratio": divide(counts["covered"], counts["words"]),
    }


def _passages(found: Overlaps) -> pa.Table:
    row, start, end, ngrams, place = found.spans.T
    columns = [row, start, end, ngrams, place >> PLACE_BITS, place & (1 << PLACE_BITS) - 1]
    return pa.table([pa.array(c) for c in columns], names=list(OVERLAPS)).cast(pa.schema(list(OVERLAPS.items())))


@signal(group=GROUP, writes={"n_contaminated_ngrams": pa.int64(), "contaminated_word_ratio": pa.float32()})
def contamination(texts: pa.Array) -> Columns:
    """What a document has in common with no evaluation set; a run's own are looked for by `Sought`.

    n_contaminated_ngrams    places where an n-gram of an evaluation set begins
    contaminated_word_ratio  words within such n-grams per word of a shingle; null without these
    """
    return look(texts, ngram_table(np.zeros(0, np.uint64), np.zeros(0, np.uint64), ()))[0]

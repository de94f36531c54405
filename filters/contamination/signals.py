"""Find text of evaluation sets in documents by shared n-grams of words (Brown et al. 2020, appendix C)."""

from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pyarrow as pa

from curate.digest import code_of
from curate.filters.registry import EDIT_SCHEMA, REASONS, Bound, Columns, signal
from curate.kernels.arrow import divide, null_mask
from curate.kernels.overlap import NgramTable, Overlaps, find_overlaps, ngram_table, with_marks

GROUP = "contamination"
REASON = "contaminated"
PLACE_BITS = 40  # low bits of a place: the item; the higher ones are the index of the benchmark
OVERLAPS = {
    "row": pa.int64(),
    "start": pa.int32(),
    "end": pa.int32(),
    "n_ngrams": pa.int32(),
    "benchmark": pa.int32(),
    "item": pa.int64(),
}


@dataclass(frozen=True)
class EvaluationNgrams:
    """The n-grams of a run's evaluation sets. If the run cuts them, this is an editor."""

    table: str = field(repr=False)  # path of the file
    content: str  # hash of the table
    lengths: tuple[int, ...]  # of n-grams, in words
    cuts: bool

    @property
    def name(self) -> str:
        """The name of the edits."""
        return "contaminated_passages"

    @property
    def bounds(self) -> tuple[tuple[str, Bound], ...]:
        """The length of n-grams in words, as the bound of the edits' reason."""
        return ((REASON, max(self.lengths)),)

    @property
    def code(self) -> list[object]:
        """All that the result depends on besides the texts."""
        return [code_of(__name__), self.content, self.lengths]

    def measure_overlaps(self, texts: pa.Array) -> tuple[Columns, pa.Table]:
        """The signals of the group, and the passages as a table (OVERLAPS)."""
        return measure_overlaps(texts, _load_table(self.table, self.lengths))

    def find(self, texts: pa.Array) -> pa.Table:
        """Cut all passages with adjacent punctuation. Overlapping passages are merged."""
        spans = with_marks(texts, find_overlaps(texts, _load_table(self.table, self.lengths)).spans)
        starts, ends = (spans[:, 0] << 32 | spans[:, k] for k in (1, 2))
        order = np.argsort(starts)
        starts, ends = starts[order], np.maximum.accumulate(ends[order])
        first = np.flatnonzero(np.r_[True, starts[1:] > ends[:-1]][: len(starts)])
        last = np.r_[first[1:], len(starts)][: len(first)] - 1
        cut = {"row": starts[first] >> 32, "start": starts[first] & 0xFFFFFFFF, "end": ends[last] & 0xFFFFFFFF}
        reason = pa.array([REASON] * len(first), REASONS)
        return pa.table({**cut, "replacement": pa.nulls(len(first), pa.string()), "reason": reason}).cast(EDIT_SCHEMA)


@cache
def _load_table(path: str, lengths: tuple[int, ...]) -> NgramTable:
    """Map a table into memory, shared between processes. Safe to cache, as the file's name contains its hash."""
    return NgramTable.unpacked(lengths, np.asarray(np.load(path, mmap_mode="r")))


def measure_overlaps(texts: pa.Array, table: NgramTable) -> tuple[Columns, pa.Table]:
    """The signals of the group, and the passages as a table (OVERLAPS)."""
    overlaps = find_overlaps(texts, table)
    return _columns(texts, overlaps), _passages(overlaps)


def _columns(texts: pa.Array, overlaps: Overlaps) -> Columns:
    mask = null_mask(texts)
    covered, words = pa.array(overlaps.covered, mask=mask), pa.array(overlaps.words, mask=mask)
    return {
        "n_contaminated_ngrams": pa.array(overlaps.ngrams, mask=mask),
        "contaminated_word_ratio": divide(covered, words),
    }


def _passages(overlaps: Overlaps) -> pa.Table:
    row, start, end, ngrams, place = overlaps.spans.T
    columns = [row, start, end, ngrams, place >> PLACE_BITS, place & (1 << PLACE_BITS) - 1]
    return pa.table([pa.array(c) for c in columns], names=list(OVERLAPS)).cast(pa.schema(list(OVERLAPS.items())))


@signal(group=GROUP, writes={"n_contaminated_ngrams": pa.int64(), "contaminated_word_ratio": pa.float32()})
def contamination(texts: pa.Array) -> Columns:
    """What a document has in common with no evaluation set; a run's own are looked for by `Sought`.

    n_contaminated_ngrams    places where an n-gram of an evaluation set begins
    contaminated_word_ratio  words within such n-grams per word of a shingle; null without these
    """
    return measure_overlaps(texts, ngram_table(np.zeros(0, np.uint64), np.zeros(0, np.uint64), ()))[0]

"""Sample texts of a run's input for warnings: few, evenly spread, and the same at every call."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import pyarrow as pa

from curate.corpus.parquet import read_documents
from curate.corpus.text_keys import MOST_CHARACTERS, texts_in
from curate.corpus.texts import texts_of
from curate.corpus.units import Unit
from curate.decide.plan import Plan
from curate.errors import InputError
from curate.pipeline.forecast.sample import group_of, sample_units
from curate.storage.places import is_remote

REMOTE_PIECES = 16  # of an object store, where each costs a request


@dataclass(frozen=True)
class SampledText:
    """The beginning of a document's text, and its file and row."""

    file_no: int
    row: int
    text: str = field(repr=False)


def sampled_texts(plan: Plan, most: int) -> Sequence[SampledText]:
    """Return the beginnings of about `most` texts, evenly spread over the readable files of the input."""
    units = sample_units(plan)
    step = -(-sum(unit.stop - unit.start for unit in units) // most)
    remote = any(is_remote(source.location) for source in plan.sources.values())
    chosen = units[:: max(1, len(units) // REMOTE_PIECES if remote else 1)]
    texts: list[SampledText] = []
    for (file_no, _), group in groupby(chosen, key=lambda unit: (unit.file_no, group_of(unit, plan))):
        try:
            texts += _texts_of(plan, file_no, list(group), step)
        except InputError:  # measuring reports it, and `on_error` says what happens then
            continue
    return texts


def _texts_of(plan: Plan, file_no: int, units: Sequence[Unit], step: int) -> Iterator[SampledText]:
    """Yield every `step`-th text of units in one row group, which is read once."""
    position, column = units[0].start, plan.reading.text
    for batch in read_documents(plan.sources[file_no], position, units[-1].stop, [column]):
        if column not in batch.schema.names:
            return
        for unit in units:
            first, last = max(unit.start, position), min(unit.stop, position + len(batch))
            if first < last:
                rows = range(first + (unit.start - first) % step, last, step)
                chosen = batch.column(column).take(pa.array([row - position for row in rows], pa.int64()))
                for row, text in zip(rows, texts_in(texts_of(chosen)), strict=True):
                    if text:
                        yield SampledText(file_no, row, text[:MOST_CHARACTERS])
        position += len(batch)

"""`LedgerReader`: what the cascade reads texts for, from the ledger of a run, or from texts of single documents.

Where texts cannot be read, or must not be, the cascade estimates.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.corpus.edits import PART, apply_edits, sorted_edits
from curate.dedup import lines
from curate.distill.purify import passages
from curate.distill.scoring.discriminator import groups_of
from curate.distill.scoring.linear_model import Hashes
from curate.distill.scoring_stage import DrawDocuments, ScoringStage
from curate.engine.base import InProcess, map_in_order
from curate.errors import InputError, RunError
from curate.kernels.minhash import shingle_sets
from curate.ledger.ledger import Ledger
from curate.ledger.models import ModelSet, load_models
from curate.ledger.names import CALIBRATION, LINE_EDITS, PURIFY, SHINGLES, TRIMMED, WITHOUT_PASSAGES
from curate.ledger.parts import Part, write_part
from curate.ledger.run import FinishedRun
from curate.maps.documents import document_keys, edits_of, read_texts
from curate.maps.reread import add_keys
from curate.progress import Steps
from curate.recipe.recipe import Recipe

TEXTS_AT_ONCE = 1000
Batch = tuple[pa.Table, pa.Array, pa.Table]  # documents, their raw texts, and their edits


@dataclass(slots=True)
class TextUse:
    """How many texts of documents in doubt were read, and how many verdicts were estimated; counts grow."""

    read: int = 0
    estimated: int = 0
    why: str = ""  # these were estimated


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerReader:
    """A `TextReader` that reads texts of single documents, and only where the ledger lacks their results."""

    run: FinishedRun
    recipe: Recipe  # the proposed one
    texts: TextUse
    scratch: Path
    with_texts: bool
    steps: Steps

    def begin(self, step: str) -> None:
        """See `TextReader`."""
        self.steps(step)

    def say(self, line: str) -> None:
        """See `ScoreReader`: a what-if prints no lines of a run."""

    def each(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
        """See `TextReader`: one after another in this process."""
        return map_in_order(InProcess(), function, tasks)

    def shingle_sets(self, documents: pa.Table) -> list[Path]:
        """See `TextReader`."""
        assert self.recipe.dedup.near is not None
        paths = []
        for batch, raw, edits in self._read(documents):
            shingles = shingle_sets(apply_edits(raw, edits), self.recipe.dedup.near.shingle)
            table = batch.append_column(SHINGLES, shingles)
            part = write_part(self.scratch, SHINGLES, "sets", f"{self.texts.read:010d}", table)
            paths.append(self.scratch / part.path)
        complete = sum(pq.read_metadata(path).num_rows for path in paths) == len(documents)
        self.texts.estimated += 0 if complete else len(documents)
        return paths if complete else []

    def cut_lines(self, documents: pa.Table) -> list[Part]:
        """See `TextReader`: only documents that would lose other lines than in the run are read."""
        changed, trimmed_before = _split_by_cut(documents, self.run.ledger)
        trimmed, cuts = [trimmed_before], [PART.empty_table()]
        for batch, raw, edits in self._read(changed):
            rows, file_nos = batch["row"].to_numpy(), batch["file_no"].to_numpy()
            cut_edits, remaining = lines.cut(raw, edits, batch["lines"].combine_chunks())
            trimmed.append(add_keys(remaining, rows, file_nos))
            cuts.append(add_keys(cut_edits, rows, file_nos).cast(PART))
        table = pa.concat_tables(trimmed)
        self.texts.estimated += len(documents) - len(table)
        return [
            write_part(self.scratch, TRIMMED, "cuts", "00000", table),
            write_part(self.scratch, LINE_EDITS, "cuts", "00000", pa.concat_tables(cuts).unify_dictionaries()),
        ]

    def cut_passages(self, documents: pa.Table, cuts: Sequence[Part]) -> list[Part]:
        """See `ScoreReader`: only documents that would lose other passages than in the run are read.

        Where texts are not read, what is left of a document is estimated by the bytes of its passages.
        """
        changed, left_before = _split_by_passages(documents, self.run.ledger)
        edits_before = edits_of(self.run.ledger, left_before) if len(left_before) else PART.empty_table()
        left, found = [left_before], [edits_before.filter(pc.equal(edits_before["stage"], PURIFY))]
        read = 0
        for batch, raw, edits in self._read(changed):
            rows, file_nos = batch["row"].to_numpy(), batch["file_no"].to_numpy()
            line_edits = _line_edits(batch, [self.scratch / part.path for part in cuts], self.run.ledger)
            edits = sorted_edits(pa.concat_tables([edits, line_edits]).unify_dictionaries())
            cut_edits, remaining = passages.cut(raw, edits, batch)
            left.append(add_keys(remaining, rows, file_nos))
            found.append(add_keys(cut_edits, rows, file_nos).cast(PART))
            read += len(batch)
        self.texts.estimated += len(changed) - read
        left.append(_estimated_left(changed.slice(read)))
        return [
            write_part(self.scratch, WITHOUT_PASSAGES, "passages", "00000", pa.concat_tables(left)),
            write_part(self.scratch, LINE_EDITS, "passages", "00000", pa.concat_tables(found).unify_dictionaries()),
        ]

    def models(self, stage: ScoringStage, documents: DrawDocuments) -> ModelSet:
        """See `ScoreReader`: those of the run.

        Errors: RunError where they are missing.
        """
        models = load_models(stage.models, self.run.run, self.run.ledger.parts)
        if models is None:
            raise RunError(f"{self.run.run}: its {stage.models.noun} are missing; run again")
        return models

    def cached_scores(self, stage: ScoringStage, models: ModelSet) -> tuple[str, list[Path]]:
        """See `ScoreReader`: those of the run."""
        return "what-if", [self.run.ledger.run / part.path for part in self.run.ledger.of(stage.group)]

    def scores(self, stage: ScoringStage, documents: pa.Table, models: ModelSet, cuts: Sequence[Part]) -> list[Part]:
        """See `ScoreReader`; scores come without evidence."""
        score = stage.open({group: path for group, path in models.files.items() if group != CALIBRATION})
        cut_paths = [self.scratch / part.path for part in cuts]
        tables = [stage.schema.empty_table()]
        for batch, raw, edits in self._read(documents):
            groups, texts = _as_output(batch, raw, edits, cut_paths, self.run.ledger)
            tables.append(
                pa.table({**{name: batch[name] for name in batch.schema.names}, **score(texts, groups)}, stage.schema)
            )
        table = pa.concat_tables(tables).unify_dictionaries()
        self.texts.estimated += len(documents) - len(table)
        return [write_part(self.scratch, stage.group, "scores", "made", table)] if len(table) else []

    def _read(self, documents: pa.Table) -> Iterator[Batch]:
        """Batches of documents with their texts and edits; none where texts must not be read."""
        if not self.with_texts:
            self.texts.why = "no text was read"
        self.steps("texts of documents in doubt")
        try:
            for k in range(0, len(documents) if self.with_texts else 0, TEXTS_AT_ONCE):
                batch = documents.slice(k, TEXTS_AT_ONCE)
                raw = read_texts(self.run.ledger, self.recipe.input.column, batch)["text"].combine_chunks()
                self.texts.read += len(batch)
                yield batch, raw, _local_edits(self.run.ledger, batch)
        except InputError as error:
            self.texts.why = str(error)


def _as_output(
    documents: pa.Table, raw: pa.Array, edits: pa.Table, cuts: Sequence[Path], ledger: Ledger
) -> tuple[Hashes, pa.Array]:
    """The feature groups of documents, and their texts as the output would have them."""
    line_edits = _line_edits(documents, cuts, ledger)
    edited = apply_edits(raw, sorted_edits(pa.concat_tables([edits, line_edits]).unify_dictionaries()))
    return groups_of(apply_edits(raw, edits)), edited


def _local_edits(ledger: Ledger, documents: pa.Table) -> pa.Table:
    """The edits of stage `input`, with the index of each document among `documents` as its row."""
    edits = edits_of(ledger, documents)
    return _reindexed(documents, edits.filter(pc.equal(edits["stage"], "input")))


def _reindexed(documents: pa.Table, edits: pa.Table) -> pa.Table:
    """The edits of `documents`, with the index of each document among these as its row."""
    indices, is_known = _indices(document_keys(documents), document_keys(edits))
    edits = edits.set_column(edits.schema.get_field_index("row"), "row", pa.array(indices, pa.int64()))
    return edits.filter(pa.array(is_known))


def _indices(keys: npt.NDArray[Any], searched: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The index in `keys` of each searched key, and whether it is there."""
    order = np.argsort(keys)
    indices = order[np.minimum(np.searchsorted(keys[order], searched), len(keys) - 1)]
    return indices, keys[indices] == searched


def _split_by_cut(documents: pa.Table, ledger: Ledger) -> tuple[pa.Table, pa.Table]:
    """The documents (file_no, row, lines) that would lose other lines than in the run, and the others as trimmed."""
    parts = ledger.of(TRIMMED)
    if not parts:
        return documents, lines.NOTHING_TRIMMED
    trimmed = pa.concat_tables([pq.read_table(ledger.run / part.path) for part in parts])
    indices, is_trimmed = _indices(document_keys(trimmed), document_keys(documents))
    sums = lines.lines_sums(documents["lines"].combine_chunks())
    same = is_trimmed & (trimmed["lines_sum"].to_numpy()[indices] == sums)
    return documents.filter(pa.array(~same)), trimmed.take(pa.array(indices[same]))


def _split_by_passages(documents: pa.Table, ledger: Ledger) -> tuple[pa.Table, pa.Table]:
    """The documents that would lose other lines or passages than in the run, and what is left of the others."""
    parts = ledger.of(WITHOUT_PASSAGES)
    if not parts:
        return documents, passages.NOTHING_CUT
    left = pa.concat_tables([pq.read_table(ledger.run / part.path) for part in parts])
    indices, is_cut = _indices(document_keys(left), document_keys(documents))
    sums = passages.cuts_sums(documents)
    same = is_cut & (left["passages_sum"].to_numpy()[indices] == sums)
    return documents.filter(pa.array(~same)), left.take(pa.array(indices[same]))


def _estimated_left(documents: pa.Table) -> pa.Table:
    """What is left of documents without their passages, by the bytes of these."""
    n_bytes, n_cut = documents["n_bytes"].to_numpy(), documents["n_cut"].to_numpy()
    left = np.maximum(n_bytes - n_cut, 0)
    tokens = documents["n_tokens"].to_numpy() * left // np.maximum(n_bytes, 1)
    columns = [documents["file_no"], documents["row"], passages.cuts_sums(documents), left, tokens]
    return pa.table(columns, schema=passages.NOTHING_CUT.schema)


def _line_edits(documents: pa.Table, cuts: Sequence[Path], ledger: Ledger) -> pa.Table:
    """The edits that cut repeated lines out of documents: those in `cuts`, else the ledger's."""
    trimmed = documents.filter(pa.array(documents["lines_sum"].to_numpy() > 0))
    of_run = edits_of(ledger, trimmed) if len(trimmed) else PART.empty_table()
    of_run = of_run.filter(pc.equal(of_run["stage"], "lines"))
    new = pa.concat_tables([PART.empty_table(), *(pq.read_table(path).cast(PART) for path in cuts)])
    new_lines = new.filter(pc.equal(new["stage"], "lines"))
    is_replaced = np.isin(document_keys(of_run), document_keys(new_lines)) if len(of_run) else np.zeros(0, bool)
    edits = pa.concat_tables([of_run.filter(pa.array(~is_replaced)), new]).unify_dictionaries()
    return _reindexed(documents, edits)

"""What a run would read texts for, told from its ledger: what that knows comes first, then texts of single documents.

Where these cannot be read, or are not to be, estimates hold.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.corpus.edits import PART, apply_edits, sorted_edits
from curate.dedup import lines
from curate.dedup.near.stage import place_keys
from curate.distill.scoring.discriminator import groups_of
from curate.distill.scoring.linear_model import Hashes
from curate.distill.scoring_stage import Documents, ScoringStage
from curate.engine.base import InProcess, map_in_order
from curate.errors import InputError, RunError
from curate.kernels.minhash import shingle_sets
from curate.ledger.ledger import Ledger
from curate.ledger.models import ModelSet, load_models
from curate.ledger.names import CALIBRATION, LINE_EDITS, SHINGLES, TRIMMED
from curate.ledger.parts import Part, write_part
from curate.ledger.run import Decided
from curate.maps.documents import edits_of, read_texts
from curate.maps.reread import keyed
from curate.progress import Steps
from curate.recipe.recipe import Recipe

TEXTS_AT_ONCE = 1000
Batch = tuple[pa.Table, pa.Array, pa.Table]  # documents, their raw texts, and their edits


@dataclass
class Texts:
    """What became of the documents whose texts a run would read again."""

    read: int = 0
    guessed: int = 0  # judged by estimates instead
    why: str = ""  # these were


@dataclass(frozen=True)
class LedgerReader:
    """A `TextReader` that reads texts of single documents, and only where the ledger has no answer."""

    run: Decided
    recipe: Recipe  # the changed one
    texts: Texts
    scratch: Path
    with_texts: bool
    steps: Steps

    def begin(self, step: str) -> None:
        """See `TextReader`."""
        self.steps(step)

    def say(self, line: str) -> None:
        """See `ScoreReader`: a what-if tells no lines of a run."""

    def each(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
        """See `TextReader`: one after another in this process."""
        return map_in_order(InProcess(), function, tasks)

    def shingle_sets(self, documents: pa.Table) -> list[Path]:
        """See `TextReader`."""
        assert self.recipe.dedup.near is not None
        paths = []
        for some, raw, edits in self._read(documents):
            shingles = shingle_sets(apply_edits(raw, edits), self.recipe.dedup.near.shingle)
            table = some.append_column(SHINGLES, shingles)
            part = write_part(self.scratch, SHINGLES, "sets", f"{self.texts.read:010d}", table)
            paths.append(self.scratch / part.path)
        complete = sum(pq.read_metadata(path).num_rows for path in paths) == len(documents)
        self.texts.guessed += 0 if complete else len(documents)
        return paths if complete else []

    def cut_lines(self, documents: pa.Table) -> list[Part]:
        """See `TextReader`: only documents that would lose other lines than they did are read."""
        fresh, trimmed = _already_cut(documents, self.run.ledger)
        left, edited = [trimmed], [PART.empty_table()]
        for some, raw, edits in self._read(fresh):
            rows, file_nos = some["row"].to_numpy(), some["file_no"].to_numpy()
            further, rest = lines.cut(raw, edits, some["lines"].combine_chunks())
            left.append(keyed(rest, rows, file_nos))
            edited.append(keyed(further, rows, file_nos).cast(PART))
        table = pa.concat_tables(left)
        self.texts.guessed += len(documents) - len(table)
        return [
            write_part(self.scratch, TRIMMED, "cuts", "00000", table),
            write_part(self.scratch, LINE_EDITS, "cuts", "00000", pa.concat_tables(edited).unify_dictionaries()),
        ]

    def models(self, stage: ScoringStage, documents: Documents) -> ModelSet:
        """See `ScoreReader`: those of the run.

        Errors: RunError where they are missing.
        """
        models = load_models(stage.models, self.run.run, self.run.ledger.parts)
        if models is None:
            raise RunError(f"{self.run.run}: its {stage.models.noun} are missing; run again")
        return models

    def known_scores(self, stage: ScoringStage, models: ModelSet) -> tuple[str, list[Path]]:
        """See `ScoreReader`: those of the run."""
        return "what-if", [self.run.ledger.run / part.path for part in self.run.ledger.of(stage.group)]

    def scores(self, stage: ScoringStage, documents: pa.Table, models: ModelSet, cuts: Sequence[Part]) -> list[Part]:
        """See `ScoreReader`; nothing is told of them with evidence."""
        score = stage.open({group: path for group, path in models.files.items() if group != CALIBRATION})
        cut = [self.scratch / part.path for part in cuts]
        tables = [stage.schema.empty_table()]
        for some, raw, edits in self._read(documents):
            groups, texts = _as_output(some, raw, edits, cut, self.run.ledger)
            tables.append(
                pa.table({**{name: some[name] for name in some.schema.names}, **score(texts, groups)}, stage.schema)
            )
        table = pa.concat_tables(tables).unify_dictionaries()
        self.texts.guessed += len(documents) - len(table)
        return [write_part(self.scratch, stage.group, "scores", "made", table)] if len(table) else []

    def _read(self, documents: pa.Table) -> Iterator[Batch]:
        """Some documents at a time with their texts and edits; none where estimates are to hold."""
        if not self.with_texts:
            self.texts.why = "no text was read"
        self.steps("texts of documents in doubt")
        try:
            for k in range(0, len(documents) if self.with_texts else 0, TEXTS_AT_ONCE):
                some = documents.slice(k, TEXTS_AT_ONCE)
                raw = read_texts(self.run.ledger, self.recipe.input.column, some)["text"].combine_chunks()
                self.texts.read += len(some)
                yield some, raw, _local_edits(self.run.ledger, some)
        except InputError as error:
            self.texts.why = str(error)


def _as_output(
    documents: pa.Table, raw: pa.Array, edits: pa.Table, cuts: Sequence[Path], ledger: Ledger
) -> tuple[Hashes, pa.Array]:
    """The groups of documents, and their texts as the output would have them."""
    further = _cuts_of(documents, cuts, ledger)
    edited = apply_edits(raw, sorted_edits(pa.concat_tables([edits, further]).unify_dictionaries()))
    return groups_of(apply_edits(raw, edits)), edited


def _local_edits(ledger: Ledger, documents: pa.Table) -> pa.Table:
    """The edits that were made before documents were measured, with the row among the documents."""
    found = edits_of(ledger, documents)
    return _among(documents, found.filter(pc.equal(found["stage"], "input")))


def _among(documents: pa.Table, edits: pa.Table) -> pa.Table:
    """Those edits that are of some documents, with the row among these."""
    keys, own = place_keys(documents), place_keys(edits)
    order = np.argsort(keys)
    places = order[np.minimum(np.searchsorted(keys[order], own), len(keys) - 1)]
    edits = edits.set_column(edits.schema.get_field_index("row"), "row", pa.array(places, pa.int64()))
    return edits.filter(pa.array(keys[places] == own))


def _already_cut(documents: pa.Table, ledger: Ledger) -> tuple[pa.Table, pa.Table]:
    """Documents (file_no, row, lines) that would lose other lines than they did, and what is left of the others."""
    parts = ledger.of(TRIMMED)
    if not parts:
        return documents, lines.NOTHING_TRIMMED
    held = pa.concat_tables([pq.read_table(ledger.run / part.path) for part in parts])
    keys, known = place_keys(documents), place_keys(held)
    order = np.argsort(known)
    places = order[np.minimum(np.searchsorted(known[order], keys), len(known) - 1)]
    sums = lines.lines_sums(documents["lines"].combine_chunks())
    same = (known[places] == keys) & (held["lines_sum"].to_numpy()[places] == sums)
    return documents.filter(pa.array(~same)), held.take(pa.array(places[same]))


def _cuts_of(documents: pa.Table, made: Sequence[Path], ledger: Ledger) -> pa.Table:
    """The repeated lines that are cut out of documents, with the row among them: those just found, or the ledger's."""
    cut = documents.filter(pa.array(documents["lines_sum"].to_numpy() > 0))
    held = edits_of(ledger, cut) if len(cut) else PART.empty_table()
    held = held.filter(pc.equal(held["stage"], "lines"))
    fresh = pa.concat_tables([PART.empty_table(), *(pq.read_table(path).cast(PART) for path in made)])
    anew = np.isin(place_keys(held), place_keys(fresh)) if len(held) else np.zeros(0, bool)
    found = pa.concat_tables([held.filter(pa.array(~anew)), fresh]).unify_dictionaries()
    return _among(documents, found)

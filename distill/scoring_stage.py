"""The common part of stages that score texts by models: training, caching, pinning and scoring.

A stage is a `ScoringStage`; a `ScoreReader` executes it: a run on an engine, a what-if from the ledger.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import duckdb
import numpy as np
import pyarrow as pa

from curate.corpus.edits import apply_edits, find_edits
from curate.distill.reference import ReferenceFile
from curate.distill.scoring.discriminator import groups_of
from curate.distill.scoring.linear_model import Hashes
from curate.distill.scoring.static_vectors import StaticVectors
from curate.distill.teacher.protocol import OpenModel
from curate.ledger.ledger import Ledger
from curate.ledger.models import ModelKind, ModelSet
from curate.ledger.names import PENDING
from curate.ledger.parts import Part, rebuffered, write_part
from curate.ledger.views import DocumentRange, SortedFiles, restrict_views
from curate.maps.reading import Reading
from curate.maps.reread import CorpusReader, RereadTask, with_cuts
from curate.progress import Log
from curate.recipe.recipe import Recipe

PART_ROWS = 1 << 17
KEYS = ("file_no", "row", "lines_sum")
SAME = " AND ".join(f"s.{name} = d.{name}" for name in KEYS)

# Maps texts, as the output would have them, to the columns of a stage's scores. The hashes are those of the texts
# before repeated lines are cut, by which a model recognises its training texts.
Scorer = Callable[[pa.Array, Hashes], dict[str, pa.Array]]
DrawDocuments = Callable[[], pa.Table]  # draws documents of the corpus (file_no, row, hash) to train on


class TextSource(Protocol):
    """Reads texts to train on."""

    def collect_texts(self, documents: pa.Table) -> Sequence[Part]:
        """Parts with the texts of documents (file_no, row)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Training:
    """Inputs of the training of a stage's models."""

    recipe: Recipe
    reading: Reading
    reference: Sequence[ReferenceFile]
    strata: Mapping[str, str]  # SQL of the columns that a bound may be set within
    static: StaticVectors | None
    ledger: Ledger
    corpus: TextSource
    open_model: OpenModel  # of a teacher
    log: Log
    begin: Callable[[str], None]  # reports the step that begins


@dataclass(frozen=True, kw_only=True)
class ScoringStage:
    """A stage that scores the texts of the documents left by earlier stages. Its functions are those of a module."""

    models: ModelKind
    group: str  # of the parts with scores
    schema: pa.Schema  # KEYS and the columns of a scorer
    train: Callable[[Training, pa.Table], ModelSet]  # on documents of the corpus, unless the ledger has the models
    open: Callable[[Mapping[str, str]], Scorer]  # from paths of models, by their groups
    warm: Callable[[Mapping[str, str]], None]  # compiles the kernels that these models need
    key: Callable[[ModelSet], str]  # digest of what scores depend on besides the documents
    code: str  # the module that scores


class ScoreReader(Protocol):
    """Executes the parts of a scoring stage that read texts."""

    def models(self, stage: ScoringStage, documents: DrawDocuments) -> ModelSet:
        """The models of a stage, trained on documents of the corpus unless they exist."""
        ...

    def cached_scores(self, stage: ScoringStage, models: ModelSet) -> tuple[str, Sequence[Path]]:
        """The digest of what scores depend on besides the documents, and the files with valid scores."""
        ...

    def scores(
        self, stage: ScoringStage, documents: pa.Table, models: ModelSet, cuts: Sequence[Part]
    ) -> Sequence[Part]:
        """Score documents (KEYS) into parts; `cuts` are the parts with the lines that are cut out of them."""
        ...

    def cut_passages(self, documents: pa.Table, cuts: Sequence[Part]) -> Sequence[Part]:
        """Parts of LINE_EDITS and WITHOUT_PASSAGES of documents (KEYS, n_bytes, n_tokens, starts, n_cut).

        `cuts` are the parts with the lines that are cut before.
        """
        ...

    def say(self, line: str) -> None:
        """Print a line for the user."""
        ...


@dataclass(frozen=True)
class StageContext:
    """Inputs of a scoring stage from the cascade."""

    run: Path
    ranges: Sequence[DocumentRange]  # of all documents
    cuts: Sequence[Part]  # with the lines that are cut
    connection: duckdb.DuckDBPyConnection
    digest: str  # of the decisions


@dataclass(frozen=True)
class ScoringInputs:
    """Inputs of a scoring task besides its documents."""

    stage: ScoringStage
    files: Mapping[str, str]  # paths of models, by their groups
    cuts: tuple[str, ...]  # paths of parts with the lines that are cut


def plan_scores(
    stage: ScoringStage, reader: CorpusReader, documents: pa.Table, models: ModelSet, cuts: Sequence[Part]
) -> list[RereadTask]:
    """A task for each unit that contains any of the documents (KEYS), which are sorted."""
    inputs = ScoringInputs(stage, models.files, tuple(str(reader.run / part.path) for part in cuts))
    depends = [stage.key(models), [part.sha256 for part in cuts]]
    return reader.plan(documents, [__name__, stage.code], depends, inputs)


def score_documents(task: RereadTask) -> list[Part]:
    """Score a task's documents as the output would have them."""
    inputs: ScoringInputs = task.more
    score, schema = inputs.stage.open(inputs.files), inputs.stage.schema
    tables = []
    for documents, raw in task.texts():
        rows = documents["row"].to_numpy()
        local = find_edits(raw, task.reading.editors)
        edits = with_cuts(local, inputs.cuts, task.unit.file_no, rows)
        columns = score(apply_edits(raw, edits), groups_of(apply_edits(raw, local)))
        file_nos = np.full(len(rows), task.unit.file_no, np.int32)
        keys = dict(zip(KEYS, (file_nos, rows, documents["lines_sum"].to_numpy()), strict=True))
        tables.append(pa.table({**keys, **columns}, schema))
    group = inputs.stage.group
    return [replace(task.write(group, tables), group=PENDING + group)]


def scores_of_table(
    table: str, stage: ScoringStage, models: ModelSet, reader: ScoreReader, context: StageContext
) -> list[Part]:
    """Score the documents of a table (KEYS and position); return parts in input order.

    The parts depend on the scores alone, not on which of them were cached.
    """
    connection = context.connection
    key, files = reader.cached_scores(stage, models)
    connection.register("no_scores", stage.schema.empty_table())
    cached = SortedFiles.of(files)
    missing = [
        connection.sql(
            f"SELECT d.file_no, d.row, d.lines_sum FROM {_rows_of(table, within, connection)} d "
            f"ANTI JOIN {cached.sql(within) or 'no_scores'} s ON {SAME} ORDER BY d.position, d.row"
        ).to_arrow_table()
        for within in context.ranges
    ]
    unscored = pa.concat_tables(missing).sort_by([("file_no", "ascending"), ("row", "ascending")])
    new = reader.scores(stage, unscored, models, context.cuts) if len(unscored) else []
    scores = SortedFiles.of([*files, *(context.run / part.path for part in new)])
    tables = (
        connection.sql(
            f"SELECT s.* FROM {_rows_of(table, within, connection)} d "
            f"JOIN {scores.sql(within) or 'no_scores'} s ON {SAME} ORDER BY d.position, d.row"
        ).to_arrow_table()
        for within in context.ranges
    )
    parts = [
        write_part(context.run, stage.group, context.digest, f"{k:05d}", rows.cast(stage.schema), contents=(key,))
        for k, rows in enumerate(rebuffered(tables, PART_ROWS))
    ]
    connection.unregister("no_scores")
    return parts


def _rows_of(table: str, part: DocumentRange, connection: duckdb.DuckDBPyConnection) -> str:
    """SQL of the rows of a table within a range."""
    restrict_views([table], part.coarse_sql, connection)
    return f"(FROM here_{table} WHERE {part.exact_sql})"

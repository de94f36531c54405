"""What stages have in common that score texts by models: how these are trained, kept, pinned, and asked.

A stage is a `ScoringStage`; who carries it out (a run on an engine, a what-if from the ledger) is a `ScoreReader`.
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

# The columns of a stage's scores, of texts as the output would have them. Hashes are those of the texts before lines
# were cut out of them: by these a text is known that a model was trained on.
Scorer = Callable[[pa.Array, Hashes], dict[str, pa.Array]]
Documents = Callable[[], pa.Table]  # some of the corpus (file_no, row, hash), drawn when they are asked for


class TextSource(Protocol):
    """Reads texts to train on."""

    def collect_texts(self, documents: pa.Table) -> Sequence[Part]:
        """Parts with the texts of documents (file_no, row)."""
        ...


@dataclass(frozen=True)
class Training:
    """What the models of a stage are trained with."""

    recipe: Recipe
    reading: Reading
    reference: Sequence[ReferenceFile]
    strata: Mapping[str, str]  # SQL of what a bound may be set within
    static: StaticVectors | None
    ledger: Ledger
    corpus: TextSource
    open_model: OpenModel  # of a teacher
    log: Log
    tell: Callable[[str], None]  # which step begins


@dataclass(frozen=True)
class ScoringStage:
    """A stage that scores the texts of what the stages before it leave. Its functions are those of modules."""

    models: ModelKind
    group: str  # of the parts with scores
    schema: pa.Schema  # KEYS, and the columns of a scorer
    train: Callable[[Training, pa.Table], ModelSet]  # with documents of the corpus; what the ledger holds is taken
    open: Callable[[Mapping[str, str]], Scorer]  # models in files, by their groups
    warm: Callable[[Mapping[str, str]], None]  # compiles what scores by models in files
    key: Callable[[ModelSet], str]  # the digest of what scores depend on besides the documents
    code: str  # the module that scores


class ScoreReader(Protocol):
    """Carries out what a scoring stage needs of texts."""

    def models(self, stage: ScoringStage, documents: Documents) -> ModelSet:
        """The models of a stage, trained with some documents of the corpus, now or before."""
        ...

    def known_scores(self, stage: ScoringStage, models: ModelSet) -> tuple[str, Sequence[Path]]:
        """What scores depend on besides the documents, and the files with scores that still hold."""
        ...

    def scores(
        self, stage: ScoringStage, documents: pa.Table, models: ModelSet, cuts: Sequence[Part]
    ) -> Sequence[Part]:
        """Parts with the scores of documents (KEYS); `cuts` are parts with the lines that are cut out of them."""
        ...

    def say(self, line: str) -> None:
        """Tell the user."""
        ...


@dataclass(frozen=True)
class StageContext:
    """Where a stage that scores works."""

    run: Path
    places: Sequence[DocumentRange]  # ranges of all documents
    cuts: Sequence[Part]  # with the lines that are cut
    connection: duckdb.DuckDBPyConnection
    digest: str  # of the decisions


@dataclass(frozen=True)
class Scoring:
    """What a task that scores documents is given beside them."""

    stage: ScoringStage
    files: Mapping[str, str]  # of models, by their groups
    cuts: tuple[str, ...]  # parts with the lines that were cut


def plan_scores(
    stage: ScoringStage, reader: CorpusReader, documents: pa.Table, models: ModelSet, cuts: Sequence[Part]
) -> list[RereadTask]:
    """A task for each unit that has some of the documents (KEYS), which are sorted."""
    scoring = Scoring(stage, models.files, tuple(str(reader.run / part.path) for part in cuts))
    depends = [stage.key(models), [part.sha256 for part in cuts]]
    return reader.plan(documents, [__name__, stage.code], depends, scoring)


def score_documents(task: RereadTask) -> list[Part]:
    """The scores of a task's documents, as the output would have them."""
    scoring: Scoring = task.more
    score, schema = scoring.stage.open(scoring.files), scoring.stage.schema
    tables = []
    for documents, raw in task.texts():
        rows = documents["row"].to_numpy()
        local = find_edits(raw, task.reading.editors)
        edits = with_cuts(local, scoring.cuts, task.unit.file_no, rows)
        columns = score(apply_edits(raw, edits), groups_of(apply_edits(raw, local)))
        file_nos = np.full(len(rows), task.unit.file_no, np.int32)
        keys = dict(zip(KEYS, (file_nos, rows, documents["lines_sum"].to_numpy()), strict=True))
        tables.append(pa.table({**keys, **columns}, schema))
    group = scoring.stage.group
    return [replace(task.write(group, tables), group=PENDING + group)]


def scores_of_table(
    table: str, stage: ScoringStage, models: ModelSet, reader: ScoreReader, context: StageContext
) -> list[Part]:
    """Parts with the scores of the documents of a table (KEYS and position), in input order.

    However they came about, the same scores make the same parts.
    """
    connection = context.connection
    key, files = reader.known_scores(stage, models)
    connection.register("no_scores", stage.schema.empty_table())
    held = SortedFiles.of(files)
    left = [
        connection.sql(
            f"SELECT d.file_no, d.row, d.lines_sum FROM {_here(table, found, connection)} d "
            f"ANTI JOIN {held.sql(found) or 'no_scores'} s ON {SAME} ORDER BY d.position, d.row"
        ).to_arrow_table()
        for found in context.places
    ]
    fresh = pa.concat_tables(left).sort_by([("file_no", "ascending"), ("row", "ascending")])
    new = reader.scores(stage, fresh, models, context.cuts) if len(fresh) else []
    both = SortedFiles.of([*files, *(context.run / part.path for part in new)])
    rows = (
        connection.sql(
            f"SELECT s.* FROM {_here(table, found, connection)} d JOIN {both.sql(found) or 'no_scores'} s ON {SAME} "
            "ORDER BY d.position, d.row"
        ).to_arrow_table()
        for found in context.places
    )
    parts = [
        write_part(context.run, stage.group, context.digest, f"{k:05d}", some.cast(stage.schema), contents=(key,))
        for k, some in enumerate(rebuffered(rows, PART_ROWS))
    ]
    connection.unregister("no_scores")
    return parts


def _here(table: str, found: DocumentRange, connection: duckdb.DuckDBPyConnection) -> str:
    """SQL of what a table has of a range."""
    restrict_views([table], found.within, connection)
    return f"(FROM here_{table} WHERE {found.place})"

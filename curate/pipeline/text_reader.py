"""The `TextReader` of a run: it reads texts again while the run decides, by maps on the run's engine."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.corpus.units import unit_bytes
from curate.decide.plan import Plan
from curate.dedup import lines
from curate.dedup.near import stage as near
from curate.distill.purify import passages
from curate.distill.purify.training import collect_texts, plan_texts
from curate.distill.scoring_stage import DrawDocuments, ScoringStage, Training, plan_scores, score_documents
from curate.engine.base import Engine, map_in_order
from curate.errors import CurateError
from curate.ledger.ledger import Ledger
from curate.ledger.models import ModelSet, copy_models
from curate.ledger.parts import Part
from curate.maps.reread import CorpusReader, RereadTask
from curate.maps.run_maps import run_tasks
from curate.maps.warm import compile_once
from curate.progress import Log, Meter, Steps
from curate.recipe.recipe import Recipe
from curate.recipe.strata import strata_of_documents


@dataclass(frozen=True)
class Rereader:
    """Reads documents of a run again."""

    plan: Plan
    ledger: Ledger
    engine: Engine
    log: Log

    @property
    def corpus(self) -> CorpusReader:
        """The run's corpus."""
        return self.plan.corpus(self.ledger.run)

    def run(
        self, function: Callable[[Any], list[Part]], tasks: Sequence[RereadTask], title: str, parts_each: int = 1
    ) -> list[Part]:
        """Run the tasks whose parts are missing from the ledger; return the parts of all tasks in input order.

        The order matters: what is trained on the parts depends on it. All tasks have the same digest. A task whose
        `parts_each` parts are incomplete is run again, since the journal may have been cut off between them.
        """
        if not tasks:
            return []
        digest = tasks[0].digest
        of_digest = [part for part in self.ledger.parts if part.digest == digest]
        counts = Counter(unit for path, unit in {(part.path, unit) for part in of_digest for unit in part.units})
        done = {unit for unit, count in counts.items() if count >= parts_each}
        self._run_tasks(function, [task for task in tasks if task.unit not in done], title)
        units = {task.unit for task in tasks}  # parts of other units may be from another way to cut them
        parts = {p.path: p for p in self.ledger.parts if p.digest == digest and set(p.units) <= units}.values()
        positions = {unit: k for k, unit in enumerate(self.plan.units)}
        return sorted(parts, key=lambda part: (part.group, positions[part.units[0]]))

    def _run_tasks(self, function: Callable[[Any], list[Part]], tasks: Sequence[RereadTask], title: str) -> None:
        """Run tasks and put their parts in force, with a progress line."""
        sizes = {task.name: unit_bytes(task.unit, self.plan.files[task.unit.file_no]) for task in tasks}
        meter = Meter(self.log, title, sum(sizes.values()), self.ledger.run, sizes)
        with closing(run_tasks(function, tasks, self.ledger, self.engine, self.log, title)) as results:
            for task, result in results:
                if isinstance(result, CurateError):
                    raise result
                if task is not None:
                    meter.add(result[-1].rows, sizes[task.name])
                meter.show()
        meter.show(last=True)


@dataclass(frozen=True)
class EngineReader:
    """A `TextReader` on an engine."""

    recipe: Recipe
    plan: Plan
    ledger: Ledger
    engine: Engine
    log: Log
    steps: Steps

    @property
    def corpus(self) -> CorpusReader:
        """The run's corpus."""
        return self.plan.corpus(self.ledger.run)

    def begin(self, step: str) -> None:
        """See `TextReader`."""
        self.steps(step)

    def say(self, line: str) -> None:
        """See `ScoreReader`."""
        self.log.say(line)

    def each(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
        """See `TextReader`."""
        return map_in_order(self.engine, function, tasks)

    def shingle_sets(self, documents: pa.Table) -> list[Path]:
        """See `TextReader`."""
        parts = self._reread(near.collect_sets, near.plan_sets(self.corpus, documents), "verifying")
        self.steps("near duplicates")
        return [self.ledger.run / part.path for part in parts]

    def cut_lines(self, documents: pa.Table) -> list[Part]:
        """See `TextReader`."""
        return self._reread(lines.cut_lines, lines.plan_cuts(self.corpus, documents), "cutting", parts_each=2)

    def cut_passages(self, documents: pa.Table, cuts: Sequence[Part]) -> list[Part]:
        """See `ScoreReader`."""
        tasks = passages.plan_cuts(self.corpus, documents, cuts)
        return self._reread(passages.cut_documents, tasks, "cutting", parts_each=2)

    def collect_texts(self, documents: pa.Table) -> list[Part]:
        """See `TextSource`."""
        return self._reread(collect_texts, plan_texts(self.corpus, documents), "reading")

    def models(self, stage: ScoringStage, documents: DrawDocuments) -> ModelSet:
        """See `ScoreReader`; pinned models are copied into the run."""
        pinned = self.plan.pinned.get(stage.models.section)
        if pinned is not None:
            return copy_models(pinned, self.ledger.run)
        training = Training(
            recipe=self.recipe,
            reading=self.plan.reading,
            reference=self.plan.reference,
            strata=strata_of_documents(self.recipe, self.plan.inputs.names, self.plan.groups),
            static=self.plan.static,
            ledger=self.ledger,
            corpus=self,
            open_model=self.engine.open_model,
            log=self.log,
            begin=self.steps,
        )
        return stage.train(training, documents())

    def cached_scores(self, stage: ScoringStage, models: ModelSet) -> tuple[str, list[Path]]:
        """See `ScoreReader`: the scores in force, if they are by these models."""
        key = stage.key(models)
        return key, [self.ledger.run / part.path for part in self.ledger.of(stage.group) if part.contents == (key,)]

    def scores(self, stage: ScoringStage, documents: pa.Table, models: ModelSet, cuts: Sequence[Part]) -> list[Part]:
        """See `ScoreReader`."""
        name = "-".join([stage.group, *sorted(models.files)])  # each kind of model has other kernels
        compile_once({name: partial(stage.warm, models.files)})
        return self._reread(score_documents, plan_scores(stage, self.corpus, documents, models, cuts), "scoring")

    def _reread(
        self, function: Callable[[Any], list[Part]], tasks: Sequence[RereadTask], title: str, parts_each: int = 1
    ) -> list[Part]:
        self.steps("")
        rereader = Rereader(self.plan, self.ledger, self.engine, self.log)
        return rereader.run(function, tasks, title, parts_each)

"""Texts that a run reads again while it decides: by maps on its engine, whose parts are put in force one by one."""

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
from curate.distill.purify.training import collect_texts, plan_texts
from curate.distill.scoring_stage import Documents, ScoringStage, Training, plan_scores, score_documents
from curate.engine.base import Engine, map_in_order
from curate.errors import CurateError
from curate.ledger.ledger import Ledger
from curate.ledger.models import ModelSet, copy_models
from curate.ledger.parts import Part
from curate.maps.reread import CorpusReader, RereadTask
from curate.maps.run_maps import carry_out
from curate.maps.warm import compile_once
from curate.progress import Log, Meter, Steps
from curate.recipe.recipe import Recipe
from curate.recipe.strata import strata_of_documents


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

    def collect_texts(self, documents: pa.Table) -> list[Part]:
        """See `TextSource`."""
        return self._reread(collect_texts, plan_texts(self.corpus, documents), "reading")

    def models(self, stage: ScoringStage, documents: Documents) -> ModelSet:
        """See `ScoreReader`; those that are pinned are copied."""
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
            tell=self.steps,
        )
        return stage.train(training, documents())

    def known_scores(self, stage: ScoringStage, models: ModelSet) -> tuple[str, list[Path]]:
        """See `ScoreReader`: the scores in force, if they were made by these models."""
        key = stage.key(models)
        return key, [self.ledger.run / part.path for part in self.ledger.of(stage.group) if part.contents == (key,)]

    def scores(self, stage: ScoringStage, documents: pa.Table, models: ModelSet, cuts: Sequence[Part]) -> list[Part]:
        """See `ScoreReader`."""
        name = "-".join([stage.group, *sorted(models.files)])  # each kind of model has kernels of its own
        compile_once({name: partial(stage.warm, models.files)})
        return self._reread(score_documents, plan_scores(stage, self.corpus, documents, models, cuts), "scoring")

    def _reread(
        self, function: Callable[[Any], list[Part]], tasks: Sequence[RereadTask], title: str, parts_each: int = 1
    ) -> list[Part]:
        self.steps("")
        return reread(function, tasks, title, self.plan, self.ledger, self.engine, self.log, parts_each)


def reread(
    function: Callable[[Any], list[Part]], tasks: Sequence[RereadTask], title: str, plan: Plan, ledger: Ledger,
    engine: Engine, log: Log, parts_each: int = 1,
) -> list[Part]:  # fmt: skip
    """Run the tasks whose parts are missing from the ledger; return the parts of all of them, in input order.

    What is learnt from parts depends on their order, whichever was finished first. The tasks have one digest; the
    journal may have been cut off between the parts of a task.
    """
    if not tasks:
        return []
    digest = tasks[0].digest
    held = Counter(unit for path, unit in {(p.path, u) for p in ledger.parts if p.digest == digest for u in p.units})
    done = {unit for unit, count in held.items() if count >= parts_each}
    sizes = {unit: unit_bytes(unit, plan.files[unit.file_no]) for unit in (task.unit for task in tasks)}
    todo = [task for task in tasks if task.unit not in done]
    names = {task.name: sizes[task.unit] for task in todo}
    meter = Meter(log, title, sum(sizes[task.unit] for task in todo), ledger.run, names)
    with closing(carry_out(function, todo, ledger, engine, log, title)) as results:
        for task, result in results:
            if isinstance(result, CurateError):
                raise result
            if task is not None:
                meter.add(result[-1].rows, sizes[task.unit])
            meter.show()
    meter.show(last=True)
    positions = {unit: k for k, unit in enumerate(plan.units)}
    # Not of units that were once cut otherwise.
    parts = {p.path: p for p in ledger.parts if p.digest == digest and set(p.units) <= sizes.keys()}.values()
    return sorted(parts, key=lambda part: (part.group, positions[part.units[0]]))

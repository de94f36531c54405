"""Maps on an engine, whose parts are put in force one by one, and those that a run needs while it decides."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.corpus.units import unit_bytes
from curate.decide.decide import Maps
from curate.decide.plan import Plan
from curate.dedup import lines
from curate.dedup.near import stage as near
from curate.distill.budget.models import (
    Scorers,
    copy_scorers,
    learn_scorers,
    paths_of,
    plan_scoring,
    score_candidates,
    scoring_key,
    warm_scoring,
)
from curate.distill.budget.stage import Distil
from curate.distill.purify.stage import Purify, plan_scores, score_documents, scores_key, warm_scores
from curate.distill.purify.training import Learnt, collect_mined, copy_pinned, learn, plan_mined
from curate.engine.base import Engine, all_of
from curate.errors import CurateError
from curate.ledger.ledger import Ledger
from curate.ledger.names import P_BAD, SCORES
from curate.ledger.parts import Part
from curate.maps.run_maps import carry_out
from curate.maps.warm import compile_once
from curate.progress import Log, Meter, Steps
from curate.recipe.recipe import Recipe
from curate.recipe.strata import strata_of_documents


def maps_of(recipe: Recipe, plan: Plan, ledger: Ledger, engine: Engine, log: Log, steps: Steps) -> Maps:
    """The maps over documents that are read again while a run decides."""
    where = (ledger.run, plan.units, plan.sources, plan.reading)

    def again(function: Callable[[Any], list[Part]], tasks: Sequence[Any], title: str, parts_each: int) -> list[Part]:
        steps("")
        return read_again(function, tasks, title, parts_each, plan, ledger, engine, log)

    def carry(function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
        return all_of(engine, function, tasks)

    def sets(documents: pa.Table) -> list[Path]:
        parts = again(near.collect_sets, near.plan_sets(where[0], documents, *where[1:]), "verifying", 1)
        steps("near duplicates")
        return [ledger.run / part.path for part in parts]

    def cuts(documents: pa.Table) -> list[Part]:
        return again(lines.cut_lines, lines.plan_cuts(where[0], documents, *where[1:]), "cutting", 2)

    def collected(documents: pa.Table) -> list[Part]:
        return again(collect_mined, plan_mined(where[0], documents, *where[1:]), "reading", 1)

    def learnt(mined: Callable[[], pa.Table]) -> Learnt:
        if plan.pinned is not None:
            return copy_pinned(plan.pinned, ledger.run)
        strata = strata_of_documents(recipe, plan.inputs.names, plan.groups)
        return learn(
            recipe, plan.reading, plan.reference, strata, ledger, mined(), collected, engine.open_model, log, steps
        )

    def known(found: Learnt) -> tuple[str, list[Path]]:
        key = scores_key(found)
        return key, [ledger.run / part.path for part in ledger.of(P_BAD) if part.contents == (key,)]

    def scored(documents: pa.Table, found: Learnt, cut: Sequence[Part]) -> list[Part]:
        compile_once({P_BAD: lambda: warm_scores(found, ledger.run)})
        tasks = plan_scores(where[0], documents, *where[1:], found, cut)
        return again(score_documents, tasks, "scoring", 1)

    return Maps(
        carry,
        sets,
        cuts,
        Purify(learnt, known, scored),
        _distil(recipe, plan, ledger, again, collected, log, steps),
        steps,
    )


def _distil(
    recipe: Recipe, plan: Plan, ledger: Ledger, again: Callable[..., list[Part]],
    collected: Callable[[pa.Table], list[Part]], log: Log, steps: Steps,
) -> Distil:  # fmt: skip
    """The maps of the budget."""

    def learnt(sample: Callable[[], pa.Table]) -> Scorers:
        if plan.pinned_scorers is not None:
            return copy_scorers(plan.pinned_scorers, ledger.run)
        return learn_scorers(recipe, plan.reading, plan.reference, ledger, sample(), collected, log, steps, plan.static)

    def known(found: Scorers) -> tuple[str, list[Path]]:
        key = scoring_key(found)
        return key, [ledger.run / part.path for part in ledger.of(SCORES) if part.contents == (key,)]

    def scored(documents: pa.Table, found: Scorers, cut: Sequence[Part]) -> list[Part]:
        name = "-".join([SCORES, *sorted(paths_of(found))])  # each kind of model has kernels of its own
        compile_once({name: lambda: warm_scoring(found)})
        tasks = plan_scoring(ledger.run, documents, plan.units, plan.sources, plan.reading, found, cut)
        return again(score_candidates, tasks, "scoring", 1)

    return Distil(learnt, known, scored, log.say)


def read_again(
    function: Callable[[Any], list[Part]], tasks: Sequence[Any], title: str, parts_each: int, plan: Plan,
    ledger: Ledger, engine: Engine, log: Log,
) -> list[Part]:  # fmt: skip
    """The parts of tasks of one digest, by units, of which those are carried out that the ledger has not all parts of.

    They come in the order of the input, whichever was finished first: what is learnt from them depends on it.

    The journal may have been cut off between the parts of a task.
    """
    if not tasks:
        return []
    digest = tasks[0].digest
    held = Counter(unit for path, unit in {(p.path, u) for p in ledger.parts if p.digest == digest for u in p.units})
    done = {unit for unit, count in held.items() if count >= parts_each}
    sizes = {unit: unit_bytes(unit, plan.files[unit.file_no]) for unit in (task.unit for task in tasks)}
    todo = [task for task in tasks if task.unit not in done]
    meter = Meter(log, title, sum(sizes[task.unit] for task in todo), ledger.run, {t.name: sizes[t.unit] for t in todo})
    with closing(carry_out(function, todo, ledger, engine, log, title)) as results:
        for task, result in results:
            if isinstance(result, CurateError):
                raise result
            if task is not None:
                meter.add(result[-1].rows, sizes[task.unit])
            meter.show()
    meter.show(last=True)
    places = {unit: k for k, unit in enumerate(plan.units)}  # in the order of the input, not of their ends
    # Not of units that were once cut otherwise.
    found = {p.path: p for p in ledger.parts if p.digest == digest and set(p.units) <= sizes.keys()}.values()
    return sorted(found, key=lambda part: (part.group, places[part.units[0]]))

"""Rehearse a run: run its own functions on a small sample in a temporary folder, and record what they cost."""

import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from curate.decide.cascade import Cascade
from curate.decide.counts import count
from curate.decide.decide import decide
from curate.decide.plan import Plan
from curate.engine.base import Engine
from curate.errors import CurateError, InputError
from curate.ledger.ledger import Ledger
from curate.ledger.names import DATA, DECISIONS, LINE_EDITS
from curate.ledger.parts import Part
from curate.ledger.views import scratch_database
from curate.maps import shards
from curate.maps.measure import MeasureTask, measure, plan_tasks
from curate.pipeline.checks.other_languages import Losses, OtherLanguage, count_other_language, measure_losses
from curate.pipeline.forecast.sample import Sample, write_sample
from curate.pipeline.index import build_index
from curate.pipeline.plan import make_plan
from curate.pipeline.reuse import edit_parts
from curate.pipeline.state import RunOptions
from curate.pipeline.text_reader import EngineReader
from curate.progress import Log, Steps
from curate.recipe.recipe import Recipe
from curate.who.documents import who_of_ledger

TRIES = 4
TRY_SECONDS = 1.0


@dataclass(frozen=True)
class Files:
    """Sizes of written files in bytes."""

    payload: int  # grows with the rows
    overhead: int  # of each file

    @classmethod
    def of(cls, run: Path, parts: Iterable[Part]) -> "Files":
        """Measure the files of these parts."""
        payload = overhead = count = 0
        for part in parts:
            metadata = pq.read_metadata(run / part.path)
            groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
            size = sum(group.column(c).total_compressed_size for group in groups for c in range(group.num_columns))
            payload, overhead, count = payload + size, overhead + part.bytes - size, count + 1
        return cls(payload, overhead // max(1, count))


@dataclass(frozen=True)
class Measured:
    """The parts that a worker measured on the sample, and what that cost."""

    parts: tuple[Part, ...]
    seconds: float  # of CPU
    start_seconds: float  # of CPU, before the task
    peak_bytes: int  # of memory


@dataclass
class Rehearsal:
    """What the run on the sample did and cost."""

    sample: Sample
    stages: list[Mapping[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # of CPU: `worker` (start), `decide`, `write`, `index`
    measuring: dict[tuple[str, ...], float] = field(default_factory=dict)  # CPU seconds by groups measured together
    files: dict[str, Files] = field(default_factory=dict)  # by group
    table_bytes: int = 0  # of all measured tables in memory
    resident: int = 0  # bytes of a process that has measured, without these tables
    losses: Losses | None = None  # documents in other languages that rules made for English drop
    other_language: OtherLanguage | None = None

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Record the CPU time of a block."""
        started = time.process_time()
        yield
        self.seconds[name] = time.process_time() - started


def rehearse(
    recipe: Recipe, plan: Plan, sets: Iterable[tuple[str, ...]], engine: Engine, threads: int, folder: Path, log: Log
) -> Rehearsal:
    """Run the recipe on a sample of the plan's corpus, in `folder`; the groups of each of `sets` are timed together.

    Errors: those of a run.
    """
    rehearsal = Rehearsal(write_sample(plan, folder))
    source = recipe.input.model_copy(update={"paths": [str(rehearsal.sample.path)]})
    small = recipe.model_copy(update={"input": source, "output": str(folder / "run"), "evaluate": None})
    untrained = small.model_copy(update={"tier2": None, "distill": None})  # a forecast trains nothing
    ledger = Ledger(folder / "run")
    try:
        sampled = make_plan(small, ledger, engine, log, RunOptions(force=True))
        _measure(rehearsal, sampled, ledger, sets, engine)
        with scratch_database(ledger, threads) as database:
            reader = EngineReader(untrained, sampled, ledger, engine, log, Steps(log, "deciding"))
            _decide_and_write(rehearsal, reader, database)
    except InputError as error:
        raise InputError(
            str(error).replace(f"{rehearsal.sample.path.name} row", "a sample of the input: row")
        ) from None
    return rehearsal


def _measure(rehearsal: Rehearsal, plan: Plan, ledger: Ledger, sets: Iterable[tuple[str, ...]], engine: Engine) -> None:
    """Measure all groups, which the decisions need, and each set of groups, to time it."""
    every = tuple(plan.groups)
    measured = _measured(plan, ledger.run, every, engine)
    ledger.parts, rehearsal.measuring[every] = list(measured.parts), measured.seconds
    rehearsal.seconds["worker"] = measured.start_seconds
    tables = [pq.read_table(ledger.run / part.path) for part in measured.parts]
    rehearsal.table_bytes = sum(table.nbytes for table in tables)
    rehearsal.resident = max(0, measured.peak_bytes - 2 * rehearsal.table_bytes)
    for groups in set(sets) - {every}:
        rehearsal.measuring[groups] = _measured(plan, ledger.run.parent / "again", groups, engine).seconds
    ledger.commit()  # the maps of the decisions add parts to it
    for group in every:
        rehearsal.files[group] = Files.of(ledger.run, ledger.of(group))


def _measured(plan: Plan, run: Path, groups: tuple[str, ...], engine: Engine) -> Measured:
    """Have a worker measure these groups of the sample."""
    tasks = plan_tasks(
        run,
        plan.units,
        [0] * len(plan.units),
        sources=plan.sources,
        reading=plan.reading,
        missing=dict.fromkeys(plan.units, groups),
        digests=plan.groups,
    )
    measured = next(result for task, result in engine.map(measure_timed, [tasks]) if task is not None)
    if isinstance(measured, CurateError):
        raise measured
    assert isinstance(measured, Measured)
    return measured


def measure_timed(tasks: Sequence[MeasureTask]) -> Measured:
    """Measure the tasks in a worker and record the costs."""
    start_seconds = time.process_time()
    parts, seconds = least_seconds(lambda: [part for task in tasks for part in measure(task)])
    return Measured(tuple(parts), seconds, start_seconds, peak_bytes())


def least_seconds(work: Callable[[], list[Part]]) -> tuple[list[Part], float]:
    """Return the result of `work` and its CPU seconds: for short work the least of several tries."""
    tries: list[float] = []
    while len(tries) < TRIES and sum(tries) < TRY_SECONDS:
        started = time.process_time()
        result = work()
        tries.append(time.process_time() - started)
    return result, min(tries)


def peak_bytes() -> int:
    """The peak memory of this process."""
    try:  # getrusage includes the memory of the parent at the time of the fork
        [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _decide_and_write(rehearsal: Rehearsal, reader: EngineReader, database: duckdb.DuckDBPyConnection) -> None:
    recipe, plan, ledger = reader.recipe, reader.plan, reader.ledger
    with rehearsal.timed("decide"):
        parts = decide(
            Cascade(recipe=recipe, plan=plan, ledger=ledger, reader=reader, connection=database, digest="sample")
        )
    for group in (LINE_EDITS, DECISIONS):
        ledger.put(group, [part for part in parts if part.group == group])
    parts = ledger.of(DECISIONS)
    counts = count(plan, ledger, database)
    rehearsal.stages = list(counts.stages)
    rehearsal.losses = measure_losses(recipe, plan, ledger, database)
    rehearsal.other_language = count_other_language(ledger, database)
    edits = edit_parts(plan, ledger)
    output = shards.Output(
        digest="sample",
        sources=plan.sources,
        text=recipe.input.column,
        inputs=plan.inputs,
        edits=tuple(edits),
        added=shards.added_columns(recipe),
    )
    tasks = shards.plan_shards(ledger, output)
    written, rehearsal.seconds["write"] = least_seconds(lambda: [p for task in tasks for p in shards.write_shard(task)])
    with rehearsal.timed("index"):
        groups = who_of_ledger(recipe, plan.groups, ledger, database)
        build_index(recipe, plan, ledger, counts, groups, database)
    rehearsal.files |= {DECISIONS: Files.of(ledger.run, parts), DATA: Files.of(ledger.run, written)}

"""A run on a small sample, in a temporary folder, by the functions of the run itself, with its costs taken down."""

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
from curate.maps.measure import Task, measure, plan_tasks
from curate.pipeline.checks.other_languages import Losses, losses, other_language
from curate.pipeline.forecast.sample import Sample, write_sample
from curate.pipeline.index import build_index
from curate.pipeline.plan import make_plan
from curate.pipeline.reuse import edit_parts
from curate.pipeline.text_reader import EngineReader
from curate.progress import Log, Steps
from curate.recipe.recipe import Recipe

TRIES = 4
TRY_SECONDS = 1.0


@dataclass(frozen=True)
class Files:
    """Bytes of files that were written: what grows with the rows, and what each file has besides."""

    payload: int
    overhead: int

    @classmethod
    def of(cls, run: Path, parts: Iterable[Part]) -> "Files":
        """The sizes of some parts."""
        payload = overhead = count = 0
        for part in parts:
            metadata = pq.read_metadata(run / part.path)
            groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
            size = sum(group.column(c).total_compressed_size for group in groups for c in range(group.num_columns))
            payload, overhead, count = payload + size, overhead + part.bytes - size, count + 1
        return cls(payload, overhead // max(1, count))


@dataclass(frozen=True)
class Measured:
    """What a worker made of a sample: CPU seconds, those it had used before, and the most memory it held, in bytes."""

    parts: tuple[Part, ...]
    seconds: float
    started: float
    resident: int


@dataclass
class Rehearsal:
    """What a run on the sample did and cost."""

    sample: Sample
    stages: list[Mapping[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # of CPU: `worker` (its start), `decide`, `write`, `index`
    measuring: dict[tuple[str, ...], float] = field(default_factory=dict)  # CPU seconds by the groups measured together
    files: dict[str, Files] = field(default_factory=dict)  # by group
    table_bytes: int = 0  # of all measured tables in memory
    resident: int = 0  # bytes of a process that has measured, without these tables
    losses: Losses | None = None  # of other languages, to rules made for English
    other_language: Mapping[str, int] | None = None  # documents in languages that are not kept

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Take down the CPU time of a block."""
        started = time.process_time()
        yield
        self.seconds[name] = time.process_time() - started


def rehearse(
    recipe: Recipe, plan: Plan, sets: Iterable[tuple[str, ...]], engine: Engine, threads: int, folder: Path, log: Log
) -> Rehearsal:
    """Run the recipe on a sample of the plan's corpus, in `folder`; `sets` are the groups to be timed together.

    Errors: as those of a run.
    """
    found = Rehearsal(write_sample(plan, folder))
    source = recipe.input.model_copy(update={"paths": [str(found.sample.path)]})
    small = recipe.model_copy(update={"input": source, "output": str(folder / "run"), "evaluate": None})
    decided = small.model_copy(update={"tier2": None, "distill": None})  # a forecast trains nothing
    ledger = Ledger(folder / "run")
    try:
        sampled = make_plan(small, ledger, engine, log)
        _measure(found, sampled, ledger, sets, engine)
        with scratch_database(ledger, threads) as database:
            reader = EngineReader(decided, sampled, ledger, engine, log, Steps(log, "deciding"))
            _decide_and_write(found, reader, database)
    except InputError as error:
        raise InputError(str(error).replace(f"{found.sample.path.name} row", "a sample of the input: row")) from None
    return found


def _measure(found: Rehearsal, plan: Plan, ledger: Ledger, sets: Iterable[tuple[str, ...]], engine: Engine) -> None:
    """Measure everything, which the decisions need, and each set of groups for its time."""
    every = tuple(plan.groups)
    done = _measured(plan, ledger.run, every, engine)
    ledger.parts, found.measuring[every] = list(done.parts), done.seconds
    found.seconds["worker"] = done.started
    tables = [pq.read_table(ledger.run / part.path) for part in done.parts]
    found.table_bytes = sum(table.nbytes for table in tables)
    found.resident = max(0, done.resident - 2 * found.table_bytes)
    for groups in set(sets) - {every}:
        found.measuring[groups] = _measured(plan, ledger.run.parent / "again", groups, engine).seconds
    ledger.commit()  # so that the maps of decisions can add to it
    for group in every:
        found.files[group] = Files.of(ledger.run, ledger.of(group))


def _measured(plan: Plan, run: Path, groups: tuple[str, ...], engine: Engine) -> Measured:
    """The sample's parts of some groups, made by a worker."""
    missing = dict.fromkeys(plan.units, groups)
    tasks = plan_tasks(run, plan.units, [0] * len(plan.units), plan.sources, plan.reading, missing, plan.groups)
    done = next(result for task, result in engine.map(measure_timed, [tasks]) if task is not None)
    if isinstance(done, CurateError):
        raise done
    assert isinstance(done, Measured)
    return done


def measure_timed(tasks: Sequence[Task]) -> Measured:
    """Measure, and tell what that took."""
    started = time.process_time()
    parts, seconds = least_seconds(lambda: [part for task in tasks for part in measure(task)])
    return Measured(tuple(parts), seconds, started, peak_bytes())


def least_seconds(work: Callable[[], list[Part]]) -> tuple[list[Part], float]:
    """What `work` returns, and its CPU seconds: of short work the least of some tries, since the machine is shared."""
    tries: list[float] = []
    while len(tries) < TRIES and sum(tries) < TRY_SECONDS:
        started = time.process_time()
        result = work()
        tries.append(time.process_time() - started)
    return result, min(tries)


def peak_bytes() -> int:
    """The most memory that this process has held."""
    try:  # getrusage counts what the parent held when it started this process
        [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _decide_and_write(found: Rehearsal, reader: EngineReader, database: duckdb.DuckDBPyConnection) -> None:
    recipe, plan, ledger = reader.recipe, reader.plan, reader.ledger
    with found.timed("decide"):
        parts = decide(
            Cascade(recipe=recipe, plan=plan, ledger=ledger, reader=reader, connection=database, digest="sample")
        )
    for group in (LINE_EDITS, DECISIONS):
        ledger.put(group, [part for part in parts if part.group == group])
    parts = ledger.of(DECISIONS)
    counts = count(plan, ledger, database)
    found.stages = list(counts.stages)
    found.losses, found.other_language = losses(recipe, plan, ledger, database), other_language(ledger, database)
    edits = edit_parts(plan, ledger)
    tasks = shards.plan_shards(
        ledger, "sample", plan.sources, recipe.input.column, plan.inputs, shards.our_columns(recipe), edits
    )
    written, found.seconds["write"] = least_seconds(lambda: [p for task in tasks for p in shards.write_shard(task)])
    with found.timed("index"):
        build_index(recipe, plan, ledger, counts, database)
    found.files |= {
        DECISIONS: Files.of(ledger.run, parts),
        DATA: Files.of(ledger.run, written),
    }

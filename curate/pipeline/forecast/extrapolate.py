"""Scale the costs of a rehearsal on a sample up to a run of the whole corpus."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from curate.decide.decide import DECISION_ROWS
from curate.decide.plan import Plan
from curate.ledger.names import DATA, DECISIONS, INPUT, SEPARATE_GROUPS
from curate.ledger.views import RANGE_ROWS, THREAD_MB
from curate.maps.measure import MeasureTask
from curate.pipeline.forecast.costs import Seconds, Texts, compile_seconds, model_seconds
from curate.pipeline.forecast.rehearsal import Rehearsal
from curate.pipeline.forecast.result import CpuSeconds, DiskBytes, MemoryBytes
from curate.pipeline.index import SIGNALS_AS_TABLE
from curate.pipeline.reuse import Step, measuring_tasks
from curate.recipe.recipe import Recipe

# CPU seconds per document beyond what SQL takes for the sample, which is nearly all start-up; measured with ten rules.
DECIDE_SECONDS = 4.5e-6
INDEX_SECONDS = 3.5e-6
RANGE_BYTES = 2048  # memory of the main process, outside the database, for each document of a range
INDEX_RATIO = 1.5  # size of columns in DuckDB relative to the ledger
INDEX_BYTES = 1 << 20  # of an index without documents


@dataclass(frozen=True, kw_only=True)
class Work:
    """The work that is left to do on a corpus, and the size of the corpus."""

    tasks: Sequence[MeasureTask]
    measured_bytes: Mapping[tuple[str, ...], int]  # text bytes of the units that lack these groups
    steps: Sequence[Step]
    documents: int
    text_bytes: int  # by the files' footers

    def makes(self, name: str) -> bool:
        """Whether a step has something to do."""
        return any(step.made for step in self.steps if step.name == name)


@dataclass(frozen=True, kw_only=True)
class Extrapolation:
    """The costs of a run, scaled up from a rehearsal."""

    recipe: Recipe
    plan: Plan
    work: Work
    rehearsal: Rehearsal
    workers: int

    @property
    def tokens_per_byte(self) -> float:
        """Tokens per byte of text in the sample."""
        return float(self.rehearsal.stages[0]["tokens_in"] / max(1, self.rehearsal.sample.text_bytes))

    @property
    def tokens_passing(self) -> float:
        """The share of tokens that no rule drops."""
        stages = self.rehearsal.stages
        return float(stages[1]["tokens_out"] / max(1, stages[0]["tokens_in"]))

    @property
    def documents_passing(self) -> float:
        """The share of documents that no rule drops."""
        stages = self.rehearsal.stages
        return float(stages[1]["documents_out"] / max(1, stages[0]["documents_in"]))

    @property
    def text_factor(self) -> float:
        """The text of the corpus relative to that of the sample."""
        return self.rehearsal.sample.corpus_text_bytes / max(1, self.rehearsal.sample.text_bytes)

    @property
    def processes(self) -> int:
        """The processes that the run starts, including the main one."""
        return 1 + min(self.workers, max(2, len(self.work.tasks)))

    @cached_property
    def models(self) -> Mapping[str, Seconds]:
        """CPU seconds of the stages that train models; empty if the decisions are reused."""
        if not self.work.makes("decisions"):
            return {}
        size = self.rehearsal.sample.corpus_text_bytes
        passing = Texts(round(self.work.documents * self.documents_passing), round(size * self.tokens_passing))
        tokens = round(size * self.tokens_per_byte)
        return model_seconds(self.recipe, Texts(self.work.documents, size), passing, tokens)

    @cached_property
    def compiling(self) -> float:
        """CPU seconds for compiling the kernels of those stages."""
        return compile_seconds(self.recipe) if self.models else 0.0

    @cached_property
    def without_models(self) -> CpuSeconds:
        """CPU seconds of the steps that train no model."""
        sample, seconds, stages = self.rehearsal.sample, self.rehearsal.seconds, self.rehearsal.stages
        scale = sample.corpus_text_bytes / max(1, self.work.text_bytes)  # true text bytes per byte in the footers
        measure = sum(
            self.rehearsal.measuring[groups] * size * scale / max(1, sample.text_bytes)
            for groups, size in self.work.measured_bytes.items()
        )
        written = max(1, stages[-1]["tokens_out"]) / max(1, stages[0]["tokens_in"])
        write = seconds["write"] * self.text_factor * self.tokens_passing / written
        documents = self.work.documents
        return CpuSeconds(
            start=seconds["worker"] * self.processes,
            measure=measure,
            decide=seconds["decide"] + DECIDE_SECONDS * documents if self.work.makes("decisions") else 0.0,
            write=write if self.work.makes("output") else 0.0,
            index=seconds["index"] + INDEX_SECONDS * documents,
        )

    def cpu_seconds(self) -> CpuSeconds:
        """CPU seconds of all steps."""
        by_stage = {stage: seconds.all for stage, seconds in self.models.items()}
        return replace(self.without_models, **by_stage, compile=self.compiling)

    def minutes(self) -> float:
        """Wall-clock minutes, if each process has a core to itself."""
        seconds, workers = self.without_models, self.workers
        kept_bytes = self.rehearsal.sample.corpus_text_bytes * self.tokens_passing
        shards = max(1, math.ceil(kept_bytes / self.recipe.shard_size))
        maps = seconds.measure / min(workers, max(1, len(self.work.tasks))) + seconds.write / min(workers, shards)
        starts = seconds.start / self.processes
        units = max(1, len(self.plan.units))
        training = sum(stage.alone + stage.shared / min(workers, units) for stage in self.models.values())
        return (starts + maps + seconds.decide + seconds.index) / 60 + training / 60 + self.compiling / 60

    def memory_bytes(self, base_bytes: int) -> MemoryBytes:
        """The most memory of the main process, which uses `base_bytes` before it starts, and of a worker."""
        rows = max((sum(unit.stop - unit.start for unit in task.units) for task in self.work.tasks), default=0)
        tables = self.rehearsal.table_bytes * rows // max(1, self.rehearsal.sample.documents)
        database = THREAD_MB * 1_000_000 * max(2, self.workers)
        return MemoryBytes(
            main=base_bytes + database + RANGE_ROWS * RANGE_BYTES, worker=self.rehearsal.resident + 2 * tables
        )

    def disk_bytes(self) -> DiskBytes:
        """The size of the finished run directory."""
        documents, files, stages = self.work.documents, self.rehearsal.files, self.rehearsal.stages
        per_document = documents / max(1, self.rehearsal.sample.documents)
        sizes = {group: round(files[group].payload * per_document) for group in (*self.plan.groups, DECISIONS)}
        overhead = sum(files[group].overhead for group in self.plan.groups) * count_tasks(self.plan)
        overhead += files[DECISIONS].overhead * -(-documents // DECISION_ROWS)
        indexed = sum(size for group, size in sizes.items() if group not in (INPUT, *SEPARATE_GROUPS))
        if documents > SIGNALS_AS_TABLE:
            indexed = sizes[DECISIONS]
        kept, written = stages[1]["tokens_out"], max(1, stages[-1]["tokens_out"])
        output = round(files[DATA].payload * self.text_factor * kept / written)
        kept_bytes = self.rehearsal.sample.corpus_text_bytes * kept / max(1, stages[0]["tokens_in"])
        return DiskBytes(
            ledger=sum(sizes.values()) + overhead,
            output=output + files[DATA].overhead * math.ceil(kept_bytes / self.recipe.shard_size),
            index=INDEX_BYTES + round(INDEX_RATIO * indexed),
        )


def count_tasks(plan: Plan) -> int:
    """The number of tasks of a fresh run, and so of parts of each group."""
    return len(measuring_tasks(plan, Path(), dict.fromkeys(plan.units, tuple(plan.groups))))

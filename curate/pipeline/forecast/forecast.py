"""What a run will read, reuse, drop and cost, told before it starts. Nothing is written outside a temporary folder."""

import math
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from curate.corpus.inputs import Found
from curate.corpus.units import unit_bytes
from curate.decide import decide
from curate.decide.plan import Plan
from curate.engine.base import Engine
from curate.filters.signals.hashes import choose_bands
from curate.ledger.ledger import Ledger, check_run_directory, read_ledger
from curate.ledger.names import APART, DATA, DECISIONS, INPUT
from curate.ledger.views import RANGE_ROWS, THREAD_MB
from curate.maps.measure import Task, plan_tasks
from curate.pipeline.checks.overlap import overlaps
from curate.pipeline.forecast.costs import Seconds, Texts, compile_seconds, model_seconds
from curate.pipeline.forecast.rehearsal import Rehearsal, peak_bytes, rehearse
from curate.pipeline.index import SIGNALS_AS_TABLE
from curate.pipeline.plan import make_plan
from curate.pipeline.reuse import Before, Step, drop_stale_parts, missing_groups, steps
from curate.pipeline.warm import compile_kernels
from curate.progress import Steps, unwritten_log
from curate.recipe.recipe import Recipe
from curate.storage.mirror import named

# Beyond what SQL takes for the sample, which is nearly all start; measured with ten rules.
DECIDE_SECONDS = 4.5e-6  # of CPU per document
INDEX_SECONDS = 3.5e-6
RANGE_BYTES = 2048  # that the main process holds beside the database for each document of a range
INDEX_RATIO = 1.5  # of DuckDB's bytes to those of the same columns in the ledger
INDEX_BYTES = 1 << 20  # of an index without documents


@dataclass(frozen=True)
class Work:
    """What is left to be done on a corpus, and its size."""

    tasks: tuple[Task, ...]
    measured_bytes: dict[tuple[str, ...], int]  # text in the units that lack these groups
    steps: tuple[Step, ...]
    documents: int
    text_bytes: int  # as the footers tell

    def makes(self, name: str) -> bool:
        """Whether a step has something to do."""
        return any(step.made for step in self.steps if step.name == name)


def estimate(
    recipe: Recipe, engine: Engine, workers: int, quiet: bool = False, inputs: Found | None = None
) -> dict[str, Any]:
    """The forecast of a run of `recipe` with `workers` processes, as `curate plan --json` prints it.

    `engine` measures the sample. The run directory is only read, also while a run is at work there.

    Errors: those that the run would end with before it measures, or on the sample.
    """
    check_run_directory(recipe.run_directory)
    log = unwritten_log(quiet)
    ledger = read_ledger(recipe.run_directory)
    before = Before.of(ledger)
    with tempfile.TemporaryDirectory(prefix="curate-plan-") as folder:
        plan = make_plan(recipe, ledger, engine, log, Path(folder), found=inputs)
        compile_kernels(plan.groups, plan.reading.editors)
        work = what_is_left(recipe, plan, ledger, before)
        shared = overlaps(recipe, plan)
        base = peak_bytes()
        with Steps(log, "planning") as steps:
            steps("a run on a sample")
            hushed = unwritten_log(quiet=True)
            found = rehearse(recipe, plan, work.measured_bytes, engine, workers, Path(folder), hushed)
    kept = _share_kept(found, "tokens_out", "tokens_in")
    models = _model_seconds(recipe, work, found, kept) if work.makes("decisions") else {}
    compiling = compile_seconds(recipe) if models else 0.0
    return {
        "run": named(str(recipe.run_directory)),
        "input": _input(plan, ledger, found),
        "sample": {"documents": found.sample.documents, "text_bytes": found.sample.text_bytes},
        "steps": [vars(step) | {"why": list(step.why)} for step in work.steps],
        "dropped": _dropped(found, work.documents),
        "passing": _passing(found, work.documents),
        "other_language": _other_language(found, work.documents),
        "warnings": shared + _languages(found, work.documents),
        "tier2": recipe.tier2 is not None,
        "tier3": recipe.tier3 is not None,
        "keep_tokens": recipe.distill.keep_tokens if recipe.distill else None,
        "bands": str(choose_bands(near.threshold, near.permutations)) if (near := recipe.dedup.near) else None,
        "cpu_seconds": (seconds := _seconds(work, found, kept, workers))
        | {stage: models[stage].all if models else 0.0 for stage in ("purify", "distil", "track")}
        | {"compile": compiling},
        "minutes": _minutes(seconds, work, found.sample.corpus_text_bytes * kept, recipe, workers)
        + sum(each.alone + each.shared / min(workers, max(1, len(plan.units))) for each in models.values()) / 60
        + compiling / 60,
        "workers": workers,
        "memory_bytes": _memory(work, found, base, workers),
        "disk_bytes": _disk(work, found, recipe, plan),
    }


def what_is_left(recipe: Recipe, plan: Plan, ledger: Ledger, before: Before) -> Work:
    """The tasks of a run, with what it takes from the ledger, as the run itself would settle them."""
    drop_stale_parts(plan, ledger)
    missing = missing_groups(plan, ledger)
    sizes = [unit_bytes(unit, plan.files[unit.file_no]) for unit in plan.units]
    tasks = plan_tasks(ledger.run, plan.units, sizes, plan.sources, plan.reading, missing, plan.groups)
    lacking: Counter[tuple[str, ...]] = Counter()
    for unit, size in zip(plan.units, sizes, strict=True):
        if missing[unit]:
            lacking[missing[unit]] += size
    rows = sum(file.rows for file in plan.files.values())
    todo = tuple(steps(recipe, plan, ledger, before))
    return Work(tuple(tasks), dict(lacking), todo, rows, sum(sizes))


def _input(plan: Plan, ledger: Ledger, found: Rehearsal) -> dict[str, Any]:
    tokens = found.stages[0]["tokens_in"] / max(1, found.sample.text_bytes)
    return {
        "files": len(plan.files),
        "quarantined": [file.path for file in ledger.files if file.error],
        "bad_lines": {file.path: file.bad_lines for file in ledger.files if file.bad_lines},
        "passed_over": [asdict(one) for one in plan.passed_over],
        "units": len(plan.units),
        "documents": sum(file.rows for file in plan.files.values()),
        "file_bytes": sum(file.size for file in plan.files.values()),
        "text_bytes": found.sample.corpus_text_bytes,
        "tokens": round(found.sample.corpus_text_bytes * tokens),
    }


def _dropped(found: Rehearsal, documents: int) -> list[dict[str, Any]]:
    """Each reason that dropped documents of the sample before duplicates were looked for, most first."""
    return [
        {"stage": stage["stage"], "reason": reason} | _shares(gone["documents"], gone["tokens"], found, documents)
        for stage in found.stages[:2]
        for reason, gone in stage["dropped"].items()
    ]


def _other_language(found: Rehearsal, documents: int) -> dict[str, int] | None:
    """Documents in languages that are not kept, and those of them that another reason drops first."""
    factor = documents / max(1, found.stages[0]["documents_in"])
    return {name: round(count * factor) for name, count in (found.other_language or {}).items()} or None


def _languages(found: Rehearsal, documents: int) -> list[str]:
    """What rules made for English would drop of other languages, where that is much."""
    if found.losses is None or not found.losses.is_telling:
        return []
    return [found.losses.scaled(found.sample.documents, documents).told()]


def _passing(found: Rehearsal, documents: int) -> dict[str, Any]:
    """What no rule drops."""
    stage = found.stages[1]
    return _shares(stage["documents_out"], stage["tokens_out"], found, documents)


def _shares(count: int, tokens: int, found: Rehearsal, documents: int) -> dict[str, Any]:
    first = found.stages[0]
    share = count / max(1, first["documents_in"])
    token_share = tokens / max(1, first["tokens_in"])
    return {"in_sample": count, "share": share, "documents": round(share * documents), "token_share": token_share}


def _share_kept(found: Rehearsal, out: str, into: str) -> float:
    """The share that no rule drops, of documents or tokens."""
    return float(found.stages[1][out] / max(1, found.stages[0][into]))


def _seconds(work: Work, found: Rehearsal, kept: float, workers: int) -> dict[str, float]:
    """CPU seconds of each stage of the run."""
    scale = _scale(work, found)
    measure = sum(
        found.measuring[groups] * size * scale / max(1, found.sample.text_bytes)
        for groups, size in work.measured_bytes.items()
    )
    written = max(1, found.stages[-1]["tokens_out"]) / max(1, found.stages[0]["tokens_in"])
    write = found.seconds["write"] * _per_sample(found) * kept / written
    processes = 1 + min(workers, max(2, len(work.tasks)))
    return {
        "start": found.seconds["worker"] * processes,
        "measure": measure,
        "decide": found.seconds["decide"] + DECIDE_SECONDS * work.documents if work.makes("decisions") else 0.0,
        "write": write if work.makes("output") else 0.0,
        "index": found.seconds["index"] + INDEX_SECONDS * work.documents,
    }


def _model_seconds(recipe: Recipe, work: Work, found: Rehearsal, kept: float) -> dict[str, Seconds]:
    """What stages that train models take, over the corpus and what the rules leave of it."""
    size = found.sample.corpus_text_bytes
    tokens = found.stages[0]["tokens_in"] / max(1, found.sample.text_bytes)
    documents = work.documents * _share_kept(found, "documents_out", "documents_in")
    passing = Texts(round(documents), round(size * kept))
    return model_seconds(recipe, Texts(work.documents, size), passing, round(size * tokens))


def _scale(work: Work, found: Rehearsal) -> float:
    """Bytes of text for each that a footer tells of."""
    return found.sample.corpus_text_bytes / max(1, work.text_bytes)


def _per_sample(found: Rehearsal) -> float:
    """How many times the sample's text the corpus has."""
    return found.sample.corpus_text_bytes / max(1, found.sample.text_bytes)


def _minutes(seconds: dict[str, float], work: Work, kept_bytes: float, recipe: Recipe, workers: int) -> float:
    """Time on the clock, if each process has a core of its own."""
    outputs = max(1, math.ceil(kept_bytes / recipe.shard_size))
    maps = seconds["measure"] / min(workers, max(1, len(work.tasks))) + seconds["write"] / min(workers, outputs)
    starts = seconds["start"] / (1 + min(workers, max(2, len(work.tasks))))
    return (starts + maps + seconds["decide"] + seconds["index"]) / 60


def _memory(work: Work, found: Rehearsal, base: int, workers: int) -> dict[str, int]:
    """Bytes that the main process and a worker hold at most."""
    rows = max((sum(unit.stop - unit.start for unit in task.units) for task in work.tasks), default=0)
    tables = found.table_bytes * rows // max(1, found.sample.documents)
    database = THREAD_MB * 1_000_000 * max(2, workers)
    return {"main": base + database + RANGE_ROWS * RANGE_BYTES, "worker": found.resident + 2 * tables}


def _disk(work: Work, found: Rehearsal, recipe: Recipe, plan: Plan) -> dict[str, int]:
    """Bytes of the run directory when the run is done: of files in the ledger, the output and the index."""
    per_document = work.documents / max(1, found.sample.documents)
    whole = count_tasks(plan)
    sizes = {group: round(found.files[group].payload * per_document) for group in (*plan.groups, DECISIONS)}
    ledger = sum(sizes.values()) + sum(found.files[group].overhead for group in plan.groups) * whole
    indexed = sum(size for group, size in sizes.items() if group not in (INPUT, *APART))
    if work.documents > SIGNALS_AS_TABLE:
        indexed = sizes[DECISIONS]
    kept, written = found.stages[1]["tokens_out"], max(1, found.stages[-1]["tokens_out"])
    data = found.files[DATA]
    output = round(data.payload * _per_sample(found) * kept / written)
    count = math.ceil(found.sample.corpus_text_bytes * kept / max(1, found.stages[0]["tokens_in"]) / recipe.shard_size)
    return {
        "ledger": ledger + found.files[DECISIONS].overhead * -(-work.documents // decide.DECISION_ROWS),
        "output": output + data.overhead * count,
        "index": INDEX_BYTES + round(INDEX_RATIO * indexed),
    }


def count_tasks(plan: Plan) -> int:
    """How many tasks a fresh run has, and so how many parts each group."""
    every = dict.fromkeys(plan.units, tuple(plan.groups))
    sizes: Sequence[int] = [unit_bytes(unit, plan.files[unit.file_no]) for unit in plan.units]
    return len(plan_tasks(Path(), plan.units, sizes, plan.sources, plan.reading, every, plan.groups))

"""Measure decisions on simulated ledgers: time, memory and disk of each step, by the number of documents.

Usage: python benchmarks/scale.py MILLIONS... [--folder FOLDER] [--keep]     (default: 1 4 16)

A ledger is simulated from that of the packaged sample: its documents' signals over and over, with hashes and signatures
of their own. Of the documents some are copies of others anywhere in the corpus, and some near copies, whose signatures
agree with the original's in a share from 0.5 to 1. The recipe has the Gopher rules, exact and near duplicates, bands of
perplexity and a budget. No text is read: `verify: signature`, and the scores that texts are read for are simulated too.
Each size is decided in a process of its own.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from curate.corpus.units import Unit
from curate.decide.cascade import Cascade
from curate.decide.decide import decide
from curate.distill.scoring_stage import DrawDocuments, ScoringStage
from curate.engine.base import InProcess
from curate.ledger.ledger import KnownFile, Ledger, read_ledger
from curate.ledger.models import ModelSet, load_models
from curate.ledger.names import BUDGET_MODELS, DECISIONS, SCORES, SIGNATURES
from curate.ledger.parts import Part
from curate.ledger.views import scratch_database
from curate.pipeline.plan import make_plan
from curate.pipeline.run import run
from curate.pipeline.text_reader import EngineReader
from curate.progress import Steps, unwritten_log
from curate.recipe.load import parse_recipe
from curate.recipe.recipe import Recipe

SAMPLE = Path(__file__).parent.parent / "curate" / "sample"
FILE_ROWS = 1 << 17
COPIES, NEAR_COPIES = 0.15, 0.15
THREADS = 2
SHINGLES = 2  # of a document, by which a budget tells what is new; real texts have some sixty


def main() -> None:
    """Simulate and decide each size, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("millions", nargs="*", type=float, default=[1, 4, 16])
    parser.add_argument("--folder", default=None)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inner:
        decided(Path(given.folder), round(given.millions[0] * 1e6))
        return
    print("|", " | ".join(COLUMNS), "|")
    print("|---" * len(COLUMNS) + "|")
    found = []
    for millions in given.millions:
        folder = Path(tempfile.mkdtemp(dir=given.folder or Path.cwd()))
        try:
            simulated(folder, round(millions * 1e6))
            inner = [sys.executable, __file__, str(millions), "--inner", "--folder", str(folder)]
            done = subprocess.run(inner, check=True, capture_output=True, text=True)
            found.append(Decided(**json.loads(done.stdout)))
            print(found[-1].row(), flush=True)
        finally:
            if not given.keep:
                shutil.rmtree(folder)
    if len(found) > 1:
        print(extrapolated(found[-2], found[-1]).row())
        print(chart(found))


@dataclass(frozen=True)
class Decided:
    """What decisions on a ledger took."""

    documents: int
    cpu_seconds: float
    clock_seconds: float
    memory: float  # bytes, at most
    scratch: float  # bytes on the disk, at most, beside the ledger that was there
    steps: Mapping[str, tuple[float, float]]  # seconds on the clock, and bytes on the disk at most

    def row(self) -> str:
        """A row of the table."""
        told = ", ".join(f"{name} {s:,.0f} s {size / 1e9:.1f} GB" for name, (s, size) in self.steps.items() if s >= 0.5)
        cells = [f"{self.documents:,}", f"{self.cpu_seconds:,.0f}", f"{self.clock_seconds:,.0f}"]
        cells += [f"{self.memory / 1e9:,.1f}", f"{self.scratch / 1e9:,.1f}", told or "extrapolated"]
        return f"| {' | '.join(cells)} |"


COLUMNS = ("documents", "CPU s", "s on the clock", "GB of memory", "GB of scratch", "by step")


def extrapolated(smaller: Decided, larger: Decided, documents: int = 10**9) -> Decided:
    """What a straight line through two sizes says of another."""
    reach = (documents - larger.documents) / (larger.documents - smaller.documents)
    names = ("cpu_seconds", "clock_seconds", "memory", "scratch")
    ends = {n: getattr(larger, n) + reach * (getattr(larger, n) - getattr(smaller, n)) for n in names}
    return Decided(documents, **ends, steps={})


def chart(found: Sequence[Decided]) -> str:
    """CPU seconds by millions of documents, as Mermaid draws them."""
    sizes = ", ".join(f'"{one.documents / 1e6:g}"' for one in found)
    minutes = ", ".join(f"{one.cpu_seconds / 60:.1f}" for one in found)
    lines = ("```mermaid", "xychart-beta", '    title "Decisions: CPU minutes by millions of documents"',
             f"    x-axis [{sizes}]", '    y-axis "CPU minutes"', f"    bar [{minutes}]", "```")  # fmt: skip
    return "\n".join(lines)


def recipe_in(folder: Path) -> Recipe:
    """The recipe that is decided."""
    fields = {
        "name": "scale", "output": str(folder / "run"), "input": {"paths": [str(SAMPLE / "*.parquet")]},
        "tier1": {"rules": ["gopher"], "language": {"min_confidence": 0.3}, "perplexity": {"band": [2, 98]}},
        "dedup": {"near": {"verify": "signature"}},
        "distill": {"keep_tokens": "15%"},
    }  # fmt: skip
    return parse_recipe(fields, "benchmark")


def simulated(folder: Path, count: int) -> None:
    """Write the ledger of so many documents, a file of the input for each FILE_ROWS of them."""
    recipe = recipe_in(folder)
    run(recipe, InProcess(), THREADS, quiet=True)
    ledger = read_ledger(recipe.run_directory)
    templates = {
        part.group: (part, pq.read_table(ledger.run / part.path))
        for part in ledger.parts if part.group == SCORES or (part.path.startswith("ledger/signals/") and part.units)
    }  # fmt: skip
    draw = np.random.default_rng(0)
    ledger.files, ledger.parts = [], [part for part in ledger.parts if part.group in BUDGET_MODELS]
    for file_no, start in enumerate(range(0, count, FILE_ROWS)):
        rows = min(FILE_ROWS, count - start)
        unit = Unit(file_no, 0, rows)
        name = f"part-{file_no:05d}.parquet"
        ledger.files.append(KnownFile(file_no, name, name, rows, rows, None, f"/nowhere/{name}"))
        copies = _originals(draw, start, rows)
        for group, (part, table) in templates.items():
            made = _written(table, start, rows, *copies) | {"file_no": np.full(rows, file_no, np.int32)}
            path = Path(part.path).parent / f"{part.digest[:8]}-{file_no:05d}.parquet"
            columns = {column: made[column] for column in table.schema.names}
            _write(pa.table(columns), ledger.run / path)
            size = (ledger.run / path).stat().st_size
            ledger.parts.append(Part(group, part.digest, path.as_posix(), rows, size, "", (unit,)))
    ledger.commit()


def _write(table: pa.Table, path: Path) -> None:
    """Write a part in little room: its rows are counted, its hashes nothing makes smaller."""
    others = [name for name in table.schema.names if name != "row" and "_hash_" not in name and name != "shingles"]
    pq.write_table(
        table, path, compression="zstd", compression_level=1, use_dictionary=others,
        column_encoding={"row": "DELTA_BINARY_PACKED"},
    )  # fmt: skip


def _originals(draw: np.random.Generator, start: int, rows: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Of which document before it each one is a copy, or itself, and whether a near copy."""
    own = np.arange(start, start + rows)
    kinds = draw.random(rows)
    before = (draw.random(rows) * np.maximum(1, own)).astype(np.int64)
    copies = np.where(kinds < COPIES + NEAR_COPIES, before, own)
    return copies, (kinds < NEAR_COPIES) & (copies != own)


def _written(
    table: pa.Table, start: int, rows: int, originals: npt.NDArray[np.int64], near: npt.NDArray[np.bool_]
) -> dict[str, Any]:  # fmt: skip
    """The columns of a group for some documents: those of the template over and over, but for what tells copies."""
    repeated = table.take(pa.array(np.arange(start, start + rows) % len(table)))
    columns: dict[str, Any] = {name: repeated[name] for name in table.schema.names} | {"row": np.arange(rows)}
    exact = np.where(near, np.arange(start, start + rows), originals)
    for name in table.schema.names:
        if "_hash_" in name:
            columns[name] = _mixed(exact, 1 + name.endswith("low"))
    if "shingles" in columns:
        values = _mixed(np.arange(SHINGLES * start, SHINGLES * (start + rows)), 6).astype(np.uint32)
        offsets = pa.array(np.arange(0, len(values) + 1, SHINGLES))
        columns["shingles"] = pa.LargeListArray.from_arrays(offsets, pa.array(values))
    if "minhash" in columns:
        columns["minhash"] = _signatures(start, originals, near, table["minhash"].type.byte_width // 4)
    return columns


def _mixed(numbers: npt.NDArray[np.int64], salt: int) -> npt.NDArray[np.uint64]:
    """Hashes of numbers (the finalizer of SplitMix64)."""
    x = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(salt)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _signatures(
    start: int, originals: npt.NDArray[np.int64], near: npt.NDArray[np.bool_], width: int
) -> pa.Array:  # fmt: skip
    """Signatures that take little room on the disk: a value over and over, the original's and behind it the own one."""
    own = np.arange(start, start + len(originals))
    shares = (_mixed(own, 3) >> np.uint64(11)).astype(np.float64) / 2.0**53
    same = np.where(near, np.round(width * (0.5 + 0.5 * shares)), width).astype(np.int64)
    values = np.where(
        np.arange(width) < same[:, None],
        _mixed(originals, 4).astype(np.uint32)[:, None], _mixed(own, 5).astype(np.uint32)[:, None],
    )  # fmt: skip
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(4 * width), len(own), [None, pa.py_buffer(np.ascontiguousarray(values, "<u4"))]
    )


def decided(folder: Path, count: int) -> None:
    """Decide a simulated ledger, and print what it took."""
    recipe = recipe_in(folder)
    log = unwritten_log(True)
    plan = make_plan(recipe, Ledger(folder / "planned"), InProcess(), log)
    ledger = read_ledger(recipe.run_directory)
    plan = replace(plan, units=tuple(unit for part in ledger.of(SIGNATURES) for unit in part.units))
    steps: list[tuple[str, float]] = []
    sizes: list[float] = []

    def begin(step: str) -> None:
        sizes.append(most[0])
        most[0] = _size(folder)
        steps.append((step, time.monotonic()))

    with scratch_database(ledger, THREADS) as database, Steps(log, "deciding") as quiet, watched(folder) as most:
        reader = Simulated(recipe, plan, ledger, InProcess(), log, quiet, begin)
        began, used = time.monotonic(), time.process_time()
        before = most[0]
        parts = decide(
            Cascade(recipe=recipe, plan=plan, ledger=ledger, reader=reader, connection=database, digest="simulated")
        )
        clock, used = time.monotonic() - began, time.process_time() - used
    assert sum(part.rows for part in parts if part.group == DECISIONS) == count
    ends = [*(at for _, at in steps[1:]), began + clock]
    sizes = [size - before for size in (*sizes[1:], most[0])]
    by_step = {name: (end - at, size) for (name, at), end, size in zip(steps, ends, sizes, strict=True)}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps(asdict(Decided(count, used, clock, memory, max(sizes), by_step))))


@dataclass(frozen=True)
class Simulated(EngineReader):
    """A run whose budget has the models of the sample, and simulated scores."""

    tell: Callable[[str], None]

    def begin(self, step: str) -> None:
        """Note when each step begins."""
        self.tell(step)

    def models(self, stage: ScoringStage, documents: DrawDocuments) -> ModelSet:
        """The models in the ledger."""
        documents()
        models = load_models(stage.models, self.ledger.run, self.ledger.parts)
        assert models is not None
        return models

    def cached_scores(self, stage: ScoringStage, models: ModelSet) -> tuple[str, list[Path]]:
        """The simulated scores."""
        return "simulated", [self.ledger.run / part.path for part in self.ledger.of(stage.group)]

    def scores(self, stage: ScoringStage, documents: pa.Table, models: ModelSet, cuts: Sequence[Part]) -> list[Part]:
        """Not needed: all documents have scores."""
        raise AssertionError(f"{len(documents)} documents have no scores")


@contextmanager
def watched(folder: Path) -> Iterator[list[int]]:
    """The most bytes that lay in a folder while it was watched, at [0]."""
    most, over = [_size(folder)], threading.Event()

    def watch() -> None:
        while not over.wait(1):
            most[0] = max(most[0], _size(folder))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def _size(folder: Path) -> int:
    """Bytes that files of a folder take on the disk."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_blocks * 512
            except OSError:
                continue
    return total


if __name__ == "__main__":
    main()

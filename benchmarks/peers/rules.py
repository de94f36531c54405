"""Compare the speed of our rules with that of datatrove's filters, on the same documents.

Usage: python benchmarks/peers/rules.py [--documents N] [--sets SET ...] [CORPUS ...]

CORPUS is a Parquet file or a folder of such files with a column `text`; default: the packaged sample. N documents
(default: 600) are taken in turn from all files. The first call installs datatrove.

What is measured: CPU seconds of all processes of a command (meter.py); the least of three, as machines are shared.
Each tool runs in its own process.

- End to end: a Parquet file to verdicts. Starting Python, imports and compiled kernels count for neither: each command
  also runs on a file of one document, and the difference is what the documents cost. datatrove reads (ParquetReader),
  filters and counts what is left; curate also writes its ledger, its index and the kept documents.
- Filters only: texts in memory to verdicts, in a process that is warm. datatrove's are Document objects' texts, ours a
  column of Arrow, of which signals are measured and then judged in DuckDB. Left out for sets that cut lines first.

datatrove gets the documents once. They are too few to measure curate with, which gets them as often as makes 100 MB,
each copy with another first line.
"""

import argparse
import json
import math
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from common import FILTER_OF, PYTHON, THEIRS, curate_run, known_sets, make_environment, select, write_recipe
from meter import measure

import curate.sample
from curate.filters import registry
from curate.filters.rules.conditions import columns_named, condition
from curate.filters.rules.resolve import resolve
from curate.recipe.tier1 import Tier1

REPEATS = 3
OUR_MB = 100


def main(corpora: Sequence[Path], number: int, sets: Sequence[str]) -> None:
    """Print one table: a line a set, and one for all of them in one pipeline."""
    make_environment("datatrove")
    names = known_sets(sets or FILTER_OF)
    documents = select(corpora, number)
    copies = math.ceil(OUR_MB * 1e6 / documents["text"].nbytes)
    print(f"{len(documents):,} documents, {megabytes(documents['text']):.1f} MB; for curate {copies} times\n")
    print("| rules | | datatrove: CPU s | MB per CPU s | curate: CPU s | MB per CPU s | ratio |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        theirs, ours, one = (scratch / name / "documents.parquet" for name in ("theirs", "ours", "one"))
        for path in (theirs, ours, one):
            path.parent.mkdir()
        pq.write_table(documents.select(["text"]), theirs)
        pq.write_table(documents.select(["text"]).slice(0, 1), one)
        repeat(documents, copies, ours)
        sizes = [megabytes(pq.read_table(path)["text"]) for path in (theirs, ours)]
        for chosen in [*([name] for name in names), *([names] if len(names) > 1 else [])]:
            pipeline = [str(PYTHON), str(THEIRS), "pipeline"]
            end_to_end = [
                cost([*pipeline, str(theirs), *chosen], scratch) - cost([*pipeline, str(one), *chosen], scratch),
                cost_of_run(ours, chosen, scratch) - cost_of_run(one, chosen, scratch),
            ]
            show(chosen, "end to end", end_to_end, sizes)
            if any(registry.rule_sets()[name].get("edits") for name in chosen):
                continue  # lines are cut before anything is measured, which only a run does
            filtering = [
                min(seconds_of([str(PYTHON), str(THEIRS), "filter", str(theirs), *chosen]) for _ in range(REPEATS)),
                our_filters(ours, chosen),
            ]
            show(chosen, "filters only", filtering, sizes)


def show(chosen: list[str], what: str, seconds: list[float], sizes: list[float]) -> None:
    """Print a line of the table."""
    speeds = [size / second for size, second in zip(sizes, seconds, strict=True)]
    name = " + ".join(f"`{name}`" for name in chosen)
    cells = [f"{second:.1f} | {speed:,.2f}" for second, speed in zip(seconds, speeds, strict=True)]
    print(f"| {name} | {what} | {' | '.join(cells)} | {speeds[1] / speeds[0]:,.0f} |", flush=True)


def megabytes(texts: pa.ChunkedArray) -> float:
    """Megabytes of UTF-8."""
    return sum(len(text.as_py().encode()) for text in texts) / 1e6


def repeat(documents: pa.Table, copies: int, path: Path) -> None:
    """Write `copies` of the documents, each with another first line."""
    with pq.ParquetWriter(path, pa.schema([("text", pa.string())]), compression="zstd") as writer:
        for k in range(copies):
            texts = [f"Copy number {k} of this document.\n{text}" for text in documents["text"].to_pylist()]
            writer.write_table(pa.table({"text": texts}))


def cost(command: Sequence[str], scratch: Path) -> float:
    """CPU seconds of a command and its children, the least of several runs."""
    return min(measure(command, scratch).cpu for _ in range(REPEATS))


def cost_of_run(documents: Path, chosen: Sequence[str], scratch: Path) -> float:
    """CPU seconds of `curate run` into a new run directory, the least of several runs."""
    seconds = []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            recipe = write_recipe(Path(folder) / "recipe.yaml", documents, chosen, Path(folder) / "run")
            seconds.append(measure(curate_run(recipe), Path(folder)).cpu)
    return min(seconds)


def seconds_of(command: Sequence[str]) -> float:
    """The CPU seconds that a command prints."""
    return float(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


def our_filters(path: Path, chosen: Sequence[str]) -> float:
    """CPU seconds to measure the signals that the sets need, and to judge them; the least of several passes."""
    rules = resolve(Tier1(rules=list(chosen)))
    needed = set(columns_named(rules)[0])
    groups = [found for found in registry.groups().values() if any(needed & set(signal.writes) for signal in found)]
    signals = [signal for group in groups for signal in group]
    types = {column: kind for signal in signals for column, kind in signal.writes.items()}
    dropped = " OR ".join(condition(rule.rule, types) for rule in rules)
    batches = [batch.column(0) for batch in pq.ParquetFile(path).iter_batches(1024)]
    seconds = []
    with duckdb.connect() as connection:
        for _ in range(REPEATS + 1):  # the first compiles
            started = time.process_time()
            parts = [{k: v for signal in signals for k, v in signal(batch).items()} for batch in batches]
            measured = pa.concat_tables(pa.table(part) for part in parts)
            connection.register("measured", measured)
            connection.execute(f"SELECT {dropped} FROM measured").fetchall()
            seconds.append(time.process_time() - started)
    return min(seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="*", type=Path, metavar="CORPUS")
    parser.add_argument("--documents", type=int, default=600, metavar="N")
    parser.add_argument("--sets", nargs="+", default=[], choices=list(FILTER_OF), metavar="SET")
    given = parser.parse_args()
    main(given.corpora or [Path(curate.sample.__path__[0])], given.documents, given.sets)

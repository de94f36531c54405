"""Measure the speed of kernels, runs and starts, and write docs/benchmarks.md.

Usage: python benchmarks/speed.py [FOLDER]

FOLDER holds Parquet files with a column `text`; default: the packaged sample. Its documents are repeated, each time
with another first line, until they make one of about 150 MB, and one ten times as large. Figures are CPU seconds of
all processes of a command (user and system), because machines are shared: the best of five for kernels, single runs
else.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import curate.sample
from curate import kernels
from curate.edits import apply_edits, find_edits
from curate.filters import registry
from curate.filters.duplicates import content_hashes

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
BASE_MB = 150


def main(folder: Path) -> None:
    """Print and write the page."""
    texts = [
        text for path in sorted(folder.rglob("*.parquet")) for text in pq.read_table(path, columns=["text"])["text"]
    ]
    texts = [text.as_py() for text in texts if text.is_valid]
    lines = [HEAD.format(source=folder.name, documents=len(texts), machine=machine())]
    lines += kernel_table(pa.array(texts))
    with tempfile.TemporaryDirectory() as scratch:
        lines += run_table(texts, Path(scratch))
        lines += start_table(Path(scratch))
    page = "\n".join(lines) + "\n"
    PAGE.write_text(page, "utf-8")
    print(page)


HEAD = """# Benchmarks

Written by `make bench` ([benchmarks/speed.py](../benchmarks/speed.py)); the targets are those the project set itself.
Corpus: the {documents:,} documents of `{source}`, repeated with distinct first lines. Machine: {machine}.
Speeds are megabytes (10^6 bytes) of text per CPU second, user and system time of all processes together.
"""


def kernel_table(texts: pa.Array) -> list[str]:
    """Megabytes per CPU second of each kernel, on batches of 1,024 documents."""
    batches = [texts.slice(k, 1024) for k in range(0, len(texts), 1024)]
    size = sum(batch.nbytes for batch in batches) / 1e6
    statistics = (kernels.count_characters, kernels.count_words, kernels.count_lines)
    rows = [(f"`{kernel.__name__}`", [kernel], None) for kernel in statistics]
    rows.append(("the three together", list(statistics), 250))
    rows.append(("`count_repeated_lines`", [kernels.count_repeated_lines], None))
    rows.append(("`count_ngrams` (repeated n-grams, all orders)", [kernels.count_ngrams], 60))
    rows.append(("`content_hashes` (text and normalised text)", [content_hashes], None))
    everything = [signal for signals in registry.groups().values() for signal in signals]
    rows.append(("all signals, with their ratios", everything, None))
    rows.append(("edits of `c4_lines`, found and made", [c4_edited], None))
    lines = ["## Kernels", "", "| kernel | MB per CPU s | target |", "|---|---|---|"]
    for name, functions, target in rows:
        seconds = best_of_five(lambda functions=functions: [f(batch) for batch in batches for f in functions])
        lines.append(f"| {name} | {size / seconds:,.0f} | {target or '–'} |")
    return [*lines, ""]


def c4_edited(batch: pa.Array) -> pa.Array:
    """A batch as the set `c4` edits it."""
    edit = registry.edits()["c4_lines"]
    editor = registry.Editor(edit.name, tuple(registry.published_bounds(edit).items()))
    return apply_edits(batch, find_edits(batch, [editor]))


def best_of_five(work: Callable[[], object]) -> float:
    """Least CPU seconds of five runs after one that compiles."""
    work()
    seconds = []
    for _ in range(5):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)


def run_table(texts: list[str], scratch: Path) -> list[str]:
    """Whole runs with gopher and exact duplicates, over the base corpus and one ten times as large."""
    copies = max(1, round(BASE_MB * 1e6 / sum(len(text.encode()) for text in texts)))
    results = []
    for name, times in (("base", 1), ("tenfold", 10)):
        size = write_corpus(texts, copies * times, scratch / name)
        results.append((size, *run(scratch, name)))
    (size, cpu, wall, memory), (size10, cpu10, wall10, memory10) = results
    lines = [
        "## Whole run: `gopher` and exact duplicates",
        "",
        "| corpus | CPU s | MB per CPU s | target | wall s | peak MB |",
    ]
    lines += ["|---|---|---|---|---|---|"]
    for mb, seconds, clock, peak in results:
        lines.append(f"| {mb:,.0f} MB | {seconds:,.1f} | {mb / seconds:.1f} | 25 | {clock:,.1f} | {peak:,.0f} |")
    lines += ["", f"Per further megabyte: {(size10 - size) / (cpu10 - cpu):.1f} MB per CPU second. "]
    lines += [
        f"The tenfold corpus takes {cpu10 / cpu:.1f} times the CPU time and {wall10 / wall:.1f} times the wall time"
    ]
    lines += [
        f"(target: at most 10.5); peak memory of the largest process goes from {memory:,.0f} to {memory10:,.0f} MB.",
        "",
    ]
    return lines


def write_corpus(texts: list[str], copies: int, folder: Path) -> float:
    """Write `copies` of the texts, each with another first line, ten copies a file; megabytes of text."""
    folder.mkdir()
    size = 0
    for first in range(0, copies, 10):
        path = folder / f"part-{first:06d}.parquet"
        with pq.ParquetWriter(path, pa.schema([("text", pa.string())]), compression="zstd") as writer:
            for k in range(first, min(first + 10, copies)):
                column = pa.array([f"Copy number {k} of this document.\n{text}" for text in texts])
                size += column.nbytes
                writer.write_table(pa.table({"text": column}))
    return size / 1e6


def run(scratch: Path, name: str) -> tuple[float, float, float]:
    """CPU seconds, wall seconds and peak megabytes of `curate run` over a folder."""
    recipe = scratch / f"{name}.yaml"
    recipe.write_text(json.dumps({
        "name": name,
        "output": str(scratch / f"run-{name}"),
        "input": {"paths": [str(scratch / name)]},
        "tier1": {"rules": ["gopher"]},
    }))  # fmt: skip
    # A process between, so that its children's usage is that of this run alone.
    code = (
        "import json, resource, subprocess, sys, time; t = time.monotonic();"
        "subprocess.run([sys.executable, '-m', 'curate', 'run', sys.argv[1], '--quiet'], check=True, stdout=2);"
        "u = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(json.dumps([u.ru_utime + u.ru_stime, time.monotonic() - t, u.ru_maxrss]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(recipe)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
    )
    cpu, wall, peak = json.loads(done.stdout)
    return cpu, wall, peak / (1e6 if sys.platform == "darwin" else 1e3)


def start_table(scratch: Path) -> list[str]:
    """Wall seconds until the first document is measured, with and without compiled kernels on the disk."""
    cache = {"CURATE_CACHE": str(scratch / "cache")}
    lines = ["## Starts", "", "| start | wall s | target |", "|---|---|---|"]
    for name, target in (("first ever (kernels are compiled)", 20), ("later", 2)):
        lines.append(f"| {name} | {seconds_to_measuring(scratch / name, cache):.1f} | {target} |")
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "curate", "--help"], check=True, stdout=subprocess.DEVNULL)
    return [*lines, f"| `curate --help` | {time.monotonic() - started:.2f} | 0.3 |", ""]


def seconds_to_measuring(run_directory: Path, environment: dict[str, str]) -> float:
    """Start the demo and wait until its log says that measuring begins."""
    arguments = [sys.executable, "-m", "curate", "demo", "--quiet", "--set", f"output={run_directory}"]
    started = time.monotonic()
    process = subprocess.Popen(arguments, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
    log = run_directory / "run.log"
    while not (log.exists() and '"measuring"' in log.read_text()):
        time.sleep(0.01)
    seconds = time.monotonic() - started
    process.wait()
    return seconds


def machine() -> str:
    """Processor, cores, memory and versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kind = f"{platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB"
    return f"{kind}, Python {platform.python_version()}, shared with others"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(curate.sample.__path__[0]))

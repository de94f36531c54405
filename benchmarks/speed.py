"""Measure the speed of kernels, runs and starts, and write the first part of docs/benchmarks.md.

Usage: python benchmarks/speed.py [PLACE ...]

A PLACE is a Parquet file with a column `text`, or a folder with such files; default: the packaged sample. Kernels are
measured on its documents as they are. For whole runs they are repeated, each time with another first line, until they
make a corpus of about 150 MB, and one ten times as large. Figures are CPU seconds of all processes of a command (user
and system), because machines are shared: the best of five for kernels, single runs else.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from export import export_table
from page import machine, parts_of_page, write_page
from timing import batches_in, least_of_five

import curate.sample
from curate import kernels
from curate.corpus.edits import apply_edits, find_edits
from curate.decide.plan import groups_needed
from curate.filters import registry
from curate.filters.language.of_recipe import open_models
from curate.filters.language.perplexity import measure
from curate.filters.rules.conditions import columns_named
from curate.filters.rules.resolve import resolve, resolve_editors
from curate.filters.signals.hashes import content_hashes
from curate.kernels.corpus_lines import line_hashes
from curate.kernels.lm_words import lm_lines
from curate.kernels.minhash import minhash
from curate.kernels.overlap import find_overlaps, ngram_keys, ngram_table
from curate.recipe.load import parse_recipe
from curate.recipe.tier1 import Perplexity

BASE_MB = 150
SOUGHT, LISTED = 1_000_000, 1_000


ALL_SETS = ["gopher", "gopher_repetition", "c4", "fineweb", "refinedweb"]


def main(places: Sequence[Path]) -> None:
    """Print and write the page."""
    batches = batches_in(places)
    texts = [text for batch in batches for text in batch.to_pylist() if text is not None]
    source = ", ".join(f"`{place.name}`" for place in places)
    lines = [HEAD.format(source=source, documents=len(texts), machine=machine())]
    lines += kernel_table(batches)
    with tempfile.TemporaryDirectory() as scratch:
        lines += run_table(texts, Path(scratch))
        lines += start_table(Path(scratch))
        (Path(scratch) / "export").mkdir()
        lines += export_table(Path(scratch) / "export")
    page = "\n".join(lines)
    write_page(page, parts_of_page()[1])
    print(page)


HEAD = """# Benchmarks

Written by `make bench` ([benchmarks/speed.py](../benchmarks/speed.py)); the targets are those the project set itself.
Corpus: the {documents:,} documents of {source}; whole runs repeat them with distinct first lines. Machine: {machine}.
Speeds are megabytes (10^6 bytes) of text per CPU second, user and system time of all processes together.
"""


def kernel_table(batches: Sequence[pa.Array]) -> list[str]:
    """Megabytes per CPU second of each kernel, on batches of 1,024 documents."""
    size = sum(batch.nbytes for batch in batches) / 1e6
    statistics = (kernels.count_characters, kernels.count_words, kernels.count_lines)
    rows = [(f"`{kernel.__name__}`", [kernel], None) for kernel in statistics]
    rows.append(("the three together", list(statistics), 250))
    rows.append(("`count_repeated_lines`", [kernels.count_repeated_lines], None))
    rows.append(("`count_ngrams` (repeated n-grams, all orders)", [kernels.count_ngrams], 60))
    rows.append(("`content_hashes` (text and normalised text)", [content_hashes], None))
    rows.append(("`minhash` (signatures of near duplicates)", [lambda texts: minhash(texts, 128, 5)], 162))
    rows.append(("`line_hashes` (of repeated lines)", [line_hashes], None))
    rows.append((f"`find_overlaps` (with {SOUGHT:,} n-grams of 13 words)", [overlaps_with(batches)], 40))
    rows += [(f"signals of `{name}`", measures_of(name), None) for name in ("pii", "broken")]
    rows.append((f"`count_listed_words` (a list of {LISTED:,} words)", [count_of_common_words(batches)], None))
    [model] = open_models(Perplexity())
    for_all = (replace(model, language=None),)  # as if all documents were English
    rows.append(("`lm_lines` (text as a language model reads it)", [lm_lines], None))
    rows.append(("perplexity by the packaged model", [lambda texts: measure(texts, None, for_all)], 25))
    rows.append(("language", measures_of("language"), None))
    everything = [signal for signals in registry.groups().values() for signal in signals]
    rows.append(("all signals, with their ratios", everything, None))
    rows += [(f"edits of `{name}`, found and made", [partial(edited, names=[name])], None) for name in registry.edits()]
    rows.append((f"all rule sets together ({names_of(ALL_SETS)}): cut, applied, measured", [as_all_sets_need], 40))
    lines = ["## Kernels", "", "| kernel | MB per CPU s | target |", "|---|---|---|"]
    for name, functions, target in rows:
        seconds = least_of_five(lambda functions=functions: [f(batch) for batch in batches for f in functions])
        lines.append(f"| {name} | {size / seconds:,.0f} | {target or '–'} |")
    return [*lines, ""]


def overlaps_with(batches: Sequence[pa.Array]) -> Callable[[pa.Array], object]:
    """A search for n-grams of which a few are the texts' own."""
    own = np.concatenate([ngram_keys(batch, 13, 13)[0] for batch in batches])[::1000]
    keys = np.unique(np.r_[own, np.random.default_rng(0).integers(0, 1 << 63, SOUGHT - len(own), np.uint64)])
    table = ngram_table(keys, np.arange(len(keys), dtype=np.uint64), [13])
    return lambda texts: find_overlaps(texts, table)


def measures_of(group: str) -> list[Callable[[pa.Array], object]]:
    """The functions that measure a group of signals."""
    return [signal.measure for signal in registry.groups()[group]]


def count_of_common_words(batches: Sequence[pa.Array]) -> Callable[[pa.Array], object]:
    """A search for every tenth of the most frequent words, as no list of unwanted words is."""
    words = Counter(word for batch in batches for text in batch.to_pylist() for word in (text or "").lower().split())
    table = kernels.word_table([word for word, _ in words.most_common(10 * LISTED)[::10]])
    return lambda texts: kernels.count_listed_words(texts, table)


def edited(batch: pa.Array, names: Sequence[str]) -> pa.Array:
    """A batch as these edits leave it, with their published bounds."""
    edits = [registry.edits()[name] for name in names]
    editors = [registry.Editor(edit.name, tuple(registry.published_bounds(edit).items())) for edit in edits]
    return apply_edits(batch, find_edits(batch, editors))


@cache
def groups_of_all_sets() -> list[str]:
    """The groups of signals that a run with all these sets and exact duplicates measures."""
    recipe = parse_recipe({"name": "all", "input": {"paths": ["x"]}, "tier1": {"rules": ALL_SETS}}, "benchmark")
    editors = tuple(resolve_editors(recipe.tier1))
    signals, _ = columns_named(resolve(recipe.tier1))
    return [g for g in groups_needed(recipe, signals, bool(editors), False) if g in registry.groups()]


def as_all_sets_need(batch: pa.Array) -> None:
    """Edit a batch and measure it as a run with all these sets does."""
    cut = edited(batch, ["c4_lines", "refinedweb_lines"])
    for group in groups_of_all_sets():
        for signal in registry.groups()[group]:
            signal(batch if signal.raw else cut)


def names_of(sets: Sequence[str]) -> str:
    """Rule sets, as the page writes them."""
    return ", ".join(f"`{name}`" for name in sets)


def run_table(texts: list[str], scratch: Path) -> list[str]:
    """Whole runs with exact duplicates, over the base corpus and one ten times as large."""
    copies = max(1, round(BASE_MB * 1e6 / sum(len(text.encode()) for text in texts)))
    sizes = {
        name: write_corpus(texts, copies * times, scratch / name) for name, times in (("base", 1), ("tenfold", 10))
    }
    everything: dict[str, Any] = {"tier1": {"rules": ALL_SETS, "language": {}, "perplexity": {}}, "dedup": {"near": {}}}
    kinds: list[tuple[str, dict[str, Any], int]] = [
        ("`gopher`", {"tier1": {"rules": ["gopher"]}}, 25),
        (names_of(ALL_SETS), {"tier1": {"rules": ALL_SETS}}, 20),
        ("the same, with language, perplexity and near duplicates", everything, 8),
    ]
    runs = [(kind, fields, name, target) for kind, fields, target in kinds for name in sizes]
    lines = [
        "## Whole runs, with exact duplicates",
        "",
        "| rule sets | corpus | CPU s | MB per CPU s | target | wall s | peak MB |",
        "|---|---|---|---|---|---|---|",
    ]
    results = []
    for kind, fields, name, target in runs:
        if name == "base":
            run(scratch, name, fields)  # compiles what is not compiled yet
        cpu, wall, peak = run(scratch, name, fields)
        mb = sizes[name]
        results.append((mb, cpu, wall, peak))
        row = f"{mb:,.0f} MB | {cpu:,.1f} | {mb / cpu:.1f} | {target} | {wall:,.1f} | {peak:,.0f}"
        lines.append(f"| {kind} | {row} |")
    lines.append("")
    for k, sets in ((0, "`gopher`"), (2, "all sets"), (4, "everything")):
        (size, cpu, wall, peak), (size10, cpu10, wall10, peak10) = results[k : k + 2]
        lines += [
            f"With {sets}: {(size10 - size) / (cpu10 - cpu):.1f} MB per CPU second for each further megabyte. The",
            f"tenfold corpus takes {cpu10 / cpu:.1f} times the CPU time and {wall10 / wall:.1f} times the wall time",
            f"(target: at most 10.5); peak memory of the largest process goes from {peak:,.0f} to {peak10:,.0f} MB.",
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


def run(scratch: Path, name: str, fields: Mapping[str, Any]) -> tuple[float, float, float]:
    """CPU seconds, wall seconds and peak megabytes of a fresh `curate run` over a folder."""
    shutil.rmtree(scratch / f"run-{name}", ignore_errors=True)
    recipe = scratch / f"{name}.yaml"
    recipe.write_text(json.dumps({
        "name": name,
        "output": str(scratch / f"run-{name}"),
        "input": {"paths": [str(scratch / name)]},
        **fields,
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


if __name__ == "__main__":
    main([Path(place) for place in sys.argv[1:] or curate.sample.__path__])

"""Compare curate with other tools: speed, memory and verdicts, on one generated corpus.

Usage: python benchmarks/peers/compare.py [--documents N] [TOOL ...]

Generates N documents (corpus.py; default: 40,000), and a corpus of a tenth of that for the slow tools; makes the tools'
environments in benchmarks/peers/.venv-NAME from requirements-NAME.txt; runs every tool on what it can do, as its
documentation shows; prints a table a job. TOOL names some (curate always runs); without, the tables also go into
docs/benchmarks.md. text-dedup asks for Python 3.12 or later, as python3.12 on the path.

CPU seconds are those of all processes of a run, orphans included (meter.py), less those of a run over 200 documents:
starts, imports, compiled kernels. Of runs below 20 seconds the least of three. Memory is that of the largest process.
Tools read Parquet, except that dolma reads compressed JSON lines; writing their inputs is not measured.
"""

import argparse
import gzip
import json
import math
import re
import sys
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from common import HERE, make_environment
from corpus import Pairs, equal_pairs, generate, judge, similar_pairs
from meter import Cost, measure

sys.path.append(str(HERE.parent))
from page import machine, parts_of_page, write_page

FEW, TENTH, QUICK, REPEATS = 200, 10, 20, 3
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "PIP_NO_INDEX": "1", "UV_OFFLINE": "1"}
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # threads that wait in a loop are no work
INDEXES = ("daft", "rensa", "datasketch")  # share an environment
AS_DATATROVE = ("datatrove_gopher", "gopher_repetition", "datatrove_c4", "datatrove_fineweb")
AS_PAPERS = ("gopher", "gopher_repetition", "c4", "fineweb")
NEAR_RUN = {"dedup": {"exact": False, "keep": "first", "near": {"threshold": 0.8}}}
JOBS = {
    "floor": "Reading and writing again, by themselves",
    "near": "Near duplicates, of a Jaccard similarity of 0.8 and more",
    "exact": "Exact duplicates",
    "gopher": "Gopher's rules of quality",
    "filters": "Several filters in one pass",
}


@dataclass(frozen=True)
class Entry:
    """A tool on a job."""

    job: str
    tool: str
    what: str  # of its parts is used
    script: str
    argument: str
    slow: bool = False  # gets a tenth
    beside: tuple[str, ...] = ()  # our rule sets that its verdicts are compared with


@dataclass(frozen=True)
class Corpus:
    """Documents in a folder, and which are alike."""

    folder: Path
    documents: int
    size: float  # megabytes
    alike: dict[str, Pairs]  # by job


@dataclass(frozen=True)
class Result:
    """What came of an entry."""

    entry: Entry
    corpus: Corpus
    cost: Cost | None = None  # less the start
    dropped: frozenset[int] = frozenset()
    complaint: str = ""

    @property
    def speed(self) -> float:
        """Documents per CPU second."""
        return (self.corpus.documents - FEW) / self.cost.cpu if self.cost else math.nan


def ours(job: str, what: str, argument: str) -> Entry:
    """An entry of curate, or of what it stands on."""
    return Entry(job, "curate", what, "ours.py", argument)


def rules(sets: Sequence[str]) -> str:
    """The argument for a run of rule sets."""
    return "run:" + json.dumps({"tier1": {"rules": list(sets)}, "dedup": {"exact": False}})


def named(sets: Sequence[str]) -> str:
    """Names of rule sets."""
    return ", ".join(f"`{name}`" for name in sets)


TEXT_DEDUP, DATA_JUICER, DATATROVE = "theirs_text_dedup.py", "theirs_data_juicer.py", "theirs_datatrove.py"
ENTRIES = (
    ours("floor", "pyarrow: read, write with zstd", "pyarrow"),
    ours("floor", "DuckDB: `COPY` with zstd", "duckdb"),
    Entry("near", "daft", "`minhash`; 18 bands of 7 grouped by hand, not verified", "theirs_indexes.py", "daft"),
    Entry("near", "rensa", "`RMinHashLSH`, estimates checked", "theirs_indexes.py", "rensa"),
    Entry("near", "datasketch", "`MinHashLSH`", "theirs_indexes.py", "datasketch"),
    Entry("near", "data-juicer", "`document_minhash_deduplicator`", DATA_JUICER, "near", slow=True),
    Entry("near", "text-dedup", "`minhash`, which drops whole families", TEXT_DEDUP, "default", slow=True),
    Entry("near", "text-dedup", "`minhash`, verified", TEXT_DEDUP, "verified", slow=True),
    Entry("near", "datatrove", "MinHash, 14 buckets of 8", DATATROVE, "near", slow=True),
    ours("near", "signatures and search alone, `verify: border`", "near:border"),
    ours("near", "signatures and search alone, `verify: signature`", "near:signature"),
    ours("near", "`curate run`", "run:" + json.dumps(NEAR_RUN)),
    Entry("exact", "dolma", "`dedupe`, Bloom filter of texts", "theirs_dolma.py", "exact"),
    Entry("exact", "datatrove", "`ExactDedup…`", DATATROVE, "exact"),
    Entry("exact", "data-juicer", "`document_deduplicator`", DATA_JUICER, "exact"),
    ours("exact", "`curate run`", "run:" + json.dumps({"dedup": {"exact": True, "keep": "first"}})),
    Entry("gopher", "datatrove", "`GopherQualityFilter`", DATATROVE, "gopher", True, ("datatrove_gopher",)),
    Entry("gopher", "dolma", "`tag` with `gopher_v2`, `mix`", "theirs_dolma.py", "gopher", True, ("gopher",)),
    ours("gopher", "`curate run` with `gopher`", rules(["gopher"])),
    ours("gopher", "`curate run` with `datatrove_gopher`", rules(["datatrove_gopher"])),
    Entry("filters", "datatrove", "Gopher's two, C4's, FineWeb's", DATATROVE, "filters", True, AS_DATATROVE),
    Entry("filters", "data-juicer", "six filters", DATA_JUICER, "filters", slow=True),
    ours("filters", f"`curate run` with {named(AS_PAPERS)}", rules(AS_PAPERS)),
    ours("filters", f"`curate run` with {named(AS_DATATROVE)}", rules(AS_DATATROVE)),
)
TOOLS = tuple(dict.fromkeys(entry.tool for entry in ENTRIES))


def main(number: int, tools: Collection[str]) -> None:
    """Print the tables, and write them where all tools ran."""
    with tempfile.TemporaryDirectory() as scratch:
        whole, tenth, few = (make_corpus(Path(scratch), count) for count in (number, number // TENTH, FEW))
        results = []
        for entry in ENTRIES:
            if not tools or entry.tool in {*tools, "curate"}:
                results.append(result_of(entry, tenth if entry.slow else whole, few))
                print(row(results[-1]), file=sys.stderr, flush=True)
        section = "\n".join([HEAD.format(
            documents=whole.documents, size=whole.size, near=len(whole.alike["near"]), exact=len(whole.alike["exact"]),
            machine=machine(), tenth=tenth.documents,
        ), *tables(results), *targets(results), NOTES])  # fmt: skip
    print(section)
    if not tools:
        write_page(parts_of_page()[0], section)


HEAD = """## Beside other tools

Written by `make bench-peers` ([benchmarks/peers/compare.py](../benchmarks/peers/compare.py)), all in one go. Machine:
{machine}.

The corpus is generated from a seed: {documents:,} documents ({size:.0f} MB of text), with a quarter of edited copies,
one in twenty exact copies, and one in ten that is junk. {near:,} pairs are alike at 0.8 and more by the Jaccard
similarity of their 5-word shingles, counted without signatures; {exact:,} documents equal an earlier one. Slow tools
get a corpus of {tenth:,} documents of the same kind. CPU seconds are user and system time of all processes of a run,
orphans included, less those of a run over 200 documents; memory is that of the largest process. `curate run` does all
that it always does: measurements, ledger, index, output, manifest. Precision is of documents that are dropped: like
one that stays. Recall is of pairs that are alike: not both stay.
"""

NOTES = """
### What to know

- Whole runs stand beside tools that do one thing, and at this size the start of their workers weighs. A larger corpus
  costs less a megabyte: see [whole runs](#whole-runs-with-exact-duplicates).
- daft has no index: bands are grouped by hand and not verified, so it drops what is not alike.
- text-dedup without verifying drops nearly all of a family, the first document too.
- Data-Juicer needs Ray and torch for any job, and installs what it misses while it runs; here both are installed
  before, and it runs offline. Its filters by stop words, languages, flagged words and perplexity fetch lists or
  models first and are left out. Its six filters are not our rules: only the time is comparable.
- dolma's tagger has the median of word lengths where Gopher has the mean. Its Bloom filter is sized for a million
  documents.
- datatrove's hashing fails with xxhash 4; here it has 3.5. It runs in one process.
- The environments take 4 GB with torch's build for CPUs. text-dedup asks for Python 3.12, as `python3.12` on the
  path; without it, its lines say so.
"""


def make_corpus(scratch: Path, number: int) -> Corpus:
    """Generate documents, write them as Parquet and as JSON lines, and find out which are alike."""
    folder = scratch / f"corpus-{number}"
    folder.mkdir()
    texts = generate(number)
    ids = [str(row) for row in range(number)]
    pq.write_table(pa.table({"id": ids, "text": texts}), folder / "documents.parquet", row_group_size=1000)
    (folder / "number.json").write_text(str(number))
    with gzip.open(folder / "documents.jsonl.gz", "wt", compresslevel=1) as lines:
        for row, text in zip(ids, texts, strict=True):
            lines.write(json.dumps({"id": row, "text": text, "source": "generated"}) + "\n")
    alike = {"near": similar_pairs(texts), "exact": equal_pairs(texts)}
    return Corpus(folder, number, sum(len(text.encode()) for text in texts) / 1e6, alike)


def result_of(entry: Entry, corpus: Corpus, few: Corpus) -> Result:
    """Run an entry on a corpus and on few documents; a tool that fails leaves its complaint."""
    try:
        python = str(environment_of(entry.tool))
        start, _ = runs(python, entry, few)
        cost, dropped = runs(python, entry, corpus)
    except RuntimeError as error:
        return Result(entry, corpus, complaint=str(error))
    return Result(entry, corpus, Cost(cost.cpu - start.cpu, cost.wall - start.wall, cost.peak), dropped)


@cache
def environment_of(tool: str) -> Path:
    """The Python that has a tool."""
    return Path(sys.executable) if tool == "curate" else make_environment("indexes" if tool in INDEXES else tool)


def runs(python: str, entry: Entry, corpus: Corpus) -> tuple[Cost, frozenset[int]]:
    """The least cost of one run, or of several short ones, and the rows that were dropped."""
    costs = []
    while not costs or (len(costs) < REPEATS and costs[0].cpu < QUICK):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "out.json")
            caches = {
                "HF_HOME": f"{folder}/hf",
                "DATA_JUICER_CACHE_HOME": f"{folder}/dj",
            }  # nothing from an earlier run
            command = [python, str(HERE / entry.script), entry.argument, str(corpus.folder), str(out)]
            costs.append(measure(command, Path(folder), {**OFFLINE, **ONE_THREAD, **caches}))
            dropped = frozenset(json.loads(out.read_text()))
    return min(costs, key=lambda cost: cost.cpu), dropped


@cache
def our_verdicts(sets: tuple[str, ...], folder: Path) -> frozenset[int]:
    """The rows that our rule sets drop."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "out.json")
        measure([sys.executable, str(HERE / "ours.py"), rules(sets), str(folder), str(out)], Path(scratch))
        return frozenset(json.loads(out.read_text()))


def tables(results: Sequence[Result]) -> list[str]:
    """A table a job."""
    lines = []
    for job, title in JOBS.items():
        last = {"near": "precision, recall", "exact": "precision, recall"}.get(job, "verdicts as ours")
        columns = [
            "tool",
            "documents",
            "documents per CPU s",
            "MB per CPU s",
            "peak MB",
            *([] if job == "floor" else [last]),
        ]
        lines += [f"### {title}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        lines += [row(result) for result in results if result.entry.job == job] + [""]
    return lines


def row(result: Result) -> str:
    """A line of a table."""
    entry, corpus = result.entry, result.corpus
    name = entry.what if entry.job == "floor" else f"{entry.tool}{version(entry.tool)}: {entry.what}"
    if not result.cost:
        cells = [name, "–", "–", "–", "–", result.complaint]
    else:
        megabytes = result.speed * corpus.size / corpus.documents
        speeds = [f"{result.speed:,.0f}", f"{megabytes:,.{0 if megabytes >= 10 else 1}f}"]
        cells = [name, f"{corpus.documents:,}", *speeds, f"{result.cost.peak:,.0f}"]
        cells += [] if entry.job == "floor" else [agreement(result)]
    return f"| {' | '.join(cells)} |"


def version(tool: str) -> str:
    """The version that its requirements ask for."""
    if tool == "curate":
        return ""
    wanted = (HERE / f"requirements-{'indexes' if tool in INDEXES else tool}.txt").read_text()
    found = re.search(rf"^(?:py-)?{tool}==(\S+)", wanted, re.MULTILINE)
    return f" {found[1]}" if found else ""


def agreement(result: Result) -> str:
    """How a result compares with the truth, or with our rules."""
    entry, corpus = result.entry, result.corpus
    if entry.job in corpus.alike:
        return ", ".join(f"{share:.3f}" for share in judge(set(result.dropped), corpus.alike[entry.job]))
    if not entry.beside:
        return "–" if entry.tool == "curate" else "no set alike"
    same = 1 - len(result.dropped ^ our_verdicts(entry.beside, corpus.folder)) / corpus.documents
    return f"{same:.1%} as {named(entry.beside)}"


def targets(results: Sequence[Result]) -> list[str]:
    """What became of the targets, in a sentence each."""
    speeds = {(r.entry.job, r.entry.tool, r.entry.argument): r.speed for r in results if r.cost}
    others = {tool: speed for (job, tool, _), speed in speeds.items() if job == "near" and tool != "curate"}
    lines = ["### Targets", ""]
    if others:
        fastest = max(others, key=lambda tool: others[tool])
        alone, run = (speeds["near", "curate", kind] for kind in ("near:border", f"run:{json.dumps(NEAR_RUN)}"))
        lines.append(
            f"- Near duplicates, target: 5 times the fastest other tool. {fastest} is the fastest; the search alone is "
            f"{alone / others[fastest]:.1f} times as fast, a whole run {run / others[fastest]:.1f} times: "
            f"{'met' if alone >= 5 * others[fastest] else 'missed'}."
        )
    for tool, target, sets in (("datatrove", 150, AS_DATATROVE), ("data-juicer", 40, AS_PAPERS)):
        if ("filters", tool, "filters") in speeds:
            ratio = speeds["filters", "curate", rules(sets)] / speeds["filters", tool, "filters"]
            lines.append(
                f"- Filters, target: {target} times {tool}. A whole run with {named(sets)} is {ratio:.0f} times as "
                f"fast: {'met' if ratio >= target else 'missed'}."
            )
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools", nargs="*", metavar="TOOL", help=", ".join(TOOLS))
    parser.add_argument("--documents", type=int, default=40_000, metavar="N")
    given = parser.parse_args()
    if given.documents < 2 * FEW * TENTH:
        parser.error(f"--documents: slow tools get a tenth, less those for the start; at least {2 * FEW * TENTH:,}")
    if unknown := set(given.tools) - set(TOOLS):
        parser.error(f"no tool {sorted(unknown)[0]}; there are {', '.join(TOOLS)}")
    main(given.documents, given.tools)

"""Compare what `curate plan` forecasts with what `curate run` then does.

Usage: python benchmarks/plan_accuracy.py [FOLDER] [--as-it-is]

FOLDER holds Parquet files with a column `text`; default: the packaged sample. Its documents are repeated, each time
with another first line, until they make about 330 MB; with --as-it-is the folder is the corpus. CPU seconds are those
of all processes of the run, user and system. Whatever else the machine does moves them.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from speed import write_corpus

import curate.sample

MEGABYTES = 330


def main(arguments: list[str]) -> None:
    """Print the table."""
    folders = [Path(argument) for argument in arguments if not argument.startswith("--")]
    folder = folders[0] if folders else Path(curate.sample.__path__[0])
    with tempfile.TemporaryDirectory() as scratch:
        corpus = folder if "--as-it-is" in arguments else repeated(folder, Path(scratch) / "corpus")
        recipe = Path(scratch) / "recipe.yaml"
        fields = {"name": "run", "output": f"{scratch}/run", "input": {"paths": [str(corpus)]}}
        recipe.write_text(json.dumps({**fields, "tier1": {"rules": ["gopher"]}}))
        plan, _ = curate_json("plan", recipe)
        done, usage = curate_json("run", recipe)
        for line in table(plan, done, usage, Path(scratch) / "run"):
            print(line)


def repeated(folder: Path, corpus: Path) -> Path:
    """The folder's documents often enough."""
    columns = [pq.read_table(path, columns=["text"])["text"] for path in sorted(folder.rglob("*.parquet"))]
    texts = [text.as_py() for column in columns for text in column if text.is_valid]
    write_corpus(texts, max(1, round(MEGABYTES * 1e6 / sum(len(text.encode()) for text in texts))), corpus)
    return corpus


def curate_json(command: str, recipe: Path) -> tuple[dict[str, Any], tuple[float, float]]:
    """What a command prints as JSON; CPU seconds of its processes and peak megabytes of the largest one."""
    code = (  # a process between, so that its children's usage is that of this command alone
        "import json, resource, subprocess, sys; "
        "subprocess.run([sys.executable, '-m', 'curate', *sys.argv[1:]], check=True); "
        "u = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(json.dumps([u.ru_utime + u.ru_stime, u.ru_maxrss]), file=sys.stderr)"
    )
    arguments = [sys.executable, "-c", code, command, str(recipe), "--json"]
    done = subprocess.run(arguments, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    cpu, peak = json.loads(done.stderr.splitlines()[-1])
    return json.loads(done.stdout), (cpu, peak / (1e6 if sys.platform == "darwin" else 1e3))


def table(plan: dict[str, Any], done: dict[str, Any], usage: tuple[float, float], run: Path) -> list[str]:
    """Forecast and actual, a line each."""
    lines = ["| what | forecast | actual | off by |", "|---|---|---|---|"]

    def add(what: str, forecast: float, actual: float) -> None:
        off = f"{forecast / actual - 1:+.1%}" if actual else "–"
        lines.append(f"| {what} | {forecast:,.1f} | {actual:,.1f} | {off} |")

    rules = {reason: n["documents"] for stage in done["stages"][:2] for reason, n in stage["dropped"].items()}
    foreseen = {row["reason"]: row["documents"] for row in plan["dropped"]}
    for reason in {**rules, **foreseen}:
        add(f"documents dropped: {reason}", foreseen.get(reason, 0), rules.get(reason, 0))
    passing = done["stages"][1]
    add("documents that no rule drops", plan["passing"]["documents"], passing["documents_out"])
    add("tokens", plan["input"]["tokens"], done["tokens_in"])
    seconds = sum(plan["cpu_seconds"].values())
    add("CPU seconds", seconds, usage[0])
    add("seconds on the clock", plan["minutes"] * 60, done["seconds"])
    add("memory of the largest process, MB", max(plan["memory_bytes"].values()) / 1e6, usage[1])
    disk = {key: plan["disk_bytes"][key] / 1e6 for key in ("ledger", "output", "index")}
    held = {"ledger": size(run / "ledger"), "output": size(run / "data"), "index": size(run / "run.duckdb")}
    for key in disk:
        add(f"{key}, MB", disk[key], held[key])
    add("disk, MB", sum(disk.values()), sum(held.values()))
    # The plan tells what the output takes before duplicates are dropped: put them back for a fair comparison.
    held["output"] *= passing["tokens_out"] / done["tokens_out"]
    add("disk with the duplicates that were dropped, MB", sum(disk.values()), sum(held.values()))
    return lines


def size(path: Path) -> float:
    """Megabytes of a file or a folder."""
    files = [path] if path.is_file() else [found for found in path.rglob("*") if found.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


if __name__ == "__main__":
    main(sys.argv[1:])

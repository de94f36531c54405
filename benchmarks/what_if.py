"""What `curate what-if` takes on a run of a million generated documents, as a user starts it.

    .venv/bin/python benchmarks/what_if.py [FOLDER]

The corpus and the run are made in FOLDER (about 2 GB, two minutes) unless they are there; default: a folder that goes.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from generated import write_corpus

DOCUMENTS = 1_000_000
QUESTIONS = {
    "another threshold of a rule": ["--set", "tier1.thresholds.too_few_words=40"],
    "the same, without a look at texts": ["--set", "tier1.thresholds.too_few_words=40", "--no-text"],
    "a rule less": ["--set", "tier1.thresholds.too_few_stop_words=null"],
    "another band of perplexity": ["--set", "tier1.perplexity.band=[5, 90]"],
    "no near duplicates": ["--set", "dedup.near=null"],
}


def main() -> None:
    """Ask each question once and print what it took."""
    with tempfile.TemporaryDirectory() as temporary:
        run = made(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary))
        for name, question in QUESTIONS.items():
            seconds, cpu, memory, told = asked(run, question)
            read, totals = told["texts"]["read"], told["totals"]
            print(
                f"{name:35} {seconds:5.1f} s  {cpu:5.1f} CPU s  {memory:,.0f} MB  {read:,} texts read  "
                f"{totals['gained_documents']:,} gained, {totals['lost_documents']:,} lost"
            )


def made(folder: Path) -> Path:
    """A finished run over a generated corpus."""
    run = folder / "run"
    if not (run / "manifest.json").exists():
        write_corpus(folder / "in", DOCUMENTS)
        recipe = {
            "name": "million",
            "output": str(run),
            "input": {"paths": [str(folder / "in")], "id": "id", "strata": ["source"]},
            "tier1": {"rules": ["gopher"], "perplexity": {"band": [1, 99], "by": ["length_bucket"]}},
            "dedup": {"near": {}},
        }
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        subprocess.run([sys.executable, "-m", "curate", "run", folder / "recipe.yaml", "--quiet"], check=True)
    return run


def asked(run: Path, question: list[str]) -> tuple[float, float, float, dict]:
    """Seconds, CPU seconds and MB that the command took, and what it told."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        command = [sys.executable, "-m", "curate", "what-if", str(run), *question, "--json"]
        process = subprocess.Popen(command, stdout=out)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        assert status == 0
        out.seek(0)
        return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3, json.load(out)


if __name__ == "__main__":
    main()

"""Print what written documents of a thin domain are worth: gates that they pass, and held-out bits per byte.

Run it in the environment of `make test-llm`:

    .venv-llm/bin/python benchmarks/augment.py                          # SmolLM2-135M-Instruct, ../shared/corpora
    .venv-llm/bin/python benchmarks/augment.py CORPORA FOLDER MODEL --wanting 20000

Speeches on finance are parted in three: seeds, what the corpus has beside pages of the web and e-mail, and held-out
ones. The corpus has few, so that what is written can show. FOLDER keeps all that was made: the same command goes on
where it was stopped. The model runs here with transformers, or, which is faster, behind a server that --url names:

    VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 .venv-llm/bin/curate serve MODEL --dtype bfloat16 -- --enable-lora
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import pyarrow as pa
import pyarrow.parquet as pq
from support.language_models import smollm2

from curate.distill.evaluate.results import augmentation_claims
from curate.engine.base import InProcess
from curate.pipeline.evaluate import evaluate
from curate.pipeline.run import run
from curate.recipe.load import parse_recipe

OTHERS = {"web/web_pages": 600, "noise/email_spamassassin": 200, "noise/email_lingspam": 200}  # documents
COLUMNS = ["id", "text", "source", "url", "license"]
PASSED = "accepted"
BATCH_TOKENS = 16_384  # a few GB beside a small model
UNDER_WAY = 32


def main() -> None:
    """Part, run twice, evaluate and print."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # with as many threads as busy cores torch waits on itself
    parser = argparse.ArgumentParser()
    parser.add_argument("corpora", nargs="?", default=str(Path(__file__).parents[2] / "shared" / "corpora"))
    parser.add_argument("folder", nargs="?", default=None)
    parser.add_argument("model", nargs="?", default=None)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--wanting", type=int, default=10_000, help="tokens of the domain that are to be written")
    parser.add_argument("--speeches", type=int, default=30, help="that the corpus has")
    parser.add_argument("--chunk", type=int, default=1200, help="characters that are written anew at a time")
    parser.add_argument("--no-adapter", action="store_true", help="write with MODEL as it is")
    parser.add_argument("--url", help="a vLLM server of MODEL that loads adapters")
    given = parser.parse_args()
    model = given.model or str(smollm2())
    folder = Path(given.folder or tempfile.mkdtemp()) / "augment"
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{Path(model).name}, {given.steps} steps, {folder}\n", flush=True)
    if not (folder / "corpus.parquet").exists():
        part(Path(given.corpora), folder, given.speeches)
    fields = recipe(folder, model, given.steps, given.chunk)
    if given.url:
        fields["teacher"] = {"vllm": {"urls": [given.url], "concurrency": UNDER_WAY}}
    [domain] = run_once(fields | {"tier3": fields["tier3"] | {"adapter": None, "compare": False}})
    if given.no_adapter:
        fields["tier3"] |= {"adapter": None, "compare": False}
    fields["tier3"]["domains"][0]["target_tokens"] = domain["tokens"] + given.wanting
    began = time.process_time()
    [domain] = run_once(fields)
    seconds = time.process_time() - began
    print(table(domain_rows(domain, folder / "run", seconds)))
    print(table(gate_rows(folder / "run")))
    result = evaluate(folder / "run", {}, InProcess(), 1, quiet=True)
    print(table(arm_rows([asdict(arm) for arm in result.arms])))
    print("\n".join(augmentation_claims(result.arms)))


def part(corpora: Path, folder: Path, speeches: int) -> None:
    """Write corpus, seeds and held-out texts."""
    finance = pq.read_table(corpora / "domains" / "finance_fed_speeches.parquet", columns=COLUMNS)
    thirds = [finance.take(pa.array(range(k, len(finance), 3))) for k in range(3)]
    others = [pq.read_table(corpora / f"{name}.parquet", columns=COLUMNS).slice(0, n) for name, n in OTHERS.items()]
    corpus = pa.concat_tables([thirds[1].slice(0, speeches), *others], promote_options="permissive")
    (folder / "heldout").mkdir(exist_ok=True)
    for name, one in (("seeds", thirds[0]), ("heldout/finance", thirds[2]), ("corpus", corpus)):
        pq.write_table(one, folder / f"{name}.parquet")


def recipe(folder: Path, model: str, steps: int, chunk: int) -> dict[str, Any]:
    """A recipe with a third tier and no budget: nothing but what is written tells its output from that without it."""
    domain = {"name": "finance", "seeds": [str(folder / "seeds.parquet")], "target_tokens": 1}
    return {
        "name": "augment", "seed": 17, "output": str(folder / "run"),
        "input": {"paths": [str(folder / "corpus.parquet")]},
        "tier1": {"rules": ["gopher"], "language": {"keep": ["en"], "min_confidence": 0.4},
                  "perplexity": {"band": [0, 99]}},
        "dedup": {"near": {}},
        "teacher": {"transformers": {"model": model, "batch_tokens": BATCH_TOKENS}},
        "tier3": {"domains": [domain], "chunk": chunk, "compare": True,
                  "adapter": {"base": model, "steps": steps, "check_every": max(1, steps // 3)}},
        "evaluate": {"heldout": [str(folder / "heldout")], "most": 200, "track": False},
    }  # fmt: skip


def run_once(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """Carry out a recipe; its domains."""
    run(parse_recipe(fields, "benchmark"), InProcess(), threads=1, quiet=False)
    found: list[dict[str, Any]] = pq.read_table(Path(fields["output"]) / "synthetic" / "domains.parquet").to_pylist()
    return found


def domain_rows(domain: dict[str, Any], folder: Path, seconds: float) -> list[Sequence[str]]:
    """What there was, what was trained, and what was asked for."""
    made = json.loads((folder / "manifest.json").read_text("utf-8"))["synthetic"]
    adapter = made["written"]["adapters"].get("finance")
    asked = made["written"]["questions"]["finance"]
    trained = []
    if adapter is not None:
        before, after = adapter["bits_per_byte_before"], adapter["bits_per_byte_after"]
        trained = [
            ("texts that trained the adapter", f"{adapter['texts']:,}"),
            ("its bits per byte, before and after", f"{before:.4f}, {after:.4f} ({after / before - 1:+.1%})"),
        ]
    return [
        ("of the domain", ""),
        ("documents left, tokens", f"{domain['documents']:,}, {domain['tokens']:,} ({domain['share']:.1%})"),
        ("tokens wanting", f"{domain['wanting']:,}"),
        *trained,
        ("written and accepted, tokens", f"{made['documents']:,}, {made['tokens']:,}"),
        ("replies", ", ".join(f"{n:,} {fate}" for fate, n in asked.items() if n)),
        ("tokens that the model wrote", f"{tokens_written(folder):,}"),
        ("CPU s of the run", f"{seconds:,.0f}"),
    ]


def tokens_written(folder: Path) -> int:
    """Tokens of all replies, with adapter and without."""
    lines = (line for path in (folder / "teacher").glob("*.jsonl") for line in path.open("rb"))
    return sum(int(json.loads(line)["answer"]["n_tokens"]) for line in lines)


def gate_rows(folder: Path) -> list[Sequence[str]]:
    """Candidates by what became of them, with adapter and without."""
    found = {"as asked for": "synthetic", "by the model without adapter": "comparison"}
    paths = {title: folder / "synthetic" / f"{name}.parquet" for title, name in found.items()}
    tables = {title: pq.read_table(path).to_pylist() for title, path in paths.items() if path.exists()}
    counts = [Counter(PASSED if row["accepted"] else row["reason"] for row in rows) for rows in tables.values()]
    reasons = sorted(set().union(*counts), key=lambda reason: (-counts[0][reason], reason))
    return [
        ("what became of it", *tables),
        *((reason, *(f"{one[reason]:,} ({one[reason] / one.total():.1%})" for one in counts)) for reason in reasons),
        ("all", *(f"{one.total():,}" for one in counts)),
    ]


def arm_rows(arms: Sequence[dict[str, Any]]) -> list[Sequence[str]]:
    """Held-out bits per byte of the arms that differ in written documents alone, and of all the corpus."""
    wanted = ("ours", "up-sampled", "base model", "without augment", "full", "random")
    rows = {row["arm"]: row for row in arms if row["domain"] is None}
    return [
        ("arm", "documents", "tokens", "bits per byte, held-out finance"),
        *((name, f"{rows[name]['documents']:,}", f"{rows[name]['tokens']:,}", f"{rows[name]['bits_per_byte']:.4f}")
          for name in wanted if name in rows),
    ]  # fmt: skip


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is its head."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:], ""])


if __name__ == "__main__":
    main()

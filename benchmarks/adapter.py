"""Print what an adapter gains in text of its domain that it never saw: bits per byte before and after, as Markdown.

Run it in the environment of `make test-llm`:

    .venv-llm/bin/python benchmarks/adapter.py   # SmolLM2-135M-Instruct, ../shared/corpora
    .venv-llm/bin/python benchmarks/adapter.py CORPORA --steps 100 --set rank=32

Of each domain a tenth of the texts tests, and neither trains the adapter nor tells it when to stop.
"""

import argparse
import math
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import pyarrow.parquet as pq
import yaml
from support.language_models import smollm2

from curate.distill.lora.files import AdapterFacts
from curate.distill.lora.texts import domain_texts
from curate.distill.lora.train import train_adapter
from curate.distill.teacher.open import open_teacher
from curate.progress import unwritten_log
from curate.recipe.load import parse_recipe
from curate.recipe.teacher import Teacher
from curate.recipe.tier3 import Adapter

DOMAINS = ("finance_fed_speeches", "postgresql_docs")
COLUMNS = ("domain", "texts", "tokens read", "bits/byte before", "after", "change", "CPU s of training")
TESTED = 32  # texts
CHARACTERS = 1500  # of each, from its beginning


def main() -> None:
    """Train and print, domain by domain."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # with as many threads as busy cores torch waits on itself
    parser = argparse.ArgumentParser()
    parser.add_argument("corpora", nargs="?", default=str(Path(__file__).parents[2] / "shared" / "corpora"))
    parser.add_argument("--model", default=None)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a field of tier3.adapter")
    given = parser.parse_args()
    model = given.model or str(smollm2())
    changes = {name: yaml.safe_load(value) for name, _, value in (one.partition("=") for one in given.set)}
    section = Adapter.model_validate({"steps": given.steps, "check_every": max(1, given.steps // 4), **changes})
    print(f"{Path(model).name}, {section.steps} steps of {section.batch} windows of {section.context} tokens, learning "
          f"rate {section.learning_rate}\n")  # fmt: skip
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    for domain in DOMAINS:
        with tempfile.TemporaryDirectory() as folder:
            print(row(Path(given.corpora) / "domains" / f"{domain}.parquet", model, section, Path(folder)), flush=True)


def row(path: Path, model: str, section: Adapter, folder: Path) -> str:
    """Train on a domain, and ask about texts of it that were set apart."""
    table = pq.read_table(path)
    tests = [k % 10 == 0 for k in range(len(table))]
    pq.write_table(table.filter([not one for one in tests]), folder / "seeds.parquet")
    domain = {"name": path.stem, "seeds": [str(folder / "seeds.parquet")], "target_tokens": 1}
    recipe = parse_recipe({"name": "x", "input": {"paths": ["x"]}, "tier3": {"domains": [domain]}}, "benchmark")
    texts = domain_texts(recipe, recipe.tier3.domains[0], section.documents)
    began = time.process_time()
    facts = train_adapter(
        texts.training, texts.heldout, section, (model, None), folder / "adapter", 1, unwritten_log(quiet=False)
    )
    seconds = time.process_time() - began
    before, after = asked(table.filter(tests)["text"].to_pylist()[:TESTED], model, facts, folder)
    bits = f"{before:.4f} | {after:.4f} | {after / before - 1:+.1%}"
    return f"| `{path.stem}` | {facts.texts:,} | {facts.tokens:,} | {bits} | {seconds:,.0f} |"


def asked(texts: list[str], model: str, facts: AdapterFacts, folder: Path) -> tuple[float, float]:
    """Bits per byte of texts by the model, and with the adapter; the first token is given."""
    texts = [text[:CHARACTERS] for text in texts]
    kind = {"model": model, "lora": {"domain": str(folder / "adapter")}, "dtype": facts.settings["dtype"]}
    n_bytes = sum(len(text.encode()) for text in texts)
    with open_teacher(
        Teacher.model_validate({"transformers": kind}), folder / "cache", unwritten_log(quiet=True)
    ) as teacher:
        before, after = (teacher.score(texts, name) for name in (None, "domain"))
    bits = [-sum(score.log_probability for score in scores) / math.log(2) for scores in (before, after)]
    return bits[0] / n_bytes, bits[1] / n_bytes


if __name__ == "__main__":
    main()

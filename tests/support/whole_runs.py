"""A small run with all that a run can have without a server, and what is promised of its bytes."""

import json
import time

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from support.commands import program
from support.corpora import PROSE, SAMPLE
from support.damage import promised
from support.recipes import write_recipe

UNIT = {"CURATE_UNIT_BYTES": "200000"}  # so small that the sample makes several tasks


def make_corpus(folder):
    """The sample in three forms without half of its good documents, which are the reference."""
    table = pa.concat_tables([pq.read_table(path) for path in sorted(SAMPLE.glob("*.parquet"))])
    good = pa.array([label == "good" and k % 3 > 0 for k, label in enumerate(table["label"].to_pylist())])
    rest = table.filter(pc.invert(good))
    (folder / "in").mkdir(parents=True)
    pq.write_table(table.filter(good), folder / "reference.parquet")
    pq.write_table(rest.slice(0, 300), folder / "in" / "a.parquet", row_group_size=50)
    pq.write_table(rest.slice(300, 400), folder / "in" / "b.parquet", row_group_size=100)
    lines = [json.dumps(row) for row in rest.slice(700).to_pylist()]
    (folder / "in" / "c.jsonl").write_text("\n".join(lines) + "\n")
    items = [{"question": PROSE + str(k)} for k in range(5)]
    (folder / "benchmark.jsonl").write_text("\n".join(map(json.dumps, items)) + "\n")
    return folder


def whole_recipe(folder, corpus, **fields):
    """A recipe over such a corpus, and its run directory."""
    folder.mkdir(parents=True, exist_ok=True)
    changes = {
        "seed": 3,
        "reference": [str(corpus / "reference.parquet")],
        "tier1": {
            "rules": ["gopher", "c4"],
            "language": {"min_confidence": 0.3},
            "perplexity": {"band": [2, 98]},
            "pii": "redact",
            "decontaminate": {"against": [str(corpus / "benchmark.jsonl")]},
        },
        "dedup": {"near": {}, "lines": {"max_repeats": 5}},
        "tier2": {"attacks": 12, "rounds": 2, "max_false_drop": 0.05, "held_out": "repetition"},
        "distill": {"keep_tokens": "40%", "ladder": ["10%", "40%"]},
        "export": ["hf", "webdataset"],
        "shard_size": 200_000,
        **fields,
    }
    path, run = write_recipe(folder, corpus / "in", **changes)
    recipe = yaml.safe_load(path.read_text())
    recipe["input"] |= {"id": "id", "strata": ["source"]}
    path.write_text(yaml.safe_dump(recipe))
    return path, run


def files_of_run(run):
    """What is promised of a run, and the names of what its exports hold."""
    return promised(run), sorted(path.name for path in (run / "export").rglob("*") if path.is_file())


KNOWN = []


def undisturbed(factory):
    """A corpus, what a run over it writes that nothing disturbs, and how many seconds that takes."""
    if KNOWN:
        return KNOWN[0]
    corpus = make_corpus(factory.mktemp("whole") / "corpus")
    recipe, run = whole_recipe(factory.mktemp("undisturbed") / "x", corpus)
    began = time.monotonic()
    done = program("run", recipe, "--workers", 2, "--quiet", timeout=600, **UNIT)
    assert done.returncode == 0, done.stderr
    KNOWN.append((corpus, files_of_run(run), time.monotonic() - began))
    return KNOWN[0]

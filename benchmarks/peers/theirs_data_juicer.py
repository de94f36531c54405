"""Duplicates and filters by Data-Juicer. Runs in its own environment and knows nothing of curate.

Usage: python theirs_data_juicer.py near|exact|filters CORPUS OUT    write the rows that it drops, as JSON

Each job is a recipe for `dj-process` in one process, from Parquet to JSON lines. Its filters by stop words, languages,
flagged words and perplexity are left out: they download lists and models when they run.
"""

import json
import subprocess
import sys
from pathlib import Path

PROCESS = {
    "near": [
        {"document_minhash_deduplicator": {
            "tokenization": "space", "window_size": 5, "lowercase": True,
            "num_permutations": 128, "jaccard_threshold": 0.8,
        }},
    ],
    "exact": [{"document_deduplicator": {"lowercase": False, "ignore_non_character": False}}],
    "filters": [
        {"words_num_filter": {"min_num": 50, "max_num": 100_000}},
        {"alphanumeric_filter": {}},
        {"special_characters_filter": {}},
        {"average_line_length_filter": {}},
        {"character_repetition_filter": {}},
        {"word_repetition_filter": {}},
    ],
}  # fmt: skip


def main(job: str, corpus: str, out: str) -> None:
    """Do what the usage says, in the working directory."""
    recipe = Path("recipe.yaml")  # JSON is YAML
    recipe.write_text(json.dumps({
        "project_name": "peers", "dataset_path": str(Path(corpus) / "documents.parquet"),
        "export_path": "kept/kept.jsonl",
        "np": 1, "use_cache": False, "open_tracer": False, "process": PROCESS[job],
    }))  # fmt: skip
    subprocess.run([Path(sys.executable).parent / "dj-process", "--config", recipe], check=True)
    with open("kept/kept.jsonl") as lines:
        kept = {int(json.loads(line)["id"]) for line in lines}
    number = json.loads((Path(corpus) / "number.json").read_text())
    Path(out).write_text(json.dumps(sorted(set(range(number)) - kept)))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What exports with tokens take: CPU seconds of `curate export` beside those of the tokenizer alone.

Usage: python benchmarks/export.py [TOKENIZER.json]

The packaged sample is repeated, each time with another first line, to a corpus of about 20 MB, of which a run keeps one
of equal texts. Without a tokenizer a byte-level BPE of 32,000 tokens at most is trained on the sample. Prints a section
of docs/benchmarks.md, which benchmarks/speed.py writes too.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from timing import batches_in

import curate.sample
from curate.distill.evaluate.tokens import train_tokenizer

MB, VOCABULARY, END = 20, 32_000, "<|endoftext|>"
FORMATS = ("megatron", "olmo", "nanotron", "hf")


def export_table(scratch: Path, tokenizer: Path | None = None) -> list[str]:
    """A section with a row for each format, and one for the tokenizer alone in one thread."""
    texts = [text for batch in batches_in(curate.sample.__path__) for text in batch.to_pylist() if text]
    tokenizer = tokenizer or _trained(texts, scratch / "tokenizer.json")
    run = _run(
        [[f"Copy number {k} of this document.\n{text}" for text in texts] for k in range(_copies(texts))], scratch
    )
    kept = [text for batch in batches_in([run / "data"]) for text in batch.to_pylist()]
    size = sum(len(text.encode()) for text in kept) / 1e6
    lines = [
        "## Exports",
        "",
        f"A run of {len(kept):,} documents ({size:,.0f} MB of text), exported by `curate export`: the whole command",
        "with its start, beside the tokenizer alone in one thread of one process.",
        "",
        "| export | CPU s | MB of text per CPU s | tokens per CPU s | peak MB |",
        "|---|---|---|---|---|",
    ]
    seconds, tokens = _alone(tokenizer, kept)
    lines.append(f"| the tokenizer alone | {seconds:,.1f} | {size / seconds:.1f} | {tokens / seconds:,.0f} | – |")
    for name in FORMATS:
        seconds, peak, told = _exported(run, name, tokenizer, scratch / "out")
        made = f"{told['tokens'] / seconds:,.0f}" if name != "hf" else "–"
        lines.append(f"| `{name}` | {seconds:,.1f} | {size / seconds:.1f} | {made} | {peak:,.0f} |")
    return [*lines, ""]


def _copies(texts: Sequence[str]) -> int:
    return max(1, round(MB * 1e6 / sum(len(text.encode()) for text in texts)))


def _trained(texts: Sequence[str], path: Path) -> Path:
    """A tokenizer with a token that ends documents."""
    tokenizer = train_tokenizer(pa.array(texts), VOCABULARY)
    tokenizer.add_special_tokens([END])
    tokenizer.save(str(path))
    return path


def _run(copies: Sequence[Sequence[str]], scratch: Path) -> Path:
    """A run that keeps all of it, in shards of a few megabytes."""
    with pq.ParquetWriter(scratch / "in.parquet", pa.schema([("text", pa.string())]), compression="zstd") as writer:
        for texts in copies:
            writer.write_table(pa.table({"text": texts}))
    recipe = {"name": "export", "output": str(scratch / "run"), "input": {"paths": [str(scratch / "in.parquet")]},
              "tier1": {"rules": []}, "shard_size": "8MB"}  # fmt: skip
    (scratch / "recipe.yaml").write_text(json.dumps(recipe))
    words = [sys.executable, "-m", "curate", "run", str(scratch / "recipe.yaml"), "--quiet"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return scratch / "run"


def _alone(path: Path, texts: Sequence[str]) -> tuple[float, int]:
    """CPU seconds and tokens of encoding the texts, and nothing else."""
    from tokenizers import Tokenizer

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer, tokens = Tokenizer.from_file(str(path)), 0
    started = time.process_time()
    for start in range(0, len(texts), 1000):
        some = list(texts[start : start + 1000])
        tokens += sum(len(one) for one in tokenizer.encode_batch_fast(some, add_special_tokens=False))
    return time.process_time() - started, tokens


def _exported(run: Path, name: str, tokenizer: Path, out: Path) -> tuple[float, float, dict[str, int]]:
    """CPU seconds of all processes, peak megabytes of the largest, and what the export has of the split to train on."""
    # A process between, so that its children's usage is that of this export alone.
    code = (
        "import json, resource, subprocess, sys;"
        "subprocess.run([sys.executable, '-m', 'curate', 'export', *sys.argv[1:], '--quiet'], check=True, stdout=2);"
        "u = resource.getrusage(resource.RUSAGE_CHILDREN); print(json.dumps([u.ru_utime + u.ru_stime, u.ru_maxrss]))"
    )
    words = [str(run), "--to", name, "--out", str(out), "--tokenizer", str(tokenizer)]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
    )
    seconds, peak = json.loads(done.stdout)
    told = json.loads((out / name / "export.json").read_text("utf-8"))["splits"]["train"]
    return seconds, peak / (1e6 if sys.platform == "darwin" else 1e3), told


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print("\n".join(export_table(Path(folder), Path(sys.argv[1]) if len(sys.argv) > 1 else None)))

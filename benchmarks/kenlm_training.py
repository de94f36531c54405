"""Train the same language models with curate and with lmplz, and compare perplexity, time and memory.

Usage: python benchmarks/kenlm_training.py LMPLZ FOLDER...

LMPLZ is KenLM's program, which no package of Python brings. To build it (Debian):

    apt-get install cmake g++ zlib1g-dev libboost-program-options-dev libboost-system-dev libboost-thread-dev \
        libboost-test-dev
    pip download --no-deps --no-binary :all: kenlm && tar xzf kenlm-*.tar.gz && cd kenlm-*/
    mkdir build && cd build && cmake .. -DCMAKE_BUILD_TYPE=Release -DKENLM_MAX_ORDER=6 && make lmplz

The texts of the Parquet files in FOLDER are taken once each, in a random order that is always the same: the first 20
and 100 MB to train on, and the last 5 MB, which no model sees, to tell perplexity by. Perplexities are for comparing
the two: with more text there may be more near copies of what is held out. Both read the same lines, lmplz as a text
file; both may take 4 GB. Printed are seconds from start to end and the most memory held. curate's time includes reading
Parquet and making the lines, lmplz's does not.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import kenlm
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from timing import batches_in

from curate.kernels.lm_words import lm_lines

ORDER, PRUNE, MEMORY = 5, (0, 0, 1, 1, 1), 4
HELD_OUT, SIZES = 5_000_000, (20_000_000, 100_000_000)


def measured(command: list[str], text: Path | None, output: Path | None) -> tuple[float, int]:
    """Seconds and bytes that a command took."""
    started = time.monotonic()
    with open(text or os.devnull) as given, open(output or os.devnull, "w") as out:
        process = subprocess.Popen(command, stdin=given, stdout=out, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} failed")
    return time.monotonic() - started, usage.ru_maxrss * 1024


def perplexity(model: Path, lines: list[str]) -> float:
    """Of all tokens and ends of lines."""
    config = kenlm.Config()
    config.show_progress, config.arpa_complain = False, kenlm.ARPALoadComplain.NONE
    loaded = kenlm.Model(str(model), config)
    logarithm = sum(loaded.score(line) for line in lines)
    return float(10 ** (-logarithm / sum(line.count(" ") + 2 for line in lines)))


def main(lmplz: str, *folders: str) -> None:
    """Print the figures."""
    texts = pa.concat_arrays(batches_in(folders))
    texts = texts.take(pa.array(np.random.default_rng(1).permutation(len(texts))))
    ends = np.cumsum(pc.binary_length(texts).to_numpy())
    held = lm_lines(texts.slice(int(np.searchsorted(ends, ends[-1] - HELD_OUT)))).lines.to_pylist()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for size in SIZES:
            some = texts.slice(0, int(np.searchsorted(ends, min(size, ends[-1] - HELD_OUT))))
            pq.write_table(pa.table({"text": some}), folder / "texts.parquet")
            lines = lm_lines(some).lines
            (folder / "lines.txt").write_text("\n".join(lines.to_pylist()) + "\n", "utf-8")
            print(f"{pc.sum(pc.binary_length(some)).as_py() / 1e6:,.0f} MB of text, {len(lines):,} lines:")
            ours = [sys.executable, "-m", "curate", "lm", "train", str(folder / "texts.parquet"), "--quiet"]
            ours += ["--order", str(ORDER), "--prune", ",".join(map(str, PRUNE)), "--memory", f"{MEMORY}GB"]
            theirs = [lmplz, "-o", str(ORDER), "-S", f"{MEMORY}G", "-T", place, "--prune", *map(str, PRUNE)]
            for name, command, text, output in (
                ("curate .arpa", [*ours, "--output", str(folder / "ours.arpa")], None, None),
                ("curate .binary", [*ours, "--output", str(folder / "ours.binary")], None, None),
                ("lmplz .arpa", theirs, folder / "lines.txt", folder / "theirs.arpa"),
            ):
                seconds, memory = measured(command, text, output)
                model = output or Path(command[-1])
                shown = f"perplexity {perplexity(model, held):.4f}, {model.stat().st_size / 1e6:,.0f} MB"
                print(f"  {name:14} {seconds:6.1f} s {memory / 1e9:5.2f} GB  {shown}")


if __name__ == "__main__":
    main(*sys.argv[1:])

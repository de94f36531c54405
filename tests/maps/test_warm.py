"""Kernels are compiled by the process that starts the workers, each once: workers find them on the disk."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from support.commands import program
from support.recipes import distilling

from curate.kernels.jit import kernel_folder

# Tells which process keeps a kernel that it compiled.
TOLD_BY = """
import builtins, os
say = builtins.print
def print(*words, **options):
    if words and str(words[0]).startswith("[cache]"):
        if "data saved" in words[0]:
            with open(os.environ["KEPT"], "a") as file:
                file.write(f"{os.getpid()} {words[0].split('/')[-1].split('.py')[0]}\\n")
    else:
        say(*words, **options)
builtins.print = print
"""
USED_BY_WORKERS = (
    "bucket_logs._means*", "corpus_lines.*", "edits.*", "hashed_ngrams._places*", "minhash._agreeing*",
    "overlap.split_places*", "personal._find*", "projection._nearest*", "survivors.*",
)  # fmt: skip


@pytest.mark.slow  # compiles all kernels of the maps
def test_workers_compile_nothing_and_no_kernel_is_compiled_twice(corpus, tmp_path):
    here = Path(kernel_folder())
    folder = tmp_path / "cache" / "kernels" / here.name
    if here.is_dir():  # what other tests compiled, but for what the maps over documents need
        shutil.copytree(here, folder)
        for path in [
            *folder.glob("compiled-*"),
            *(path for name in USED_BY_WORKERS for path in folder.glob(f"*/{name}")),
        ]:
            path.unlink()
    for path in (tmp_path / "cache").rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    (tmp_path / "cache").mkdir(exist_ok=True)
    (tmp_path / "cache").chmod(0o700)
    (tmp_path / "sitecustomize.py").write_text(TOLD_BY)
    fields = {"tier1": {"rules": ["gopher"], "pii": "redact"}, "dedup": {"near": {}, "lines": {"max_repeats": 5}},
              "tier2": {"rounds": 1}}  # fmt: skip
    recipe, _ = distilling(corpus, tmp_path, **fields)
    kept = tmp_path / "kept"
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = program("run", recipe, "--workers", 2, PYTHONPATH=path, NUMBA_DEBUG_CACHE="1", KEPT=str(kept),
                   CURATE_CACHE=str(tmp_path / "cache"), CURATE_UNIT_BYTES="200000")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "compiling kernels" in done.stderr
    processes, kernels = zip(*(line.split() for line in kept.read_text().splitlines()), strict=True)
    assert len(set(processes)) == 1, kernels
    assert [kernel for kernel, times in Counter(kernels).items() if times > 1] == []
    assert len(kernels) > 10

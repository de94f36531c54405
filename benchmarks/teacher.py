"""Print how many tokens a second teachers write, by how many requests are under way or in a batch.

Run it in the environment of `make test-llm`:

    .venv-llm/bin/python benchmarks/teacher.py            # SmolLM2-135M-Instruct, on this machine
    .venv-llm/bin/python benchmarks/teacher.py MODEL      # another folder or Hub name
"""

import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.language_models import smollm2

from curate.distill.teacher.open import open_teacher
from curate.distill.teacher.protocol import Request, Sampling
from curate.progress import unwritten_log
from curate.recipe.teacher import Teacher

AT_A_TIME = (1, 8, 32)
TOKENS = 64
ROUNDS = 3  # times that the window is filled
SUBJECTS = ("rain", "bread", "iron", "music", "paper", "salt", "wood", "glass")


def main() -> None:
    """Measure and print."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # with as many threads as busy cores torch waits on itself
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    model = sys.argv[1] if len(sys.argv) > 1 else str(smollm2())
    print(f"{Path(model).name}, {os.cpu_count()} cores, replies of up to {TOKENS} tokens\n")
    print("| teacher | under way | tokens/s written | documents/s graded |\n|---|---|---|---|")
    size = {"max_model_len": 1024, "dtype": "bfloat16"}
    with opened({"vllm": {"serve": model, **size}}) as teacher:
        for n in AT_A_TIME:
            teacher.source.section = teacher.source.section.model_copy(update={"concurrency": n})
            report("vllm", teacher, n)
    for n in AT_A_TIME:
        batch = n * (TOKENS + 60)
        with opened({"transformers": {"model": model, "dtype": "bfloat16", "batch_tokens": batch}}) as teacher:
            report("transformers", teacher, n)


def opened(kind: dict) -> object:
    """A teacher with an empty cache."""
    folder = Path(tempfile.mkdtemp())
    return open_teacher(Teacher.model_validate(kind), folder, unwritten_log(quiet=True))


def report(name: str, teacher: object, n: int) -> None:
    """One row."""
    replies, seconds = timed(teacher.generate, asked(n, "Write a long story about"))
    written = sum(reply.n_tokens for reply in replies)
    graded, took = timed(lambda some: teacher.choose(some, list("012345")), asked(n, "How good, from 0 to 5, is"))
    print(f"| `{name}` | {n} | {written / seconds:,.0f} | {len(graded) / took:,.1f} |", flush=True)


def asked(n: int, words: str) -> list[Request]:
    """Different questions for some rounds, and one more to warm up."""
    texts = [f"{words} {SUBJECTS[k % 8]} and the number {k + 1000 * n}." for k in range(ROUNDS * n + 1)]
    return [Request((("user", text),), Sampling(TOKENS)) for text in texts]


def timed(ask: object, requests: list[Request]) -> tuple[list, float]:
    """The answers to all but the first, and the seconds that they took."""
    ask(requests[:1])
    began = time.perf_counter()
    return ask(requests[1:]), time.perf_counter() - began


if __name__ == "__main__":
    main()

"""The schedule of a training: windows and learning rate of each step, which depend only on the seed and the step."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

WARMUP = 0.05  # share of the steps
FINAL_RATE = 0.1  # share of the learning rate at the end of the cosine


def window_starts(tokens: int, context: int, batch: int, steps: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """The starts of the windows of each step. Each epoch covers the stream in another order and with another offset."""
    rng = np.random.default_rng([seed, 2])
    pending = np.zeros(0, np.int64)
    last = max(0, tokens - 1 - context)
    for _ in range(steps):
        while len(pending) < batch:
            starts = np.minimum(np.arange(0, last + 1, context) + rng.integers(0, context), last)
            pending = np.concatenate([pending, rng.permutation(starts)])
        yield pending[:batch]
        pending = pending[batch:]


def learning_rate_factor(step: int, steps: int) -> float:
    """The factor of the learning rate at a step: linear warm-up, then cosine decay."""
    warmup_steps = max(1, round(WARMUP * steps))
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return float(FINAL_RATE + (1 - FINAL_RATE) * (1 + np.cos(np.pi * progress)) / 2)

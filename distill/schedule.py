"""What a training in steps reads and how far it goes in each: both known from the seed and the step alone."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

WARM_UP = 0.05  # of the steps
LEAST_RATE = 0.1  # of the learning rate, at the end of the cosine


def window_starts(tokens: int, context: int, batch: int, steps: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Where the windows of each step begin: all of the stream in another order each time, cut elsewhere each time."""
    rng = np.random.default_rng([seed, 2])
    held = np.zeros(0, np.int64)
    last = max(0, tokens - 1 - context)
    for _ in range(steps):
        while len(held) < batch:
            starts = np.minimum(np.arange(0, last + 1, context) + rng.integers(0, context), last)
            held = np.concatenate([held, rng.permutation(starts)])
        yield held[:batch]
        held = held[batch:]


def rate(step: int, steps: int) -> float:
    """The share of the learning rate at a step: a warm-up, then a cosine."""
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    return float(LEAST_RATE + (1 - LEAST_RATE) * (1 + np.cos(np.pi * done)) / 2)

"""Which of some documents survive, given the pairs of them that are duplicates."""

import numpy as np
import numpy.typing as npt

from curate.kernels.jit import kernel

Numbers = npt.NDArray[np.int64]


def survivors(first: Numbers, second: Numbers, count: int) -> Numbers:
    """For each of `count` documents, numbered from the best down, the pair it is dropped for, or -1 if it survives.

    A document is dropped if it is a duplicate of a better one that survives itself, and for the best one of these.

    In:     pairs of duplicates, `first` better than (less than) `second`, sorted by second and then first.
    Cost:   one pass over the pairs.
    Oracle: a dictionary of sets (tests/test_near.py).
    """
    return _survivors(first, second, count)


@kernel
def _survivors(first: Numbers, second: Numbers, count: int) -> Numbers:
    found = np.full(count, -1, dtype=np.int64)
    for k in range(len(first)):
        if found[second[k]] < 0 and found[first[k]] < 0:
            found[second[k]] = k
    return found

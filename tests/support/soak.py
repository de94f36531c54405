"""How long tests go on: `make test` shows each promise, `make test-all` on more examples, `make soak` for an hour."""

import os
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

SOAK = bool(os.environ.get("SOAK"))
ALL = SOAK or bool(os.environ.get("TEST_ALL"))
SEED = int(os.environ.get("SOAK_SEED", "17"))
MOMENTS = int(os.environ.get("SOAK_MOMENTS", "50")) if SOAK else 4  # at which a run is killed
PLACES = int(os.environ.get("SOAK_PLACES", "2000")) if SOAK else 12 if ALL else 6  # at which files are damaged
EXAMPLES = int(os.environ.get("SOAK_EXAMPLES", "2000"))  # of a property; a fuzzer reads ten times as many files


def drawn(name):
    """Random numbers of a test, the same in every process."""
    return random.Random(f"{SEED} {name}")


def repeats(*values):
    """Values of a parameter that repeat the promise of another: `make test` leaves them out."""
    return [pytest.param(*(one if isinstance(one, tuple) else (one,)), marks=pytest.mark.slow) for one in values]


def examples(of_all, quick=None):
    """So many examples of a property where all tests run, a fifth elsewhere; no deadline: the machine may be busy."""
    return settings(max_examples=of_all if ALL else quick or max(15, of_all // 5), deadline=None)


def some(of_all):
    """Examples as above of slow properties, the same each time but in a soak, which has its own number of them."""
    return settings(
        examples(EXAMPLES if SOAK else of_all),
        derandomize=not SOAK,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
    )


def tell(line):
    """Note a figure for `make soak`, which prints all of them at its end."""
    if SOAK:
        with Path(os.environ.get("SOAK_FIGURES", "soak.txt")).open("a") as file:
            file.write(line + "\n")

"""How long the tests of faults and hostile input go on: seconds in the suite, minutes in `make soak`."""

import os
import random
from pathlib import Path

from hypothesis import HealthCheck, settings

SOAK = bool(os.environ.get("SOAK"))
SEED = int(os.environ.get("SOAK_SEED", "17"))
MOMENTS = int(os.environ.get("SOAK_MOMENTS", "50")) if SOAK else 4  # at which a run is killed
PLACES = int(os.environ.get("SOAK_PLACES", "2000")) if SOAK else 12  # at which files are damaged
EXAMPLES = int(os.environ.get("SOAK_EXAMPLES", "2000"))  # of a property; a fuzzer reads ten times as many files


def drawn(name):
    """Random numbers of a test, the same in every process."""
    return random.Random(f"{SEED} {name}")


def some(in_suite):
    """How many examples a property has, and no deadline: the machine may be busy."""
    return settings(
        max_examples=EXAMPLES if SOAK else in_suite,
        deadline=None,
        derandomize=not SOAK,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
    )


def tell(line):
    """Note a figure for `make soak`, which prints all of them at its end."""
    if SOAK:
        with Path(os.environ.get("SOAK_FIGURES", "soak.txt")).open("a") as file:
            file.write(line + "\n")

"""Kernels are compiled once on a machine, by the process that starts the workers and before they need them.

Workers would compile in silence, and each of them the same.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa

from curate.kernels.jit import is_compiled, kernel_folder, mark_compiled
from curate.maps.compile_notice import compiling_groups, group_compiled

# No Arrow array: making one imports pandas, see `spare_pandas`. With what is found in texts, an address and a line
# that comes twice, so that what is done with it is compiled too.
TEXTS = ("Warm the kernels[1]. é\nWrite to a.b@example.org.\nWarm the kernels[1]. é", None, "你好")


def compile_once(calls: Mapping[str, Callable[[], object]]) -> None:
    """Compile what the calls use, each under a name by which it is known that an earlier process did."""
    todo = {name: call for name, call in calls.items() if not is_compiled(name)}
    with compiling_groups(len(todo)):
        for name, call in todo.items():
            call()
            mark_compiled(name)
            group_compiled()


def is_warm(name: str) -> bool:
    """Whether an earlier process compiled what is used under this name, or one that begins with it."""
    return any(Path(kernel_folder()).glob(f"compiled-{name}*"))


def warm_texts() -> pa.Array:
    """A few texts that reach all kernels that are called with texts."""
    return pa.array(TEXTS)

"""Compile kernels once per machine, in the process that starts the workers and before they start.

Otherwise each worker would compile the same kernels, without a notice.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa

from curate.kernels.jit import is_compiled, kernel_folder, mark_compiled
from curate.maps.compile_notice import compiling_groups, group_compiled

# Not an Arrow array, because building one imports pandas (see `spare_pandas`). The e-mail address and the repeated
# line trigger the kernels that process matches.
TEXTS = ("Warm the kernels[1]. é\nWrite to a.b@example.org.\nWarm the kernels[1]. é", None, "你好")


def compile_once(calls: Mapping[str, Callable[[], object]]) -> None:
    """Make each call that no earlier process made on this machine, by its name; this compiles the kernels it uses."""
    uncompiled = {name: call for name, call in calls.items() if not is_compiled(name)}
    with compiling_groups(len(uncompiled)):
        for name, call in uncompiled.items():
            call()
            mark_compiled(name)
            group_compiled()


def is_warm(name: str) -> bool:
    """Whether an earlier process compiled the kernels of this name, or of a name that begins with it."""
    return any(Path(kernel_folder()).glob(f"compiled-{name}*"))


def warm_texts() -> pa.Array:
    """A few texts that exercise all kernels over texts."""
    return pa.array(TEXTS)

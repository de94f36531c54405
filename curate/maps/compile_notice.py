"""The notice shown while kernels are compiled, once per kernel and machine."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from numba.core import event

from curate import progress
from curate.kernels.arrow import spare_pandas

NOTICE = "compiling kernels, once on this machine"


class CompileListener(event.Listener):
    """Counts compiled kernels and shows the count, next to the current progress line if there is one."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.total: int | None = None  # groups of kernels to compile, inside `compiling_groups`
        self.done = self._kernels = self._depth = 0
        self._printed_at: float | None = None

    def on_start(self, event: event.Event) -> None:
        """Compilation of a kernel starts, or of a function that it calls."""
        self._depth += 1
        if self._depth == 1:
            self._kernels += 1
            self.show()

    def on_end(self, event: event.Event) -> None:
        """Compilation of a kernel ends, or of a function that it calls."""
        self._depth -= 1
        if self._depth == 0 and self.total is None and not progress.set_note("") and not self.quiet:
            progress.clear()  # so that the next print starts at the beginning of a line

    def show(self) -> None:
        """Show the progress: at once on a terminal, else every ten seconds."""
        count = f"{min(self.done + 1, self.total)} of {self.total}" if self.total else f"{self._kernels}"
        line = f"{NOTICE} ({count})"
        if self.quiet or progress.set_note(line):
            return
        now = time.monotonic()
        if sys.stderr.isatty():
            progress.rewrite(line)
        elif self._printed_at is None or now - self._printed_at >= progress.LINE_SECONDS:
            self._printed_at = now
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress


_listener: CompileListener | None = None


def prepare_process(quiet: bool = False) -> None:
    """Set up a process that curate alone uses: keep pandas out, and show the notice for kernels it compiles."""
    spare_pandas()
    report_kernels(quiet)


def report_kernels(quiet: bool = False) -> None:
    """Show the notice for kernels that this process compiles from now on."""
    global _listener
    if _listener is None:
        _listener = CompileListener(quiet)
        event.register("numba:compile", _listener)  # type: ignore[no-untyped-call]
    _listener.quiet = quiet


@contextmanager
def compiling_groups(total: int) -> Iterator[None]:
    """A block that compiles `total` groups of kernels and calls `group_compiled` after each."""
    if _listener is None or not total:
        yield
        return
    _listener.total, _listener.done = total, 0
    try:
        yield
    finally:
        _listener.total = None
        progress.set_note("")
        progress.clear()


def group_compiled() -> None:
    """Count one group of `compiling_groups` as compiled."""
    if _listener is not None:
        _listener.done += 1

"""What is told while kernels are compiled, which a machine does once for each kernel."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from numba.core import event

from curate import progress
from curate.kernels.arrow import spare_pandas

NOTICE = "compiling kernels, once on this machine"


class CompileListener(event.Listener):
    """Counts kernels as they are compiled and tells of them, beside the line of work under way if there is one."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.total: int | None = None  # of what `expecting` counts, where that is known
        self.done = self._kernels = self._depth = 0
        self._told: float | None = None

    def on_start(self, event: event.Event) -> None:
        """A kernel is about to be compiled, or a part of the one that is."""
        self._depth += 1
        if self._depth == 1:
            self._kernels += 1
            self.tell()

    def on_end(self, event: event.Event) -> None:
        """A kernel, or a part of one, is compiled."""
        self._depth -= 1
        if self._depth == 0 and self.total is None and not progress.set_note("") and not self.quiet:
            progress.clear()  # what is printed next stands at the begin of a line

    def tell(self) -> None:
        """Show how far it is: at once, and where stderr is no terminal every ten seconds."""
        of = f"{min(self.done + 1, self.total)} of {self.total}" if self.total else f"{self._kernels}"
        line = f"{NOTICE} ({of})"
        if self.quiet or progress.set_note(line):
            return
        now = time.monotonic()
        if sys.stderr.isatty():
            progress.rewrite(line)
        elif self._told is None or now - self._told >= progress.LINE_SECONDS:
            self._told = now
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress


_listener: CompileListener | None = None


def prepare_process(quiet: bool = False) -> None:
    """For a process that is ours alone: keep pandas out, and tell of kernels that are compiled from here on."""
    spare_pandas()
    report_kernels(quiet)


def report_kernels(quiet: bool = False) -> None:
    """Tell of kernels that this process compiles from here on."""
    global _listener
    if _listener is None:
        _listener = CompileListener(quiet)
        event.register("numba:compile", _listener)  # type: ignore[no-untyped-call]
    _listener.quiet = quiet


@contextmanager
def compiling_groups(total: int) -> Iterator[None]:
    """A block that compiles so many groups of kernels, each followed by `group_compiled`."""
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
    """One of the groups that are expected is compiled."""
    if _listener is not None:
        _listener.done += 1

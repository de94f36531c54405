"""Ctrl-C: the first press unwinds a command, which reports it in one line; later presses print nothing else."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

EXIT_CODE = 130
SAME_PRESS_SECONDS = 1.0  # `make` and `uv run` forward a signal that the process group has received already
RAISE_AGAIN_SECONDS = 0.05
AT_ONCE = b"Error: stopped at once; what was finished is kept: run the same command to go on\n"

# Objects to interrupt at the first press, with the function that interrupts them. Without it, a database would finish
# its query before the exception is raised.
INTERRUPTIBLE: "WeakKeyDictionary[Any, Callable[[Any], None]]" = WeakKeyDictionary()


@dataclass
class Interrupt:
    """The SIGINT handler of a running command."""

    pressed: float | None = None  # time of the first press
    reported: bool = False  # whether the command has printed its line
    lost: bool = False  # whether a callback that cannot raise swallowed the press, so that it is raised again

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Unwind at the first press; exit at once at a second one."""
        now = time.monotonic()
        if self.pressed is None or self.lost:
            self.pressed, self.lost = now, False
            for work, interrupt in list(INTERRUPTIBLE.items()):
                interrupt(work)
            raise KeyboardInterrupt
        if self.reported:
            os._exit(EXIT_CODE)
        if now - self.pressed >= SAME_PRESS_SECONDS:
            os.write(2, AT_ONCE)
            os._exit(EXIT_CODE)

    def leave(self) -> None:
        """Exit with EXIT_CODE if Ctrl-C ended the command.

        Otherwise Python would exit by the signal itself where the press hit code compiled from a string, such as the
        methods of a dataclass.
        """
        if self.reported:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(EXIT_CODE)

    def is_lost(self, hooked: Any) -> bool:  # noqa: ANN401 - the argument of sys.unraisablehook
        """Whether an unraisable exception is a press that a callback swallowed; if so, raise it again soon."""
        if not issubclass(hooked.exc_type, KeyboardInterrupt):
            return False
        self.lost = True
        main = threading.main_thread().ident
        threading.Timer(RAISE_AGAIN_SECONDS, signal.pthread_kill, (main, signal.SIGINT)).start()
        return True


_current: Interrupt | None = None  # of the running command


@contextmanager
def interruptible(interrupt: Interrupt) -> Iterator[None]:
    """Let `interrupt` handle Ctrl-C, unless SIGINT is ignored, as in background jobs of a shell script."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or not _is_main():
        yield
        return
    global _current
    hook, previous, _current = sys.unraisablehook, _current, interrupt
    signal.signal(signal.SIGINT, interrupt)
    sys.unraisablehook = lambda hooked: None if interrupt.is_lost(hooked) else hook(hooked)
    try:
        yield
    finally:
        _current = previous
        if not interrupt.reported:  # else the process is about to exit; the default handler would print a traceback
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.unraisablehook = hook


def raise_lost_press() -> None:
    """Raise KeyboardInterrupt if a press did not unwind this command because other code caught it.

    Call it where the command would not be if it had unwound, such as at the beginning of a step.
    """
    if _current is not None and _current.pressed is not None and not _current.reported and _is_main():
        raise KeyboardInterrupt


@contextmanager
def raise_every_press() -> Iterator[None]:
    """Raise KeyboardInterrupt at every press within the block."""
    if not _is_main():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()

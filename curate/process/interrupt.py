"""Ctrl-C: the first press unwinds a command, which tells so in one line; later ones print nothing else."""

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
SAME_PRESS_SECONDS = 1.0  # a press comes twice through `make` or `uv run`, which pass on what the group has already
RAISE_AGAIN_SECONDS = 0.05
AT_ONCE = b"Error: stopped at once; what was finished is kept: run the same command to go on\n"


# What is interrupted at the first press, and by what. A database whose threads are at work would else come to the end
# of its query before it lets the exception through.
INTERRUPTED: "WeakKeyDictionary[Any, Callable[[Any], None]]" = WeakKeyDictionary()


@dataclass
class Interrupt:
    """What SIGINT does while a command runs."""

    pressed: float | None = None  # when it first was
    told: bool = False  # the command's one line is printed
    lost: bool = False  # the press met a callback that cannot raise, and is raised again

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Unwind at the first press; end at once where one comes that is not the same press."""
        now = time.monotonic()
        if self.pressed is None or self.lost:
            self.pressed, self.lost = now, False
            for work, interrupt in list(INTERRUPTED.items()):
                interrupt(work)
            raise KeyboardInterrupt
        if self.told:
            os._exit(EXIT_CODE)
        if now - self.pressed >= SAME_PRESS_SECONDS:
            os.write(2, AT_ONCE)
            os._exit(EXIT_CODE)

    def leave(self) -> None:
        """End the process, if Ctrl-C ended the command, with our exit code.

        Python ends by the signal itself where a press met code that is compiled from text, as dataclasses are.
        """
        if self.told:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(EXIT_CODE)

    def is_lost(self, hooked: Any) -> bool:  # noqa: ANN401 - the argument of sys.unraisablehook
        """Whether an unraisable exception was the press, in a callback that cannot raise: then it is raised again."""
        if not issubclass(hooked.exc_type, KeyboardInterrupt):
            return False
        self.lost = True
        main = threading.main_thread().ident
        threading.Timer(RAISE_AGAIN_SECONDS, signal.pthread_kill, (main, signal.SIGINT)).start()
        return True


_current: Interrupt | None = None  # of the command that runs


@contextmanager
def interruptible(interrupt: Interrupt) -> Iterator[None]:
    """Let `interrupt` handle Ctrl-C, unless it is ignored here, as in the background of a shell's script."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or not _is_main():
        yield
        return
    global _current
    hook, before, _current = sys.unraisablehook, _current, interrupt
    signal.signal(signal.SIGINT, interrupt)
    sys.unraisablehook = lambda hooked: None if interrupt.is_lost(hooked) else hook(hooked)
    try:
        yield
    finally:
        _current = before
        if not interrupt.told:  # else the process ends, and the interpreter would tell of a further press
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.unraisablehook = hook


def raise_lost_press() -> None:
    """Raise KeyboardInterrupt where a press did not unwind this command: some code between had caught it.

    For places that no unwinding passes, such as the beginning of the next step.
    """
    if _current is not None and _current.pressed is not None and not _current.told and _is_main():
        raise KeyboardInterrupt


@contextmanager
def each_press() -> Iterator[None]:
    """Raise KeyboardInterrupt at every press in the block, which goes on after it."""
    if not _is_main():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()

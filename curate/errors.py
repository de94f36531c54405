"""Every error that a user can meet. The message says where, what is wrong, and what would have been right."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from curate.display import visible
from curate.redaction import redacted

MAX_SHOWN = 300  # characters of a value or of another library's message


class CurateError(Exception):
    """A failure that the user can act on: printed as one line, without a traceback, whatever names it tells of."""

    def __str__(self) -> str:
        """The message without credentials; what would end its line, or a terminal would obey, is seen."""
        return visible(redacted(str(self.args[0]) if self.args else "")).replace("\n", "␊")


class RecipeError(CurateError):
    """The recipe asks for something that does not exist or does not fit."""


class InputError(CurateError):
    """An input file cannot be read as the recipe says; `file_no` is its number, where it has one."""

    def __init__(self, message: str, file_no: int | None = None) -> None:
        super().__init__(message, file_no)
        self.file_no = file_no


class RunError(CurateError):
    """A run directory is in use, damaged, or not a run directory."""


class EmptyOutputError(CurateError):
    """Not one document was kept and the recipe does not allow that."""


class WorkerError(CurateError):
    """A worker process died, or the machine could not do what was asked (disk full, no permission)."""


@dataclass(eq=False)
class TaskError(CurateError):
    """A task failed as nobody foresaw: a bug of ours, told in one line; its traceback goes to the log at `place`."""

    task: str
    kind: str  # the exception's class; its message may hold a document
    trace: str
    place: str = ""
    way_on: str = ""

    def __str__(self) -> str:
        """One line: the task, the log, the way on."""
        told = f"; its traceback is in {self.place}" if self.place else ""
        text = f"{self.task}: failed with {self.kind}, which is a bug of curate{told}{self.way_on}"
        return visible(text).replace("\n", "␊")

    def recorded(self) -> str:
        """The line as a run records it, the same wherever the run lies."""
        return str(replace(self, place=Path(self.place).name))


class TeacherError(CurateError):
    """A language model cannot be asked: no server answers, or it does not do what is needed."""


class Interrupted(CurateError):
    """The user pressed Ctrl-C; what was finished is kept."""


def is_interrupt(error: BaseException) -> bool:
    """Whether Ctrl-C ended what raised this; in the middle of a query DuckDB makes an error of its own of it."""
    return (
        isinstance(error, KeyboardInterrupt)
        or str(error) == "Query interrupted"
        or type(error).__name__ == "InterruptException"
    )


def shortened(text: str) -> str:
    """A text that may be a whole document, as it can stand in a message."""
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'model'?` where a known name is close, else the list of known names."""
    known = sorted(known)
    close = closest(name, known)
    return f"; did you mean {close!r}?" if close else f" (known: {', '.join(known) or 'none'})"


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant: nearly the same letters, else the same first words, else like letters."""
    import difflib  # which only an error needs

    folded = {word.lower(): word for word in known}
    small, words = name.lower(), _words(name)
    begun = [word for word in folded if _begins(words, _words(word))]
    for like in (
        difflib.get_close_matches(small, folded, n=1, cutoff=0.85),
        sorted(begun, key=lambda word: (-min(len(words), len(_words(word))), len(word))),
        difflib.get_close_matches(small, folded, n=1),
    ):
        if like:
            return folded[like[0]]
    return None


def _begins(a: list[str], b: list[str]) -> bool:
    """Whether one list of words begins with the whole other one, which has some."""
    length = min(len(a), len(b))
    return length > 0 and a[:length] == b[:length]


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+|\d+", name.lower())


def disk_error(error: OSError, what: str) -> WorkerError:
    """One line for a failed write, naming the file and the way on."""
    reason = error.strerror or str(error)
    return WorkerError(
        f"{what}: {reason}; nothing finished is lost: free space or fix it and run the same command again"
    )

"""Every error that a user can meet. The message says where, what is wrong, and what would have been right."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from curate.display import visible
from curate.redaction import redacted

MAX_SHOWN = 300  # characters of a value or of another library's message


class CurateError(Exception):
    """A failure that the user can act on: printed as one line, without a traceback."""

    def __str__(self) -> str:
        """The message without credentials, with line ends and control characters made visible."""
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
    """No document was kept, and the recipe does not allow that."""


class WorkerError(CurateError):
    """A worker process died, or the machine failed (disk full, no permission)."""


@dataclass(eq=False)
class TaskError(CurateError):
    """A task failed with an unexpected exception: a bug of curate; its traceback goes to the log at `log_path`."""

    task: str
    kind: str  # the exception's class; its message may contain a document
    trace: str
    log_path: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        """One line: the task, the log, and what to do."""
        log = f"; its traceback is in {self.log_path}" if self.log_path else ""
        text = f"{self.task}: failed with {self.kind}, which is a bug of curate{log}{self.remedy}"
        return visible(text).replace("\n", "␊")

    def recorded(self) -> str:
        """The line as a run records it, independent of the run's location."""
        return str(replace(self, log_path=Path(self.log_path).name))


class TeacherError(CurateError):
    """A language model cannot be used: no server answers, or it lacks a required feature."""


class Interrupted(CurateError):
    """The user pressed Ctrl-C; finished work is kept."""


def is_interrupt(error: BaseException) -> bool:
    """Whether Ctrl-C caused an error; during a query, DuckDB raises its own exception."""
    return (
        isinstance(error, KeyboardInterrupt)
        or str(error) == "Query interrupted"
        or type(error).__name__ == "InterruptException"
    )


def shortened(text: str) -> str:
    """A text short enough for a message; the original may be a whole document."""
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'model'?` where a known name is close, else the list of known names."""
    names = sorted(names)
    close = closest(name, names)
    return f"; did you mean {close!r}?" if close else f" (known: {', '.join(names) or 'none'})"


def closest(name: str, names: Iterable[str]) -> str | None:
    """The known name that was probably meant: nearly the same letters, else the same first words, else similar ones."""
    import difflib  # lazily: only errors need it

    folded = {word.lower(): word for word in names}
    lowered, words = name.lower(), _words(name)
    same_start = [word for word in folded if _begins(words, _words(word))]
    for matches in (
        difflib.get_close_matches(lowered, folded, n=1, cutoff=0.85),
        sorted(same_start, key=lambda word: (-min(len(words), len(_words(word))), len(word))),
        difflib.get_close_matches(lowered, folded, n=1),
    ):
        if matches:
            return folded[matches[0]]
    return None


def _begins(a: list[str], b: list[str]) -> bool:
    """Whether one list of words is a prefix of the other, and not empty."""
    length = min(len(a), len(b))
    return length > 0 and a[:length] == b[:length]


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+|\d+", name.lower())


def disk_error(error: OSError, path: str) -> WorkerError:
    """One line for a failed write: the file, the cause, and what to do."""
    reason = error.strerror or str(error)
    return WorkerError(
        f"{path}: {reason}; nothing finished is lost: free space or fix it and run the same command again"
    )

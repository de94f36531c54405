"""Progress of long work on stderr, and the run's log."""

import io
import json
import math
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

from curate.display import visible
from curate.errors import TaskError, disk_error
from curate.process.interrupt import raise_lost_press
from curate.process.task_progress import read_progress
from curate.redaction import redacted, redacted_values

MIN_SHARE = 0.02  # of the work, below which no time left is shown
LINE_SECONDS = 10.0  # between lines where stderr is not a terminal
TICK_SECONDS = 1.0  # between lines on a terminal


@dataclass
class Log:
    """Events as JSON lines in run.log, and lines for the user unless quiet."""

    file: TextIO
    quiet: bool
    _started: float = field(default_factory=time.monotonic)

    def event(self, name: str, **facts: object) -> None:
        """Write one line to run.log."""
        seconds = round(time.monotonic() - self._started, 3)
        line = {"at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "seconds": seconds, "event": name, **facts}
        try:
            self.file.write(json.dumps(redacted_values(line), ensure_ascii=False, default=str) + "\n")
            self.file.flush()
        except OSError as error:
            raise disk_error(error, "run.log") from error

    def bug(self, error: TaskError) -> TaskError:
        """Write the traceback of a failed task to run.log, if there is one; return the error with that path."""
        if error.log_path or not (log_path := str(getattr(self.file, "name", ""))):
            return error
        self.event("bug", task=error.task, traceback=error.trace)
        return replace(error, log_path=log_path)

    def say(self, text: str) -> None:
        """Print one line for the user."""
        if not self.quiet:
            print(visible(redacted(text)), file=sys.stderr, flush=True)  # noqa: T201 - a line of progress


@contextmanager
def open_log(run: Path, quiet: bool) -> Iterator[Log]:
    """Open the run's log to append; the traceback of a task that fails unexpectedly in the block goes there."""
    with (run / "run.log").open("a", encoding="utf-8") as file:
        log = Log(file, quiet)
        try:
            yield log
        except TaskError as error:
            raise log.bug(error) from None


def unwritten_log(quiet: bool) -> Log:
    """A log for work without a run.log: its lines go only to the user."""
    return Log(io.StringIO(), quiet)


@dataclass
class TimeLeft:
    """The time left, which never grows: when work slows down, it stays the same for a while."""

    _least: float = math.inf

    def __call__(self, estimate: float) -> str:
        """The least estimate so far, as minutes and seconds."""
        self._least = min(self._least, estimate)
        return f"{_clock(self._least)} left"


@dataclass
class Countdown:
    """Counts steps of about equal length: how many are done, how long they took, and the time left."""

    steps: "Steps"
    total: int
    noun: str
    done: int = 0
    cached: int = 0  # of those done; they took no time
    _left: TimeLeft = field(default_factory=TimeLeft)
    _started: float = field(default_factory=time.monotonic)

    def __call__(self, step: str, cached: bool) -> None:
        """Begin a step; a cached one takes no time and is not shown."""
        if not cached:
            self.steps(f"{step}, {self.line()}")
        self.done += 1
        self.cached += cached

    def line(self) -> str:
        """Steps done, all steps, the time so far, and the time left once a step has been timed."""
        seconds, worked = time.monotonic() - self._started, self.done - self.cached
        left = f", {self._left(seconds / worked * (self.total - self.done))}" if worked else ""
        return f"{self.done:,} of {self.total:,} {self.noun} done in {_clock(seconds)}{left}"


@dataclass
class Meter:
    """Counts of a map in progress, shown as one line that a terminal rewrites.

    With a `folder`, to which workers report progress within tasks (`process/task_progress.py`), share and speed include
    unfinished tasks. `tasks` has the bytes of each task by name; `noun` is what they are called.
    """

    log: Log
    title: str
    total_bytes: int
    folder: Path | None = None
    tasks: Mapping[str, int] = field(default_factory=dict)
    noun: str = "unit"
    documents: int = 0
    bytes: int = 0
    passing: int | None = None
    _finished: int = 0
    _share: float = 0.0
    _left: TimeLeft = field(default_factory=TimeLeft)
    _started: float = field(default_factory=time.monotonic)
    _shown: float = -math.inf

    def add(self, documents: int, size: int, passing: int | None = None) -> None:
        """Count finished work."""
        self.documents += documents
        self.bytes += size
        self._finished += 1
        if passing is not None:
            self.passing = (self.passing or 0) + passing

    def line(self) -> str:
        """Title, share, tasks begun, documents/s, MB/s, time left, share that passes the rules."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        shares = read_progress(self.folder) if self.folder else {}
        begun = {task: share for task, share in shares.items() if task in self.tasks}
        read = self.bytes + sum(self.tasks[task] * share for task, share in begun.items())
        self._share = max(self._share, min(1.0, read / self.total_bytes) if self.total_bytes else 1.0)
        text = f"{self.title}  {self._share:4.0%}"
        if len(self.tasks) > 1:
            count = min(len(self.tasks), self._finished + len(begun))
            text += f"  {count:,} of {len(self.tasks):,} {self.noun}s begun"
        if self.documents:
            text += f"  {self.documents:,} documents  {self.documents / seconds:,.0f}/s"
        if self.documents or begun:
            text += f"  {read / 1e6 / seconds:,.1f} MB/s" if read else ""
        if self.bytes or self._share >= MIN_SHARE:
            text += f"  {self._left(seconds * (1 - self._share) / self._share if self._share else 0)}"
        if self.passing is not None and self.documents:
            text += f"  {self.passing / self.documents:.1%} pass the rules"
        return text + _note_suffix()

    def clear(self) -> None:
        """Remove the line, for work that prints its own result."""
        if not self.log.quiet and sys.stderr.isatty():
            rewrite("")

    def show(self, last: bool = False) -> None:
        """Rewrite the line on a terminal, a few times a second; elsewhere print one every ten seconds."""
        raise_lost_press()
        now, terminal = time.monotonic(), sys.stderr.isatty()
        since = now - (self._shown if terminal else max(self._shown, self._started))
        if self.log.quiet or (not last and since < (TICK_SECONDS / 5 if terminal else LINE_SECONDS)):
            return
        self._shown = now
        if terminal:
            rewrite(self.line(), last)
        else:
            self.log.say(self.line())


@dataclass
class Replies:
    """Counts of replies, or steps, of a language model, shown as one line that a terminal rewrites."""

    log: Log
    title: str
    total: int
    done: int = 0
    tokens: int = 0
    note: str = ""  # printed at the end of the line
    _left: TimeLeft = field(default_factory=TimeLeft)
    _earlier: int = field(init=False)  # of those done: by an earlier process, so not part of the speed
    _started: float = field(default_factory=time.monotonic)
    _shown: float = 0.0

    def __post_init__(self) -> None:
        self._earlier = self.done

    def add(self, tokens: int) -> None:
        """Count one reply, and show the line if it is due."""
        self.done += 1
        self.tokens += tokens
        self.show()

    def line(self) -> str:
        """Title, share, replies, replies/s, tokens/s, time left."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        text = f"{self.title}  {self.done / self.total:4.0%}  {self.done:,} of {self.total:,}"
        if done := self.done - self._earlier:
            text += f"  {done / seconds:,.1f}/s" if done >= seconds / 20 else f"  {seconds / done:,.0f} s each"
            text += f"  {self.tokens / seconds:,.0f} tokens/s" if self.tokens else ""
            text += f"  {self._left(seconds * (self.total - self.done) / done)}"
        return text + (f"  {self.note}" if self.note else "")

    def show(self) -> None:
        """Rewrite the line on a terminal, a few times a second; elsewhere print one every ten seconds."""
        raise_lost_press()
        now = time.monotonic()
        terminal = sys.stderr.isatty()
        if self.log.quiet or now - (self._shown or (0 if terminal else self._started)) < (
            TICK_SECONDS / 5 if terminal else LINE_SECONDS
        ):
            return
        self._shown = now
        if terminal:
            rewrite(self.line())
        else:
            self.log.say(self.line())

    def end(self) -> None:
        """Remove the line on a terminal."""
        if not self.log.quiet and sys.stderr.isatty():
            rewrite("")


_note = ""  # printed at the end of any line of progress
_lines = 0  # of progress in use, that show the note


def set_note(text: str) -> bool:
    """Show a text at the end of the current line of progress; return whether there is one."""
    global _note
    _note = text
    return _lines > 0


def _note_suffix() -> str:
    return f"  {_note}" if _note else ""


def clear() -> None:
    """Remove the line on a terminal."""
    if sys.stderr.isatty():
        rewrite("")


_on_line = 0  # characters on the line that is rewritten


def rewrite(line: str, last: bool = False) -> None:
    """Replace the previous line on a terminal; the last one stays."""
    global _on_line
    line = visible(redacted(line))
    if _on_line or line:
        sys.stderr.write("\r" + line.ljust(_on_line) + ("\n" if last else "\r" * (not line)))
        sys.stderr.flush()
    _on_line = 0 if last else len(line)


class Steps:
    """Shows steps of work without counts, such as queries: the step's name and its time so far, as one line.

    A terminal rewrites the line each second, elsewhere one is printed every ten seconds; run.log has each step.
    """

    def __init__(self, log: Log, title: str) -> None:
        self.log, self.title = log, title
        self._step = ""
        self._began = self._printed = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> "Steps":
        """Begin to show steps."""
        global _lines
        _lines += not self.log.quiet
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End the last step, and remove the line."""
        global _lines
        _lines -= not self.log.quiet
        try:
            self("")
        finally:
            self._ended.set()
            self._thread.join()
            rewrite("")

    def __call__(self, step: str) -> None:
        """Begin a step; with no name, nothing is shown, as the work prints its own line."""
        if step:
            raise_lost_press()
        now = time.monotonic()
        if self._step:
            self.log.event(self.title, step=self._step, took=round(now - self._began, 3))
        self._step, self._began = step, now

    def _tick(self) -> None:
        while not self._ended.wait(TICK_SECONDS):
            now = time.monotonic()
            if self.log.quiet or not self._step:
                continue
            line = f"{self.title}  {self._step}  {_clock(now - self._began)}{_note_suffix()}"
            if sys.stderr.isatty():
                rewrite(line)
            elif now - self._printed >= LINE_SECONDS:
                self._printed = now
                self.log.say(line)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"

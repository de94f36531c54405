"""`curate` as a user starts it, in a process of its own or in this one; and the one line of a refusal."""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import traceback
import warnings
from dataclasses import asdict, dataclass
from unittest import mock

import pandas  # noqa: F401 - before a command keeps pyarrow from it, whom other tests hand to it
import pytest

from curate.cli import main
from curate.engine.base import InProcess
from curate.pipeline.run import run
from curate.recipe.load import load_recipe


def program(*arguments, cwd=None, timeout=240, **environment):
    """Run `curate` in a process of its own, which takes 2 to 6 seconds of CPU: where the process is what is tested."""
    return subprocess.run(
        [sys.executable, "-m", "curate", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        env={**os.environ, **environment},
        check=False,
    )


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    args: list[str]
    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class HereProcesses(InProcess):
    """Tasks in this process, where a command would start workers."""

    workers: int = 1
    prepare: object = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def start(self, count):
        """Nothing to start."""


def command(*arguments, cwd=None, **environment):
    """Run `curate` in this process: the same words, streams and exit code; workers where words name them."""
    words = [str(one) for one in arguments]
    workers = any(word.partition("=")[0] in ("--workers", "--engine") for word in words)
    with contextlib.ExitStack() as stack:
        if not workers:
            stack.enter_context(mock.patch("curate.engine.processes.Processes", HereProcesses))
        stack.enter_context(mock.patch.dict(os.environ, {name: str(value) for name, value in environment.items()}))
        stack.enter_context(contextlib.chdir(cwd or "."))
        texts = stack.enter_context(streams())
        code = exit_code(words)
    return Done(words, code, *texts)


def exit_code(words):
    """How the command line ends, its traceback printed where it is a bug."""
    try:
        main.main(words, prog_name="python -m curate")
    except SystemExit as ended:
        return ended.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


@contextlib.contextmanager
def streams():
    """Standard output and error of a block, of what it starts too; yields a list that holds both texts afterwards."""
    texts, kept = [], [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, open(os.devnull) as nothing:
        outer = sys.stdin, sys.stdout, sys.stderr
        for stream in outer[1:]:
            stream.flush()
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        opened = [io.TextIOWrapper(io.FileIO(number, "w", closefd=False), "utf-8") for number in (1, 2)]
        sys.stdin, sys.stdout, sys.stderr = nothing, *opened
        try:
            with warnings.catch_warnings():
                as_python_starts()
                yield texts
        finally:
            for stream in opened:
                stream.flush()
            sys.stdin, sys.stdout, sys.stderr = outer
            for number, stream in zip((1, 2), kept, strict=True):
                os.dup2(stream, number)
                os.close(stream)
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode().replace("\r\n", "\n"))


def as_python_starts():
    """Warn as a fresh Python does, on stderr."""
    warnings.resetwarnings()
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)
    warnings.showwarning = lambda *told: sys.stderr.write(warnings.formatwarning(*told[:4]))


def carry_out(recipe, *changes):
    """Run a recipe in this process and return the summary, as `--json` has it."""
    return asdict(run(load_recipe(recipe, changes), InProcess(), threads=2, quiet=True))


def refused(recipe, error, *changes):
    """The message with which a run is refused; it is one line."""
    with pytest.raises(error) as caught:
        carry_out(recipe, *changes)
    return told_by(caught.value)


def told_by(error):
    """What an error tells, which is one line."""
    assert len(str(error).splitlines()) == 1, str(error)
    return str(error)

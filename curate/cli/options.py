"""What all commands share: errors, groups in the help, the argument RUN, engines, JSON."""

import atexit
import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from curate.errors import CurateError, Interrupted, TaskError, did_you_mean, disk_error, is_interrupt
from curate.process.interrupt import EXIT_CODE, Interrupt, interruptible
from curate.process.machine import available_cores
from curate.redaction import redacted

if TYPE_CHECKING:
    from curate.engine.base import Engine

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

# The commands by purpose, in the order in which a newcomer needs them.
GROUPS = {
    "Start": ("demo", "init", "schema", "plan", "run"),
    "Look": ("runs", "report", "who", "sample", "why", "sql", "signals", "rules"),
    "Decide": ("what-if", "compare", "domains"),
    "Prove": ("evaluate", "verify", "card"),
    "Ship": ("export", "gc"),
    "Models": ("lm", "adapter", "serve"),
}


class Commands(click.Group):
    """A group that prints errors a user can act on as one line; other errors keep their traceback."""

    interrupt = Interrupt()

    def main(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401 - as click declares it
        """Parse the command line and run a command; Ctrl-C ends it."""
        self.interrupt = Interrupt()
        if not args and not extra:  # called as a program
            atexit.register(self.interrupt.leave)
        with interruptible(self.interrupt):
            return super().main(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click declares it
        """Run a command."""
        try:
            return super().invoke(ctx)
        except CurateError as error:
            stopped = isinstance(error, Interrupted) or self.interrupt.pressed is not None
            self.interrupt.reported = stopped
            if isinstance(error, TaskError) and not error.log_path:
                error = _with_log(error)
            from curate.storage.mirror import by_uri

            click.echo(f"Error: {by_uri(str(error))}", err=True)
            ctx.exit(EXIT_CODE if stopped else 1)
        except MemoryError:
            click.echo(
                "Error: no memory is left; nothing finished is lost: try fewer --workers, or more memory", err=True
            )
            ctx.exit(1)
        except BrokenPipeError:  # the reader of our output has closed it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        except OSError as error:
            if error.errno not in DISK_ERRORS:
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # flushed again at exit
            click.echo(f"Error: {disk_error(error, str(error.filename or 'the output'))}", err=True)
            ctx.exit(1)
        except (KeyboardInterrupt, Exception) as error:
            if (
                not is_interrupt(error) and self.interrupt.pressed is None
            ):  # some libraries turn it into errors of their own
                raise
            self.interrupt.reported = True
            click.echo("stopped", err=True)
            ctx.exit(EXIT_CODE)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:  # noqa: ANN401
        """Find a command, or suggest a similar one."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            ctx.fail(f"no command {args[0]!r}{did_you_mean(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


class GroupedCommands(Commands):
    """The commands of `curate` itself, listed by purpose."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in groups, each with its first sentence."""
        for title, names in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name, _first_sentence(self.commands[name])) for name in names], col_max=12)


def _first_sentence(command: click.Command) -> str:
    """The first sentence of a command's help."""
    paragraph = " ".join((command.help or "").split("\n\n")[0].split())
    return paragraph.split(". ")[0].rstrip(".") + "."


class TokenCount(click.ParamType[int]):
    """A number of tokens as recipes have it, such as 700k or 20B."""

    name = "tokens"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401
        """The number; a usage error for anything else."""
        from curate.recipe.values import parse_tokens

        try:
            count = parse_tokens(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not isinstance(count, int) or count < 1:
            self.fail(f"{value!r} is no number of tokens; write one such as 700k, 20M or 10B", param, ctx)
        return count


class RunPath(click.ParamType[Path]):
    """A run directory by its path, or a run on an object store by its URI; then missing files are fetched."""

    name = "path"

    def __init__(self, *skipped: str) -> None:
        self.skipped = skipped  # folders that the command does not read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:  # noqa: ANN401
        """The run directory.

        Errors: RunError for a path that does not exist.
        """
        if "://" not in value:
            if not os.path.lexists(value):  # checked before heavy imports
                from curate.ledger.runs import not_a_run

                raise not_a_run(Path(value), "ledger")
            return Path(value)
        from curate.ledger.ledger import fetch_run

        return fetch_run(value, self.skipped)


def engine_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options for where tasks run, and how many at a time."""
    for option in (
        click.option("--address", metavar="auto|HOST:PORT", help="With --engine ray: a cluster that is there already."),
        click.option(
            "--engine",
            type=click.Choice(("local", "ray")),
            default="local",
            show_default=True,
            help="What runs tasks: processes of this machine, or Ray.",
        ),
        click.option("--workers", type=click.IntRange(1), help="Tasks at a time; default: one per core."),
    ):
        command = option(command)
    return command


@contextmanager
def chosen_engine(
    kind: str, address: str | None, workers: int | None, start: int = 0
) -> Iterator[tuple["Engine", int]]:
    """The engine that the options name, and how many threads this process may use; `start` workers start at once.

    Errors: CurateError for options that contradict, WorkerError where Ray is not available.
    """
    if kind == "ray":
        from curate.engine.ray_cluster import Nodes

        with Nodes(address, workers) as nodes:
            yield nodes, available_cores()
        return
    if address is not None:
        raise CurateError("--address: names a Ray cluster; add --engine ray, or leave it out")
    from curate.engine.processes import Processes
    from curate.pipeline.worker_start import load_worker

    cores = workers or available_cores()
    with Processes(cores, load_worker) as processes:
        processes.start(start)  # they import while this process does
        yield processes, cores


def print_json(value: object) -> None:
    """Print a value as JSON that is safe for terminals."""
    from curate.display import json_text

    click.echo(json_text(value))


def _with_log(error: TaskError) -> TaskError:
    """The error of a command without a log, with its traceback in a new file."""
    import tempfile

    with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="curate-", suffix=".log", delete=False) as file:
        file.write(redacted(error.trace))
    return replace(error, log_path=file.name)


def read_query(path: Path) -> str:
    """The query in a file.

    Errors: CurateError for a file that cannot be read.
    """
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise CurateError(f"sql: {path}: {(error.strerror or 'cannot be read').lower()}") from None
    except UnicodeDecodeError:
        raise CurateError(f"sql: {path}: not UTF-8 text") from None

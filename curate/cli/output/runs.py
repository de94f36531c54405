"""What `curate runs` prints."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from curate.display import visible
from curate.ledger.runs import RunFigures


def print_runs(runs: Sequence[RunFigures], folder: Path, console: Console) -> None:
    """Print a row for each run, and what to do where there is none or one was stopped."""
    if not runs:
        console.print(Text(visible(f"no run in {folder}; start one with `curate run`, or give another folder")))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("run", overflow="fold")
    table.add_column("state")
    for name in ("documents", "kept", "%", "tokens", "kept", "%", "% of bytes"):
        table.add_column(name, justify="right")
    table.add_column("when", no_wrap=True)
    for run in runs:
        documents = (_number(run.documents), _number(run.kept), _share(run.kept, run.documents))
        tokens = (_number(run.tokens), _number(run.tokens_kept), _share(run.tokens_kept, run.tokens))
        size = _share(run.bytes_kept, run.bytes)
        table.add_row(Text(visible(run.run)), run.state, *documents, *tokens, size, _when(run.finished))
    console.print(table)
    if any(run.state == "stopped" for run in runs):
        console.print("stopped: no manifest yet; the `curate run` that began it goes on where it was")


def _number(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def _share(part: int | None, whole: int | None) -> str:
    return f"{part / whole:.1%}" if part is not None and whole else ""


def _when(stamp: str | None) -> str:
    """A time stamp in readable form, in the time zone of this machine."""
    if stamp is None:
        return ""
    try:
        return datetime.fromisoformat(stamp).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return Text(visible(stamp)).plain

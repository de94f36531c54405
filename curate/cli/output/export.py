"""What `curate export` prints: what was written, and how it is read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from curate.display import console
from curate.manifests.export.format import Format


def print_exports(found: Sequence[Mapping[str, Any]], out: Path) -> None:
    """A row for each format and split, the epochs of a mixture, and for each format the line that reads it."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("folder", "split", "documents", "tokens", "files", "MB"):
        table.add_column(name, justify="left" if name in ("folder", "split") else "right", no_wrap=True)
    for told in found:
        size = sum(file["bytes"] for file in told["files"]) / 1e6
        of_all = (str(len(told["files"])), f"{size:,.1f}")
        rows = [(split, f"{n['documents']:,}", f"{n['tokens']:,}") for split, n in told["splits"].items()]
        for k, row in enumerate(rows or [("", "", "")]):
            table.add_row(*(("" if k else str(out / told["format"])), *row, *(("", "") if k else of_all)))
    console().print(table)
    sources = found[0]["sources"] if found else []
    if len(sources) > 1:
        console().print(_mixture(sources))
    for told in found:
        if told["load"]:
            console().print(f"{told['format']}: {told['load']}", highlight=False, soft_wrap=True)


def print_formats(formats: Sequence[Format]) -> None:
    """A row for each format: its name, what reads it, and what it can hold."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("format", "for", "holds"):
        table.add_column(name, no_wrap=True)
    for found in formats:
        table.add_row(found.name, found.title, found.holds)
    console().print(table)


def _mixture(sources: Sequence[Mapping[str, Any]]) -> Table:
    """What a training on the mixture sees of each source."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("source", "documents", "tokens", "weight", "epochs"):
        table.add_column(name, justify="left" if name == "source" else "right", no_wrap=True)
    for source in sources:
        table.add_row(
            source["name"], f"{source['documents']:,}", f"{source['tokens']:,}", f"{source['weight']:.1%}",
            f"{source['epochs']:.3g}",
        )  # fmt: skip
    return table

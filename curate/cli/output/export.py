"""What `curate export` prints: what was written, and how it is read."""

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from curate.display import console
from curate.manifests.export.format import Format
from curate.manifests.export.records import ExportRecord, SourceRecord


def print_exports(exports: Sequence[ExportRecord], out: Path) -> None:
    """Print a row for each format and split, the epochs of a mixture, and the line that reads each format."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("folder", "split", "documents", "tokens", "files", "MB"):
        table.add_column(name, justify="left" if name in ("folder", "split") else "right", no_wrap=True)
    for record in exports:
        size = sum(file.bytes for file in record.files) / 1e6
        totals = (str(len(record.files)), f"{size:,.1f}")
        rows = [(split, f"{n.documents:,}", f"{n.tokens:,}") for split, n in record.splits.items()]
        for k, row in enumerate(rows or [("", "", "")]):
            table.add_row("" if k else str(out / record.format), *row, *(("", "") if k else totals))
    console().print(table)
    sources = exports[0].sources if exports else ()
    if len(sources) > 1:
        console().print(_mixture(sources))
    for record in exports:
        if record.load:
            console().print(f"{record.format}: {record.load}", highlight=False, soft_wrap=True)


def print_formats(formats: Sequence[Format]) -> None:
    """Print a row for each format: its name, what reads it, and what it can store."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("format", "for", "holds"):
        table.add_column(name, no_wrap=True)
    for format_ in formats:
        table.add_row(format_.name, format_.title, format_.holds)
    console().print(table)


def _mixture(sources: Sequence[SourceRecord]) -> Table:
    """What a training on the mixture reads of each source."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("source", "documents", "tokens", "weight", "epochs"):
        table.add_column(name, justify="left" if name == "source" else "right", no_wrap=True)
    for source in sources:
        counts = (f"{source.documents:,}", f"{source.tokens:,}")
        table.add_row(source.name, *counts, f"{source.weight:.1%}", f"{source.epochs:.3g}")
    return table

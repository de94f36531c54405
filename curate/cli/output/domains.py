"""What `curate domains` prints, and what the report shows of domains."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table

from curate.display import console, counted
from curate.inspect.domains import Row


def print_domains(found: Mapping[str, Sequence[Row]]) -> None:
    """The tables, and in words what is wanting still."""
    console().print(_domains(found["domains"]))
    if found["written"]:
        console().print(_written(found["written"]))
        asked = sum(row["candidates"] for row in found["gates"])
        told = ", ".join(f"{row['reason']} {row['candidates']:,}" for row in found["gates"])
        console().print(f"of {counted(asked, 'candidate')}: {told}", highlight=False, soft_wrap=True)
    for row in found["domains"]:
        if row["wanting_still"]:
            line = f"{row['domain']}: {row['wanting_still']:,} tokens are wanting still"
            console().print(line, highlight=False, soft_wrap=True)


def _domains(rows: Sequence[Row]) -> Table:
    names = ("seeds", "documents", "tokens", "share", "mean importance", "distance", "target", "wanting", "written")
    table = _table("domain", *names)
    for row in rows:
        table.add_row(
            row["domain"], f"{row['seeds']:,}", f"{row['documents']:,}", f"{row['tokens']:,}",
            f"{row['share']:.2%}", f"{row['mean_importance']:.2f}", f"{row['distance']:.2f}",
            f"{row['target_tokens']:,}", f"{row['wanting']:,}", f"{row['written']:,}",
        )  # fmt: skip
    return table


def _written(rows: Sequence[Row]) -> Table:
    table = _table("domain", "form", "candidates", "accepted", "tokens")
    for row in rows:
        counts = (f"{row[name]:,}" for name in ("candidates", "accepted", "tokens"))
        table.add_row(row["domain"], row["form"], *counts)
    return table


def _table(first: str, *names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first)
    for name in names:
        table.add_column(name, justify="left" if name == "form" else "right", no_wrap=True)
    return table

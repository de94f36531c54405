"""What `curate domains` prints."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from curate.display import console, counted
from curate.inspect.domains import Domain, DomainReport, WrittenForm


def print_domains(report: DomainReport) -> None:
    """Print the tables, and a sentence for each domain that still has a deficit."""
    console().print(_domain_table(report.domains))
    if report.written:
        console().print(_written_table(report.written))
        candidates = sum(gate.candidates for gate in report.gates)
        counts = ", ".join(f"{gate.reason} {gate.candidates:,}" for gate in report.gates)
        console().print(f"of {counted(candidates, 'candidate')}: {counts}", highlight=False, soft_wrap=True)
    for domain in report.domains:
        if domain.wanting_still:
            line = f"{domain.domain}: {domain.wanting_still:,} tokens are wanting still"
            console().print(line, highlight=False, soft_wrap=True)


def _domain_table(domains: Sequence[Domain]) -> Table:
    names = ("seeds", "documents", "tokens", "share", "mean importance", "distance", "target", "wanting", "written")
    table = _table("domain", *names)
    for row in domains:
        counts = [f"{count:,}" for count in (row.seeds, row.documents, row.tokens)]
        ratios = [f"{row.share:.2%}", f"{row.mean_importance:.2f}", f"{row.distance:.2f}"]
        tokens = [f"{count:,}" for count in (row.target_tokens, row.wanting, row.written)]
        table.add_row(row.domain, *counts, *ratios, *tokens)
    return table


def _written_table(forms: Sequence[WrittenForm]) -> Table:
    table = _table("domain", "form", "candidates", "accepted", "tokens")
    for row in forms:
        table.add_row(row.domain, row.form, f"{row.candidates:,}", f"{row.accepted:,}", f"{row.tokens:,}")
    return table


def _table(first: str, *names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first)
    for name in names:
        table.add_column(name, justify="left" if name == "form" else "right", no_wrap=True)
    return table

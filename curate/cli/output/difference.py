"""What `what-if` and `compare` print."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from rich import box
from rich.table import Table

from curate.cli.output.run import cell, say
from curate.display import console, counted, place
from curate.errors import shortened

UNITS = ("documents", "tokens")
COUNTED = ("documents_before", "documents_after", "documents_gained", "tokens_gained", "documents_lost", "tokens_lost")


def print_difference(found: Mapping[str, Any]) -> None:
    """Two verdicts on the same documents: the recipes' fields, reasons, strata, examples, and what it comes to."""
    for name, values in found["changed"].items():
        say(f"{name}: {_yaml(values['before'])} → {_yaml(values['after'])}")
    if not found["changed"]:
        say("the recipes are the same")
    totals = found["totals"]
    if rows := [row for row in found["reasons"] if _moves(row)]:
        console().print(_reasons_moved(rows, totals))
    for name, rows in found["strata"].items():
        if moved := [row for row in rows if row["gained"] or row["lost"]]:
            console().print(_strata_moved(name, moved))
    for kind, title in (("gained", "gained, for example"), ("lost", "lost, for example")):
        if rows := found["examples"][kind]:
            console().print(_examples(rows, title, "before" if kind == "gained" else "after"))
    for line in _closing(found):
        say(line)


def _moves(row: Mapping[str, Any]) -> bool:
    same = row["documents_before"] == row["documents_after"] and row["tokens_before"] == row["tokens_after"]
    return not same or row["documents_gained"] > 0 or row["documents_lost"] > 0


def _reasons_moved(rows: Sequence[Mapping[str, Any]], totals: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("stage", "reason"):
        table.add_column(name, no_wrap=True)
    for name in ("before", "after", "gained", "tokens", "lost", "tokens"):
        table.add_column(name, justify="right")
    for row in rows:
        numbers = (row[name] for name in COUNTED)
        table.add_row(row["stage"], row["reason"], *(f"{number:,}" if number else "" for number in numbers))
    kept = ("kept_before_documents", "kept_after_documents", "gained_documents", "gained_tokens", "lost_documents",
            "lost_tokens")  # fmt: skip
    table.add_row("kept", "", *(f"{totals[name]:,}" for name in kept), style="bold")
    return table


def _strata_moved(name: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(cell(name), overflow="fold")
    for column in ("documents", "kept before", "after", "tokens before", "after", "gained", "lost"):
        table.add_column(column, justify="right")
    for row in rows:
        value = "(others)" if row["others"] else "(none)" if row["value"] is None else shortened(row["value"])
        names = ("documents", "documents_before", "documents_after", "tokens_before", "tokens_after", "gained", "lost")
        table.add_row(cell(value), *(f"{row[column]:,}" for column in names))
    return table


def _examples(rows: Sequence[Mapping[str, Any]], title: str, when: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in (title, "file:row", "tokens", f"reason {when}"):
        table.add_column(column, justify="right" if column == "tokens" else "left", overflow="fold")
    other = "after" if when == "before" else "before"
    for row in rows:
        reason = row[f"reason_{when}"] or "in the other run alone"
        of = f" of {row['duplicate_of']}" if when == "after" and row["duplicate_of"] else ""
        of += f"  {row['evidence']}" if row.get("evidence") else ""
        tokens = row[f"tokens_{other}"]
        where = place(row["file"], row["row"])
        table.add_row(cell(row["doc_id"]), cell(where), f"{tokens:,}", cell(reason + of))
    return table


def _closing(found: Mapping[str, Any]) -> Iterator[str]:
    totals = found["totals"]
    if "in_both" in found:
        a, b = found["runs"]
        yield f"before: {a}; after: {b}; {counted(found['in_both'], 'document')} in both"
    elif found["texts"]["read"]:
        count = counted(found["texts"]["read"], "document")
        yield f"read the texts of {count} whose verdicts the ledger left in doubt"
    if "texts" in found and found["texts"]["estimated"]:
        count = counted(found["texts"]["estimated"], "document")
        yield f"{count} in doubt, judged by estimates: {found['texts']['why']}; a run may decide otherwise"
    yield from found.get("notes", ())
    if written := found.get("written"):
        told = ", ".join(f"{written['before'][unit]:,} → {written['after'][unit]:,} {unit}" for unit in UNITS)
        yield f"written by a model, beside what is kept: {told}"
    cut = [totals[f"cut_tokens_{when}"] for when in ("before", "after")]
    if cut[0] != cut[1]:
        yield f"repeated lines cut out of what is kept: {cut[0]:,} → {cut[1]:,} tokens"
    if not totals["changed_documents"]:
        yield f"every verdict is the same: {counted(totals['kept_after_documents'], 'document')} kept"
        return
    kept = (
        f"{totals[f'kept_before_{what}']:,} → {totals[f'kept_after_{what}']:,} {what}"
        f" ({_change(totals[f'kept_before_{what}'], totals[f'kept_after_{what}'])})"
        for what in UNITS
    )
    yield f"kept: {', '.join(kept)}"


def _change(before: int, after: int) -> str:
    return f"{after / before - 1:+.1%}" if before else "none before"


def _yaml(value: object) -> str:
    if isinstance(value, str):
        return value
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, allow_unicode=True)
    return text.removesuffix("\n...\n").strip()

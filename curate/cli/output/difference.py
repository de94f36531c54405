"""What `what-if` and `compare` print."""

from collections.abc import Iterator, Sequence

import yaml
from rich import box
from rich.table import Table

from curate.cli.output.run import cell, say
from curate.display import console, counted, place
from curate.errors import shortened
from curate.inspect.compare import (
    Comparison,
    Example,
    Examples,
    ReasonChange,
    StratumChange,
    Totals,
    WhatIf,
    WrittenChange,
)
from curate.who.changes import GroupChange

MOST_MOVED = 20  # groups that are shown


def print_difference(result: WhatIf | Comparison) -> None:
    """Print the changed fields, tables of reasons, strata and examples, and closing sentences."""
    for name, change in result.changed.items():
        say(f"{name}: {_yaml(change.before)} → {_yaml(change.after)}")
    if not result.changed:
        say("the recipes are the same")
    difference = result.difference
    if changes := [change for change in difference.reasons if _differs(change)]:
        console().print(_reason_table(changes, difference.totals))
    for name, strata in difference.strata.items():
        if moved := [stratum for stratum in strata if stratum.gained or stratum.lost]:
            console().print(_stratum_table(name, moved))
    if difference.who:
        console().print(_who_table(difference.who))
    _print_examples(difference.examples)
    for line in (*_sources(result), *_closing(result)):
        say(line)


def _print_examples(examples: Examples) -> None:
    if gained := examples.gained:
        table = _example_table("gained, for example", "reason before")
        for example in gained:
            _add_example(table, example, example.reason_before, example.tokens_after)
        console().print(table)
    if lost := examples.lost:
        table = _example_table("lost, for example", "reason after")
        for example in lost:
            _add_example(table, example, example.reason_after, example.tokens_before, example.duplicate_of)
        console().print(table)


def _differs(change: ReasonChange) -> bool:
    documents = change.documents_before, change.documents_gained, change.documents_lost
    tokens = change.tokens_before
    return documents != (change.documents_after, 0, 0) or tokens != change.tokens_after


def _reason_table(changes: Sequence[ReasonChange], totals: Totals) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("stage", "reason"):
        table.add_column(name, no_wrap=True)
    for name in ("before", "after", "gained", "tokens", "lost", "tokens"):
        table.add_column(name, justify="right")
    for change in changes:
        counts = [change.documents_before, change.documents_after, change.documents_gained, change.tokens_gained]
        counts += [change.documents_lost, change.tokens_lost]
        table.add_row(change.stage, change.reason, *(f"{count:,}" if count else "" for count in counts))
    kept = [totals.kept_before_documents, totals.kept_after_documents, totals.gained_documents, totals.gained_tokens]
    kept += [totals.lost_documents, totals.lost_tokens]
    table.add_row("kept", "", *(f"{count:,}" for count in kept), style="bold")
    return table


def _stratum_table(name: str, strata: Sequence[StratumChange]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(cell(name), overflow="fold")
    for column in ("documents", "kept before", "after", "tokens before", "after", "gained", "lost"):
        table.add_column(column, justify="right")
    for row in strata:
        value = "(others)" if row.others else "(none)" if row.value is None else shortened(row.value)
        kept = [row.documents_before, row.documents_after, row.tokens_before, row.tokens_after]
        counts = [row.documents, *kept, row.gained, row.lost]
        table.add_row(cell(value), *(f"{count:,}" for count in counts))
    return table


def _who_table(changes: Sequence[GroupChange]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("who moves otherwise than the rest", overflow="fold")
    for column in ("documents", "dropped before", "after", "of the rest before", "after", "difference of changes"):
        table.add_column(column, justify="right")
    for row in changes[:MOST_MOVED]:
        value = "(none)" if row.value is None else shortened(row.value)
        shares = (row.share_before, row.share_after, row.rest_before, row.rest_after)
        span = f"{100 * row.difference:+.1f} ({100 * row.low:+.1f} to {100 * row.high:+.1f})"
        name = cell(f"{row.dimension} {value}")
        table.add_row(name, f"{row.documents:,}", *(f"{part:.1%}" for part in shares), span)
    return table


def _example_table(title: str, reason: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in (title, "file:row", "tokens", reason):
        table.add_column(column, justify="right" if column == "tokens" else "left", overflow="fold")
    return table


def _add_example(
    table: Table, example: Example, reason: str | None, tokens: int | None, duplicate_of: str | None = None
) -> None:
    about = reason or "in the other run alone"
    about += f" of {duplicate_of}" if duplicate_of else ""
    about += f"  {example.evidence}" if example.evidence else ""
    table.add_row(cell(example.doc_id), cell(place(example.file, example.row)), f"{tokens:,}", cell(about))


def _sources(result: WhatIf | Comparison) -> Iterator[str]:
    """What was compared, and how far its texts were read."""
    if isinstance(result, Comparison):
        a, b = result.runs
        yield f"before: {a}; after: {b}; {counted(result.in_both, 'document')} in both"
        if result.written is not None:
            yield _written(result.written)
        return
    if result.texts.read:
        count = counted(result.texts.read, "document")
        yield f"read the texts of {count} whose verdicts the ledger left in doubt"
    if result.texts.estimated:
        count = counted(result.texts.estimated, "document")
        yield f"{count} in doubt, judged by estimates: {result.texts.why}; a run may decide otherwise"
    yield from result.notes


def _written(written: WrittenChange) -> str:
    before, after = written.before, written.after
    documents = f"{before.documents:,} → {after.documents:,} documents"
    return f"written by a model, beside what is kept: {documents}, {before.tokens:,} → {after.tokens:,} tokens"


def _closing(result: WhatIf | Comparison) -> Iterator[str]:
    totals = result.difference.totals
    if totals.cut_tokens_before != totals.cut_tokens_after:
        cut = f"{totals.cut_tokens_before:,} → {totals.cut_tokens_after:,} tokens"
        yield f"repeated lines cut out of what is kept: {cut}"
    read, kept = (totals.read_tokens_before, totals.read_tokens_after), totals.kept_after_tokens
    if read != (totals.kept_before_tokens, kept):
        yield f"read by weights: {_moved(*read, 'tokens')}"
    if not totals.changed_documents:
        yield f"every verdict is the same: {counted(totals.kept_after_documents, 'document')} kept"
        return
    documents = _moved(totals.kept_before_documents, totals.kept_after_documents, "documents")
    tokens = _moved(totals.kept_before_tokens, totals.kept_after_tokens, "tokens")
    size = _moved(totals.kept_before_bytes, totals.kept_after_bytes, "bytes of text")
    yield f"kept: {documents}, {tokens}, {size}"


def _moved(before: int, after: int, unit: str) -> str:
    change = f"{after / before - 1:+.1%}" if before else "none before"
    return f"{before:,} → {after:,} {unit} ({change})"


def _yaml(value: object) -> str:
    if isinstance(value, str):
        return value
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, allow_unicode=True)
    return text.removesuffix("\n...\n").strip()

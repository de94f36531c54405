"""What `who` prints."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.table import Table

from curate.cli.output.run import cell, say
from curate.display import console, counted, share
from curate.errors import shortened
from curate.inspect.who import RunWho
from curate.who.rates import ALL, LEAST_DIFFERENCE, LEVEL, DimensionRates, Mark, Rate, Who
from curate.who.statistics import Interval

MARKS: dict[Mark | None, str] = {"more": "▲", "less": "▼", None: ""}


def print_who(of_run: RunWho, stage: str) -> None:
    """Print a table for each dimension, and how to read them."""
    result = of_run.result
    say(
        f"{of_run.run}: {share(result.dropped, result.documents)} of {counted(result.documents, 'document')} and "
        f"{share(result.tokens_dropped, result.tokens)} of their tokens are dropped"
    )
    for rates in result.dimensions:
        rows = [rate for rate in rates.rates if rate.stage == stage]
        if rows:
            console().print(_table(rates, rows, stage))
    for line in _closing(of_run, stage):
        say(line)


def _table(rates: DimensionRates, rows: Sequence[Rate], stage: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(cell(rates.name if stage == ALL else f"{rates.name}, at {stage}"), overflow="fold")
    for name in ("documents", "dropped", "95% interval", "of tokens", "rest", "difference"):
        table.add_column(name, justify="right")
    table.add_column(f"within {' × '.join(rates.within)}" if rates.within else "within", justify="right")
    table.add_column("most of it by" if stage == ALL else "")
    for rate in rows:
        table.add_row(*_cells(rate))
    if rates.other is not None and stage == ALL:
        other = rates.other
        name = f"({counted(other.groups, 'other group')})"
        table.add_row(name, f"{other.documents:,}", f"{other.share:.1%}", _span(other.low, other.high), style="dim")
    return table


def _cells(rate: Rate) -> Iterator[str]:
    yield cell("(none)" if rate.value is None else shortened(rate.value)).plain
    yield f"{rate.documents:,}"
    yield f"{rate.share:.1%}"
    yield _span(rate.low, rate.high)
    yield share(rate.tokens_dropped, rate.tokens)
    yield "" if rate.rest_share is None else f"{rate.rest_share:.1%}"
    yield _difference(rate.difference, rate.mark)
    yield _difference(rate.within, rate.within_mark)
    yield rate.reason or ""


def _span(low: float, high: float) -> str:
    return f"{low:.1%} – {high:.1%}"


def _difference(interval: Interval | None, mark: Mark | None) -> str:
    if interval is None:
        return ""
    ends = f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f}"
    return f"{MARKS[mark]} {100 * interval.value:+.1f} ({ends})".strip()


def _closing(of_run: RunWho, stage: str) -> Iterator[str]:
    result = of_run.result
    if of_run.unread:
        yield f"the input's own columns are left out: {of_run.unread}"
    if not any(rate.stage == stage for rates in result.dimensions for rate in rates.rates):
        yield f"no group of {result.least} documents or more{'' if stage == ALL else f' reaches {stage}, which'} …"
        return
    yield (
        f"▲ dropped more, ▼ less than the rest: by {100 * LEAST_DIFFERENCE:g} point or more, with p < {LEVEL:g} after "
        f"Holm's correction for {counted(result.comparisons, 'comparison')}"
    )
    yield "difference: points of percent, with 95% intervals; within: the same between documents of one stratum"
    yield from _reversed(result, stage)


def _reversed(result: Who, stage: str) -> Iterator[str]:
    """Groups whose difference turns round within strata."""
    for rates in result.dimensions:
        for rate in rates.rates:
            marks = {rate.mark, rate.within_mark}
            if rate.stage == stage and marks == {"more", "less"}:
                name = "(none)" if rate.value is None else shortened(rate.value)
                yield f"{rates.name} {name}: dropped {rate.mark} overall, {rate.within_mark} within strata"

"""What `plan`, `gc`, `lm train` and `adapter train` print, and helpers for lines and cells."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from curate.display import console, counted, visible
from curate.recipe.values import Unit, format_budget

if TYPE_CHECKING:
    from curate.corpus.folders import PassedOver
    from curate.distill.lora.files import AdapterFacts
    from curate.epochs import TrainingEpochs
    from curate.filters.language.train import Training, TrainingResult
    from curate.pipeline.forecast.result import Forecast, Share
    from curate.pipeline.gc import Garbage

NAMES_SHOWN = 5  # of files that are passed over for one reason


def print_plan(plan: "Forecast") -> None:
    """Print the forecast: the input, the work and its causes, what rules would drop, and the costs."""
    read, sample = plan.input, plan.sample
    say(
        f"input: {counted(read.documents, 'document')} in {counted(read.files, 'file')} "
        f"({size(read.file_bytes)}), {counted(read.units, 'unit')}; "
        f"about {size(read.text_bytes)} of text, {rounded(read.tokens)} tokens"
    )
    for path in read.quarantined:
        say(f"quarantined: {path}")
    for path, count in read.bad_lines.items():
        say(f"quarantined: {counted(count, 'line')} of {path}, as far as it was read")
    for line in _passed_over(read.passed_over):
        say(line)
    if any(step.reused or step.why for step in plan.steps):
        console().print(_steps(plan))
    else:
        say("The ledger holds nothing yet: everything is measured.")
    say(f"of a sample of {counted(sample.documents, 'document')} ({size(sample.text_bytes)} of text):")
    console().print(_dropped(plan))
    if plan.other_language:
        say(f"{plan.other_language.message()} (about)")
    for warning in plan.warnings:
        say(f"warning: {warning}")
    for line in _limits(plan):
        say(line)
    if plan.training is not None:
        _print_training(plan, plan.training)
    console().print(_costs(plan))
    say(f"{plan.run}: nothing was written; start with `curate run`")


def _print_training(plan: "Forecast", training: "TrainingEpochs") -> None:
    """Print how often a training would read the output."""
    from curate.cli.output.training import training_table
    from curate.epochs import caveat, summary, warning

    console().print(training_table(training))
    say(f"{summary(training)} Duplicates are not counted: what they take makes more epochs.")
    if plan.weighted:
        say("Quotas and curves give documents weights, which no forecast knows: some will be read more often.")
    if message := warning(training):
        say(f"warning: {message}")
    say(caveat(plan.tokenizer))


def _limits(plan: "Forecast") -> Iterator[str]:
    """What the forecast leaves out, the budget, and how near duplicates are found."""
    yield "Duplicates, bands and repeated lines are not estimated: they come after the rules, so less may be kept."
    if plan.tier2:
        yield "Nor is what the second tier drops; what it costs, with the models it trains, is in the forecast below."
    if plan.tier3:
        yield "Nor is the third tier: what a model writes for thin domains, and what that costs, is not part of it."
    budgets: dict[Unit, float | None] = {"tokens": plan.keep_tokens, "bytes": plan.keep_bytes}
    for unit, budget in budgets.items():
        if budget is not None:
            of_input = f" of the input's {unit}" if budget <= 1 else ""
            yield f"Of what is left, distill keeps {format_budget(budget, unit)}{of_input}."
    if plan.scores:
        yield plan.scores
    if plan.bands:
        yield f"near duplicates: {plan.bands}"


def _steps(plan: "Forecast") -> Table:
    table = _table("step", ("in the ledger", "to do"), "why")
    for step in plan.steps:
        is_whole = step.name in ("decisions", "output")
        reused, executed = ("yes", "yes") if is_whole else (counted(step.reused, "unit"), counted(step.made, "unit"))
        table.add_row(step.name, reused if step.reused else "", executed if step.made else "", "; ".join(step.why))
    return table


def _dropped(plan: "Forecast") -> Table:
    table = _table("stage", (), "reason")
    for name in ("in sample", "%", "documents, about", "% of tokens"):
        table.add_column(name, justify="right")
    for row in plan.dropped:
        table.add_row(row.stage, row.reason, *_share_cells(row.share))
    table.add_row("passes", "no rule drops it", *_share_cells(plan.passing), style="bold")
    return table


def _share_cells(share: "Share") -> tuple[str, str, str, str]:
    return f"{share.in_sample:,}", f"{share.share:.1%}", rounded(share.documents), f"{share.token_share:.1%}"


def _costs(plan: "Forecast") -> Table:
    """Time, memory and disk, with what each is made of."""
    table = _table("cost", ("about",), "of which")
    seconds, memory, disk, workers = asdict(plan.cpu_seconds), plan.memory_bytes, plan.disk_bytes, plan.workers
    clock = plan.minutes * 60
    time = f"{clock:,.0f} s" if clock < 120 else f"{plan.minutes:,.0f} min"
    table.add_row("time", time, f"with {counted(workers, 'worker')} on this machine")
    steps = ", ".join(f"{name} {value:,.1f}" for name, value in seconds.items() if value)
    table.add_row("CPU", f"{sum(seconds.values()):,.0f} s", steps)
    processes = f"main process {size(memory.main)} at most, each worker {size(memory.worker)}"
    table.add_row("memory", size(memory.main + workers * memory.worker), processes)
    files = f"output {size(disk.output)} at most, ledger {size(disk.ledger)}, index {size(disk.index)}"
    table.add_row("disk", size(disk.output + disk.ledger + disk.index), files)
    return table


def print_garbage(garbage: "Garbage") -> None:
    """Print what was removed from a run directory, or would be, and what remains by kind."""
    usage = _table("kind", (), "holds")
    for name in ("files", "bytes"):
        usage.add_column(name, justify="right")
    for kind in garbage.takes:
        usage.add_row(kind.kind, kind.holds, f"{kind.files:,}", f"{kind.bytes:,}")
    files, total = sum(kind.files for kind in garbage.takes), sum(kind.bytes for kind in garbage.takes)
    usage.add_row("all", "", f"{files:,}", f"{total:,}", style="bold")
    console().print(usage)
    if garbage.kinds:
        table = _table("folder", (), "why")
        for name in ("files", "bytes"):
            table.add_column(name, justify="right")
        for removed in garbage.kinds:
            table.add_row(removed.folder, removed.why, f"{removed.files:,}", f"{removed.bytes:,}")
        console().print(table)
    verb = "removed" if garbage.removed else "would remove"
    amount = f"{verb} {counted(garbage.files, 'file')}, {size(garbage.bytes)}"
    say(f"{garbage.run}: {amount if garbage.files else 'nothing to remove'}")


def print_trained(training: "Training", trained: "TrainingResult") -> None:
    """Print n-grams and discounts of a new language model, by order."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("order", "n-grams", "of which kept", "D1", "D2", "D3+"):
        table.add_column(name, justify="right")
    for level in trained.levels:
        discounts = (f"{amount:.4f}" for amount in level.discounts)
        table.add_row(str(level.order), f"{level.seen:,}", f"{level.kept:,}", *discounts)
    console().print(table)
    read = f"{counted(trained.lines, 'line')}, {counted(trained.tokens, 'token')}"
    say(f"{training.output}: {read}, {size(training.output.stat().st_size)}")


def print_adapter(domain: str, folder: Path, facts: "AdapterFacts") -> None:
    """Print a trained adapter: steps, tokens, bits per byte of held-out texts before and after, its folder."""
    table = _table("domain", ("steps", "best", "tokens", "bits/byte before", "after"), "change")
    before, after = facts.bits_per_byte_before, facts.bits_per_byte_after
    shown = [f"{facts.steps:,}", f"{facts.best_step:,}", f"{facts.tokens:,}", f"{before:.4f}", f"{after:.4f}"]
    table.add_row(domain, *shown, f"{after / before - 1:+.1%}" if before else "")
    console().print(table)
    if not facts.best_step:
        say("no check was better than the model itself, so this adapter changes nothing: try other texts or settings")
    say(f"{folder}: the adapter")


def _passed_over(entries: Sequence["PassedOver"]) -> Iterator[str]:
    """A line for each reason why files beside the input are not read, with the first of their names."""
    for reason in dict.fromkeys(entry.reason for entry in entries):
        paths = [entry.path for entry in entries if entry.reason == reason]
        more = f" and {len(paths) - NAMES_SHOWN:,} more" if len(paths) > NAMES_SHOWN else ""
        yield f"passed over: {', '.join(paths[:NAMES_SHOWN])}{more} ({reason})"


def size(count: int) -> str:
    """Bytes with a decimal unit."""
    number = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 999.5:
            return f"{number:.0f} {unit}" if unit in ("B", "kB") or number >= 99.5 else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"


def rounded(count: int) -> str:
    """An estimated count, rounded to three digits."""
    digits = max(0, len(str(count)) - 3)
    return f"{round(count, -digits):,}"


def _table(first: str, numbers: tuple[str, ...], last: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first)
    for name in numbers:
        table.add_column(name, justify="right")
    table.add_column(last)
    return table


def cell(value: str) -> Text:
    """A cell with a value of the data, without markup."""
    return Text(visible(value))


def say(line: str) -> None:
    """Print a line of text without markup."""
    console().print(Text(visible(line)), soft_wrap=True)

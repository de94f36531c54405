"""What `plan`, `gc`, `lm train`, `adapter train`, `what-if` and `compare` print."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from curate.display import console, counted, visible
from curate.pipeline.checks.other_languages import told_of_other
from curate.recipe.values import shown_budget

if TYPE_CHECKING:
    from curate.distill.lora.files import AdapterFacts
    from curate.filters.language.train import Trained, Training


NAMES_SHOWN = 5  # of files that are passed over for one reason


def print_plan(plan: Mapping[str, Any]) -> None:
    """The forecast: the input, the work and why it is done, what rules would drop, and the costs."""
    given, sample = plan["input"], plan["sample"]
    say(
        f"input: {counted(given['documents'], 'document')} in {counted(given['files'], 'file')} "
        f"({size(given['file_bytes'])}), {counted(given['units'], 'unit')}; "
        f"about {size(given['text_bytes'])} of text, {rounded(given['tokens'])} tokens"
    )
    for path in given["quarantined"]:
        say(f"quarantined: {path}")
    for path, count in given["bad_lines"].items():
        say(f"quarantined: {counted(count, 'line')} of {path}, as far as it was read")
    for line in _passed_over(given["passed_over"]):
        say(line)
    if any(step["reused"] or step["why"] for step in plan["steps"]):
        console().print(_steps(plan))
    else:
        say("The ledger holds nothing yet: everything is measured.")
    say(f"of a sample of {counted(sample['documents'], 'document')} ({size(sample['text_bytes'])} of text):")
    console().print(_dropped(plan))
    if other := plan["other_language"]:
        say(f"{told_of_other(other)} (about)")
    for warning in plan["warnings"]:
        say(f"warning: {warning}")
    say("Duplicates, bands and repeated lines are not estimated: they come after the rules, so less may be kept.")
    if plan["tier2"]:
        say("Nor is what the second tier drops; what it costs, with the models it trains, is in the forecast below.")
    if plan["tier3"]:
        say("Nor is the third tier: what a model writes for thin domains, and what that costs, is not part of it.")
    if plan["keep_tokens"]:
        budget = shown_budget(plan["keep_tokens"])
        of_input = " of the input's tokens" if plan["keep_tokens"] <= 1 else ""
        say(f"Of what is left, distill keeps {budget}{of_input}.")
    if plan["bands"]:
        say(f"near duplicates: {plan['bands']}")
    console().print(_costs(plan))
    say(f"{plan['run']}: nothing was written; start with `curate run`")


def _steps(plan: Mapping[str, Any]) -> Table:
    table = _table("step", ("in the ledger", "to do"), "why")
    for step in plan["steps"]:
        held, todo = (
            ("yes", "yes")
            if step["name"] in ("decisions", "output")
            else (counted(step["reused"], "unit"), counted(step["made"], "unit"))
        )
        why = "; ".join(step["why"])
        table.add_row(step["name"], held if step["reused"] else "", todo if step["made"] else "", why)
    return table


def _dropped(plan: Mapping[str, Any]) -> Table:
    table = _table("stage", (), "reason")
    for name in ("in sample", "%", "documents, about", "% of tokens"):
        table.add_column(name, justify="right")
    passing = {"stage": "passes", "reason": "no rule drops it"} | plan["passing"]
    for row in (*plan["dropped"], passing):
        numbers = (
            f"{row['in_sample']:,}",
            f"{row['share']:.1%}",
            rounded(row["documents"]),
            f"{row['token_share']:.1%}",
        )
        table.add_row(row["stage"], row["reason"], *numbers, style="bold" if row is passing else "")
    return table


def _costs(plan: Mapping[str, Any]) -> Table:
    """Time, memory and disk, with what each is made of."""
    table = _table("cost", ("about",), "of which")
    seconds, memory, disk = plan["cpu_seconds"], plan["memory_bytes"], plan["disk_bytes"]
    parts = ", ".join(f"{name} {value:,.1f}" for name, value in seconds.items() if value)
    workers = plan["workers"]
    clock = plan["minutes"] * 60
    table.add_row(
        "time",
        f"{clock:,.0f} s" if clock < 120 else f"{plan['minutes']:,.0f} min",
        f"with {counted(workers, 'worker')} on this machine",
    )
    table.add_row("CPU", f"{sum(seconds.values()):,.0f} s", parts)
    shown = f"main process {size(memory['main'])} at most, each worker {size(memory['worker'])}"
    table.add_row("memory", size(memory["main"] + workers * memory["worker"]), shown)
    told = f"output {size(disk['output'])} at most, ledger {size(disk['ledger'])}, index {size(disk['index'])}"
    table.add_row("disk", size(sum(disk.values())), told)
    return table


def print_garbage(found: Mapping[str, Any]) -> None:
    """What was removed from a run directory, or would be, and what is left by kind."""
    left = _table("kind", (), "holds")
    for name in ("files", "bytes"):
        left.add_column(name, justify="right")
    for row in found["takes"]:
        left.add_row(row["kind"], row["holds"], f"{row['files']:,}", f"{row['bytes']:,}")
    left.add_row(
        "all", "", *(f"{sum(row[name] for row in found['takes']):,}" for name in ("files", "bytes")), style="bold"
    )
    console().print(left)
    if found["kinds"]:
        table = _table("folder", (), "why")
        for name in ("files", "bytes"):
            table.add_column(name, justify="right")
        for kind in found["kinds"]:
            table.add_row(kind["folder"], kind["why"], f"{kind['files']:,}", f"{kind['bytes']:,}")
        console().print(table)
    done = "removed" if found["removed"] else "would remove"
    what = (
        f"{done} {counted(found['files'], 'file')}, {size(found['bytes'])}" if found["files"] else "nothing to remove"
    )
    say(f"{found['run']}: {what}")


def print_trained(training: "Training", trained: "Trained") -> None:
    """A new language model: n-grams and discounts per order."""
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
    """A trained adapter: steps, tokens, what it gains in held-out texts, where it lies."""
    table = _table("domain", ("steps", "best", "tokens", "bits/byte before", "after"), "change")
    before, after = facts.bits_per_byte_before, facts.bits_per_byte_after
    shown = [f"{facts.steps:,}", f"{facts.best_step:,}", f"{facts.tokens:,}", f"{before:.4f}", f"{after:.4f}"]
    table.add_row(domain, *shown, f"{after / before - 1:+.1%}" if before else "")
    console().print(table)
    if not facts.best_step:
        say("no check was better than the model itself, so this adapter changes nothing: try other texts or settings")
    say(f"{folder}: the adapter")


def _passed_over(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """What lies beside the input's files and is not read: a line for each reason, the first names of each."""
    for reason in dict.fromkeys(row["reason"] for row in rows):
        paths = [row["path"] for row in rows if row["reason"] == reason]
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
    """An estimated count, in three digits."""
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
    """A value of the data, shown as it is."""
    return Text(visible(value))


def say(line: str) -> None:
    """Print a line of text as it is."""
    console().print(Text(visible(line)), soft_wrap=True)

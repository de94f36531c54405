"""What `plan`, `gc`, `lm train`, `adapter train`, `what-if` and `compare` print."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich import box
from rich.table import Table
from rich.text import Text

from curate.cli.output.tables import console
from curate.display import counted, place, visible
from curate.errors import shortened
from curate.pipeline.checks.other_languages import told_of_other
from curate.recipe.values import shown_budget

if TYPE_CHECKING:
    from curate.distill.lora.files import Facts
    from curate.filters.language.train import Trained, Training


NAMES_SHOWN = 5  # of files that are passed over for one reason


def print_plan(plan: Mapping[str, Any]) -> None:
    """The forecast: the input, the work and why it is done, what rules would drop, and the costs."""
    given, sample = plan["input"], plan["sample"]
    _say(
        f"input: {counted(given['documents'], 'document')} in {counted(given['files'], 'file')} "
        f"({size(given['file_bytes'])}), {counted(given['units'], 'unit')}; "
        f"about {size(given['text_bytes'])} of text, {rounded(given['tokens'])} tokens"
    )
    for path in given["quarantined"]:
        _say(f"quarantined: {path}")
    for path, count in given["bad_lines"].items():
        _say(f"quarantined: {counted(count, 'line')} of {path}, as far as it was read")
    for line in _passed_over(given["passed_over"]):
        _say(line)
    if any(step["reused"] or step["why"] for step in plan["steps"]):
        console().print(_steps(plan))
    else:
        _say("The ledger holds nothing yet: everything is measured.")
    _say(f"of a sample of {counted(sample['documents'], 'document')} ({size(sample['text_bytes'])} of text):")
    console().print(_dropped(plan))
    if other := plan["other_language"]:
        _say(f"{told_of_other(other)} (about)")
    for warning in plan["warnings"]:
        _say(f"warning: {warning}")
    _say("Duplicates, bands and repeated lines are not estimated: they come after the rules, so less may be kept.")
    if plan["tier2"]:
        _say("Nor is what the second tier drops; what it costs, with the models it trains, is in the forecast below.")
    if plan["tier3"]:
        _say("Nor is the third tier: what a model writes for thin domains, and what that costs, is not part of it.")
    if plan["keep_tokens"]:
        budget = shown_budget(plan["keep_tokens"])
        of_input = " of the input's tokens" if plan["keep_tokens"] <= 1 else ""
        _say(f"Of what is left, distill keeps {budget}{of_input}.")
    if plan["bands"]:
        _say(f"near duplicates: {plan['bands']}")
    console().print(_costs(plan))
    _say(f"{plan['run']}: nothing was written; start with `curate run`")


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
    _say(f"{found['run']}: {what}")


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
    _say(f"{training.output}: {read}, {size(training.output.stat().st_size)}")


def print_adapter(domain: str, folder: Path, facts: "Facts") -> None:
    """A trained adapter: steps, tokens, what it gains in held-out texts, where it lies."""
    table = _table("domain", ("steps", "best", "tokens", "bits/byte before", "after"), "change")
    before, after = facts.bits_per_byte_before, facts.bits_per_byte_after
    shown = [f"{facts.steps:,}", f"{facts.best_step:,}", f"{facts.tokens:,}", f"{before:.4f}", f"{after:.4f}"]
    table.add_row(domain, *shown, f"{after / before - 1:+.1%}" if before else "")
    console().print(table)
    if not facts.best_step:
        _say("no check was better than the model itself, so this adapter changes nothing: try other texts or settings")
    _say(f"{folder}: the adapter")


def print_difference(found: Mapping[str, Any]) -> None:
    """Two verdicts on the same documents: the recipes' fields, reasons, strata, examples, and what it comes to."""
    for name, values in found["changed"].items():
        _say(f"{name}: {_yaml(values['before'])} → {_yaml(values['after'])}")
    if not found["changed"]:
        _say("the recipes are the same")
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
        _say(line)


def _passed_over(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """What lies beside the input's files and is not read: a line for each reason, the first names of each."""
    for reason in dict.fromkeys(row["reason"] for row in rows):
        paths = [row["path"] for row in rows if row["reason"] == reason]
        more = f" and {len(paths) - NAMES_SHOWN:,} more" if len(paths) > NAMES_SHOWN else ""
        yield f"passed over: {', '.join(paths[:NAMES_SHOWN])}{more} ({reason})"


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


UNITS = ("documents", "tokens")
COUNTED = ("documents_before", "documents_after", "documents_gained", "tokens_gained", "documents_lost", "tokens_lost")


def _strata_moved(name: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(_cell(name), overflow="fold")
    for column in ("documents", "kept before", "after", "tokens before", "after", "gained", "lost"):
        table.add_column(column, justify="right")
    for row in rows:
        value = "(others)" if row["others"] else "(none)" if row["value"] is None else shortened(row["value"])
        names = ("documents", "documents_before", "documents_after", "tokens_before", "tokens_after", "gained", "lost")
        table.add_row(_cell(value), *(f"{row[column]:,}" for column in names))
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
        table.add_row(_cell(row["doc_id"]), _cell(where), f"{tokens:,}", _cell(reason + of))
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


def _cell(value: str) -> Text:
    """A value of the data, shown as it is."""
    return Text(visible(value))


def _say(line: str) -> None:
    console().print(Text(visible(line)), soft_wrap=True)

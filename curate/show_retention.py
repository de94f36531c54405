"""What `curate evaluate` prints, and the lines of a run's closing table on quality stage by stage."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from curate.arms import CURVE
from curate.figures import counted
from curate.inspect import console
from curate.retained import augmentation_claims

Row = Mapping[str, Any]


def print_evaluation(found: Mapping[str, Any]) -> None:
    """Each arm with its control, the domains of what is kept, and for what the figures hold."""
    several = len({row["budget"] for row in found["arms"]}) > 1
    for budget in dict.fromkeys(row["budget"] for row in found["arms"]):
        rows = [row for row in found["arms"] if row["budget"] == budget]
        if several:
            console().print(f"matched {budget}:", highlight=False)
        console().print(_arms([row for row in rows if row["domain"] is None]))
        console().print(_domains([row for row in rows if row["arm"] == "ours" and row["domain"] is not None]))
    for line in (*claims(found), *augmentation_claims(found["arms"]), scope(found)):
        console().print(escape(line), highlight=False, soft_wrap=True)


def _arms(rows: Sequence[Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("arm")
    for name in ("documents", "tokens", "draws", "bits per byte", "retained R", "95 %", "gap closed G", "95 %",
                 "R of random"):  # fmt: skip
        table.add_column(name, justify="right", no_wrap=True)
    for row in (row for row in rows if row["arm"] not in CURVE):
        control = row["control"] not in (None, row["arm"])
        table.add_row(
            row["arm"], f"{row['documents']:,}", f"{row['tokens']:,}", str(row["draws"]), f"{row['bits_per_byte']:.4f}",
            *_figure(row, "retained"), *(_figure(row, "gap_closed", "gap") if control else ("", "")),
            f"{row['control_retained']:.3f}" if control else "", style="bold" if row["arm"] == "ours" else "",
        )  # fmt: skip
    return table


def _domains(rows: Sequence[Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("domain (ours)")
    for name in ("bits per byte", "of random", "retained R", "95 %", "gap closed G", "95 %"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            escape(row["domain"]), f"{row['bits_per_byte']:.4f}", f"{row['control_bits_per_byte']:.4f}",
            *_figure(row, "retained"), *_figure(row, "gap_closed", "gap"),
        )  # fmt: skip
    return table


def _figure(row: Row, name: str, interval: str = "") -> tuple[str, str]:
    low, high = (row[f"{interval or name}_{end}"] for end in ("low", "high"))
    return (
        "none" if row[name] is None else f"{row[name]:.3f}",
        "" if low is None else f"{low:.3f} to {high:.3f}",
    )


def claims(found: Mapping[str, Any]) -> list[str]:
    """What may be said of the output, beside what random documents do."""
    lines = []
    whole = next(row["tokens"] for row in found["arms"] if row["arm"] == "full")
    for row in (row for row in found["arms"] if row["arm"] == "ours" and row["domain"] is None):
        verdict = (
            "better than random documents" if row["gain_low"] > 0
            else "worse than random documents" if row["gain_high"] < 0
            else "no better than random documents, as far as can be told"
        )  # fmt: skip
        lines.append(
            f"ours keeps {row['tokens'] / whole:.1%} of the tokens and retains {row['retained']:.3f} "
            f"({row['retained_low']:.3f} to {row['retained_high']:.3f}); random documents of as many tokens retain "
            f"{row['control_retained']:.3f}: {verdict}"
        )
    return lines


def scope(found: Mapping[str, Any]) -> str:
    """For what the figures hold."""
    model = (
        f"n-grams of order {found['order']}" if found["proxy"] == "ngram"
        else f"decoders of {found['parameters']:,} parameters"
    )  # fmt: skip
    heldout = found["heldout"]
    what = "all of the input" if found["whole_input"] else "a sample of the input"
    return (
        f"this holds for {model}, {found['tokens']:,} tokens ({what}) and "
        f"{counted(heldout['documents'], 'held-out text')} of {counted(len(heldout['domains']), 'domain')}; "
        "larger models want less filtering"
    )


def tracked_table(rows: Sequence[Row]) -> Table:
    """Quality after each stage of a run."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("quality after")
    for name in ("tokens left", "%", "retained R", "gap closed G", "95 %", "R of random"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        control = row["control_retained"]
        table.add_row(
            row["stage"], f"{row['tokens_out']:,}", f"{row['share']:.1%}", _figure(row, "retained")[0],
            *(_figure(row, "gap_closed", "gap") if control is not None else ("", "")),
            "" if control is None else f"{control:.3f}",
        )  # fmt: skip
    return table

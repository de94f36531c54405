"""What `curate evaluate` prints, and the lines of a run's closing table on quality stage by stage."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from curate.arms import CURVE
from curate.inspect import console
from curate.quality import claims, scope, tier_claims
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
    for line in (*claims(found), *tier_claims(found["arms"]), *augmentation_claims(found["arms"]), scope(found)):
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


def tracked_table(rows: Sequence[Row]) -> Table:
    """Quality after each stage of a run, on a small sample: its figure is called other than that of an evaluation."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("quality after")
    for name in ("tokens left", "%", "in the sample", "tracked R", "gap closed G", "95 %", "R of random"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        control = row["control_retained"]
        table.add_row(
            row["stage"], f"{row['tokens_out']:,}", f"{row['share']:.1%}", f"{row['sample_tokens']:,}",
            _figure(row, "retained")[0],
            *(_figure(row, "gap_closed", "gap") if control is not None else ("", "")),
            "" if control is None else f"{control:.3f}",
        )  # fmt: skip
    return table

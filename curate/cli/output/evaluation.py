"""What `curate evaluate` prints, and the lines of a run's closing table on quality stage by stage."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from curate.display import console
from curate.distill.evaluate.arms import CURVE
from curate.distill.evaluate.results import augmentation_claims
from curate.report.quality import claims, scope, tier_claims

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
        console().print(line, highlight=False, soft_wrap=True)


def _arms(rows: Sequence[Row]) -> Table:
    shown = [row for row in rows if row["arm"] not in CURVE]
    return _fitting(
        "arm", [_arm_cells(row) for row in shown], ["bold" if row["arm"] == "ours" else "" for row in shown]
    )


def _arm_cells(row: Row) -> list[tuple[str, str]]:
    """What a row of the table of arms has, by heading."""
    control = row["control"] not in (None, row["arm"])
    retained, gap = _figure(row, "retained"), _figure(row, "gap_closed", "gap") if control else ("", "")
    return [
        ("arm", row["arm"]), ("documents", f"{row['documents']:,}"), ("tokens", f"{row['tokens']:,}"),
        ("draws", str(row["draws"])), ("bits per byte", f"{row['bits_per_byte']:.4f}"), ("retained R", retained[0]),
        ("95%", retained[1]), ("gap closed G", gap[0]), ("95%", gap[1]),
        ("R of random", f"{row['control_retained']:.3f}" if control else ""),
    ]  # fmt: skip


def _domains(rows: Sequence[Row]) -> Table:
    return _fitting("domain (ours)", [_domain_cells(row) for row in rows], [""] * len(rows))


def _domain_cells(row: Row) -> list[tuple[str, str]]:
    """What a row of the table of domains has, by heading."""
    retained, gap = _figure(row, "retained"), _figure(row, "gap_closed", "gap")
    return [
        ("domain (ours)", row["domain"]), ("bits per byte", f"{row['bits_per_byte']:.4f}"),
        ("of random", f"{row['control_bits_per_byte']:.4f}"), ("retained R", retained[0]), ("95%", retained[1]),
        ("gap closed G", gap[0]), ("95%", gap[1]),
    ]  # fmt: skip


# Columns that a terminal which is too narrow does without, the first one first.
SPARED = ("documents", "draws", "of random", "bits per byte", "tokens", "R of random")


def _fitting(first: str, rows: Sequence[Sequence[tuple[str, str]]], styles: Sequence[str]) -> Table:
    """The rows as a table whose names and numbers are whole, with as many columns as the terminal has room for."""
    for spared in range(len(SPARED) + 1):
        kept = [[cell for cell in row if cell[0] not in SPARED[:spared]] for row in rows]
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name, _ in kept[0] if kept else [(first, "")]:
            table.add_column(name, justify="left" if name == first else "right", no_wrap=True)
        for row, style in zip(kept, styles, strict=True):
            table.add_row(*(cell for _, cell in row), style=style)
        if console().measure(table).maximum <= console().width:
            break
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
    table.add_column("quality after", no_wrap=True)
    for name in ("tokens left", "%", "in the sample", "tracked R", "gap closed G", "95%", "R of random"):
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

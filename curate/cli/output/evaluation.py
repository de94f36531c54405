"""What `curate evaluate` prints, and the table of tracked quality that a run prints."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from curate.display import console
from curate.distill.evaluate.arms import CURVE, OURS
from curate.distill.evaluate.results import augmentation_claims
from curate.report.quality import agreement_claims, claims, scope, tier_claims, weight_claims

if TYPE_CHECKING:
    from curate.distill.evaluate.results import TrackedStage
    from curate.distill.evaluate.retention import ArmRetention
    from curate.pipeline.evaluate import EvaluationResult


def print_evaluation(result: "EvaluationResult") -> None:
    """Print each arm with its control, the domains of our arm, and the claims with their scope."""
    models = list(dict.fromkeys(arm.model for arm in result.arms))
    for model in models:
        arms = [arm for arm in result.arms if arm.model == model]
        if len(models) > 1:
            console().print(f"{model}:", highlight=False)
        console().print(_arms([arm for arm in arms if arm.domain is None]))
        console().print(_domains([arm for arm in arms if arm.arm == OURS and arm.domain is not None]))
    on_augmentation = augmentation_claims(result.arms)
    lines = (*claims(result.arms), *weight_claims(result.arms), *tier_claims(result.arms), *on_augmentation)
    for line in (*lines, *agreement_claims(result.facts), scope(result.facts)):
        console().print(line, highlight=False, soft_wrap=True)


def _arms(arms: Sequence["ArmRetention"]) -> Table:
    shown = [arm for arm in arms if arm.arm not in CURVE]
    return _fitting("arm", [_arm_cells(arm) for arm in shown], ["bold" if arm.arm == OURS else "" for arm in shown])


def _arm_cells(arm: "ArmRetention") -> list[tuple[str, str]]:
    """The cells of a row of the table of arms, by heading."""
    has_control = arm.control not in (None, arm.arm)
    gap, interval = _figure(arm.gap_closed, arm.gap_low, arm.gap_high) if has_control else ("", "")
    retained, retained_interval = _figure(arm.retained, arm.retained_low, arm.retained_high)
    return [
        ("arm", arm.arm),
        ("documents", f"{arm.documents:,}"),
        ("tokens", f"{arm.tokens:,}"),
        ("draws", str(arm.draws)),
        ("bits per byte", f"{arm.bits_per_byte:.4f}"),
        ("retained R", retained),
        ("95%", retained_interval),
        ("gap closed G", gap),
        ("95%", interval),
        ("R of random", f"{arm.control_retained:.3f}" if has_control else ""),
    ]


def _domains(arms: Sequence["ArmRetention"]) -> Table:
    return _fitting("domain (ours)", [_domain_cells(arm) for arm in arms], [""] * len(arms))


def _domain_cells(arm: "ArmRetention") -> list[tuple[str, str]]:
    """The cells of a row of the table of domains, by heading."""
    retained, retained_interval = _figure(arm.retained, arm.retained_low, arm.retained_high)
    gap, interval = _figure(arm.gap_closed, arm.gap_low, arm.gap_high)
    return [
        ("domain (ours)", arm.domain or ""),
        ("bits per byte", f"{arm.bits_per_byte:.4f}"),
        ("of random", f"{arm.control_bits_per_byte:.4f}"),
        ("retained R", retained),
        ("95%", retained_interval),
        ("gap closed G", gap),
        ("95%", interval),
    ]


# Columns that are left out on a narrow terminal, in this order.
LEFT_OUT = ("documents", "draws", "of random", "bits per byte", "tokens", "R of random")


def _fitting(first: str, rows: Sequence[Sequence[tuple[str, str]]], styles: Sequence[str]) -> Table:
    """A table with as many columns as fit the terminal without cutting names or numbers."""
    for count in range(len(LEFT_OUT) + 1):
        kept = [[cell for cell in row if cell[0] not in LEFT_OUT[:count]] for row in rows]
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name, _ in kept[0] if kept else [(first, "")]:
            table.add_column(name, justify="left" if name == first else "right", no_wrap=True)
        for row, style in zip(kept, styles, strict=True):
            table.add_row(*(cell for _, cell in row), style=style)
        if console().measure(table).maximum <= console().width:
            break
    return table


def _figure(value: float | None, low: float | None, high: float | None) -> tuple[str, str]:
    """A figure and its interval."""
    return "none" if value is None else f"{value:.3f}", "" if low is None else f"{low:.3f} to {high:.3f}"


def tracked_table(stages: Sequence["TrackedStage"]) -> Table:
    """Tracked R after each stage of a run: measured on a small sample, unlike the retained R of an evaluation."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("quality after", no_wrap=True)
    for name in ("tokens left", "%", "in the sample", "tracked R", "gap closed G", "95%", "R of random"):
        table.add_column(name, justify="right", no_wrap=True)
    for stage in stages:
        control = stage.control_retained
        table.add_row(
            stage.stage,
            f"{stage.tokens_out:,}",
            f"{stage.share:.1%}",
            f"{stage.sample_tokens:,}",
            f"{stage.retained:.3f}",
            *(_figure(stage.gap_closed, stage.gap_low, stage.gap_high) if control is not None else ("", "")),
            "" if control is None else f"{control:.3f}",
        )
    return table

"""Section "Training": how often a training of `train_tokens` reads the output, and what its repeats are worth."""

from collections.abc import Sequence
from dataclasses import dataclass

from curate.decide.readings import Reading
from curate.epochs import FEW, Repeats, TrainingEpochs, caveat, repeats, summary, warning
from curate.report.charts import HEIGHT, WIDTH, Label, percent

POINTS = 60  # of the curve
LEAST_EPOCHS = 8.0  # that the chart shows


@dataclass(frozen=True, slots=True, kw_only=True)
class WorthChart:
    """What trainings of the output are worth, over the tokens trained on; both axes have one scale."""

    fresh: str  # the area below as many fresh tokens
    effective: str  # the area below what the tokens are worth
    marks: Sequence[Label]  # FEW epochs, and this training
    ticks: Sequence[Label]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSection:
    """The training in sentences, a chart, and a row for each budget."""

    summary: str
    warning: str | None
    caveat: str
    chart: WorthChart
    budgets: Sequence[Repeats]
    input_tokens: int


def training_section(
    training: TrainingEpochs | None, readings: Sequence[Reading], tokenizer: str
) -> TrainingSection | None:
    """The section of a training; None without one."""
    if training is None:
        return None
    return TrainingSection(
        summary=summary(training),
        warning=warning(training),
        caveat=caveat(tokenizer),
        chart=worth_chart(training, readings),
        budgets=training.budgets,
        input_tokens=training.input_tokens,
    )


def worth_chart(training: TrainingEpochs, readings: Sequence[Reading]) -> WorthChart:
    """The curve of a training's output; its weights are those of the readings."""
    output = training.output
    last = max(LEAST_EPOCHS, 1.15 * output.mean_reads)
    weighted = [(reading.weight, reading.tokens) for reading in readings]
    at = [last * k / POINTS for k in range(1, POINTS + 1)]
    worth = [repeats("", round(reads * output.tokens) or 1, weighted).effective_tokens / output.tokens for reads in at]
    marks = [(percent(FEW, 0, last), f"{FEW:g} epochs"), (percent(output.mean_reads, 0, last), "this training")]
    ticks = [(percent(epochs, 0, last), f"{epochs:g}") for epochs in _whole(last)]
    return WorthChart(fresh=_area(at, at, last), effective=_area(at, worth, last), marks=_apart(marks), ticks=ticks)


def _whole(last: float) -> list[float]:
    """About six whole numbers of epochs."""
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 10**6) if last / step <= 8 or step == 10**6)
    return [float(epochs) for epochs in range(0, int(last) + 1, step)]


def _apart(marks: Sequence[Label]) -> list[Label]:
    """The marks, of which the first goes where two of them overlap."""
    return list(marks[1:] if abs(marks[0][0] - marks[1][0]) < 14 else marks)


def _area(at: Sequence[float], values: Sequence[float], last: float) -> str:
    points = " ".join(
        f"L{WIDTH * x / last:.1f} {HEIGHT * (1 - value / last):.1f}" for x, value in zip(at, values, strict=True)
    )
    return f"M0 {HEIGHT:g}{points}V{HEIGHT:g}z"

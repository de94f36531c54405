"""How often a training of so many tokens reads an output, and what repeated tokens are worth.

Muennighoff et al. 2023 (arXiv 2305.16264): U tokens that are read once and repeated R times are worth

    D' = U + U·R*·(1 − e^(−R/R*)),  R* = 15.387756

fresh ones, a fit to 182 models of 7 million to 9 billion parameters. Documents with weights are read unevenly, so the
law is applied to each weight apart: what is read r times has R = r − 1, and what is read less than once no repeats.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from curate.display import shown

R_STAR = 15.387756  # appendix A of the paper
FEW = 4.0  # epochs up to which the paper found repeated tokens almost as good as fresh ones

Readings = Sequence[tuple[float, int]]  # weights, and the tokens of the documents with each


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """A training over the text of one budget."""

    name: str  # of the budget
    tokens: int  # each document once
    pass_tokens: int  # of one pass, each document as often as its weight says
    epochs: float  # passes
    mean_reads: float  # how often a token is read on average; without weights the epochs
    effective_tokens: float  # fresh tokens that the training is worth
    worth: float  # their share of the tokens trained on
    read_often: float  # share of the tokens that are read more than FEW times
    is_repeated: bool  # whether any token is read more than once


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingEpochs:
    """A training over an output, and over larger and smaller budgets."""

    train_tokens: int
    output: Repeats
    budgets: Sequence[Repeats]  # with the output among them, ascending
    needed_tokens: int  # that the output needs for at most FEW epochs
    available_tokens: int  # that a budget can choose from
    input_tokens: int


def effective(reads: float) -> float:
    """The fresh tokens that a token is worth that is read so many times."""
    return reads if reads <= 1 else 1 + R_STAR * -math.expm1((1 - reads) / R_STAR)


def repeats(name: str, train_tokens: int, readings: Iterable[tuple[float, int]]) -> Repeats:
    """The repeats of a training over documents with weights; there must be tokens."""
    weighted = [(weight, tokens) for weight, tokens in readings if tokens and weight > 0]
    tokens = sum(tokens for _, tokens in weighted)
    pass_tokens = math.fsum(weight * tokens for weight, tokens in weighted)
    epochs = train_tokens / pass_tokens
    worth = math.fsum(tokens * effective(epochs * weight) for weight, tokens in weighted)
    often = sum(tokens for weight, tokens in weighted if epochs * weight > FEW)
    return Repeats(
        name=name,
        tokens=tokens,
        pass_tokens=round(pass_tokens),
        epochs=epochs,
        mean_reads=train_tokens / tokens,
        effective_tokens=worth,
        worth=worth / train_tokens,
        read_often=often / tokens,
        is_repeated=any(epochs * weight > 1 for weight, _ in weighted),
    )


def training_over(
    train_tokens: int, output: Readings, *, ladder: Mapping[str, Readings], available_tokens: int, input_tokens: int
) -> TrainingEpochs | None:
    """A training over an output and the rungs of its ladder; None where nothing is kept.

    Budgets that the output is compared with are the one of FEW epochs, and all that a budget can choose from.
    """
    if not any(weight * tokens > 0 for weight, tokens in output):
        return None
    of_output = repeats("the output", train_tokens, output)
    needed = math.ceil(train_tokens / FEW)
    budgets = [
        repeats(name, train_tokens, readings) for name, readings in ladder.items() if any(t for _, t in readings)
    ]
    if of_output.tokens < needed < available_tokens:
        budgets.append(repeats(f"for {FEW:g} epochs", train_tokens, [(1.0, needed)]))
    if of_output.tokens < available_tokens:
        budgets.append(repeats("all that is left", train_tokens, [(1.0, available_tokens)]))
    return TrainingEpochs(
        train_tokens=train_tokens,
        output=of_output,
        budgets=sorted([*budgets, of_output], key=lambda budget: budget.tokens),
        needed_tokens=needed,
        available_tokens=available_tokens,
        input_tokens=input_tokens,
    )


def summary(training: TrainingEpochs) -> str:
    """How often the output is read, and what that is worth, in a sentence."""
    output, total = training.output, f"{training.train_tokens:,} tokens"
    if not output.is_repeated:
        return (
            f"A training on {total} reads {output.mean_reads:.1%} of the output once and repeats nothing; "
            f"keep_tokens: {training.train_tokens} would spend it on the best of the output alone."
        )
    return (
        f"A training on {total} makes {shown(output.epochs, 3)} passes over {_size(output)}. They are worth "
        f"{about(output.effective_tokens)} fresh tokens, {output.worth:.0%} of those that are read, by the law of "
        "Muennighoff et al. (2023)."
    )


def _size(output: Repeats) -> str:
    if output.pass_tokens == output.tokens:
        return f"the {output.tokens:,} tokens of the output"
    return (
        f"the output ({output.tokens:,} tokens, read as often as their weights say: {output.pass_tokens:,} in a pass, "
        f"{output.read_often:.0%} of them more than {FEW:g} times in all)"
    )


def warning(training: TrainingEpochs) -> str | None:
    """What more than FEW epochs mean, and what would make them fewer; None for fewer."""
    reads, needed, available = training.output.mean_reads, training.needed_tokens, training.available_tokens
    if reads <= FEW:
        return None
    if needed <= available:
        share = needed / max(1, training.input_tokens)
        way = f"for at most {FEW:g} keep at least {needed:,} tokens, {share:.1%} of the input"
    else:
        fewest = shown(training.train_tokens / max(1, available), 3)
        way = (
            f"all {available:,} tokens that there are to keep make {fewest}: for at most {FEW:g} train on "
            f"{int(FEW * available):,} tokens, drop less before, or give more input"
        )
    return (
        f"train_tokens: the training reads a token {shown(reads, 3)} times on average; up to {FEW:g} epochs are almost "
        f"as good as fresh text, and each further one is worth less; {way}"
    )


def caveat(tokenizer: str) -> str:
    """What the figures leave out."""
    return (
        f"Tokens are those of the recipe's tokenizer, {tokenizer}: where yours makes k times as many of the same text, "
        "give train_tokens / k. The law counts repeats and says nothing about quality: Fang et al. (2025) found up to "
        "ten epochs of an aggressively filtered set better than one of a set ten times as large, with the training "
        "adjusted to it."
    )


def about(tokens: float) -> str:
    """A number of tokens to three digits."""
    return f"{float(f'{tokens:.3g}'):,.0f}"

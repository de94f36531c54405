"""What `plan` and the closing lines of a run say of a training to come: epochs, and what its repeats are worth."""

from rich import box
from rich.table import Table

from curate.epochs import TrainingEpochs, about


def training_table(training: TrainingEpochs) -> Table:
    """A row for each budget."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(f"training on {training.train_tokens:,} tokens over")
    for name in ("tokens", "% of input", "times read", "worth, in fresh tokens", "%"):
        table.add_column(name, justify="right")
    for budget in training.budgets:
        table.add_row(
            budget.name,
            about(budget.tokens),
            f"{budget.tokens / max(1, training.input_tokens):.1%}",
            f"{budget.mean_reads:.2f}",
            about(budget.effective_tokens),
            f"{budget.worth:.1%}",
            style="bold" if budget == training.output else "",
        )
    return table

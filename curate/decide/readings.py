"""How often a training reads what is kept: tokens by rung and weight, for `curate/epochs.py`."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import duckdb

from curate.distill.budget.tables import FIXED
from curate.epochs import TrainingEpochs, training_over
from curate.recipe.recipe import Recipe

CLASSES = 32  # of weights in an octave


class Reading(NamedTuple):
    """Tokens of kept documents with about the same weight."""

    rung: int | None  # of a budget, from 1
    weight: float
    tokens: int


def count_readings(connection: duckdb.DuckDBPyConnection) -> list[Reading]:
    """Tokens of what is kept by rung and class of weights, from table `decisions`; a class has its mean weight."""
    rows = connection.execute(
        f"""SELECT rung, sum(round({FIXED} * weight * n_tokens)::HUGEINT)::DOUBLE / {FIXED}, sum(n_tokens)::BIGINT
        FROM (SELECT rung, coalesce(weight, 1)::DOUBLE AS weight, n_tokens FROM decisions WHERE kept)
        WHERE n_tokens > 0 AND weight > 0
        GROUP BY rung, round({CLASSES} * log2(weight)) ORDER BY rung NULLS LAST, 2, 3"""
    ).fetchall()
    return [Reading(rung, read / tokens, tokens) for rung, read, tokens in rows]


def training_of(
    train_tokens: float, recipe: Recipe, stages: Sequence[Mapping[str, Any]], readings: Sequence[Reading]
) -> TrainingEpochs | None:
    """A training over the output of a run with these stages, of which `readings` are; None where nothing is kept."""
    rungs = sorted({reading.rung for reading in readings if reading.rung is not None})
    ladder = {
        f"rung {rung}": [(r.weight, r.tokens) for r in readings if r.rung is not None and r.rung <= rung]
        for rung in rungs[:-1]
    }
    output = [(r.weight, r.tokens) for r in readings]
    before = [stage["tokens_in"] for stage in stages if stage["stage"] == "distil" and recipe.distill]
    return training_over(
        int(train_tokens),
        output,
        ladder=ladder,
        available_tokens=max([*before, sum(tokens for _, tokens in output)]),
        input_tokens=stages[0]["tokens_in"],
    )

"""Combined scores of candidates: weighted means of ranks, among all candidates or within strata."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np

from curate.distill.budget.layers import Arrays
from curate.distill.budget.ranks import Histogram, Numbers, Ranks, Reals, ranks_by
from curate.distill.budget.scores import PERPLEXITY, READ, all_scores_of, ledger_scores
from curate.recipe.recipe import Recipe

Value = Callable[[Arrays], Reals]  # what candidates are ranked by: the higher the better, nan where it is missing
Batches = Callable[[], Iterable[Arrays]]  # reads the candidates' columns from the start


def columns_of_scores(recipe: Recipe) -> dict[str, str]:
    """The column of each score of a recipe."""
    of_ledger = {name: f"score_{k}" for k, name in enumerate(ledger_scores(recipe))}
    of_models = {"purify": "p_bad", "grades": "grade", **READ}
    return {name: of_ledger.get(name) or of_models[name] for name in all_scores_of(recipe)}


def values_of(recipe: Recipe) -> dict[str, Value]:
    """The value of each score of a recipe."""
    return {
        name: partial(_score, column=column, sign=-1 if name == "purify" else 1)
        for name, column in columns_of_scores(recipe).items()
    }


def _score(columns: Arrays, *, column: str, sign: int) -> Reals:
    return sign * columns[column]


def mean_rank(
    values: Mapping[str, Value], weights: Mapping[str, float], batches: Batches, strata: int | None = None
) -> Value:
    """The weighted mean of ranks from 0 to 1; 0 for documents without words.

    Ranks are within the kinds of documents if their number is given as `strata`, else among all candidates.
    """
    ranks = {name: rank_by(values[name], batches, strata, middle_best=name in PERPLEXITY) for name in weights}
    total = sum(weights.values())

    def mean(columns: Arrays) -> Reals:
        zeros = np.zeros(len(columns["kind"]))
        combined = sum((weight / total * ranks[name](columns) for name, weight in weights.items()), zeros)
        return np.where(columns["wordless"], 0.0, combined)

    return mean


def rank_by(value: Value, batches: Batches, strata: int | None = None, *, middle_best: bool = False) -> Value:
    """The rank from 0 to 1 by a value, within kinds or among all candidates; `middle_best` as in `ranks_by`."""
    histogram = Histogram(strata or 1)
    for columns in batches():
        batch = value(columns)
        is_known = ~np.isnan(batch)
        histogram.add(histogram.keys_of(batch[is_known], _kinds(columns, strata)[is_known]))
    ranks: Ranks = ranks_by(histogram, middle_best=middle_best)
    return lambda columns: ranks(value(columns), _kinds(columns, strata))


def _kinds(columns: Arrays, strata: int | None) -> Numbers:
    return columns["kind"] if strata else np.zeros_like(columns["kind"])

"""Graded weights: how often a training reads a document, by its quality within its stratum, in place of a flat cut.

Within a stratum a document at quantile x of its tokens, from 0 (worst) to 1, has the weight

    f(x) = C·x^p·e^(λx),  with ∫f = target tokens / tokens of the stratum, and f(1) ≤ max_repeats

the truncated power-exponential family of OLMo 3 (arXiv 2512.13961, appendix A.2.4; code of dolma3, Apache-2.0). Of all
curves that meet the target it takes that with the largest p up to POWER, and of these the one with the largest λ: the
steepest that `max_repeats` allows. So f(1) is `max_repeats`, and one number, the steepness, is left to solve for.

Two things differ from OLMo 3. It bounds the mean of the best twentieth of the tokens, here `max_repeats` is a bound for
every document. And it throws away the worst 40 %, here what a training would read less than LEAST times is dropped.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from curate.distill.budget.candidates import (
    CandidateTable,
    FilledBudgets,
    Rows,
    budgets_of,
    filled_budgets,
    keyed,
    quota_shares,
    shingles_of,
)
from curate.distill.budget.layers import Arrays, Layers, columns_in, write_columns
from curate.distill.budget.ranks import Histogram
from curate.distill.budget.select import (
    OVER_BUDGET,
    REDUNDANT,
    Flags,
    Integers,
    Reals,
    Selection,
    find_redundant,
    quotas_of,
)
from curate.distill.budget.tables import FIXED
from curate.recipe.recipe import Recipe

POWER = 2.0  # the largest p, as in dolma3; steeper curves have a larger λ
LEAST = 0.05  # the least weight: what is read less often is dropped
STEEPEST = 40.0  # of the logarithm of 1 + steepness: beyond it a curve is 0 below the best document
HALVINGS = 64


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The curves of all strata: a weight for each class of quality."""

    histogram: Histogram  # sizes by key, which is the order of quality, in units of a FIXED-th
    strata: Integers  # of each class
    weights: npt.NDArray[np.float32]  # of each class

    def weights_of(self, columns: Arrays) -> npt.NDArray[np.float32]:
        """The weight of each document; 0 for one that must not be kept."""
        weights = np.zeros(len(columns["key"]), np.float32)
        is_open = ~np.isneginf(columns["key"])
        keys = self.histogram.keys_of(columns["key"][is_open], columns["stratum"][is_open])
        weights[is_open] = self.weights[self.histogram.classes_of(keys)]
        return weights


def curve(quantiles: Reals, steepness: Reals) -> Reals:
    """The curve of a steepness at some quantiles, as a share of its value at 1: x^p·e^(λ(x - 1)).

    Its p is the steepness up to POWER, and λ the rest. The steeper, the lower it is at every quantile.
    """
    power = np.minimum(steepness, POWER)
    weights: Reals = quantiles**power * np.exp((power - steepness) * (1 - quantiles))
    return weights


def fit_weights(strata: Integers, tokens: Integers, targets: Integers, max_repeats: float) -> Reals:
    """The weights of classes of documents, which are sorted by stratum and in it by quality.

    Out:    monotone in quality, 0 or from LEAST to `max_repeats`; in each stratum weights times tokens come to the
            target, or as near below it as its classes allow, or to `max_repeats` times its tokens.
    """
    totals = np.bincount(strata, tokens, len(targets))
    starts = np.cumsum(totals) - totals
    quantiles = (np.cumsum(tokens) - tokens / 2 - starts[strata]) / np.maximum(totals[strata], 1)

    def weights_at(low_bits: Reals) -> Reals:
        weights = max_repeats * curve(quantiles, np.expm1(low_bits)[strata])
        return np.where(weights < LEAST, 0.0, weights)

    flat, steep = np.zeros(len(targets)), np.full(len(targets), STEEPEST)
    for _ in range(HALVINGS):
        middle = (flat + steep) / 2
        is_over = np.bincount(strata, weights_at(middle) * tokens, len(targets)) > targets
        flat, steep = np.where(is_over, middle, flat), np.where(is_over, steep, middle)
    return weights_at(np.where(max_repeats * totals <= targets, 0.0, steep))


def fill_curve(
    recipe: Recipe, table: CandidateTable, rows: Rows, size: tuple[int, int], domain_shares: Mapping[str, float]
) -> FilledBudgets:
    """Weigh candidates so that a training reads the budget; the parameters are those of `fill_budgets`.

    Redundant documents are left out before; of what is left, the strata's quotas are the targets of their curves.

    Errors: RecipeError for a target of a stratum without candidates.
    """
    section = recipe.distill
    assert section is not None
    assert section.curve is not None
    [(budget, share)] = budgets_of(section, *size)
    write_columns(table.path.with_name("all_keys"), keyed(recipe, table))
    redundant = _redundant(recipe, table, rows)
    path = table.path.with_name("keys")
    write_columns(path, _closed(table.path.with_name("all_keys"), redundant))
    histogram = _histogram(path, len(table.strata))
    strata = (histogram.keys >> np.uint64(histogram.value_bits - histogram.shift)).astype(np.int64)
    available = np.bincount(strata, histogram.counts, len(table.strata)).astype(np.int64)
    targets = _targets(recipe, table, available, domain_shares, FIXED * budget)
    weights = fit_weights(strata, histogram.counts, targets, section.curve.max_repeats).astype(np.float32)
    curves = Curves(histogram=histogram, strata=strata, weights=weights)
    selection = _selected(path, curves, redundant, targets // FIXED)
    return filled_budgets(table, path, [(budget, share)], selection, curves.weights_of)


def _redundant(recipe: Recipe, table: CandidateTable, rows: Rows) -> Flags:
    """Which candidates have too little that is new to the better ones."""
    section = recipe.distill
    assert section is not None
    if not section.novelty:
        return np.zeros(table.documents, bool)
    path, size = table.path.with_name("all_keys"), int(table.available.sum())
    layers = Layers(path.parent, partial(columns_in, path), partial(shingles_of, rows), size, len(table.strata))
    return find_redundant(
        layers.best_first, table.documents, len(table.of_cluster), table.available, float(section.novelty)
    )


def _closed(path: Path, redundant: Flags) -> Iterator[Arrays]:
    """The columns of a file of keys, with the key of documents that must not be kept for those that are redundant."""
    begin = 0
    for columns in columns_in(path):
        here = slice(begin, begin + len(columns["key"]))
        begin = here.stop
        yield {**columns, "key": np.where(redundant[here], -np.inf, columns["key"])}


def _histogram(path: Path, strata: int) -> Histogram:
    """Sizes by stratum and key of the candidates that may be kept; near duplicates count by their shares."""
    histogram = Histogram(strata)
    for columns in columns_in(path):
        is_open = ~np.isneginf(columns["key"])
        keys = histogram.keys_of(columns["key"][is_open], columns["stratum"][is_open])
        shares = columns["share"][is_open].astype(np.float64) if "share" in columns else 1.0
        histogram.add(keys, np.rint(FIXED * shares * columns["size"][is_open]).astype(np.int64))
    histogram.merge()
    return histogram


def _targets(
    recipe: Recipe, table: CandidateTable, available: Integers, domain_shares: Mapping[str, float], budget: int
) -> Integers:
    """Tokens to read of each stratum: its quota; strata without one have what the others cannot take."""
    section = recipe.distill
    assert section is not None
    assert section.curve is not None
    capacity = np.floor(section.curve.max_repeats * available).astype(np.int64)
    if section.quotas is None:
        return quotas_of(available.astype(np.float64), capacity, budget)
    shares = quota_shares(section, table, domain_shares)
    targets = quotas_of(shares, capacity, budget)
    rest = np.where(shares > 0, 0, capacity)
    return targets + quotas_of(rest.astype(np.float64), rest, budget - int(targets.sum()))


def _selected(path: Path, curves: Curves, redundant: Flags, targets: Integers) -> Selection:
    """The documents with a weight, as the only rung."""
    rung, taken = np.where(redundant, REDUNDANT, OVER_BUDGET).astype(np.int16), np.zeros(len(targets), np.int64)
    begin = 0
    for columns in columns_in(path):
        kept = np.flatnonzero(curves.weights_of(columns) > 0)
        rung[begin + kept] = 0
        begin += len(columns["key"])
        taken += np.bincount(columns["stratum"][kept], columns["size"][kept], len(taken)).astype(np.int64)
    return Selection(rung, np.array([(rung == 0).sum()]), taken[None], targets[None])

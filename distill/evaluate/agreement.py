"""How far kinds of models agree on arms: a cheap proxy is worth as much as its order is that of a dearer one.

Compared are the arms of one size: those whose control is RANDOM, and RANDOM itself. `full` and smaller budgets are left
out: that more tokens are better is no finding. Of two models this is told:

    rank correlation   Spearman's, of the arms' bits per byte over all domains
    same order         of all pairs of arms, those that both put in the same order

The interval covers 95 % of the replicates of a bootstrap that draws held-out texts within their domain, the same ones
for both models, and arms, so that it is wide where arms are few. An arm drawn twice counts once more, as a tie with
itself; a replicate with fewer than LEAST different arms is left out.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from curate.distill.evaluate.measure import RANDOM
from curate.distill.evaluate.retention import (
    REPLICATES,
    Floats,
    HeldoutDomains,
    ModelBits,
    interval,
    model_name,
    rates_by_domain,
)
from curate.distill.scoring.calibration import spearman

LEAST = 3  # different arms, without which there is no order to compare


class Agreement(TypedDict):
    """How far two kinds of models agree."""

    models: list[str]
    arms: int
    rank_correlation: float
    low: float
    high: float
    pairs: int
    same_order: int


def agreement(
    models: Sequence[ModelBits],
    controls: Mapping[str, str],
    heldout: HeldoutDomains,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> list[Agreement]:
    """The agreement of each two kinds of models that were trained on the same arms.

    None of fewer than LEAST arms, and none with a kind for which all arms are alike.
    """
    arms = sorted({model.arm for model in models if controls.get(model.arm) == RANDOM})
    kinds = list(dict.fromkeys(model_name(model.proxy, model.budget) for model in models))
    if len(kinds) < 2 or len(arms) < LEAST:
        return []
    rng = np.random.default_rng(seed)
    rates = rates_by_domain(models, heldout, rng, replicates)[None]
    columns = {kind: _columns(models, kind, arms) for kind in kinds}
    values = {kind: _means(rates.values[None], columns[kind])[0] for kind in kinds}
    drawn = {kind: _means(rates.replicates, columns[kind]) for kind in kinds}
    draws = rng.integers(0, len(arms), (replicates, len(arms)))
    usable = np.array([len(set(draw)) >= LEAST for draw in draws.tolist()])
    return [
        _agreement((a, b), values, {kind: np.take_along_axis(drawn[kind], draws, 1)[usable] for kind in (a, b)})
        for a, b in combinations(kinds, 2)
        if _has_order(values[a]) and _has_order(values[b])
    ]


def _has_order(values: Floats) -> bool:
    return bool((values != values[0]).any())


def _columns(models: Sequence[ModelBits], kind: str, arms: Sequence[str]) -> list[npt.NDArray[np.int64]]:
    """The models of each arm, one or more."""
    return [
        np.array([
            k for k, model in enumerate(models)
            if model.arm == arm and model_name(model.proxy, model.budget) == kind
        ])
        for arm in arms
    ]  # fmt: skip


def _means(rates: Floats, columns: Sequence[npt.NDArray[np.int64]]) -> Floats:
    """Of rates by replicate and model the means by replicate and arm."""
    return np.stack([rates[:, indices].mean(1) for indices in columns], axis=1)


def _agreement(kinds: tuple[str, str], values: Mapping[str, Floats], drawn: Mapping[str, Floats]) -> Agreement:
    a, b = (values[kind] for kind in kinds)
    replicates = zip(*(drawn[kind] for kind in kinds), strict=True)
    low, high = interval(np.array([spearman(x, y) for x, y in replicates if _has_order(x) and _has_order(y)]))
    pairs = list(combinations(range(len(a)), 2))
    return Agreement(
        models=list(kinds),
        arms=len(a),
        rank_correlation=spearman(a, b),
        low=low,
        high=high,
        pairs=len(pairs),
        same_order=sum(bool((a[i] < a[j]) == (b[i] < b[j])) for i, j in pairs),
    )

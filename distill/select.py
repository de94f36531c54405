"""What a budget of tokens keeps: quotas of strata, filled by quality and diversity, without saying the same twice."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.kernels.fill import OPEN, REDUNDANT, TAKEN, Seen, fill
from curate.kernels.ranks import shared_ranks

Reals = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]
Hashes = npt.NDArray[np.uint64]
Shingles = npt.NDArray[np.uint32]
Flags = npt.NDArray[np.bool_]

CLOSED = 3  # beside the states of `fill`: never to be taken
UNKNOWN = 0.5  # the rank of a document of which a score is not known
TOLERANCE = 0.001  # of a budget, that may stay unused
MOST_REPEATS = 4.0  # beyond which repeated text teaches little more (arXiv 2305.16264)


@dataclass(frozen=True)
class Candidates:
    """Documents that a budget may keep, a row each."""

    tokens: npt.NDArray[Any]  # whole numbers
    strata: Numbers  # a number for each stratum, from 0
    clusters: Numbers  # a number for each cluster, from 1; 0 for a document of none
    offsets: Integers  # of their shingles
    shingles: Shingles


@dataclass(frozen=True)
class Selected:
    """What a budget keeps."""

    rung: npt.NDArray[np.int16]  # the first rung that has the document, from 0; -1 where none has it
    redundant: Flags  # not kept because too little of it was new
    taken: Integers  # tokens of each rung and stratum, shape (rungs, strata)
    quotas: Integers


def ranks_within(values: Reals | Singles, strata: Numbers) -> Reals:
    """The rank of each value in its stratum, from 0 for the least to 1; equal ones share theirs, nan is in the middle.

    A value that is alone in its stratum is in the middle too.
    """
    ranks = np.empty(len(values))
    for places in _places_by(strata):
        own = values[places].astype(np.float64)
        ranks[places] = shared_ranks(own, np.zeros(len(own), np.int32), np.argsort(own), UNKNOWN)
    return ranks


def _places_by(strata: Numbers) -> Sequence[Any]:
    """The places of each stratum's documents: sorting one stratum after the other takes less memory."""
    if not strata.any():
        return [slice(None)]
    order = np.argsort(strata.astype(np.min_scalar_type(strata.max())), kind="stable")
    return np.split(order.astype(np.min_scalar_type(len(order))), np.cumsum(np.bincount(strata))[:-1])


def mean_rank(
    scores: Iterable[tuple[str, Reals | Singles]], weights: Mapping[str, float], strata: Numbers
) -> Reals:  # fmt: skip
    """The weighted mean of the ranks of scores within strata; `scores` are one for each weight, and held one by one."""
    total = sum(weights.values())
    found = np.zeros(len(strata))
    for name, values in scores:
        found += weights[name] / total * ranks_within(values, strata)
    return found


def gumbel_keys(wanted: Reals, hashes: Hashes, temperature: float) -> Reals:
    """Keys whose order is a draw without replacement with probabilities like exp(wanted / temperature).

    The Gumbel-top-k trick (Kool et al. 2019, arXiv 1903.06059): the noise of a document comes from its hash alone, so
    that a draw is nested in any larger one. Of temperature 0 the key is what is wanted.
    """
    if temperature == 0:
        return wanted
    uniform = ((hashes >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
    return wanted / temperature - np.log(-np.log(uniform))


def shares_of(
    masses: Reals, available: Integers, temperature: float, floor: float, targets: Mapping[int, float]
) -> Reals:
    """The share of a budget that each stratum is to have.

    It goes with the stratum's mass to the power of `temperature` (1 keeps the mixture, 0 makes all equal) and is at
    least `floor`; strata with a target have that share, and those of which nothing is available none.
    """
    there = (available > 0) & (masses > 0)
    shares = np.where(there, np.power(np.where(there, masses, 1.0), temperature), 0.0)
    fixed = np.zeros(len(available), bool)
    for stratum, share in targets.items():
        fixed[stratum] = True
        shares[stratum] = share
    rest = max(0.0, 1.0 - shares[fixed].sum())
    free = there & ~fixed
    if free.any():
        shares[free] *= rest / shares[free].sum()
        shares[free] = _with_floor(shares[free], min(floor, rest / free.sum()))
    return shares


def _with_floor(shares: Reals, floor: float) -> Reals:
    """Shares of the same sum that are at least the floor, what that takes being taken from the others in proportion."""
    total = shares.sum()
    low = shares < floor
    while True:
        left = total - floor * low.sum()
        found = np.where(low, floor, shares * (left / max(shares[~low].sum(), 1e-300)))
        more = found < floor
        if not (more & ~low).any():
            return found
        low |= more


def quotas_of(shares: Reals, available: Integers, budget: int) -> Integers:
    """Tokens of a budget for each stratum: by shares, none beyond what is available; the rest where there is any."""
    budget = min(budget, int(available.sum()))
    quotas = np.zeros(len(shares))
    open_ = (available > 0) & (shares > 0)
    left = float(budget)
    while left >= 1 and open_.any():
        given = np.where(open_, shares, 0.0) * (left / shares[open_].sum())
        full = open_ & (quotas + given >= available)
        if not full.any():
            quotas += given
            break
        quotas[full] = available[full]
        open_ &= ~full
        left = budget - quotas[~open_].sum()
        quotas[open_] = 0.0
    whole = np.minimum(np.floor(quotas).astype(np.int64), available)
    room = np.flatnonzero((whole < available) & (shares > 0))
    missing = min(budget - int(whole.sum()), len(room))  # what rounding down took
    whole[room[np.lexsort((room, -(quotas - whole)[room]))][:missing]] += 1
    return whole


def select(
    candidates: Candidates, keys: Reals, budgets: Sequence[int], quotas: Sequence[Integers], novelty: float,
    cap: float = 1.0,
) -> Selected:  # fmt: skip
    """Fill nested budgets, each from the one below it, with the documents of the highest keys.

    Each stratum has its quota, and no cluster more than the share `cap` of a budget; what is then left goes to the best
    documents of any stratum, and last to redundant ones of any cluster, so that a budget is met while there is text.
    `budgets` rise. A document whose key is -inf is never kept.
    """
    order = np.argsort(-keys, kind="stable")
    states, rung = np.where(np.isneginf(keys), np.int8(CLOSED), np.int8(OPEN)), np.full(len(keys), -1, np.int16)
    strata = len(quotas[0])
    taken, seen = np.zeros((len(budgets), strata), np.int64), Seen()
    held = np.zeros(strata, np.int64)
    of_cluster = np.zeros(candidates.clusters.max(initial=0) + 1, np.int64)
    redundant = np.zeros(len(keys), bool)
    for k, budget in enumerate(budgets):
        anywhere = np.full(strata, budget, np.int64)
        for allowed, at_all in ((np.maximum(quotas[k] - held, 0), False), (anywhere, False), (anywhere.copy(), True)):
            left = budget - int(held.sum())
            if at_all and left <= TOLERANCE * budget:
                continue
            if at_all:  # rather what was said before than less than was asked for
                states[states == REDUNDANT] = OPEN
            caps = np.full(len(of_cluster), budget) if at_all else np.maximum(int(cap * budget) - of_cluster, 0)
            caps[0] = budget
            fill(
                order, candidates.tokens, candidates.strata, candidates.clusters, candidates.offsets,
                candidates.shingles, states, allowed, caps, left, TOLERANCE, 0.0 if at_all else novelty, seen,
            )  # fmt: skip
            redundant |= states == REDUNDANT
            fresh = (states == TAKEN) & (rung < 0)
            rung[fresh] = k
            tokens, clusters = candidates.tokens[fresh], candidates.clusters[fresh]
            held += np.bincount(candidates.strata[fresh], tokens, strata).astype(np.int64)
            of_cluster += np.bincount(clusters, tokens, len(of_cluster)).astype(np.int64)
        states[redundant & (states == OPEN)] = REDUNDANT
        taken[k] = held
    return Selected(rung, redundant & (rung < 0), taken, np.stack(quotas))


def repeats_of(taken: Integers, shares: Reals) -> Reals:
    """How often the documents of each stratum are to be repeated so that strata come to their shares, from 1 to 4."""
    wanted = np.divide(shares * taken.sum(), taken, out=np.ones(len(taken)), where=taken > 0)
    repeats: Reals = np.clip(wanted, 1.0, MOST_REPEATS)
    return repeats

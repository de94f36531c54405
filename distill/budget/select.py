"""What a budget of tokens keeps: quotas of strata, filled by quality and diversity, without saying the same twice."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curate.kernels import fill as kernel
from curate.kernels.fill import Seen, fill

Reals = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]
Hashes = npt.NDArray[np.uint64]
Shingles = npt.NDArray[np.uint32]
Flags = npt.NDArray[np.bool_]

OVER_BUDGET, REDUNDANT = -1, -2  # of a document that no rung has: there was better, or too little of it was new
TOLERANCE = 0.001  # of a budget, that may stay unused
MOST_NOISE = 64.0  # more than the noise of two keys differs by: it is made of 53 bits, so from -3.7 to 37
MOST_REPEATS = 4.0  # beyond which repeated text teaches little more (arXiv 2305.16264)


@dataclass(frozen=True)
class Candidates:
    """Documents that a budget may keep, a row each, in any order."""

    places: Integers  # in input order
    keys: Reals  # the highest are kept first, and of equal ones those that come first
    tokens: Shingles
    strata: Numbers  # a number for each stratum, from 0
    clusters: Numbers  # a number for each cluster, from 1; 0 for a document of none
    offsets: Integers  # of their shingles
    shingles: Shingles


# Candidates, layer by layer, the best first: at least those of the strata that are wanted. While they come, strata
# cease to be wanted, and none begins to be.
BestFirst = Callable[[Flags], Iterable[Candidates]]


@dataclass(frozen=True)
class Selected:
    """What a budget keeps."""

    rung: npt.NDArray[np.int16]  # of all documents, the first rung that has it, from 0; or OVER_BUDGET, or REDUNDANT
    documents: Integers  # of each rung
    taken: Integers  # tokens of each rung and stratum, shape (rungs, strata)
    quotas: Integers


def gumbel_keys(wanted: Reals, hashes: Hashes, temperature: float) -> Reals:
    """Keys whose order is a draw without replacement with probabilities like exp(wanted / temperature).

    The Gumbel-top-k trick (Kool et al. 2019, arXiv 1903.06059): the noise of a document comes from its hash alone, so
    that a draw is nested in any larger one. Of temperature 0 the key is what is wanted.
    """
    if temperature == 0:
        return wanted
    uniform = ((hashes >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
    uniform = np.minimum(uniform, np.nextafter(1.0, 0.0))  # the largest one is rounded to 1, whose noise is infinite
    return wanted / temperature - np.log(-np.log(uniform))


def key_span(temperature: float) -> float:
    """More than any two of `gumbel_keys` differ by, of what is wanted from 0 to 1."""
    return 2.0 if temperature == 0 else 1 / temperature + MOST_NOISE


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
    best_first: BestFirst, count: int, clusters: int, budgets: Sequence[int], quotas: Sequence[Integers],
    novelty: float, cap: float = 1.0,
) -> Selected:  # fmt: skip
    """Fill nested budgets, each from the one below it, with the documents of the highest keys.

    Each stratum has its quota, and no cluster more than the share `cap` of a budget; what is then left goes to the best
    documents of any stratum, and last to redundant ones of any cluster, so that a budget is met while there is text.
    `budgets` rise. Of the `count` documents and of clusters, whose numbers are less than `clusters`, a number each is
    held; the documents themselves layer by layer, as far down as a budget asks for.
    """
    rung = np.full(count, OVER_BUDGET, np.int16)
    strata = len(quotas[0])
    documents, taken = np.zeros(len(budgets), np.int64), np.zeros((len(budgets), strata), np.int64)
    held, of_cluster, seen = np.zeros(strata, np.int64), np.zeros(clusters, np.int64), Seen()
    for k, budget in enumerate(budgets):
        anywhere = np.full(strata, budget, np.int64)
        for allowed, at_all in ((np.maximum(quotas[k] - held, 0), False), (anywhere, False), (anywhere.copy(), True)):
            left = np.array([budget - int(held.sum())], np.int64)
            enough = (TOLERANCE * np.append(allowed, left)).astype(np.int64)
            if left[0] <= (TOLERANCE * budget if at_all else enough[-1]):
                continue
            caps = np.full(clusters, budget) if at_all else np.maximum(int(cap * budget) - of_cluster, 0)
            caps[0] = budget
            wanted = allowed > enough[:-1]
            for some in best_first(wanted):
                before = rung[some.places]
                # at all: rather what was said before than less than was asked for
                open_ = (before == OVER_BUDGET) | (before == REDUNDANT) & at_all
                states = np.where(open_, kernel.OPEN, kernel.TAKEN).astype(np.int8)
                fill(
                    _in_order(some, open_ & wanted[some.strata]), some.tokens, some.strata, some.clusters,
                    some.offsets, some.shingles, states, allowed, caps, left, enough, 0.0 if at_all else novelty, seen,
                )  # fmt: skip
                rung[some.places[states == kernel.REDUNDANT]] = REDUNDANT
                fresh = open_ & (states == kernel.TAKEN)
                rung[some.places[fresh]] = k
                documents[k:] += fresh.sum()
                tokens = some.tokens[fresh]
                held += np.bincount(some.strata[fresh], tokens, strata).astype(np.int64)
                of_cluster += np.bincount(some.clusters[fresh], tokens, clusters).astype(np.int64)
                del some  # before the next one is read
                if left[0] <= enough[-1]:
                    break
                wanted[:] = allowed > enough[:-1]
        taken[k] = held
    return Selected(rung, documents, taken, np.stack(quotas))


def _in_order(candidates: Candidates, wanted: Flags) -> Integers:
    """Those that are wanted, in the order of a budget."""
    found = np.flatnonzero(wanted)
    return found[np.lexsort((candidates.places[found], -candidates.keys[found]))]


def repeats_of(taken: Integers, shares: Reals) -> Reals:
    """How often the documents of each stratum are to be repeated so that strata come to their shares, from 1 to 4."""
    wanted = np.divide(shares * taken.sum(), taken, out=np.ones(len(taken)), where=taken > 0)
    repeats: Reals = np.clip(wanted, 1.0, MOST_REPEATS)
    return repeats

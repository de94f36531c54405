"""Selection within a budget: quotas of strata, filled by quality and diversity, without near-repetition."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

OVER_BUDGET, REDUNDANT = -1, -2  # in place of a rung: others were better, or too little was new
TOLERANCE = 0.001  # share of a budget that may stay unused
MAX_NOISE = 64.0  # bound on the difference of the noise of two keys, which has 53 bits and so is from -3.7 to 37
MAX_REPEATS = 4.0  # beyond which repeated text adds little (arXiv 2305.16264)


@dataclass(frozen=True)
class Candidates:
    """Documents that a budget may keep, one per row, in any order."""

    positions: Integers  # in input order
    keys: Reals  # the highest are kept first; of equal ones, the first in input order
    sizes: Shingles  # in the unit of the budget, as all sizes here
    strata: Numbers  # from 0
    clusters: Numbers  # from 1; 0 for documents of no cluster
    offsets: Integers  # of their shingles
    shingles: Shingles


# Candidates layer by layer, best first: at least those of the open strata, whose flags are read before each layer. No
# stratum opens again during iteration.
BestFirst = Callable[[Flags], Iterable[Candidates]]


@dataclass(frozen=True)
class Selection:
    """The documents that a budget keeps."""

    rung: npt.NDArray[np.int16]  # of all documents: the first rung that has it, from 0, or OVER_BUDGET, or REDUNDANT
    documents: Integers  # of each rung
    taken: Integers  # size of each rung and stratum, shape (rungs, strata)
    quotas: Integers


@dataclass
class _Progress:
    """What is selected so far."""

    rung: npt.NDArray[np.int16]
    documents: Integers  # of each rung
    sizes: Integers  # of each stratum
    cluster_sizes: Integers  # of each cluster
    seen: Seen


@dataclass(frozen=True, kw_only=True)
class _Pass:
    """One pass over the candidates to fill a rung; what is left is updated as documents are taken."""

    rung: int
    quotas: Integers  # left of each stratum
    caps: Integers  # left of each cluster
    left: Integers  # of the budget, a single number
    unused: Integers  # what may stay unused of each stratum and, last, of the budget
    novelty: float
    takes_redundant: bool

    def open_strata(self) -> Flags:
        """Which strata have something left."""
        return self.quotas > self.unused[:-1]


def gumbel_keys(values: Reals, hashes: Hashes, temperature: float) -> Reals:
    """Keys whose order is a draw without replacement, with probabilities proportional to exp(values / temperature).

    The Gumbel-top-k trick (Kool et al. 2019, arXiv 1903.06059): the noise of a document depends on its hash alone, so a
    draw is nested in any larger one. With temperature 0 the keys are the values.
    """
    if temperature == 0:
        return values
    uniform = ((hashes >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
    uniform = np.minimum(uniform, np.nextafter(1.0, 0.0))  # the largest is rounded to 1, whose noise is infinite
    return values / temperature - np.log(-np.log(uniform))


def key_span(temperature: float) -> float:
    """A bound on the difference of any two `gumbel_keys` of values from 0 to 1."""
    return 2.0 if temperature == 0 else 1 / temperature + MAX_NOISE


def shares_of(
    masses: Reals, available: Integers, temperature: float, floor: float, targets: Mapping[int, float]
) -> Reals:
    """The target share of a budget for each stratum.

    It is proportional to the stratum's mass to the power of `temperature` (1 keeps the mixture, 0 makes all equal), and
    at least `floor`; strata with a target have that share, and strata without candidates have none.
    """
    has_text = (available > 0) & (masses > 0)
    shares = np.where(has_text, np.power(np.where(has_text, masses, 1.0), temperature), 0.0)
    fixed = np.zeros(len(available), bool)
    for stratum, share in targets.items():
        fixed[stratum] = True
        shares[stratum] = share
    remainder = max(0.0, 1.0 - shares[fixed].sum())
    free = has_text & ~fixed
    if free.any():
        shares[free] *= remainder / shares[free].sum()
        shares[free] = _with_floor(shares[free], min(floor, remainder / free.sum()))
    return shares


def _with_floor(shares: Reals, floor: float) -> Reals:
    """Shares with the same sum that are at least the floor; the others are reduced in proportion."""
    total = shares.sum()
    low = shares < floor
    while True:
        remainder = total - floor * low.sum()
        raised = np.where(low, floor, shares * (remainder / max(shares[~low].sum(), 1e-300)))
        below = raised < floor
        if not (below & ~low).any():
            return raised
        low |= below


def quotas_of(shares: Reals, available: Integers, budget: int) -> Integers:
    """The part of a budget for each stratum: by shares, at most what is available; the remainder goes to the others."""
    budget = min(budget, int(available.sum()))
    quotas = np.zeros(len(shares))
    open_ = (available > 0) & (shares > 0)
    left = float(budget)
    while left >= 1 and open_.any():
        increase = np.where(open_, shares, 0.0) * (left / shares[open_].sum())
        full = open_ & (quotas + increase >= available)
        if not full.any():
            quotas += increase
            break
        quotas[full] = available[full]
        open_ &= ~full
        left = budget - quotas[~open_].sum()
        quotas[open_] = 0.0
    whole = np.minimum(np.floor(quotas).astype(np.int64), available)
    room = np.flatnonzero((whole < available) & (shares > 0))
    missing = min(budget - int(whole.sum()), len(room))  # lost by rounding down
    whole[room[np.lexsort((room, -(quotas - whole)[room]))][:missing]] += 1
    return whole


def select(
    best_first: BestFirst,
    count: int,
    clusters: int,
    budgets: Sequence[int],
    quotas: Sequence[Integers],
    novelty: float,
    cap: float = 1.0,
) -> Selection:
    """Fill nested, ascending budgets with the documents of the highest keys; each starts from the one below it.

    Each stratum has its quota, and no cluster more than the share `cap` of a budget. What remains goes to the best
    documents of any stratum, and last to redundant ones of any cluster, so that a budget is met while there is text.
    Memory is one number for each of the `count` documents and each of the `clusters` (numbers from 0); documents are
    held one layer at a time, as far down as a budget reaches.
    """
    strata = len(quotas[0])
    progress = _Progress(
        rung=np.full(count, OVER_BUDGET, np.int16),
        documents=np.zeros(len(budgets), np.int64),
        sizes=np.zeros(strata, np.int64),
        cluster_sizes=np.zeros(clusters, np.int64),
        seen=Seen(),
    )
    taken = np.zeros((len(budgets), strata), np.int64)
    for rung, budget in enumerate(budgets):
        for one_pass in _passes(rung, budget, quotas[rung], novelty, cap, progress):
            open_strata = one_pass.open_strata()
            for candidates in best_first(open_strata):
                _take(candidates, open_strata, one_pass, progress)
                del candidates  # before the next layer is read
                if one_pass.left[0] <= one_pass.unused[-1]:
                    break
                open_strata[:] = one_pass.open_strata()
        taken[rung] = progress.sizes
    return Selection(progress.rung, progress.documents, taken, np.stack(quotas))


def find_redundant(best_first: BestFirst, count: int, clusters: int, available: Integers, novelty: float) -> Flags:
    """Which of `count` documents have too little that is new to better ones, where all others are kept."""
    total = int(available.sum())
    progress = _Progress(
        rung=np.full(count, OVER_BUDGET, np.int16),
        documents=np.zeros(1, np.int64),
        sizes=np.zeros(len(available), np.int64),
        cluster_sizes=np.zeros(clusters, np.int64),
        seen=Seen(),
    )
    one_pass = _Pass(
        rung=0,
        quotas=available.copy(),
        caps=np.full(clusters, total),
        left=np.array([total], np.int64),
        unused=np.zeros(len(available) + 1, np.int64),
        novelty=novelty,
        takes_redundant=False,
    )
    open_strata = one_pass.open_strata()
    for candidates in best_first(open_strata):
        _take(candidates, open_strata, one_pass, progress)
        open_strata[:] = one_pass.open_strata()
    redundant: Flags = progress.rung == REDUNDANT
    return redundant


def _passes(
    rung: int, budget: int, quota: Integers, novelty: float, cap: float, progress: _Progress
) -> Iterator[_Pass]:
    """The passes that fill a rung: within quotas, then in any stratum, last with redundant documents and without caps.

    Each is created after the previous one has taken its documents.
    """
    anywhere = np.full(len(quota), budget, np.int64)
    within_quotas = np.maximum(quota - progress.sizes, 0)
    for quotas, is_last in ((within_quotas, False), (anywhere, False), (anywhere.copy(), True)):
        left = np.array([budget - int(progress.sizes.sum())], np.int64)
        unused = (TOLERANCE * np.append(quotas, left)).astype(np.int64)
        if left[0] <= (TOLERANCE * budget if is_last else unused[-1]):
            continue
        caps = np.maximum(int(cap * budget) - progress.cluster_sizes, 0)
        if is_last:
            caps = np.full(len(caps), budget)
        caps[0] = budget
        yield _Pass(
            rung=rung,
            quotas=quotas,
            caps=caps,
            left=left,
            unused=unused,
            novelty=0.0 if is_last else novelty,
            takes_redundant=is_last,
        )


def _take(candidates: Candidates, open_strata: Flags, one_pass: _Pass, progress: _Progress) -> None:
    """Take the candidates of a layer that fit."""
    previous = progress.rung[candidates.positions]
    is_open = (previous == OVER_BUDGET) | (previous == REDUNDANT) & one_pass.takes_redundant
    states = np.where(is_open, kernel.OPEN, kernel.TAKEN).astype(np.int8)
    fill(
        order=_best_order(candidates, is_open & open_strata[candidates.strata]),
        sizes=candidates.sizes,
        strata=candidates.strata,
        clusters=candidates.clusters,
        offsets=candidates.offsets,
        shingles=candidates.shingles,
        states=states,
        quotas=one_pass.quotas,
        caps=one_pass.caps,
        left=one_pass.left,
        enough=one_pass.unused,
        novelty=one_pass.novelty,
        seen=progress.seen,
    )
    progress.rung[candidates.positions[states == kernel.REDUNDANT]] = REDUNDANT
    taken = is_open & (states == kernel.TAKEN)
    progress.rung[candidates.positions[taken]] = one_pass.rung
    progress.documents[one_pass.rung :] += taken.sum()
    sizes, strata, clusters = (column[taken] for column in (candidates.sizes, candidates.strata, candidates.clusters))
    progress.sizes += np.bincount(strata, sizes, len(progress.sizes)).astype(np.int64)
    progress.cluster_sizes += np.bincount(clusters, sizes, len(progress.cluster_sizes)).astype(np.int64)


def _best_order(candidates: Candidates, chosen: Flags) -> Integers:
    """Row indices of the chosen candidates, best first."""
    rows = np.flatnonzero(chosen)
    return rows[np.lexsort((candidates.positions[rows], -candidates.keys[rows]))]


def repeats_of(taken: Integers, shares: Reals) -> Reals:
    """Repetitions of the documents of each stratum, from 1 to MAX_REPEATS, that bring strata to their shares."""
    ratios = np.divide(shares * taken.sum(), taken, out=np.ones(len(taken)), where=taken > 0)
    repeats: Reals = np.clip(ratios, 1.0, MAX_REPEATS)
    return repeats

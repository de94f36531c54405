"""Candidates of a token budget, and their selection by sets."""

import numpy as np
from hypothesis import strategies as st

from curate.distill.budget.select import TOLERANCE, Candidates, quotas_of, shares_of


def quotas_by(masses, available, budget, temperature, floor, targets):
    return quotas_of(shares_of(masses, available, temperature, floor, targets), available, budget)


def candidates_of(tokens, strata, sets, keys, clusters=None):
    offsets = np.cumsum([0, *map(len, sets)])
    shingles = np.array([one for found in sets for one in sorted(found)], np.uint32)
    clusters = np.zeros(len(tokens), np.int32) if clusters is None else np.array(clusters, np.int32)
    return Candidates(
        np.arange(len(tokens)), np.array(keys, float), np.array(tokens, np.uint32), np.array(strata, np.int32),
        clusters, offsets.astype(np.int64), shingles,
    )  # fmt: skip


@st.composite
def corpora(draw):
    count = draw(st.integers(1, 40))
    tokens = draw(st.lists(st.integers(1, 50), min_size=count, max_size=count))
    strata = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    sets = draw(st.lists(st.sets(st.integers(0, 60)), min_size=count, max_size=count))
    clusters = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    keys = draw(st.lists(st.integers(0, 5), min_size=count, max_size=count))
    return candidates_of(tokens, strata, sets, keys, clusters), sets


def by_sets(candidates, budgets, quotas, novelty, cap, sets):
    """The same selection, slowly."""
    keys = candidates.keys
    order = sorted(range(len(keys)), key=lambda i: (-keys[i], i))
    rung, redundant, seen = [-1] * len(keys), set(), set()
    held, of_cluster = [0] * len(quotas[0]), [0] * 3
    for k, budget in enumerate(budgets):
        anywhere = [budget] * len(held)
        own = [max(0, int(quota) - had) for quota, had in zip(quotas[k], held, strict=True)]
        for allowed, last in ((own, False), (anywhere, False), (list(anywhere), True)):
            left, needed = budget - sum(held), 0.0 if last else novelty
            if last and left <= TOLERANCE * budget:
                continue
            enough = [int(TOLERANCE * tokens) for tokens in [*allowed, left]]
            room = [budget if last else max(0, int(cap * budget) - had) for had in of_cluster]
            room[0] = budget
            for i in order:
                s, c, size = candidates.strata[i], candidates.clusters[i], int(candidates.sizes[i])
                if left <= enough[-1]:
                    break
                if allowed[s] <= enough[s]:
                    continue
                if rung[i] >= 0 or size > min(left, allowed[s], room[c]) or (not last and i in redundant):
                    continue
                own_set = {max(1, one) for one in sets[i]}
                n = len(sets[i])
                if sum(max(1, one) not in seen for one in sets[i]) < needed * (1 - len(seen) / 2**32) * n:
                    redundant.add(i)
                    continue
                seen |= own_set
                rung[i] = k
                left -= size
                allowed[s] -= size
                room[c] -= size
                of_cluster[c] += size
                held[s] += size
    return rung, {i for i in redundant if rung[i] < 0}

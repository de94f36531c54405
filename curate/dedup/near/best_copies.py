"""Choose the best copy in each cluster of near duplicates.

Scores of copies of one text differ by noise more than by quality. So among the copies whose score is close to the best
of the cluster, the one that agrees most with the others is ranked first: edits touch different places, and the original
is in the middle. Ties, as between two copies, go to the longer text if its surplus reads like the rest.
benchmarks/near_duplicates.py measures how often the original survives (docs/duplicates.md).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.dedup.near.maps import Ranks, Spread, Task, count_resemblance, distinct, resemblances, save, send_members
from curate.kernels.survivors import clusters

TIE = 0.03  # difference of coarse_score within which copies count as equally good
MOST = 256  # only the best documents of a cluster are reordered
BUCKET = 1 << 17  # documents whose signatures are compared by one task
MILLI = 1000
MOST_BITS = 1400  # surplus text counts as good up to 1.4 times its cluster's bits per byte (in thousandths)
LEAST_STOP_WORDS = 400  # without a language model: from 0.4 of its cluster's share of stop words (in thousandths)

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
RunTasks = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]


@dataclass(frozen=True)
class Moved:
    """Documents whose rank changes."""

    before: Ranks
    after: Ranks
    clusters: Ranks  # all documents of their clusters


@dataclass(frozen=True)
class Members:
    """Documents in clusters, cluster by cluster in order of their ranks."""

    ranks: Integers
    begins: Integers  # start of each cluster, and the end

    @property
    def sizes(self) -> Integers:
        """Number of documents in each cluster."""
        return np.diff(self.begins)

    @property
    def cluster(self) -> Integers:
        """The cluster number of each document."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def where(self, selected: npt.NDArray[np.bool_]) -> "Members":
        """The selected members, without clusters of which fewer than two are selected."""
        sizes = np.bincount(self.cluster[selected], minlength=len(self.sizes))
        selected = selected & (sizes[self.cluster] > 1)
        return Members(self.ranks[selected], np.append(0, np.cumsum(sizes[sizes > 1])))


def best_copies_first(
    first: Integers, second: Integers, spread: Spread, run_tasks: RunTasks, connection: duckdb.DuckDBPyConnection
) -> Moved:
    """Reorder the documents that pairs of duplicates link.

    Reads `ranked`, `survivors` and `exact`. Documents of earlier runs keep their ranks, before all others.
    """
    linked = distinct(np.concatenate([first, second]))
    roots = clusters(np.searchsorted(linked, first), np.searchsorted(linked, second), len(linked))
    by_cluster = np.argsort(roots, kind="stable")
    starts = np.flatnonzero(np.diff(roots[by_cluster], prepend=-1))
    all_members = Members(linked[by_cluster], np.append(starts, len(linked)))
    of_this_run = all_members.where(all_members.ranks >= spread.earlier)
    members = of_this_run.where(np.arange(len(of_this_run.ranks)) - of_this_run.begins[of_this_run.cluster] < MOST)
    if not len(members.ranks):
        return Moved(*(np.zeros(0, np.uint32) for _ in range(3)))
    order = _order(members, _facts(members, connection), spread, run_tasks)
    moved = members.ranks[order] != members.ranks
    from_ranks, to_ranks = members.ranks[order][moved], members.ranks[moved]
    changed = np.isin(roots, roots[np.searchsorted(linked, to_ranks)])
    return Moved(*(ranks.astype(np.uint32) for ranks in (from_ranks, to_ranks, linked[changed])))


def _facts(members: Members, connection: duckdb.DuckDBPyConnection) -> dict[str, npt.NDArray[Any]]:
    """What members are ordered by; `copies` counts exact copies, the document included."""
    connection.register("members", pa.table({"rank": members.ranks, "place": np.arange(len(members.ranks))}))
    facts = connection.sql(
        """SELECT coarse_score, n_bytes, n_words, bits_per_byte, stop_word_ratio, 1 + coalesce(further, 0) AS copies
        FROM members JOIN ranked USING (rank) JOIN survivors USING (file_no, row) LEFT JOIN (
            SELECT survivor_file_no AS file_no, survivor_row AS row, count(*) AS further FROM exact GROUP BY ALL
        ) USING (file_no, row) ORDER BY place"""
    ).to_arrow_table()
    connection.unregister("members")
    return {name: facts[name].to_numpy() for name in facts.schema.names}


def _order(members: Members, facts: dict[str, npt.NDArray[Any]], spread: Spread, run_tasks: RunTasks) -> Integers:
    """Positions of the members, best first within each cluster; those not among the best follow in their old order."""
    cluster = members.cluster
    scores = np.rint(facts["coarse_score"].astype(np.float64) * 1e6).astype(np.int64)
    best = np.maximum.reduceat(scores, members.begins[:-1])[cluster]
    worse = scores < best - round(TIE * 1e6)
    agreement = _agreement(members, facts["copies"].astype(np.int64), spread, run_tasks)
    extra_text, words = _surplus(members, facts), facts["n_words"].astype(np.int64)
    criteria = [np.where(worse, 0, -values) for values in (words, extra_text, agreement)]
    return np.lexsort((members.ranks, *criteria, worse, cluster))


def _surplus(members: Members, facts: dict[str, npt.NDArray[Any]]) -> Integers:
    """How much text a copy has, minus a penalty for text that does not read like the rest.

    With a language model: its bytes times 1.4 of the cluster's bits per byte, minus its own bits. Without one: its stop
    words, minus 0.4 of the cluster's share of them times its words. The cluster's value is the lower median.
    """
    size, words = facts["n_bytes"].astype(np.int64), facts["n_words"].astype(np.int64)
    bits, stop_words = (facts[name].astype(np.float64) for name in ("bits_per_byte", "stop_word_ratio"))
    unknown = np.logical_or.reduceat(np.isnan(bits), members.begins[:-1])[members.cluster]
    by_bits, by_stop_words = (np.rint(np.nan_to_num(column) * MILLI).astype(np.int64) for column in (bits, stop_words))
    fluent = size * (_medians(members, by_bits) * MOST_BITS - by_bits * MILLI)
    plain = words * (by_stop_words * MILLI - _medians(members, by_stop_words) * LEAST_STOP_WORDS)
    return np.where(unknown, plain, fluent)


def _medians(members: Members, values: Integers) -> Integers:
    """The lower median of each member's cluster."""
    ordered = values[np.lexsort((values, members.cluster))]
    medians: Integers = ordered[members.begins[:-1] + (members.sizes - 1) // 2]
    return medians[members.cluster]


def _agreement(members: Members, copies: Integers, spread: Spread, run_tasks: RunTasks) -> Integers:
    """In how many signature values each document agrees with the rest of its cluster, weighted by their exact copies.

    0 in clusters of two.
    """
    has_others = np.add.reduceat(copies, members.begins[:-1])[members.cluster] > 2
    comparable = members.where(has_others)
    agreement = np.zeros(len(copies), np.int64)
    if not len(comparable.ranks):
        return agreement
    by_rank = np.argsort(comparable.ranks)
    starts = comparable.begins[:-1]
    buckets = np.append(starts[np.flatnonzero(np.diff(starts // BUCKET, prepend=-1))], len(comparable.ranks))
    arrays = {"members": comparable.ranks[by_rank], "places": by_rank, "begins": comparable.begins, "buckets": buckets}
    for name, array in (arrays | {"copies": copies[has_others]}).items():
        save(spread.path(name), array)
    run_tasks(send_members, [Task(spread, of.number) for of in spread.slices])
    tasks = [Task(spread, k, range(buckets[k], buckets[k + 1])) for k in range(len(buckets) - 1)]
    run_tasks(count_resemblance, tasks)
    agreement[has_others] = resemblances(spread, len(tasks))
    return agreement

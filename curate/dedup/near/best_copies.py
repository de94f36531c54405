"""Which copy comes first in each cluster of near duplicates, where the best one is to survive.

Scores of copies of one text differ by chance more than by worth. So of those whose score is nearly the best of the
cluster, the one comes first that most resembles the others: editors change different places, and what they started from
is in the middle. Where that settles nothing, as between two, the one with more text comes first, if what it has more
reads like the rest. benchmarks/near_duplicates.py measures how often the original survives (docs/duplicates.md).
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

TIE = 0.03  # of coarse_score, within which copies are equally good
MOST = 256  # documents of a cluster that are put in order: its best ones
BUCKET = 1 << 17  # documents whose signatures are compared by one task
MILLI = 1000
MOST_BITS = 1400  # thousandths of its cluster's bits per byte, up to which further text is welcome
LEAST_STOP_WORDS = 400  # without a language model: thousandths of its cluster's share of stop words, from which on

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
RunTasks = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]


@dataclass(frozen=True)
class Moved:
    """Documents that come in another order than that of their ranks."""

    before: Ranks
    after: Ranks
    clusters: Ranks  # all documents of clusters that have some


@dataclass(frozen=True)
class Members:
    """Documents in clusters, cluster by cluster in order of their ranks."""

    ranks: Integers
    begins: Integers  # where each cluster begins, and the end

    @property
    def sizes(self) -> Integers:
        """Documents of each cluster."""
        return np.diff(self.begins)

    @property
    def cluster(self) -> Integers:
        """The number of each document's cluster."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def some(self, wanted: npt.NDArray[np.bool_]) -> "Members":
        """Those that are wanted, of clusters that have several."""
        left = np.bincount(self.cluster[wanted], minlength=len(self.sizes))
        wanted = wanted & (left[self.cluster] > 1)
        return Members(self.ranks[wanted], np.append(0, np.cumsum(left[left > 1])))


def best_copies_first(
    first: Integers, second: Integers, spread: Spread, run_tasks: RunTasks, connection: duckdb.DuckDBPyConnection
) -> Moved:
    """The order of documents that pairs of duplicates link, where it is not that of their ranks.

    Reads `ranked`, `survivors` and `exact`. Documents of earlier runs stay where they are, before all others.
    """
    linked = distinct(np.concatenate([first, second]))
    roots = clusters(np.searchsorted(linked, first), np.searchsorted(linked, second), len(linked))
    by_cluster = np.argsort(roots, kind="stable")
    starts = np.flatnonzero(np.diff(roots[by_cluster], prepend=-1))
    every = Members(linked[by_cluster], np.append(starts, len(linked)))
    own = every.some(every.ranks >= spread.earlier)
    members = own.some(np.arange(len(own.ranks)) - own.begins[own.cluster] < MOST)
    if not len(members.ranks):
        return Moved(*(np.zeros(0, np.uint32) for _ in range(3)))
    order = _order(members, _facts(members, connection), spread, run_tasks)
    moved = members.ranks[order] != members.ranks
    before, after = members.ranks[order][moved], members.ranks[moved]
    changed = np.isin(roots, roots[np.searchsorted(linked, after)])
    return Moved(*(some.astype(np.uint32) for some in (before, after, linked[changed])))


def _facts(members: Members, connection: duckdb.DuckDBPyConnection) -> dict[str, npt.NDArray[Any]]:
    """What tells the members' order, with how many exact copies each stands for, itself included."""
    connection.register("members", pa.table({"rank": members.ranks, "place": np.arange(len(members.ranks))}))
    found = connection.sql(
        """SELECT coarse_score, n_bytes, n_words, bits_per_byte, stop_word_ratio, 1 + coalesce(further, 0) AS copies
        FROM members JOIN ranked USING (rank) JOIN survivors USING (file_no, row) LEFT JOIN (
            SELECT survivor_file_no AS file_no, survivor_row AS row, count(*) AS further FROM exact GROUP BY ALL
        ) USING (file_no, row) ORDER BY place"""
    ).to_arrow_table()
    connection.unregister("members")
    return {name: found[name].to_numpy() for name in found.schema.names}


def _order(members: Members, facts: dict[str, npt.NDArray[Any]], spread: Spread, run_tasks: RunTasks) -> Integers:
    """The members' places in order, cluster by cluster; those that are not among the best keep theirs behind them."""
    cluster = members.cluster
    scores = np.rint(facts["coarse_score"].astype(np.float64) * 1e6).astype(np.int64)
    best = np.maximum.reduceat(scores, members.begins[:-1])[cluster]
    worse = scores < best - round(TIE * 1e6)
    alike = _resemblance(members, facts["copies"].astype(np.int64), spread, run_tasks)
    welcome, words = _welcome(members, facts), facts["n_words"].astype(np.int64)
    told = [np.where(worse, 0, -values) for values in (words, welcome, alike)]
    return np.lexsort((members.ranks, *told, worse, cluster))


def _welcome(members: Members, facts: dict[str, npt.NDArray[Any]]) -> Integers:
    """How much text a copy has, less what it costs: what one has more should read like the rest.

    By a language model: its bytes times 1.4 of the cluster's bits per byte, less its own bits. Without one: its stop
    words, less 0.4 of the cluster's share of them times its words. Of a cluster, that is the lower median.
    """
    size, words = facts["n_bytes"].astype(np.int64), facts["n_words"].astype(np.int64)
    bits, stop_words = (facts[name].astype(np.float64) for name in ("bits_per_byte", "stop_word_ratio"))
    unknown = np.logical_or.reduceat(np.isnan(bits), members.begins[:-1])[members.cluster]
    by_bits, by_stop_words = (np.rint(np.nan_to_num(some) * MILLI).astype(np.int64) for some in (bits, stop_words))
    fluent = size * (_medians(members, by_bits) * MOST_BITS - by_bits * MILLI)
    plain = words * (by_stop_words * MILLI - _medians(members, by_stop_words) * LEAST_STOP_WORDS)
    return np.where(unknown, plain, fluent)


def _medians(members: Members, values: Integers) -> Integers:
    """For each member the lower median of its cluster."""
    ordered = values[np.lexsort((values, members.cluster))]
    medians: Integers = ordered[members.begins[:-1] + (members.sizes - 1) // 2]
    return medians[members.cluster]


def _resemblance(members: Members, copies: Integers, spread: Spread, run_tasks: RunTasks) -> Integers:
    """In how many values of its signature each document agrees with the others of its cluster, and with their copies.

    Of two there is nothing to tell.
    """
    for_it = np.add.reduceat(copies, members.begins[:-1])[members.cluster] > 2
    asked = members.some(for_it)
    found = np.zeros(len(copies), np.int64)
    if not len(asked.ranks):
        return found
    by_rank = np.argsort(asked.ranks)
    starts = asked.begins[:-1]
    buckets = np.append(starts[np.flatnonzero(np.diff(starts // BUCKET, prepend=-1))], len(asked.ranks))
    arrays = {"members": asked.ranks[by_rank], "places": by_rank, "begins": asked.begins, "buckets": buckets}
    for name, array in (arrays | {"copies": copies[for_it]}).items():
        save(spread.path(name), array)
    run_tasks(send_members, [Task(spread, of.number) for of in spread.slices])
    tasks = [Task(spread, k, range(buckets[k], buckets[k + 1])) for k in range(len(buckets) - 1)]
    run_tasks(count_resemblance, tasks)
    found[for_it] = resemblances(spread, len(tasks))
    return found

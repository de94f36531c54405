"""Intervals and tests of shares, for one group against the rest, overall and within strata; all of integer counts."""

import math
from collections.abc import Sequence
from typing import NamedTuple

Z = 1.959963984540054  # 95 % of the normal distribution are within
LEAST_EXPECTED = 10.0  # in each cell of a table; with fewer, its test is exact
LEAST_FREE = 5.0  # documents by which the group's drops could be fewer or more (Mantel and Fleiss 1980)


class Table(NamedTuple):
    """A group and the rest, each with the documents that were dropped and all that could be."""

    dropped: int
    documents: int
    rest_dropped: int
    rest_documents: int


class Interval(NamedTuple):
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


def wilson(hits: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share, of which `hits` among `total` (above zero) were observed.

    (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n), as in Wilson 1927, "Probable inference, the law of succession,
    and statistical inference", Journal of the American Statistical Association 22: 209-212. Valid for few documents and
    for shares near 0 and 1 too.
    """
    share, square = hits / total, Z * Z / total
    middle = (share + square / 2) / (1 + square)
    half = Z * math.sqrt(share * (1 - share) / total + square / (4 * total)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def difference(table: Table) -> Interval:
    """The group's share minus that of the rest; both have documents.

    d − √((p − l)² + (u' − p')²) to d + √((u − p)² + (p' − l')²), where l and u are the ends of Wilson's intervals:
    Newcombe 1998, "Interval estimation for the difference between independent proportions", Statistics in Medicine 17:
    873-890, method 10.
    """
    share, rest = table.dropped / table.documents, table.rest_dropped / table.rest_documents
    low, high = wilson(table.dropped, table.documents)
    rest_low, rest_high = wilson(table.rest_dropped, table.rest_documents)
    value = share - rest
    return Interval(
        value, value - math.hypot(share - low, rest_high - rest), value + math.hypot(high - share, rest - rest_low)
    )


def common_difference(tables: Sequence[Table]) -> Interval | None:
    """The group's share minus that of the rest, within strata; None where no stratum has documents of both.

    Mantel's and Haenszel's weights n·n'/N, with the variance of Sato 1989, "On the variance estimator for the
    Mantel-Haenszel risk difference", Biometrics 45: 1323-1324, valid for many small strata and for few large ones.
    """
    weights = products = squares = top = 0.0
    for dropped, documents, rest_dropped, rest_documents in _shared(tables):
        total = documents + rest_documents
        weights += documents * rest_documents / total
        top += (dropped * rest_documents - rest_dropped * documents) / total
        products += (
            documents**2 * rest_dropped
            - rest_documents**2 * dropped
            + documents * rest_documents * (rest_documents - documents) / 2
        ) / total**2
        squares += (dropped * (rest_documents - rest_dropped) + rest_dropped * (documents - dropped)) / (2 * total)
    if not weights:
        return None
    value = top / weights
    half = Z * math.sqrt(max(0.0, value * products + squares)) / weights
    return Interval(value, max(-1.0, value - half), min(1.0, value + half))


def p_of(tables: Sequence[Table]) -> float | None:
    """The two-sided p that within no stratum the group is dropped more or less often than the rest.

    Cochran 1954, and Mantel and Haenszel 1959, without correction of continuity. One table with few expected documents
    gets Fisher's exact test. None where the strata leave the number of dropped documents too little choice.
    """
    shared = _shared(tables)
    if len(shared) == 1 and _least_expected(shared[0]) < LEAST_EXPECTED:
        return _fisher(shared[0])
    surplus = variance = down = up = 0.0
    for dropped, documents, rest_dropped, rest_documents in shared:
        total, gone = documents + rest_documents, dropped + rest_dropped
        expected = documents * gone / total
        surplus += dropped - expected
        variance += expected * (rest_documents / total) * ((total - gone) / (total - 1))
        down += expected - max(0, gone - rest_documents)
        up += min(documents, gone) - expected
    if min(down, up) < LEAST_FREE and len(shared) != 1:
        return None
    return math.erfc(math.sqrt(surplus**2 / variance / 2)) if variance else 1.0


def _shared(tables: Sequence[Table]) -> list[Table]:
    """The tables that have documents of both, and so can compare them."""
    return [table for table in tables if table.documents and table.rest_documents]


def _least_expected(table: Table) -> float:
    total, gone = table.documents + table.rest_documents, table.dropped + table.rest_dropped
    return min(table.documents, table.rest_documents) * min(gone, total - gone) / total


def _fisher(table: Table) -> float:
    """Fisher's exact p, two-sided: of all tables with these margins, those that are no more likely."""
    dropped, documents, rest_dropped, rest_documents = table
    if documents > rest_documents:  # the smaller margins of both kinds first: there are few tables
        dropped, documents, rest_dropped, rest_documents = rest_dropped, rest_documents, dropped, documents
    total, gone = documents + rest_documents, dropped + rest_dropped
    if 2 * gone > total:
        dropped, gone = documents - dropped, total - gone
    logs = [0.0]  # of the probability of 0, 1, … documents in the corner, up to a constant
    for k in range(min(documents, gone)):
        odds = (documents - k) * (gone - k) / ((k + 1) * (total - documents - gone + k + 1))
        logs.append(logs[-1] + math.log(odds))
    most = max(logs)
    weights = [math.exp(log - most) for log in logs]
    extreme = [weight for log, weight in zip(logs, weights, strict=True) if log <= logs[dropped] + 1e-7]
    return min(1.0, math.fsum(extreme) / math.fsum(weights))


class Moves(NamedTuple):
    """Documents that two verdicts are on, and those that only one keeps."""

    documents: int
    gained: int
    lost: int

    @property
    def change(self) -> float:
        """Of the share dropped, from the first verdict to the second."""
        return (self.lost - self.gained) / self.documents

    @property
    def variance(self) -> float:
        """Of the change: the verdicts are on the same documents, as in McNemar 1947."""
        return ((self.gained + self.lost) / self.documents - self.change**2) / self.documents


def difference_of_changes(group: Moves, rest: Moves) -> Interval:
    """The group's change of the share dropped minus that of the rest, with a normal interval."""
    value, half = group.change - rest.change, Z * math.sqrt(group.variance + rest.variance)
    return Interval(value, value - half, value + half)


def p_of_changes(group: Moves, rest: Moves) -> float | None:
    """The two-sided p that the group changes as the rest does; None where too few documents do for a normal law."""
    if group.gained + group.lost + rest.gained + rest.lost < LEAST_EXPECTED:
        return None
    documents, gained, lost = (a + b for a, b in zip(group, rest, strict=True))
    pooled = Moves(documents, gained, lost)
    spread = pooled.variance * documents * (1 / group.documents + 1 / rest.documents)
    if min(group.documents, rest.documents) * (gained + lost) / documents < LEAST_FREE:
        return None
    return math.erfc(abs(group.change - rest.change) / math.sqrt(2 * spread)) if spread else 1.0


def holm(values: Sequence[float | None]) -> list[float | None]:
    """The p of each comparison, corrected for how many there are; None is no comparison.

    Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6: 65-70.
    Groups overlap and stages depend on each other, and this holds whatever the dependence.
    """
    order = sorted((value, k) for k, value in enumerate(values) if value is not None)
    corrected: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (value, k) in enumerate(order):
        highest = max(highest, min(1.0, value * (len(order) - rank)))
        corrected[k] = highest
    return corrected

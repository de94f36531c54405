"""Drop rates of groups at each stage, each against the rest of the documents that reach the stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import duckdb
import numpy as np

from curate.display import fields_of
from curate.ledger.names import STAGES
from curate.maps.documents import masked_values
from curate.who.cells import KEPT, LEAST, TABLE, Cells, Counts, count_cells, main_reasons
from curate.who.dimensions import Dimension
from curate.who.statistics import Interval, Table, common_difference, difference, holm, p_of, wilson

ALL = "all"  # all stages together
LEVEL = 0.05  # of p, corrected
LEAST_DIFFERENCE = 0.01  # in the share dropped; less is not marked, however certain

Mark = Literal["more", "less"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What a stage drops of the documents of a group that reach it, against the rest of those that do."""

    dimension: str
    value: str | None
    stage: str
    documents: int
    dropped: int
    tokens: int
    tokens_dropped: int
    share: float
    low: float
    high: float
    rest_share: float | None = None  # None: all documents are of the group
    difference: Interval | None = None
    p: float | None = None  # corrected
    within: Interval | None = None  # the difference within strata
    within_p: float | None = None
    mark: Mark | None = None  # beyond chance and LEAST_DIFFERENCE
    within_mark: Mark | None = None
    reason: str | None = None  # of all stages: the most frequent one
    reason_documents: int | None = None

    def to_json(self) -> dict[str, object]:
        """The fields, those of intervals one by one: a row of table `who`."""
        row: dict[str, object] = {}
        for name, value in fields_of(self).items():
            if name in ("difference", "within"):
                ends = value if isinstance(value, Interval) else (None, None, None)
                row |= {f"{name}{end}": brief(part) for end, part in zip(("", "_low", "_high"), ends, strict=True)}
            else:
                row[name] = brief(value)
        return row


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherGroups:
    """All groups that are not listed."""

    groups: int
    documents: int
    dropped: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DimensionRates:
    """The rates of a dimension's groups: of all stages, then of each that drops something."""

    name: str
    within: Sequence[str]  # what the strata are made of
    rates: Sequence[Rate]
    other: OtherGroups | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Who is dropped: all dimensions, and how many comparisons the values of p are corrected for."""

    documents: int
    dropped: int
    tokens: int
    tokens_dropped: int
    comparisons: int
    least: int
    dimensions: Sequence[DimensionRates]

    @property
    def share(self) -> float:
        """The share of all documents that is dropped."""
        return self.dropped / self.documents if self.documents else 0.0


def brief(value: object) -> object:
    """A value, with six digits where it is a float."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def who(connection: duckdb.DuckDBPyConnection, dimensions: Sequence[Dimension], columns: Sequence[str]) -> Who:
    """The drop rates by each of these dimensions, from the narrow table, which has `columns`."""
    [[documents, dropped, tokens, tokens_dropped]] = connection.execute(
        f"SELECT count(*), count(stage), coalesce(sum(tokens), 0)::BIGINT, "
        f"coalesce(sum(tokens) FILTER (stage IS NOT NULL), 0)::BIGINT FROM {TABLE}"
    ).fetchall()
    found = [_rates_of(connection, dimension, columns) for dimension in dimensions]
    corrected = _corrected([rates for rates in found if rates.rates])
    return Who(
        documents=documents,
        dropped=dropped,
        tokens=tokens,
        tokens_dropped=tokens_dropped,
        comparisons=sum(rate.p is not None for rates in corrected for rate in rates.rates),
        least=LEAST,
        dimensions=corrected,
    )


def _rates_of(connection: duckdb.DuckDBPyConnection, dimension: Dimension, columns: Sequence[str]) -> DimensionRates:
    cells = count_cells(connection, dimension, columns)
    reasons = main_reasons(connection, dimension)
    stages = [k for k in range(KEPT) if cells.documents[-1, :, k].any()]
    rates = []
    for k in range(len(cells.groups)):
        rates += _rates_of_group(cells, k, stages, reasons)
    other = None if dimension.several else _other(cells)
    return DimensionRates(name=dimension.name, within=cells.within, rates=rates, other=other)


def _rates_of_group(
    cells: Cells, k: int, stages: Sequence[int], reasons: Mapping[str | None, tuple[str, int]]
) -> list[Rate]:
    name = cells.groups[k]
    reason, most = reasons.get(name, (None, None))
    whole = _rate(cells, k, slice(0, KEPT), ALL)
    assert whole is not None  # it has LEAST documents
    by_stage = [_rate(cells, k, slice(stage, stage + 1), STAGES[stage]) for stage in stages]
    shown = masked_values({"": name})[""]
    rates = [replace(whole, reason=reason, reason_documents=most), *(rate for rate in by_stage if rate is not None)]
    return [replace(rate, value=shown) for rate in rates]


def _rate(cells: Cells, k: int, dropping: slice, stage: str) -> Rate | None:
    """The rate of a group at stages in a row; None where fewer than LEAST of its documents reach them."""
    strata = _tables(cells.documents[k], cells.rest[k], dropping)
    whole = Table(*(sum(column) for column in zip(*strata, strict=True)))
    if whole.documents < LEAST:
        return None
    low, high = wilson(whole.dropped, whole.documents)
    rate = Rate(
        dimension=cells.dimension.name,
        value=cells.groups[k],
        stage=stage,
        documents=whole.documents,
        dropped=whole.dropped,
        tokens=int(cells.tokens[k, dropping.start :].sum()),
        tokens_dropped=int(cells.tokens[k, dropping].sum()),
        share=whole.dropped / whole.documents,
        low=low,
        high=high,
    )
    if whole.rest_documents < LEAST:
        return rate
    common = p = None
    if cells.within:
        common, p = common_difference(strata), p_of(strata)
    return replace(
        rate,
        rest_share=whole.rest_dropped / whole.rest_documents,
        difference=difference(whole),
        p=p_of([whole]),
        within=common if p is not None else None,
        within_p=p,
    )


def _tables(group: Counts, rest: Counts, dropping: slice) -> list[Table]:
    """A table for each stratum, of the documents that reach the first of these stages."""
    sides = [(side[:, dropping].sum(1), side[:, dropping.start :].sum(1)) for side in (group, rest)]
    rows = np.stack([column for side in sides for column in side], axis=1).tolist()
    return [Table(*row) for row in rows]


def _other(cells: Cells) -> OtherGroups | None:
    by_stage = (cells.documents[-1] - cells.documents[:-1].sum(0)).sum(0)
    documents, dropped = int(by_stage.sum()), int(by_stage[:KEPT].sum())
    if not documents:
        return None
    low, high = wilson(dropped, documents)
    return OtherGroups(
        groups=cells.more, documents=documents, dropped=dropped, share=dropped / documents, low=low, high=high
    )


def _corrected(dimensions: Sequence[DimensionRates]) -> list[DimensionRates]:
    """The rates with their values of p corrected for all comparisons of all dimensions, and marks."""
    flat = [rate for rates in dimensions for rate in rates.rates]
    raw, within = holm([rate.p for rate in flat]), holm([rate.within_p for rate in flat])
    marked = iter(
        replace(
            rate,
            p=p,
            within_p=within_p,
            mark=_mark(rate.difference, p),
            within_mark=_mark(rate.within, within_p),
        )
        for rate, p, within_p in zip(flat, raw, within, strict=True)
    )
    return [replace(rates, rates=[next(marked) for _ in rates.rates]) for rates in dimensions]


def _mark(of: Interval | None, p: float | None) -> Mark | None:
    if of is None or p is None or p >= LEVEL or abs(of.value) < LEAST_DIFFERENCE:
        return None
    return "more" if of.value > 0 else "less"

"""Bounds within strata: how far scores may go so that few good documents, or little of their text, are lost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curate.distill.purify.conformal import least_documents
from curate.distill.purify.training import check_calibration
from curate.errors import RecipeError
from curate.recipe.tier2 import Tier2
from curate.sql import quoted

NOT_STRATA = ("doc_id", "p_bad", "n_bytes", "passages")  # columns of calibration sets


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound, and the 95 % interval of the share of good documents beyond it (None where it is not known)."""

    bound: float
    drop_low: float | None = None
    drop_high: float | None = None


LimitOf = Callable[[pa.Table], Limit]  # of calibration documents, which are enough


@dataclass(frozen=True, slots=True)
class _Bound:
    """The limit of a stratum."""

    values: tuple[str, ...]  # of the first strata; the others do not count
    documents: int
    limit: Limit

    def row(self, strata: Sequence[str]) -> dict[str, object]:
        """The row of the table of bounds."""
        return {
            **dict(zip(strata, self.values, strict=False)),
            "depth": len(self.values),
            "documents": self.documents,
            "bound": self.limit.bound,
            "drop_low": self.limit.drop_low,
            "drop_high": self.limit.drop_high,
        }


def bounds_of(calibration: pa.Table, section: Tier2, strata: Sequence[str], limit_of: LimitOf) -> pa.Table:
    """The bound of each stratum with enough calibration documents, and of those that remain in a wider stratum.

    A wider stratum is bounded by the documents of those narrower ones within it that have too few for a bound of their
    own, because the others would not represent them. If too few remain in the end, they get the largest bound of all.

    In:     a row for each document, with the columns of `strata` and what `limit_of` reads.
    Out:    the columns of `strata`, depth (how many of them count), documents, bound, and the 95 % interval of the
            share of good documents that it drops (null where there is no guarantee).
    Errors: InputError where all of them together are too few; RecipeError for a stratum that calibration lacks.
    """
    check_calibration(calibration, section)
    check_strata(calibration, strata)
    needed = least_documents(section.max_false_drop)
    unbounded = calibration
    bounds: list[_Bound] = []
    for depth in range(len(strata), -1, -1):
        covered = np.zeros(len(unbounded), bool)
        for values, indices in _by_strata(unbounded, strata[:depth]):
            if len(indices) >= needed:
                bounds.append(_Bound(values, len(indices), limit_of(unbounded.take(pa.array(indices)))))
                covered[indices] = True
        unbounded = unbounded.filter(pa.array(~covered))
    if all(bound.values for bound in bounds):
        largest = max([limit_of(calibration).bound, *(bound.limit.bound for bound in bounds)])
        bounds.append(_Bound((), len(unbounded), Limit(largest)))
    types = [(name, pa.string()) for name in strata] + [("depth", pa.int32()), ("documents", pa.int64())]
    types += [("bound", pa.float32()), ("drop_low", pa.float64()), ("drop_high", pa.float64())]
    order = [(name, "ascending") for name in ("depth", *strata)]
    return pa.Table.from_pylist([bound.row(strata) for bound in bounds], pa.schema(types)).sort_by(order)


def check_strata(calibration: pa.Table, strata: Sequence[str]) -> None:
    """Refuse a stratum that calibration lacks, because it was not in the recipe when the models were trained.

    Errors: RecipeError.
    """
    for name in strata:
        if name not in calibration.schema.names:
            field = f"input.strata: {name.removeprefix('input.')}" if name.startswith("input.") else f"tier2.by: {name}"
            names = [column for column in calibration.schema.names if column not in NOT_STRATA]
            raise RecipeError(f"{field}: the models were trained without it (known: {', '.join(names) or 'none'})")


def _by_strata(table: pa.Table, strata: Sequence[str]) -> list[tuple[tuple[str, ...], list[int]]]:
    """Row indices of each stratum, sorted by its values; rows with a null value have none."""
    indices: dict[tuple[str, ...], list[int]] = {}
    columns = [table[name].to_pylist() for name in strata]
    for k, values in enumerate(zip(*columns, strict=True) if columns else [()] * len(table)):
        if None not in values:
            indices.setdefault(values, []).append(k)
    return sorted(indices.items())


def bound_sql(strata: Sequence[str], table: str) -> tuple[str, str]:
    """SQL of the bound of a document `d` in its narrowest bounded stratum: joins with a table of bounds; the value."""
    depths = range(len(strata) + 1)
    joins = "".join(
        f"\n            LEFT JOIN {table} b{k} ON b{k}.depth = {k}"
        + "".join(f" AND b{k}.{quoted(name)} = d.purify_{j}" for j, name in enumerate(strata[:k]))
        for k in depths
    )
    return joins, f"coalesce({', '.join(f'b{k}.bound' for k in reversed(depths))})"

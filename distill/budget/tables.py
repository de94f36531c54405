"""Tables `rungs` and `quotas`: what each budget keeps of each stratum, and what a training reads of it by weights."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.distill.budget.layers import Arrays, columns_in
from curate.distill.budget.select import Integers, Selection
from curate.recipe.values import Unit

FIXED = 1024  # weighted tokens are summed in units of a 1,024th, as integers: sums of reals depend on their order

WeightsOf = Callable[[Arrays], npt.NDArray[np.float32]]  # how often a training reads each document that is kept


def kept_sizes(path: Path, selection: Selection, weights_of: WeightsOf) -> dict[str, Integers]:
    """What is kept of each rung and stratum, shape (rungs, strata): tokens, bytes, and both as often as they are read.

    What is read is in units of a FIXED-th. `path` has the candidates' columns: tokens, bytes, stratum, and what
    `weights_of` reads.
    """
    rungs, strata = selection.taken.shape
    sizes = {name: np.zeros(rungs * strata, np.int64) for name in ("tokens", "bytes", "read_tokens", "read_bytes")}
    begin = 0
    for columns in columns_in(path):
        rung = selection.rung[begin : begin + len(columns["stratum"])]
        begin += len(rung)
        kept = rung >= 0
        places = rung[kept].astype(np.int64) * strata + columns["stratum"][kept]
        weights = weights_of(columns)[kept].astype(np.float64)
        for unit in ("tokens", "bytes"):
            values = columns[unit][kept]
            sizes[unit] += np.bincount(places, values, rungs * strata).astype(np.int64)
            read = np.rint(FIXED * weights * values)
            sizes[f"read_{unit}"] += np.bincount(places, read, rungs * strata).astype(np.int64)
    return {name: np.cumsum(sums.reshape(rungs, strata), axis=0) for name, sums in sizes.items()}


def _whole(name: str, sums: Integers) -> Integers:
    """Sums of `kept_sizes` without fractions."""
    return (sums + FIXED // 2) // FIXED if name.startswith("read_") else sums


def rung_rows(
    budgets: Sequence[tuple[int, float]], unit: Unit, selection: Selection, sizes: Mapping[str, Integers]
) -> pa.Table:
    """Table `rungs`, of budgets with their shares of the input and `kept_sizes`."""
    count = len(budgets)
    return pa.table(
        {
            "rung": np.arange(1, count + 1, dtype=np.int16),
            "share": np.array([share for _, share in budgets]),
            "unit": pa.array([unit] * count, pa.string()),
            "budget": np.array([budget for budget, _ in budgets], np.int64),
            "documents": selection.documents,
            **{name: _whole(name, values.sum(axis=1)) for name, values in sizes.items()},
        }
    )


def quota_rows(
    names: Sequence[str], unit: Unit, available: Integers, selection: Selection, sizes: Mapping[str, Integers]
) -> pa.Table:
    """Table `quotas`, of strata by name with what was available of them and `kept_sizes`."""
    rungs, strata = selection.taken.shape
    return pa.table(
        {
            "stratum": pa.array([*names] * rungs, pa.string()),
            "rung": np.repeat(np.arange(1, rungs + 1, dtype=np.int16), strata),
            "unit": pa.array([unit] * (rungs * strata), pa.string()),
            "available": np.tile(available, rungs),
            "quota": selection.quotas.ravel(),
            **{name: _whole(name, values.ravel()) for name, values in sizes.items()},
        }
    )

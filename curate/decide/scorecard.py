"""The scorecard: every signal over the input and over what is kept, and how far the two differ."""

from collections.abc import Mapping
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.ledger.ledger import Ledger
from curate.ledger.names import DECISIONS, INPUT, SEPARATE_GROUPS
from curate.ledger.views import document_ranges, load_files, load_signals
from curate.sql import quoted, read_parquet

SAMPLE = 100_000  # documents: quantiles of so many are off by less than half a percentile
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 10  # of equally many documents of the input
LEAST_SHARE = 1e-4  # share given to an empty bin, whose logarithm would be infinite
DIGITS = 6
HASHES = tuple(f"{text}_hash_{half}" for text in ("raw", "text", "normal") for half in ("high", "low"))
NO_SIGNALS = ("file_no", "row", "raw_n_bytes", *HASHES)

SCORECARD = pa.schema(
    [("signal", pa.string())]
    + [(f"{name}_{when}", pa.float64()) for when in ("before", "after")
       for name in ("mean", *(f"p{quantile * 100:.0f}" for quantile in QUANTILES))]
    + [("psi", pa.float64())]
)  # fmt: skip

Values = npt.NDArray[np.float64]


def scorecard(ledger: Ledger, groups: Mapping[str, str], connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """One row per signal: mean and quantiles before and after, and the population stability index.

    From a large corpus, SAMPLE documents are drawn by their place.
    """
    load_files(connection, ledger)
    measured = {group: digest for group, digest in groups.items() if group not in (INPUT, *SEPARATE_GROUPS)}
    decisions = read_parquet(ledger.run / part.path for part in ledger.of(DECISIONS))
    total = sum(part.rows for part in ledger.of(DECISIONS))
    drawn = (
        f"(row + 7919 * file_no::BIGINT) * 2654435761 % 4294967296 < {round(min(1, SAMPLE / max(1, total)) * 2**32)}"
    )
    tables = []
    for documents in document_ranges(ledger, measured):
        load_signals(connection, ledger, measured, documents.parts)
        schema = connection.sql("SELECT * FROM signals LIMIT 0").to_arrow_table().schema
        names = [f.name for f in schema if f.name not in NO_SIGNALS and _is_number(f.type)]
        columns = "".join(f", s.{quoted(name)}::DOUBLE AS {quoted(name)}" for name in names)
        query = f"""SELECT kept{columns} FROM signals s JOIN {decisions} USING (file_no, row) JOIN files USING (file_no)
            WHERE {drawn} AND {documents.exact_sql} ORDER BY position, row"""
        tables.append(connection.sql(query).to_arrow_table())
    table = pa.concat_tables(tables)
    kept = table["kept"].to_numpy()
    return [
        {"signal": name} | _compared(values, values[kept])
        for name, values in ((name, table[name].to_numpy()) for name in table.column_names[1:])
    ]


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _compared(before: Values, after: Values) -> dict[str, Any]:
    """Mean, quantiles and drift of a signal."""
    row: dict[str, Any] = {}
    for name, values in (("before", before), ("after", after)):
        there = values[~np.isnan(values)]
        row[f"mean_{name}"] = _rounded(there.mean()) if len(there) else None
        bounds = [_rounded(bound) for bound in np.quantile(there, QUANTILES)] if len(there) else [None] * len(QUANTILES)
        row |= {f"p{quantile * 100:.0f}_{name}": bound for quantile, bound in zip(QUANTILES, bounds, strict=True)}
    return row | {"psi": _rounded(stability(before, after)) if len(after) else None}


def stability(before: Values, after: Values) -> float:
    """Population stability index: sum over bins of (a - b) ln(a / b), with the shares b before and a after.

    Bins hold a tenth of `before` each; nulls are a bin of their own. Below 0.1 is commonly called stable, above 0.25 a
    shift.
    """
    present = before[~np.isnan(before)]
    edges = np.unique(np.quantile(present, np.linspace(0, 1, BINS + 1)[1:-1])) if len(present) else np.zeros(0)
    counts = []
    for values in (before, after):
        there = values[~np.isnan(values)]
        bins = np.bincount(np.searchsorted(edges, there, side="left"), minlength=len(edges) + 1)
        counts.append(np.maximum(np.r_[bins, len(values) - len(there)] / len(values), LEAST_SHARE))
    b, a = counts
    return float(((a - b) * np.log(a / b)).sum())


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")

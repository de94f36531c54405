"""A document's signals with their percentiles within its stratum."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from curate.decide.scorecard import HASHES
from curate.inspect.documents import OpenRun, Row, in_stratum, stratum_value
from curate.maps.documents import masked_values
from curate.sql import quoted

MIN_STRATUM = 100  # documents; percentiles of a smaller stratum say little
UNUSUAL = 1.0  # percent at either end
NOT_MEASURED = ("row", "file_no", *HASHES)
INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT")
NUMBERS = (*INTEGERS, "FLOAT", "DOUBLE")


@dataclass(frozen=True, slots=True)
class Measurement:
    """A signal of a document, and its rank in the stratum."""

    signal: str
    value: float
    percentile: float  # 0 to 100: the share of smaller values and half that of equal ones, to two decimals
    unusual: bool  # fewer than one in a hundred documents are as far out


@dataclass(frozen=True, slots=True)
class Percentiles:
    """All numeric signals of a document within a stratum."""

    stratum: Mapping[str, str | None]  # the columns that make the stratum, with their values; no personal data
    documents: int
    measured: Sequence[Measurement]


def percentiles_of(run: OpenRun, row: Row) -> Percentiles:
    """The percentile of each numeric signal of a document in its stratum, in one scan of the signals.

    Where the stratum has fewer than a hundred documents, the next wider one counts.
    """
    key = [row["file_no"], row["row"]]
    [values] = run.query("SELECT * EXCLUDE (file_no, row) FROM signals WHERE file_no = ? AND row = ?", key)
    types = {name: kind for name, kind in _numeric_columns(run).items() if values.get(name) is not None}
    columns = [_percentile_sql(name, kind, values[name]) for name, kind in types.items()]
    for depth in range(len(run.strata), -1, -1):
        within = in_stratum(run, row, depth)
        [percentiles] = run.query(
            f"SELECT {', '.join(['count(*) AS documents', *columns])} FROM signals WHERE {within}"
        )
        if percentiles["documents"] >= MIN_STRATUM:
            break
    stratum = {name: stratum_value(run, row, name) for name in list(run.strata)[:depth]}
    measured = [_measurement(name, values[name], percentiles[name]) for name in types]
    return Percentiles(masked_values(stratum), percentiles["documents"], measured)


def _measurement(signal: str, value: float, percentile: float) -> Measurement:
    return Measurement(signal, value, round(percentile, 2), not UNUSUAL <= percentile <= 100 - UNUSUAL)


def _percentile_sql(name: str, kind: str, value: float) -> str:
    """SQL for the percentile of a value in a column.

    `count_if` takes an eighth of the time of `count(*) FILTER`.
    """
    column, of_document = quoted(name), f"'{value!r}'::{kind}"  # quoted: SQL has no literal for inf
    return (
        f"50 * (count_if({column} < {of_document}) + count_if({column} <= {of_document})) / count({column}) AS {column}"
    )


def _numeric_columns(run: OpenRun) -> dict[str, str]:
    """The numeric signals, with their SQL types."""
    columns = run.query("SELECT column_name, column_type FROM (DESCRIBE signals)")
    return {
        column["column_name"]: column["column_type"]
        for column in columns
        if column["column_type"] in NUMBERS and column["column_name"] not in NOT_MEASURED
    }

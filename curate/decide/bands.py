"""Bands of perplexity: documents outside their own stratum's percentiles are dropped.

A single bound would drop code, science and rare languages as a whole, because typical perplexity differs between them
(Wenzek et al. 2019, arXiv 1911.00359, took a third of each language; Marion et al. 2023, arXiv 2309.04564, found the
middle best).
"""

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import duckdb

from curate.ledger.ledger import Ledger
from curate.ledger.names import BANDS
from curate.ledger.parts import Part, write_part
from curate.recipe.tier1 import Perplexity
from curate.sql import quoted, read_parquet

# Histogram bins: logarithmic, each 0.4 % wider than the one before.
CLASS = "floor(256 * ln(greatest(perplexity, 1e-30)))::INTEGER"
REASONS = ("perplexity_too_low", "perplexity_too_high")


def banded_sql(section: Perplexity, strata: int) -> list[str]:
    """Fill `strata` with the bands of strata that have enough documents, and `banded` with what falls outside.

    The survivors that have a perplexity count. Documents of a stratum that is too small are judged by the wider one
    around it, that without the last column; the widest has all documents. Percentiles are exact, and documents are
    counted and not sorted: memory holds a histogram of each stratum.
    """
    columns = [f"stratum_{k}" for k in range(strata)]
    depths = range(strata + 1)  # the number of columns that count
    joined = "".join(f"\n            LEFT JOIN strata s{k} ON {_same(columns[:k], f's{k}', k)}" for k in depths)
    low, high = (f"coalesce({', '.join(f's{k}.{bound}' for k in reversed(depths))})" for bound in ("low", "high"))
    kinds = "".join(f"{column} VARCHAR, " for column in columns)
    return [
        f"""CREATE TEMP TABLE judgeable AS
        SELECT file_no, row, {"".join(f"{column}, " for column in columns)}perplexity, {CLASS} AS class
        FROM survivors WHERE perplexity IS NOT NULL""",
        f"CREATE TEMP TABLE strata ({kinds}depth INTEGER, documents BIGINT, low DOUBLE, high DOUBLE)",
        *(_bands_sql(section, columns[:depth]) for depth in depths),
        f"""INSERT INTO banded
        SELECT file_no, row, if(perplexity < low, '{REASONS[0]}', '{REASONS[1]}')
        FROM (
            SELECT d.file_no, d.row, d.perplexity, {low} AS low, {high} AS high
            FROM judgeable d{joined}
        ) WHERE perplexity < low OR perplexity > high ORDER BY file_no, row""",
    ]


def _same(columns: Sequence[str], stratum: str, depth: int) -> str:
    """SQL that is true for document `d`'s stratum at a depth."""
    same = (f"{stratum}.{column} IS NOT DISTINCT FROM d.{column}" for column in columns)
    return " AND ".join((f"{stratum}.depth = {depth}", *same))


def _bands_sql(section: Perplexity, columns: Sequence[str]) -> str:
    """The rows of table `strata` for strata of these columns.

    A percentile lies between two documents, of ranks from 0. A histogram gives the classes that contain these, and only
    within those are perplexities distinguished.
    """
    depth = len(columns)
    names = "".join(f"{column}, " for column in columns)
    positions = [f"{Decimal(str(bound)) / 100} * (documents - 1)" for bound in section.band]  # exact, as SQL's decimals
    ranks = [f"{end}({position})" for position in positions for end in ("floor", "ceil")]
    in_class = " OR ".join(f"{rank} BETWEEN before AND before + n - 1" for rank in ranks)
    values = [f"min(perplexity::DOUBLE) FILTER (upto > {rank})" for rank in ranks]  # of the documents of these ranks
    low, high = (
        f"{values[2 * k]} + ({position} - {ranks[2 * k]}) * ({values[2 * k + 1]} - {values[2 * k]})"
        for k, position in enumerate(positions)
    )
    return f"""INSERT INTO strata BY NAME
        WITH histogram AS (
            SELECT *, {depth} AS depth, sum(n) OVER (PARTITION BY {names}1 ORDER BY class) - n AS before,
                sum(n) OVER (PARTITION BY {names}1)::BIGINT AS documents
            FROM (SELECT {names}class, count(*) AS n FROM judgeable GROUP BY ALL)
        ), classes AS (
            SELECT {names}depth, class, before, documents FROM histogram
            WHERE documents >= {section.min_documents if columns else 1} AND ({in_class})
        ), exact AS (
            SELECT {names}depth, documents, perplexity,
                before + sum(n) OVER (PARTITION BY {names}class ORDER BY perplexity) AS upto
            FROM (
                SELECT {"".join(f"d.{column}, " for column in columns)}c.depth, c.class, before, documents, perplexity,
                    count(*) AS n
                FROM judgeable d JOIN classes c ON d.class = c.class AND {_same(columns, "c", depth)}
                GROUP BY ALL
            )
        )
        SELECT {names}depth, documents, {low} AS low, {high} AS high FROM exact GROUP BY {names}depth, documents"""


def find_bands(
    section: Perplexity, strata: Sequence[str], run: Path, connection: duckdb.DuckDBPyConnection, digest: str
) -> Part:
    """Fill `banded`; return the part with the bands of all strata."""
    for statement in banded_sql(section, len(strata)):
        connection.execute(statement)
    order = ", ".join(("depth", *(f"stratum_{k}" for k in range(len(strata)))))
    named = "".join(f"stratum_{k} AS {quoted(name)}, " for k, name in enumerate(strata))
    table = connection.sql(f"SELECT {named}depth, documents, low, high FROM strata ORDER BY {order}").to_arrow_table()
    connection.execute("DROP TABLE judgeable; DROP TABLE strata")
    return write_part(run, BANDS, digest, "00000", table)


def without_model(
    ledger: Ledger, groups: Mapping[str, str], models: Collection[str], connection: duckdb.DuckDBPyConnection
) -> list[tuple[str, int]]:
    """Languages without a model and their numbers of documents, most frequent first."""
    source = read_parquet(ledger.run / part.path for part in ledger.of("language", groups["language"]))
    files = [file.file_no for file in ledger.files if file.error is None]
    return connection.execute(
        f"SELECT language, count(*) FROM {source} WHERE list_contains(?::INTEGER[], file_no) "
        "AND NOT list_contains(?::VARCHAR[], language) GROUP BY language ORDER BY 2 DESC, 1",
        [files, list(models)],
    ).fetchall()

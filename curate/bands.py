"""Bands of perplexity: in each stratum, what its own percentiles leave outside is dropped.

A bound on perplexity itself would drop code, science and rare languages as a whole: what is usual differs between them
(Wenzek et al. 2019, arXiv 1911.00359, took a third of each language; Marion et al. 2023, arXiv 2309.04564, found the
middle to be best).
"""

from collections.abc import Collection, Container, Mapping, Sequence
from pathlib import Path

import duckdb

from curate.ledger import Ledger, Part, write_part
from curate.recipe import Recipe
from curate.sections import Perplexity
from curate.sql import quoted, read_parquet

BANDS = "bands"
HELD_IN_MEMORY = 10_000_000  # perplexities, in 80 MB
REASONS = ("perplexity_too_low", "perplexity_too_high")


def strata_of(recipe: Recipe, inputs: Collection[str]) -> dict[str, str]:
    """The columns that bands are taken within, the widest first, and SQL for each over the signals.

    `inputs` are the input's columns: an optional one that is not there makes no strata.
    """
    section = recipe.tier1.perplexity
    if section is None:
        return {}
    return _input_strata(recipe, inputs) | {name: name for name in section.by}


def strata_of_documents(recipe: Recipe, columns: Container[str], measured: Container[str]) -> dict[str, str]:
    """What documents are told apart by with or without bands: columns of `input.strata`, language, length.

    Each has its SQL over the signals. `columns` are the input's that the ledger holds, `measured` the signals or their
    groups.
    """
    return (
        _input_strata(recipe, columns)
        | ({"language": "language"} if "language" in measured else {})
        | {"length_bucket": "length_bucket"}
    )


def _input_strata(recipe: Recipe, columns: Container[str]) -> dict[str, str]:
    """The columns of `input.strata` that there are, with SQL for each."""
    names = [name.removesuffix("?") for name in recipe.input.strata]
    return {f"input.{name}": f"input.{quoted(name)}::VARCHAR" for name in names if name in columns}


def banded_sql(section: Perplexity, strata: int, spilling: bool) -> list[str]:
    """Tables `strata`, with the bands of strata that have enough documents, and `banded`, with what falls outside.

    Of table `passing` those count that are no duplicates and have a perplexity. Documents of a stratum that is too
    small are judged by the wider one around it, that without the last column; the widest has all documents.
    Percentiles of more documents than memory holds are taken in a way that spills.
    """
    columns = [f"stratum_{k}" for k in range(strata)]
    depths = range(strata + 1)  # the number of columns that count
    joined = "".join(f"\n            LEFT JOIN strata s{k} ON {_same(columns[:k], f's{k}', k)}" for k in depths)
    low, high = (f"coalesce({', '.join(f's{k}.{bound}' for k in reversed(depths))})" for bound in ("low", "high"))
    kinds = "".join(f"{column} VARCHAR, " for column in columns)
    return [
        f"""CREATE TEMP TABLE judgeable AS
        SELECT file_no, row, {"".join(f"{column}, " for column in columns)}perplexity
        FROM passing ANTI JOIN duplicates USING (file_no, row) WHERE file_no >= 0 AND perplexity IS NOT NULL""",
        f"CREATE TEMP TABLE strata ({kinds}depth INTEGER, documents BIGINT, low DOUBLE, high DOUBLE)",
        *((_bands_sql if spilling else _bands_in_memory_sql)(section, columns[:depth]) for depth in depths),
        f"""CREATE TEMP TABLE banded AS
        SELECT file_no, row, if(perplexity < low, '{REASONS[0]}', '{REASONS[1]}') AS band_reason
        FROM (
            SELECT d.file_no, d.row, d.perplexity, {low} AS low, {high} AS high
            FROM judgeable d{joined}
        ) WHERE perplexity < low OR perplexity > high ORDER BY file_no, row""",
    ]


def _same(columns: Sequence[str], stratum: str, depth: int) -> str:
    """SQL that is true for the stratum of document `d` at a depth."""
    same = (f"{stratum}.{column} IS NOT DISTINCT FROM d.{column}" for column in columns)
    return " AND ".join((f"{stratum}.depth = {depth}", *same))


def _bands_in_memory_sql(section: Perplexity, columns: Sequence[str]) -> str:
    """The rows of table `strata` for strata of these columns."""
    names = "".join(f"{column}, " for column in columns)
    bounds = [bound / 100 for bound in section.band]
    grouped = f"GROUP BY {', '.join(columns)} HAVING documents >= {section.min_documents}" if columns else ""
    return f"""INSERT INTO strata BY NAME
        SELECT {names}{len(columns)} AS depth, documents, quantiles[1] AS low, quantiles[2] AS high
        FROM (
            SELECT {names}count(*) AS documents, quantile_cont(perplexity::DOUBLE, {bounds}) AS quantiles
            FROM judgeable {grouped or "HAVING documents > 0"}
        )"""


def _bands_sql(section: Perplexity, columns: Sequence[str]) -> str:
    """As `_bands_in_memory_sql`, by windows, which spill and take six times as long."""
    names = "".join(f"{column}, " for column in columns)
    partition = f"PARTITION BY {', '.join(columns)}" if columns else ""
    places = [f"{bound / 100} * last" for bound in section.band]
    low, high = (
        f"min(p) FILTER (i = floor({place})) + ({place} - floor({place})) * "
        f"(min(p) FILTER (i = ceil({place})) - min(p) FILTER (i = floor({place})))"
        for place in places
    )
    enough = f"HAVING documents >= {section.min_documents}" if columns else ""
    return f"""INSERT INTO strata BY NAME
        SELECT {names}{len(columns)} AS depth, last + 1 AS documents, {low} AS low, {high} AS high
        FROM (
            SELECT {names}perplexity::DOUBLE AS p, count(*) OVER ({partition}) - 1 AS last,
                row_number() OVER ({partition} ORDER BY perplexity) - 1 AS i
            FROM judgeable
        ) WHERE {" OR ".join(f"i IN (floor({place}), ceil({place}))" for place in places)}
        GROUP BY {names}last {enough}"""


def find_bands(
    recipe: Recipe, strata: Collection[str], run: Path, connection: duckdb.DuckDBPyConnection, digest: str
) -> list[Part]:
    """Table `banded` (file_no, row, band_reason), and the part with the bands of all strata."""
    section = recipe.tier1.perplexity
    if section is None:
        connection.execute(NO_BANDS)
        return []
    [[passing]] = connection.execute("SELECT count(*) FROM passing").fetchall()
    for statement in banded_sql(section, len(strata), spilling=passing > HELD_IN_MEMORY):
        connection.execute(statement)
    order = ", ".join(("depth", *(f"stratum_{k}" for k in range(len(strata)))))
    named = "".join(f"stratum_{k} AS {quoted(name)}, " for k, name in enumerate(strata))
    table = connection.sql(f"SELECT {named}depth, documents, low, high FROM strata ORDER BY {order}").to_arrow_table()
    return [write_part(run, BANDS, digest, "00000", table)]


NO_BANDS = "CREATE TEMP TABLE banded (file_no INTEGER, row BIGINT, band_reason VARCHAR)"


def without_model(
    ledger: Ledger, groups: Mapping[str, str], models: Collection[str], connection: duckdb.DuckDBPyConnection
) -> list[tuple[str, int]]:
    """The languages that have no model, with the number of their documents, most first."""
    source = read_parquet(ledger.run / part.path for part in ledger.of("language", groups["language"]))
    files = [file.file_no for file in ledger.files if file.error is None]
    return connection.execute(
        f"SELECT language, count(*) FROM {source} WHERE list_contains(?::INTEGER[], file_no) "
        "AND NOT list_contains(?::VARCHAR[], language) GROUP BY language ORDER BY 2 DESC, 1",
        [files, list(models)],
    ).fetchall()

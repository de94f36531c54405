"""Groups of documents: drop rates by language, source, site and length, and strata."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from curate.dedup.lines import HOST
from curate.errors import InputError
from curate.ledger.input_columns import source_sql
from curate.ledger.ledger import KnownFile, Ledger, is_spooled
from curate.maps.documents import masked_values
from curate.recipe.recipe import Recipe
from curate.report.charts import Placed, percent
from curate.sql import literal, quoted, read_parquet
from curate.storage.places import is_remote, status

MOST_GROUPS = 20  # of one kind, the largest
MOST_STRATA = 30
FILE = "file"  # the dimension that table `files` has; table `cells` has all others
LEAST = 20  # documents of a group
Z = 1.959963984540054  # 95 % of the normal distribution are within


@dataclass(frozen=True, slots=True)
class Inputs:
    """The input's own columns, in its files: for each kind of files the files and their columns."""

    kinds: tuple[tuple[tuple[KnownFile, ...], frozenset[str]], ...] = ()

    def named(self, name: str) -> str | None:
        """The column with that name, in upper or lower case."""
        matches = sorted({column for _, columns in self.kinds for column in columns if column.lower() == name.lower()})
        return matches[0] if matches else None

    def joined(self, names: Sequence[str]) -> str:
        """SQL that joins columns as `i."input.x"` to documents (file_no, row); '' for no columns."""
        sources = [source_sql(names, files, columns) for files, columns in self.kinds if not columns.isdisjoint(names)]
        if not sources:
            return ""
        rows = " UNION ALL BY NAME ".join(sources)
        return (
            f" LEFT JOIN (SELECT file_no, r.* EXCLUDE (file) FROM ({rows}) r JOIN inputs USING (file)) i"
            " USING (file_no, row)"
        )


def find_inputs(ledger: Ledger, connection: duckdb.DuckDBPyConnection) -> Inputs:
    """The input's own columns.

    Errors: InputError where a file is missing or has changed in size, or is in an object store, which DuckDB cannot
    read.
    """
    kinds: dict[tuple[Any, ...], list[KnownFile]] = {}
    for file in ledger.files:
        if file.error is not None or not file.rows:
            continue
        if is_remote(file.location):
            raise InputError(f"{file.location}: lies in an object store, which DuckDB does not read")
        if not is_spooled(file):
            _check_size(file)
        kinds.setdefault(file.column_mapping, []).append(file)
    columns_of_kinds = []
    for files in kinds.values():
        source = read_parquet((file.location for file in files), ", union_by_name = true")
        columns = connection.sql(f"SELECT * FROM {source} LIMIT 0").columns
        renamed = dict(files[0].renamed)
        names = {renamed.get(name, name) for name in columns} | {name for _, name in files[0].lifted}
        names |= {name for name, _ in files[0].added}
        columns_of_kinds.append((tuple(files), frozenset(name for name in names if name)))
    return Inputs(tuple(columns_of_kinds))


def _check_size(file: KnownFile) -> None:
    try:
        size, _ = status(file.location)
    except OSError as error:
        raise InputError(f"{file.location}: {error.strerror}; it was there when the run measured it") from None
    if size != file.size:
        raise InputError(f"{file.location}: is not the file that was measured; run again")


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


@dataclass(frozen=True, slots=True)
class Cells:
    """The columns of table `cells`: the dimensions of drop rates, and those that make strata."""

    dimensions: Sequence[str]
    strata: Sequence[str]


def gather(connection: duckdb.DuckDBPyConnection, recipe: Recipe, signals: Sequence[str], inputs: Inputs) -> Cells:
    """Make tables `cells` and `files`: documents and tokens by every dimension and by reason, in one pass each."""
    measured = {name: f"s.{name}" for name in ("language", "length_bucket") if name in signals}
    of_input = {f"input.{name}": name for title in ("language", "source") if (name := inputs.named(title)) is not None}
    strata = {f"input.{name}": name for name in columns_of_strata(recipe, inputs)}
    columns = {title: f"i.{quoted(f'input.{name}')}::VARCHAR" for title, name in (of_input | strata).items()} | measured
    read = {*of_input.values(), *strata.values()}
    domain = []
    if (url := inputs.named("url")) is not None:
        read.add(url)
        domain = [f"domain of input.{url}"]
        address = f"lower(i.{quoted(f'input.{url}')}::VARCHAR)"
        columns[domain[0]] = f"nullif(regexp_extract({address}, '{HOST}', 1), '')"
    selected = "".join(f"{sql} AS {quoted(title)}, " for title, sql in columns.items())
    connection.execute(
        f"""CREATE TEMP TABLE cells AS
        SELECT {selected}kept, reason, count(*) AS documents, sum(d.n_tokens + n_tokens_cut)::BIGINT AS tokens_in,
            coalesce(sum(d.n_tokens) FILTER (kept), 0)::BIGINT AS tokens_out
        FROM decisions d JOIN signals s USING (file_no, row){inputs.joined(sorted(read))} GROUP BY ALL"""
    )
    connection.execute(
        """CREATE TEMP TABLE files AS SELECT file, kept, reason, count(*) AS documents
        FROM decisions JOIN inputs USING (file_no) GROUP BY ALL"""
    )
    last = [name for name in ("length_bucket",) if name in measured]
    return Cells([FILE, *(measured.keys() - {*last}), *of_input, *domain, *last], [*strata, *measured])


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group of documents with its drop rate, and the 95 % interval of that."""

    name: str | None
    documents: int
    dropped: int
    rate: float
    low: float
    high: float
    reason: str | None  # the most frequent one
    most: int | None  # documents that it dropped
    above: bool  # whether the whole interval is above the overall rate


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherGroups:
    """All groups that are not listed, summed."""

    groups: int
    documents: int
    dropped: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DropRates:
    """The largest groups by one dimension."""

    title: str
    groups: Sequence[Group]
    other: OtherGroups | None
    overall: float


def drop_rates(
    connection: duckdb.DuckDBPyConnection, title: str, total: int, dropped: int, only: Sequence[str] | None = None
) -> DropRates | None:
    """The drop rates of the largest groups by a dimension, and of all others together.

    With `only`, all other values are one group: a document is dropped for having one of them. None where no group has
    enough documents.
    """
    rows = connection.execute(_drop_rates_sql(connection, title, only)).fetchall()
    if not rows:
        return None
    overall = dropped / total
    groups = [
        _group(masked_values({"": name})[""], documents, gone, (reason, most), overall)
        for name, documents, gone, reason, most, _ in rows
    ]
    other = None
    if documents := total - sum(group.documents for group in groups):
        gone = dropped - sum(group.dropped for group in groups)
        low, high = wilson(gone, documents)
        other = OtherGroups(
            groups=rows[0][5] - len(rows),
            documents=documents,
            dropped=gone,
            rate=gone / documents,
            low=low,
            high=high,
        )
    return DropRates(title=title, groups=groups, other=other, overall=overall)


def _drop_rates_sql(connection: duckdb.DuckDBPyConnection, title: str, only: Sequence[str] | None) -> str:
    """SQL for the largest groups: name, documents, dropped ones, the most frequent reason and its count, all groups."""
    source, value = "files" if title == FILE else "cells", quoted(title)
    if only:
        [(folded,)] = connection.execute(
            f"SELECT count(DISTINCT {value}) FROM {source} WHERE NOT list_contains(?, {value})", [list(only)]
        ).fetchall()
        label = f"{folded:,} language{'' if folded == 1 else 's'} that tier1.language.keep leaves out"
        value = f"if(list_contains({list(only)}, {value}), {value}, {literal(label)})"
        value = f"if({quoted(title)} IS NULL, NULL, {value})"
    return f"""WITH named AS (
            SELECT name, sum(documents)::BIGINT AS documents,
                coalesce(sum(documents) FILTER (NOT kept), 0)::BIGINT AS dropped,
                arg_max({{r: reason, n: documents}}, (documents, reason)) FILTER (NOT kept) AS most
            FROM (
                SELECT {value} AS name, kept, reason, sum(documents)::BIGINT AS documents FROM {source}
                GROUP BY ALL
            ) GROUP BY name
        )
        SELECT name, documents, dropped, most.r, most.n, count(*) OVER () FROM named
        QUALIFY documents >= {LEAST} ORDER BY documents DESC, name LIMIT {MOST_GROUPS}"""


def _group(
    name: str | None, documents: int, dropped: int, most: tuple[str | None, int | None], overall: float
) -> Group:
    low, high = wilson(dropped, documents)
    return Group(
        name=name,
        documents=documents,
        dropped=dropped,
        rate=dropped / documents,
        low=low,
        high=high,
        reason=most[0],
        most=most[1],
        above=low > overall,
    )


def columns_of_strata(recipe: Recipe, inputs: Inputs) -> list[str]:
    """The columns of the recipe's `input.strata` that can be read."""
    columns = [inputs.named(name.removesuffix("?")) for name in recipe.input.strata]
    return [name for name in columns if name is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """A stratum and its counts."""

    names: Sequence[str | None]  # the values of its columns
    documents: int
    kept: int
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Strata:
    """The largest strata, and how many `more` there are."""

    columns: Sequence[str]
    rows: Sequence[Placed[Stratum]]
    more: int


def strata_of_cells(connection: duckdb.DuckDBPyConnection, columns: Sequence[str]) -> Strata | None:
    """Documents and tokens before and after in the largest strata; None where no column makes strata."""
    if not columns:
        return None
    names = ", ".join(map(quoted, columns))
    rows = connection.execute(
        f"""SELECT *, count(*) OVER () FROM (
            SELECT {names}, sum(documents)::BIGINT AS documents,
                coalesce(sum(documents) FILTER (kept), 0)::BIGINT AS kept,
                sum(tokens_in)::BIGINT AS tokens_in, sum(tokens_out)::BIGINT AS tokens_out
            FROM cells GROUP BY {names}
        ) ORDER BY documents DESC, {names} LIMIT {MOST_STRATA}"""
    ).fetchall()
    width = len(columns)
    most_documents, most_tokens = (max(row[k] for row in rows) for k in (width, width + 2))
    strata = []
    for row in rows:
        documents, kept, tokens_in, tokens_out = row[width:-1]
        stratum = Stratum(
            names=list(masked_values({"of": row[:width]})["of"]),
            documents=documents,
            kept=kept,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
        )
        at = {"documents": percent(documents, 0, most_documents), "kept": percent(kept, 0, most_documents)}
        at |= {"tokens_in": percent(tokens_in, 0, most_tokens), "tokens_out": percent(tokens_out, 0, most_tokens)}
        strata.append(Placed(stratum, at))
    return Strata(columns=list(columns), rows=strata, more=rows[0][-1] - len(rows))

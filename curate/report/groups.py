"""Groups of documents: strata, and whose documents are dropped most, by language, source, site and length."""

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
from curate.sql import literal, quoted, read_parquet
from curate.storage.places import is_remote, status

MOST_GROUPS = 20  # of one kind, the largest
MOST_STRATA = 30
FILE = "file"  # of the dimensions that drop rates are told by the one that is in table `files`
LEAST = 20  # documents of a group
Z = 1.959963984540054  # of the normal distribution: 95 % lie within

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Inputs:
    """The input's own columns, read where they lie. Of each kind of files: these, and their columns."""

    kinds: tuple[tuple[tuple[KnownFile, ...], frozenset[str]], ...] = ()

    def named(self, name: str) -> str | None:
        """The column of that name, which may differ in upper and lower case."""
        found = sorted({column for _, columns in self.kinds for column in columns if column.lower() == name.lower()})
        return found[0] if found else None

    def joined(self, names: Sequence[str]) -> str:
        """SQL that joins columns as `i."input.x"` to documents (file_no, row); '' for no columns."""
        sources = [source_sql(names, files, columns) for files, columns in self.kinds if not columns.isdisjoint(names)]
        if not sources:
            return ""
        rows = " UNION ALL BY NAME ".join(sources)
        return (
            f" LEFT JOIN (SELECT file_no, own.* EXCLUDE (file) FROM ({rows}) own JOIN inputs USING (file)) i"
            " USING (file_no, row)"
        )


def find_inputs(ledger: Ledger, connection: duckdb.DuckDBPyConnection) -> Inputs:
    """The input's own columns.

    Errors: InputError where a file is gone or has another size, or lies in an object store, which DuckDB cannot read.
    """
    kinds: dict[tuple[Any, ...], list[KnownFile]] = {}
    for file in ledger.files:
        if file.error is not None or not file.rows:
            continue
        if is_remote(file.location):
            raise InputError(f"{file.location}: lies in an object store, which DuckDB does not read")
        if not is_spooled(file):
            _check_size(file)
        kinds.setdefault(file.read_like, []).append(file)
    found = []
    for files in kinds.values():
        source = read_parquet((file.location for file in files), ", union_by_name = true")
        held = connection.sql(f"SELECT * FROM {source} LIMIT 0").columns
        own = dict(files[0].renamed)
        names = {own.get(name, name) for name in held} | {name for _, name in files[0].lifted}
        names |= {name for name, _ in files[0].added}
        found.append((tuple(files), frozenset(name for name in names if name)))
    return Inputs(tuple(found))


def _check_size(file: KnownFile) -> None:
    try:
        size, _ = status(file.location)
    except OSError as error:
        raise InputError(f"{file.location}: {error.strerror}; it was there when the run measured it") from None
    if size != file.size:
        raise InputError(f"{file.location}: is not the file that was measured; run again")


def wilson(hits: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share of which `hits` of `total` were seen, total > 0.

    (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n), as in Wilson 1927, "Probable inference, the law of succession,
    and statistical inference", Journal of the American Statistical Association 22: 209-212. It holds for few documents
    and for shares near 0 and 1 too.
    """
    share, square = hits / total, Z * Z / total
    middle = (share + square / 2) / (1 + square)
    half = Z * math.sqrt(share * (1 - share) / total + square / (4 * total)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def gather(
    connection: duckdb.DuckDBPyConnection, recipe: Recipe, signals: Sequence[str], inputs: Inputs
) -> tuple[list[str], list[str]]:
    """Table `cells`: documents and tokens by all that tells documents apart, and by reason, in one pass.

    Returned are the names of its columns: those that drop rates are told by, and those that make strata.
    """
    measured = {name: f"s.{name}" for name in ("language", "length_bucket") if name in signals}
    own = {f"input.{name}": name for title in ("language", "source") if (name := inputs.named(title)) is not None}
    strata = {f"input.{name}": name for name in columns_of_strata(recipe, inputs)}
    columns = {title: f"i.{quoted(f'input.{name}')}::VARCHAR" for title, name in (own | strata).items()} | measured
    read = {*own.values(), *strata.values()}
    domain = []
    if (url := inputs.named("url")) is not None:
        read.add(url)
        domain = [f"domain of input.{url}"]
        address = f"lower(i.{quoted(f'input.{url}')}::VARCHAR)"
        columns[domain[0]] = f"nullif(regexp_extract({address}, '{HOST}', 1), '')"
    named = "".join(f"{sql} AS {quoted(title)}, " for title, sql in columns.items())
    connection.execute(
        f"""CREATE TEMP TABLE cells AS
        SELECT {named}kept, reason, count(*) AS documents, sum(d.n_tokens + n_tokens_cut)::BIGINT AS tokens_in,
            coalesce(sum(d.n_tokens) FILTER (kept), 0)::BIGINT AS tokens_out
        FROM decisions d JOIN signals s USING (file_no, row){inputs.joined(sorted(read))} GROUP BY ALL"""
    )
    connection.execute(
        """CREATE TEMP TABLE files AS SELECT file, kept, reason, count(*) AS documents
        FROM decisions JOIN inputs USING (file_no) GROUP BY ALL"""
    )
    last = [name for name in ("length_bucket",) if name in measured]
    return [FILE, *(measured.keys() - {*last}), *own, *domain, *last], [*strata, *measured]


def drop_rates(
    connection: duckdb.DuckDBPyConnection, title: str, total: int, dropped: int, only: Sequence[str] | None = None
) -> dict[str, Any] | None:
    """The largest groups by a column of `cells` with their share of dropped documents, and all others summed.

    With `only`, all values but these are one group: they are dropped for what they are. None where no group has enough
    documents.
    """
    source, value = "files" if title == FILE else "cells", quoted(title)
    if only:
        [(folded,)] = connection.execute(
            f"SELECT count(DISTINCT {value}) FROM {source} WHERE NOT list_contains(?, {value})", [list(only)]
        ).fetchall()
        told = f"{folded:,} language{'' if folded == 1 else 's'} that tier1.language.keep leaves out"
        value = f"if(list_contains({list(only)}, {value}), {value}, {literal(told)})"
        value = f"if({quoted(title)} IS NULL, NULL, {value})"
    rows = connection.execute(
        f"""WITH named AS (
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
    ).fetchall()
    if not rows:
        return None
    overall = dropped / total
    groups = [
        _rated(masked_values({"": name})[""], n, gone, reason, most, overall) for name, n, gone, reason, most, _ in rows
    ]
    rest = total - sum(group["documents"] for group in groups)
    other = None
    if rest:
        other = _rated("other", rest, dropped - sum(group["dropped"] for group in groups), None, None, overall)
        other |= {"groups": rows[0][5] - len(rows), "above": False}
    return {"title": title, "groups": groups, "other": other, "overall": overall}


def _rated(
    name: str | None, documents: int, dropped: int, reason: str | None, most: int | None, overall: float
) -> dict[str, Any]:
    low, high = wilson(dropped, documents)
    return {"name": name, "documents": documents, "dropped": dropped, "rate": dropped / documents, "low": low,
            "high": high, "reason": reason, "most": most, "above": low > overall}  # fmt: skip


def columns_of_strata(recipe: Recipe, inputs: Inputs) -> list[str]:
    """The input's columns that the recipe takes strata of, as far as they can be read."""
    found = [inputs.named(name.removesuffix("?")) for name in recipe.input.strata]
    return [name for name in found if name is not None]


def strata(connection: duckdb.DuckDBPyConnection, columns: Sequence[str]) -> dict[str, Any] | None:
    """Documents and tokens before and after in the largest strata of `cells`; None where nothing makes strata."""
    if not columns:
        return None
    named = ", ".join(map(quoted, columns))
    rows = connection.execute(
        f"""SELECT *, count(*) OVER () FROM (
            SELECT {named}, sum(documents)::BIGINT AS documents,
                coalesce(sum(documents) FILTER (kept), 0)::BIGINT AS kept,
                sum(tokens_in)::BIGINT AS tokens_in, sum(tokens_out)::BIGINT AS tokens_out
            FROM cells GROUP BY {named}
        ) ORDER BY documents DESC, {named} LIMIT {MOST_STRATA}"""
    ).fetchall()
    width = len(columns)
    fields = ("documents", "kept", "tokens_in", "tokens_out")
    found = [
        {"names": list(masked_values({"of": row[:width]})["of"])} | dict(zip(fields, row[width:-1], strict=True))
        for row in rows
    ]
    return {"columns": list(columns), "rows": found, "more": rows[0][-1] - len(rows)}

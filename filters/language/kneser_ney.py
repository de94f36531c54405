"""Estimate n-gram language models with modified Kneser-Ney smoothing, in DuckDB.

Interpolated, after Chen and Goodman (1998), and estimated like lmplz (Heafield et al. 2013). The adjusted count of an
n-gram is its count in the text if it has the highest order or begins with <s>, else the number of distinct words before
it. Results equal those of lmplz except for rounding and a bug of lmplz: it uses raw counts for the very last n-grams of
lower orders.

Rows of the tables are never loaded into Python. n-grams are stored from the last word to the first, so that the n-gram
without its first word is a prefix:

    counts_k   c1 … cK, raw (count in the text), adjusted; cK = 0: shorter n-grams, back to <s>
    contexts_k c1 … c(K-1), total (of adjusted counts in this context), gamma (mass left for lower orders)
    grams_k    c1 … cK, p
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import BinaryIO, NamedTuple

import duckdb
import pyarrow as pa

from curate.kernels.arrow import Bytes, Offsets
from curate.kernels.lm_ngrams import Numbers, Reals, Vocabulary, arpa_lines, ngram_columns
from curate.kernels.lm_words import lm_lines

FALLBACK = (0.5, 1.0, 1.5)  # discounts where the data determines none, as in lmplz --discount_fallback
EPSILON = 1e-9  # smaller discounts are 0 with rounding errors
WRITE_ROWS = 1 << 18


@dataclass(frozen=True)
class Level:
    """The n-grams of one order in a model."""

    order: int
    bound: int  # for pruning: n-grams with at most this count are dropped; it does not decrease with the order
    seen: int
    kept: int
    discounts: tuple[float, float, float]  # of counts 1, 2, and 3 or more
    fallback: bool  # whether the discounts are FALLBACK, because too few n-grams have counts of 1 to 4


@dataclass
class CorpusCounts:
    """The vocabulary and the numbers of lines and tokens read."""

    vocabulary: Vocabulary
    lines: int = 0
    tokens: int = 0


def count(connection: duckdb.DuckDBPyConnection, texts: Iterable[pa.Array], order: int) -> CorpusCounts:
    """Create tables `counts_1` to `counts_<order>` from the lines of all texts, if any."""
    counts = CorpusCounts(Vocabulary())
    count_numbers(connection, _numbers(texts, counts), order)
    return counts


def count_numbers(connection: duckdb.DuckDBPyConnection, lines: Iterable[Numbers], order: int) -> None:
    """Create the same tables from batches of lines of word ids, each from BEGIN to END."""
    failed: list[BaseException] = []
    schema = pa.schema([(name, pa.int32()) for name in _words(order)])
    reader = pa.RecordBatchReader.from_batches(schema, _ngrams(lines, schema, failed))
    columns = ", ".join(_words(order))
    try:
        connection.register("ngrams", reader).execute(
            f"CREATE TABLE counts_{order} AS SELECT {columns}, count(*)::UINTEGER AS raw FROM ngrams GROUP BY {columns}"
        )
    except Exception:
        if failed:
            raise failed[0] from None
        raise
    connection.unregister("ngrams")
    _count_shorter(connection, order)


def _numbers(texts: Iterable[pa.Array], counts: CorpusCounts) -> Iterator[Numbers]:
    """The lines of texts as word ids."""
    for batch in texts:
        lines = lm_lines(batch).lines
        numbers = counts.vocabulary.number(lines)
        counts.lines += len(lines)
        counts.tokens += len(numbers) - 2 * len(lines)
        yield numbers


def _ngrams(lines: Iterable[Numbers], schema: pa.Schema, failed: list[BaseException]) -> Iterator[pa.RecordBatch]:
    """The n-grams of all lines, batch by batch. Errors are recorded in `failed`, because DuckDB wraps them."""
    try:
        for numbers in lines:
            yield pa.record_batch(ngram_columns(numbers, len(schema)), schema=schema)
    except BaseException as error:
        failed.append(error)
        raise


def _count_shorter(connection: duckdb.DuckDBPyConnection, order: int) -> None:
    """Create the other tables from that of the highest order, and views `all_k` of the n-grams with exactly k words."""
    names = _words(order)
    for k in range(order - 1, 0, -1):
        columns = ", ".join(names[:k])
        connection.execute(
            f"""CREATE TABLE counts_{k} AS SELECT {columns}, sum(raw)::UINTEGER AS raw,
            (CASE WHEN c{k} <= 1 THEN sum(raw) ELSE count(*) END)::UINTEGER AS adjusted
            FROM counts_{k + 1} GROUP BY {columns}"""
        )
    connection.execute(f"ALTER TABLE counts_{order} RENAME raw TO adjusted")
    connection.execute(f"CREATE VIEW all_{order} AS SELECT *, adjusted AS raw FROM counts_{order} WHERE c{order} > 0")
    for k in range(1, order):
        connection.execute(f"CREATE VIEW all_{k} AS FROM counts_{k} WHERE c{k} > 0")


def estimate_levels(connection: duckdb.DuckDBPyConnection, prune: Sequence[int], words: int = 0) -> list[Level]:
    """Compute numbers of n-grams and discounts per order; `prune` has a bound per order.

    `words` is the size of a vocabulary (with markers) that also has words which are not in the text. Each of these gets
    the probability of an unknown word.
    """
    levels = []
    for k, bound in enumerate(prune, 1):
        counts = ", ".join(f"count(*) FILTER (adjusted = {n})" for n in (1, 2, 3, 4))
        row = connection.execute(f"SELECT count(*), count(*) FILTER (raw > {bound}), {counts} FROM all_{k}").fetchone()
        assert row is not None
        discounts = discounts_of(row[2:])
        extra = max(2, words - row[0]) if k == 1 else 0  # <unk> and <s>, and words that were not met
        levels.append(Level(k, bound, row[0] + extra, row[1] + extra, discounts or FALLBACK, discounts is None))
    return levels


def discounts_of(counts: tuple[int, ...]) -> tuple[float, float, float] | None:
    """The discounts, from the numbers of n-grams with counts 1 to 4 (Chen and Goodman 1998, equation 26).

    None where there are too few n-grams, or for a discount of 0: a context with only such n-grams would leave no
    probability for other words.
    """
    if 0 in counts[:3]:
        return None
    y = counts[0] / (counts[0] + 2 * counts[1])
    first, second, third = (n - (n + 1) * y * counts[n] / counts[n - 1] for n in (1, 2, 3))
    return (first, second, third) if EPSILON < first <= 1 and EPSILON < second <= 2 and EPSILON < third <= 3 else None


class Grams(NamedTuple):
    """A batch of n-grams of one order, sorted by their words from the last to the first."""

    order: int
    columns: list[Numbers]  # word ids, from the last word of each n-gram to the first
    log_p: Reals  # logarithms to the base 10
    log_backoff: Reals | None  # None for the highest order


def estimate(connection: duckdb.DuckDBPyConnection, levels: Sequence[Level]) -> Iterator[Grams]:
    """Estimate the n-grams of a model, order by order. Drops tables as soon as they are no longer needed."""
    for k, level in enumerate(levels, 1):
        _create_grams(connection, level)
        if k < len(levels):
            _create_contexts(connection, levels[k], level)
        for batch in _grams(connection, k, len(levels)):
            columns = [column.to_numpy() for column in batch.columns]
            yield Grams(k, columns[:k], columns[k], columns[k + 1] if k < len(levels) else None)


def write_arpa(
    file: BinaryIO, header: str, vocabulary: tuple[Offsets, Bytes], counts: Sequence[int], grams: Iterable[Grams]
) -> None:
    """Write a model with `counts` n-grams per order, after a header of comments, which KenLM ignores."""
    count_lines = "".join(f"ngram {k}={n}\n" for k, n in enumerate(counts, 1))
    file.write(f"{header}\\data\\\n{count_lines}".encode())
    batches_by_order = groupby(grams, key=lambda batch: batch.order)
    order, batches = next(batches_by_order, (0, iter(())))
    for k in range(1, len(counts) + 1):
        file.write(f"\n\\{k}-grams:\n".encode())
        if k == order:  # else none of this order were kept
            for batch in batches:
                file.write(arpa_lines(vocabulary, batch.columns, batch.log_p, batch.log_backoff).data)
            order, batches = next(batches_by_order, (0, iter(())))
    file.write(b"\n\\end\\\n")


def _words(order: int, table: str = "", first: int = 1) -> list[str]:
    return [f"{table}c{k}" for k in range(first, first + order)]


def _discount_sql(level: Level) -> str:
    """SQL for the discount of an adjusted count."""
    first, second, third = (f"{amount:.17e}" for amount in level.discounts)
    return f"CASE adjusted WHEN 1 THEN {first} WHEN 2 THEN {second} ELSE {third} END"


def _totals_sql(level: Level) -> str:
    """SQL for the total of adjusted counts, and for the share of it that is discounted or pruned."""
    conditions = ("= 1", "= 2", "> 2")
    kept_counts = [f"count(*) FILTER (raw > {level.bound} AND adjusted {condition})" for condition in conditions]
    discounted = " + ".join(f"{amount:.17e} * {n}" for amount, n in zip(level.discounts, kept_counts, strict=True))
    pruned = f"coalesce(sum(adjusted) FILTER (raw <= {level.bound}), 0)::DOUBLE"
    return f"sum(adjusted)::DOUBLE AS total, ({discounted} + {pruned}) / sum(adjusted)::DOUBLE AS gamma"


def _create_contexts(connection: duckdb.DuckDBPyConnection, level: Level, shorter: Level) -> None:
    """Create table `contexts_k` of the contexts, which are kept n-grams of the order below."""
    k = level.order
    names = [f"c{j + 1} AS c{j}" for j in range(1, k)]
    connection.execute(
        f"""CREATE TABLE contexts_{k} AS SELECT {", ".join(names)}, {_totals_sql(level)}
        FROM all_{k} GROUP BY {", ".join(_words(k - 1, first=2))} HAVING sum(raw) > {shorter.bound}"""
    )


def _create_grams(connection: duckdb.DuckDBPyConnection, level: Level) -> None:
    """Create table `grams_k` from that of the order below, and drop tables that are no longer needed."""
    k = level.order
    share = f"(adjusted - {_discount_sql(level)}) / total"
    if k == 1:
        connection.execute(
            f"""CREATE TABLE grams_1 AS
            WITH sums AS (SELECT {_totals_sql(level)} FROM all_1)
            SELECT c1, {share} + gamma / {level.seen - 1} AS p FROM all_1, sums
            UNION ALL SELECT 0, gamma / {level.seen - 1} FROM sums
            UNION ALL SELECT 1, 1
            UNION ALL SELECT c1, gamma / {level.seen - 1}
            FROM sums, (SELECT range::INTEGER AS c1 FROM range(2, {level.seen})) ANTI JOIN all_1 USING (c1)"""
        )
        return
    same_context = " AND ".join(f"n.c{j + 1} = x.c{j}" for j in range(1, k))
    shorter = " AND ".join(f"n.c{j} = g.c{j}" for j in range(1, k))
    connection.execute(
        f"""CREATE TABLE grams_{k} AS SELECT {", ".join(_words(k, "n."))}, {share} + gamma * g.p AS p
        FROM all_{k} n JOIN contexts_{k} x ON {same_context} JOIN grams_{k - 1} g ON {shorter}
        WHERE raw > {level.bound}"""
    )
    connection.execute(f"DROP TABLE grams_{k - 1}; DROP TABLE contexts_{k}; DROP VIEW all_{k}; DROP TABLE counts_{k}")


def _grams(connection: duckdb.DuckDBPyConnection, k: int, order: int) -> pa.RecordBatchReader:
    """The n-grams of an order, sorted by their words, with log probability and log backoff."""
    columns = ", ".join(_words(k, "g."))
    if k == order:
        query = f"SELECT {columns}, least(0, log10(p)) FROM grams_{k} g"
    else:
        on = " AND ".join(f"g.c{j} = x.c{j}" for j in range(1, k + 1))
        query = f"""SELECT {columns}, least(0, log10(p)), coalesce(log10(gamma), 0)
        FROM grams_{k} g LEFT JOIN contexts_{k + 1} x ON {on}"""
    return connection.sql(f"{query} ORDER BY {columns}").to_arrow_reader(WRITE_ROWS)

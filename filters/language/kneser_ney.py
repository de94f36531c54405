"""Language models of words by modified Kneser-Ney smoothing, counted and joined in DuckDB.

Chen and Goodman (1998), interpolated, as lmplz estimates them (Heafield et al. 2013). An n-gram counts as often as it
stands in the text if it has the highest order or begins with <s>; else it counts once for each word that stands before
it. Numbers are those of lmplz but for rounding, and for one slip: it counts its very last n-grams of lower orders by
how often they stand in the text.

Tables, of which no row is ever held in Python. n-grams are stored from their last word to their first one, so that the
n-gram of one word less is a prefix:

    counts_k   c1 … cK, raw (how often it stands in the text), adjusted; cK = 0: what is shorter, back to <s>
    contexts_k c1 … c(K-1), total of the adjusted counts of the n-grams behind it, gamma (what is left for lower orders)
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

FALLBACK = (0.5, 1.0, 1.5)  # discounts where the data has none, as of lmplz --discount_fallback
LEAST = 1e-9  # what is less is a discount of 0 but for rounding
WRITE_ROWS = 1 << 18


@dataclass(frozen=True)
class Level:
    """What a model knows of the n-grams of one order."""

    order: int
    bound: int  # for pruning: n-grams that stand in the text no more often are left out; it never falls with the order
    seen: int
    kept: int
    discounts: tuple[float, float, float]  # of what counts 1, 2, and 3 or more
    fallback: bool  # whether these are FALLBACK because too few n-grams count 1, 2, 3 or 4


@dataclass
class Counted:
    """What was read so far."""

    vocabulary: Vocabulary
    lines: int = 0
    tokens: int = 0


def count(connection: duckdb.DuckDBPyConnection, texts: Iterable[pa.Array], order: int) -> Counted:
    """Tables `counts_1` to `counts_<order>` over the lines of all texts; there may be none."""
    counted = Counted(Vocabulary())
    count_numbers(connection, _numbers(texts, counted), order)
    return counted


def count_numbers(connection: duckdb.DuckDBPyConnection, lines: Iterable[Numbers], order: int) -> None:
    """The same tables over lines whose words are numbers already: each from BEGIN to END, some lines at a time."""
    failed: list[BaseException] = []
    schema = pa.schema([(name, pa.int32()) for name in _words(order)])
    reader = pa.RecordBatchReader.from_batches(schema, _ngrams(lines, schema, failed))
    columns = ", ".join(_words(order))
    try:
        connection.register("found", reader).execute(
            f"CREATE TABLE counts_{order} AS SELECT {columns}, count(*)::UINTEGER AS raw FROM found GROUP BY {columns}"
        )
    except Exception:
        if failed:
            raise failed[0] from None
        raise
    connection.unregister("found")
    _count_shorter(connection, order)


def _numbers(texts: Iterable[pa.Array], counted: Counted) -> Iterator[Numbers]:
    """The lines of texts as numbers of words."""
    for some in texts:
        lines = lm_lines(some).lines
        numbers = counted.vocabulary.number(lines)
        counted.lines += len(lines)
        counted.tokens += len(numbers) - 2 * len(lines)
        yield numbers


def _ngrams(lines: Iterable[Numbers], schema: pa.Schema, failed: list[BaseException]) -> Iterator[pa.RecordBatch]:
    """The n-grams of all lines, batch by batch; what goes wrong is put aside, because DuckDB wraps it."""
    try:
        for numbers in lines:
            yield pa.record_batch(ngram_columns(numbers, len(schema)), schema=schema)
    except BaseException as error:
        failed.append(error)
        raise


def _count_shorter(connection: duckdb.DuckDBPyConnection, order: int) -> None:
    """The other tables from that of the highest order, and views `all_k` of those n-grams that have k words."""
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
    """Numbers of n-grams and discounts per order, with a bound for pruning each.

    `words` is how many the vocabulary has, those that mark unknown words and the ends of lines too, where it also has
    words that stand nowhere in the text: these get the probability of an unknown word each.
    """
    levels = []
    for k, bound in enumerate(prune, 1):
        counts = ", ".join(f"count(*) FILTER (adjusted = {n})" for n in (1, 2, 3, 4))
        row = connection.execute(f"SELECT count(*), count(*) FILTER (raw > {bound}), {counts} FROM all_{k}").fetchone()
        assert row is not None
        found = discounts_of(row[2:])
        extra = max(2, words - row[0]) if k == 1 else 0  # <unk> and <s>, and words that were not met
        levels.append(Level(k, bound, row[0] + extra, row[1] + extra, found or FALLBACK, found is None))
    return levels


def discounts_of(counts: tuple[int, ...]) -> tuple[float, float, float] | None:
    """The discounts by how many n-grams count 1, 2, 3 and 4 (Chen and Goodman 1998, equation 26); None for too few.

    None too for a discount of 0: a word that such n-grams alone follow would leave no probability for any other.
    """
    if 0 in counts[:3]:
        return None
    y = counts[0] / (counts[0] + 2 * counts[1])
    one, two, three = (n - (n + 1) * y * counts[n] / counts[n - 1] for n in (1, 2, 3))
    return (one, two, three) if LEAST < one <= 1 and LEAST < two <= 2 and LEAST < three <= 3 else None


class Grams(NamedTuple):
    """Some n-grams of one order, in the order of their words from the last to the first."""

    order: int
    columns: list[Numbers]  # of words, the last word of each n-gram first
    log_p: Reals  # logarithms to the base 10
    log_backoff: Reals | None  # None for the highest order


def estimate(connection: duckdb.DuckDBPyConnection, levels: Sequence[Level]) -> Iterator[Grams]:
    """The n-grams of a model, order by order; counts that are no longer needed are dropped on the way."""
    for k, level in enumerate(levels, 1):
        _estimate_level(connection, level)
        if k < len(levels):
            _find_contexts(connection, levels[k], level)
        for batch in _grams(connection, k, len(levels)):
            columns = [column.to_numpy() for column in batch.columns]
            yield Grams(k, columns[:k], columns[k], columns[k + 1] if k < len(levels) else None)


def write_arpa(
    file: BinaryIO, header: str, vocabulary: tuple[Offsets, Bytes], counts: Sequence[int],
    grams: Iterable[Grams],
) -> None:  # fmt: skip
    """Write a model with `counts` n-grams per order, behind a header of comments, which KenLM passes over."""
    told = "".join(f"ngram {k}={n}\n" for k, n in enumerate(counts, 1))
    file.write(f"{header}\\data\\\n{told}".encode())
    pieces = groupby(grams, key=lambda some: some.order)
    order, found = next(pieces, (0, iter(())))
    for k in range(1, len(counts) + 1):
        file.write(f"\n\\{k}-grams:\n".encode())
        if k == order:  # of others none were kept
            for some in found:
                file.write(arpa_lines(vocabulary, some.columns, some.log_p, some.log_backoff).data)
            order, found = next(pieces, (0, iter(())))
    file.write(b"\n\\end\\\n")


def _words(order: int, table: str = "", first: int = 1) -> list[str]:
    return [f"{table}c{k}" for k in range(first, first + order)]


def _discount(level: Level) -> str:
    """SQL of what is taken from an adjusted count."""
    one, two, more = (f"{amount:.17e}" for amount in level.discounts)
    return f"CASE adjusted WHEN 1 THEN {one} WHEN 2 THEN {two} ELSE {more} END"


def _sums(level: Level) -> str:
    """SQL of the total of some adjusted counts, and the share of it that their discounts and what is pruned leave."""
    kept = [f"count(*) FILTER (raw > {level.bound} AND adjusted {which})" for which in ("= 1", "= 2", "> 2")]
    taken = " + ".join(f"{amount:.17e} * {n}" for amount, n in zip(level.discounts, kept, strict=True))
    pruned = f"coalesce(sum(adjusted) FILTER (raw <= {level.bound}), 0)::DOUBLE"
    return f"sum(adjusted)::DOUBLE AS total, ({taken} + {pruned}) / sum(adjusted)::DOUBLE AS gamma"


def _find_contexts(connection: duckdb.DuckDBPyConnection, level: Level, shorter: Level) -> None:
    """Table `contexts_k` of the contexts that are kept n-grams of one word less."""
    k = level.order
    names = [f"c{j + 1} AS c{j}" for j in range(1, k)]
    connection.execute(
        f"""CREATE TABLE contexts_{k} AS SELECT {", ".join(names)}, {_sums(level)}
        FROM all_{k} GROUP BY {", ".join(_words(k - 1, first=2))} HAVING sum(raw) > {shorter.bound}"""
    )


def _estimate_level(connection: duckdb.DuckDBPyConnection, level: Level) -> None:
    """Table `grams_k` from those of one word less, and drop what is needed no more."""
    k = level.order
    share = f"(adjusted - {_discount(level)}) / total"
    if k == 1:
        connection.execute(
            f"""CREATE TABLE grams_1 AS
            WITH sums AS (SELECT {_sums(level)} FROM all_1)
            SELECT c1, {share} + gamma / {level.seen - 1} AS p FROM all_1, sums
            UNION ALL SELECT 0, gamma / {level.seen - 1} FROM sums
            UNION ALL SELECT 1, 1
            UNION ALL SELECT c1, gamma / {level.seen - 1}
            FROM sums, (SELECT range::INTEGER AS c1 FROM range(2, {level.seen})) ANTI JOIN all_1 USING (c1)"""
        )
        return
    behind = " AND ".join(f"n.c{j + 1} = x.c{j}" for j in range(1, k))
    shorter = " AND ".join(f"n.c{j} = g.c{j}" for j in range(1, k))
    connection.execute(
        f"""CREATE TABLE grams_{k} AS SELECT {", ".join(_words(k, "n."))}, {share} + gamma * g.p AS p
        FROM all_{k} n JOIN contexts_{k} x ON {behind} JOIN grams_{k - 1} g ON {shorter}
        WHERE raw > {level.bound}"""
    )
    connection.execute(f"DROP TABLE grams_{k - 1}; DROP TABLE contexts_{k}; DROP VIEW all_{k}; DROP TABLE counts_{k}")


def _grams(connection: duckdb.DuckDBPyConnection, k: int, order: int) -> pa.RecordBatchReader:
    """The n-grams of an order in the order of their words, with the logarithms of probability and backoff."""
    columns = ", ".join(_words(k, "g."))
    if k == order:
        query = f"SELECT {columns}, least(0, log10(p)) FROM grams_{k} g"
    else:
        on = " AND ".join(f"g.c{j} = x.c{j}" for j in range(1, k + 1))
        query = f"""SELECT {columns}, least(0, log10(p)), coalesce(log10(gamma), 0)
        FROM grams_{k} g LEFT JOIN contexts_{k + 1} x ON {on}"""
    return connection.sql(f"{query} ORDER BY {columns}").to_arrow_reader(WRITE_ROWS)

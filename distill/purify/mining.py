"""Mining: the documents of the corpus that may serve as bad ones in the training of tier 2."""

from collections.abc import Callable, Iterable

import duckdb
import pyarrow as pa

from curate.distill.reference import MIN_BYTES, sampling_mask
from curate.ledger.names import MINED
from curate.recipe.tier2 import Tier2

MOST_BYTES = 100_000  # of a training text; longer ones add nothing
WORST = 0.25  # share of the documents with the lowest coarse_score, from which half of the candidates are drawn
DRAWN = 12  # candidates per mined document: most are not among the worst, some are duplicates or too short


def mined_documents(
    section: Tier2, seed: int, load_ranges: Callable[[], Iterable[str]], connection: duckdb.DuckDBPyConnection
) -> pa.Table:
    """Draw the candidates (file_no, row, hash, uniform, worst) for bad documents, by seed, equal texts once; sorted.

    As many are drawn from all documents (`uniform`), which show how much bad text there is, as from the quarter with
    the lowest coarse_score (`worst`), which has more of it. Rules and duplicates do not matter, so other thresholds
    mine the same documents. Iterating over `load_ranges()` loads the view `judged` with a range of documents at a time,
    and yields its SQL condition.
    """
    [[documents]] = connection.execute("SELECT count(*) FROM texts").fetchall()
    share = min(1.0, DRAWN * section.mined / max(1, documents))
    key = f"xor(raw_hash_low, {sampling_mask(seed, MINED)}::UBIGINT)"
    connection.execute(
        "CREATE TEMP TABLE mined (file_no INTEGER, position INTEGER, row BIGINT, key UBIGINT, score FLOAT)"
    )
    for condition in load_ranges():
        connection.execute(
            f"""INSERT INTO mined SELECT file_no, position, row, {key}, coarse_score FROM judged
            WHERE {condition} AND len(input_reasons) = 0 AND raw_n_bytes BETWEEN {MIN_BYTES} AND {MOST_BYTES}
                AND {key} <= {min(int(share * 2**64), 2**64 - 1)}::UBIGINT"""
        )
    mined = connection.sql(
        f"""SELECT file_no, row, key AS hash, ordinal <= {section.mined} AS uniform,
            is_worst AND ordinal_of_half <= {section.mined} AS worst
        FROM (
            SELECT *, row_number() OVER (ORDER BY key) AS ordinal,
                row_number() OVER (PARTITION BY is_worst ORDER BY key) AS ordinal_of_half
            FROM (
                SELECT *, coalesce(score <= (SELECT quantile_disc(score, {WORST}) FROM mined), false) AS is_worst
                FROM mined QUALIFY row_number() OVER (PARTITION BY key ORDER BY position, row) = 1
            )
        ) WHERE uniform OR worst ORDER BY file_no, row"""
    ).to_arrow_table()
    connection.execute("DROP TABLE mined")
    return mined

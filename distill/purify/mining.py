"""Which documents of the corpus serve as bad ones, to train the second tier on."""

from collections.abc import Iterable

import duckdb
import pyarrow as pa

from curate.distill.reference import MIN_BYTES, sampling_mask
from curate.ledger.names import MINED
from curate.recipe.tier2 import Tier2

MOST_BYTES = 100_000  # of a text to train on: a longer one teaches no more
WORST = 0.25  # share of the documents, those with the least coarse_score, that texts are mined from
DRAWN = 12  # times as many documents are looked at as are mined: most are not among the worst, some equal or too short


def mined_documents(
    section: Tier2, seed: int, places: Iterable[str], connection: duckdb.DuckDBPyConnection
) -> pa.Table:
    """The documents (file_no, row, hash) that serve as bad ones, sorted: drawn by seed, of equal texts one.

    They are of the quarter with the least coarse_score: of all documents, too many that are good would be taught to be
    bad. Neither rules nor duplicates count, so that other thresholds mine the same. `places` load the view `judged`
    range by range, and are SQL that is true for each.
    """
    [[documents]] = connection.execute("SELECT count(*) FROM texts").fetchall()
    share = min(1.0, DRAWN * section.mined / max(1, documents))
    key = f"xor(raw_hash_low, {sampling_mask(seed, MINED)}::UBIGINT)"
    connection.execute(
        "CREATE TEMP TABLE mined (file_no INTEGER, position INTEGER, row BIGINT, key UBIGINT, score FLOAT)"
    )
    for place in places:
        connection.execute(
            f"""INSERT INTO mined SELECT file_no, position, row, {key}, coarse_score FROM judged
            WHERE {place} AND len(input_reasons) = 0 AND raw_n_bytes BETWEEN {MIN_BYTES} AND {MOST_BYTES}
                AND {key} <= {min(int(share * 2**64), 2**64 - 1)}::UBIGINT"""
        )
    found = connection.sql(
        f"""SELECT file_no, row, key AS hash FROM (
            FROM mined WHERE score <= (SELECT quantile_disc(score, {WORST}) FROM mined)
            QUALIFY row_number() OVER (PARTITION BY key ORDER BY position, row) = 1
            ORDER BY key LIMIT {section.mined}
        ) ORDER BY file_no, row"""
    ).to_arrow_table()
    connection.execute("DROP TABLE mined")
    return found

"""Stage `distil` of a run: of what the other stages leave, the documents that are worth their share of a token budget.

Texts are scored once (`curate.scorers`); budgets, quotas and weights are other questions about the same scores.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa

from curate.choose import PURPOSE, Chosen, chosen, insert_chosen, read_candidates
from curate.distill.select import TOLERANCE
from curate.ledger import Part, write_part
from curate.mining import MOST_BYTES
from curate.recipe import Recipe
from curate.reference import MIN_BYTES, sampling_mask
from curate.rescored import scores_of_table
from curate.scorers import SCORED, SCORES, Scorers
from curate.sections import Distill
from curate.sql import read_parquet

STAGE, RUNGS, QUOTAS = "distil", "rungs", "quotas"
NOTHING_DISTILLED = (
    "CREATE TEMP TABLE distilled (file_no INTEGER, row BIGINT, likeness FLOAT, importance FLOAT, domain VARCHAR, "
    "cluster INTEGER, own_grade FLOAT, quality FLOAT, rung SMALLINT, weight FLOAT, distil_reason VARCHAR)"
)


@dataclass(frozen=True)
class Distil:
    """The maps that the budget needs.

    `learn` is given what tells the documents to sample (file_no, row, hash), and returns what was learnt.
    `known` tells by what scores are known that still hold, and the files that have them. `score` is given documents
    (file_no, row, lines_sum), what was learnt, and parts with the lines that are cut, and returns parts as SCORED.
    """

    learn: Callable[[Callable[[], pa.Table]], Scorers]
    known: Callable[[Scorers], tuple[str, Sequence[Path]]]
    score: Callable[[pa.Table, Scorers, Sequence[Part]], Sequence[Part]]
    say: Callable[[str], None] = lambda message: None


def sampled_documents(section: Distill, seed: int, connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """The documents (file_no, row, hash), drawn by seed and of equal texts one, that models learn the corpus from."""
    key = f"xor(raw_hash_low, {sampling_mask(seed, PURPOSE)}::UBIGINT)"
    return connection.sql(
        f"""SELECT file_no, row, key AS hash FROM (
            SELECT file_no, position, row, {key} AS key FROM texts JOIN files USING (file_no)
            WHERE raw_n_bytes BETWEEN {MIN_BYTES} AND {MOST_BYTES}
            QUALIFY row_number() OVER (PARTITION BY key ORDER BY position, row) = 1
            ORDER BY key LIMIT {section.sample}
        ) ORDER BY file_no, row"""
    ).to_arrow_table()


def distil_documents(
    recipe: Recipe, strata: Sequence[str], run: Path, maps: Distil, sampled: Callable[[], pa.Table],
    cuts: Sequence[Part], size: tuple[int, int], connection: duckdb.DuckDBPyConnection, digest: str,
) -> list[Part]:  # fmt: skip
    """Table `distilled` of the documents of `passing` that the stages before leave, and the parts of the stage.

    `size` is the tokens of the input, and those of the largest budget that written documents have.

    Errors: InputError where models cannot be learnt, or a target's stratum has no document.
    """
    section = recipe.distill
    assert section is not None
    scorers = maps.learn(sampled)
    connection.execute(candidates_sql(recipe))
    parts = scores_of_table(
        "candidates", SCORES, SCORED, maps.known(scorers), lambda fresh: maps.score(fresh, scorers, cuts), run,
        connection, digest,
    )  # fmt: skip
    connection.execute(NOTHING_DISTILLED)
    _order_candidates(connection, [run / part.path for part in parts])
    spool = run / "ledger" / "spool"
    spool.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=spool, prefix="shingles-") as folder:
        table = read_candidates(recipe, strata, Path(folder), connection)
        found = chosen(recipe, table, size, scorers.shares)
    insert_chosen(found, connection)
    _tell_of_room(found, maps.say)
    tables = {RUNGS: found.rungs, QUOTAS: found.quotas}
    return [
        *scorers.parts,
        *parts,
        *(write_part(run, group, digest, "00000", table) for group, table in tables.items()),
    ]


def _tell_of_room(found: Chosen, say: Callable[[str], None]) -> None:
    """Say where a budget has room for all that is left."""
    *_, last = found.rungs.to_pylist()
    if last["tokens"] < (1 - TOLERANCE) * last["budget"] and last["documents"] == len(found.quality):
        say(
            f"distil: the budget is {last['budget']:,} tokens, and {last['tokens']:,} are left: all of them are kept; "
            "give more input, or drop less before"
        )


def candidates_sql(recipe: Recipe) -> str:
    """Table `candidates`: the documents that are left, with what is known of them."""
    most = recipe.dedup.lines.max_cut if recipe.dedup.lines else 1
    return f"""
        CREATE TEMP TABLE candidates AS
        SELECT passing.* EXCLUDE (n_tokens), coalesce(trimmed_tokens, n_tokens) AS n_tokens,
            coalesce(lines_sum, 0)::UBIGINT AS lines_sum, p_bad, grade
        FROM passing ANTI JOIN duplicates USING (file_no, row) ANTI JOIN banded USING (file_no, row)
            LEFT JOIN trimmed USING (file_no, row) LEFT JOIN purified USING (file_no, row)
        WHERE file_no >= 0 AND NOT coalesce(cut_share > {most}::FLOAT OR trimmed_tokens = 0, false)
            AND NOT coalesce(p_bad > p_bad_bound, false)"""


def _order_candidates(connection: duckdb.DuckDBPyConnection, scored: Sequence[Path]) -> None:
    """Table `ordered`: the rows of table `candidates` with their scores, in input order."""
    connection.register("unscored", SCORED.empty_table())
    source = read_parquet(scored) if scored else "unscored"
    connection.execute(
        f"""CREATE TEMP TABLE ordered AS
        SELECT c.* EXCLUDE (grade), s.* EXCLUDE (file_no, row, lines_sum, grade), s.grade AS own_grade,
            coalesce(s.grade, c.grade) AS grade
        FROM candidates c LEFT JOIN {source} s USING (file_no, row) ORDER BY position, row"""
    )

"""Decide every document: run the cascade, then read the verdicts off its findings. No text is read here."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from curate.decide.cascade import Cascade, conditions_on_data, load_ranges, run_cascade
from curate.decide.schema import FINDINGS
from curate.decide.verdicts import decisions_sql
from curate.filters.rules.conditions import condition
from curate.filters.rules.resolve import ResolvedRule
from curate.ledger.ledger import Ledger
from curate.ledger.names import DECISIONS
from curate.ledger.parts import Part, rebuffered, write_part
from curate.ledger.views import load_signals, signal_types
from curate.recipe.recipe import Recipe
from curate.sql import small_queries

DECISION_ROWS = 1 << 17  # rows of one part


def decide(cascade: Cascade) -> list[Part]:
    """Decide every document and commit the decisions, sorted by input order, and the parts of all stages.

    What joins the signals of a document works range by range; what sees the whole corpus reads a few narrow columns.
    So memory grows with the columns of `passing` and the number of copies, at worst, and DuckDB can spill those.

    Errors: InputError for ids that clash or are null; RecipeError for a condition that fails on the data.
    """
    further = run_cascade(cascade)
    cascade.reader.begin("verdicts")
    parts = list(_write_decisions(cascade.recipe, cascade.ledger, _decisions(cascade), cascade.digest))
    [[documents]] = cascade.connection.execute("SELECT count(*) FROM texts").fetchall()
    assert sum(part.rows for part in parts) == documents, "every document is decided once"
    return [*parts, *further]


def _decisions(cascade: Cascade) -> Iterator[pa.Table]:
    """Read the verdicts off the findings, range by range."""
    for place in load_ranges(cascade, ["repeated", *FINDINGS]):
        with conditions_on_data():
            yield cascade.connection.sql(decisions_sql(place)).to_arrow_table()


def _write_decisions(recipe: Recipe, ledger: Ledger, tables: Iterable[pa.Table], digest: str) -> Iterator[Part]:
    """Commit the decisions in parts, each kept document with the output shard it goes to.

    A new shard begins with the first document at or after each multiple of shard_size bytes of text.
    """
    written = 0
    shard, last_slot = -1, -1
    for k, table in enumerate(rebuffered(tables, DECISION_ROWS)):
        kept = table["kept"].to_numpy()
        size = np.where(kept, table["n_bytes"].to_numpy(), 0)
        starts = written + np.cumsum(size) - size
        written += int(size.sum())
        slots = starts // recipe.shard_size  # a document larger than a shard leaves slots without a document
        new_shards = np.zeros(len(table), dtype=np.int64)
        kept_rows = np.flatnonzero(kept)
        if len(kept_rows):
            new_shards[kept_rows] = np.diff(slots[kept_rows], prepend=last_slot) > 0
            last_slot = int(slots[kept_rows[-1]])
        shards = shard + np.cumsum(new_shards)
        shard = int(shards[-1]) if len(shards) else shard
        table = table.append_column("shard", pa.array(shards.astype(np.int32), mask=~kept))
        yield write_part(ledger.run, DECISIONS, digest, f"{k:05d}", table)


def count_passing(
    ledger: Ledger, groups: Mapping[str, str], rules: Sequence[ResolvedRule], parts: Sequence[Part]
) -> int:
    """How many documents of freshly measured parts no rule drops (duplicates aside): what progress shows."""
    with small_queries().cursor() as connection:
        load_signals(connection, ledger, groups, only=parts)
        types = signal_types(connection)
        drops = " OR ".join(["coalesce(n_words, 0) = 0", *(condition(rule.rule, types) for rule in rules)])
        with conditions_on_data():
            row = connection.execute(f"SELECT count(*) FILTER (NOT ({drops})) FROM signals").fetchone()
        assert row is not None
        return int(row[0])

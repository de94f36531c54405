"""Stage `distil` of a run: of the documents that the other stages leave, those that a token budget keeps.

Texts are scored once (`models.py`); with other budgets, quotas and weights, documents keep their scores.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa

from curate.distill.budget.candidates import PURPOSE, FilledBudgets, distilled_tables, fill_budgets, read_candidates
from curate.distill.budget.curve import fill_curve
from curate.distill.budget.models import SCORED, open_scorer, scores_key, train, warm
from curate.distill.budget.scores import scores_message
from curate.distill.budget.select import TOLERANCE
from curate.distill.budget.tuning import tune
from curate.distill.budget.tuning_texts import load as load_tuning_texts
from curate.distill.purify.mining import MOST_BYTES
from curate.distill.reference import MIN_BYTES, sampling_mask
from curate.distill.scoring_stage import DrawDocuments, ScoreReader, ScoringStage, StageContext, scores_of_table
from curate.ledger.models import BUDGET
from curate.ledger.names import QUOTAS, RUNGS, SCORES, TUNING, TUNING_TEXTS
from curate.ledger.parts import Part, write_part
from curate.ledger.views import DocumentRange, SortedFiles, restrict_views
from curate.recipe.distill import Distill
from curate.recipe.recipe import Recipe

UNREAD = 0.01  # share of a curve's budget that may be missing without a word
MANY_BUDGETS = 2.0  # like the reference from which on a budget is called small (docs/distil.md, How large a budget)
DRAWN = 4  # candidates per sampled document: some are duplicates, too short or too long


def sampled_documents(section: Distill, seed: int, connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """Draw the documents (file_no, row, hash) that models learn the corpus from, by seed, equal texts once.

    They are those with the lowest keys, so only documents with low keys are sorted. Those in `removed` are left out.
    """
    [[documents]] = connection.execute("SELECT count(*) FROM texts").fetchall()
    key = f"xor(raw_hash_low, {sampling_mask(seed, PURPOSE)}::UBIGINT)"
    share = DRAWN * section.sample / max(1, documents)
    while True:
        most = min(int(share * 2**64), 2**64 - 1)
        sample = connection.sql(
            f"""SELECT file_no, row, key AS hash FROM (
                SELECT file_no, position, row, {key} AS key
                FROM texts JOIN files USING (file_no) ANTI JOIN removed USING (file_no, row)
                WHERE raw_n_bytes BETWEEN {MIN_BYTES} AND {MOST_BYTES} AND {key} <= {most}::UBIGINT
                QUALIFY row_number() OVER (PARTITION BY key ORDER BY position, row) = 1
                ORDER BY key LIMIT {section.sample}
            ) ORDER BY file_no, row"""
        ).to_arrow_table()
        if len(sample) == section.sample or share >= 1:
            return sample
        share *= DRAWN


def distil_documents(
    recipe: Recipe,
    strata: Sequence[str],
    reader: ScoreReader,
    sampled: DrawDocuments,
    size: tuple[int, int],
    context: StageContext,
) -> list[Part]:
    """Fill `distilled` with scores and verdicts of `candidates`; return the parts of the stage.

    `size`, in the unit of the budget, is that of the input, and that of written documents in the largest budget.

    Errors: InputError where models cannot be trained, or a target's stratum has no document.
    """
    section, run, connection = recipe.distill, context.run, context.connection
    assert section is not None
    models = reader.models(STAGE, sampled)
    parts = scores_of_table("candidates", STAGE, models, reader, context)
    rows = partial(_candidates, [run / part.path for part in parts], context.ranges, connection)
    spool = run / "ledger" / "spool"
    spool.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=spool, prefix="candidates-") as folder:
        table, tables = read_candidates(recipe, strata, Path(folder), rows), {}
        if section.tune:
            texts = load_tuning_texts(Path(models.files[TUNING_TEXTS]))
            tuned = tune(recipe, strata, table, rows, texts, size=size, domain_shares=models.facts["domains"])
            reader.say(tuned.told(len(texts.domain)))
            tables[TUNING], recipe = tuned.table, tuned.settings.within(recipe)
            table = read_candidates(recipe, strata, Path(folder), rows)
        reader.say(scores_message(recipe))
        fill = fill_curve if section.curve else fill_budgets
        filled = fill(recipe, table, rows, size, models.facts["domains"])
        for documents in distilled_tables(filled, rows):
            connection.register("chosen", documents)
            connection.execute("INSERT INTO distilled BY NAME FROM chosen")
            connection.unregister("chosen")
    _say_if_unfilled(section, filled, reader.say)
    _say_if_small(section, table.alike, filled, reader.say)
    tables |= {RUNGS: filled.rungs, QUOTAS: filled.quotas}
    return [*models.parts, *parts, *_written(tables, context)]


def _written(tables: Mapping[str, pa.Table], context: StageContext) -> list[Part]:
    return [write_part(context.run, group, context.digest, "00000", table) for group, table in tables.items()]


def _say_if_unfilled(section: Distill, filled: FilledBudgets, say: Callable[[str], None]) -> None:
    """Tell the user if the budget has room for all documents."""
    *_, last = filled.rungs.to_pylist()
    unit = section.unit
    if section.curve:
        if last[f"read_{unit}"] < (1 - UNREAD) * last["budget"]:
            say(
                f"distill: the budget is {last['budget']:,} {unit}, and a curve of at most "
                f"{section.curve.max_repeats:g} repeats reads {last[f'read_{unit}']:,}; give more input, drop less "
                "before, or raise max_repeats"
            )
    elif last[unit] < (1 - TOLERANCE) * last["budget"] and last["documents"] == len(filled.selection.rung):
        say(
            f"distill: the budget is {last['budget']:,} {unit}, and {last[unit]:,} are left: all of them are kept; "
            "give more input, or drop less before"
        )


def _say_if_small(section: Distill, alike: int, filled: FilledBudgets, say: Callable[[str], None]) -> None:
    """Tell the user if the budget leaves out much of what is like the reference."""
    *_, last = filled.rungs.to_pylist()
    if alike > MANY_BUDGETS * last["budget"]:
        say(
            f"distill: documents that resemble the reference more than the corpus have {alike:,} {section.unit}, "
            f"{alike / max(1, last['budget']):.1f} times the budget: most of them are left out, and so is what they "
            "teach; a larger budget keeps more (docs/distil.md, How large a budget)"
        )


def _candidates(
    scored: Sequence[Path],
    ranges: Sequence[DocumentRange],
    connection: duckdb.DuckDBPyConnection,
    columns: Sequence[str],
) -> Iterator[pa.Table]:
    """Columns of the candidates with their scores, in input order, by ranges."""
    connection.register("no_scores", SCORED.empty_table())
    files = SortedFiles.of(scored)
    for documents in ranges:
        restrict_views(["candidates"], documents.coarse_sql, connection)
        yield connection.sql(
            f"""SELECT {", ".join(columns)} FROM (
                SELECT c.* EXCLUDE (grade), s.* EXCLUDE (file_no, row, lines_sum, grade), s.grade AS own_grade,
                    coalesce(s.grade, c.grade) AS grade
                FROM here_candidates c LEFT JOIN {files.sql(documents) or "no_scores"} s USING (file_no, row)
                WHERE {documents.exact_sql}
            ) ORDER BY position, row"""
        ).to_arrow_table()
    connection.unregister("no_scores")


STAGE = ScoringStage(
    models=BUDGET,
    group=SCORES,
    schema=SCORED,
    train=train,
    open=open_scorer,
    warm=warm,
    key=scores_key,
    code=__name__,
)

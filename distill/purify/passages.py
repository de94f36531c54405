"""Bad passages of documents that stay: menus, adverts and notices are cut before the documents are judged.

A map scores the passages of all candidates; those that may be cut are kept in the ledger with their p_bad, so another
`max_false_drop` chooses among them without reading a text. A second map rereads the documents with cuts, makes edits of
them, and measures what is left. The bound is on documents: of a good one, at most a share of `max_false_drop` of its
bytes is cut, in the mean (`passage_limit`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.corpus.edits import PART, apply_edits, find_edits
from curate.digest import code_of, digest_of
from curate.distill.draws import mixed
from curate.distill.purify.bounds import Limit, LimitOf, bound_sql, bounds_of
from curate.distill.purify.conformal import Losses, risk_threshold
from curate.distill.purify.passage_training import SPAN, bad_passages, train
from curate.distill.purify.training import code_of_models
from curate.distill.scoring.passages import LEAST, PassageScorer, load_passages
from curate.distill.scoring_stage import Scorer, ScoreReader, ScoringStage, StageContext, scores_of_table
from curate.errors import RecipeError
from curate.filters.registry import REASONS
from curate.filters.signals.text import character_shape
from curate.kernels.corpus_lines import raw_places
from curate.kernels.cuts import Cuts
from curate.kernels.passages import Passages, split_passages
from curate.ledger.models import PURIFY, ModelSet
from curate.ledger.names import (
    LINE_EDITS,
    PASSAGE_CALIBRATION,
    PASSAGE_MODEL,
    PASSAGE_THRESHOLDS,
    PASSAGES,
    PENDING,
    WITHOUT_PASSAGES,
)
from curate.ledger.parts import Part, write_part
from curate.maps.reread import CorpusReader, RereadTask, add_keys, with_cuts
from curate.maps.warm import warm_texts
from curate.recipe.tier2 import Passages as PassagesSection
from curate.recipe.tier2 import Tier2
from curate.sql import read_parquet

REASON = "bad_passage"  # of an edit
DROP_REASON = "too_little_left"  # of a document
SCORED = pa.schema(
    [
        ("file_no", pa.int32()),
        ("row", pa.int64()),
        ("lines_sum", pa.uint64()),
        ("passages", pa.list_(SPAN)),  # those that may be cut, in bytes of the text without edits and repeated lines
    ]
)
NOTHING_CUT = pa.Table.from_batches(
    [],
    pa.schema(
        [
            ("file_no", pa.int32()),
            ("row", pa.int64()),
            ("passages_sum", pa.uint64()),  # identifies the passages that are cut
            ("left_bytes", pa.int64()),
            ("left_tokens", pa.int64()),
        ]
    ),
)
Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class CutInputs:
    """Inputs of a cutting task besides its documents."""

    cuts: tuple[str, ...]  # paths of parts with the repeated lines that are cut before


def create_cut(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the table of documents with cuts."""
    connection.execute(
        "CREATE TEMP TABLE without_passages (file_no INTEGER, row BIGINT, passages_sum UBIGINT, left_bytes BIGINT, "
        "left_tokens BIGINT, passage_reason VARCHAR)"
    )


def drop_cut(connection: duckdb.DuckDBPyConnection) -> None:
    """Drop that table."""
    connection.execute("DROP TABLE without_passages")


def cut_passages(
    section: Tier2, strata: Sequence[str], models: ModelSet, reader: ScoreReader, context: StageContext
) -> list[Part]:
    """Fill `without_passages` with the candidates that lose passages, and mark these candidates; return the parts.

    Errors: RecipeError where the models know no passages.
    """
    assert section.passages is not None
    run, connection = context.run, context.connection
    calibration = passage_calibration_of(models)
    limits = bounds_of(calibration, section, strata, passage_limit(section.max_false_drop, section.passages))
    bounds = write_part(run, PASSAGE_THRESHOLDS, context.digest, "00000", limits)
    scored = scores_of_table("candidates", STAGE, models, reader, context)
    connection.execute(f"CREATE TEMP TABLE passage_bounds AS FROM {read_parquet([run / bounds.path])}")
    documents = connection.sql(_cut_sql([run / part.path for part in scored], strata)).to_arrow_table()
    connection.execute("DROP TABLE passage_bounds")
    parts = [_in_force(part) for part in reader.cut_passages(documents, context.cuts)] if len(documents) else []
    if sizes := [run / part.path for part in parts if part.group == WITHOUT_PASSAGES]:
        too_little = f"left_bytes < {section.passages.least} OR left_tokens = 0"
        connection.execute(
            f"INSERT INTO without_passages SELECT *, if({too_little}, '{DROP_REASON}', NULL) FROM {read_parquet(sizes)}"
        )
        connection.execute(
            "UPDATE candidates SET lines_sum = xor(lines_sum, w.passages_sum) FROM without_passages w "
            "WHERE candidates.file_no = w.file_no AND candidates.row = w.row"
        )
    return [bounds, *scored, *parts]


def _in_force(part: Part) -> Part:
    return replace(part, group=part.group.removeprefix(PENDING))


def _cut_sql(scored: Sequence[Path], strata: Sequence[str]) -> str:
    """The candidates with passages beyond the bound, with the first bytes of these and the bytes in them."""
    if not scored:
        return "SELECT file_no, row, lines_sum, n_bytes, n_tokens, []::INTEGER[] AS starts, 0 AS n_cut FROM candidates"
    joins, bound = bound_sql(strata, "passage_bounds")
    return f"""
        SELECT file_no, row, lines_sum, n_bytes, n_tokens, list_transform(bad, lambda p: p.start) AS starts,
            list_sum(list_transform(bad, lambda p: p."end" - p.start))::BIGINT AS n_cut
        FROM (
            SELECT d.file_no, d.row, d.lines_sum, d.n_bytes, d.n_tokens,
                list_filter(s.passages, lambda p: p.p_bad > {bound}) AS bad
            FROM {read_parquet(scored)} s JOIN candidates d USING (file_no, row){joins}
        ) WHERE len(bad) > 0
        ORDER BY file_no, row"""


def passage_calibration_of(models: ModelSet) -> pa.Table:
    """The passages of good documents that are not trained on: doc_id, n_bytes, passages, a column for each stratum.

    Errors: RecipeError where the models were trained without passages.
    """
    if PASSAGE_MODEL not in models.files:
        raise RecipeError(
            f"tier2.passages: the models of {models.run} know no passages; run with tier2.passages, or leave it out"
        )
    return pq.read_table(models.files[PASSAGE_CALIBRATION])


def passage_limit(alpha: float, section: PassagesSection) -> LimitOf:
    """The bound on p_bad of passages by calibration documents: in the mean, α of a document's bytes are beyond it.

    A document of which too little would be left counts as cut in whole.
    """

    def limit(calibration: pa.Table) -> Limit:
        lists = calibration["passages"].combine_chunks()
        counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
        documents = np.repeat(np.arange(len(counts)), counts)
        spans = lists.flatten()
        p_bad = spans.field("p_bad").to_numpy()
        sizes = (pc.subtract(spans.field("end"), spans.field("start"))).to_numpy().astype(np.int64)
        steps = loss_steps(documents, p_bad, sizes, calibration["n_bytes"].to_numpy(), section.least)
        return Limit(risk_threshold(Losses(len(counts), p_bad, steps), alpha, LEAST))

    return limit


def loss_steps(
    documents: Integers, p_bad: npt.NDArray[np.floating], sizes: Integers, n_bytes: Integers, least: int
) -> npt.NDArray[np.float64]:
    """What each passage adds to the loss of its document, if passages are cut from the worst on.

    The loss of a document is the share of its bytes that is cut, and 1 where less than `least` is left.
    """
    order = np.lexsort((-p_bad, documents))
    document, size = documents[order], sizes[order]
    total = np.cumsum(size)
    first = np.flatnonzero(np.diff(document, prepend=-1))
    before = np.repeat(total[first] - size[first], np.diff(np.append(first, len(order))))
    cut = total - before
    loss = np.where(n_bytes[document] - cut < least, 1.0, cut / np.maximum(n_bytes[document], 1))
    earlier = np.roll(loss, 1)
    earlier[first] = 0.0
    steps = np.empty(len(order))
    steps[order] = loss - earlier
    return steps


def plan_cuts(reader: CorpusReader, documents: pa.Table, cuts: Sequence[Part]) -> list[RereadTask]:
    """Plan a task for each unit with some of the documents (file_no, row, lines_sum, starts, …; sorted)."""
    inputs = CutInputs(tuple(str(reader.run / part.path) for part in cuts))
    depends = [part.sha256 for part in cuts]
    return reader.plan(documents, [__name__, character_shape.measure.__module__], depends, inputs)


def cut_documents(task: RereadTask) -> list[Part]:
    """The edits that cut passages from a task's documents, at offsets of the raw text, and what is left of each."""
    inputs: CutInputs = task.more
    tables: list[tuple[pa.Table, pa.Table]] = []
    for documents, raw in task.texts():
        rows = documents["row"].to_numpy()
        edits = with_cuts(find_edits(raw, task.reading.editors), inputs.cuts, task.unit.file_no, rows)
        found, left = cut(raw, edits, documents)
        tables.append((add_keys(found, rows, task.unit.file_no).cast(PART), add_keys(left, rows, task.unit.file_no)))
    parts = [task.write(group, [pair[k] for pair in tables]) for k, group in enumerate((LINE_EDITS, WITHOUT_PASSAGES))]
    return [replace(part, group=PENDING + part.group) for part in parts]


def cut(texts: pa.Array, edits: pa.Table, documents: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Cut the passages of documents (lines_sum, starts) from their edited texts: further edits, and what is left."""
    starts = documents["starts"].combine_chunks()
    edited = apply_edits(texts, edits)
    passages = split_passages(edited)
    cuts = passage_cuts(passages, _are_among(passages, starts), pc.fill_null(pc.binary_length(edited), 0).to_numpy())
    no_replacement = pa.nulls(len(cuts.rows), pa.string())
    table = pa.table({"row": cuts.rows, "start": cuts.starts, "end": cuts.ends, "replacement": no_replacement})
    shape = character_shape(apply_edits(edited, table))
    left = pa.table(
        {
            "row": pa.array(np.arange(len(texts))),
            "passages_sum": pa.array(cuts_sums(documents)),
            "left_bytes": shape["n_bytes"],
            "left_tokens": shape["n_tokens"],
        }
    )
    sizes = pc.fill_null(pc.binary_length(edits["replacement"]), 0)
    raw_starts, raw_ends = raw_places(cuts, edits["row"], edits["start"], edits["end"], sizes)
    return _as_edits(cuts.rows, raw_starts, raw_ends), left


def _are_among(passages: Passages, starts: pa.Array) -> Flags:
    """Which passages begin at one of the `starts` of their text."""
    wanted = np.repeat(np.arange(len(starts)), pc.fill_null(pc.list_value_length(starts), 0).to_numpy())
    keys = (wanted << 32) + starts.flatten().to_numpy().astype(np.int64)
    return np.isin((passages.texts << 32) + passages.starts, keys)


def passage_cuts(passages: Passages, chosen: Flags, sizes: Integers) -> Cuts:
    """The cuts that remove the chosen passages, one for each; of the blank lines around them the fewer go too.

    Adjacent cuts leave no gap. Text that ends with a cut ends with the last line that stays before it, and with the
    white space that it ended with.
    """
    count, texts = len(passages.starts), passages.texts
    is_first, is_last = np.zeros(count, bool), np.zeros(count, bool)
    filled = np.diff(passages.offsets) > 0
    is_first[passages.offsets[:-1][filled]] = is_last[passages.offsets[1:][filled] - 1] = True
    following = np.where(is_last, passages.ends, np.roll(passages.starts, -1))
    preceding = np.where(is_first, 0, np.roll(passages.ends, 1))
    opens = chosen & (is_first | ~np.roll(chosen, 1))  # the first and the last of passages that are cut in a row
    closes = chosen & (is_last | ~np.roll(chosen, -1))
    first_of, last_of = np.flatnonzero(opens), np.flatnonzero(closes)
    before = passages.starts[first_of] - preceding[first_of]
    behind = following[last_of] - passages.ends[last_of]
    at_begin, at_end = is_first[first_of], is_last[last_of]
    from_before = ~at_begin & (at_end | (behind > before))  # the blank lines before go, those behind stay
    starts, ends = passages.starts.copy(), following.copy()
    starts[first_of] = np.where(at_begin, 0, np.where(from_before, preceding[first_of], starts[first_of]))
    ends[last_of] = np.where(from_before, passages.ends[last_of], following[last_of])
    ends[last_of] = np.where(at_begin & at_end, sizes[texts[last_of]], ends[last_of])
    rows, starts, ends = (column[chosen] for column in (texts, starts, ends))
    codes = pa.array(np.zeros(len(rows), np.int8))
    return Cuts(pa.array(rows), pa.array(starts.astype(np.int32)), pa.array(ends.astype(np.int32)), codes)


def cuts_sums(documents: pa.Table) -> Hashes:
    """A number that identifies the passages that each document (lines_sum, starts) loses.

    Passages are known by their first bytes in the text without repeated lines. No list may be empty.
    """
    starts = documents["starts"].combine_chunks()
    keys = mixed(starts.flatten().to_numpy().astype(np.uint64), 0, PASSAGES)
    begins = np.cumsum(np.r_[0, pc.list_value_length(starts).to_numpy()])[:-1]
    sums = np.add.reduceat(keys, begins) if len(begins) else keys
    return mixed(sums ^ documents["lines_sum"].to_numpy(), 0, LINE_EDITS)


def _as_edits(rows: pa.Array, starts: Integers, ends: Integers) -> pa.Table:
    count = len(rows)
    return pa.table(
        {
            "row": rows,
            "start": pa.array(starts, pa.int32()),
            "end": pa.array(ends, pa.int32()),
            "replacement": pa.nulls(count, pa.string()),
            "reason": pa.array([REASON] * count, REASONS),
            "stage": pa.array(["purify"] * count, REASONS),
        }
    )


def scores_key(models: ModelSet) -> str:
    """The digest of what scores depend on besides the documents."""
    part = models.part(PASSAGE_MODEL)
    return digest_of([code_of(__name__), code_of_models(), part.sha256 if part else None])


def open_scorer(files: Mapping[str, str]) -> Scorer:
    """A scorer by the model in files."""
    model = load_passages(Path(files[PASSAGE_MODEL]))

    def score(texts: pa.Array, groups: Hashes) -> dict[str, pa.Array]:
        return {"passages": bad_passages(PassageScorer(model), texts, groups)}

    return score


def warm(files: Mapping[str, str]) -> None:
    """Compile the kernels that score passages by these models."""
    texts = warm_texts()
    PassageScorer(load_passages(Path(files[PASSAGE_MODEL]))).score(texts, np.zeros(len(texts), np.uint64))


STAGE = ScoringStage(
    models=PURIFY,
    group=PASSAGES,
    schema=SCORED,
    train=train,
    open=open_scorer,
    warm=warm,
    key=scores_key,
    code=__name__,
)

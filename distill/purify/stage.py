"""Stage `purify` of a run: documents whose p_bad exceeds the bound of their stratum are dropped.

Training (`training.py`) depends neither on which documents the earlier stages leave nor on the bound: with other
thresholds of rules or another `max_false_drop`, documents keep their p_bad.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.digest import code_of, digest_of
from curate.distill.purify.bounds import Limit, LimitOf, bound_sql, bounds_of
from curate.distill.purify.conformal import interval, threshold
from curate.distill.purify.passage_training import train
from curate.distill.purify.passages import create_cut, cut_passages, drop_cut
from curate.distill.purify.training import calibration_of, code_of_models
from curate.distill.scoring.discriminator import Model, groups_of, judge, load
from curate.distill.scoring.evidence import evidence as evidence_of
from curate.distill.scoring.grades import score_grades
from curate.distill.scoring.linear_model import Hashes
from curate.distill.scoring_stage import DrawDocuments, Scorer, ScoreReader, ScoringStage, StageContext, scores_of_table
from curate.ledger.models import PURIFY, ModelSet
from curate.ledger.names import CALIBRATION, GRADE_MODEL, LINE_EDITS, P_BAD, PURIFY_MODEL, THRESHOLDS
from curate.ledger.parts import Part, write_part
from curate.maps.documents import masked
from curate.maps.warm import warm_texts
from curate.recipe.recipe import Recipe
from curate.recipe.strata import strata_of_documents
from curate.recipe.tier2 import Tier2
from curate.sql import read_parquet

REASON = "p_bad_too_high"
EVIDENCE = 5  # n-grams
EVIDENCE_SHARE = 0.2  # of good texts: documents above the p_bad of the others get an attack and evidence

SCORED = pa.schema(
    [
        ("file_no", pa.int32()),
        ("row", pa.int64()),
        ("lines_sum", pa.uint64()),  # identifies the repeated lines that are cut; 0 for none
        ("p_bad", pa.float32()),
        ("grade", pa.float32()),
        ("attack", pa.dictionary(pa.int8(), pa.string())),
        ("evidence", pa.list_(pa.string())),
    ]
)


def strata_of_purify(recipe: Recipe, inputs: Collection[str]) -> dict[str, str]:
    """The columns that the bound on false drops is set within, widest first, with SQL for each over the signals."""
    if recipe.tier2 is None:
        return {}
    available = strata_of_documents(recipe, inputs, recipe.tier2.by)
    names = {*recipe.tier2.by, *(name for name in available if name.startswith("input."))}
    return {name: sql for name, sql in available.items() if name in names}


def purify_documents(
    section: Tier2, strata: Sequence[str], reader: ScoreReader, mined: DrawDocuments, context: StageContext
) -> list[Part]:
    """Fill `purified` with scores and verdicts of `candidates`; return the parts of the stage.

    Errors: InputError where the reference is too small for the bound; RecipeError for a stratum that no model knows,
    or where the models know no passages.
    """
    run, connection = context.run, context.connection
    models = reader.models(STAGE, mined)
    limits = bounds_of(calibration_of(models), section, strata, p_bad_limit(section.max_false_drop))
    bounds = write_part(run, THRESHOLDS, context.digest, "00000", limits)
    create_cut(connection)
    cut_parts = cut_passages(section, strata, models, reader, context) if section.passages else []
    cuts = [*context.cuts, *(part for part in cut_parts if part.group == LINE_EDITS)]
    parts = scores_of_table("candidates", STAGE, models, reader, replace(context, cuts=cuts))
    if parts:
        connection.execute(f"CREATE TEMP TABLE bounds AS FROM {read_parquet([run / bounds.path])}")
        connection.execute(purified_sql([run / part.path for part in parts], strata))
        connection.execute("DROP TABLE bounds")
    drop_cut(connection)
    return [*models.parts, *cut_parts, *parts, bounds]


def p_bad_limit(alpha: float) -> LimitOf:
    """The bound on p_bad of calibration documents (doc_id, p_bad)."""

    def limit(calibration: pa.Table) -> Limit:
        bound = threshold(calibration["p_bad"].to_numpy(), alpha)
        assert bound is not None
        return Limit(bound, *interval(len(calibration), alpha))

    return limit


def purified_sql(scored: Sequence[Path], strata: Sequence[str]) -> str:
    """Rows of `purified`: the candidates' scores, and which lie beyond the bound of their narrowest bounded stratum.

    A document of which too little is left without its bad passages is dropped for that, whatever its p_bad.
    """
    joins, bound = bound_sql(strata, "bounds")
    return f"""
        INSERT INTO purified BY NAME
        SELECT s.file_no, s.row, s.p_bad, s.grade, s.attack::VARCHAR AS attack, s.evidence,
            passages_sum, left_bytes, left_tokens,
            coalesce(passage_reason, if(s.p_bad > {bound}, '{REASON}', NULL)) AS purify_reason
        FROM {read_parquet(scored)} s JOIN candidates d USING (file_no, row)
            LEFT JOIN without_passages USING (file_no, row){joins}
        ORDER BY s.file_no, s.row"""


def evidence_bound(calibration: pa.Table) -> float:
    """The least p_bad of documents that get an attack and evidence."""
    return float(np.quantile(calibration["p_bad"].to_numpy(), 1 - EVIDENCE_SHARE, method="lower"))


def scores_key(models: ModelSet) -> str:
    """The digest of what scores depend on besides the documents."""
    hashes = [part.sha256 if (part := models.part(group)) else None for group in (PURIFY_MODEL, GRADE_MODEL)]
    return digest_of([code_of(__name__), code_of_models(), hashes, evidence_bound(calibration_of(models))])


def open_scorer(files: Mapping[str, str]) -> Scorer:
    """A scorer by the models in files; without the calibration's file, no document gets evidence."""
    model = load(Path(files[PURIFY_MODEL]))
    grades = load(Path(files[GRADE_MODEL])) if GRADE_MODEL in files else None
    least = evidence_bound(pq.read_table(files[CALIBRATION])) if CALIBRATION in files else 1.0
    return partial(score_texts, model=model, grades=grades, evidence_from=least)


def warm(files: Mapping[str, str]) -> None:
    """Compile the kernels that score texts by these models and find evidence."""
    model, grades = load(Path(files[PURIFY_MODEL])), load(Path(files[GRADE_MODEL])) if GRADE_MODEL in files else None
    score_texts(warm_texts(), groups_of(warm_texts()), model, grades, evidence_from=0)


def score_texts(
    texts: pa.Array, groups: Hashes, model: Model, grades: Model | None, evidence_from: float
) -> dict[str, pa.Array]:
    """p_bad and grade of texts; where p_bad is at least `evidence_from`, the nearest attack and n-grams as evidence.

    Evidence has personal data masked. `groups` are those of the texts before repeated lines are cut.
    """
    judged = judge(model, texts, groups)
    has_evidence = np.asarray(pc.fill_null(judged["p_bad"], 0)) >= evidence_from
    indices = np.flatnonzero(has_evidence)
    evidence: list[list[str] | None] = [None] * len(texts)
    strongest = evidence_of(model, masked(texts.take(pa.array(indices))), groups[indices], EVIDENCE)
    for index, reasons in zip(indices.tolist(), strongest, strict=True):
        evidence[index] = reasons
    attack = pc.if_else(pa.array(has_evidence), judged["nearest_family"], pa.scalar(None, pa.string()))
    return {
        "p_bad": judged["p_bad"],
        "grade": score_grades(grades, texts, groups) if grades else pa.nulls(len(texts), pa.float32()),
        "attack": attack.dictionary_encode().cast(SCORED.field("attack").type),
        "evidence": pa.array(evidence, SCORED.field("evidence").type),
    }


STAGE = ScoringStage(
    models=PURIFY,
    group=P_BAD,
    schema=SCORED,
    train=train,
    open=open_scorer,
    warm=warm,
    key=scores_key,
    code=__name__,
)

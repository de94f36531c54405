"""Stage `purify` of a run: documents whose p_bad lies beyond the bound of their stratum are dropped.

What is trained (`training.py`) depends neither on which documents the stages before leave nor on the bound: another
threshold of a rule or another `max_false_drop` is another question about the same p_bad.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.digest import code_of, digest_of
from curate.distill.purify.conformal import interval, least_documents, threshold
from curate.distill.purify.training import calibration_of, check_calibration, code_of_models, train
from curate.distill.scoring.discriminator import Model, groups_of, judge, load
from curate.distill.scoring.evidence import evidence as evidence_of
from curate.distill.scoring.grades import score_grades
from curate.distill.scoring.linear_model import Hashes
from curate.distill.scoring_stage import DrawDocuments, Scorer, ScoreReader, ScoringStage, StageContext, scores_of_table
from curate.errors import RecipeError
from curate.ledger.models import PURIFY, ModelSet
from curate.ledger.names import CALIBRATION, GRADE_MODEL, P_BAD, PURIFY_MODEL, THRESHOLDS
from curate.ledger.parts import Part, write_part
from curate.maps.documents import masked
from curate.maps.warm import warm_texts
from curate.recipe.recipe import Recipe
from curate.recipe.strata import strata_of_documents
from curate.recipe.tier2 import Tier2
from curate.sql import quoted, read_parquet

REASON = "p_bad_too_high"
EVIDENCE = 5  # n-grams
TOLD_SHARE = 0.2  # of good texts: a document that is stranger than all but these is told of with attack and evidence

SCORED = pa.schema(
    [
        ("file_no", pa.int32()),
        ("row", pa.int64()),
        ("lines_sum", pa.uint64()),  # which repeated lines were cut before: of none, 0
        ("p_bad", pa.float32()),
        ("grade", pa.float32()),
        ("attack", pa.dictionary(pa.int8(), pa.string())),
        ("evidence", pa.list_(pa.string())),
    ]
)


def strata_of_purify(recipe: Recipe, inputs: Any) -> dict[str, str]:  # noqa: ANN401 - names of columns
    """The columns that the bound on false drops is set within, the widest first, and SQL for each over the signals."""
    if recipe.tier2 is None:
        return {}
    known = strata_of_documents(recipe, inputs, recipe.tier2.by)
    wanted = {*recipe.tier2.by, *(name for name in known if name.startswith("input."))}
    return {name: sql for name, sql in known.items() if name in wanted}


def purify_documents(
    section: Tier2, strata: Sequence[str], reader: ScoreReader, mined: DrawDocuments, context: StageContext
) -> list[Part]:
    """Fill `purified` with scores and verdicts of `candidates`; return the parts of the stage.

    Errors: InputError where the reference is too small for the bound; RecipeError for a stratum that no model knows.
    """
    run, connection = context.run, context.connection
    models = reader.models(STAGE, mined)
    bounds = write_part(run, THRESHOLDS, context.digest, "00000", bounds_of(calibration_of(models), section, strata))
    parts = scores_of_table("candidates", STAGE, models, reader, context)
    if parts:
        connection.execute(f"CREATE TEMP TABLE bounds AS FROM {read_parquet([run / bounds.path])}")
        connection.execute(purified_sql([run / part.path for part in parts], strata))
        connection.execute("DROP TABLE bounds")
    return [*models.parts, *parts, bounds]


def bounds_of(calibration: pa.Table, section: Tier2, strata: Sequence[str]) -> pa.Table:
    """The bound of each stratum with enough good documents that were set aside, and of what the others make together.

    A wider stratum is set by the documents of those narrower ones within it that have too few for a bound of their own:
    by others it would not hold for them. If at last too few are left, they take the largest bound of all.

    In:     doc_id, p_bad, and the columns of `strata`.
    Out:    the columns of `strata`, depth (how many of them count), documents, bound, and the 95 % interval of the
            share of good documents that it drops (null where nothing can be promised).
    Errors: InputError where all of them together are too few; RecipeError for a stratum that calibration lacks.
    """
    check_calibration(calibration, section)
    check_strata(calibration, strata)
    needed = least_documents(section.max_false_drop)
    left = calibration
    rows: list[dict[str, Any]] = []
    for depth in range(len(strata), -1, -1):
        names = list(strata[:depth])
        for values, places in _by_strata(left, names):
            if len(places) >= needed:
                p_bad = left["p_bad"].to_numpy()[places]
                low, high = interval(len(p_bad), section.max_false_drop)
                bound = threshold(p_bad, section.max_false_drop)
                own = dict(zip(names, values, strict=True)) | {"depth": depth, "documents": len(p_bad), "bound": bound}
                rows.append(own | {"drop_low": low, "drop_high": high})
        left = left.filter(pa.array(~_covered(left, names, rows, depth)))
    if not any(row["depth"] == 0 for row in rows):
        overall = threshold(calibration["p_bad"].to_numpy(), section.max_false_drop)
        largest = max([overall or 0.0, *(row["bound"] for row in rows)])
        rows.append({"depth": 0, "documents": len(left), "bound": largest, "drop_low": None, "drop_high": None})
    kinds = [(name, pa.string()) for name in strata] + [("depth", pa.int32()), ("documents", pa.int64())]
    kinds += [("bound", pa.float32()), ("drop_low", pa.float64()), ("drop_high", pa.float64())]
    order = [(name, "ascending") for name in ("depth", *strata)]
    return pa.Table.from_pylist(rows, pa.schema(kinds)).sort_by(order)


def check_strata(calibration: pa.Table, strata: Sequence[str]) -> None:
    """Refuse a stratum that was not measured of the good documents when the models were trained.

    Errors: RecipeError.
    """
    for name in strata:
        if name not in calibration.schema.names:
            field = f"input.strata: {name.removeprefix('input.')}" if name.startswith("input.") else f"tier2.by: {name}"
            known = [column for column in calibration.schema.names if column not in ("doc_id", "p_bad")]
            raise RecipeError(f"{field}: the models were trained without it (known: {', '.join(known) or 'none'})")


def _covered(left: pa.Table, names: Sequence[str], rows: Sequence[Mapping[str, Any]], depth: int) -> np.ndarray:
    """Which documents have a bound of this depth."""
    bounded = {tuple(row[name] for name in names) for row in rows if row["depth"] == depth}
    covered = np.zeros(len(left), bool)
    for values, places in _by_strata(left, names):
        covered[places] = values in bounded
    return covered


def _by_strata(table: pa.Table, names: Sequence[str]) -> list[tuple[tuple[Any, ...], list[int]]]:
    """The rows of each stratum, in the order of its values; none where a value is null."""
    found: dict[tuple[Any, ...], list[int]] = {}
    columns = [table[name].to_pylist() for name in names]
    for k, values in enumerate(zip(*columns, strict=True) if columns else [()] * len(table)):
        if None not in values:
            found.setdefault(values, []).append(k)
    return sorted(found.items())


def purified_sql(scored: Sequence[Path], strata: Sequence[str]) -> str:
    """Rows of `purified`: the candidates' scores, and which lie beyond the bound of their narrowest bounded stratum."""
    depths = range(len(strata) + 1)
    joins = "".join(
        f"\n            LEFT JOIN bounds b{k} ON b{k}.depth = {k}"
        + "".join(f" AND b{k}.{quoted(name)} = d.purify_{j}" for j, name in enumerate(strata[:k]))
        for k in depths
    )
    bound = f"coalesce({', '.join(f'b{k}.bound' for k in reversed(depths))})"
    return f"""
        INSERT INTO purified BY NAME
        SELECT s.file_no, s.row, s.p_bad, s.grade, s.attack::VARCHAR AS attack, s.evidence,
            if(s.p_bad > {bound}, '{REASON}', NULL) AS purify_reason
        FROM {read_parquet(scored)} s JOIN candidates d USING (file_no, row){joins}
        ORDER BY s.file_no, s.row"""


def told_from(calibration: pa.Table) -> float:
    """The p_bad beyond which documents are told of with attack and evidence."""
    return float(np.quantile(calibration["p_bad"].to_numpy(), 1 - TOLD_SHARE, method="lower"))


def scores_key(models: ModelSet) -> str:
    """The digest of what scores depend on besides the documents."""
    used = [part.sha256 if (part := models.part(group)) else None for group in (PURIFY_MODEL, GRADE_MODEL)]
    return digest_of([code_of(__name__), code_of_models(), used, told_from(calibration_of(models))])


def open_scorer(files: Mapping[str, str]) -> Scorer:
    """What scores texts by the models in files; without the calibration's, nothing is told of with evidence."""
    model = load(Path(files[PURIFY_MODEL]))
    grades = load(Path(files[GRADE_MODEL])) if GRADE_MODEL in files else None
    least = told_from(pq.read_table(files[CALIBRATION])) if CALIBRATION in files else 1.0
    return partial(scored, model=model, grades=grades, least_told=least)


def warm(files: Mapping[str, str]) -> None:
    """Compile what scores texts by these models, and what tells of them."""
    model, grades = load(Path(files[PURIFY_MODEL])), load(Path(files[GRADE_MODEL])) if GRADE_MODEL in files else None
    scored(warm_texts(), groups_of(warm_texts()), model, grades, least_told=0)


def scored(
    texts: pa.Array, groups: Hashes, model: Model, grades: Model | None, least_told: float
) -> dict[str, pa.Array]:
    """p_bad and grade of texts; of those with much p_bad, what they resemble and by which n-grams.

    These are shown without personal data. `groups` are those of the texts before lines were cut out of them.
    """
    judged = judge(model, texts, groups)
    much = np.asarray(pc.fill_null(judged["p_bad"], 0)) >= least_told
    told = np.flatnonzero(much)
    evidence: list[list[str] | None] = [None] * len(texts)
    strongest = evidence_of(model, masked(texts.take(pa.array(told))), groups[told], EVIDENCE)
    for row, reasons in zip(told.tolist(), strongest, strict=True):
        evidence[row] = reasons
    attack = pc.if_else(pa.array(much), judged["nearest_family"], pa.scalar(None, pa.string()))
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

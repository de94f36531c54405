"""Stage `purify` of a run: documents whose p_bad exceeds the bound of their stratum are dropped.

Training (`training.py`) depends neither on which documents the earlier stages leave nor on the bound: with other
thresholds of rules or another `max_false_drop`, documents keep their p_bad.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
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


@dataclass(frozen=True, slots=True)
class _Bound:
    """The bound on p_bad of a stratum, and the 95 % interval of the share of its good documents that are dropped."""

    values: tuple[str, ...]  # of the first strata; the others do not count
    documents: int
    bound: float
    drop_low: float | None = None
    drop_high: float | None = None

    def row(self, strata: Sequence[str]) -> dict[str, object]:
        """The row of table `thresholds`."""
        return {
            **dict(zip(strata, self.values, strict=False)),
            "depth": len(self.values),
            "documents": self.documents,
            "bound": self.bound,
            "drop_low": self.drop_low,
            "drop_high": self.drop_high,
        }


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
    """The bound of each stratum with enough calibration documents, and of those that remain in a wider stratum.

    A wider stratum is bounded by the documents of those narrower ones within it that have too few for a bound of their
    own, because the others would not represent them. If too few remain in the end, they get the largest bound of all.

    In:     doc_id, p_bad, and the columns of `strata`.
    Out:    the columns of `strata`, depth (how many of them count), documents, bound, and the 95 % interval of the
            share of good documents that it drops (null where there is no guarantee).
    Errors: InputError where all of them together are too few; RecipeError for a stratum that calibration lacks.
    """
    check_calibration(calibration, section)
    check_strata(calibration, strata)
    needed = least_documents(section.max_false_drop)
    unbounded = calibration
    bounds: list[_Bound] = []
    for depth in range(len(strata), -1, -1):
        covered = np.zeros(len(unbounded), bool)
        p_bad = unbounded["p_bad"].to_numpy()
        for values, indices in _by_strata(unbounded, strata[:depth]):
            if len(indices) >= needed:
                bounds.append(_bound_of(values, p_bad[indices], section.max_false_drop))
                covered[indices] = True
        unbounded = unbounded.filter(pa.array(~covered))
    if all(bound.values for bound in bounds):
        overall = threshold(calibration["p_bad"].to_numpy(), section.max_false_drop)
        largest = max([overall or 0.0, *(bound.bound for bound in bounds)])
        bounds.append(_Bound((), len(unbounded), largest))
    types = [(name, pa.string()) for name in strata] + [("depth", pa.int32()), ("documents", pa.int64())]
    types += [("bound", pa.float32()), ("drop_low", pa.float64()), ("drop_high", pa.float64())]
    order = [(name, "ascending") for name in ("depth", *strata)]
    return pa.Table.from_pylist([bound.row(strata) for bound in bounds], pa.schema(types)).sort_by(order)


def _bound_of(values: tuple[str, ...], p_bad: npt.NDArray[np.floating], alpha: float) -> _Bound:
    bound = threshold(p_bad, alpha)
    assert bound is not None
    return _Bound(values, len(p_bad), bound, *interval(len(p_bad), alpha))


def check_strata(calibration: pa.Table, strata: Sequence[str]) -> None:
    """Refuse a stratum that calibration lacks, because it was not in the recipe when the models were trained.

    Errors: RecipeError.
    """
    for name in strata:
        if name not in calibration.schema.names:
            field = f"input.strata: {name.removeprefix('input.')}" if name.startswith("input.") else f"tier2.by: {name}"
            names = [column for column in calibration.schema.names if column not in ("doc_id", "p_bad")]
            raise RecipeError(f"{field}: the models were trained without it (known: {', '.join(names) or 'none'})")


def _by_strata(table: pa.Table, strata: Sequence[str]) -> list[tuple[tuple[str, ...], list[int]]]:
    """Row indices of each stratum, sorted by its values; rows with a null value have none."""
    indices: dict[tuple[str, ...], list[int]] = {}
    columns = [table[name].to_pylist() for name in strata]
    for k, values in enumerate(zip(*columns, strict=True) if columns else [()] * len(table)):
        if None not in values:
            indices.setdefault(values, []).append(k)
    return sorted(indices.items())


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

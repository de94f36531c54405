"""Distilled grades: a linear model that predicts a teacher's grades, trained on those of a sample."""

from typing import TypedDict

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.distill.scoring.calibration import spearman
from curate.distill.scoring.linear_model import (
    Flags,
    Hashes,
    Length,
    Model,
    Reals,
    Settings,
    cost_of_error,
    fit_lanes,
    fold_of_groups,
    log_sizes,
    raw_scores,
    read_batches,
    read_texts,
)
from curate.distill.scoring.surface import scaling_of
from curate.errors import InputError
from curate.kernels.linear import sums

LEAST_GRADES = 20
GRADES = Settings(cost=10.0, looks=0.1)  # chosen by benchmarks/discriminator_trials.py


class GradeFacts(TypedDict):
    """How far predictions for training texts agree with their grades, by models that did not see them."""

    texts: int
    spearman: float
    pearson: float
    rmse: float
    spread: float  # standard deviation of the grades


def train_grades(texts: pa.Array, grades: Reals, groups: Hashes, settings: Settings, seed: int) -> Model:
    """Train a ridge regression of grades on the words and surface features of texts, cross-fit as the discriminator.

    A second regression, of the grades on the out-of-fold predictions of the first, adds the effect of length: the first
    cannot see it, because the vector of a text always has length 1.

    Errors: InputError with too few texts, or where all grades are the same.
    """
    read = read_texts(texts, settings.bits)
    folds = fold_of_groups(groups, settings.folds)
    graded = ~read.blank & ~np.isnan(grades)
    mean, spread = _mean_and_spread(grades, graded, folds)
    scaling = scaling_of(read.surface[graded])
    rows = read.rows(scaling, settings.looks)
    cost = cost_of_error(settings, int(graded.sum()))
    costs = cost * graded[:, None] * (folds[:, None] != np.arange(settings.folds))
    targets = np.repeat(np.where(graded, (grades - mean) / spread, 0.0)[:, None], settings.folds, axis=1)
    words, looks = fit_lanes(rows, targets, costs, settings, settings.bits, seed)
    out_of_fold = sums(rows, folds, words, looks)[graded]
    slope, offset, length, predicted = _with_length(out_of_fold, log_sizes(rows.offsets)[graded], grades[graded])
    no_families = np.zeros((0, 0), dtype=np.float32)
    return Model(
        settings=settings,
        scaling=scaling,
        words=words,
        looks=looks,
        slope=slope,
        offset=offset,
        families=(),
        family_words=no_families,
        family_looks=no_families,
        facts=_facts(predicted, grades[graded], spread),
        trained=np.unique(groups[graded]),
        length=length,
    )


def _mean_and_spread(grades: Reals, graded: Flags, folds: npt.NDArray[np.int64]) -> tuple[float, float]:
    if graded.sum() < LEAST_GRADES or len(np.unique(folds[graded])) < 2:
        raise InputError(f"grades: {graded.sum()} graded texts are too few; give at least {LEAST_GRADES}")
    mean, spread = float(grades[graded].mean()), float(grades[graded].std())
    if spread == 0:
        raise InputError(f"grades: all texts have the grade {mean:g}; give texts that differ")
    return mean, spread


def _with_length(scores: Reals, sizes: Reals, grades: Reals) -> tuple[float, float, Length, Reals]:
    """Least squares of grades on scores and log sizes: slope, offset, the effect of length, and the predictions."""
    columns = np.column_stack([scores, sizes, sizes**2, np.ones(len(sizes))])
    coefficients = np.linalg.lstsq(columns, grades)[0]
    slope, by_size, by_square, offset = (float(coefficient) for coefficient in coefficients)
    length = Length(by_size, by_square, float(sizes.min()), float(sizes.max()))
    return slope, offset, length, columns @ coefficients


def _facts(predicted: Reals, grades: Reals, spread: float) -> GradeFacts:
    return {
        "texts": len(grades),
        "spearman": spearman(predicted, grades),
        "pearson": float(np.corrcoef(predicted, grades)[0, 1]),
        "rmse": float(np.sqrt(np.mean((predicted - grades) ** 2))),
        "spread": spread,
    }


def score_grades(model: Model, texts: pa.Array, groups: Hashes | None = None) -> pa.Array:
    """Predicted grade of each text, float32, by models that did not see it; null for blank text."""
    grades = [pa.array([], pa.float32())]
    for rows, folds, blank in read_batches(model, texts, groups):
        grades.append(pa.array(raw_scores(model, rows, folds).astype(np.float32), mask=blank))
    return pa.concat_arrays(grades)

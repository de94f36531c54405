"""Grades distilled: a linear model that says what a teacher would have said, from the grades of some texts."""

import numpy as np
import pyarrow as pa

from curate.distill.scoring.calibration import spearman
from curate.distill.scoring.linear_model import (
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
GRADES = Settings(cost=10.0, looks=0.1)  # what they are made with; chosen by benchmarks/discriminator_trials.py


def train_grades(texts: pa.Array, grades: Reals, groups: Hashes, settings: Settings, seed: int) -> Model:
    """A ridge regression of grades on the words and the looks of texts, cross-fit as the discriminator is.

    A second regression, of the grades on what the first says of texts that it did not see, adds what length tells:
    the words alone leave that out, as the length of a text's vector is always 1.

    `facts` tell how far the grades of the training set agree with what the models say that did not see them.

    Errors: InputError with too few texts, or where all grades are the same.
    """
    read = read_texts(texts, settings.bits)
    folds = fold_of_groups(groups, settings.folds)
    there = ~read.blank & ~np.isnan(grades)
    if there.sum() < LEAST_GRADES or len(np.unique(folds[there])) < 2:
        raise InputError(f"grades: {there.sum()} graded texts are too few; give at least {LEAST_GRADES}")
    middle, spread = float(grades[there].mean()), float(grades[there].std())
    if spread == 0:
        raise InputError(f"grades: all texts have the grade {middle:g}; give texts that differ")
    scaling = scaling_of(read.surface[there])
    rows = read.rows(scaling, settings.looks)
    wanted = np.where(there, (grades - middle) / spread, 0.0)
    cost = cost_of_error(settings, int(there.sum()))
    costs = cost * there[:, None] * (folds[:, None] != np.arange(settings.folds))
    targets = np.repeat(wanted[:, None], settings.folds, axis=1)
    words, looks = fit_lanes(rows, targets, costs, settings, settings.bits, seed)
    unseen = sums(rows, folds, words, looks)[there]
    sizes = log_sizes(rows.offsets)[there]
    columns = np.column_stack([unseen, sizes, sizes**2, np.ones(len(sizes))])
    found = np.linalg.lstsq(columns, grades[there])[0]
    slope, by_size, by_square, offset = (float(number) for number in found)
    length = Length(by_size, by_square, float(sizes.min()), float(sizes.max()))
    said, given = columns @ found, grades[there]
    facts = {
        "texts": int(there.sum()),
        "spearman": spearman(said, given),
        "pearson": float(np.corrcoef(said, given)[0, 1]),
        "rmse": float(np.sqrt(np.mean((said - given) ** 2))),
        "spread": spread,
    }
    none = np.zeros((0, 0), dtype=np.float32)
    return Model(
        settings, scaling, words, looks, slope, offset, (), none, none, facts, np.unique(groups[there]), length
    )


def score_grades(model: Model, texts: pa.Array, groups: Hashes | None = None) -> pa.Array:
    """The grade that each text would get, float32, by models that did not see it; null for blank text."""
    said = [pa.array([], pa.float32())]
    for rows, folds, blank in read_batches(model, texts, groups):
        said.append(pa.array(raw_scores(model, rows, folds).astype(np.float32), mask=blank))
    return pa.concat_arrays(said)

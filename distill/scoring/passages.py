"""Passages of texts: the probability that each is bad, by its words, its shape, and the passages around it.

Logistic regression over hashed words, pairs of words and the shape of a passage, cross-fit by documents. To its
log-odds come half of the mean log-odds of the passages around: menus and notices come in groups, and so does prose.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.distill.scoring.calibration import platt, roc_auc, sigmoid
from curate.distill.scoring.linear_model import Settings, Texts, cost_of_error, fold_of_groups, read_texts
from curate.distill.scoring.model_file import load_arrays, save_arrays
from curate.distill.scoring.surface import NAMES, Scaling, oddness, scaling_of
from curate.errors import InputError
from curate.kernels.linear import Bounds, Rows, fit, sums
from curate.kernels.passages import FENCED, INDENTED, KINDS, TABLE, Passages, neighbour_means, passage_texts
from curate.kernels.passages import split_passages as split_passages

VERSION: Mapping[str, object] = {"format": 1, "features": list(NAMES), "kinds": list(KINDS)}  # of the file
SETTINGS = Settings(looks=0.3, passes=5)
LEAST = 0.5  # p_bad: passages below are never cut
SURE = 0.9  # and none of code and tables below this
KNOTS = (3, 4, 5, 6, 7)  # of the effect of a passage's size, in logarithms of bytes
REACH = 3  # passages on either side
AROUND = 0.5  # weight of the passages around
MOST_BYTES = 300  # up to which a larger passage counts more among those around
MOST_ODDS = 4.0  # of a passage, where it counts for those around

Reals = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class PassageModel:
    """A linear model for each fold of documents; `slope` and `offset` map to the log-odds of being bad."""

    settings: Settings
    scaling: Scaling
    words: Singles  # shape (folds, buckets)
    shape: Singles  # shape (folds, columns)
    slope: float
    offset: float
    facts: Mapping[str, object]


@dataclass(frozen=True)
class PassageScorer:
    """Scores passages by a model."""

    model: PassageModel

    def score(self, texts: pa.Array, groups: Hashes) -> tuple[Passages, Reals]:
        """The passages of texts, and p_bad of each. A text is scored by the model of the fold of its group."""
        passages = split_passages(texts)
        if not len(passages.starts):
            return passages, np.zeros(0)
        model = self.model
        read = Read.of(texts, passages, model.settings)
        folds = fold_of_groups(groups, model.settings.folds)[passages.texts]
        odds = sums(read.rows(model.scaling, model.settings.looks), folds, model.words, model.shape)
        return passages, sigmoid(model.slope * with_neighbours(odds, passages) + model.offset)

    def may_be_cut(self, passages: Passages, p_bad: Reals) -> Flags:
        """Which passages may be cut at all: those that are more likely bad than not, and surely if code or a table."""
        is_code = np.isin(passages.kinds, (TABLE, FENCED)) | ((passages.kinds == INDENTED) & (passages.lines > 1))
        allowed: Flags = p_bad > np.where(is_code, SURE, LEAST)
        return allowed


@dataclass(frozen=True)
class Read:
    """What a model reads of passages."""

    texts: Texts
    shape: Singles  # columns that need no scaling

    @classmethod
    def of(cls, texts: pa.Array, passages: Passages, settings: Settings) -> "Read":
        """Read the passages of texts."""
        own = passage_texts(texts, passages)
        sizes = np.log(np.maximum(passages.ends - passages.starts, 1))
        columns = [np.maximum(sizes - knot, 0) / 3 for knot in KNOTS] + [sizes / 3]
        kinds = np.eye(len(KINDS))[passages.kinds]
        shape = np.column_stack([*columns, kinds, passages.closed, np.log(passages.lines), np.ones(len(sizes))])
        return cls(read_texts(own, settings.bits), shape.astype(np.float32))

    def rows(self, scaling: Scaling, weight: float) -> Rows:
        """The input of a model; `weight` is that of the shape relative to the words."""
        odd = oddness(self.texts.surface, scaling, np.sqrt(len(NAMES)) / 3)[:, :-1]
        columns = np.column_stack([odd, self.shape]).astype(np.float32) * np.float32(weight)
        return Rows(self.texts.offsets, self.texts.buckets, columns)


def with_neighbours(odds: Reals, passages: Passages) -> Reals:
    """The log-odds of passages with those of the passages around them."""
    weights = np.minimum(passages.ends - passages.starts, MOST_BYTES).astype(np.float64)
    around = neighbour_means(passages.offsets, np.clip(odds, -MOST_ODDS, MOST_ODDS), weights, REACH)
    return odds + AROUND * around


def train_passages(texts: pa.Array, groups: Hashes, labels: Reals, passages: Passages, seed: int) -> PassageModel:
    """Train a model on the passages of texts.

    groups    of the texts; those of equal group share a fold
    labels    of the passages: 0 good, 1 bad, nan for those that are not trained on

    Errors: InputError where good or bad passages are of one fold only.
    """
    settings = SETTINGS
    read = Read.of(texts, passages, settings)
    folds = fold_of_groups(groups, settings.folds)[passages.texts]
    labelled, bad = ~np.isnan(labels), labels == 1
    weights = np.zeros(len(labels))
    for name, side in (("good", labelled & ~bad), ("bad", bad)):
        if len(np.unique(folds[side])) < 2:
            raise InputError(f"tier2.passages: {side.sum()} {name} passages are too few to train on; give more texts")
        weights[side] = 0.5 * labelled.sum() / side.sum()
    scaling = scaling_of(read.texts.surface[labelled & ~bad])
    rows = read.rows(scaling, settings.looks)
    is_trained_on = folds[:, None] != np.arange(settings.folds)
    costs = cost_of_error(settings, int(labelled.sum())) * weights[:, None] * is_trained_on
    least = np.full(rows.columns.shape[1], -np.inf)
    draw = np.random.default_rng(seed)
    orders = np.stack([draw.permutation(np.flatnonzero(labelled)) for _ in range(settings.passes)])
    targets = np.repeat(np.where(bad, 1.0, -1.0)[:, None], settings.folds, axis=1)
    words, shape = fit(rows, targets, costs, Bounds(1 << settings.bits, least), True, orders)
    words = words.astype(np.float16).astype(np.float32)
    odds = with_neighbours(sums(rows, folds, words, shape), passages)[labelled]
    slope, offset = platt(odds, bad[labelled], weights[labelled])
    facts = {
        "good": int((labelled & ~bad).sum()),
        "bad": int(bad.sum()),
        "roc_auc": round(roc_auc(odds, bad[labelled]), 6),
    }
    return PassageModel(
        settings=settings, scaling=scaling, words=words, shape=shape, slope=slope, offset=offset, facts=facts
    )


def save_passages(model: PassageModel, path: Path) -> None:
    """Commit a model as one file."""
    arrays: dict[str, npt.NDArray[Any]] = {
        "words": model.words.astype(np.float16),
        "shape": model.shape,
        "middle": model.scaling.middle,
        "spread": model.scaling.spread,
    }
    about = {"settings": asdict(model.settings), "slope": model.slope, "offset": model.offset, "facts": model.facts}
    save_arrays(path, arrays, {**VERSION, **about})


def load_passages(path: Path) -> PassageModel:
    """Read a model from its file.

    Errors: InputError for a file that is not one, is of another format, or is damaged.
    """
    arrays, about = load_arrays(path, "a model of passages", VERSION)
    return PassageModel(
        settings=Settings(**about["settings"]),
        scaling=Scaling(arrays["middle"], arrays["spread"]),
        words=arrays["words"].astype(np.float32),
        shape=arrays["shape"],
        slope=about["slope"],
        offset=about["offset"],
        facts=about["facts"],
    )

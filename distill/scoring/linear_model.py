"""Linear models over the words and the looks of texts: how they read texts, how they are fitted, and their file."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.distill.scoring.model_file import hash_of, load_arrays, save_arrays
from curate.distill.scoring.surface import NAMES, Scaling, oddness, surface
from curate.kernels.arrow import plain_text
from curate.kernels.hashed_ngrams import Buckets, hashed_ngrams, text_hashes
from curate.kernels.linear import LANES, Bounds, Rows, Weights, fit, sums
from curate.kernels.overlap import SPREAD

Reals = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]
Lanes = tuple[Weights, Weights]  # a row a model: weights of buckets, of columns

VERSION: dict[str, Any] = {"format": 1, "features": list(NAMES)}  # of the file, and what the columns are
MANY = 10_000
HIGH = np.uint64(40)
BATCH = 1024  # texts whose n-grams are made at a time
FAMILY_BITS = 16  # of the buckets of families, which say less and are many


@dataclass(frozen=True)
class Settings:
    """What models are made with; chosen by benchmarks/discriminator_trials.py."""

    folds: int = 4  # from 2 to 4
    bits: int = 18  # 2^bits buckets
    looks: float = 0.2  # weight of the looks against that of the words
    cost: float = 1.0  # of an error against that of weights, with MANY texts: the lower, the smoother
    passes: int = 6  # over the training texts


@dataclass(frozen=True)
class Length:
    """What the length of a text adds to its score: slope · s + square · s².

    s is the logarithm of its number of distinct words and pairs, within what training saw.
    """

    slope: float = 0.0
    square: float = 0.0
    low: float = 0.0
    high: float = 0.0

    def adds(self, rows: Rows) -> Reals:
        """What it adds to the score of each row."""
        size = np.clip(log_sizes(rows.offsets), self.low, self.high)
        return self.slope * size + self.square * size**2


@dataclass(frozen=True)
class Model:
    """A linear model for each fold, none of which saw a text of its own fold.

    `slope` and `offset` make of w · x the log-odds of being bad, or a grade. Weights are as the file rounds them.
    """

    settings: Settings
    scaling: Scaling
    words: Weights  # shape (folds, buckets)
    looks: Weights  # shape (folds, columns)
    slope: float
    offset: float
    families: tuple[str, ...]
    family_words: Weights  # shape (families, 2^FAMILY_BITS), or fewer buckets
    family_looks: Weights
    facts: dict[str, Any]  # what training saw and how well it went
    # Groups that were trained on, sorted, where that is kept: another text is judged by the mean of all models, which
    # errs less than one of them.
    trained: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))
    length: Length | None = None


def log_sizes(offsets: Integers) -> Reals:
    """The logarithm of each text's number of distinct words and pairs, 0 for none."""
    sizes: Reals = np.log(np.maximum(np.diff(offsets), 1))
    return sizes


def groups_of(texts: pa.Array) -> Hashes:
    """The hash (xxh3_64) of each text, which is the group of an original; that of no bytes for null."""
    return text_hashes(texts)


def folds_of(texts: pa.Array, folds: int) -> Integers:
    """The fold of each text, by its content alone."""
    return fold_of_groups(groups_of(texts), folds)


def fold_of_groups(groups: Hashes, folds: int) -> Integers:
    """The fold of each group, which says nothing of its hash modulo any number: others split by that."""
    return ((groups * SPREAD >> HIGH) % np.uint64(folds)).astype(np.int64)


@dataclass(frozen=True)
class Texts:
    """Texts as they were read: n-grams and surface features."""

    offsets: Integers
    buckets: Buckets
    surface: Reals

    @property
    def blank(self) -> Flags:
        """Which of them are null or have nothing but white space."""
        return ~(self.surface[:, NAMES.index("whitespace_ratio")] < 1)

    def rows(self, scaling: Scaling, weight: float) -> Rows:
        """What a model reads of them."""
        return Rows(self.offsets, self.buckets, oddness(self.surface, scaling, weight))


def read_texts(texts: pa.Array, bits: int) -> Texts:
    """N-grams and surface features, some texts at a time, so that a slow neighbour's memory is soon free again."""
    parts = []
    for k in range(0, max(len(texts), 1), BATCH):
        some = plain_text(texts.slice(k, BATCH))
        ngrams = hashed_ngrams(some, bits)
        parts.append((np.diff(ngrams.offsets), ngrams.buckets, surface(some, ngrams)))
    sizes, buckets, features = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Texts(np.concatenate([[0], np.cumsum(sizes)]), buckets, features)


def cost_of_error(settings: Settings, texts: int) -> float:
    """What an error costs with so many texts: with more of them each counts less, as measured."""
    return settings.cost * math.sqrt(MANY / texts)


def fit_lanes(rows: Rows, targets: Reals, costs: Reals, settings: Settings, bits: int, seed: int) -> Lanes:
    """Weights of as many models as targets have columns, rounded to what a file holds.

    The looks can only speak against a text: what is odd in a good one and usual elsewhere is mostly a matter of
    where texts come from. Grades (targets other than ±1) may go either way.
    """
    count = len(rows.offsets) - 1
    logistic = bool(np.isin(targets, (-1.0, 1.0)).all())
    least = np.full(rows.columns.shape[1], 0.0 if logistic else -np.inf)
    least[-1] = -np.inf  # the constant
    draw = np.random.default_rng(seed)
    orders = np.stack([draw.permutation(count) for _ in range(settings.passes)])
    found = []
    for k in range(0, targets.shape[1], LANES):
        missing = LANES - len(targets[0, k : k + LANES])
        some, costing = (np.pad(table[:, k : k + LANES], ((0, 0), (0, missing))) for table in (targets, costs))
        found.append(fit(rows, some, costing, Bounds(1 << bits, least), logistic, orders))
    words, looks = (np.concatenate(column)[: targets.shape[1]] for column in zip(*found, strict=True))
    return words.astype(np.float16).astype(np.float32), looks


def read_batches(model: Model, texts: pa.Array, groups: Hashes | None) -> Iterator[tuple[Rows, Integers, Flags]]:
    """Some texts at a time as a model reads them, the fold of each, and which are blank."""
    for k in range(0, len(texts), BATCH):
        some = texts.slice(k, BATCH)
        read = read_texts(some, model.settings.bits)
        of = groups_of(some) if groups is None else groups[k : k + BATCH]
        rows = read.rows(model.scaling, model.settings.looks)
        yield rows, lanes_of(model, of), read.blank


def lanes_of(model: Model, groups: Hashes) -> Integers:
    """Which weights judge the texts of groups: those of their fold, or the mean of all for texts known to be unseen."""
    folds = fold_of_groups(groups, model.settings.folds)
    if not len(model.trained):
        return folds
    places = np.minimum(np.searchsorted(model.trained, groups), len(model.trained) - 1)
    return np.where(model.trained[places] == groups, folds, model.settings.folds)


def raw_scores(model: Model, rows: Rows, lanes: Integers) -> Reals:
    """Slope · w · x + offset of each row by the weights of its lane, and what its length adds."""
    found = model.slope * sums(rows, lanes, *weights_of(model)) + model.offset
    return found if model.length is None else found + model.length.adds(rows)


def weights_of(model: Model) -> Lanes:
    """The weights of each lane: those of the folds, and their mean where texts may be known to be unseen."""
    if not len(model.trained):
        return model.words, model.looks
    words, looks = (np.concatenate([one, one.mean(axis=0, keepdims=True)]) for one in (model.words, model.looks))
    return words, looks


def save(model: Model, path: Path) -> None:
    """Commit a model as one file: see docs/discriminator.md."""
    save_arrays(path, _arrays(model), _about(model))


def load(path: Path) -> Model:
    """A model from its file.

    Errors: InputError for what is no model, for another format, and for damage.
    """
    arrays, about = load_arrays(path, "a discriminator", VERSION)
    words, family_words = (arrays[name].astype(np.float32) for name in ("words", "family_words"))
    return Model(
        Settings(**about["settings"]), Scaling(arrays["middle"], arrays["spread"]), words, arrays["looks"],
        about["slope"], about["offset"], tuple(about["families"]), family_words, arrays["family_looks"], about["facts"],
        arrays.get("trained", np.zeros(0, np.uint64)), Length(**about["length"]) if "length" in about else None,
    )  # fmt: skip


def content_hash(model: Model) -> str:
    """Hex SHA-256 of all that a model's file holds: equal for equal models."""
    return hash_of(_arrays(model), _about(model))


def _arrays(model: Model) -> dict[str, npt.NDArray[Any]]:
    return {
        "words": model.words.astype(np.float16), "looks": model.looks, "middle": model.scaling.middle,
        "spread": model.scaling.spread, "family_words": model.family_words.astype(np.float16),
        "family_looks": model.family_looks, **({"trained": model.trained} if len(model.trained) else {}),
    }  # fmt: skip


def _about(model: Model) -> dict[str, Any]:
    return {
        **VERSION, "settings": asdict(model.settings), "slope": model.slope, "offset": model.offset,
        "families": list(model.families), "facts": model.facts,
        **({"length": asdict(model.length)} if model.length else {}),
    }  # fmt: skip

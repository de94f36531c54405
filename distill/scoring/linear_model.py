"""Linear models over the words and surface features of texts: reading, fitting, scoring, and the model file."""

import math
from collections.abc import Iterator, Mapping
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
Lanes = tuple[Weights, Weights]  # weights of buckets and of columns, one row per model

VERSION: Mapping[str, object] = {"format": 1, "features": list(NAMES)}  # of the file, and its columns
MANY = 10_000
HIGH = np.uint64(40)
BATCH = 1024  # texts whose n-grams are computed at a time
FAMILY_BITS = 16  # of the buckets of families, whose models are many and matter less


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters; the defaults are chosen by benchmarks/discriminator_trials.py."""

    folds: int = 4  # from 2 to 4
    bits: int = 18  # 2^bits buckets
    looks: float = 0.2  # weight of the surface features relative to the words
    cost: float = 1.0  # of an error relative to that of weights, with MANY texts; lower is smoother
    passes: int = 6  # over the training texts


@dataclass(frozen=True)
class Length:
    """The effect of a text's length on its score: slope · s + square · s².

    s is the logarithm of its number of distinct words and pairs, clipped to the range of the training texts.
    """

    slope: float = 0.0
    square: float = 0.0
    low: float = 0.0
    high: float = 0.0

    def adds(self, rows: Rows) -> Reals:
        """The effect on the score of each row."""
        size = np.clip(log_sizes(rows.offsets), self.low, self.high)
        return self.slope * size + self.square * size**2


@dataclass(frozen=True, kw_only=True)
class Model:
    """A linear model for each fold, trained on the texts of the other folds.

    `slope` and `offset` map w · x to the log-odds of being bad, or to a grade. Weights are rounded as in the file.
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
    facts: Mapping[str, object]  # about the training texts, for people; see the functions that train
    # Groups of the training texts, sorted, where they are kept: any other text is scored by the mean of all models,
    # which has a smaller error than one of them.
    trained: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))
    length: Length | None = None


def log_sizes(offsets: Integers) -> Reals:
    """The logarithm of each text's number of distinct words and pairs, 0 for none."""
    sizes: Reals = np.log(np.maximum(np.diff(offsets), 1))
    return sizes


def groups_of(texts: pa.Array) -> Hashes:
    """The hash (xxh3_64) of each text, which is the group of an original; null hashes as the empty text."""
    return text_hashes(texts)


def folds_of(texts: pa.Array, folds: int) -> Integers:
    """The fold of each text, which depends on its content alone."""
    return fold_of_groups(groups_of(texts), folds)


def fold_of_groups(groups: Hashes, folds: int) -> Integers:
    """The fold of each group, independent of its hash modulo any number, by which other code splits texts."""
    return ((groups * SPREAD >> HIGH) % np.uint64(folds)).astype(np.int64)


@dataclass(frozen=True)
class Texts:
    """What models read of texts: n-grams and surface features."""

    offsets: Integers
    buckets: Buckets
    surface: Reals

    @property
    def blank(self) -> Flags:
        """Which texts are null or nothing but white space."""
        return ~(self.surface[:, NAMES.index("whitespace_ratio")] < 1)

    def rows(self, scaling: Scaling, weight: float) -> Rows:
        """The input of a model; `weight` is that of the surface features."""
        return Rows(self.offsets, self.buckets, oddness(self.surface, scaling, weight))


def read_texts(texts: pa.Array, bits: int) -> Texts:
    """N-grams and surface features, in batches that bound the memory of intermediate results."""
    parts = []
    for k in range(0, max(len(texts), 1), BATCH):
        batch = plain_text(texts.slice(k, BATCH))
        ngrams = hashed_ngrams(batch, bits)
        parts.append((np.diff(ngrams.offsets), ngrams.buckets, surface(batch, ngrams)))
    sizes, buckets, features = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Texts(np.concatenate([[0], np.cumsum(sizes)]), buckets, features)


def cost_of_error(settings: Settings, texts: int) -> float:
    """Cost of an error, lower with more texts: the square root fits the trials best."""
    return settings.cost * math.sqrt(MANY / texts)


def fit_lanes(rows: Rows, targets: Reals, costs: Reals, settings: Settings, bits: int, seed: int) -> Lanes:
    """Fit one model per column of `targets`; weights are rounded as in the file.

    Surface features can only count against a text: where odd ones mark good texts, they mostly mark a source. For
    grades (targets other than ±1) they count either way.
    """
    count = len(rows.offsets) - 1
    logistic = bool(np.isin(targets, (-1.0, 1.0)).all())
    least = np.full(rows.columns.shape[1], 0.0 if logistic else -np.inf)
    least[-1] = -np.inf  # the constant
    draw = np.random.default_rng(seed)
    orders = np.stack([draw.permutation(count) for _ in range(settings.passes)])
    fitted = []
    for k in range(0, targets.shape[1], LANES):
        missing = LANES - len(targets[0, k : k + LANES])
        lanes, lane_costs = (np.pad(table[:, k : k + LANES], ((0, 0), (0, missing))) for table in (targets, costs))
        fitted.append(fit(rows, lanes, lane_costs, Bounds(1 << bits, least), logistic, orders))
    words, looks = (np.concatenate(column)[: targets.shape[1]] for column in zip(*fitted, strict=True))
    return words.astype(np.float16).astype(np.float32), looks


def read_batches(model: Model, texts: pa.Array, groups: Hashes | None) -> Iterator[tuple[Rows, Integers, Flags]]:
    """Batches of texts as a model reads them, with the lane of each and which are blank."""
    for k in range(0, len(texts), BATCH):
        batch = texts.slice(k, BATCH)
        read = read_texts(batch, model.settings.bits)
        batch_groups = groups_of(batch) if groups is None else groups[k : k + BATCH]
        rows = read.rows(model.scaling, model.settings.looks)
        yield rows, lanes_of(model, batch_groups), read.blank


def lanes_of(model: Model, groups: Hashes) -> Integers:
    """Lane of the weights that score each group: its fold, or the mean of all where it is known to be unseen."""
    folds = fold_of_groups(groups, model.settings.folds)
    if not len(model.trained):
        return folds
    indices = np.minimum(np.searchsorted(model.trained, groups), len(model.trained) - 1)
    return np.where(model.trained[indices] == groups, folds, model.settings.folds)


def raw_scores(model: Model, rows: Rows, lanes: Integers) -> Reals:
    """Slope · w · x + offset of each row by the weights of its lane, plus the effect of its length."""
    scores = model.slope * sums(rows, lanes, *weights_of(model)) + model.offset
    return scores if model.length is None else scores + model.length.adds(rows)


def weights_of(model: Model) -> Lanes:
    """The weights of each lane: those of the folds, then their mean where the training texts are known."""
    if not len(model.trained):
        return model.words, model.looks
    words, looks = (np.concatenate([w, w.mean(axis=0, keepdims=True)]) for w in (model.words, model.looks))
    return words, looks


def save(model: Model, path: Path) -> None:
    """Commit a model as one file (docs/discriminator.md)."""
    save_arrays(path, _arrays(model), _about(model))


def load(path: Path) -> Model:
    """Read a model from its file.

    Errors: InputError for a file that is not one, is of another format, or is damaged.
    """
    arrays, about = load_arrays(path, "a discriminator", VERSION)
    return Model(
        settings=Settings(**about["settings"]),
        scaling=Scaling(arrays["middle"], arrays["spread"]),
        words=arrays["words"].astype(np.float32),
        looks=arrays["looks"],
        slope=about["slope"],
        offset=about["offset"],
        families=tuple(about["families"]),
        family_words=arrays["family_words"].astype(np.float32),
        family_looks=arrays["family_looks"],
        facts=about["facts"],
        trained=arrays.get("trained", np.zeros(0, np.uint64)),
        length=Length(**about["length"]) if "length" in about else None,
    )


def content_hash(model: Model) -> str:
    """Hex SHA-256 of the content of a model's file."""
    return hash_of(_arrays(model), _about(model))


def _arrays(model: Model) -> dict[str, npt.NDArray[Any]]:
    return {
        "words": model.words.astype(np.float16),
        "looks": model.looks,
        "middle": model.scaling.middle,
        "spread": model.scaling.spread,
        "family_words": model.family_words.astype(np.float16),
        "family_looks": model.family_looks,
        **({"trained": model.trained} if len(model.trained) else {}),
    }


def _about(model: Model) -> dict[str, object]:
    return {
        **VERSION,
        "settings": asdict(model.settings),
        "slope": model.slope,
        "offset": model.offset,
        "families": list(model.families),
        "facts": model.facts,
        **({"length": asdict(model.length)} if model.length else {}),
    }

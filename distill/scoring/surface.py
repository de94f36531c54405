"""Surface features of texts, apart from their words: numbers that are similar in all texts that read well."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.filters.signals.lines import line_shape
from curate.filters.signals.repetition import repeated_lines
from curate.filters.signals.text import character_shape, word_shape
from curate.kernels.hashed_ngrams import Ngrams
from curate.kernels.oddities import count_oddities
from curate.kernels.sentences import count_sentences

Reals = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

CLIP = 3.0  # spreads from the median at which oddness saturates
NORMAL = 0.7413  # standard deviation of normal values over their interquartile range
LEAST_SPREAD = 0.1  # times the standard deviation, where half of the values are nearly equal


@dataclass(frozen=True)
class Feature:
    """A number computed from measured columns; nan where it is not defined."""

    name: str
    make: Callable[[dict[str, Reals]], Reals]


@dataclass(frozen=True)
class Scaling:
    """Median and spread of each feature in good texts."""

    middle: Reals
    spread: Reals


def _plain(name: str) -> Feature:
    return Feature(name, lambda column: column[name])


def _root(name: str) -> Feature:
    """The square root of a share, which separates small ones."""
    return Feature(name, lambda column: np.sqrt(column[name]))


def _log(name: str, low: float, high: float) -> Feature:
    """The logarithm between bounds."""
    return Feature(name, lambda column: np.log(np.clip(column[name], low, high)))


def _rate(name: str, numerator: str, denominator: str) -> Feature:
    return Feature(name, lambda column: np.sqrt(_divided(column[numerator], column[denominator])))


def _divided(a: Reals, b: Reals) -> Reals:
    quotient: Reals = np.divide(a, b, out=np.full(len(a), np.nan), where=b > 0)
    return quotient


# Length and non-ASCII characters are left out on purpose: both depend on the source of a text, not on its quality.
FEATURES = (
    _plain("mean_word_length"),
    _log("max_word_length", 5, 100),
    _root("digit_ratio"),
    _root("uppercase_ratio"),
    _root("punctuation_ratio"),
    _root("symbol_ratio"),
    _plain("whitespace_ratio"),
    _plain("alpha_word_ratio"),
    _plain("stop_word_ratio"),
    _root("ellipsis_word_ratio"),
    _log("mean_line_length", 5, 400),
    _plain("terminal_line_ratio"),
    _root("short_line_ratio"),
    _root("bullet_line_ratio"),
    _root("duplicate_line_ratio"),
    Feature(
        "words_per_sentence", lambda column: np.log(np.clip(_divided(column["n_words"], column["sentences"]), 1, 100))
    ),
    Feature("distinct_words", lambda column: _divided(np.log(column["distinct_words"]), np.log(column["words"]))),
    Feature("distinct_pairs", lambda column: _divided(np.log(column["distinct_pairs"]), np.log(column["pairs"]))),
    _rate("exclamation_rate", "exclamations", "n_words"),
    _rate("comma_rate", "commas", "n_words"),
    _rate("money_rate", "money", "n_words"),
    _rate("address_rate", "addresses", "n_words"),
    _rate("doubled_mark_rate", "doubled_marks", "n_words"),
    _rate("vowelless_ratio", "vowelless", "runs"),
    _rate("mixed_ratio", "mixed", "runs"),
    _rate("inner_capital_ratio", "inner_capitals", "runs"),
)
NAMES = tuple(feature.name for feature in FEATURES)
NGRAM_COUNTS = ("words", "distinct_words", "pairs", "distinct_pairs")


def surface(texts: pa.Array, ngrams: Ngrams) -> Reals:
    """The features of each text, shape (texts, FEATURES); nan for null."""
    measured = character_shape(texts) | word_shape(texts) | line_shape(texts) | repeated_lines(texts)
    measured |= count_oddities(texts) | {"sentences": count_sentences(texts)}
    columns = {name: column.cast(pa.float64()).to_numpy(zero_copy_only=False) for name, column in measured.items()}
    counts = ngrams.counts.astype(np.float64)
    columns |= {name: counts[:, k] for k, name in enumerate(NGRAM_COUNTS)}
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.column_stack([feature.make(columns) for feature in FEATURES])


def scaling_of(values: Reals) -> Scaling:
    """Median, and interquartile range scaled to a standard deviation, of the features of good texts."""
    defined = np.where(np.isnan(values).all(axis=0), 0.0, values)
    low, middle, high = np.nanquantile(defined, [0.25, 0.5, 0.75], axis=0)
    spread = np.maximum(NORMAL * (high - low), LEAST_SPREAD * np.nanstd(defined, axis=0))
    return Scaling(middle, np.where(spread > 0, spread, 1.0))


def oddness(values: Reals, scaling: Scaling, weight: float) -> Singles:
    """How far each feature is above and below the median of good texts, shape (texts, 2 * FEATURES + 1).

    In spreads up to CLIP, times `weight` / √FEATURES; 0 where a feature is not defined. The last column is constant 1.
    """
    odd = np.nan_to_num((values - scaling.middle) / scaling.spread)
    sides = np.column_stack([np.clip(odd, 0, CLIP), np.clip(-odd, 0, CLIP)]) * (weight / np.sqrt(len(NAMES)))
    return np.column_stack([sides, np.ones(len(sides))]).astype(np.float32)

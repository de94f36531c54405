"""The discriminator: the probability that a text is bad, by its words and surface features, cross-fit.

Logistic regression over hashed words, pairs of words and surface features. There is one model per fold, trained on the
other folds: a training text is scored like any other, by a model that has not seen it.
"""

from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.distill.scoring.calibration import brier, calibration_error, platt, roc_auc, sigmoid
from curate.distill.scoring.linear_model import (
    FAMILY_BITS,
    Hashes,
    Integers,
    Model,
    Reals,
    Settings,
    content_hash,
    cost_of_error,
    fit_lanes,
    fold_of_groups,
    folds_of,
    groups_of,
    lanes_of,
    load,
    raw_scores,
    read_batches,
    read_texts,
    save,
    weights_of,
)
from curate.distill.scoring.surface import NAMES, scaling_of
from curate.errors import InputError
from curate.kernels.hashed_ngrams import ngram_places
from curate.kernels.linear import Rows, sums

__all__ = ["Model", "Settings", "content_hash", "explain", "folds_of", "groups_of", "judge", "load"]
__all__ += ["nearest_family", "save", "score", "train"]
GOOD = "good"
Flags = npt.NDArray[np.bool_]


class FamilyFacts(TypedDict):
    """How well one family of training texts is recognised."""

    texts: int
    p_bad: float  # their mean
    above_good: NotRequired[float]  # ROC-AUC against good texts as they came; not of good texts


class DiscriminatorFacts(TypedDict):
    """How well models separate the training texts that they did not see."""

    good: int
    bad: int
    roc_auc: float
    brier: float
    calibration_error: float
    families: dict[str, FamilyFacts]


def train(
    texts: pa.Array, bad: Flags, weights: Reals, groups: Hashes, families: Sequence[str], settings: Settings, seed: int
) -> Model:
    """Train a discriminator of bad texts from good ones.

    weights   of the texts; both sides are then scaled to the same total, so that the odds are those of equally common
              good and bad texts
    groups    texts of equal group share a fold: `groups_of` the originals, also for attacks on them
    families  "good", "mined", or the attack that made the text

    Errors: InputError where good or bad texts are of one fold only, so that some fold's model would see none.
    """
    read = read_texts(texts, settings.bits)
    folds = fold_of_groups(groups, settings.folds)
    counts = _balanced(bad, np.where(read.blank, 0.0, weights), folds)
    scaling = scaling_of(read.surface[~bad & (counts > 0)])
    rows = read.rows(scaling, settings.looks)
    targets = np.repeat(np.where(bad, 1.0, -1.0)[:, None], settings.folds, axis=1)
    cost = cost_of_error(settings, int((counts > 0).sum()))
    costs = cost * counts[:, None] * (folds[:, None] != np.arange(settings.folds))
    words, looks = fit_lanes(rows, targets, costs, settings, settings.bits, seed)
    unseen = sums(rows, folds, words, looks)
    slope, offset = platt(unseen, bad, counts)
    family_of_text = np.asarray(families)
    names, family_words, family_looks = _fit_families(rows, family_of_text, np.where(bad, counts, 0.0), settings, seed)
    return Model(
        settings=settings,
        scaling=scaling,
        words=words,
        looks=looks,
        slope=slope,
        offset=offset,
        families=names,
        family_words=family_words,
        family_looks=family_looks,
        facts=_facts(slope * unseen + offset, bad, counts, family_of_text),
    )


def _balanced(bad: Flags, weights: Reals, folds: Integers) -> Reals:
    """The weights, scaled so that good and bad texts each have half of the total, the number of texts."""
    counts = weights.copy()
    for name, side in ((GOOD, ~bad), ("bad", bad)):
        usable = side & (counts > 0)
        if len(np.unique(folds[usable])) < 2:
            raise InputError(f"discriminator: {usable.sum()} {name} texts are too few to train it; give more of them")
        counts[side] /= counts[side].sum() / len(counts) * 2
    return counts


def _facts(log_odds: Reals, bad: Flags, counts: Reals, families: npt.NDArray[Any]) -> DiscriminatorFacts:
    likely, usable = sigmoid(log_odds), counts > 0
    is_good = usable & (families == GOOD)
    by_family: dict[str, FamilyFacts] = {}
    for family in sorted(set(families[usable].tolist())):
        members = usable & (families == family)
        by_family[family] = {"texts": int(members.sum()), "p_bad": float(likely[members].mean())}
        if is_good.any() and family != GOOD:
            by_family[family]["above_good"] = roc_auc(log_odds[members | is_good], members[members | is_good])
    return {
        "good": int((usable & ~bad).sum()),
        "bad": int((usable & bad).sum()),
        "roc_auc": roc_auc(log_odds[usable], bad[usable]),
        "brier": brier(likely, bad, counts),
        "calibration_error": calibration_error(likely, bad, counts),
        "families": by_family,
    }


def _fit_families(
    rows: Rows, families: npt.NDArray[Any], counts: Reals, settings: Settings, seed: int
) -> tuple[tuple[str, ...], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Names of the families of bad texts, and for each the weights of a model that separates it from the others."""
    names = tuple(sorted(set(families[counts > 0].tolist())))
    indices = np.flatnonzero(counts > 0)
    bits = min(FAMILY_BITS, settings.bits)
    if len(names) == 1:  # there is no other family
        return names, np.zeros((1, 1 << bits), np.float32), np.zeros((1, rows.columns.shape[1]), np.float32)
    taken = _take(rows, indices, settings.bits - bits)
    of_family = families[indices, None] == np.array(names)
    sizes = of_family.sum(axis=0)
    shares = np.where(of_family, 0.5 / sizes, 0.5 / np.maximum(len(indices) - sizes, 1))  # each side half of the weight
    costs = cost_of_error(settings, len(indices)) * len(indices) * shares
    words, looks = fit_lanes(taken, np.where(of_family, 1.0, -1.0), costs, settings, bits, seed)
    return names, words, looks


def _take(rows: Rows, indices: Integers, shift: int) -> Rows:
    """The chosen rows, with buckets of `shift` fewer bits."""
    sizes = np.diff(rows.offsets)[indices]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    positions = np.repeat(rows.offsets[indices] - offsets[:-1], sizes) + np.arange(offsets[-1])
    return Rows(offsets, rows.buckets[positions] >> shift, rows.columns[indices])


def judge(model: Model, texts: pa.Array, groups: Hashes | None = None) -> dict[str, pa.Array]:
    """The results of `score` and `nearest_family` from one pass over the texts: columns p_bad and nearest_family."""
    p_bad, nearest = [pa.array([], pa.float32())], [pa.array([], pa.int32())]
    for rows, folds, blank in read_batches(model, texts, groups):
        p_bad.append(pa.array(sigmoid(raw_scores(model, rows, folds)).astype(np.float32), mask=blank))
        nearest.append(pa.array(_nearest(model, rows), mask=blank))
    names = pa.array(model.families, pa.string())
    return {"p_bad": pa.concat_arrays(p_bad), "nearest_family": names.take(pa.concat_arrays(nearest))}


def score(model: Model, texts: pa.Array, groups: Hashes | None = None) -> pa.Array:
    """p_bad of each text, float32: the probability that it is bad if both are equally common; null for blank text.

    A text is scored by the model of its fold. A text made from another one has the group of its original: pass `groups`
    where such texts are scored and the originals may be training texts.
    """
    return judge(model, texts, groups)["p_bad"]


def nearest_family(model: Model, texts: pa.Array) -> pa.Array:
    """The family of bad texts that each text, good or bad, resembles most, as a string; null for blank text."""
    return judge(model, texts)["nearest_family"]


def _nearest(model: Model, rows: Rows) -> npt.NDArray[np.int32]:
    """Index of the family that each row resembles most."""
    rows = rows._replace(buckets=rows.buckets >> model.settings.bits - min(FAMILY_BITS, model.settings.bits))
    lanes = (np.full(len(rows.columns), family) for family in range(len(model.families)))
    scores = [sums(rows, lane, model.family_words, model.family_looks) for lane in lanes]
    nearest: npt.NDArray[np.int32] = np.argmax(np.column_stack(scores), axis=1).astype(np.int32)
    return nearest


def explain(model: Model, text: str, n: int, groups: Hashes | None = None) -> list[tuple[str, float]]:
    """The n strongest reasons for p_bad of a text, strongest first, each with its contribution to the log-odds of bad.

    Words and pairs of words are as written in the text, surface features in angle brackets. All of them and <constant>
    add up to the log-odds. N-grams that share a bucket appear as the first of them. `groups` has the group by which the
    text was scored, if not its own.
    """
    texts = pa.array([text], pa.large_string())
    read = read_texts(texts, model.settings.bits)
    [lane] = lanes_of(model, groups_of(texts) if groups is None else groups)
    words, looks = weights_of(model)
    columns = read.rows(model.scaling, model.settings.looks).columns[0] * looks[lane] * model.slope
    sides = zip(NAMES, columns[: len(NAMES)], columns[len(NAMES) : -1], strict=True)
    reasons = [(f"<{name}>", float(above + below)) for name, above, below in sides]
    reasons.append(("<constant>", float(columns[-1]) + model.offset))
    written, ngrams = ngram_places(text, model.settings.bits)
    raw = written.encode(errors="surrogatepass")
    _, first = np.unique(ngrams.buckets, return_index=True)
    scale = model.slope / np.sqrt(max(len(first), 1))
    for k in np.sort(first):
        ngram = raw[ngrams.starts[k] : ngrams.ends[k]].decode(errors="replace")
        reasons.append((ngram, float(words[lane, ngrams.buckets[k]] * scale)))
    return sorted(reasons, key=lambda reason: -abs(reason[1]))[:n]

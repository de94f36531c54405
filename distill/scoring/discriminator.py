"""The discriminator: how likely a text is to be bad, by its words and its looks, from a model that never saw it.

Logistic regression over hashed words, pairs of words and surface features. One model a fold, each trained on the other
folds: a text that was trained on is judged as any other is.
"""

from collections.abc import Sequence
from typing import Any

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

__all__ = ["Model", "Settings", "content_hash", "explain", "folds_of", "groups_of", "judge", "load", "nearest_family",
           "save", "score", "train"]  # fmt: skip
GOOD = "good"
Flags = npt.NDArray[np.bool_]


def train(
    texts: pa.Array, bad: Flags, weights: Reals, groups: Hashes, families: Sequence[str], settings: Settings, seed: int
) -> Model:
    """A discriminator of bad texts from good ones.

    weights   what each text counts; then good and bad ones are made to count the same in total, so that what is found
              are odds where both are as common
    groups    texts of equal group never stand in different folds: `groups_of` the originals, of their attacks too
    families  "good", "mined", or the attack that made the text

    Errors: InputError where good or bad texts are of one fold only, so that some fold's model would see none.
    """
    read = read_texts(texts, settings.bits)
    folds = fold_of_groups(groups, settings.folds)
    counts = np.where(read.blank, 0.0, weights)
    for name, side in ((GOOD, ~bad), ("bad", bad)):
        there = side & (counts > 0)
        if len(np.unique(folds[there])) < 2:
            raise InputError(f"discriminator: {there.sum()} {name} texts are too few to train it; give more of them")
        counts[side] /= counts[side].sum() / len(counts) * 2
    scaling = scaling_of(read.surface[~bad & (counts > 0)])
    rows = read.rows(scaling, settings.looks)
    targets = np.repeat(np.where(bad, 1.0, -1.0)[:, None], settings.folds, axis=1)
    cost = cost_of_error(settings, int((counts > 0).sum()))
    costs = cost * counts[:, None] * (folds[:, None] != np.arange(settings.folds))
    words, looks = fit_lanes(rows, targets, costs, settings, settings.bits, seed)
    unseen = sums(rows, folds, words, looks)
    slope, offset = platt(unseen, bad, counts)
    named = np.asarray(families)
    known, family_words, family_looks = _fit_families(rows, named, np.where(bad, counts, 0.0), settings, seed)
    facts = _facts(slope * unseen + offset, bad, counts, named)
    return Model(settings, scaling, words, looks, slope, offset, known, family_words, family_looks, facts)


def _facts(log_odds: Reals, bad: Flags, counts: Reals, families: npt.NDArray[Any]) -> dict[str, Any]:
    """How the texts of the training set were told apart by the models that did not see them."""
    likely, there = sigmoid(log_odds), counts > 0
    plain, told = there & (families == GOOD), {}
    for family in sorted(set(families[there].tolist())):
        of = there & (families == family)
        told[family] = {"texts": int(of.sum()), "p_bad": float(likely[of].mean())}
        if plain.any() and family != GOOD:  # how often one of the family scores higher than a good text as it came
            told[family]["above_good"] = roc_auc(log_odds[of | plain], of[of | plain])
    return {
        "good": int((there & ~bad).sum()),
        "bad": int((there & bad).sum()),
        "roc_auc": roc_auc(log_odds[there], bad[there]),
        "brier": brier(likely, bad, counts),
        "calibration_error": calibration_error(likely, bad, counts),
        "families": told,
    }


def _fit_families(
    rows: Rows, families: npt.NDArray[Any], counts: Reals, settings: Settings, seed: int
) -> tuple[tuple[str, ...], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """A model for each family of bad texts, which tells it from the others."""
    known = tuple(sorted(set(families[counts > 0].tolist())))
    some = np.flatnonzero(counts > 0)
    bits = min(FAMILY_BITS, settings.bits)
    if len(known) == 1:  # there is no other one to tell it from
        return known, np.zeros((1, 1 << bits), np.float32), np.zeros((1, rows.columns.shape[1]), np.float32)
    picked = _picked(rows, some, settings.bits - bits)
    of_family = families[some, None] == np.array(known)
    sizes = of_family.sum(axis=0)
    shares = np.where(of_family, 0.5 / sizes, 0.5 / np.maximum(len(some) - sizes, 1))  # each side half of the weight
    costs = cost_of_error(settings, len(some)) * len(some) * shares
    words, looks = fit_lanes(picked, np.where(of_family, 1.0, -1.0), costs, settings, bits, seed)
    return known, words, looks


def _picked(rows: Rows, some: Integers, shift: int) -> Rows:
    """Some of the rows, with fewer buckets by so many bits."""
    sizes = np.diff(rows.offsets)[some]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    places = np.repeat(rows.offsets[some] - offsets[:-1], sizes) + np.arange(offsets[-1])
    return Rows(offsets, rows.buckets[places] >> shift, rows.columns[some])


def judge(model: Model, texts: pa.Array, groups: Hashes | None = None) -> dict[str, pa.Array]:
    """What `score` and `nearest_family` say, from reading the texts once: columns p_bad and nearest_family."""
    p_bad, nearest = [pa.array([], pa.float32())], [pa.array([], pa.int32())]
    for rows, folds, blank in read_batches(model, texts, groups):
        p_bad.append(pa.array(sigmoid(raw_scores(model, rows, folds)).astype(np.float32), mask=blank))
        nearest.append(pa.array(_nearest(model, rows), mask=blank))
    names = pa.array(model.families, pa.string())
    return {"p_bad": pa.concat_arrays(p_bad), "nearest_family": names.take(pa.concat_arrays(nearest))}


def score(model: Model, texts: pa.Array, groups: Hashes | None = None) -> pa.Array:
    """p_bad of each text, float32 from 0 to 1: how likely it is bad if good and bad are as common; null for blank text.

    Each is judged by the model of its own fold. A text made from another one has the group of its original: give
    `groups` where such texts are scored and the originals may have been trained on.
    """
    return judge(model, texts, groups)["p_bad"]


def nearest_family(model: Model, texts: pa.Array) -> pa.Array:
    """The family of bad texts that each text, good or bad, is most like, as a string; null for blank text."""
    return judge(model, texts)["nearest_family"]


def _nearest(model: Model, rows: Rows) -> npt.NDArray[np.int32]:
    """The number of the family that each row is most like."""
    rows = rows._replace(buckets=rows.buckets >> model.settings.bits - min(FAMILY_BITS, model.settings.bits))
    lanes = (np.full(len(rows.columns), family) for family in range(len(model.families)))
    found = [sums(rows, lane, model.family_words, model.family_looks) for lane in lanes]
    nearest: npt.NDArray[np.int32] = np.argmax(np.column_stack(found), axis=1).astype(np.int32)
    return nearest


def explain(model: Model, text: str, n: int, groups: Hashes | None = None) -> list[tuple[str, float]]:
    """The n strongest reasons for p_bad of a text, the strongest first, each with what it adds to the log-odds of bad.

    Words and pairs of words are given as they stand in the text, surface features in angle brackets. All of them and
    <constant> add up to the log-odds. N-grams of one bucket are shown as the first of them. `groups` has the group by
    which the text was judged, if not its own.
    """
    texts = pa.array([text], pa.large_string())
    read = read_texts(texts, model.settings.bits)
    [lane] = lanes_of(model, groups_of(texts) if groups is None else groups)
    words, looks = weights_of(model)
    columns = read.rows(model.scaling, model.settings.looks).columns[0] * looks[lane] * model.slope
    sides = zip(NAMES, columns[: len(NAMES)], columns[len(NAMES) : -1], strict=True)
    found = [(f"<{name}>", float(above + below)) for name, above, below in sides]
    found.append(("<constant>", float(columns[-1]) + model.offset))
    written, places = ngram_places(text, model.settings.bits)
    raw = written.encode(errors="surrogatepass")
    _, first = np.unique(places.buckets, return_index=True)
    scale = model.slope / np.sqrt(max(len(first), 1))
    for k in np.sort(first):
        ngram = raw[places.starts[k] : places.ends[k]].decode(errors="replace")
        found.append((ngram, float(words[lane, places.buckets[k]] * scale)))
    return sorted(found, key=lambda reason: -abs(reason[1]))[:n]

"""How much likelier a text's n-grams are in good text than in the corpus, and in which kind of good text the most.

In the manner of DSIR (Xie et al. 2023, arXiv 2302.03169): a distribution of hashed words and pairs of words for each
domain of the target, one for the corpus, and what a text gains from the one over the other. Two things are different:

- It is the mean over the n-grams of a text and not their sum. The sum grows with the length, so that its extremes are
  the longest documents, whatever they say.
- A text is held against the one domain under which it is the likeliest, not against their mixture: in a mixture the
  largest domain decides what counts as good, and the smallest ones' own texts look bad by it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import curate.models
from curate.distill.scoring.linear_model import BATCH, Hashes, Integers, Reals, fold_of_groups, groups_of
from curate.distill.scoring.model_file import hash_of, load_arrays, save_arrays
from curate.errors import InputError
from curate.kernels.arrow import plain_text
from curate.kernels.bucket_logs import Logs, count_buckets, mean_logs
from curate.kernels.hashed_ngrams import Buckets, hashed_ngrams

Columns = dict[str, pa.Array]
PACKAGED = Path(curate.models.__path__[0]) / "prose.npz"
READ_BITS = 18  # by which the n-grams of a text are told apart; tables may have fewer
STEPS = 16  # of a log-probability, that a file tells apart: more make it larger, and no score better
KINDS = {"importance": pa.float32(), "domain": pa.string(), "margin": pa.float32(), "likeness": pa.float32(),
         "cluster": pa.int32()}  # fmt: skip
VERSION = {"format": 1, "kind": "distribution"}


@dataclass(frozen=True)
class Settings:
    """What distributions are made with; chosen by benchmarks/distil_trials.py."""

    bits: int = 18  # 2^bits buckets; READ_BITS at most
    folds: int = 4  # a text is judged by the counts of the other folds; with 1 by all, its own too
    uniform: float = 0.2  # share of all buckets alike in a target
    unknown: float = 0.4  # and in the corpus: the more of the two, the more what neither has met speaks against a text
    shared: float = 0.3  # share of all domains together in each of them: what a small one has not met


@dataclass(frozen=True)
class Distribution:
    """How likely each bucket is in each domain, from the texts of all folds but one."""

    settings: Settings
    domains: tuple[str, ...]
    shares: tuple[float, ...]  # of the n-grams, by domain
    logs: Logs  # log p, shape (folds, domains, buckets), as the file rounds them
    texts: int  # that were counted


@dataclass(frozen=True)
class Contrast:
    """A target against a corpus, as texts are judged by it; see `contrast_of`."""

    bits: int
    folds: int
    domains: tuple[str, ...]
    shares: tuple[float, ...]
    logs: Logs  # log p of each domain less that of the corpus, shape (folds, buckets, domains)


def distribution_of(texts: pa.Array, domains: Sequence[str], groups: Hashes, settings: Settings) -> Distribution:
    """The distribution of texts, each of which has a domain.

    groups   texts of equal group are of one fold: `groups_of` the texts, or of what they were made from

    Errors: InputError where a domain has no words at all.
    """
    names, numbers = np.unique(np.asarray(domains, dtype=object).astype(str), return_inverse=True)
    folds = fold_of_groups(groups, settings.folds)
    counts = np.zeros((len(names) * settings.folds, 1 << settings.bits), dtype=np.int64)
    for k in range(0, len(texts), BATCH):
        ngrams = hashed_ngrams(plain_text(texts.slice(k, BATCH)), READ_BITS)
        cells = numbers[k : k + BATCH] * settings.folds + folds[k : k + BATCH]
        count_buckets(ngrams.offsets, ngrams.buckets >> READ_BITS - settings.bits, cells, counts)
    by_fold = counts.reshape(len(names), settings.folds, 1 << settings.bits).swapaxes(0, 1)  # folds, domains, buckets
    total = by_fold.sum(axis=0)
    empty = [str(name) for name, size in zip(names, total.sum(axis=1), strict=True) if size == 0]
    if empty or not len(names):
        raise InputError(
            f"importance: no words in the texts of {', '.join(empty) or 'the corpus'}; give texts with words"
        )
    known = total - by_fold if settings.folds > 1 else by_fold
    shares = total.sum(axis=1) / total.sum()
    return Distribution(settings, tuple(map(str, names)), tuple(shares.tolist()), _logs_of(known, settings), len(texts))


def corpus_of(texts: pa.Array, groups: Hashes, settings: Settings) -> Distribution:
    """The distribution of a sample of the corpus, to be held against a target of these settings (see `contrast_of`).

    It has folds of its own, even where the target has none: the documents of the sample are judged too.

    Errors: InputError where the sample has no words.
    """
    own = replace(settings, uniform=settings.unknown, folds=max(settings.folds, Settings.folds))
    return distribution_of(texts, ["the corpus"] * len(texts), groups, own)


def _logs_of(counts: npt.NDArray[np.int64], settings: Settings) -> Logs:
    """Smoothed log-probabilities of counts (folds, domains, buckets), rounded to what a file holds."""
    everywhere = counts.sum(axis=1, keepdims=True)
    own, all_domains = (_frequencies(of) for of in (counts, everywhere))
    mixed = (1 - settings.shared) * own + settings.shared * all_domains
    smooth = (1 - settings.uniform) * mixed + settings.uniform / counts.shape[2]
    rounded: Logs = (np.round(np.log(smooth) * STEPS) / STEPS).astype(np.float16).astype(np.float32)
    return rounded


def _frequencies(counts: npt.NDArray[np.int64]) -> Reals:
    sizes = counts.sum(axis=2, keepdims=True)
    shares: Reals = np.divide(counts, sizes, out=np.full(counts.shape, 1 / counts.shape[2]), where=sizes > 0)
    return shares


def contrast_of(target: Distribution, corpus: Distribution, shares: Sequence[float] | None = None) -> Contrast:
    """A target against the corpus (`corpus_of`), by its own shares of domains or by others.

    Errors: InputError where the two have other numbers of buckets, or of folds (one of them may have 1).
    """
    theirs, ours = target.settings, corpus.settings
    folds = max(theirs.folds, ours.folds)
    if theirs.bits != ours.bits or not {theirs.folds, ours.folds} <= {1, folds}:
        raise InputError(
            f"importance: a target of 2^{theirs.bits} buckets and {theirs.folds} fold(s), and a corpus of "
            f"2^{ours.bits} and {ours.folds}; make both with the same settings"
        )
    parts = np.asarray(target.shares if shares is None else shares)
    everywhere = np.log(np.einsum("fdb,d->fb", np.exp(corpus.logs.astype(np.float64)), corpus.shares))
    logs = target.logs.transpose(0, 2, 1) - everywhere[:, :, None]
    return Contrast(
        theirs.bits, folds, target.domains, tuple((parts / parts.sum()).tolist()),
        np.ascontiguousarray(logs, dtype=np.float32),
    )  # fmt: skip


def importance(contrast: Contrast, texts: pa.Array, groups: Hashes | None = None) -> Columns:
    """How much likelier the n-grams of each text are in the target than in the corpus, and its domain.

    importance  float32, mean over the n-grams of log p_domain - log p_corpus: the higher, the more like the target
    domain      string, the domain of the target under which all n-grams together are the likeliest
    margin      float32, by how much, over the second one, in log p an n-gram; null with one domain

    All are null for a text without words. `groups` are those by which equal texts were counted, if not by their own.
    """
    parts = []
    for k in range(0, len(texts), BATCH):
        some = plain_text(texts.slice(k, BATCH))
        ngrams = hashed_ngrams(some, READ_BITS)
        of = groups_of(some) if groups is None else groups[k : k + BATCH]
        parts.append(judged(contrast, ngrams.offsets, ngrams.buckets, of))
    return joined(parts, ("importance", "domain", "margin"))


def judged(contrast: Contrast, offsets: Integers, buckets: Buckets, groups: Hashes) -> Columns:
    """The same of texts whose n-grams are read, with READ_BITS."""
    means = mean_logs(
        offsets, buckets >> READ_BITS - contrast.bits, fold_of_groups(groups, contrast.folds), contrast.logs
    )
    sizes = np.diff(offsets)
    empty = sizes == 0
    with np.errstate(divide="ignore"):
        prior = np.log(contrast.shares)
    likely = np.where(empty[:, None], 0.0, means) + prior / np.maximum(sizes, 1)[:, None]
    best = np.argmax(likely, axis=1)
    first, second = np.sort(likely, axis=1)[:, [-1, -min(2, likely.shape[1])]].T
    alone = empty | (likely.shape[1] == 1)
    return {
        "importance": pa.array(means[np.arange(len(best)), best].astype(np.float32), mask=empty),
        "domain": pa.array(contrast.domains, pa.string()).take(pa.array(best, mask=empty)),
        "margin": pa.array((first - second).astype(np.float32), mask=alone),
    }


def joined(parts: Sequence[Columns], names: Sequence[str]) -> Columns:
    """Columns of some texts, one after the other."""
    return {name: pa.concat_arrays([pa.array([], KINDS[name]), *(part[name] for part in parts)]) for name in names}


def save(distribution: Distribution, path: Path) -> None:
    """Commit a distribution as one file: see docs/scores.md."""
    save_arrays(path, *_packed(distribution))


def packaged_prose() -> Distribution:
    """Good English prose of six domains, which is in the package: a target for those who have none of their own."""
    return load(PACKAGED)


def load(path: Path) -> Distribution:
    """A distribution from its file.

    Errors: InputError for what is none, for another format, and for damage.
    """
    arrays, about = load_arrays(path, "a distribution of n-grams", VERSION)
    return Distribution(
        Settings(**about["settings"]), tuple(about["domains"]), tuple(about["shares"]),
        arrays["logs"].astype(np.float32), about["texts"],
    )  # fmt: skip


def content_hash(distribution: Distribution) -> str:
    """Hex SHA-256 of all that a distribution's file holds: equal for equal distributions."""
    return hash_of(*_packed(distribution))


def _packed(distribution: Distribution) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    about = VERSION | {
        "settings": asdict(distribution.settings), "domains": list(distribution.domains),
        "shares": list(distribution.shares), "texts": distribution.texts,
    }  # fmt: skip
    return {"logs": distribution.logs.astype(np.float16)}, about

"""Importance: how much likelier a text's n-grams are in good text than in the corpus, and its domain of good text.

After DSIR (Xie et al. 2023, arXiv 2302.03169): a distribution of hashed words and pairs of words for each domain of the
target, one for the corpus, and the log ratio of a text's likelihoods under the two. There are two differences:

- It is the mean over the n-grams of a text, not the sum, which grows with length: its extremes would be the longest
  documents, whatever their content.
- A text is compared with the one domain under which it is likeliest, not with their mixture, in which the largest
  domain decides what is good and texts of the smallest ones score low.
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
READ_BITS = 18  # of the hashes of n-grams; tables may have fewer
STEPS = 16  # per unit of log-probability in a file: more make it larger, and no score better
KINDS = {
    "importance": pa.float32(),
    "domain": pa.string(),
    "margin": pa.float32(),
    "likeness": pa.float32(),
    "cluster": pa.int32(),
}
VERSION: dict[str, object] = {"format": 1, "kind": "distribution"}


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters of distributions; the defaults are chosen by benchmarks/distil_trials.py."""

    bits: int = 18  # 2^bits buckets; READ_BITS at most
    folds: int = 4  # a text is scored by the counts of the other folds; with 1, by all, its own included
    uniform: float = 0.2  # weight of the uniform distribution in a target
    unknown: float = 0.4  # and in the corpus; if it is larger there, n-grams unseen in both count against a text
    shared: float = 0.3  # weight of all domains together in each of them, for n-grams unseen in a small one


@dataclass(frozen=True)
class Distribution:
    """Probability of each bucket in each domain, for each fold from the texts of the other folds."""

    settings: Settings
    domains: tuple[str, ...]
    shares: tuple[float, ...]  # of the n-grams, by domain
    logs: Logs  # log p, shape (folds, domains, buckets), rounded as in the file
    texts: int  # number of texts counted


@dataclass(frozen=True)
class Contrast:
    """A target against a corpus, by which texts are scored; see `contrast_of`."""

    bits: int
    folds: int
    domains: tuple[str, ...]
    shares: tuple[float, ...]
    logs: Logs  # log p of each domain less that of the corpus, shape (folds, buckets, domains)


def distribution_of(texts: pa.Array, domains: Sequence[str], groups: Hashes, settings: Settings) -> Distribution:
    """Count the distribution of texts by domain.

    groups   texts of equal group share a fold: `groups_of` the texts, or of their originals

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
    other_folds = total - by_fold if settings.folds > 1 else by_fold
    shares = total.sum(axis=1) / total.sum()
    logs = _logs_of(other_folds, settings)
    return Distribution(settings, tuple(map(str, names)), tuple(shares.tolist()), logs, len(texts))


def corpus_of(texts: pa.Array, groups: Hashes, settings: Settings) -> Distribution:
    """Count the distribution of a sample of the corpus, for a target of these settings (see `contrast_of`).

    It has folds even where the target has none, because documents of the sample are scored too.

    Errors: InputError where the sample has no words.
    """
    of_corpus = replace(settings, uniform=settings.unknown, folds=max(settings.folds, Settings.folds))
    return distribution_of(texts, ["the corpus"] * len(texts), groups, of_corpus)


def _logs_of(counts: npt.NDArray[np.int64], settings: Settings) -> Logs:
    """Smoothed log-probabilities of counts (folds, domains, buckets), rounded as in the file."""
    everywhere = counts.sum(axis=1, keepdims=True)
    by_domain, all_domains = _frequencies(counts), _frequencies(everywhere)
    mixed = (1 - settings.shared) * by_domain + settings.shared * all_domains
    smooth = (1 - settings.uniform) * mixed + settings.uniform / counts.shape[2]
    rounded: Logs = (np.round(np.log(smooth) * STEPS) / STEPS).astype(np.float16).astype(np.float32)
    return rounded


def _frequencies(counts: npt.NDArray[np.int64]) -> Reals:
    sizes = counts.sum(axis=2, keepdims=True)
    shares: Reals = np.divide(counts, sizes, out=np.full(counts.shape, 1 / counts.shape[2]), where=sizes > 0)
    return shares


def contrast_of(target: Distribution, corpus: Distribution, shares: Sequence[float] | None = None) -> Contrast:
    """A target against the corpus (`corpus_of`); `shares` of domains replace those of the target.

    Errors: InputError where the two differ in the number of buckets, or of folds (either may have 1).
    """
    theirs, ours = target.settings, corpus.settings
    folds = max(theirs.folds, ours.folds)
    if theirs.bits != ours.bits or not {theirs.folds, ours.folds} <= {1, folds}:
        raise InputError(
            f"importance: a target of 2^{theirs.bits} buckets and {theirs.folds} fold(s), and a corpus of "
            f"2^{ours.bits} and {ours.folds}; make both with the same settings"
        )
    weights = np.asarray(target.shares if shares is None else shares)
    of_corpus = np.log(np.einsum("fdb,d->fb", np.exp(corpus.logs.astype(np.float64)), corpus.shares))
    logs = target.logs.transpose(0, 2, 1) - of_corpus[:, :, None]
    return Contrast(
        bits=theirs.bits,
        folds=folds,
        domains=target.domains,
        shares=tuple((weights / weights.sum()).tolist()),
        logs=np.ascontiguousarray(logs, dtype=np.float32),
    )


def importance(contrast: Contrast, texts: pa.Array, groups: Hashes | None = None) -> Columns:
    """How much likelier the n-grams of each text are in the target than in the corpus, and its domain.

    importance  float32, mean over the n-grams of log p_domain - log p_corpus; higher is more like the target
    domain      string, the domain of the target under which the n-grams are likeliest
    margin      float32, its lead over the second domain in log p per n-gram; null with one domain

    All are null for a text without words. `groups` are those by which the texts were counted, if not their own.
    """
    parts = []
    for k in range(0, len(texts), BATCH):
        batch = plain_text(texts.slice(k, BATCH))
        ngrams = hashed_ngrams(batch, READ_BITS)
        batch_groups = groups_of(batch) if groups is None else groups[k : k + BATCH]
        parts.append(importance_of_ngrams(contrast, ngrams.offsets, ngrams.buckets, batch_groups))
    return concat_columns(parts, ("importance", "domain", "margin"))


def importance_of_ngrams(contrast: Contrast, offsets: Integers, buckets: Buckets, groups: Hashes) -> Columns:
    """`importance` of texts by their n-grams, hashed to READ_BITS."""
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
    no_margin = empty | (likely.shape[1] == 1)
    return {
        "importance": pa.array(means[np.arange(len(best)), best].astype(np.float32), mask=empty),
        "domain": pa.array(contrast.domains, pa.string()).take(pa.array(best, mask=empty)),
        "margin": pa.array((first - second).astype(np.float32), mask=no_margin),
    }


def concat_columns(parts: Sequence[Columns], names: Sequence[str]) -> Columns:
    """The named columns of batches of texts, concatenated."""
    return {name: pa.concat_arrays([pa.array([], KINDS[name]), *(part[name] for part in parts)]) for name in names}


def save(distribution: Distribution, path: Path) -> None:
    """Commit a distribution as one file (docs/scores.md)."""
    save_arrays(path, *_packed(distribution))


def packaged_prose() -> Distribution:
    """The packaged distribution of good English prose of six domains: the target of a recipe without a reference."""
    return load(PACKAGED)


def load(path: Path) -> Distribution:
    """Read a distribution from its file.

    Errors: InputError for a file that is not one, is of another format, or is damaged.
    """
    arrays, about = load_arrays(path, "a distribution of n-grams", VERSION)
    return Distribution(
        settings=Settings(**about["settings"]),
        domains=tuple(about["domains"]),
        shares=tuple(about["shares"]),
        logs=arrays["logs"].astype(np.float32),
        texts=about["texts"],
    )


def content_hash(distribution: Distribution) -> str:
    """Hex SHA-256 of the content of a distribution's file: equal for equal distributions."""
    return hash_of(*_packed(distribution))


def _packed(distribution: Distribution) -> tuple[dict[str, npt.NDArray[Any]], dict[str, object]]:
    about = VERSION | {
        "settings": asdict(distribution.settings),
        "domains": list(distribution.domains),
        "shares": list(distribution.shares),
        "texts": distribution.texts,
    }
    return {"logs": distribution.logs.astype(np.float16)}, about

"""The strongest evidence that texts are bad: `explain`, for many texts at once."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.distill.scoring.linear_model import BATCH, Hashes, Model, fold_of_groups, read_texts
from curate.distill.scoring.surface import NAMES
from curate.kernels.hashed_ngrams import ngram_places

HEAD = 64  # n-grams that are sorted first; mostly enough, as n-grams rarely repeat
Reals = npt.NDArray[np.floating]


def evidence(model: Model, texts: pa.Array, groups: Hashes, n: int) -> list[list[str]]:
    """The n strongest reasons for p_bad of each text, strongest first: n-grams as written, and <features>.

    `groups` select the fold's model that scored each text; they are those of the texts as they were scored, where
    `texts` have their personal data masked. Reasons for a text being good, and the constant, are left out. Null has
    none.
    """
    slices = (slice(k, k + BATCH) for k in range(0, len(texts), BATCH))
    return [reasons for part in slices for reasons in _batch_evidence(model, texts[part], groups[part], n)]


def _batch_evidence(model: Model, texts: pa.Array, groups: Hashes, n: int) -> list[list[str]]:
    folds = fold_of_groups(groups, model.settings.folds)
    read = read_texts(texts, model.settings.bits)
    columns = read.rows(model.scaling, model.settings.looks).columns * model.looks[folds] * model.slope
    features = columns[:, : len(NAMES)] + columns[:, len(NAMES) : -1]
    scales = model.slope / np.sqrt(np.maximum(np.diff(read.offsets), 1))
    names = [f"<{name}>" for name in NAMES]
    evidence = []
    for text, fold, row, scale in zip(texts.to_pylist(), folds, features.tolist(), scales.tolist(), strict=True):
        ngrams = _strongest_ngrams(model.words[fold], text or "", scale, n, model.settings.bits)
        reasons = [(name, value) for name, value in (*zip(names, row, strict=True), *ngrams) if value > 0]
        reasons.sort(key=lambda reason: -reason[1])
        evidence.append([name for name, _ in reasons[:n]])
    return evidence


def _strongest_ngrams(weights: Reals, text: str, scale: float, n: int, bits: int) -> Iterator[tuple[str, float]]:
    """The n strongest n-grams of a text with their contributions; of those that share a bucket, the first."""
    written, ngrams = ngram_places(text, bits)
    contributions = weights[ngrams.buckets]
    raw = written.encode(errors="surrogatepass")
    seen: set[int] = set()
    for k in _strongest_first(contributions):
        if len(seen) == n:
            return
        if (bucket := int(ngrams.buckets[k])) not in seen:
            seen.add(bucket)
            yield raw[ngrams.starts[k] : ngrams.ends[k]].decode(errors="replace"), float(contributions[k]) * scale


def _strongest_first(values: Reals) -> Iterator[int]:
    """Indices by descending value, then ascending index; all beyond the first HEAD are sorted only when reached."""
    head = min(HEAD, len(values))
    least = np.partition(values, len(values) - head)[len(values) - head] if head else 0.0
    for indices in (np.flatnonzero(values >= least), np.flatnonzero(values < least)):
        yield from indices[np.lexsort((indices, -values[indices]))].tolist()

"""What speaks most for a text being bad: for many texts at once, what `explain` says of one."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.distill.scoring.linear_model import BATCH, Hashes, Model, fold_of_groups, read_texts
from curate.distill.scoring.surface import NAMES
from curate.kernels.hashed_ngrams import ngram_places

HEAD = 64  # places that are sorted first: most n-grams of a text stand there once
Reals = npt.NDArray[np.floating]


def evidence(model: Model, texts: pa.Array, groups: Hashes, n: int) -> list[list[str]]:
    """Of each text the n strongest reasons for p_bad, the strongest first: n-grams as they stand there, and <features>.

    `groups` say which fold's model judged each text: they are those of the texts as they were judged, where these are
    shown without personal data. What speaks for a text being good is left out, and so is what holds for all texts.
    Nothing for null.
    """
    pieces = (slice(k, k + BATCH) for k in range(0, len(texts), BATCH))
    return [one for piece in pieces for one in _of_some(model, texts[piece], groups[piece], n)]


def _of_some(model: Model, texts: pa.Array, groups: Hashes, n: int) -> list[list[str]]:
    folds = fold_of_groups(groups, model.settings.folds)
    read = read_texts(texts, model.settings.bits)
    columns = read.rows(model.scaling, model.settings.looks).columns * model.looks[folds] * model.slope
    looks = columns[:, : len(NAMES)] + columns[:, len(NAMES) : -1]
    scales = model.slope / np.sqrt(np.maximum(np.diff(read.offsets), 1))
    named = [f"<{name}>" for name in NAMES]
    found = []
    for text, fold, own, scale in zip(texts.to_pylist(), folds, looks.tolist(), scales.tolist(), strict=True):
        reasons = [
            *zip(named, own, strict=True),
            *_ngrams(model.words[fold], text or "", scale, n, model.settings.bits),
        ]
        ranked = sorted((reason for reason in reasons if reason[1] > 0), key=lambda reason: -reason[1])
        found.append([what for what, _ in ranked[:n]])
    return found


def _ngrams(weights: Reals, text: str, scale: float, n: int, bits: int) -> Iterator[tuple[str, float]]:
    """The n strongest n-grams of a text, of those of one bucket the first, with what they add."""
    written, places = ngram_places(text, bits)
    adds = weights[places.buckets]
    raw = written.encode(errors="surrogatepass")
    seen: set[int] = set()
    for k in _strongest_first(adds):
        if len(seen) == n:
            return
        if (bucket := int(places.buckets[k])) not in seen:
            seen.add(bucket)
            yield raw[places.starts[k] : places.ends[k]].decode(errors="replace"), float(adds[k]) * scale


def _strongest_first(adds: Reals) -> Iterator[int]:
    """Places by falling value, of equal values the first one first; the rest is only sorted where it is asked for."""
    head = min(HEAD, len(adds))
    least = np.partition(adds, len(adds) - head)[len(adds) - head] if head else 0.0
    for some in (np.flatnonzero(adds >= least), np.flatnonzero(adds < least)):
        yield from some[np.lexsort((some, -adds[some]))].tolist()

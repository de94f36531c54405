"""What a training on an export sees of each source: its documents, how often, and the odds of drawing one.

A weight is a share of tokens. Readers that draw documents, as `datasets.interleave_datasets` does, need the share of
the documents instead: with it, a source of long documents is drawn from less often.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from curate.manifests.export.format import Exported
from curate.manifests.export.sources import TRAIN

MIXTURE, MIXTURE_VERSION = "mixture.json", 1


@dataclass(frozen=True)
class Seen:
    """A source in the training split."""

    name: str
    role: str
    weight: float  # share of the tokens that a training sees
    document_weight: float  # share of the documents that a training sees
    epochs: float  # how often a training sees each document
    documents: int
    tokens: int


def seen(exported: Exported) -> list[Seen]:
    """The sources as they are in the training split, in order; an export has documents of each there.

    Epochs are those that the weights make of the tokens of this export: where a tokenizer has counted them, they differ
    a little from those by n_tokens, which the mixture was made with.
    """
    counts = {source.name: _counts(exported.of(TRAIN, source.name)) for source in exported.sources}
    whole = sum(source.epochs * counts[source.name]["tokens"] for source in exported.sources)
    epochs = {
        s.name: round(s.weight * whole / tokens, 9) if (tokens := counts[s.name]["tokens"]) else s.epochs
        for s in exported.sources
    }
    drawn = sum(epochs[name] * counts[name]["documents"] for name in epochs)
    return [
        Seen(s.name, s.role, s.weight, epochs[s.name] * counts[s.name]["documents"] / drawn, epochs[s.name],
             **counts[s.name])
        for s in exported.sources
    ]  # fmt: skip


def passes(epochs: float) -> tuple[int, float]:
    """Whole passes over a source, and the part of its documents that a last one sees."""
    whole = int(round(epochs, 6))
    return whole, max(0.0, round(epochs - whole, 6))


def tokens_seen(sources: Iterable[Seen]) -> int:
    """Tokens, as the export counts them, of a whole training."""
    return round(sum(source.epochs * source.tokens for source in sources))


def nearest_shards(part: float, most: int) -> tuple[int, int]:
    """Shards of how many equal ones are nearest to a part of the documents."""
    near = Fraction(part).limit_denominator(most)
    if part and not near:
        near = Fraction(1, round(1 / part))
    return near.numerator, near.denominator


def mixture(exported: Exported) -> dict[str, Any]:
    """mixture.json: what a trainer of any kind needs to mix the sources as it was asked for."""
    sources = seen(exported)
    return {
        "mixture_version": MIXTURE_VERSION,
        "tokens": tokens_seen(sources),
        "sources": [vars(source) | {"splits": _splits(exported, source.name)} for source in sources],
    }


def _splits(exported: Exported, name: str) -> dict[str, Any]:
    """Documents, tokens and files of a source by split."""
    found = {}
    for split in exported.splits():
        if pieces := exported.of(split, name):
            files = [file["path"] for piece in pieces for file in piece["files"]]
            found[split] = _counts(pieces) | {"files": files}
    return found


def _counts(pieces: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    pieces = list(pieces)
    return {unit: sum(piece[unit] for piece in pieces) for unit in ("documents", "tokens")}

"""What a training on an export reads from each source: its documents, how often, and the odds of drawing one.

A weight is a share of tokens. Readers that draw documents, as `datasets.interleave_datasets` does, need the share of
the documents instead: by it, a source of long documents is drawn from less often.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fractions import Fraction

from curate.manifests.export.format import Export
from curate.manifests.export.records import size_of
from curate.manifests.export.sources import TRAIN

MIXTURE, MIXTURE_VERSION = "mixture.json", 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceView:
    """A source in the training split."""

    name: str
    role: str
    weight: float  # share of the tokens that a training reads
    document_weight: float  # share of the documents that a training reads
    epochs: float  # passes over the documents in a training
    documents: int
    tokens: int


def source_views(exported: Export) -> list[SourceView]:
    """The sources as they are in the training split, in order; each has documents there.

    Epochs follow from the weights and the tokens of this export: where a tokenizer counted them, they differ a little
    from those by n_tokens, which the mixture was computed with.
    """
    sizes = {source.name: size_of(exported.of(TRAIN, source.name)) for source in exported.sources}
    total = sum(source.epochs * sizes[source.name].tokens for source in exported.sources)
    epochs = {source.name: source.epochs for source in exported.sources} | {
        source.name: round(source.weight * total / sizes[source.name].tokens, 9)
        for source in exported.sources
        if sizes[source.name].tokens
    }
    documents_read = sum(epochs[name] * size.documents for name, size in sizes.items())
    return [
        SourceView(
            name=source.name,
            role=source.role,
            weight=source.weight,
            document_weight=epochs[source.name] * sizes[source.name].documents / documents_read,
            epochs=epochs[source.name],
            documents=sizes[source.name].documents,
            tokens=sizes[source.name].tokens,
        )
        for source in exported.sources
    ]


def passes(epochs: float) -> tuple[int, float]:
    """Complete passes over a source, and the share of its documents in a last, partial one."""
    complete = int(round(epochs, 6))
    return complete, max(0.0, round(epochs - complete, 6))


def tokens_seen(sources: Iterable[SourceView]) -> int:
    """Tokens of a complete training, as the export counts them."""
    return round(sum(source.epochs * source.tokens for source in sources))


def nearest_shards(part: float, most: int) -> tuple[int, int]:
    """The nearest fraction to a part of the documents, in equal shards: how many, and of how many (at most `most`)."""
    near = Fraction(part).limit_denominator(most)
    if part and not near:
        near = Fraction(1, round(1 / part))
    return near.numerator, near.denominator


def mixture(exported: Export) -> dict[str, object]:
    """mixture.json: what any trainer needs to mix the sources by their weights."""
    sources = source_views(exported)
    return {
        "mixture_version": MIXTURE_VERSION,
        "tokens": tokens_seen(sources),
        "sources": [asdict(source) | {"splits": _splits(exported, source.name)} for source in sources],
    }


def _splits(exported: Export, name: str) -> dict[str, dict[str, object]]:
    """Documents, tokens and files of a source by split."""
    splits = {}
    for split in exported.splits():
        if pieces := exported.of(split, name):
            files = [file.path for piece in pieces for file in piece.files]
            splits[split] = {**asdict(size_of(pieces)), "files": files}
    return splits

"""The card of a mixture: what it has of each run, what a training reads of it, and its licences."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from curate.display import counted, share
from curate.epochs import effective
from curate.manifests.cards.card import MOST_ROWS, amount_cells, as_yaml, front_matter, in_line, table, value_of
from curate.manifests.cards.features import features_of
from curate.manifests.export.format import Export
from curate.manifests.export.records import size_of
from curate.manifests.export.training_view import source_views, tokens_seen
from curate.manifests.manifest import schema_field
from curate.manifests.schema.model import Manifest
from curate.manifests.schema.reading import read_manifest


def mixture_card(exported: Export, configs: Sequence[Mapping[str, object]], code: str) -> str:
    """Markdown with the front matter that the Hub reads; `code` makes one dataset of the sources."""
    manifests = {source.name: read_manifest(Path(source.run)) for source in exported.sources}
    documents = sum(piece.documents for piece in exported.pieces)
    front = front_matter(", ".join(manifests), list(manifests.values()), documents) | {"configs": list(configs)}
    path = exported.folder / exported.pieces[0].files[0].path
    columns = [schema_field(field) for field in pq.read_schema(path)]
    if features_of(columns) is not None:  # a copy for each: YAML writes shared objects as references
        front["dataset_info"] = [
            {"config_name": config["config_name"], "features": features_of(columns)} for config in configs
        ]
    cells = [[column.name, column.type] for column in columns]
    parts = (
        _summary(exported, manifests),
        _training(exported, code),
        _licenses(exported, manifests),
        "\n".join(["## Columns", "", *table(["column", "type"], cells)]),
        _runs(exported, manifests),
    )
    return f"---\n{as_yaml(front)}---\n\n" + "\n\n".join(parts) + "\n"


def _summary(exported: Export, manifests: Mapping[str, Manifest]) -> str:
    """Files, documents and tokens by source and split."""
    rows = []
    documents = tokens = 0
    for name in manifests:
        for split in exported.splits():
            if pieces := exported.of(split, name):
                files = [file for piece in pieces for file in piece.files]
                size = size_of(pieces)
                rows.append([name, split, len(files), size.documents, size.tokens, sum(file.bytes for file in files)])
                documents, tokens = documents + size.documents, tokens + size.tokens
    counters = dict.fromkeys(manifest.tokenizer for manifest in manifests.values())
    lines = [
        f"# {in_line(', '.join(manifests))}",
        "",
        f"{counted(documents, 'document')} with {tokens:,} tokens of {counted(len(manifests), 'run')}. Tokens are "
        f"counted by: {in_line(', '.join(counters))}.",
        "",
        *table(["source", "split", "files", "documents", "tokens", "bytes"], rows),
    ]
    return "\n".join(lines)


def _training(exported: Export, code: str) -> str:
    """What a training reads of each source."""
    sources = source_views(exported)
    rows = [
        [
            s.name,
            s.role,
            share(s.weight, 1),
            f"{s.epochs:.4g}",
            round(s.epochs * s.tokens),
            round(effective(s.epochs) * s.tokens),
        ]
        for s in sources
    ]
    lines = [
        "## What a training sees",
        "",
        f"{tokens_seen(sources):,} tokens (`mixture.json`):",
        "",
        *table(["source", "role", "of the tokens", "epochs", "tokens", "worth, in fresh tokens"], rows),
        "",
        "This makes one dataset of it, started in this folder:",
        "",
        f"```python\n{code}\n```",
    ]
    return "\n".join(lines)


def _licenses(exported: Export, manifests: Mapping[str, Manifest]) -> str:
    """The licences of all that each run kept, by its manifest."""
    rows = [
        [name, value_of(row.source), row.license, *amount_cells(row, manifest.totals.tokens_out)]
        for name, manifest in manifests.items()
        for row in manifest.licenses
    ]
    names = ["source", "its source", "licence", "documents", "tokens", "of its tokens"]
    lines = ["## Licences", "", "As the inputs or recipes of the runs say, nothing guessed:", ""]
    lines += table(names, rows[:MOST_ROWS])
    if len(rows) > MOST_ROWS:
        lines += ["", f"And {counted(len(rows) - MOST_ROWS, 'more row')}, which the manifests of the runs list."]
    for source in exported.sources:
        if source.share < 1:
            lines += ["", f"Of {source.name} a part is here, drawn by a hash; the table tells of the whole run."]
    return "\n".join(lines)


def _runs(exported: Export, manifests: Mapping[str, Manifest]) -> str:
    """The sources by the hashes of their manifests."""
    rows = [
        [source.name, manifests[source.name].name, manifests[source.name].recipe_digest, source.manifest_sha256]
        for source in exported.sources
    ]
    head = ["source", "run", "digest of its recipe", "SHA-256 of its manifest.json"]
    note = "How each run was made, what it dropped and why, is in its own `manifest.json`."
    return "\n".join(["## Where it comes from", "", note, "", *table(head, rows)])

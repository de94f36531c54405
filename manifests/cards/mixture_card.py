"""The card of a mixture: what it has of each run, how it is drawn from, and under which licences."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from curate.display import counted, share
from curate.manifests.cards.card import MOST_ROWS, amount, as_yaml, front_matter, in_line, table, value_of
from curate.manifests.cards.features import features_of
from curate.manifests.export.format import Exported
from curate.manifests.export.training_view import seen, tokens_seen
from curate.manifests.manifest import described_column
from curate.manifests.schema.reading import read_manifest


def mixture_card(exported: Exported, configs: Sequence[Mapping[str, Any]], code: str) -> str:
    """Markdown with the front matter that the Hub reads; `code` makes one dataset of the sources."""
    manifests = {source.name: read_manifest(Path(source.run)) for source in exported.sources}
    documents = sum(piece["documents"] for piece in exported.pieces)
    front = front_matter(", ".join(manifests), list(manifests.values()), documents) | {"configs": list(configs)}
    path = exported.folder / exported.pieces[0]["files"][0]["path"]
    columns = [described_column(field) for field in pq.read_schema(path)]
    if features_of(columns) is not None:  # made anew for each: YAML writes what is one in memory as references
        front["dataset_info"] = [
            {"config_name": one["config_name"], "features": features_of(columns)} for one in configs
        ]
    shown = [[column["name"], column["type"]] for column in columns]
    parts = (
        _summary(exported, manifests), _drawn(exported, code), _licenses(exported, manifests),
        "\n".join(["## Columns", "", *table(["column", "type"], shown)]), _runs(exported, manifests),
    )  # fmt: skip
    return f"---\n{as_yaml(front)}---\n\n" + "\n\n".join(parts) + "\n"


def _summary(exported: Exported, manifests: Mapping[str, Mapping[str, Any]]) -> str:
    """What is there, by source and split."""
    rows = []
    for name in manifests:
        for split in exported.splits():
            if pieces := exported.of(split, name):
                files = [file for piece in pieces for file in piece["files"]]
                counts = [sum(piece[unit] for piece in pieces) for unit in ("documents", "tokens")]
                rows.append([name, split, len(files), *counts, sum(file["bytes"] for file in files)])
    counters = dict.fromkeys(manifest["tokenizer"] for manifest in manifests.values())
    return "\n".join([
        f"# {in_line(', '.join(manifests))}",
        "",
        f"{counted(sum(row[3] for row in rows), 'document')} with {sum(row[4] for row in rows):,} tokens of "
        f"{counted(len(manifests), 'run')}. Tokens are counted by: {in_line(', '.join(counters))}.",
        "",
        *table(["source", "split", "files", "documents", "tokens", "bytes"], rows),
    ])  # fmt: skip


def _drawn(exported: Exported, code: str) -> str:
    """What a training sees of each source."""
    sources = seen(exported)
    rows = [[s.name, s.role, share(s.weight, 1), f"{s.epochs:.4g}", round(s.epochs * s.tokens)] for s in sources]
    return "\n".join([
        "## What a training sees",
        "",
        f"{tokens_seen(sources):,} tokens (`mixture.json`):",
        "",
        *table(["source", "role", "of the tokens", "epochs", "tokens"], rows),
        "",
        "This makes one dataset of it, started in this folder:",
        "",
        f"```python\n{code}\n```",
    ])  # fmt: skip


def _licenses(exported: Exported, manifests: Mapping[str, Mapping[str, Any]]) -> str:
    """Licences as the manifests tell of them: of all that a run kept."""
    rows = [
        [name, value_of(row["source"]), row["license"], *amount(row, manifest["totals"]["tokens_out"])]
        for name, manifest in manifests.items()
        for row in manifest["licenses"]
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


def _runs(exported: Exported, manifests: Mapping[str, Mapping[str, Any]]) -> str:
    """What the sources are, by the hashes of their manifests."""
    rows = [
        [source.name, manifests[source.name]["name"], manifests[source.name]["recipe_digest"], source.manifest_sha256]
        for source in exported.sources
    ]
    head = ["source", "run", "digest of its recipe", "SHA-256 of its manifest.json"]
    told = "How each run was made, what it dropped and why, is in its own `manifest.json`."
    return "\n".join(["## Where it comes from", "", told, "", *table(head, rows)])

"""JSON lines: one document each, with all columns of the run, and a card with the types of the columns.

Without it `datasets` infers types from the first lines of each file, and fails where a column is null there.
"""

import base64
import json
import math
from pathlib import Path
from typing import Any

from curate.manifests.cards.card import as_yaml, front_matter, in_line
from curate.manifests.cards.features import features_of, in_json
from curate.manifests.export.format import Export, Format, Piece, WrittenPiece, literal
from curate.manifests.export.records import size_of
from curate.manifests.manifest import schema_field
from curate.manifests.schema.reading import read_manifest
from curate.storage.files import committed

README = "README.md"


def write(piece: Piece) -> WrittenPiece:
    """One file of JSON lines."""
    path, count = piece.path(".jsonl"), 0
    with committed(path) as aside, aside.open("w", encoding="utf-8", newline="\n") as file:
        for table in piece.whole():
            for row in table.to_pylist():
                file.write(json.dumps(as_json(row), ensure_ascii=False) + "\n")
            count += len(table)
    return WrittenPiece((path,), count)


def as_json(value: Any) -> Any:  # noqa: ANN401 - any value of a column
    """A value as JSON: NaN and infinity are null, bytes base64, times ISO 8601, maps lists."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: as_json(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [as_json(inner) for inner in value]
    if isinstance(value, tuple):  # an entry of a map
        return {"key": as_json(value[0]), "value": as_json(value[1])}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def finish(exported: Export) -> list[Path]:
    """The card: which files a split has, and the types of the columns."""
    path = exported.folder / README
    with committed(path) as aside:
        aside.write_text(_card(exported), "utf-8")
    return [path]


def _card(exported: Export) -> str:
    manifests = [read_manifest(Path(source.run)) for source in exported.sources]
    name = ", ".join(source.name for source in exported.sources)
    front = front_matter(name, manifests, size_of(exported.pieces).documents)
    data_files = [{"split": split, "path": f"data/**/{split}-*.jsonl"} for split in exported.splits()]
    front["configs"] = [{"config_name": "default", "data_files": data_files}]
    columns = [schema_field(field.with_type(in_json(field.type))) for field in exported.schema()]
    front["dataset_info"] = {"features": features_of(columns)}
    about = "A document a line. The types of its columns stand above, where `datasets.load_dataset` reads them."
    return f"---\n{as_yaml(front)}---\n\n# {in_line(name)}\n\n{about}\n"


def load(folder: Path) -> str:
    """How it is read."""
    return f'datasets.load_dataset({literal(folder)}, split="train")'


FORMAT = Format("jsonl", "anything that reads lines of JSON", write, finish, load, keeps_columns=True, chats=True)

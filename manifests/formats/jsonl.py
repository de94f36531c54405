"""Lines of JSON: a document each, with all columns of the run, and a card that tells `datasets` their types.

Without the types, `datasets` infers them from the first lines of each file, and fails where a column is null in these.
"""

import base64
import json
import math
from pathlib import Path
from typing import Any

from curate.manifests.cards.card import as_yaml, front_matter, in_line
from curate.manifests.cards.features import features_of, in_json
from curate.manifests.export.format import Exported, Format, Piece, Written, literal
from curate.manifests.manifest import described_column
from curate.manifests.schema.reading import read_manifest
from curate.storage.files import committed

README = "README.md"


def write(piece: Piece) -> Written:
    """One file of lines."""
    path, count = piece.path(".jsonl"), 0
    with committed(path) as aside, aside.open("w", encoding="utf-8", newline="\n") as file:
        for table in piece.whole():
            for row in table.to_pylist():
                file.write(json.dumps(as_json(row), ensure_ascii=False) + "\n")
            count += len(table)
    return Written((path,), count)


def as_json(value: Any) -> Any:  # noqa: ANN401 - whatever a column holds
    """A value as JSON can hold it: no number is null, bytes are base64, times are ISO 8601, maps are lists."""
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


def finish(exported: Exported) -> list[Path]:
    """The card: which files a split has, and the types of the columns."""
    path = exported.folder / README
    with committed(path) as aside:
        aside.write_text(_card(exported), "utf-8")
    return [path]


def _card(exported: Exported) -> str:
    manifests = [read_manifest(Path(source.run)) for source in exported.sources]
    front = front_matter(
        ", ".join(source.name for source in exported.sources), manifests,
        sum(piece["documents"] for piece in exported.pieces),
    )  # fmt: skip
    data_files = [{"split": split, "path": f"data/**/{split}-*.jsonl"} for split in exported.splits()]
    front["configs"] = [{"config_name": "default", "data_files": data_files}]
    columns = [described_column(field.with_type(in_json(field.type))) for field in exported.schema()]
    front["dataset_info"] = {"features": features_of(columns)}
    about = "A document a line. The types of its columns stand above, where `datasets.load_dataset` reads them."
    return f"---\n{as_yaml(front)}---\n\n# {in_line(front['pretty_name'])}\n\n{about}\n"


def load(folder: Path) -> str:
    """How it is read."""
    return f'datasets.load_dataset({literal(folder)}, split="train")'


FORMAT = Format("jsonl", "anything that reads lines of JSON", write, finish, load, chats=True)

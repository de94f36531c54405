"""Lines of JSON: a document each, with all columns of the run."""

import base64
import json
import math
from pathlib import Path
from typing import Any

from curate.files import committed
from curate.manifests.formats import Format, Piece, Written


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
    """A value as JSON can hold it: no number is null, bytes are base64, times are ISO 8601."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: as_json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def load(folder: Path) -> str:
    """How it is read."""
    return f'datasets.load_dataset("json", data_files="{folder}/data/**/train-*.jsonl")'


FORMAT = Format("jsonl", "anything that reads lines of JSON", write, load=load, chats=True)

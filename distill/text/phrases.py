"""Read word lists and grammars from YAML files: lines by name."""

from functools import cache
from pathlib import Path

import yaml


@cache
def phrases(name: str) -> dict[str, str]:
    """The lines of phrases/`name`.yaml, by name."""
    read: dict[str, str] = yaml.safe_load((Path(__file__).parent / "phrases" / f"{name}.yaml").read_text("utf-8"))
    return read

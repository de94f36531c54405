"""Reading the manifest of a finished run."""

import json
from pathlib import Path
from typing import Any

from curate.errors import RunError

MANIFEST_VERSION = 1
# What is read of a manifest: fields with their kinds, lists with that of each item, `...` for whatever names there are.
SHAPE = {
    "recipe": {"input": {"text": str, "messages": str | None}},
    "inputs": [{"documents": int}],
    "signal_groups": {"documents": str},
    "stages": [{"stage": str, "documents_in": int, "documents_out": int, "dropped": {...: {"documents": int}}}],
    "totals": dict.fromkeys(("documents_in", "documents_out", "tokens_out"), int),
    "shards": [{"path": str, "sha256": str, "documents": int, "tokens": int}],
}


def read_manifest(run: Path) -> dict[str, Any]:
    """The manifest of a finished run.

    Errors: RunError where there is none, or a damaged one.
    """
    try:
        manifest: dict[str, Any] = json.loads((run / "manifest.json").read_text("utf-8"))
        if not _fits(manifest, {"manifest_version": int}) or manifest["manifest_version"] != MANIFEST_VERSION:
            raise ValueError(f"not a manifest of version {MANIFEST_VERSION}")
        if wrong := [name for name, shape in SHAPE.items() if not _fits(manifest, {name: shape})]:
            raise ValueError(f"damaged: its field {wrong[0]!r} is not as it was written")
    except (FileNotFoundError, NotADirectoryError):
        what = "the run did not finish; run it again" if (run / "ledger").is_dir() else "not a run directory"
        raise RunError(f"{run}: no manifest.json: {what}") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{run}/manifest.json: {error}; run again to rebuild it") from None
    return manifest


def _fits(value: Any, shape: Any) -> bool:  # noqa: ANN401 - any JSON
    """Whether a value of JSON has a shape as in SHAPE."""
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(item, shape[0]) for item in value)
    if not isinstance(shape, dict):
        return isinstance(value, shape)
    if not isinstance(value, dict):
        return False
    return all(
        all(_fits(item, inner) for item in value.values())
        if name is ...
        else name in value and _fits(value[name], inner)
        for name, inner in shape.items()
    )

"""Reading the manifest of a finished run."""

import json
from pathlib import Path
from typing import Any

from curate.errors import RunError

MANIFEST_VERSION = 1


def read_manifest(run: Path) -> dict[str, Any]:
    """The manifest of a finished run.

    Errors: RunError where there is none.
    """
    try:
        manifest: dict[str, Any] = json.loads((run / "manifest.json").read_text("utf-8"))
        if manifest.get("manifest_version") != MANIFEST_VERSION:
            raise ValueError(f"not a manifest of version {MANIFEST_VERSION}")
    except FileNotFoundError:
        what = "the run did not finish; run it again" if (run / "ledger").is_dir() else "not a run directory"
        raise RunError(f"{run}: no manifest.json: {what}") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{run}/manifest.json: {error}; run again to rebuild it") from None
    return manifest

"""Reading the manifest of a finished run."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from curate.errors import RunError
from curate.ledger.runs import no_run
from curate.manifests.schema.model import MANIFEST_VERSION, Manifest
from curate.storage.files import leads_out


def read_manifest(run: Path) -> dict[str, Any]:
    """The manifest of a finished run, as it stands in its file.

    Errors: RunError where there is none, or a damaged one.
    """
    try:
        manifest: dict[str, Any] = json.loads((run / "manifest.json").read_text("utf-8"))
        if not isinstance(manifest, dict) or manifest.get("manifest_version") != MANIFEST_VERSION:
            raise ValueError(f"not a manifest of version {MANIFEST_VERSION}")
        Manifest.model_validate(manifest)
        if outside := [shard["path"] for shard in manifest["shards"] if leads_out(shard["path"])]:
            raise ValueError(f"names {outside[0]}, which is outside of the run directory")
    except ValidationError as error:
        name = error.errors(include_url=False, include_input=False)[0]["loc"][0]
        told = f"damaged: its field {str(name)!r} is not as it was written"
        raise RunError(f"{run}/manifest.json: {told}; run again to rebuild it") from None
    except (FileNotFoundError, NotADirectoryError):
        raise no_run(run, "manifest.json") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{run}/manifest.json: {error}; run again to rebuild it") from None
    return manifest


def read_run_facts(run: Path) -> dict[str, Any]:
    """run.json of a finished run: when and where it ran.

    Errors: RunError where it is missing or damaged.
    """
    try:
        facts: dict[str, Any] = json.loads((run / "run.json").read_text("utf-8"))
        for name in ("started", "at"):
            datetime.fromisoformat(facts[name])
        if not isinstance(facts["corpus_root"], str):
            raise TypeError("corpus_root is no path")
    except (OSError, ValueError, TypeError, KeyError):
        raise RunError(f"{run}/run.json: missing or damaged; run again to rebuild it") from None
    return facts

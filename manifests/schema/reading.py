"""Reading the manifest and run.json of a finished run."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from curate.errors import RunError
from curate.ledger.runs import not_a_run
from curate.manifests.schema.model import MANIFEST_VERSION, Manifest
from curate.storage.files import leads_out


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """When and where a run ran; times are ISO 8601."""

    started: str
    finished: str
    corpus_root: str


def read_manifest(run: Path) -> Manifest:
    """The manifest of a finished run.

    Errors: RunError where it is missing or damaged.
    """
    try:
        fields = json.loads((run / "manifest.json").read_text("utf-8"))
        if not isinstance(fields, dict) or fields.get("manifest_version") != MANIFEST_VERSION:
            raise ValueError(f"not a manifest of version {MANIFEST_VERSION}")
        manifest = Manifest.model_validate(fields)
        if outside := [shard.path for shard in manifest.shards if leads_out(shard.path)]:
            raise ValueError(f"names {outside[0]}, which is outside of the run directory")
    except ValidationError as error:
        name = error.errors(include_url=False, include_input=False)[0]["loc"][0]
        problem = f"damaged: its field {str(name)!r} is not as it was written"
        raise RunError(f"{run}/manifest.json: {problem}; run again to rebuild it") from None
    except (FileNotFoundError, NotADirectoryError):
        raise not_a_run(run, "manifest.json") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{run}/manifest.json: {error}; run again to rebuild it") from None
    return manifest


def read_run_facts(run: Path) -> RunFacts:
    """run.json of a finished run.

    Errors: RunError where it is missing or damaged.
    """
    try:
        fields = json.loads((run / "run.json").read_text("utf-8"))
        for name in ("started", "at"):
            datetime.fromisoformat(fields[name])
        if not isinstance(fields["corpus_root"], str):
            raise TypeError("corpus_root is no path")
        return RunFacts(
            started=fields["started"],
            finished=fields.get("finished", fields["at"]),
            corpus_root=fields["corpus_root"],
        )
    except (OSError, ValueError, TypeError, KeyError):
        raise RunError(f"{run}/run.json: missing or damaged; run again to rebuild it") from None

"""OpenLineage of a run: one START and one COMPLETE event (spec 2-0-2), for catalogues that show what came of what."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

from curate.manifests.cards.files import files_of
from curate.redaction import without_credentials
from curate.storage.places import is_remote

SPEC = "https://openlineage.io/spec"
EVENT = f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
NAMESPACE = "curate"
DECISIONS = "urn:curate:openlineage:decisions:1"  # what our own facet is told by
MOST_INPUTS = 1000  # that are told one by one


def events(manifest: Mapping[str, Any], run_facts: Mapping[str, Any], folder: str) -> list[dict[str, Any]]:
    """The events of a finished run, in time: the same run has the same runId, by its manifest's seal.

    `run_facts` is run.json, which knows when and where; `folder` is the run directory.
    """
    producer = f"urn:{manifest['tool']['name']}:{manifest['tool']['version']}"
    job = {"namespace": NAMESPACE, "name": manifest["name"], "facets": {}}
    run_id = str(uuid5(NAMESPACE_URL, f"urn:sha256:{manifest['seal']}"))
    inputs = _inputs(manifest, run_facts["corpus_root"], producer)
    ends = run_facts.get("finished", run_facts["at"])

    def event(kind: str, at: str, facets: Mapping[str, Any], outputs: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "eventType": kind,
            "eventTime": datetime.fromisoformat(at).isoformat(),
            "producer": producer,
            "schemaURL": EVENT,
            "run": {"runId": run_id, "facets": dict(facets)},
            "job": job,
            "inputs": inputs,
            "outputs": outputs,
        }

    return [
        event("START", run_facts["started"], {}, []),
        event("COMPLETE", ends, {"curate_decisions": _decisions(manifest, producer)},
              [_output(manifest, folder, producer)]),
    ]  # fmt: skip


def _decisions(manifest: Mapping[str, Any], producer: str) -> dict[str, Any]:
    """Our own facet: what each stage took, dropped for what, and left."""
    return {
        "_producer": producer,
        "_schemaURL": DECISIONS,
        "recipeDigest": manifest["recipe_digest"],
        "manifestSeal": manifest["seal"],
        "tokenizer": manifest["tokenizer"],
        "stages": [
            {
                "stage": stage["stage"],
                "documentsIn": stage["documents_in"],
                "documentsOut": stage["documents_out"],
                "tokensIn": stage["tokens_in"],
                "tokensOut": stage["tokens_out"],
                "dropped": [{"reason": reason, **gone} for reason, gone in stage["dropped"].items()],
                **({"written": stage["written"]} if "written" in stage else {}),
            }
            for stage in manifest["stages"]
        ],
        "synthetic": {name: manifest["synthetic"][name] for name in ("documents", "tokens", "share")},
    }


def _inputs(manifest: Mapping[str, Any], root: str, producer: str) -> list[dict[str, Any]]:
    """The files of the input, or where there are very many the folders that hold them."""
    files = [file for file in manifest["inputs"] if "error" not in file]
    places: dict[str, list[Mapping[str, Any]]] = {}
    for file in files:
        place = file["path"] if is_remote(file["path"]) else f"{root.rstrip('/')}/{file['path']}"
        places.setdefault(place.rpartition("/")[0] if len(files) > MOST_INPUTS else place, []).append(file)
    return [_input(place, own, producer) for place, own in places.items()]


def _input(place: str, files: Sequence[Mapping[str, Any]], producer: str) -> dict[str, Any]:
    statistics = {
        "_producer": producer,
        "_schemaURL": f"{SPEC}/facets/1-0-0/InputStatisticsInputDatasetFacet.json"
        "#/$defs/InputStatisticsInputDatasetFacet",
        "rowCount": sum(file["documents"] for file in files),
        "size": sum(file["bytes"] for file in files),
        "fileCount": len(files),
    }
    return {**_dataset(place), "facets": {}, "inputFacets": {"inputStatistics": statistics}}


def _output(manifest: Mapping[str, Any], folder: str, producer: str) -> dict[str, Any]:
    files = files_of(manifest)
    columns = [
        {"name": column["name"], "type": column["type"], "ordinal_position": k}
        for k, column in enumerate(manifest["schema"], 1)
    ]
    schema = {
        "_producer": producer,
        "_schemaURL": f"{SPEC}/facets/1-2-0/SchemaDatasetFacet.json#/$defs/SchemaDatasetFacet",
        "fields": columns,
    }
    statistics = {
        "_producer": producer,
        "_schemaURL": f"{SPEC}/facets/1-0-2/OutputStatisticsOutputDatasetFacet.json"
        "#/$defs/OutputStatisticsOutputDatasetFacet",
        "rowCount": sum(file.documents for file in files),
        "size": sum(file.bytes for file in files),
        "fileCount": len(files),
    }
    return {
        **_dataset(f"{folder.rstrip('/')}/data"),
        "facets": {"schema": schema},
        "outputFacets": {"outputStatistics": statistics},
    }


def _dataset(place: str) -> dict[str, str]:
    """Namespace and name of a place, as OpenLineage wants them: of a bucket `s3://bucket`, of files `file`."""
    place = without_credentials(place)
    if not is_remote(place):
        return {"namespace": "file", "name": place}
    parts = urlsplit(place)
    return {"namespace": f"{parts.scheme}://{parts.netloc}", "name": parts.path.lstrip("/") or "/"}

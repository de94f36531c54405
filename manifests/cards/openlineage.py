"""OpenLineage of a run: one START and one COMPLETE event (spec 2-0-2), for catalogues that show data lineage."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

from curate.manifests.cards.files import files_of
from curate.manifests.schema.model import InputEntry, Manifest, StageEntry
from curate.manifests.schema.reading import RunFacts
from curate.redaction import without_credentials
from curate.storage.places import is_remote

SPEC = "https://openlineage.io/spec"
EVENT = f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
INPUT_STATISTICS = f"{SPEC}/facets/1-0-0/InputStatisticsInputDatasetFacet.json#/$defs/InputStatisticsInputDatasetFacet"
OUTPUT_STATISTICS = (
    f"{SPEC}/facets/1-0-2/OutputStatisticsOutputDatasetFacet.json#/$defs/OutputStatisticsOutputDatasetFacet"
)
COLUMNS = f"{SPEC}/facets/1-2-0/SchemaDatasetFacet.json#/$defs/SchemaDatasetFacet"
NAMESPACE = "curate"
DECISIONS = "urn:curate:openlineage:decisions:1"  # the schema URL of our own facet
MOST_INPUTS = 1000  # inputs listed one by one

Facet = dict[str, object]  # JSON of the specification


def events(manifest: Manifest, run_facts: RunFacts, folder: str) -> list[Facet]:
    """The events of a finished run, in order of time; `folder` is the run directory.

    The runId follows from the manifest's seal, so the same run has the same one.
    """
    producer = f"urn:{manifest.tool.name}:{manifest.tool.version}"
    run_id = str(uuid5(NAMESPACE_URL, f"urn:sha256:{manifest.seal}"))
    inputs = _inputs(manifest, run_facts.corpus_root, producer)

    def event(kind: str, at: str, facets: Mapping[str, Facet], outputs: list[Facet]) -> Facet:
        return {
            "eventType": kind,
            "eventTime": datetime.fromisoformat(at).isoformat(),
            "producer": producer,
            "schemaURL": EVENT,
            "run": {"runId": run_id, "facets": dict(facets)},
            "job": {"namespace": NAMESPACE, "name": manifest.name, "facets": {}},
            "inputs": inputs,
            "outputs": outputs,
        }

    decisions = {"curate_decisions": _decisions(manifest, producer)}
    return [
        event("START", run_facts.started, {}, []),
        event("COMPLETE", run_facts.finished, decisions, [_output(manifest, folder, producer)]),
    ]


def _decisions(manifest: Manifest, producer: str) -> Facet:
    """Our own facet: what each stage received, dropped by reason, and passed on."""
    synthetic = manifest.synthetic
    return {
        "_producer": producer,
        "_schemaURL": DECISIONS,
        "recipeDigest": manifest.recipe_digest,
        "manifestSeal": manifest.seal,
        "tokenizer": manifest.tokenizer,
        "stages": [_stage(stage) for stage in manifest.stages],
        "synthetic": {"documents": synthetic.documents, "tokens": synthetic.tokens, "share": synthetic.share},
    }


def _stage(stage: StageEntry) -> Facet:
    return {
        "stage": stage.stage,
        "documentsIn": stage.documents_in,
        "documentsOut": stage.documents_out,
        "tokensIn": stage.tokens_in,
        "tokensOut": stage.tokens_out,
        "dropped": [{"reason": reason, **amount.model_dump()} for reason, amount in stage.dropped.items()],
        **({"written": stage.written.model_dump()} if stage.written else {}),
    }


def _inputs(manifest: Manifest, root: str, producer: str) -> list[Facet]:
    """The files of the input; for very many files, the folders they are in."""
    files = [file for file in manifest.inputs if file.error is None]
    by_location: dict[str, list[InputEntry]] = {}
    for file in files:
        location = file.path if is_remote(file.path) else f"{root.rstrip('/')}/{file.path}"
        by_location.setdefault(location.rpartition("/")[0] if len(files) > MOST_INPUTS else location, []).append(file)
    return [_input(location, members, producer) for location, members in by_location.items()]


def _input(location: str, files: Sequence[InputEntry], producer: str) -> Facet:
    statistics = {
        "_producer": producer,
        "_schemaURL": INPUT_STATISTICS,
        "rowCount": sum(file.documents for file in files),
        "size": sum(file.bytes for file in files),
        "fileCount": len(files),
    }
    return {**_dataset(location), "facets": {}, "inputFacets": {"inputStatistics": statistics}}


def _output(manifest: Manifest, folder: str, producer: str) -> Facet:
    files = files_of(manifest)
    columns = [
        {"name": column.name, "type": column.type, "ordinal_position": k}
        for k, column in enumerate(manifest.schema_, 1)
    ]
    schema = {"_producer": producer, "_schemaURL": COLUMNS, "fields": columns}
    statistics = {
        "_producer": producer,
        "_schemaURL": OUTPUT_STATISTICS,
        "rowCount": sum(file.documents for file in files),
        "size": sum(file.bytes for file in files),
        "fileCount": len(files),
    }
    return {
        **_dataset(f"{folder.rstrip('/')}/data"),
        "facets": {"schema": schema},
        "outputFacets": {"outputStatistics": statistics},
    }


def _dataset(location: str) -> dict[str, str]:
    """Namespace and name of a location as OpenLineage has them: `s3://bucket` for a bucket, `file` for local files."""
    location = without_credentials(location)
    if not is_remote(location):
        return {"namespace": "file", "name": location}
    parts = urlsplit(location)
    return {"namespace": f"{parts.scheme}://{parts.netloc}", "name": parts.path.lstrip("/") or "/"}

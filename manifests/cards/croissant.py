"""Croissant 1.1 of a run: its files, columns and provenance as JSON-LD (mlcommons.org/croissant/1.1, W3C PROV-O)."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from curate.manifests.cards.card import synthetic, writer_of
from curate.manifests.cards.files import DataFile, SplitFiles, files_of, licenses_of, splits_of
from curate.manifests.schema.model import InputEntry, Manifest, SchemaField, StageEntry

MOST_INPUTS = 1000  # inputs listed one by one
CROISSANT_TERMS = (
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject",
    "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5",
    "parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator",
    "source", "subField", "transform",
)  # fmt: skip
CONTEXT: Mapping[str, object] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "description": {"@container": "@language"},
    "name": {"@container": "@language"},
    **{term: f"cr:{term}" for term in CROISSANT_TERMS},
}
# Croissant's types by patterns of Arrow's; columns of other types are left out.
TYPES = {
    r"(large_)?string(_view)?$|null$": "sc:Text",
    r"u?int\d+$": "sc:Integer",
    r"halffloat$|float$|double$|decimal": "sc:Float",
    r"bool$": "sc:Boolean",
    r"date32|date64|timestamp": "sc:Date",
}

Node = dict[str, object]  # of JSON-LD


def croissant(manifest: Manifest, files: Sequence[DataFile] | None = None) -> Node:
    """The JSON-LD of a run's data, or of a folder with other `files` that were made from it.

    A record set for each split, with a field for each column that Croissant has a type for: text, numbers, dates, lists
    of these, structs of these, and lists of such structs.
    """
    splits = splits_of(files_of(manifest) if files is None else files)
    tool = manifest.tool
    return {
        "@context": dict(CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": manifest.name,
        "description": _description(manifest),
        "license": licenses_of(manifest),
        "distribution": [node for split in splits for node in _distribution(split)],
        "recordSet": [_record_set(split.split, manifest.schema_) for split in splits],
        "prov:wasDerivedFrom": _inputs(manifest),
        "prov:wasGeneratedBy": _activities(manifest),
        "prov:wasAttributedTo": {"@type": "prov:SoftwareAgent", "prov:label": f"{tool.name} {tool.version}"},
    }


def _description(manifest: Manifest) -> str:
    """The data in one sentence, and how much of it a model wrote in another."""
    totals, tool = manifest.totals, manifest.tool
    return (
        f"{totals.documents_out:,} documents with {totals.tokens_out:,} tokens "
        f"(tokenizer: {manifest.tokenizer}), kept of {totals.documents_in:,} documents with "
        f"{totals.tokens_in:,} tokens by {tool.name} {tool.version}.{synthetic(manifest)}"
    )


def _distribution(split: SplitFiles) -> list[Node]:
    objects: list[Node] = [
        {
            "@type": "cr:FileObject",
            "@id": quote(file.path),
            "name": file.path,
            "contentUrl": file.path,
            "contentSize": f"{file.bytes} B",
            "encodingFormat": "application/x-parquet",
            "sha256": file.sha256,
        }
        for file in split.files
    ]
    return [
        *objects,
        {
            "@type": "cr:FileSet",
            "@id": f"files-of-{split.split}",
            "name": f"files-of-{split.split}",
            "description": f"All files of the split {split.split}.",
            "encodingFormat": "application/x-parquet",
            "includes": split.globs,
        },
    ]


def _record_set(split: str, columns: Sequence[SchemaField]) -> Node:
    fields = [_field(split, column) for column in columns]
    return {
        "@type": "cr:RecordSet",
        "@id": split,
        "name": split,
        "description": "A record for each document.",
        "field": [field for field in fields if field is not None],
    }


def _field(split: str, column: SchemaField) -> Node | None:
    """A column as a field; None where Croissant has no type for it."""
    source: Node = {"fileSet": {"@id": f"files-of-{split}"}, "extract": {"column": column.name}}
    field: Node = {"@type": "cr:Field", "@id": f"{split}/{quote(column.name, safe='')}", "name": column.name}
    inner = column
    if column.fields and re.match(r"(large_|fixed_size_)?list", column.type):
        field |= {"isArray": True, "arrayShape": "-1"}
        inner = column.fields[0]
    if (kind := _type_of(inner.type)) is not None:
        return field | {"dataType": kind, "source": source}
    if not inner.type.startswith("struct"):
        return None
    parts = [
        {
            "@type": "cr:Field",
            "@id": f"{field['@id']}/{part.name}",
            "name": part.name,
            "dataType": _type_of(part.type),
            "source": source | {"transform": {"jsonPath": part.name}},
        }
        for part in inner.fields or ()
        if _type_of(part.type) and re.fullmatch(r"[A-Za-z_]\w*", part.name, re.ASCII)
    ]
    return field | {"subField": parts} if parts else None


def _type_of(kind: str) -> str | None:
    kind = re.sub(r"^dictionary<values=([^,]+),.*", r"\1", kind)
    return next((name for pattern, name in TYPES.items() if re.match(pattern, kind)), None)


def _inputs(manifest: Manifest) -> list[Node]:
    """The files that the data was made from."""
    inputs = [file for file in manifest.inputs if file.error is None]
    if len(inputs) > MOST_INPUTS:
        label = f"{len(inputs):,} files, which manifest.json lists"
        return [{"@type": "prov:Entity", "@id": "input", "prov:label": label}]
    return [_input(file) for file in inputs]


def _input(file: InputEntry) -> Node:
    return {
        "@type": "prov:Entity",
        "@id": f"input/{quote(file.path)}",
        "prov:label": file.path,
        **({"identifier": f"xxh3-128:{file.content_xxh3_128}"} if file.content_xxh3_128 else {}),
        **({} if file.license is None else {"license": file.license}),
    }


def _activities(manifest: Manifest) -> list[Node]:
    """Each stage with what it dropped, informed by the stage before."""
    activities: list[Node] = []
    informed_by: list[Node] = []
    for stage in manifest.stages:
        identity = f"stage/{stage.stage}"
        activities.append(
            {
                "@type": "prov:Activity",
                "@id": identity,
                "prov:label": stage.stage,
                "disambiguatingDescription": _stage_description(stage, manifest),
                **({"prov:wasInformedBy": informed_by} if informed_by else {}),
            }
        )
        informed_by = [{"@id": identity}]
    return activities


def _stage_description(stage: StageEntry, manifest: Manifest) -> str:
    dropped = ", ".join(f"{reason} {amount.documents:,}" for reason, amount in stage.dropped.items())
    written = stage.written.documents if stage.written else 0
    return (
        f"{stage.documents_in:,} documents in, {stage.documents_out:,} out"
        + (f"; dropped for {dropped}" if dropped else "")
        + (f"; {written:,} written by {writer_of(manifest)}" if written else "")
    )

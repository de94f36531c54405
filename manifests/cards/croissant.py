"""Croissant 1.1 of a run: its files, columns and provenance as JSON-LD (mlcommons.org/croissant/1.1, W3C PROV-O)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from curate.manifests.cards.card import synthetic, writer_of
from curate.manifests.cards.files import DataFile, files_of, licenses_of, splits_of

MOST_INPUTS = 1000  # that are told one by one
CONTEXT: Mapping[str, Any] = {
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
    **{
        name: f"cr:{name}"
        for name in (
            "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject",
            "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5",
            "parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate",
            "separator", "source", "subField", "transform",
        )
    },
}  # fmt: skip
# How the types of Arrow begin, and what they are in Croissant; columns of others are left out.
TYPES = {
    r"(large_)?string(_view)?$|null$": "sc:Text",
    r"u?int\d+$": "sc:Integer",
    r"halffloat$|float$|double$|decimal": "sc:Float",
    r"bool$": "sc:Boolean",
    r"date32|date64|timestamp": "sc:Date",
}


def croissant(manifest: Mapping[str, Any], files: Sequence[DataFile] | None = None) -> dict[str, Any]:
    """The JSON-LD of a run's data, or of a folder with other `files` that were made of it.

    A record set for each split, with a field for each column that Croissant has a type for: text, numbers, dates, lists
    of these, structs of these, and lists of such structs.
    """
    splits = splits_of(files_of(manifest) if files is None else files)
    tool = manifest["tool"]
    return {
        "@context": dict(CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": manifest["name"],
        "description": _described(manifest),
        "license": licenses_of(manifest),
        "distribution": [entry for split, (globs, own) in splits.items() for entry in _distribution(split, globs, own)],
        "recordSet": [_record_set(split, manifest["schema"]) for split in splits],
        "prov:wasDerivedFrom": _inputs(manifest),
        "prov:wasGeneratedBy": _activities(manifest),
        "prov:wasAttributedTo": {"@type": "prov:SoftwareAgent", "prov:label": f"{tool['name']} {tool['version']}"},
    }


def _described(manifest: Mapping[str, Any]) -> str:
    """The data in a sentence, and how much of it a model wrote in another."""
    totals, tool = manifest["totals"], manifest["tool"]
    return (
        f"{totals['documents_out']:,} documents with {totals['tokens_out']:,} tokens "
        f"(tokenizer: {manifest['tokenizer']}), kept of {totals['documents_in']:,} documents with "
        f"{totals['tokens_in']:,} tokens by {tool['name']} {tool['version']}.{synthetic(manifest)}"
    )


def _distribution(split: str, globs: Sequence[str], files: Sequence[DataFile]) -> list[dict[str, Any]]:
    objects = [
        {
            "@type": "cr:FileObject",
            "@id": quote(file.path),
            "name": file.path,
            "contentUrl": file.path,
            "contentSize": f"{file.bytes} B",
            "encodingFormat": "application/x-parquet",
            "sha256": file.sha256,
        }
        for file in files
    ]
    return [
        *objects,
        {
            "@type": "cr:FileSet",
            "@id": f"files-of-{split}",
            "name": f"files-of-{split}",
            "description": f"All files of the split {split}.",
            "encodingFormat": "application/x-parquet",
            "includes": list(globs),
        },
    ]


def _record_set(split: str, columns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    fields = [_field(split, column) for column in columns]
    return {
        "@type": "cr:RecordSet",
        "@id": split,
        "name": split,
        "description": "A record for each document.",
        "field": [field for field in fields if field is not None],
    }


def _field(split: str, column: Mapping[str, Any]) -> dict[str, Any] | None:
    """A column as a field; None where Croissant has no type for it."""
    source = {"fileSet": {"@id": f"files-of-{split}"}, "extract": {"column": column["name"]}}
    field = {"@type": "cr:Field", "@id": f"{split}/{quote(column['name'], safe='')}", "name": column["name"]}
    inner = column
    if re.match(r"(large_|fixed_size_)?list", column["type"]):
        field |= {"isArray": True, "arrayShape": "-1"}
        inner = column["fields"][0]
    if (kind := _type_of(inner["type"])) is not None:
        return field | {"dataType": kind, "source": source}
    if not inner["type"].startswith("struct"):
        return None
    parts = [
        {
            "@type": "cr:Field",
            "@id": f"{field['@id']}/{part['name']}",
            "name": part["name"],
            "dataType": _type_of(part["type"]),
            "source": source | {"transform": {"jsonPath": part["name"]}},
        }
        for part in inner["fields"]
        if _type_of(part["type"]) and re.fullmatch(r"[A-Za-z_]\w*", part["name"], re.ASCII)
    ]
    return field | {"subField": parts} if parts else None


def _type_of(kind: str) -> str | None:
    kind = re.sub(r"^dictionary<values=([^,]+),.*", r"\1", kind)
    return next((found for pattern, found in TYPES.items() if re.match(pattern, kind)), None)


def _inputs(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The files that the data was made of."""
    inputs = [file for file in manifest["inputs"] if "error" not in file]
    if len(inputs) > MOST_INPUTS:
        label = f"{len(inputs):,} files, which manifest.json lists"
        return [{"@type": "prov:Entity", "@id": "input", "prov:label": label}]
    return [
        {
            "@type": "prov:Entity",
            "@id": f"input/{quote(file['path'])}",
            "prov:label": file["path"],
            **({"identifier": f"xxh3-128:{file['content_xxh3_128']}"} if file["content_xxh3_128"] else {}),
            **({"license": file["license"]} if "license" in file else {}),
        }
        for file in inputs
    ]


def _activities(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A stage each, with what it dropped; the next one builds on it."""
    found: list[dict[str, Any]] = []
    for stage in manifest["stages"]:
        before = [{"@id": found[-1]["@id"]}] if found else []
        dropped = ", ".join(f"{reason} {gone['documents']:,}" for reason, gone in stage["dropped"].items())
        written = stage.get("written", {}).get("documents", 0)
        found.append({
            "@type": "prov:Activity",
            "@id": f"stage/{stage['stage']}",
            "prov:label": stage["stage"],
            "disambiguatingDescription": (
                f"{stage['documents_in']:,} documents in, {stage['documents_out']:,} out"
                + (f"; dropped for {dropped}" if dropped else "")
                + (f"; {written:,} written by {writer_of(manifest)}" if written else "")
            ),
            **({"prov:wasInformedBy": before} if before else {}),
        })  # fmt: skip
    return found

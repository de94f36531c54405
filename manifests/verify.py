"""Does a run directory still hold what its manifest and snapshot say?"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.corpus import Unit, read_rows
from curate.errors import InputError, RunError
from curate.files import sha256_of
from curate.ledger import KnownFile, read_ledger
from curate.manifests.manifest import MANIFEST_VERSION
from curate.measure import content_hash
from curate.storage import is_remote

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


def verify(run: Path, threads: int) -> list[str]:
    """One line for each thing that is not as it was written: shards, ledger parts, counts. Empty: all is well."""
    manifest = read_manifest(run)
    expected = [(shard["path"], shard["sha256"], shard["documents"]) for shard in manifest["shards"]]
    known = {path for path, _, _ in expected}
    ledger = read_ledger(run)
    expected += [(part.path, part.sha256, part.rows) for part in ledger.parts if part.path not in known]
    with ThreadPoolExecutor(threads) as pool:
        problems = [line for line in pool.map(lambda file: _check(run, *file), expected) if line]
    present = {path.relative_to(run).as_posix() for path in (run / "data").glob("*.parquet")}
    problems += [f"{path}: not in the manifest; remove it" for path in sorted(present - known)]
    return problems + list(_counts(manifest))


def verify_inputs(run: Path, threads: int) -> list[str]:
    """One line for each unit of the inputs whose text is not the one that was measured. Reads all the text."""
    manifest = read_manifest(run)
    source = manifest["recipe"]["input"]
    column = source["messages"] or source["text"]
    ledger = read_ledger(run)
    files = {file.file_no: file for file in ledger.files if file.error is None}
    measured = [
        (files[unit.file_no], unit, content)
        for part in ledger.of("documents", manifest["signal_groups"]["documents"])
        for unit, content in zip(part.units, part.contents, strict=True)
        if unit.file_no in files
    ]

    def problem(entry: tuple[KnownFile, Unit, str]) -> str | None:
        file, unit, content = entry
        own = next((old for old, new in file.renamed if new == column), column)
        location = file.location if is_remote(file.location) else str(run / file.location)
        try:
            found = content_hash(batch.column(0) for batch in read_rows(location, unit.start, unit.stop, [own]))
        except InputError as error:
            return str(error)
        return (
            None
            if found == content
            else f"{file.path} rows {unit.start} to {unit.stop}: the text is not the one that was measured"
        )

    rows = sum(unit.stop - unit.start for _, unit, _ in measured)
    if rows != manifest["totals"]["documents_in"]:
        return [f"manifest.json: is of other inputs than the ledger, which holds {rows} of its documents; run again"]
    with ThreadPoolExecutor(threads) as pool:
        return [line for line in pool.map(problem, measured) if line]


def _check(run: Path, path: str, sha256: str, rows: int) -> str | None:
    full = run / path
    if not full.is_file():
        return f"{path}: missing"
    try:
        found = sha256_of(full)
        if found != sha256:
            return f"{path}: its bytes changed (sha256 {found[:12]}…, written as {sha256[:12]}…)"
        if (count := pq.read_metadata(full).num_rows) != rows:
            return f"{path}: holds {count} rows, written as {rows}"
    except (OSError, pa.ArrowException) as error:
        return f"{path}: cannot be read: {error}"
    return None


def _counts(manifest: dict[str, Any]) -> Iterator[str]:
    totals, shards = manifest["totals"], manifest["shards"]
    for unit in ("documents", "tokens"):
        if (total := sum(shard[unit] for shard in shards)) != totals[f"{unit}_out"]:
            yield f"manifest.json: shards hold {total} {unit}, totals say {totals[f'{unit}_out']}"
    for stage in manifest["stages"]:
        gone = sum(reason["documents"] for reason in stage["dropped"].values())
        if stage["documents_in"] - gone != stage["documents_out"]:
            left = stage["documents_in"] - gone
            yield f"manifest.json: stage {stage['stage']}: {left} documents are left, it says {stage['documents_out']}"
    if (rows := sum(file["documents"] for file in manifest["inputs"] if "error" not in file)) != totals["documents_in"]:
        yield f"manifest.json: inputs hold {rows} documents, totals say {totals['documents_in']}"

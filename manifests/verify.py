"""Does a run directory still hold what its manifest and snapshot say?"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.corpus import Unit, read_rows
from curate.errors import InputError
from curate.files import sha256_of
from curate.ledger import KnownFile, read_ledger
from curate.manifests.reading import read_manifest
from curate.measure import content_hash
from curate.progress import Log, Meter
from curate.storage import is_remote


def verify(run: Path, threads: int, log: Log) -> list[str]:
    """One line for each thing that is not as it was written: shards, ledger parts, counts. Empty: all is well."""
    manifest = read_manifest(run)
    expected = [(shard["path"], shard["sha256"], shard["documents"]) for shard in manifest["shards"]]
    known = {path for path, _, _ in expected}
    ledger = read_ledger(run)
    expected += [(part.path, part.sha256, part.rows) for part in ledger.parts if part.path not in known]
    sizes = [_size(run / path) for path, _, _ in expected]
    problems = _all(lambda file: _check(run, *file), expected, sizes, threads, Meter(log, "verifying", sum(sizes)))
    present = {path.relative_to(run).as_posix() for path in (run / "data").glob("*.parquet")}
    problems += [f"{path}: not in the manifest; remove it" for path in sorted(present - known)]
    return problems + list(_counts(manifest))


def verify_inputs(run: Path, threads: int, log: Log) -> list[str]:
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
    sizes = [unit.stop - unit.start for _, unit, _ in measured]
    return _all(problem, measured, sizes, threads, Meter(log, "reading inputs", sum(sizes)))


def _all(
    check: Callable[[Any], str | None], things: Sequence[Any], sizes: Sequence[int], threads: int, meter: Meter
) -> list[str]:
    """What a check says of things, in their order; `sizes` are for the meter."""
    problems = []
    with ThreadPoolExecutor(threads) as pool:
        for problem, size in zip(pool.map(check, things), sizes, strict=True):
            problems += [problem] if problem else []
            meter.add(0, size)
            meter.show()
    meter.clear()
    return problems


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


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

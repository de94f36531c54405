"""Does a run directory still hold what its manifest and snapshot say, and an export what its list says?"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_128_hexdigest

from curate.corpus.parquet import read_documents
from curate.corpus.units import Unit
from curate.distill.evaluate.results import TABLES
from curate.errors import InputError, RunError
from curate.ledger.ledger import KnownFile, read_ledger
from curate.ledger.names import AUGMENTED, COMPARED, COMPARISON, EVALUATION_FOLDER, JUDGED, WRITTEN_FOLDER
from curate.ledger.superseded import NOTICE
from curate.manifests.schema.reading import read_manifest
from curate.maps.documents import source_of
from curate.maps.measure import content_hash
from curate.progress import Log, Meter
from curate.storage.files import is_sealed, leads_out, sha256_of

EXPORT, UNFINISHED, EXPORTS = "export.json", "pieces.ndjson", "export"
MANIFEST = "manifest.json"


def verify(run: Path, threads: int, log: Log) -> list[str]:
    """One line for each thing that is not as it was written. Empty: all is well.

    Of a run: shards, ledger parts, models, tables of evaluations and of written documents, counts, the files that list
    these, the exports in its directory, and the run that judged written documents. Of an export: the files of its list.

    Errors: RunError where `run` is neither, or its list is no list.
    """
    if (run / EXPORT).is_file():
        return _verify_export(run, threads, log)
    if (run / UNFINISHED).is_file():
        raise RunError(f"{run}: an export that is not finished; give the command that began it again, and it goes on")
    manifest = read_manifest(run)
    expected = [(shard["path"], shard["sha256"], shard["documents"]) for shard in manifest["shards"]]
    known = {path for path, _, _ in expected}
    ledger = read_ledger(run)
    expected += [(part.path, part.sha256, part.rows) for part in ledger.parts if part.path not in known]
    evaluations = (manifest["retention"] or {}).values()
    tables = {name: sha256 for found in evaluations if found for name, sha256 in found["tables"].items()}
    expected += [((EVALUATION_FOLDER / f"{name}.parquet").as_posix(), sha256, None) for name, sha256 in tables.items()]
    if made := manifest["synthetic"]["written"]:
        expected += [(f"{WRITTEN_FOLDER}/{name}", sha256, None) for name, sha256 in made["tables"].items()]
    problems = _seals(run, manifest["synthetic"]["written"] is not None)
    problems += _check_all(run, expected, threads, log)
    problems += _ngrams(run)
    present = {path.relative_to(run).as_posix() for path in (run / "data").glob("*.parquet")}
    problems += [f"{path}: not in the manifest; remove it" for path in sorted(present - known)]
    problems += _exports(run, threads, log)
    for judging in _judging(manifest):
        problems += _within(run, judging, lambda folder: verify(folder, threads, log))
    return problems + list(_counts(manifest))


def _judging(manifest: dict[str, Any]) -> list[str]:
    """The runs below this one that judged what was written for it."""
    made = manifest["synthetic"]["written"]
    if made is None or not made["candidates"]:
        return []
    return [
        f"{WRITTEN_FOLDER}/{JUDGED}",
        *([f"{WRITTEN_FOLDER}/{COMPARISON}/{JUDGED}"] if COMPARED in made["tables"] else []),
    ]


def _within(run: Path, name: str, check: Callable[[Path], list[str]]) -> list[str]:
    """What a check says of a run below another one, by its place in that."""
    try:
        return [f"{name}/{problem}" for problem in check(run / name)]
    except RunError as error:
        return [str(error)]


def _exports(run: Path, threads: int, log: Log) -> Iterator[str]:
    """The exports in a run directory, which its recipe names."""
    for folder in sorted((run / EXPORTS).glob("*")):
        name = folder.relative_to(run).as_posix()
        if (folder / EXPORT).is_file():
            try:
                yield from (f"{name}/{problem}" for problem in _verify_export(folder, threads, log))
            except RunError as error:
                yield str(error)
        elif (folder / UNFINISHED).is_file():
            yield f"{name}: an export that is not finished; run again, and it goes on"


def verify_inputs(run: Path, threads: int, log: Log) -> list[str]:
    """One line for each unit of the inputs whose text is not the one that was measured. Reads all the text.

    Errors: RunError where `run` is no finished run.
    """
    if (run / EXPORT).is_file():
        raise RunError(f"{run}: is an export, which knows no inputs; verify the run that it was made of")
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
        try:
            batches = read_documents(source_of(run, file), unit.start, unit.stop, [column])
            found = content_hash(batch.column(column) for batch in batches)
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
    problems = _all(problem, measured, sizes, threads, Meter(log, "reading inputs", sum(sizes)))
    for judging in _judging(manifest):
        problems += _within(run, judging, lambda folder: verify_inputs(folder, threads, log))
    return problems


def _verify_export(folder: Path, threads: int, log: Log) -> list[str]:
    """The files of an export against its list, and files that the list lacks."""
    try:
        listed = json.loads((folder / EXPORT).read_text("utf-8"))
        expected = [(str(file["path"]), str(file["sha256"]), None) for file in listed["files"]]
        sizes = [(str(file["path"]), int(file["bytes"])) for file in listed["files"]]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        raise RunError(f"{folder}/{EXPORT}: damaged: not a list of files; export again") from None
    problems = [] if is_sealed(folder / EXPORT) else [f"{EXPORT}: its bytes changed"]
    known = {path for path, _, _ in expected}
    if outside := sorted(path for path in known if leads_out(path)):
        return [f"{EXPORT}: lists {outside[0]}, which is outside of the export"]
    problems += _check_all(folder, expected, threads, log)
    problems += [
        f"{path}: has {_size(folder / path)} bytes, written as {size}"
        for path, size in sizes if (folder / path).is_file() and _size(folder / path) != size
    ]  # fmt: skip
    if (folder / MANIFEST).is_file() and not is_sealed(folder / MANIFEST):
        problems.append(f"{MANIFEST}: its bytes changed")
    files = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    present = {path.as_posix() for path in files if not any(name.startswith(".") for name in path.parts)}
    return problems + [f"{path}: not in {EXPORT}; remove it" for path in sorted(present - known - {EXPORT, NOTICE})]


def _seals(run: Path, made: bool) -> list[str]:
    """The files that list others, or say what came of them: each has a hash of itself."""
    evaluations = [path for part in TABLES if (path := run / EVALUATION_FOLDER / f"{part}.json").is_file()]
    facts = [*evaluations, *sorted((run / "models").glob("ngrams-*.json"))]
    if made:
        facts.append(run / WRITTEN_FOLDER / AUGMENTED)
    sealed = [run / MANIFEST, run / "ledger" / "snapshot.json", *facts]
    return [
        f"{path.relative_to(run).as_posix()}: {'its bytes changed' if path.is_file() else 'missing'}"
        for path in sealed if not (path.is_file() and is_sealed(path))
    ]  # fmt: skip


def _ngrams(run: Path) -> Iterator[str]:
    """The tables of evaluation sets, whose hashes stand beside them."""
    for path in sorted((run / "models").glob("ngrams-*.json")):
        try:
            facts = json.loads(path.read_text("utf-8"))
            table = path.with_name(facts["table"])
            name, content = f"models/{table.name}", facts["content"]
        except (ValueError, TypeError, KeyError):  # _seals tells of it
            continue
        try:
            if xxh3_128_hexdigest(np.load(table, mmap_mode="r").data) != content:
                yield f"{name}: its bytes changed"
        except (OSError, ValueError, EOFError, TokenError) as error:
            yield f"{name}: cannot be read: {error}" if table.is_file() else f"{name}: missing"


def _check_all(run: Path, expected: Sequence[tuple[str, str, int | None]], threads: int, log: Log) -> list[str]:
    """What is wrong with files of which path, SHA-256 and rows are known, as far as there are rows."""
    sizes = [_size(run / path) for path, _, _ in expected]
    return _all(lambda file: _check(run, *file), expected, sizes, threads, Meter(log, "verifying", sum(sizes)))


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


def _check(run: Path, path: str, sha256: str, rows: int | None) -> str | None:
    full = run / path
    if not full.is_file():
        return f"{path}: missing"
    try:
        found = sha256_of(full)
        if found != sha256:
            return f"{path}: its bytes changed (sha256 {found[:12]}…, written as {sha256[:12]}…)"
        if full.suffix == ".parquet" and rows is not None and (count := pq.read_metadata(full).num_rows) != rows:
            return f"{path}: holds {count} rows, written as {rows}"
    except (OSError, pa.ArrowException) as error:
        return f"{path}: cannot be read: {error}"
    return None


def _counts(manifest: dict[str, Any]) -> Iterator[str]:
    totals, shards = manifest["totals"], manifest["shards"]
    whole = {
        "shards": shards,
        "licences": manifest["licenses"],
        **{f"mixture by {name}": rows for name, rows in manifest["mixture"].items()},
    }
    for unit in ("documents", "tokens"):
        for name, rows in whole.items():
            if (total := sum(row[unit] for row in rows)) != totals[f"{unit}_out"]:
                yield f"manifest.json: {name} hold {total} {unit}, totals say {totals[f'{unit}_out']}"
        real = totals[f"{unit}_out"] - manifest["synthetic"][unit]
        if (total := sum(file[f"{unit}_out"] for file in manifest["inputs"])) != real:
            yield f"manifest.json: {total} {unit} of the inputs are kept, totals say {real}"
    for stage in manifest["stages"]:
        gone = sum(reason["documents"] for reason in stage["dropped"].values())
        made = (stage.get("written") or {"documents": 0})["documents"]
        if (left := stage["documents_in"] - gone + made) != stage["documents_out"]:
            yield f"manifest.json: stage {stage['stage']}: {left} documents are left, it says {stage['documents_out']}"
    if (rows := sum(file["documents"] for file in manifest["inputs"] if "error" not in file)) != totals["documents_in"]:
        yield f"manifest.json: inputs hold {rows} documents, totals say {totals['documents_in']}"

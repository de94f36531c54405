"""`curate verify`: compare the files of a run, or of an export, with the hashes and counts they were written with."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tokenize import TokenError
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_128_hexdigest

from curate.corpus.parquet import read_documents
from curate.corpus.units import Unit
from curate.distill.evaluate.results import TABLES
from curate.errors import InputError, RunError
from curate.ledger.ledger import KnownFile, read_ledger
from curate.ledger.names import AUGMENTED, COMPARISON, COMPARISON_FILE, EVALUATION_FOLDER, JUDGED, WRITTEN_FOLDER
from curate.ledger.superseded import NOTICE
from curate.manifests.schema.model import Amount, Manifest, Shard
from curate.manifests.schema.reading import read_manifest
from curate.maps.documents import source_of
from curate.maps.measure import content_hash
from curate.progress import Log, Meter
from curate.storage.files import is_sealed, leads_out, sha256_of

EXPORT, UNFINISHED, EXPORTS = "export.json", "pieces.ndjson", "export"
MANIFEST = "manifest.json"

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class ExpectedFile:
    """A file as it was written."""

    path: str  # within the run or export
    sha256: str
    rows: int | None = None  # of Parquet, where they are recorded
    bytes: int | None = None  # where they are recorded


@dataclass(frozen=True, slots=True)
class MeasuredUnit:
    """A unit of the input with the hash of its texts."""

    file: KnownFile
    unit: Unit
    content: str


def verify(run: Path, threads: int, log: Log) -> list[str]:
    """One line for each difference from what was written; none: all is well.

    Of a run: shards, ledger parts, models, tables of evaluations and of written documents, counts, the files that list
    these, the exports in its directory, and the run that judged written documents. Of an export: the files it lists.

    Errors: RunError where `run` is neither, or its list of files is damaged.
    """
    if (run / EXPORT).is_file():
        return _verify_export(run, threads, log)
    if (run / UNFINISHED).is_file():
        raise RunError(f"{run}: an export that is not finished; give the command that began it again, and it goes on")
    manifest = read_manifest(run)
    shards = [ExpectedFile(shard.path, shard.sha256, shard.documents) for shard in manifest.shards]
    listed = {shard.path for shard in shards}
    problems = _check_seals(run, manifest.synthetic.written is not None)
    problems += _check_files(run, [*shards, *_expected_beside(run, manifest, listed)], threads, log)
    problems += _check_ngrams(run)
    present = {path.relative_to(run).as_posix() for path in (run / "data").glob("*.parquet")}
    problems += [f"{path}: not in the manifest; remove it" for path in sorted(present - listed)]
    problems += _check_exports(run, threads, log)
    for judging in _judging_runs(manifest):
        problems += _check_nested(run, judging, lambda folder: verify(folder, threads, log))
    return problems + list(_check_counts(manifest))


def _expected_beside(run: Path, manifest: Manifest, shards: set[str]) -> Iterator[ExpectedFile]:
    """The files other than shards: parts of the ledger, tables of evaluations, tables of written documents."""
    for part in read_ledger(run).parts:
        if part.path not in shards:
            yield ExpectedFile(part.path, part.sha256, part.rows)
    retention = manifest.retention
    for evaluation in (retention.evaluation, retention.tracking) if retention else ():
        for name, sha256 in evaluation.tables.items() if evaluation else ():
            yield ExpectedFile((EVALUATION_FOLDER / f"{name}.parquet").as_posix(), sha256)
    if written := manifest.synthetic.written:
        for name, sha256 in written.tables.items():
            yield ExpectedFile(f"{WRITTEN_FOLDER}/{name}", sha256)


def _judging_runs(manifest: Manifest) -> list[str]:
    """The runs within this one that judged the documents written for it."""
    written = manifest.synthetic.written
    if written is None or not written.candidates:
        return []
    compared = [f"{WRITTEN_FOLDER}/{COMPARISON}/{JUDGED}"] if COMPARISON_FILE in written.tables else []
    return [f"{WRITTEN_FOLDER}/{JUDGED}", *compared]


def _check_nested(run: Path, name: str, check: Callable[[Path], list[str]]) -> list[str]:
    """The problems of a run within another one, by their paths in the outer run."""
    try:
        return [f"{name}/{problem}" for problem in check(run / name)]
    except RunError as error:
        return [str(error)]


def _check_exports(run: Path, threads: int, log: Log) -> Iterator[str]:
    """The problems of the exports in a run directory, which its recipe names."""
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
    """One line for each unit of the inputs whose text differs from the measured one. Reads all the text.

    Errors: RunError where `run` is no finished run.
    """
    if (run / EXPORT).is_file():
        raise RunError(f"{run}: is an export, which knows no inputs; verify the run that it was made of")
    manifest = read_manifest(run)
    measured = _measured_units(run, manifest)
    sizes = [item.unit.stop - item.unit.start for item in measured]
    rows = sum(sizes)
    if rows != manifest.totals.documents_in:
        return [f"manifest.json: is of other inputs than the ledger, which holds {rows} of its documents; run again"]
    source = manifest.recipe.input
    check = partial(_check_unit, run, source.messages or source.text)
    problems = _check_each(check, measured, sizes, threads, Meter(log, "reading inputs", rows))
    for judging in _judging_runs(manifest):
        problems += _check_nested(run, judging, lambda folder: verify_inputs(folder, threads, log))
    return problems


def _measured_units(run: Path, manifest: Manifest) -> list[MeasuredUnit]:
    ledger = read_ledger(run)
    files = {file.file_no: file for file in ledger.files if file.error is None}
    return [
        MeasuredUnit(files[unit.file_no], unit, content)
        for part in ledger.of("documents", manifest.signal_groups["documents"])
        for unit, content in zip(part.units, part.contents, strict=True)
        if unit.file_no in files
    ]


def _check_unit(run: Path, column: str, measured: MeasuredUnit) -> str | None:
    """The problem of a unit whose text cannot be read or differs from the measured one."""
    file, unit = measured.file, measured.unit
    try:
        batches = read_documents(source_of(run, file), unit.start, unit.stop, [column])
        content = content_hash(batch.column(column) for batch in batches)
    except InputError as error:
        return str(error)
    if content == measured.content:
        return None
    return f"{file.path} rows {unit.start} to {unit.stop}: the text is not the one that was measured"


def _verify_export(folder: Path, threads: int, log: Log) -> list[str]:
    """The problems of the files that an export lists, and the files that it does not list."""
    try:
        listed = json.loads((folder / EXPORT).read_text("utf-8"))
        expected = [
            ExpectedFile(str(file["path"]), str(file["sha256"]), bytes=int(file["bytes"])) for file in listed["files"]
        ]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        raise RunError(f"{folder}/{EXPORT}: damaged: not a list of files; export again") from None
    problems = [] if is_sealed(folder / EXPORT) else [f"{EXPORT}: its bytes changed"]
    paths = {file.path for file in expected}
    if outside := sorted(path for path in paths if leads_out(path)):
        return [f"{EXPORT}: lists {outside[0]}, which is outside of the export"]
    problems += _check_files(folder, expected, threads, log)
    for file in expected:
        if (folder / file.path).is_file() and (size := _size(folder / file.path)) != file.bytes:
            problems.append(f"{file.path}: has {size} bytes, written as {file.bytes}")
    if (folder / MANIFEST).is_file() and not is_sealed(folder / MANIFEST):
        problems.append(f"{MANIFEST}: its bytes changed")
    files = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    present = {path.as_posix() for path in files if not any(name.startswith(".") for name in path.parts)}
    return problems + [f"{path}: not in {EXPORT}; remove it" for path in sorted(present - paths - {EXPORT, NOTICE})]


def _check_seals(run: Path, has_written: bool) -> list[str]:
    """The problems of the files that carry a hash of themselves: those that list other files or record results."""
    facts = [path for part in TABLES if (path := run / EVALUATION_FOLDER / f"{part}.json").is_file()]
    facts += sorted((run / "models").glob("ngrams-*.json"))
    if has_written:
        facts.append(run / WRITTEN_FOLDER / AUGMENTED)
    problems = []
    for path in (run / MANIFEST, run / "ledger" / "snapshot.json", *facts):
        if not path.is_file() or not is_sealed(path):
            problem = "its bytes changed" if path.is_file() else "missing"
            problems.append(f"{path.relative_to(run).as_posix()}: {problem}")
    return problems


def _check_ngrams(run: Path) -> Iterator[str]:
    """The problems of the tables of evaluation sets, whose hashes are in the JSON files beside them."""
    for path in sorted((run / "models").glob("ngrams-*.json")):
        try:
            facts = json.loads(path.read_text("utf-8"))
            table = path.with_name(facts["table"])
            name, content = f"models/{table.name}", facts["content"]
        except (ValueError, TypeError, KeyError):  # reported by _check_seals
            continue
        try:
            if xxh3_128_hexdigest(np.load(table, mmap_mode="r").data) != content:
                yield f"{name}: its bytes changed"
        except (OSError, ValueError, EOFError, TokenError) as error:
            yield f"{name}: cannot be read: {error}" if table.is_file() else f"{name}: missing"


def _check_files(run: Path, expected: Sequence[ExpectedFile], threads: int, log: Log) -> list[str]:
    """The problems of files, by hash and rows."""
    sizes = [_size(run / file.path) for file in expected]
    return _check_each(partial(_check_file, run), expected, sizes, threads, Meter(log, "verifying", sum(sizes)))


def _check_each(
    check: Callable[[Item], str | None], items: Sequence[Item], sizes: Sequence[int], threads: int, meter: Meter
) -> list[str]:
    """The problems of items in their order; `sizes` advance the meter."""
    problems = []
    with ThreadPoolExecutor(threads) as pool:
        for problem, size in zip(pool.map(check, items), sizes, strict=True):
            problems += [problem] if problem else []
            meter.add(0, size)
            meter.show()
    meter.clear()
    return problems


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _check_file(run: Path, expected: ExpectedFile) -> str | None:
    name, path = expected.path, run / expected.path
    if not path.is_file():
        return f"{name}: missing"
    try:
        digest = sha256_of(path)
        if digest != expected.sha256:
            return f"{name}: its bytes changed (sha256 {digest[:12]}…, written as {expected.sha256[:12]}…)"
        written = expected.rows if path.suffix == ".parquet" else None
        if written is not None and (rows := pq.read_metadata(path).num_rows) != written:
            return f"{name}: holds {rows} rows, written as {written}"
    except (OSError, pa.ArrowException) as error:
        return f"{name}: cannot be read: {error}"
    return None


def _check_counts(manifest: Manifest) -> Iterator[str]:
    """The sums of the manifest that differ from its totals."""
    yield from _check_sums(manifest)
    for stage in manifest.stages:
        dropped = sum(amount.documents for amount in stage.dropped.values())
        written = stage.written.documents if stage.written else 0
        if (left := stage.documents_in - dropped + written) != stage.documents_out:
            yield f"manifest.json: stage {stage.stage}: {left} documents are left, it says {stage.documents_out}"
    rows = sum(file.documents for file in manifest.inputs if file.error is None)
    if rows != manifest.totals.documents_in:
        yield f"manifest.json: inputs hold {rows} documents, totals say {manifest.totals.documents_in}"


def _check_sums(manifest: Manifest) -> Iterator[str]:
    """The parts of the output whose documents or tokens do not add up to the totals."""
    partitions: dict[str, Sequence[Shard | Amount]] = {
        "shards": manifest.shards,
        "licences": manifest.licenses,
        **{f"mixture by {name}": shares for name, shares in manifest.mixture.items()},
    }
    totals, synthetic = manifest.totals, manifest.synthetic
    kept = [(file.documents_out, file.tokens_out) for file in manifest.inputs]
    written = (synthetic.documents, synthetic.tokens)
    for k, (noun, total) in enumerate((("documents", totals.documents_out), ("tokens", totals.tokens_out))):
        for name, entries in partitions.items():
            if (count := sum((entry.documents, entry.tokens)[k] for entry in entries)) != total:
                yield f"manifest.json: {name} hold {count} {noun}, totals say {total}"
        real = total - written[k]
        if (count := sum(amounts[k] for amounts in kept)) != real:
            yield f"manifest.json: {count} {noun} of the inputs are kept, totals say {real}"

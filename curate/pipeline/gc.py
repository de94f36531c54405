"""Measure the disk usage of a run directory by kind, and remove files that are no longer needed."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from curate.corpus.inputs import INPUTS_FOLDER
from curate.distill.evaluate.results import facts_of
from curate.errors import disk_error
from curate.ledger.ledger import Ledger, locked, read_ledger
from curate.ledger.names import (
    ARMS,
    DATA,
    DECISION_GROUPS,
    DECISIONS,
    DOCUMENTS,
    DOMAIN_MEMBERS,
    EVALUATION_FOLDER,
    MODELS_FOLDER,
    RETENTION,
    TRACKING,
    WRITTEN_FOLDER,
)
from curate.ledger.parts import Part
from curate.ledger.runs import not_a_run
from curate.manifests.schema.reading import read_manifest
from curate.pipeline.ablate import remove_arms
from curate.storage.files import ASIDE
from curate.storage.mirror import by_uri

OURS = re.compile(r"[0-9a-f]{8}-[^/]+\.parquet")  # what `write_part` names files
NOT_IN_FORCE = "not in force"
UNUSED = "not used by the recipe"
HALF_WRITTEN = "half written"
NOT_IN_INPUT = "of no input now"
SCRATCH = "scratch"
OF_EVALUATION = "of an evaluation that is finished"
STOPPED = "of an evaluation that was stopped"

HOLDS = {  # by folder or file of a run directory
    "data": "the output",
    "run.duckdb": "the index that queries read",
    "report.html": "the report",
    "ledger/signals": "measurements",
    "ledger/edits": "edits",
    "ledger/pairs": "pairs of near duplicates",
    "ledger/decisions": "verdicts",
    "ledger/spool": "scratch of a run",
    "ledger": "the rest of the ledger",
    "inputs": "inputs as Parquet",
    "models": "models, and n-grams of evaluation sets",
    "teacher": "replies of a teacher",
    "synthetic": "what a model wrote",
    "evaluation": "what models said of held-out texts",
    "evaluation/arms": "runs without a stage, of an evaluation that did not end",
    "export": "exports",
}
OTHER = "other files"


@dataclass(frozen=True)
class UnusedFile:
    """A file that is no longer needed, and why."""

    path: Path
    why: str
    bytes: int


@dataclass(frozen=True, slots=True)
class UnusedKind:
    """The unused files of a folder for one reason."""

    folder: str
    why: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Usage:
    """The disk usage of a kind of file."""

    kind: str  # its folder or name
    holds: str
    files: int
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Garbage:
    """The unused files of a run directory, and the disk usage of those that are left."""

    run: str
    removed: bool  # or only counted
    files: int
    bytes: int
    kinds: Sequence[UnusedKind]
    takes: Sequence[Usage]


def collect(run: Path, everything: bool, dry: bool) -> Garbage:
    """Remove files that the ledger does not need, or count them if `dry`.

    With `everything`, files that only another recipe may need are removed too. The snapshot drops a part before its
    file is deleted, so that after a kill no listed file is missing. `data/`, the manifest and the decisions in force
    are never touched.

    Errors: RunError where there is no run, where another process works on it, or where `everything` lacks a manifest.
    """
    if not (run / "ledger" / "snapshot.json").exists():
        raise not_a_run(run, "ledger/snapshot.json")
    with locked(run):
        ledger = read_ledger(run)
        unused = _unused(ledger) if everything else []
        garbage = [*_files(ledger, unused)]
        if everything and not read_manifest(run).benchmarks:
            garbage += [_unused_file(path, UNUSED) for path in sorted((run / MODELS_FOLDER).glob("ngrams-*"))]
        garbage += _of_evaluations(ledger, everything)
        if not dry:
            _remove(ledger, unused, garbage)
    kinds: dict[tuple[str, str], list[int]] = {}
    for file in garbage:
        folder = ARMS if file.path.is_relative_to(run / ARMS) else file.path.parent.relative_to(run)
        kinds.setdefault((folder.as_posix(), file.why), []).append(file.bytes)
    return Garbage(
        run=by_uri(str(run)),
        removed=not dry,
        files=len(garbage),
        bytes=sum(file.bytes for file in garbage),
        kinds=[UnusedKind(folder, why, len(sizes), sum(sizes)) for (folder, why), sizes in sorted(kinds.items())],
        takes=usage_of(run),
    )


def usage_of(run: Path) -> list[Usage]:
    """Disk usage by kind, the largest first; a file with several names counts once, under the first."""
    sizes: dict[str, list[int]] = {}
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(run):
        folders.sort(key=lambda name: (name == EVALUATION_FOLDER.name, name))  # last: its arms share the ledger's files
        for path in (Path(folder) / name for name in sorted(names)):
            with suppress(FileNotFoundError):
                about = path.lstat()
                if (about.st_dev, about.st_ino) not in seen:
                    seen.add((about.st_dev, about.st_ino))
                    sizes.setdefault(_kind(path.relative_to(run)), []).append(about.st_size)
    kinds = [Usage(kind, HOLDS.get(kind, ""), len(bytes_of), sum(bytes_of)) for kind, bytes_of in sizes.items()]
    return sorted(kinds, key=lambda usage: (-usage.bytes, usage.kind))


def _kind(path: Path) -> str:
    """The longest name in HOLDS that a path begins with."""
    names = ("/".join(path.parts[:depth]) for depth in (2, 1))
    return next((name for name in names if name in HOLDS), OTHER)


def _of_evaluations(ledger: Ledger, everything: bool) -> Iterator[UnusedFile]:
    """The arms of a finished evaluation; with `everything` also those of a stopped one, which would resume with them.

    With `everything` also the models' scores, which a finished evaluation has turned into its tables.
    """
    decisions = next((result.digest for result in ledger.of(DECISIONS)), "")
    finished = {result: facts_of(ledger.run, result, decisions) is not None for result in (RETENTION, TRACKING)}
    if finished[RETENTION] or everything:
        why = OF_EVALUATION if finished[RETENTION] else STOPPED
        for walked, _, names in os.walk(ledger.run / ARMS):
            yield from (_unused_file(Path(walked) / name, why) for name in sorted(names))
    for result, folder in ((RETENTION, EVALUATION_FOLDER), (TRACKING, EVALUATION_FOLDER / TRACKING)):
        if everything and finished[result]:
            yield from (
                _unused_file(path, OF_EVALUATION) for path in sorted((ledger.run / folder / "parts").glob("*.parquet"))
            )


def _unused(ledger: Ledger) -> list[Part]:
    """Parts in force of groups that the finished run did not use."""
    used = {*read_manifest(ledger.run).signal_groups, DOCUMENTS, DOMAIN_MEMBERS, *DECISION_GROUPS, DATA}
    return [part for part in ledger.parts if part.group not in used]


def _files(ledger: Ledger, unused: list[Part]) -> Iterator[UnusedFile]:
    """Our files that no part in force names, that were made from inputs no longer in use, or that are half written."""
    run = ledger.run
    in_force = {part.path for part in ledger.parts}
    dropped = {part.path for part in unused}
    for folder, _, names in os.walk(run / "ledger"):
        for path in (Path(folder) / name for name in sorted(names)):
            relative = path.relative_to(run).as_posix()
            if path.name.startswith(ASIDE):
                yield _unused_file(path, HALF_WRITTEN)
            elif path.parent == run / "ledger" / "spool":
                yield _unused_file(path, SCRATCH)
            elif relative in dropped:
                yield _unused_file(path, UNUSED)
            elif OURS.fullmatch(path.name) and relative not in in_force:
                yield _unused_file(path, NOT_IN_FORCE)
    for parent in ("", DATA, INPUTS_FOLDER, MODELS_FOLDER, WRITTEN_FOLDER):
        yield from (_unused_file(path, HALF_WRITTEN) for path in (run / parent).glob(f"{ASIDE}*"))
    read = {file.location for file in ledger.files}
    for path in sorted((run / INPUTS_FOLDER).glob("[0-9a-f]*.parquet")):
        if path.relative_to(run).as_posix() not in read:
            yield _unused_file(path, NOT_IN_INPUT)


def _unused_file(path: Path, why: str) -> UnusedFile:
    """Record a file with the bytes that its removal frees: none if it has another name."""
    about = path.lstat()
    return UnusedFile(path, why, about.st_size if about.st_nlink == 1 else 0)


def _remove(ledger: Ledger, unused: list[Part], garbage: list[UnusedFile]) -> None:
    try:
        if unused:
            ledger.parts = [part for part in ledger.parts if part not in unused]
            ledger.commit()
        for file in garbage:
            file.path.unlink(missing_ok=True)
        if any(file.path.is_relative_to(ledger.run / ARMS) for file in garbage):
            remove_arms(ledger.run)
        for folder in {file.path.parent for file in garbage} - {ledger.run, ledger.run / DATA}:
            with suppress(OSError):  # not empty
                folder.rmdir()
    except OSError as error:
        raise disk_error(error, str(ledger.run)) from error

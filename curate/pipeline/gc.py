"""What a run directory takes by kind, what of it counts no more, and its removal."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.corpus.inputs import INPUTS_FOLDER
from curate.distill.evaluate.results import facts_of
from curate.errors import disk_error
from curate.ledger.ledger import Ledger, locked, read_ledger
from curate.ledger.names import (
    ARMS,
    DATA,
    DECISIONS,
    DOCUMENTS,
    EVALUATION_FOLDER,
    MEMBERS,
    MODELS_FOLDER,
    RETENTION,
    TOGETHER,
    TRACKING,
    WRITTEN_FOLDER,
)
from curate.ledger.parts import Part
from curate.ledger.runs import no_run
from curate.manifests.schema.reading import read_manifest
from curate.pipeline.ablate import remove_arms
from curate.storage.files import ASIDE
from curate.storage.mirror import named

OURS = re.compile(r"[0-9a-f]{8}-[^/]+\.parquet")  # what `write_part` names files
NOT_IN_FORCE = "not in force"
UNUSED = "not used by the recipe"
HALF_WRITTEN = "half written"
NOT_IN_INPUT = "of no input now"
SCRATCH = "scratch"
OF_EVALUATION = "of an evaluation that is finished"
STOPPED = "of an evaluation that was stopped"

HOLDS = {  # by folder or file of a run directory; what is not named here is "other files"
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
class Found:
    """A file that counts no more, and why."""

    path: Path
    why: str
    bytes: int


def collect(run: Path, everything: bool, dry: bool) -> dict[str, Any]:
    """Remove (or, if `dry`, only count) what the ledger does not need; with `everything` also what another recipe may.

    The snapshot forgets a part before its file is deleted, so a call that is killed leaves nothing listed and missing,
    and the next one goes on. `data/`, the manifest and the decisions in force are never touched.

    Errors: RunError where there is no run, where another process works on it, or where `everything` cannot be told.
    """
    if not (run / "ledger" / "snapshot.json").exists():
        raise no_run(run, "ledger/snapshot.json")
    with locked(run):
        ledger = read_ledger(run)
        unused = _unused(ledger) if everything else []
        found = [*_files(ledger, unused)]
        if everything and not read_manifest(run)["benchmarks"]:
            found += [_found(path, UNUSED) for path in sorted((run / MODELS_FOLDER).glob("ngrams-*"))]
        found += _of_evaluations(ledger, everything)
        if not dry:
            _remove(ledger, unused, found)
    kinds: dict[tuple[str, str], list[int]] = {}
    for file in found:
        folder = ARMS if file.path.is_relative_to(run / ARMS) else file.path.parent.relative_to(run)
        kinds.setdefault((folder.as_posix(), file.why), []).append(file.bytes)
    return {
        "run": named(str(run)),
        "removed": not dry,
        "files": len(found),
        "bytes": sum(file.bytes for file in found),
        "kinds": [
            {"folder": folder, "why": why, "files": len(sizes), "bytes": sum(sizes)}
            for (folder, why), sizes in sorted(kinds.items())
        ],
        "takes": taken(run),
    }


def taken(run: Path) -> list[dict[str, Any]]:
    """Files and bytes by kind, the largest first; a file that has several names counts once, in the first place."""
    sizes: dict[str, list[int]] = {}
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(run):
        folders.sort(key=lambda name: (name == EVALUATION_FOLDER.name, name))  # whose arms share the ledger's files
        for path in (Path(folder) / name for name in sorted(names)):
            with suppress(FileNotFoundError):
                about = path.lstat()
                if (about.st_dev, about.st_ino) not in seen:
                    seen.add((about.st_dev, about.st_ino))
                    sizes.setdefault(_kind(path.relative_to(run)), []).append(about.st_size)
    rows = [
        {"kind": kind, "holds": HOLDS.get(kind, ""), "files": len(found), "bytes": sum(found)}
        for kind, found in sizes.items()
    ]
    return sorted(rows, key=lambda row: (-int(str(row["bytes"])), row["kind"]))


def _kind(path: Path) -> str:
    """The longest name of HOLDS that a path begins with."""
    names = ("/".join(path.parts[:depth]) for depth in (2, 1))
    return next((name for name in names if name in HOLDS), OTHER)


def _of_evaluations(ledger: Ledger, everything: bool) -> Iterator[Found]:
    """The arms of an evaluation, which one that is finished needs no more, and one that was stopped goes on with.

    With `everything` also those, and what models said, of which a finished evaluation has made its tables.
    """
    decisions = next((part.digest for part in ledger.of(DECISIONS)), "")
    finished = {part: facts_of(ledger.run, part, decisions) is not None for part in (RETENTION, TRACKING)}
    if finished[RETENTION] or everything:
        why = OF_EVALUATION if finished[RETENTION] else STOPPED
        for folder, _, names in os.walk(ledger.run / ARMS):
            yield from (_found(Path(folder) / name, why) for name in sorted(names))
    for part, place in ((RETENTION, EVALUATION_FOLDER), (TRACKING, EVALUATION_FOLDER / TRACKING)):
        if everything and finished[part]:
            yield from (
                _found(path, OF_EVALUATION) for path in sorted((ledger.run / place / "parts").glob("*.parquet"))
            )


def _unused(ledger: Ledger) -> list[Part]:
    """Parts in force of groups that the finished run did not use."""
    used = {*read_manifest(ledger.run)["signal_groups"], DOCUMENTS, MEMBERS, *TOGETHER, DATA}
    return [part for part in ledger.parts if part.group not in used]


def _files(ledger: Ledger, unused: list[Part]) -> Iterator[Found]:
    """Every file of ours that no part in force names, that was made of no present input, or that is half written."""
    run = ledger.run
    in_force = {part.path for part in ledger.parts}
    given_up = {part.path for part in unused}
    for folder, _, names in os.walk(run / "ledger"):
        for path in (Path(folder) / name for name in sorted(names)):
            place = path.relative_to(run).as_posix()
            if path.name.startswith(ASIDE):
                yield _found(path, HALF_WRITTEN)
            elif path.parent == run / "ledger" / "spool":
                yield _found(path, SCRATCH)
            elif place in given_up:
                yield _found(path, UNUSED)
            elif OURS.fullmatch(path.name) and place not in in_force:
                yield _found(path, NOT_IN_FORCE)
    for path in (
        path
        for folder in ("", DATA, INPUTS_FOLDER, MODELS_FOLDER, WRITTEN_FOLDER)
        for path in (run / folder).glob(f"{ASIDE}*")
    ):
        yield _found(path, HALF_WRITTEN)
    read = {file.location for file in ledger.files}
    for path in sorted((run / INPUTS_FOLDER).glob("[0-9a-f]*.parquet")):
        if path.relative_to(run).as_posix() not in read:
            yield _found(path, NOT_IN_INPUT)


def _found(path: Path, why: str) -> Found:
    """A file with the bytes that its removal frees: none where it has another name."""
    about = path.lstat()
    return Found(path, why, about.st_size if about.st_nlink == 1 else 0)


def _remove(ledger: Ledger, unused: list[Part], found: list[Found]) -> None:
    try:
        if unused:
            ledger.parts = [part for part in ledger.parts if part not in unused]
            ledger.commit()
        for file in found:
            file.path.unlink(missing_ok=True)
        if any(file.path.is_relative_to(ledger.run / ARMS) for file in found):
            remove_arms(ledger.run)
        for folder in {file.path.parent for file in found} - {ledger.run, ledger.run / DATA}:
            with suppress(OSError):  # not empty
                folder.rmdir()
    except OSError as error:
        raise disk_error(error, str(ledger.run)) from error

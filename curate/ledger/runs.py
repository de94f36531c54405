"""The runs in a folder, with their final figures, for `curate runs`; and the error for a path that is no run."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from curate.errors import CurateError, RunError, closest

DEPTH = 4  # levels of folders that are searched, including the given one
RUNS = Path("runs")  # the default folder of runs
MAX_NAMED = 3  # runs that a message names


@dataclass(frozen=True)
class RunFigures:
    """A run with its final figures, which are null for a run that stopped before it had them."""

    run: str
    name: str | None
    state: str  # whole, or stopped: without a manifest, which is written last
    documents: int | None
    kept: int | None
    tokens: int | None
    tokens_kept: int | None
    bytes: int | None  # of text
    bytes_kept: int | None
    shards: int | None
    finished: str | None  # for a stopped run, the time of its last log entry


def list_runs(folder: Path) -> list[RunFigures]:
    """All runs in a folder and its subfolders, in the order of their paths.

    Errors: CurateError for a folder that does not exist.
    """
    if not folder.is_dir():
        problem = "is a file" if folder.exists() else "no such folder"
        raise CurateError(f"runs: {folder}: {problem}; give the folder that your runs lie in")
    return [_figures(run) for run in _run_directories(folder, DEPTH)]


def not_a_run(run: Path, lacks: str) -> RunError:
    """The error for a path that `lacks` a file of a run directory, with a suggestion."""
    if os.path.isdir(run / "ledger"):
        return RunError(f"{run}: no {lacks}: its run did not get far enough; run it again")
    if os.path.isdir(run):
        problem = f"no {lacks}: not a run directory"
    else:
        problem = "a file, not a run directory" if os.path.exists(run) else "no such folder"
    return RunError(f"{run}: {problem}; {_suggestion(run)}")


def _suggestion(run: Path) -> str:
    """The run that was probably meant, else the runs near by, else how to find runs."""
    runs = _runs_near(run)
    by_name = {candidate.name: candidate for candidate in reversed(runs)}
    if parents := [candidate for candidate in runs if candidate in run.parents]:
        return f"did you mean {parents[0]}?"
    if name := closest(run.stem if os.path.isfile(run) else run.name, by_name):
        return f"did you mean {by_name[name]}?"
    if not runs:
        return "`curate runs FOLDER` lists the runs in a folder"
    more = f" and {len(runs) - MAX_NAMED:,} more" if len(runs) > MAX_NAMED else ""
    return f"runs near by: {', '.join(map(str, runs[:MAX_NAMED]))}{more}"


def _runs_near(run: Path) -> list[Path]:
    """Runs in a folder, in the two folders around it, and in the default folder."""
    folders = [folder for folder in (run, *run.parents[:2], RUNS) if str(folder) != folder.anchor]
    runs = [near for folder in folders if os.path.isdir(folder) for near in _run_directories(folder, 2)]
    return list(dict.fromkeys(runs))


def _run_directories(folder: Path, depth: int) -> Iterator[Path]:
    """Run directories, without those nested in others, such as the runs of an evaluation."""
    if (folder / "ledger").is_dir() and ((folder / "run.log").exists() or (folder / "manifest.json").exists()):
        yield folder
        return
    if depth == 1:
        return
    try:
        subfolders = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=True))
    except OSError:  # no permission: list what can be read
        return
    for name in subfolders:
        if not name.startswith("."):
            yield from _run_directories(folder / name, depth - 1)


def _figures(run: Path) -> RunFigures:
    manifest, facts = read_json_fields(run / "manifest.json"), read_json_fields(run / "run.json")
    totals = manifest.get("totals", {})
    shards = manifest.get("shards")
    return RunFigures(
        run=str(run),
        name=manifest.get("name"),
        state="whole" if totals else "stopped",
        documents=totals.get("documents_in"),
        kept=totals.get("documents_out"),
        tokens=totals.get("tokens_in"),
        tokens_kept=totals.get("tokens_out"),
        bytes=totals.get("bytes_in"),
        bytes_kept=totals.get("bytes_out"),
        shards=len(shards) if isinstance(shards, list) else None,
        finished=facts.get("finished") if totals and facts.get("finished") else _last_written(run),
    )


def read_json_fields(path: Path) -> dict[str, Any]:
    """The fields of a JSON file; none where it is missing or damaged."""
    try:
        fields = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _last_written(run: Path) -> str | None:
    """The time at which a run's log was last written."""
    for name in ("run.log", "manifest.json"):
        try:
            changed = (run / name).stat().st_mtime
        except OSError:
            continue
        return datetime.fromtimestamp(changed).astimezone().strftime("%Y-%m-%dT%H:%M:%S%z")
    return None

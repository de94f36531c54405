"""The runs in a folder, with the figures that each closed with: what `curate runs` lists; and a run that is none."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from curate.errors import CurateError, RunError, closest

DEPTH = 4  # levels of folders that are looked into, the given one the first
RUNS = Path("runs")  # where runs lie unless recipes say otherwise
MOST_NEAR = 3  # runs that a message names


@dataclass(frozen=True)
class RunFigures:
    """A run and what it came to; figures are null where it was stopped before it had them."""

    run: str
    name: str | None
    state: str  # whole, or stopped: its manifest, which is written last, is missing
    documents: int | None
    kept: int | None
    tokens: int | None
    tokens_kept: int | None
    shards: int | None
    finished: str | None  # where it was stopped: when it last wrote into its log


def list_runs(folder: Path) -> list[RunFigures]:
    """All runs in a folder and the folders below, by their paths.

    Errors: CurateError for a folder that is not there.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        raise CurateError(f"runs: {folder}: {what}; give the folder that your runs lie in")
    return [_figures(run) for run in _run_directories(folder, DEPTH)]


def not_a_run(run: Path, lacks: str) -> RunError:
    """What is wrong with a path that was given as a run directory and `lacks` what one has, and which may be meant."""
    if os.path.isdir(run / "ledger"):
        return RunError(f"{run}: no {lacks}: its run did not get far enough; run it again")
    if os.path.isdir(run):
        wrong = f"no {lacks}: not a run directory"
    else:
        wrong = "a file, not a run directory" if os.path.exists(run) else "no such folder"
    return RunError(f"{run}: {wrong}; {_meant(run)}")


def _meant(run: Path) -> str:
    """The run that a path was probably meant for, else those near by, else how they are found."""
    near = _near(run)
    by_name = {found.name: found for found in reversed(near)}
    if within := [found for found in near if found in run.parents]:
        return f"did you mean {within[0]}?"
    if like := closest(run.stem if os.path.isfile(run) else run.name, by_name):
        return f"did you mean {by_name[like]}?"
    if not near:
        return "`curate runs FOLDER` lists the runs in a folder"
    more = f" and {len(near) - MOST_NEAR:,} more" if len(near) > MOST_NEAR else ""
    return f"runs near by: {', '.join(map(str, near[:MOST_NEAR]))}{more}"


def _near(run: Path) -> list[Path]:
    """Runs in a folder that was taken for one, around it, and where runs usually lie."""
    folders = [folder for folder in (run, *run.parents[:2], RUNS) if str(folder) != folder.anchor]
    found = [near for folder in folders if os.path.isdir(folder) for near in _run_directories(folder, 2)]
    return list(dict.fromkeys(found))


def _run_directories(folder: Path, depth: int) -> Iterator[Path]:
    """Run directories; those inside of others, such as an evaluation's, are passed over."""
    if (folder / "ledger").is_dir() and ((folder / "run.log").exists() or (folder / "manifest.json").exists()):
        yield folder
        return
    if depth == 1:
        return
    try:
        below = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=True))
    except OSError:  # of somebody else: what can be read is listed
        return
    for name in below:
        if not name.startswith("."):
            yield from _run_directories(folder / name, depth - 1)


def _figures(run: Path) -> RunFigures:
    manifest, facts = _read(run / "manifest.json"), _read(run / "run.json")
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
        shards=len(shards) if isinstance(shards, list) else None,
        finished=facts.get("finished") if totals and facts.get("finished") else _last_written(run),
    )


def _read(path: Path) -> dict[str, Any]:
    """The fields of a JSON file; none where there is no such file, or a damaged one."""
    try:
        fields = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _last_written(run: Path) -> str | None:
    """When a run's log was last written to."""
    for name in ("run.log", "manifest.json"):
        try:
            changed = (run / name).stat().st_mtime
        except OSError:
            continue
        return datetime.fromtimestamp(changed).astimezone().strftime("%Y-%m-%dT%H:%M:%S%z")
    return None

"""Ablation: runs of a recipe without one of its stages, in RUN/evaluation/arms.

They share the measurements of the run by hard links, so that only the decisions and the output are made again; models
that the run trained are pinned. Since each has a copy of the output and an index, they are removed once the evaluation
is finished.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from curate.corpus.inputs import INPUTS_FOLDER
from curate.distill.budget.scores import scores_of
from curate.engine.base import Engine
from curate.errors import CurateError, Interrupted
from curate.ledger.ledger import Ledger, locked
from curate.ledger.names import ARMS, DATA, DECISIONS
from curate.ledger.parts import is_intact
from curate.ledger.run import FinishedRun
from curate.pipeline.run import run
from curate.recipe.load import parse_recipe
from curate.recipe.recipe import Recipe

Section = Literal["tier1", "dedup"]
# By stage: fields of each section that switch it off.
SWITCHED_OFF: Mapping[str, Mapping[Section, Mapping[str, object]]] = {
    "rules": {"tier1": {"rules": [], "thresholds": {}, "block": [], "language": None}},
    "duplicates": {"dedup": {"exact": False, "near": None}},
    "bands": {"tier1": {"perplexity": None}},
    "lines": {"dedup": {"lines": None}},
}


def ablations(recipe: Recipe) -> dict[str, Recipe]:
    """The recipe without each of its stages, by the name of the arm."""
    tier1, dedup = recipe.tier1, recipe.dedup
    has_stage = {
        "rules": bool(tier1.rules or tier1.block or tier1.language),
        "duplicates": dedup.exact or bool(dedup.near),
        "bands": bool(tier1.perplexity),
        "lines": bool(dedup.lines),
        "purify": bool(recipe.tier2),
        "curve": bool(recipe.distill and recipe.distill.curve),
        "augment": bool(recipe.tier3),
    }
    return {f"without {stage}": _without(recipe, stage) for stage, is_there in has_stage.items() if is_there}


def _without(recipe: Recipe, stage: str) -> Recipe:
    """A recipe without a stage, evaluation, exports and written documents."""
    fields = recipe.model_dump(mode="json", by_alias=True) | {"evaluate": None, "export": [], "tier3": None}
    for section, changes in SWITCHED_OFF.get(stage, {}).items():
        fields[section] |= changes
    if stage == "purify":
        fields["tier2"] = None
    if stage == "curve":
        fields["distill"]["curve"] = None
    return parse_recipe(fields, "evaluate.ablate")


def run_arms(decided: FinishedRun, engine: Engine, threads: int, say: Callable[[str], None]) -> dict[str, Path]:
    """Run the arms that are not finished; return their run directories. An arm that fails is reported and left out."""
    folders = {}
    arms = ablations(decided.recipe)
    for k, (name, recipe) in enumerate(arms.items(), 1):
        folder = (decided.run / ARMS / name.replace(" ", "-")).resolve()
        fields = recipe.model_dump(mode="json", by_alias=True) | {"output": str(folder)}
        if recipe.tier2 or recipe.distill:
            fields["models"] = {"pin": fields["models"]["pin"] or str(decided.run.resolve())}
        if recipe.distill:  # the default scores of a recipe with pinned models are others
            fields["distill"]["scores"] = scores_of(recipe)
        say(f"deciding {name} ({k} of {len(arms)} arms)")
        try:
            share_measurements(decided, folder)
            with contextlib.chdir(decided.working_directory):
                run(parse_recipe(fields, f"evaluate.ablate: {name}"), engine, threads, quiet=True)
        except Interrupted:
            raise
        except CurateError as error:
            say(f"left out: {name}: {error}")
            continue
        folders[name] = folder
    return folders


def remove_arms(run: Path) -> None:
    """Remove the run directories of the arms; an evaluation that needs them runs them again."""
    if (run / ARMS).exists():
        shutil.rmtree(run / ARMS)


def share_measurements(decided: FinishedRun, folder: Path) -> None:
    """Link the parts of a run that do not depend on decisions, and its spooled inputs, into a new run directory."""
    if (folder / "ledger" / "snapshot.json").exists():
        return
    with locked(folder):
        ledger = Ledger(folder, list(decided.ledger.files), [], [], _next_file_no(decided))
        for part in decided.ledger.parts:
            if part.group not in (DECISIONS, DATA) and is_intact(decided.run, part):
                _link(decided.run / part.path, folder / part.path)
                ledger.parts.append(part)
        for path in sorted((decided.run / INPUTS_FOLDER).glob("*.parquet")):
            _link(path, folder / INPUTS_FOLDER / path.name)
        ledger.commit()


def _next_file_no(decided: FinishedRun) -> int:
    return max((file.file_no for file in decided.ledger.files), default=-1) + 1


def _link(source: Path, target: Path) -> None:
    """Hard-link a file, or copy it where the file system has no such links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)

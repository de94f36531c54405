"""A run decided anew without one of its stages: real runs of its recipe, below RUN/evaluation/arms.

They share the measurements of the run by hard links, so that only decisions and output are made; models that the run
trained are pinned. They are removed when the evaluation is finished: each has a copy of the output and an index.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from curate.corpus.inputs import INPUTS_FOLDER
from curate.distill.budget.scores import scores_of
from curate.engine.base import Engine
from curate.errors import CurateError, Interrupted
from curate.ledger.ledger import Ledger, locked
from curate.ledger.names import ARMS, DATA, DECISIONS
from curate.ledger.parts import is_whole
from curate.ledger.run import Decided
from curate.pipeline.run import run
from curate.recipe.load import parse_recipe
from curate.recipe.recipe import Recipe


def without(recipe: Recipe) -> dict[str, Recipe]:
    """The recipe without each stage that it has, by the name of the arm."""
    tier1, dedup = recipe.tier1, recipe.dedup
    none: Mapping[str, tuple[bool, dict[str, Any]]] = {
        "rules": (bool(tier1.rules or tier1.block or tier1.language),
                  {"tier1": {"rules": [], "thresholds": {}, "block": [], "language": None}}),
        "duplicates": (dedup.exact or bool(dedup.near), {"dedup": {"exact": False, "near": None}}),
        "bands": (bool(tier1.perplexity), {"tier1": {"perplexity": None}}),
        "lines": (bool(dedup.lines), {"dedup": {"lines": None}}),
        "purify": (bool(recipe.tier2), {"tier2": None}),
        "augment": (bool(recipe.tier3), {}),
    }  # fmt: skip
    return {f"without {name}": _changed(recipe, changes) for name, (there, changes) in none.items() if there}


def _changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """A recipe with other fields, which is not evaluated itself, and has nothing written."""
    fields = recipe.model_dump(mode="json", by_alias=True) | {"evaluate": None, "export": [], "tier3": None}
    for name, value in changes.items():
        fields[name] = fields[name] | value if isinstance(value, dict) else value
    return parse_recipe(fields, "evaluate.ablate")


def ablated(of: Decided, engine: Engine, threads: int, say: Callable[[str], None]) -> dict[str, Path]:
    """The run directories of the arms, which are decided where they are not yet; an arm that cannot be is told of."""
    found = {}
    arms = without(of.recipe)
    for k, (name, recipe) in enumerate(arms.items(), 1):
        folder = (of.run / ARMS / name.replace(" ", "-")).resolve()
        fields = recipe.model_dump(mode="json", by_alias=True) | {"output": str(folder)}
        if recipe.tier2 or recipe.distill:
            fields["models"] = {"pin": fields["models"]["pin"] or str(of.run.resolve())}
        if recipe.distill:  # what a recipe with pinned models ranks by when it does not say is another thing
            fields["distill"]["scores"] = scores_of(recipe)
        say(f"deciding {name} ({k} of {len(arms)} arms)")
        try:
            share_measurements(of, folder)
            with contextlib.chdir(of.working_directory):
                run(parse_recipe(fields, f"evaluate.ablate: {name}"), engine, threads, quiet=True)
        except Interrupted:
            raise
        except CurateError as error:
            say(f"left out: {name}: {error}")
            continue
        found[name] = folder
    return found


def remove_arms(run: Path) -> None:
    """Remove the run directories of the arms; an evaluation that needs them again decides them again."""
    if (run / ARMS).exists():
        shutil.rmtree(run / ARMS)


def share_measurements(of: Decided, folder: Path) -> None:
    """Give a new run directory the parts of a run that do not depend on decisions, and its spooled inputs."""
    if (folder / "ledger" / "snapshot.json").exists():
        return
    with locked(folder):
        ledger = Ledger(folder, list(of.ledger.files), [], [], _next(of))
        for part in of.ledger.parts:
            if part.group not in (DECISIONS, DATA) and is_whole(of.run, part):
                _link(of.run / part.path, folder / part.path)
                ledger.parts.append(part)
        for path in sorted((of.run / INPUTS_FOLDER).glob("*.parquet")):
            _link(path, folder / INPUTS_FOLDER / path.name)
        ledger.commit()


def _next(of: Decided) -> int:
    return max((file.file_no for file in of.ledger.files), default=-1) + 1


def _link(source: Path, target: Path) -> None:
    """A file under a second name, or a copy where the file system has no such links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)

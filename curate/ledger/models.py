"""Models that a run has trained: files of its directory, each a part of the ledger, kept and pinned together."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from curate.errors import RunError
from curate.ledger.ledger import OUTPUT_FOLDERS, fetch_run, read_ledger
from curate.ledger.names import (
    ATTACKS,
    BUDGET_FACTS,
    BUDGET_MODELS,
    CALIBRATION,
    IMPORTANCE_CORPUS,
    IMPORTANCE_TARGET,
    PENDING,
    PURIFY_FACTS,
    PURIFY_MODEL,
    PURIFY_MODELS,
    ROUNDS,
)
from curate.ledger.parts import Part, is_intact
from curate.storage.files import committed


@dataclass(frozen=True)
class ModelKind:
    """The models of a stage."""

    section: str  # of the recipe
    noun: str  # for messages
    groups: tuple[str, ...]
    needed: frozenset[str]  # groups without which the others cannot be used
    facts: str  # the group of the file with what the manifest tells of them


PURIFY = ModelKind(
    "tier2", "trained models", PURIFY_MODELS,
    frozenset({PURIFY_MODEL, ATTACKS, ROUNDS, CALIBRATION, PURIFY_FACTS}), PURIFY_FACTS,
)  # fmt: skip
BUDGET = ModelKind(
    "distill",
    "models of a budget",
    BUDGET_MODELS,
    frozenset({IMPORTANCE_TARGET, IMPORTANCE_CORPUS, BUDGET_FACTS}),
    BUDGET_FACTS,
)
KINDS = (PURIFY, BUDGET)


@dataclass(frozen=True)
class ModelSet:
    """The models of a stage that lie in a run directory."""

    kind: ModelKind
    run: Path
    parts: tuple[Part, ...]

    def part(self, group: str) -> Part | None:
        """The part of a group, where there is one."""
        return next((part for part in self.parts if part.group == group), None)

    @property
    def files(self) -> dict[str, str]:
        """The files of the models by their groups."""
        return {part.group: str(self.run / part.path) for part in self.parts if part.group != self.kind.facts}

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the manifest tells of the models."""
        part = self.part(self.kind.facts)
        assert part is not None
        facts: dict[str, Any] = json.loads((self.run / part.path).read_text("utf-8"))
        return facts


def load_models(kind: ModelKind, run: Path, parts: Sequence[Part]) -> ModelSet | None:
    """The models among some parts of a run's ledger, if all that are needed are there with their files."""
    named = (replace(part, group=part.group.removeprefix(PENDING)) for part in parts)
    whole = tuple(part for part in named if part.group in kind.groups and is_intact(run, part))
    return ModelSet(kind, run, whole) if kind.needed.issubset(part.group for part in whole) else None


def models_in_force(kind: ModelKind, run: Path, parts: Sequence[Part]) -> ModelSet | None:
    """The models that the decisions in force were made by."""
    return load_models(kind, run, [part for part in parts if part.group in kind.groups])


def open_pinned(kind: ModelKind, pin: str | None) -> ModelSet | None:
    """The models of the run that `models.pin` names; None where it names none.

    Errors: RunError where there is no such run, or it has no such models.
    """
    if pin is None:
        return None
    run = fetch_run(pin, OUTPUT_FOLDERS)
    parts = read_ledger(run).parts
    if not parts:
        raise RunError(f"models.pin: {run}: not a run directory, or its run did not get far enough")
    models = models_in_force(kind, run, parts)
    if models is None:
        raise RunError(f"models.pin: {run}: holds no {kind.noun}; name a finished run with {kind.section}")
    return models


def copy_models(models: ModelSet, run: Path) -> ModelSet:
    """The same models in another run's directory, so that it stands without the first."""
    if models.run.resolve() != run.resolve():
        for part in models.parts:
            with committed(run / part.path) as aside:
                shutil.copyfile(models.run / part.path, aside)
    return replace(models, run=run)

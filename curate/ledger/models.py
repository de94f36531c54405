"""Models that a run trained: parts of its ledger, which are kept, pinned and copied together."""

import json
import shutil
from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, kw_only=True)
class ModelKind:
    """The kind of models that a stage trains."""

    section: str  # of the recipe
    noun: str  # for messages
    groups: tuple[str, ...]  # part groups of its files
    needed: frozenset[str]  # groups without which the others are of no use
    facts: str  # the group of the file with the models' facts for the manifest


PURIFY = ModelKind(
    section="tier2",
    noun="trained models",
    groups=PURIFY_MODELS,
    needed=frozenset({PURIFY_MODEL, ATTACKS, ROUNDS, CALIBRATION, PURIFY_FACTS}),
    facts=PURIFY_FACTS,
)
BUDGET = ModelKind(
    section="distill",
    noun="models of a budget",
    groups=BUDGET_MODELS,
    needed=frozenset({IMPORTANCE_TARGET, IMPORTANCE_CORPUS, BUDGET_FACTS}),
    facts=BUDGET_FACTS,
)


@dataclass(frozen=True)
class ModelSet:
    """The trained models of a stage, in a run directory."""

    kind: ModelKind
    run: Path
    parts: tuple[Part, ...]

    def part(self, group: str) -> Part | None:
        """The part of a group; None where there is none."""
        return next((part for part in self.parts if part.group == group), None)

    @property
    def files(self) -> dict[str, str]:
        """Paths of the models' files, by group."""
        return {part.group: str(self.run / part.path) for part in self.parts if part.group != self.kind.facts}

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """The models' facts for the manifest."""
        part = self.part(self.kind.facts)
        assert part is not None
        facts: Mapping[str, Any] = json.loads((self.run / part.path).read_text("utf-8"))
        return facts


def load_models(kind: ModelKind, run: Path, parts: Sequence[Part]) -> ModelSet | None:
    """The models among parts of a run's ledger; None unless all needed ones are there with intact files."""
    named = (replace(part, group=part.group.removeprefix(PENDING)) for part in parts)
    intact = tuple(part for part in named if part.group in kind.groups and is_intact(run, part))
    return ModelSet(kind, run, intact) if kind.needed.issubset(part.group for part in intact) else None


def models_in_force(kind: ModelKind, run: Path, parts: Sequence[Part]) -> ModelSet | None:
    """The models behind the decisions in force."""
    return load_models(kind, run, [part for part in parts if part.group in kind.groups])


def open_pinned(kind: ModelKind, pin: str | None) -> ModelSet | None:
    """The models of the run that `models.pin` names; None for no pin.

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
    """Copy models into another run directory, so that it does not depend on the first."""
    if models.run.resolve() != run.resolve():
        for part in models.parts:
            with committed(run / part.path) as aside:
                shutil.copyfile(models.run / part.path, aside)
    return replace(models, run=run)

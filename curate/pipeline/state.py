"""A run under way: by what it works, and what its stages have come to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.corpus.inputs import Found
from curate.decide.plan import Given, Plan
from curate.engine.base import Engine
from curate.ledger.augmented import Augmented
from curate.ledger.ledger import Ledger
from curate.progress import Log
from curate.recipe.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run is started."""

    given: Given | None = None  # of a run within another one
    force: bool = False  # it may take the place of a run of other input
    file: Path | None = None  # where the recipe lies
    inputs: Found | None = None  # what `check_names` made of the recipe's input, if it was asked before


@dataclass
class RunState:
    """A run under way."""

    recipe: Recipe
    plan: Plan
    ledger: Ledger
    engine: Engine
    threads: int  # that DuckDB may use
    log: Log
    options: RunOptions
    decisions: str = ""  # the digest of the decisions in force
    augmented: Augmented | None = None  # what the third tier has written
    overlaps: Mapping[str, Any] = field(default_factory=dict)  # of the input with what measures it, as run.json has it
    warnings: list[str] = field(default_factory=list)

"""The state of a running run: what it works with, and the results of its stages so far."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from curate.corpus.inputs import InputListing
from curate.decide.plan import Given, Plan
from curate.engine.base import Engine
from curate.ledger.augmented import Augmented
from curate.ledger.ledger import Ledger
from curate.progress import Log
from curate.recipe.recipe import Recipe
from curate.who.rates import Who


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run is started."""

    given: Given | None = None  # by the run that this one is part of
    force: bool = False  # whether the run directory may be of other input
    file: Path | None = None  # the recipe's file
    inputs: InputListing | None = None  # the input, if `check_names` has listed it already
    preview: Path | None = None  # for a forecast: a folder to write to, in place of the run directory

    @property
    def same_input(self) -> bool:
        """Whether the run directory must be new or of the same input."""
        return self.given is None and not self.force


DEFAULTS = RunOptions()
Judge = Callable[[Recipe, Given], object]  # runs a recipe as a part of another run


@dataclass(frozen=True, slots=True)
class OverlapWarnings:
    """Warnings of overlaps between the input and side files, as run.json has them."""

    digest: str  # of all that they depend on
    told: Sequence[str]


@dataclass(kw_only=True)
class RunState:
    """A running run."""

    recipe: Recipe
    plan: Plan
    ledger: Ledger
    engine: Engine
    threads: int  # of DuckDB
    log: Log
    options: RunOptions
    decisions: str = ""  # digest of the decisions in force
    augmented: Augmented | None = None  # the documents that tier 3 wrote
    who: Who | None = None  # who is dropped
    overlaps: OverlapWarnings | None = None
    warnings: list[str] = field(default_factory=list)

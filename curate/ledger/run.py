"""A run whose documents are decided, opened to look at or to ask: its recipe, and the ledger as it was decided."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import RunError
from curate.ledger.ledger import RUN_FACTS, Ledger, read_facts, read_ledger
from curate.ledger.names import DATA, DECISION_GROUPS, DECISIONS, INDEX, INPUT
from curate.ledger.runs import not_a_run
from curate.recipe.load import load_recipe
from curate.recipe.recipe import Recipe
from curate.sql import first_line, open_database

RECIPE = "recipe.yaml"


@dataclass(frozen=True)
class FinishedRun:
    """A run with its verdicts. The ledger has only what these follow from: other recipes may have measured more."""

    run: Path
    recipe: Recipe
    ledger: Ledger
    groups: dict[str, str]  # of signals, with digests
    columns: pa.Schema  # the input's columns that the ledger holds
    input_names: tuple[str, ...]  # all columns of the input
    working_directory: Path  # that relative paths of the recipe started from

    def located(self, path: str) -> str:
        """A path of the recipe, where it lies: from here, or from where the run was started."""
        there = self.working_directory / path
        return str(there) if not Path(path).exists() and there.exists() else path


def open_finished(run: Path) -> FinishedRun:
    """Open a run whose documents are decided.

    Errors: RunError where there are no verdicts, or files are missing; RecipeError for a damaged recipe.yaml.
    """
    ledger = read_ledger(run)
    if not ledger.of(DECISIONS):
        raise not_a_run(run, "verdicts")
    facts = read_facts(run)
    try:
        groups: dict[str, str] = dict(facts["signal_groups"])
        names, started = tuple(facts["input_columns"]), Path(facts["working_directory"])
    except (KeyError, TypeError, ValueError):
        raise RunError(f"{run}/{RUN_FACTS}: missing or damaged; run again to rebuild it") from None
    made = (*DECISION_GROUPS, DATA)
    ledger.parts = [part for part in ledger.parts if part.group in made or groups.get(part.group) == part.digest]
    for part in ledger.parts:
        if part.group != DATA and not (run / part.path).is_file():
            raise RunError(f"{run}/{part.path}: missing; run again")
    with readable(run):
        columns = _held_columns(ledger)
    return FinishedRun(run, load_recipe(run / RECIPE), ledger, groups, columns, names, started)


def _held_columns(ledger: Ledger) -> pa.Schema:
    """The input's columns that the ledger holds."""
    parts = ledger.of(INPUT)
    held = pq.read_schema(ledger.run / parts[0].path) if parts else pa.schema([])
    prefix = f"{INPUT}."
    return pa.schema([one.with_name(one.name.removeprefix(prefix)) for one in held if one.name.startswith(prefix)])


@contextmanager
def readable(run: Path) -> Iterator[None]:
    """Tell of files of a run that are damaged, or go while they are read.

    Errors: RunError.
    """
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        # Of a broken footer DuckDB says with its plainest class that it does not know a type.
        damage = (duckdb.IOException, duckdb.InvalidInputException, pa.ArrowException, OSError)
        if not isinstance(error, damage) and type(error) is not duckdb.Error:
            raise
        raise RunError(f"{run}: its ledger cannot be read ({first_line(error)}); run again") from None


def connect(run: Path, **settings: str) -> duckdb.DuckDBPyConnection:
    """A read-only connection to a run's index, from anywhere, with settings of DuckDB.

    The index may be somebody else's, whose views are queries like any other: none of them can write a file, change a
    setting or reach a network.

    Errors: RunError where the run has no index.
    """
    if not (run / INDEX).is_file():
        raise not_a_run(run, INDEX)
    try:
        return open_database(run.resolve() / INDEX, read_only=True, file_search_path=str(run.resolve()), **settings)
    except duckdb.Error as error:
        raise RunError(f"{run / INDEX}: cannot be opened: {first_line(error)}; run again to rebuild it") from None

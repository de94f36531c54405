"""A finished run, opened to inspect or query: its recipe, and the ledger as it was decided."""

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


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run with its verdicts.

    The ledger contains only parts that the verdicts depend on; the run directory may have others, of earlier recipes.
    """

    run: Path
    recipe: Recipe
    ledger: Ledger
    groups: dict[str, str]  # signal groups, with digests
    columns: pa.Schema  # input columns in the ledger
    input_names: tuple[str, ...]  # all columns of the input
    working_directory: Path  # what the recipe's relative paths are relative to

    def located(self, path: str) -> str:
        """A path of the recipe, resolved here if it exists, else from the run's working directory."""
        resolved = self.working_directory / path
        return str(resolved) if not Path(path).exists() and resolved.exists() else path


def open_finished(run: Path) -> FinishedRun:
    """Open a run whose documents are decided.

    Errors: RunError where verdicts or files are missing; RecipeError for a damaged recipe.yaml.
    """
    ledger = read_ledger(run)
    if not ledger.of(DECISIONS):
        raise not_a_run(run, "verdicts")
    facts = read_facts(run)
    try:
        groups: dict[str, str] = dict(facts["signal_groups"])
        input_names, working_directory = tuple(facts["input_columns"]), Path(facts["working_directory"])
    except (KeyError, TypeError, ValueError):
        raise RunError(f"{run}/{RUN_FACTS}: missing or damaged; run again to rebuild it") from None
    decided = (*DECISION_GROUPS, DATA)
    ledger.parts = [part for part in ledger.parts if part.group in decided or groups.get(part.group) == part.digest]
    for part in ledger.parts:
        if part.group != DATA and not (run / part.path).is_file():
            raise RunError(f"{run}/{part.path}: missing; run again")
    with readable(run):
        columns = _input_columns(ledger)
    return FinishedRun(
        run=run,
        recipe=load_recipe(run / RECIPE),
        ledger=ledger,
        groups=groups,
        columns=columns,
        input_names=input_names,
        working_directory=working_directory,
    )


def _input_columns(ledger: Ledger) -> pa.Schema:
    """The input columns in the ledger, by the corpus's names."""
    parts = ledger.of(INPUT)
    schema = pq.read_schema(ledger.run / parts[0].path) if parts else pa.schema([])
    prefix = f"{INPUT}."
    return pa.schema(
        [field.with_name(field.name.removeprefix(prefix)) for field in schema if field.name.startswith(prefix)]
    )


@contextmanager
def readable(run: Path) -> Iterator[None]:
    """Report files of a run that are damaged, or vanish while they are read.

    Errors: RunError.
    """
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        # For a damaged footer, DuckDB raises its base class with a message about an unknown type.
        damage = (duckdb.IOException, duckdb.InvalidInputException, pa.ArrowException, OSError)
        if not isinstance(error, damage) and type(error) is not duckdb.Error:
            raise
        raise RunError(f"{run}: its ledger cannot be read ({first_line(error)}); run again") from None


def connect(run: Path, **settings: str) -> duckdb.DuckDBPyConnection:
    """A read-only connection to a run's index, from anywhere, with settings of DuckDB.

    The index may come from an untrusted source, and its views may be arbitrary queries: none of them can write a file,
    change a setting or reach a network.

    Errors: RunError where the run has no index.
    """
    if not (run / INDEX).is_file():
        raise not_a_run(run, INDEX)
    try:
        return open_database(run.resolve() / INDEX, read_only=True, file_search_path=str(run.resolve()), **settings)
    except duckdb.Error as error:
        raise RunError(f"{run / INDEX}: cannot be opened: {first_line(error)}; run again to rebuild it") from None

"""Fill the narrow table with the documents of a run: of its index, or range by range of its ledger."""

from collections.abc import Mapping
from dataclasses import replace

import duckdb
import pyarrow.parquet as pq

from curate.decide.plan import AUDITED
from curate.ledger.ledger import Ledger
from curate.ledger.names import DOCUMENTS, INPUT
from curate.ledger.run import FinishedRun
from curate.ledger.views import document_ranges, load_files, load_signals
from curate.recipe.recipe import Recipe
from curate.sql import first_line, quoted
from curate.who.cells import TABLE, create_table, rows_sql
from curate.who.dimensions import FILE, Dimension, dimensions
from curate.who.inputs import Inputs, find_inputs
from curate.who.rates import Who, who

GROUPS = ("words", "language", "register", "mentions")  # of signals
SIGNALS = ("language", "length_bucket", "register", "mentions")


def from_index(
    recipe: Recipe, ledger: Ledger, connection: duckdb.DuckDBPyConnection
) -> tuple[dict[str, Dimension], Inputs]:
    """Fill the table by a connection to a run's index; return the dimensions, and the input's columns."""
    inputs = find_inputs(ledger, columns_in(ledger), connection)
    try:
        return _of_index(recipe, inputs, connection), inputs
    except duckdb.Error as error:  # a column of the files cannot be read
        if not inputs.kinds:
            raise
        inputs = replace(inputs, kinds=(), unread=first_line(error))
    return _of_index(recipe, inputs, connection), inputs


def _of_index(recipe: Recipe, inputs: Inputs, connection: duckdb.DuckDBPyConnection) -> dict[str, Dimension]:
    measured = set(connection.sql("SELECT * FROM signals LIMIT 0").columns).intersection(SIGNALS)
    wanted = {name: column for name in _columns(recipe) if (column := inputs.named(name)) is not None}
    found = dimensions(recipe, measured, {name: inputs.column(column) for name, column in wanted.items()})
    source = "decisions d JOIN signals s USING (file_no, row) JOIN inputs f USING (file_no)"
    create_table(connection, list(found.values()), source + inputs.joined(sorted(set(wanted.values()))))
    return found


def who_of_ledger(
    recipe: Recipe, groups: Mapping[str, str], ledger: Ledger, connection: duckdb.DuckDBPyConnection
) -> Who:
    """Who is dropped, by the dimensions that the ledger has, from it and table `decisions`."""
    found = _from_ledger(recipe, groups, ledger, connection)
    result = who(connection, list(found.values()), list(found))
    connection.execute(f"DROP TABLE {TABLE}")
    return result


def _from_ledger(
    recipe: Recipe, groups: Mapping[str, str], ledger: Ledger, connection: duckdb.DuckDBPyConnection
) -> dict[str, Dimension]:
    """Fill the table range by range; return the dimensions."""
    needed = {group: digest for group, digest in groups.items() if group in (DOCUMENTS, INPUT, *GROUPS)}
    found = ledger_dimensions(recipe, needed, ledger)
    load_files(connection, ledger)
    source = "decisions d JOIN signals s USING (file_no, row) JOIN files USING (file_no)"
    rows = rows_sql(list(found.values()), source)
    load_signals(connection, ledger, needed)
    connection.execute(f"DROP TABLE IF EXISTS who_sources; CREATE OR REPLACE TEMP TABLE {TABLE} AS {rows} LIMIT 0")
    for part in document_ranges(ledger, needed):
        load_signals(connection, ledger, needed, part.parts)
        here = f"(FROM decisions WHERE {part.coarse_sql}) d"
        connection.execute(f"INSERT INTO {TABLE} {rows.replace('decisions d', here)} WHERE {part.exact_sql}")
    connection.execute("DROP VIEW signals")
    return found


def ledger_dimensions(recipe: Recipe, groups: Mapping[str, str], ledger: Ledger) -> dict[str, Dimension]:
    """The dimensions that the ledger alone has, over its view `signals`, but the files."""
    measured = {name for name in SIGNALS if name in groups} | ({"length_bucket"} if "words" in groups else set())
    in_ledger = columns_in(ledger) if INPUT in groups else []
    columns = {name.lower(): f"{INPUT}.{quoted(name)}::VARCHAR" for name in in_ledger}
    wanted = {name: columns[name] for name in _columns(recipe) if name in columns}
    found = dimensions(recipe, measured, wanted)
    return {name: dimension for name, dimension in found.items() if name != FILE}


def common_dimensions(a: FinishedRun, b: FinishedRun) -> dict[str, Dimension]:
    """The dimensions that both ledgers have, with the SQL of the first."""
    of_a, of_b = (ledger_dimensions(run.recipe, run.groups, run.ledger) for run in (a, b))
    return {name: dimension for name, dimension in of_a.items() if name in of_b and dimension.sql == of_b[name].sql}


def columns_in(ledger: Ledger) -> list[str]:
    """The input's columns in the ledger."""
    parts = ledger.of(INPUT)
    names = pq.read_schema(ledger.run / parts[0].path).names if parts else []
    return [name.removeprefix(f"{INPUT}.") for name in names if name.startswith(f"{INPUT}.")]


def _columns(recipe: Recipe) -> list[str]:
    """The input's columns that make dimensions, in lower case."""
    return list(dict.fromkeys([*AUDITED, *(name.removesuffix("?").lower() for name in recipe.input.strata)]))

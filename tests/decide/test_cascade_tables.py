"""The tables of the cascade: their list is what the code creates, and each is dropped by its owner."""

import re
from pathlib import Path

import pytest

import curate
from curate.decide.schema import CASCADE, END, STAGES, TABLES
from curate.inspect.what_if import propose, redecide
from curate.ledger.names import STAGES as NAMES

PACKAGES = ("decide", "dedup", "distill/purify", "distill/budget")
# What a database of decisions has beside the cascade's tables: the ledger's views and files, and what-if's result.
BESIDE = {"files", "texts", "signals", "judged", "survivors", "after"}


def sources():
    """Module names and their texts."""
    root = Path(curate.__file__).parent
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            yield "curate." + path.relative_to(root).with_suffix("").as_posix().replace("/", "."), path.read_text()


def named_in(text, statement):
    """The tables that a module creates, or drops."""
    return set(re.findall(rf"{statement} (\w+)\b(?! AS FROM \{{texts)", text)) | (
        set(re.findall(r"\bcreate\(\s*\"(\w+)\"" if statement.startswith("CREATE") else r"\bdrop\(\s*\"(\w+)\"", text))
    )


def test_stages_are_those_of_the_ledger_in_their_order():
    assert tuple(stage.name for stage in STAGES) == NAMES


def test_every_table_that_the_cascade_creates_is_in_the_schema_under_its_owner():
    owners = {table.name: table.owner for table in TABLES}
    created = {name: module for module, text in sources() for name in named_in(text, "CREATE TEMP TABLE")}
    del created["materialised"]  # renamed to `judged` at once
    dynamic = {"copies", "named_copies", "duplicates"}  # created in a loop
    assert created | dict.fromkeys(dynamic, CASCADE) == owners


def test_a_table_is_dropped_by_its_owner_alone():
    owners = {table.name: table.owner for table in TABLES}
    dropped = [(module, name) for module, text in sources() for name in named_in(text, "DROP TABLE")]
    dropped = [(module, name) for module, name in dropped if name in owners]
    assert dropped
    assert [(module, name) for module, name in dropped if owners[name] != module] == []
    scratch = {table.name for table in TABLES if table.owner != CASCADE}
    assert scratch <= {name for _, name in dropped}


@pytest.mark.parametrize("of", ["purified", "distilled"])
def test_findings_alone_outlive_the_cascade_and_have_the_columns_of_the_schema(of, request):
    _, run = request.getfixturevalue(of)
    with redecide(propose(run, [], quiet=True), threads=1) as database:
        rows = database.execute(
            "SELECT table_name, list(column_name || ' ' || data_type ORDER BY column_index) "
            "FROM duckdb_columns() WHERE NOT internal AND database_name = 'temp' GROUP BY table_name"
        ).fetchall()
    columns = {name: ", ".join(kinds) for name, kinds in rows if not name.startswith("here_")}
    kept = {table.name: table for table in TABLES if table.until == END and table.owner == CASCADE}
    assert columns.keys() - BESIDE == kept.keys()
    assert {name: columns[name] for name in kept} == {name: table.columns for name, table in kept.items()}

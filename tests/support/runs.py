"""Finished runs that tests share, and what a finished run holds."""

import hashlib
import json

import pyarrow.parquet as pq
import pytest
from support.commands import carry_out, command
from support.recipes import distilling, purifying

from curate.ledger.run import connect


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """The run directory of a finished demo."""
    run = tmp_path_factory.mktemp("demo") / "run"
    done = command("demo", "--set", f"output={run}", "--quiet")
    assert done.returncode == 0, done.stderr
    return run


@pytest.fixture(scope="session")
def purified(corpus, tmp_path_factory):
    """A finished run with rules, lines and a second tier."""
    path, run = purifying(
        corpus, tmp_path_factory.mktemp("purified"), tier1={"rules": ["gopher"]}, dedup={"lines": {"max_repeats": 5}}
    )
    carry_out(path)
    return path, run


@pytest.fixture(scope="session")
def distilled(corpus, tmp_path_factory):
    """A finished run with a budget."""
    path, run = distilling(corpus, tmp_path_factory.mktemp("distilled"))
    carry_out(path)
    return path, run


def manifest_json(run):
    """The fields of a run's manifest.json."""
    return json.loads((run / "manifest.json").read_text())


def digests(run):
    """SHA-256 of every file whose bytes are promised: ledger parts, data, manifest."""
    found = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if path.is_file() and (
            name == "manifest.json"
            or name.startswith(("ledger/signals", "ledger/pairs", "ledger/edits", "ledger/decisions", "data/"))
        ):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def documents(run, columns="*", where="true"):
    """Rows of the view `documents`."""
    with connect(run) as connection:
        return connection.execute(f"SELECT {columns} FROM documents WHERE {where} ORDER BY file, row").fetchall()


def table(run, query):
    with connect(run) as connection:
        return connection.execute(query).fetchall()


def output(run):
    return pq.read_table(sorted((run / "data").glob("*.parquet")))


def corpus_rows(run, columns):
    with connect(run) as connection:
        return connection.execute(f"SELECT {columns} FROM corpus ORDER BY file, row").fetchall()

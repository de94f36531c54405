"""`curate sql` takes a query from the command line, a file or stdin, from anywhere, and changes nothing."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from support.commands import carry_out, command
from support.corpora import PROSE, write_shard
from support.paths import ROOT
from support.recipes import write_recipe

import curate.pipeline.index
from curate.errors import CurateError
from curate.ledger.run import connect
from curate.sql import only_query

QUERY = "SELECT reason, count(*) AS n FROM dropped GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run with every view that there is, those over the ledger's files included, and groups that `who` shows."""
    monkeypatch.setattr(curate.pipeline.index, "SIGNALS_AS_TABLE", 1)
    question = "what is the sum of all the numbers from one to one hundred when each is doubled"
    texts = [f"{PROSE * 2} {k}\nMENU OF THINGS\nWrite to jane.doe@gmail.com" for k in range(22)]
    write_shard(tmp_path / "in" / "a.parquet", [*texts, texts[0], f"{PROSE} {question}", "short"])
    (tmp_path / "in" / "b.jsonl").write_text(json.dumps({"text": PROSE.upper()}) + "\n")
    (tmp_path / "bench.jsonl").write_text(json.dumps({"question": question}) + "\n")
    tier1 = {
        "rules": ["gopher", "refinedweb"],
        "pii": "redact",
        "perplexity": {"band": [0, 99]},
        "decontaminate": {"against": [str(tmp_path / "bench.jsonl")]},
    }
    recipe, run = write_recipe(
        tmp_path, tmp_path / "in", tier1=tier1, dedup={"near": {"threshold": 0.9}}, allow_empty=True
    )
    carry_out(recipe)
    return run


def views(run):
    with connect(run) as connection:
        return [name for (name,) in connection.execute("SELECT table_name FROM information_schema.tables").fetchall()]


def test_the_query_stands_in_a_file_or_comes_from_stdin(demo, tmp_path):
    (tmp_path / "query.sql").write_text(f"-- what was dropped most\n{QUERY};\n")
    expected = "reason,n\ntoo_few_words,225\n"
    assert command("sql", demo, "--file", tmp_path / "query.sql", "--format", "csv").stdout == expected
    arguments = [sys.executable, "-m", "curate", "sql", str(demo), "--format", "csv"]
    done = subprocess.run(arguments, input=QUERY, capture_output=True, text=True, check=True)
    assert done.stdout == expected


def test_a_query_twice_none_or_in_a_file_that_is_not_there_is_one_line(demo, tmp_path):
    for arguments, error in [
        ((QUERY, "--file", "x.sql"), "sql: a query and --file are given; leave one out"),
        (("--file", tmp_path / "no.sql"), f"sql: {tmp_path / 'no.sql'}: no such file or directory"),
        (("",), "sql: one query is expected, got nothing"),
        (("SELECT 1; SELECT 2",), "sql: one query is expected, got 2"),
    ]:
        done = command("sql", demo, *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"Error: {error}\n")


def test_every_view_answers_from_anywhere_after_the_run_was_moved(run, tmp_path):
    names = views(run)
    assert {"edits", "contamination", "duplicate_pairs", "signals", "bands", "corpus"} <= set(names)
    moved = tmp_path / "moved here"
    shutil.move(run, moved)
    (tmp_path / "else").mkdir()
    for name in names:
        done = command("sql", moved, f"SELECT count(*) AS n FROM {name}", "--format", "json", cwd=tmp_path / "else")
        assert (done.returncode, done.stderr) == (0, ""), name
        assert json.loads(done.stdout)[0]["n"] > 0, name
    done = command("sql", "../moved here", "SELECT count(*) FROM edits", cwd=tmp_path / "else")
    assert done.returncode == 0, done.stderr


def test_any_duckdb_that_is_started_in_the_run_directory_answers_for_every_view(run, tmp_path):
    names = views(run)
    moved = tmp_path / "moved here"
    shutil.move(run, moved)
    code = (
        "import duckdb\n"
        "connection = duckdb.connect('run.duckdb', read_only=True)\n"
        f"print([connection.execute(f'SELECT count(*) FROM {{name}}').fetchone()[0] for name in {names}])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=moved, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert min(json.loads(done.stdout)) > 0


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("COPY (SELECT 1) TO '{out}'", "COPY"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}'", "COPY"),
        ("EXPLAIN /* x */ (ANALYZE, FORMAT json) COPY (SELECT 1) TO '{out}'", "COPY"),
        ("COPY (PIVOT documents ON stage USING count(*)) TO '{out}'", "COPY"),
        ("EXPORT DATABASE '{out}'", "EXPORT"),
        ("ATTACH '{out}'", "ATTACH"),
        ("INSERT INTO inputs SELECT * FROM inputs", "INSERT"),
        ("DROP TABLE decisions", "DROP"),
        ("CREATE TEMP TABLE x AS SELECT 1", "CREATE"),
        ("SET threads = 1", "SET"),
        ("PRAGMA database_size", "PRAGMA"),
        ("INSTALL httpfs", "INSTALL"),
        ("LOAD httpfs", "LOAD"),
        ("CHECKPOINT", "CHECKPOINT"),
        ("USE memory", "USE"),
    ],
)
def test_what_could_write_is_refused_and_writes_nothing(demo, tmp_path, query, word):
    before = (demo / "run.duckdb").read_bytes()
    done = command("sql", demo, query.format(out=tmp_path / "out"))
    told = f"Error: sql: {word} is refused: a run is only read, by SELECT, FROM, DESCRIBE, SHOW or EXPLAIN\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)
    assert list(tmp_path.iterdir()) == []
    assert (demo / "run.duckdb").read_bytes() == before


@pytest.mark.parametrize(
    "query",
    [
        "FROM documents",
        "/* é */ WITH x AS (SELECT 1) SELECT * FROM x -- ;",
        "VALUES (1)",
        "DESCRIBE documents",
        "SHOW TABLES",
        "SUMMARIZE documents",
        "PIVOT documents ON stage USING count(*)",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE SELECT 1",
        "EXPLAIN (ANALYZE, FORMAT json) SELECT 1",
    ],
)
def test_what_only_reads_is_taken(query):
    assert only_query(query, "sql").startswith(query[:10])


def test_a_plan_is_shown_as_duckdb_draws_it(demo):
    done = command("sql", demo, "EXPLAIN SELECT count(*) FROM documents")
    assert done.returncode == 0, done.stderr
    assert "Hash Join" in done.stdout


def test_a_table_shows_texts_literally_and_nothing_that_a_terminal_obeys(demo):
    done = command("sql", demo, "SELECT '[red]x' || chr(27) || '[2J' || chr(8238) AS \"[b]\"")
    assert "[b]" in done.stdout
    assert "[red]x␛[2J⟨202E⟩" in done.stdout


def test_there_are_ten_tasks_or_more_in_the_docs_and_what_the_demo_lacks_answers_here(run):
    page = (ROOT / "docs" / "queries.md").read_text("utf-8")
    tasks = [section for section in page.split("\n## ")[1:] if "curate sql runs/" in section]
    assert len(tasks) >= 10
    others = re.findall(r'^curate sql runs/web "(.*)"$', page, re.MULTILINE)
    assert len(others) == 2
    for query in [*others, "SELECT reason, stage, count(*) FROM edits GROUP BY ALL"]:
        done = command("sql", run, query, "--format", "json")
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)


def test_what_is_no_run_is_told_before_anything_is_asked(tmp_path):
    done = command("sql", tmp_path, "SELECT 1")
    assert done.stderr.startswith(f"Error: {tmp_path}: no run.duckdb: not a run directory; ")
    with pytest.raises(CurateError):
        only_query("SELECT 1; SELECT 2", "sql")


def test_what_stands_behind_the_last_semicolon_does_no_harm(demo):
    for query in ("SELECT 5 AS five; -- c", "SELECT 5 AS five -- tail\n; -- end", "SELECT 5 AS five /* ; */"):
        for form in ("csv", "json"):
            done = command("sql", demo, query, "--format", form)
            assert (done.returncode, done.stderr) == (0, "")
            assert "5" in done.stdout


def test_rows_of_more_columns_than_fit_are_blocks_of_lines(demo):
    shown = command("sql", demo, "SELECT * FROM kept ORDER BY doc_id LIMIT 2").stdout
    assert re.findall(r"^── \d+", shown, re.MULTILINE) == ["── 0", "── 1"]
    [words] = [line.split() for line in shown.split("── 1")[0].splitlines() if line.startswith("n_words ")]
    with connect(demo) as connection:
        [[expected]] = connection.execute("SELECT n_words FROM kept ORDER BY doc_id LIMIT 1").fetchall()
    assert words == ["n_words", str(expected)]


def test_every_view_is_read_by_any_client_from_any_folder_also_of_a_run_that_was_moved(run, tmp_path):
    """The run's second file is JSON lines, whose Parquet lies in the run directory."""
    names = views(run)
    assert {"corpus", "edits", "duplicate_pairs", "contamination", "signals"} <= set(names)
    query = "SELECT doc_id, input.text AS text FROM corpus ORDER BY file, row"
    with connect(run) as connection:
        counts = [connection.execute(f"SELECT count(*) FROM {name}").fetchone() for name in names]
        texts = connection.execute(query).fetchall()
    assert len(texts) == 26
    assert texts[-1][1] == PROSE.upper()
    program = (
        "import duckdb, sys\n"
        "connection = duckdb.connect(sys.argv[1], read_only=True)\n"
        "print([connection.execute(f'SELECT count(*) FROM {name}').fetchone() for name in sys.argv[3:]])\n"
        "print(connection.execute(sys.argv[2]).fetchall())\n"
    )
    moved = tmp_path / "it's [a] moved*"
    for place in (run, moved):
        if place == moved:
            run.rename(moved)
        for folder, path in (
            ("/", place / "run.duckdb"),
            (tmp_path, f"{place.name}/run.duckdb"),
            (place, "run.duckdb"),
        ):
            words = [sys.executable, "-c", program, str(path), query, *names]
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
            assert done.stdout == f"{counts}\n{texts}\n"


def test_corpus_says_what_to_do_where_inputs_are_gone(run, tmp_path):
    (tmp_path / "in").rename(tmp_path / "elsewhere")
    done = command("sql", run, "SELECT count(input.text) FROM corpus")
    assert done.returncode == 1
    assert done.stderr.endswith(
        "`corpus` reads input files where they lay at the last run: put them back there, or run again\n"
    )


def test_a_table_cuts_long_texts_and_says_how_to_have_them(demo):
    query = "SELECT repeat('y', 5000) AS long"
    told = command("sql", demo, query).stdout
    assert told.count("y") == 300
    assert "… texts are cut at 300 characters; --format csv prints them whole" in told
    assert command("sql", demo, query, "--format", "csv").stdout.count("y") == 5000

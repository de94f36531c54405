"""SQL that means harm, in queries, conditions, recipes and the views of somebody else's run directory."""

import http.server
import shutil
import threading

import duckdb
import pytest
from support.commands import carry_out, command
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe

from curate.errors import CurateError, RecipeError
from curate.ledger.names import INDEX
from curate.ledger.run import connect
from curate.report.page import write_report
from curate.sql import literal


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of a few documents."""
    folder = tmp_path_factory.mktemp("run")
    write_shard(folder / "in" / "a.parquet", [f"{PROSE} {PROSE} {k}" for k in range(6)])
    recipe, run = write_recipe(folder, folder / "in", tier1={"rules": ["gopher"]})
    carry_out(recipe)
    return run


@pytest.fixture
def visits():
    """The paths that are asked of a server on this machine, whose address is the first entry."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    asked.append(f"http://127.0.0.1:{server.server_port}")
    yield asked
    server.shutdown()
    server.server_close()


def queries_that_write(folder):
    """Queries by which DuckDB writes files, or changes what later queries do."""
    aside = literal(str(folder / "written"))
    return [
        f"COPY (SELECT 1) TO {aside}",
        f"EXPLAIN ANALYZE COPY (SELECT 1) TO {aside}",
        f"ATTACH {aside}",
        f"EXPORT DATABASE {aside}",
        f"FROM enable_logging(storage = 'file', storage_path = {aside})",
        f"FROM query({literal(f'COPY (SELECT 1) TO {aside}')})",
        "FROM enable_profiling('json')",
        "SET memory_limit = '1GB'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CREATE PERSISTENT SECRET s (TYPE s3)",
        "WITH w AS (DELETE FROM decisions RETURNING *) FROM w",
    ]


@pytest.mark.parametrize("number", range(12))
def test_a_query_writes_no_file_and_changes_no_setting(finished, tmp_path, number):
    query = queries_that_write(tmp_path)[number]
    before = (finished / INDEX).read_bytes()
    done = command("sql", finished, query)
    assert done.returncode == 1, query
    assert done.stderr.startswith("Error: sql: ")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert (finished / INDEX).read_bytes() == before


def test_nothing_that_a_shell_is_asked_is_written_by_later_queries(finished, tmp_path):
    with connect(finished) as connection:
        with pytest.raises(duckdb.Error, match="locked"):
            connection.execute(
                f"FROM enable_logging(storage = 'file', storage_path = {literal(str(tmp_path / 'log'))})"
            )
        connection.execute("SELECT 42").fetchall()
    assert list(tmp_path.iterdir()) == []


def test_no_query_reaches_a_network_or_an_extension(finished, visits):
    for query in (
        f"FROM '{visits[0]}/a.csv'",
        f"FROM read_text('{visits[0]}/b')",
        f"FROM read_parquet('{visits[0]}/c.parquet')",
        "FROM 's3://bucket/a.parquet'",
        "FROM sqlite_scan('a', 'b')",
    ):
        with connect(finished) as connection, pytest.raises(duckdb.Error, match="extension"):
            connection.execute(query)
    assert visits[1:] == []


@pytest.mark.parametrize("name", ["documents", "kept", "decisions", "about", "corpus", "stages"])
def test_views_of_a_foreign_run_directory_neither_write_nor_reach_a_network(finished, tmp_path, visits, name):
    run = tmp_path / "foreign"
    shutil.copytree(finished, run)
    aside = literal(str(tmp_path / "written"))
    with duckdb.connect(run / INDEX) as connection:
        kinds = dict(connection.execute("SELECT table_name, table_type FROM information_schema.tables").fetchall())
        kind = "VIEW" if kinds.get(name) == "VIEW" else "TABLE"
        if kind == "TABLE":
            connection.execute(f"ALTER TABLE {name} RENAME TO own")
            source = "own"
        else:
            [(source,)] = connection.execute(
                f"SELECT sql FROM duckdb_views() WHERE view_name = {literal(name)} AND NOT internal"
            ).fetchall()
            source = f"({source.partition(' AS ')[2].rstrip().rstrip(';')})"
        connection.execute(
            f"CREATE OR REPLACE VIEW {name} AS SELECT o.* FROM {source} o, "
            f"enable_logging(storage = 'file', storage_path = {aside}) LIMIT 1000"
        )
    for ask in (
        lambda: command("sql", run, f"SELECT count(*) FROM {name}"),
        lambda: write_report(run, tmp_path / "report.html"),
        lambda: command("what-if", run, "--set", "tier1.thresholds.too_few_words=1"),
        lambda: command("sample", run),
    ):
        try:
            done = ask()
        except (CurateError, duckdb.Error):
            continue
        assert "Traceback" not in getattr(done, "stderr", "")
    assert not (tmp_path / "written").exists()
    assert visits[1:] == []


CONDITIONS = [
    "n_words < (SELECT count(*) FROM read_text('/etc/hostname'))",
    "EXISTS (FROM duckdb_secrets())",
    "n_words < 5; COPY (SELECT 1) TO 'evil.csv'",
    "n_words < 5) UNION (SELECT 1",
    "length(current_setting('home_directory')) < n_words",
    "ST_X(ST_Point(1, 2)) < n_words",
    "n_words < (FROM 'http://127.0.0.1:9/a.csv')",
    "read_blob('/etc/hostname') IS NULL",
    "getenv('HOME') = 'x'",
    "n_words < nextval('s')",
]


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("field", ["when", "if"])
def test_a_condition_of_a_recipe_reads_its_own_row_alone(tmp_path, condition, field):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE])
    rule = {"reason": "x", "when": condition}
    if field == "if":
        rule = {"reason": "x", "signal": "n_words", "min": 1, "if": condition}
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["gopher", rule]})
    with pytest.raises(RecipeError, match=r"tier1\.rules: x: "):
        carry_out(recipe)


@pytest.mark.parametrize(
    "condition",
    [
        "length(repeat('a', 4000000000)) > n_words",
        "length(REPEAT('a', 2000000000)) > n_words",
        "n_words < length(lpad('a', 2000000000, 'b'))",
        "rpad(input.text, 2000000000, 'b') = ''",
        "printf('%2000000000d', n_words) = ''",
        "format('{:2000000000}', n_words) = ''",
        "len(range(3000000000)) > n_words",
        "len(generate_series(1, 3000000000)) > n_words",
        "len([1].list_resize(2000000000)) > n_words",
        "length(bar(1, 0, 1, 2000000000)) > n_words",
        f"length(list_reduce([{', '.join(['input.text'] * 34)}], lambda a, b: a || a)) > n_words",
    ],
)
@pytest.mark.parametrize("field", ["when", "if"])
def test_a_condition_that_would_fill_the_memory_is_refused_before_it_is_tried(tmp_path, condition, field):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE])
    rule = {"reason": "x", "when": condition}
    if field == "if":
        rule = {"reason": "x", "signal": "n_words", "min": 1, "if": condition}
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [rule]})
    with pytest.raises(RecipeError, match=r"tier1\.rules: x: .*of any length"):
        carry_out(recipe)


def nested(expression, old, new, times):
    for _ in range(times):
        expression = f"replace({expression}, '{old}', '{new}')"
    return expression


@pytest.mark.parametrize(
    "condition",
    [
        f"length({nested('input.text', 'e', 'eeeeeeeeee', 9)}) > n_words",
        f"length(upper({nested('lower(input.text)', 'e', 'ee', 7)})) > n_words",
        "length(replace(input.text, 'e', input.text)) > n_words",
        f"length(REPLACE(input.text, ' ', '{'x' * 200}')) > n_words",
        f"length(regexp_replace(input.text, '', '{'y' * 100}', 'g')) > n_words",
        r"length(regexp_replace(regexp_replace(input.text, '(.*)', '\1\1\1\1\1\1'), '', '\0\0\0\0\0\0')) > n_words",
    ],
)
def test_replacements_that_would_fill_the_memory_are_refused_before_they_are_tried(tmp_path, condition):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE])
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [{"reason": "x", "when": condition}]})
    with pytest.raises(RecipeError, match="times as long here, which fills the memory"):
        carry_out(recipe)


@pytest.mark.parametrize(
    "condition",
    [
        f"length(input.text.replace('e', '{'x' * 200}')) > n_words",
        f"length(replace(input.text, 'e', {' || '.join([literal('x' * 60)] * 2)})) > n_words",
        f"length(replace(input.text, 'e', {nested(literal('e'), 'e', 'eeeeeeeeee', 9)})) > n_words",
        f"length(regexp_replace(input.text, '[[:alpha:]]*', '{'y' * 100}', 'g')) > n_words",
        rf"length(regexp_replace(input.text, '\b', '{'y' * 100}', 'g')) > n_words",
        r"length(regexp_replace(regexp_replace(input.text, '.+', '\0\0\0\0\0\0'), '.+', '\0\0\0\0\0\0')) > n_words",
    ],
)
def test_replacements_that_grow_in_other_ways_are_refused(tmp_path, condition):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE])
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [{"reason": "x", "when": condition}]})
    with pytest.raises(RecipeError, match="times as long here, which fills the memory") as refusal:
        carry_out(recipe)
    assert "inf " not in str(refusal.value)


def digits_hidden(expression, times):
    for _ in range(times):
        expression = f"regexp_replace({expression}, '[0-9]', '0', 'g')"
    return expression


def test_replacements_that_cannot_grow_a_text_are_conditions(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE])
    conditions = [
        "replace(input.text, chr(10), chr(32)) = ''",
        r"regexp_replace(input.text, '\s+', chr(32), 'g') = ''",
        "input.text.replace('a', 'b') = ''",
        r"input.text.regexp_replace('\s', ' ', 'g') = ''",
        "(input.text).replace('a', 'b').replace('b', 'c') = ''",
        "replace(input.text, 'a', 'b' || 'c') = ''",
        "replace(input.text, 'a', replace('b', 'b', 'cc')) = ''",
        "replace(input.text, 'a', NULL) = ''",
        "main.replace(input.text, 'a', 'b') = ''",
        f"{digits_hidden('input.text', 7)} = ''",
        f"regexp_replace(input.text, '^', '{'>' * 200}') = ''",
    ]
    rules = [{"reason": f"x{k}", "when": condition} for k, condition in enumerate(conditions)]
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": rules})
    assert carry_out(recipe)["documents_out"] == 1


@pytest.mark.parametrize("condition", ["replace(input.text, 'a') = ''", "regexp_replace(input.text) = ''"])
def test_a_wrong_number_of_arguments_is_told_of_in_the_words_of_duckdb(tmp_path, condition):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE])
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [{"reason": "x", "when": condition}]})
    with pytest.raises(RecipeError, match="No function matches the given name and argument types"):
        carry_out(recipe)


def test_replacements_that_clean_a_text_are_conditions_like_any_other(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE])
    clean = nested(nested("lower(input.text)", "  ", " ", 20), "x", "yy", 3)
    condition = f"regexp_replace(regexp_replace({clean}, '[0-9]+', 'N', 'g'), '[^a-z]', '', 'g') = ''"
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [{"reason": "x", "when": condition}]})
    assert carry_out(recipe)["documents_out"] == 1


@pytest.mark.parametrize(
    "where", ["kept; COPY (SELECT 1) TO 'evil.csv'", "kept) UNION (SELECT 1", "true) --", "ST_X(ST_Point(1, 2)) = 0"]
)
def test_where_is_one_condition(finished, tmp_path, where):
    done = command("sample", finished, "--where", where)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: sample: --where")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())

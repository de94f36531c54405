"""The shell of `curate sql` in a terminal of its own: a real one, that a user could sit at."""

import fcntl
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from curate.cli.shell import Shell, is_complete
from curate.ledger.run import connect

TAB, ENTER, UP, CTRL_C, CTRL_D = "\t", "\r", "\x1b[A", "\x03", "\x04"
SLOW = "SELECT count(*) AS slow FROM range(100000000) a, range(100000) b WHERE (a.range * b.range) % 7 = 3;"


class Terminal:
    """A process on a pseudo-terminal of 100 columns."""

    def __init__(self, run, home, *arguments):
        self.master, inner = pty.openpty()
        termios.tcsetwinsize(inner, (50, 100))
        environment = {**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "XDG_STATE_HOME": str(home)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "curate", "sql", str(run), *arguments],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C is a signal while a query runs
        )
        os.close(inner)
        self.seen = ""

    def write(self, text):
        os.write(self.master, text.encode())

    def read_until(self, pattern, seconds=60):
        """What is printed up to a pattern, without the codes that move the cursor."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.seen)):
            assert time.monotonic() < end, self.seen[-2000:]
            if select.select([self.master], [], [], 0.2)[0]:
                try:
                    data = os.read(self.master, 65536).decode("utf-8", "replace")
                except OSError:  # the process has ended
                    data = ""
                assert data, self.seen[-2000:]
                self.seen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]", "", data)
        told, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return told

    def ask(self, text, answer):
        """Write a line at the prompt and read up to the answer."""
        self.write(text + ENTER)
        return self.read_until(answer)

    def complete(self, text, rest):
        """Write the begin of a word, press Tab, and read the rest of it."""
        self.write(text + TAB)
        self.read_until(f"{re.escape(text.split()[-1])}{rest}|{rest}$")

    def begin_again(self):
        """Clear what is written, and read up to a prompt that follows everything before."""
        self.write(CTRL_C)
        self.read_until("run>")
        self.write(".mode table" + ENTER)
        self.ask("SELECT 1000 + 1 AS fresh;", r"\b1001\b")
        self.read_until("run>")
        self.seen = ""

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture(scope="module")
def terminal(demo, tmp_path_factory):
    """One process for all tests of this file that do not end it."""
    terminal = Terminal(demo, tmp_path_factory.mktemp("home"))
    terminal.read_until("run>")
    yield terminal
    terminal.close()


@pytest.fixture
def shell(terminal):
    """A shell at its prompt, as if it had just begun."""
    terminal.begin_again()
    return terminal


def test_a_query_over_several_lines_is_carried_out_at_its_semicolon(shell):
    shell.write("SELECT stage, count(*) AS n" + ENTER)
    shell.write("FROM dropped -- a comment;" + ENTER)
    told = shell.ask("GROUP BY stage ORDER BY n DESC LIMIT 1;", r"rules\s+433")
    assert "Error" not in told


def test_tab_shows_the_names_that_a_word_may_become(shell):
    shell.write("SELECT dupl" + TAB)
    told = shell.read_until("duplicate_line|duplicate_pairs")
    assert "duplicate_of" in told


def test_tab_completes_columns_of_the_input_tables_functions_and_keywords(shell):
    shell.complete("SELECT max(input.lab", "el")
    shell.complete(") AS top, list_distin", "ct")
    shell.complete("([7, 7]) AS one FROM corp", "us")
    shell.complete(" WHERE n_words BETWE", "EN")
    shell.ask(" 1 AND 90;", r"[a-z_]+\s+\[7\]")


def test_tab_completes_commands_and_what_they_are_about(shell):
    shell.complete(".sch", "ema")
    shell.complete(" clu", "sters")
    shell.ask("", r"survivor\s+VARCHAR")


def test_an_error_is_one_line_and_does_not_end_the_shell(shell):
    told = shell.ask("SELECT nope FROM documents;", r"Error: Binder Error[^\n]*\n")
    assert 'Referenced column "nope" not found' in told
    shell.read_until("run>")
    shell.ask(".schem documents", r"Error: no command \.schem; did you mean '\.schema'\?")
    shell.read_until("run>")
    shell.ask("SELECT 41 + 1 AS answer;", "42")


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("COPY (SELECT 1) TO 'out.csv';", "COPY"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO 'out.csv';", "COPY"),
        ("ATTACH 'other.duckdb';", "ATTACH"),
        ("INSERT INTO inputs SELECT * FROM inputs;", "INSERT"),
        ("SET threads = 1;", "SET"),
        ("PRAGMA database_size;", "PRAGMA"),
        ("INSTALL httpfs;", "INSTALL"),
        ("LOAD httpfs;", "LOAD"),
        ("CREATE TEMP TABLE x AS SELECT 1;", "CREATE"),
    ],
)
def test_nothing_but_reading_is_carried_out(shell, statement, word):
    told = shell.ask(statement, r"Error: [^\n]*\n")
    assert f"sql: {word} is refused: a run is only read" in told.replace("\r\n", "")
    shell.read_until("run>")
    assert not Path("out.csv").exists()


def test_ctrl_c_clears_what_is_written_and_stops_a_query_and_ends_nothing(shell):
    shell.write("SELECT nonsense" + CTRL_C)
    shell.read_until("run>")
    shell.write(SLOW + ENTER)
    time.sleep(2)
    shell.write(CTRL_C)
    shell.read_until("Error: the query was interrupted", 20)
    shell.read_until("run>", 20)
    told = shell.ask("SELECT 41 + 1 AS answer;", r"\b42\b")
    assert "Error" not in told  # as there would be of nonsense with a query behind it


def test_history_brings_back_what_an_earlier_shell_was_asked_and_lies_outside_of_the_run(demo, tmp_path):
    before = sorted(path.name for path in demo.iterdir())
    for keys in ("SELECT 40 + 2 AS answer;", UP):
        terminal = Terminal(demo, tmp_path / "home")
        terminal.read_until("run>")
        terminal.ask(keys, "42")
        terminal.read_until("run>")
        terminal.write(CTRL_D)
        assert terminal.process.wait(20) == 0
        terminal.close()
    assert sorted(path.name for path in demo.iterdir()) == before
    history = tmp_path / "home" / "curate" / "sql_history"
    assert history.read_text().count("40 + 2") == 1
    assert history.stat().st_mode & 0o077 == 0


def test_commands_list_tables_columns_and_modes_and_read_files(shell, tmp_path):
    shell.ask(".tables", r"duplicate_pairs\s+every pair of copies")
    shell.read_until("run>")
    shell.ask(".schema clusters", r"survivor\s+VARCHAR")
    shell.read_until("run>")
    (tmp_path / "two.sql").write_text("SELECT 'first' AS a;\nSELECT 'second' AS b;")
    shell.ask(f".read {tmp_path / 'two.sql'}", r"first(.|\n)*second")
    shell.read_until("run>")
    shell.ask(".mode json", "run>")
    shell.ask("SELECT 1 AS one, [1, 2] AS two;", r'"one": 1,\s+"two": \[\s+1,\s+2')
    shell.read_until("run>")
    shell.ask(".mode csv", "run>")
    shell.ask("SELECT 1 AS one, 'a,b' AS two;", 'one,two\r\n1,"a,b"')
    shell.read_until("run>")
    shell.ask(".mode xml", r"no mode 'xml' \(known: csv, json, table\)")
    shell.read_until("run>")
    shell.ask(".help", r"\.schema NAME")


@pytest.mark.parametrize("word", ["help", "help;", "HELP", ".help", r"\?"])
def test_help_shows_the_views_with_a_line_each_and_how_to_leave(shell, word):
    told = shell.ask(word, r"about +the index itself\s+run>")
    assert re.search(r"\.quit +leave", told)
    assert re.search(r"documents +every input document: .*start here", told)
    assert "Error" not in told


@pytest.mark.parametrize("word", [r"\d", "show tables;", ".views"])
def test_tables_are_listed_by_what_a_row_of_each_is(shell, word):
    told = shell.ask(word, r"about +the index itself")
    assert told.index("documents ") < told.index("dropped ") < told.index("clusters ")


def test_quit_leaves(demo, tmp_path):
    terminal = Terminal(demo, tmp_path / "home")
    terminal.read_until("run>")
    terminal.write("quit" + ENTER)
    assert terminal.process.wait(20) == 0
    terminal.close()


@pytest.mark.parametrize("word", ["exit", "quit;", "EXIT ;", ".quit", ".exit", r"\q"])
def test_words_of_other_shells_leave(demo, word):
    with connect(demo) as connection:
        there = Shell(connection, "table")
        assert is_complete(word)
        assert not there.execute(word)
        assert there.execute("SELECT 1 AS quit;")


def test_long_texts_are_cut_and_the_shell_says_how_to_have_them_whole(shell):
    told = shell.ask("SELECT repeat('x', 9) || repeat('y', 5000) AS long;", r"\.mode csv prints them whole")
    assert "… texts are cut at 300 characters; .mode csv" in told
    assert told.count("y") < 400
    shell.read_until("run>")
    shell.ask(".mode csv", "run>")
    shell.ask("SELECT repeat('y', 5000) AS long;", r"y{4000}")

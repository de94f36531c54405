"""The shell of `curate sql`: read-only queries over several lines, with history and completion."""

import csv
import os
import shlex
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import duckdb
from prompt_toolkit import PromptSession
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import PygmentsLexer
from pygments.lexers.sql import SqlLexer

from curate.cache import private_folder, user_path
from curate.cli.completion import SqlCompleter
from curate.cli.options import read_query
from curate.cli.output.tables import print_rows, query_error, rows_to_show
from curate.display import json_text, visible
from curate.errors import CurateError, did_you_mean
from curate.ledger.run import connect
from curate.ledger.view_comments import ONE_ROW_FOR as ROWS
from curate.process.interrupt import raise_every_press
from curate.sql import literal, only_query, statements_in

MODES = ("table", "csv", "json")
HELP = """\
Write a query in DuckDB's SQL and end it with a semicolon. Tab completes names, arrow keys bring back earlier queries.

.tables          the tables and views of this run (also .views, \\d)
.schema NAME     the columns of one
.mode MODE       print as table, csv or json
.read FILE       run the queries of a file
.help            this (also help, \\?)
.quit            leave (also exit, quit or Ctrl-D)

Ctrl-C stops a query, or clears what you write."""
# Commands of other shells.
FOREIGN = dict.fromkeys(("help", "?", r"\?", r"\h"), ".help")
FOREIGN |= dict.fromkeys((r"\d", r"\dt", r"\dv", "show tables"), ".tables")
T = TypeVar("T")


@dataclass
class Shell:
    """An open run, and the format of results."""

    connection: duckdb.DuckDBPyConnection
    mode: str

    def execute(self, line: str) -> bool:
        """Execute a line; return whether the shell continues.

        Errors: CurateError and duckdb.Error, after which the shell continues too.
        """
        text = line.strip()
        if is_exit(text):
            return False
        text = FOREIGN.get(_word(text), text)
        if text.startswith("."):
            return self._command(text)
        for query in statements_in(text):
            self._print(only_query(query, "sql"))
        return True

    def _command(self, line: str) -> bool:
        try:
            name, *arguments = shlex.split(line.rstrip(";"))
        except ValueError as error:
            raise CurateError(f"{line}: {str(error).lower()}") from None
        if name in (".quit", ".exit", ".q"):
            return False
        commands: dict[str, tuple[int, Callable[..., None]]] = {
            ".help": (0, self._help),
            ".tables": (0, self._tables),
            ".views": (0, self._tables),
            ".schema": (1, self._schema),
            ".mode": (1, self._set_mode),
            ".read": (1, self._read),
        }
        if name not in commands:
            raise CurateError(f"no command {name}{did_you_mean(name, [*commands, '.quit'])}")
        expected, command = commands[name]
        if len(arguments) != expected:
            raise CurateError(f"{name} takes {'one argument' if expected else 'no argument'}; see .help")
        command(*arguments)
        return True

    def _help(self) -> None:
        click.echo(HELP)
        click.echo("\nThe tables and views of this run:")
        for name, about in self._rows(self._about_tables()):
            click.echo(f"  {name:<16} {about}".rstrip())

    def _tables(self) -> None:
        self._print(self._about_tables())

    def _about_tables(self) -> str:
        """A query of the run's tables and views, each with the meaning of a row."""
        about = ", ".join(f"({k}, {literal(name)}, {literal(row)})" for k, (name, row) in enumerate(ROWS.items()))
        return (
            f"SELECT table_name AS name, coalesce(about, '') AS one_row_for FROM information_schema.tables "
            f"LEFT JOIN (VALUES {about}) AS comments(k, table_name, about) USING (table_name) ORDER BY k, table_name"
        )

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return self._interruptible(lambda: self.connection.execute(query).fetchall())

    def _schema(self, name: str) -> None:
        tables = "SELECT table_name FROM information_schema.tables"
        names = [table for (table,) in self._rows(tables)]
        if name not in names:
            raise CurateError(f".schema: no table {name!r}{did_you_mean(name, names)}")
        self._print(f"SELECT column_name AS name, column_type AS type FROM (DESCRIBE {name})")

    def _set_mode(self, mode: str) -> None:
        if mode not in MODES:
            raise CurateError(f".mode: no mode {mode!r}{did_you_mean(mode, MODES)}")
        self.mode = mode

    def _read(self, file: str) -> None:
        for query in statements_in(read_query(Path(file).expanduser())):
            self._print(only_query(query, f"{file}"))

    def _print(self, query: str) -> None:
        """Run a query and print its rows."""
        if self.mode == "table":
            print_rows(*self._interruptible(lambda: rows_to_show(self.connection, query)), ".mode csv")
            return
        names, rows = self._interruptible(lambda: _all_rows(self.connection, query))
        if self.mode == "json":
            records = [dict(zip(names, row, strict=True)) for row in rows]
            click.echo(json_text(records))
            return
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([visible(value) if isinstance(value, str) else value for value in row] for row in rows)

    def _interruptible(self, work: Callable[[], T]) -> T:
        """Return the result of `work`, run on another thread so that Ctrl-C reaches this one, which stops the query."""
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(work)
            try:
                return future.result()
            except KeyboardInterrupt:
                while not future.done():  # one interrupt before the query begins has no effect
                    self.connection.interrupt()
                    wait([future], timeout=0.1)
                raise CurateError("the query was interrupted") from None


def _all_rows(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    cursor = connection.execute(query)
    return [column[0] for column in cursor.description or ()], cursor.fetchall()


def shell(run: Path, form: str) -> None:
    """Read queries until the user leaves.

    Errors: RunError where the run has no index; CurateError for a format that is not for a terminal.
    """
    if form not in MODES:
        raise CurateError(f"sql: {form} is not for a terminal; give a query, and redirect it to a file")
    with connect(run) as connection, raise_every_press():
        opened = Shell(connection, form)
        session = _session(connection, f"{run.resolve().name}> ")
        click.echo(f"{run}: read only. End a query with ; — help lists the views; quit leaves")
        running = True
        while running:
            try:
                running = opened.execute(session.prompt())
            except EOFError:
                running = False
            except KeyboardInterrupt:
                continue
            except CurateError as error:
                click.echo(f"Error: {error}", err=True)
            except duckdb.Error as error:
                click.echo(f"Error: {query_error(error)}", err=True)


def _session(connection: duckdb.DuckDBPyConnection, prompt: str) -> "PromptSession[str]":
    keys = KeyBindings()

    @keys.add("enter")
    def _enter(event: KeyPressEvent) -> None:
        """Accept the input if it is complete; else begin a new line."""
        buffer = event.current_buffer
        if buffer.complete_state is not None and buffer.complete_state.current_completion is not None:
            buffer.complete_state = None  # Enter chose a completion
        elif is_complete(buffer.text):
            buffer.validate_and_handle()
        else:
            buffer.insert_text("\n")

    return PromptSession(
        FormattedText([("bold", prompt)]),
        multiline=True,
        key_bindings=keys,
        history=_history(),
        completer=SqlCompleter(connection),
        complete_while_typing=False,
        lexer=PygmentsLexer(SqlLexer),
        prompt_continuation=lambda width, number, soft: " " * (width - 2) + "· ",
    )


def _word(text: str) -> str:
    return text.rstrip("; ").lower()


def is_exit(text: str) -> bool:
    """Whether the text leaves a shell: this one or others."""
    return _word(text) in ("exit", "quit", r"\q")


def is_complete(text: str) -> bool:
    """Whether the text can be executed: empty, a command, or SQL up to a semicolon."""
    stripped = text.strip()
    if not stripped or stripped.startswith(".") or is_exit(stripped) or _word(stripped) in FOREIGN:
        return True
    try:
        tokens = [(start, kind) for start, kind in duckdb.tokenize(text) if kind != duckdb.token_type.comment]
    except duckdb.Error:
        return stripped.endswith(";")
    return bool(tokens) and text.encode()[tokens[-1][0] :].strip().startswith(b";")


def _history() -> History:
    """Earlier lines, from a file in the user's folders; of this session alone where that cannot be written."""
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    try:
        path = private_folder(user_path(home) / "curate") / "sql_history"
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))  # queries may have ids and addresses
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(path))

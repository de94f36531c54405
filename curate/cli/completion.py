"""Completion for the shell of `curate sql`: tables, columns, functions, keywords, and the shell's commands."""

import re
from collections.abc import Iterable, Iterator
from functools import cached_property

import duckdb
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

COMMANDS = (".help", ".mode", ".quit", ".read", ".schema", ".tables", ".views")
MODES = ("csv", "json", "table")
WORD = re.compile(r"[\w.]*\Z")
AFTER_TABLE_WORD = re.compile(r"\b(?:from|join|describe|summarize|table)\s+[\w.]*\Z", re.IGNORECASE)
MAX_SHOWN = 200
Named = tuple[str, str]  # a name, and its kind


class SqlCompleter(Completer):
    """Completes the word before the cursor: columns first, or tables after FROM."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def _rows(self, query: str) -> list[tuple[str, str]]:
        with self._connection.cursor() as cursor:
            return cursor.execute(query).fetchall()

    @cached_property
    def tables(self) -> list[Named]:
        """Tables and views."""
        return self._rows("SELECT table_name, lower(table_type) FROM information_schema.tables ORDER BY 1")

    @cached_property
    def columns(self) -> list[tuple[str, str, str]]:
        """Columns with their tables and types; fields of the struct `input` as input.x, even without the inputs."""
        query = "SELECT table_name, column_name, data_type FROM information_schema.columns ORDER BY 2, 1"
        with self._connection.cursor() as cursor:
            columns: list[tuple[str, str, str]] = cursor.execute(query).fetchall()
        struct = next((kind for table, name, kind in columns if (table, name) == ("corpus", "input")), None)
        fields = duckdb.sqltype(struct).children if struct else []
        return [*columns, *(("corpus", f"input.{name}", str(kind)) for name, kind in fields)]

    @cached_property
    def functions_and_keywords(self) -> list[Named]:
        """DuckDB's functions and keywords."""
        functions = self._rows(
            "SELECT DISTINCT function_name, 'function' FROM duckdb_functions() "
            "WHERE regexp_matches(function_name, '^[a-z][a-z0-9_]*$') ORDER BY 1"
        )
        return self._rows("SELECT upper(keyword_name), 'keyword' FROM duckdb_keywords() ORDER BY 1") + functions

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        """Completions of the word before the cursor."""
        line = document.text_before_cursor
        match = WORD.search(line)
        word = match[0] if match else ""
        seen: set[str] = set()
        for name, kind in self._candidates(line, word):
            if name.lower().startswith(word.lower()) and name.lower() not in seen and len(seen) < MAX_SHOWN:
                seen.add(name.lower())
                yield Completion(name, start_position=-len(word), display_meta=kind)

    def _candidates(self, line: str, word: str) -> Iterable[Named]:
        if line.lstrip().startswith("."):
            command, space, _ = line.lstrip().partition(" ")
            if not space:
                return [(name, "command") for name in COMMANDS]
            return self.tables if command == ".schema" else [(mode, "mode") for mode in MODES if command == ".mode"]
        columns = [(name, f"{table}, {kind.lower()[:30]}") for table, name, kind in self.columns]
        table, dot, _ = word.partition(".")
        if dot and table.lower() != "input":  # documents.n_words
            return [(f"{table}.{name}", kind) for of, name, kind in self.columns if of == table.lower()]
        if AFTER_TABLE_WORD.search(line):
            return [*self.tables, *columns]
        return [*columns, *self.tables, *self.functions_and_keywords] if word else [*self.tables, *columns]

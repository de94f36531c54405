"""The input's own columns of a finished run, from its ledger or, where that lacks them, from the input's files."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from curate.errors import InputError
from curate.ledger.input_columns import source_sql
from curate.ledger.ledger import KnownFile, Ledger, is_spooled
from curate.ledger.names import INPUT
from curate.ledger.views import input_sql
from curate.sql import first_line, quoted, read_parquet
from curate.storage.places import is_remote, status


@dataclass(frozen=True, slots=True)
class Inputs:
    """The input's own columns: those in the ledger, and for each kind of files the files and their columns."""

    in_ledger: tuple[str, ...] = ()
    ledger: str = ""  # SQL of (file_no, row, input)
    kinds: tuple[tuple[tuple[KnownFile, ...], frozenset[str]], ...] = ()
    unread: str | None = None  # why the files' columns cannot be read

    def named(self, name: str) -> str | None:
        """The column with that name, in upper or lower case."""
        names = {*self.in_ledger, *(column for _, columns in self.kinds for column in columns)}
        return next((column for column in sorted(names) if column.lower() == name.lower()), None)

    def column(self, name: str) -> str:
        """SQL of a column as text, over `joined`."""
        source = f"l.{INPUT}.{quoted(name)}" if name in self.in_ledger else f"i.{quoted(f'{INPUT}.{name}')}"
        return f"{source}::VARCHAR"

    def joined(self, names: Sequence[str]) -> str:
        """SQL that joins columns to documents (file_no, row); '' for no columns."""
        joins = ""
        if any(name in self.in_ledger for name in names):
            joins = f" LEFT JOIN {self.ledger} l USING (file_no, row)"
        read = [name for name in names if name not in self.in_ledger]
        sources = [source_sql(read, files, columns) for files, columns in self.kinds if not columns.isdisjoint(read)]
        if sources:
            rows = " UNION ALL BY NAME ".join(sources)
            joins += (
                f" LEFT JOIN (SELECT file_no, r.* EXCLUDE (file) FROM ({rows}) r JOIN inputs USING (file)) i"
                " USING (file_no, row)"
            )
        return joins


def find_inputs(ledger: Ledger, in_ledger: Sequence[str], connection: duckdb.DuckDBPyConnection) -> Inputs:
    """The input's own columns of a run, by a connection to its index; `in_ledger` are those that its ledger has."""
    of_ledger = (tuple(in_ledger), input_sql(ledger) if in_ledger else "")
    try:
        return Inputs(*of_ledger, _columns_of_files(ledger, connection))
    except InputError as error:
        unread = str(error)
    except duckdb.Error as error:
        unread = first_line(error)
    return Inputs(*of_ledger, unread=unread)


def _columns_of_files(
    ledger: Ledger, connection: duckdb.DuckDBPyConnection
) -> tuple[tuple[tuple[KnownFile, ...], frozenset[str]], ...]:
    """The files of each kind, with their columns.

    Errors: InputError where a file is missing or has changed in size, or is in an object store, which DuckDB cannot
    read.
    """
    kinds: dict[tuple[Any, ...], list[KnownFile]] = {}
    for file in ledger.files:
        if file.error is not None or not file.rows:
            continue
        if is_remote(file.location):
            raise InputError(f"{file.location}: lies in an object store, which DuckDB does not read")
        if not is_spooled(file):
            _check_size(file)
        kinds.setdefault(file.column_mapping, []).append(file)
    columns_of_kinds = []
    for files in kinds.values():
        source = read_parquet((file.location for file in files), ", union_by_name = true")
        columns = connection.sql(f"SELECT * FROM {source} LIMIT 0").columns
        renamed = dict(files[0].renamed)
        names = {renamed.get(name, name) for name in columns} | {name for _, name in files[0].lifted}
        names |= {name for name, _ in files[0].added}
        columns_of_kinds.append((tuple(files), frozenset(name for name in names if name)))
    return tuple(columns_of_kinds)


def _check_size(file: KnownFile) -> None:
    try:
        size, _ = status(file.location)
    except OSError as error:
        raise InputError(f"{file.location}: {error.strerror}; it was there when the run measured it") from None
    if size != file.size:
        raise InputError(f"{file.location}: is not the file that was measured; run again")

"""A run opened to look at single documents: their rows, how they are found, and their texts."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from curate.corpus.edits import apply_edits
from curate.errors import CurateError, InputError, shortened
from curate.filters.registry import FOUND
from curate.ledger.ledger import KnownFile, Ledger, read_facts
from curate.ledger.names import DATA, INPUT
from curate.ledger.run import connect, open_decided, readable
from curate.maps.documents import PLACES, edits_of, read_texts
from curate.recipe.recipe import Recipe
from curate.recipe.strata import strata_of, strata_of_documents
from curate.sql import literal, quoted, read_parquet, rows_of

MIN_PREFIX = 8  # characters of a hash that name a document
ALIKE = 0.9  # Jaro-Winkler similarity from which an id may have been meant
Row = dict[str, Any]
Place = tuple[int, int]  # file_no, row
SHARD = re.compile(r"train-(\d+)-of-\d+\.parquet")
ROWS = "SELECT documents.*, file_no, position FROM documents JOIN inputs USING (file)"


@dataclass(frozen=True)
class Text:
    """A document's raw text with its edits (start, end, replacement, reason, stage; in bytes, none overlap)."""

    raw: str
    edits: Sequence[Row]

    @property
    def measured(self) -> str:
        """What signals and the search for duplicates read: without what was cut before they did."""
        return self._with([edit for edit in self.edits if edit["stage"] == "input"])

    @property
    def output(self) -> str:
        """What the output holds, if the document is kept."""
        held: list[Row] = []
        for edit in sorted(self.edits, key=lambda edit: (edit["start"], -edit["end"])):
            reached = held[-1]["end"] if held else 0
            if edit["end"] > reached:
                held.append(edit | {"start": max(edit["start"], reached)})
        return self._with(held)

    def _with(self, edits: Sequence[Row]) -> str:
        columns = [pa.array([edit[name] for edit in edits], FOUND.field(name).type) for name in ("start", "end")]
        put = pa.array([edit["replacement"] for edit in edits], pa.string())
        table = pa.table([pa.array([0] * len(edits), pa.int64()), *columns, put], names=FOUND.names[:4])
        made: str = apply_edits(pa.array([self.raw], pa.large_string()), table)[0].as_py()
        return made


@dataclass(frozen=True)
class Look:
    """A run that is looked at."""

    run: Path
    recipe: Recipe
    ledger: Ledger
    connection: duckdb.DuckDBPyConnection

    @cached_property
    def views(self) -> frozenset[str]:
        """Names of the tables and views that the run has."""
        return frozenset(row["table_name"] for row in self.query("FROM information_schema.tables"))

    @cached_property
    def strata(self) -> dict[str, str]:
        """The columns that percentiles are taken within, the widest first; where there are bands, theirs."""
        measured = self.connection.sql("SELECT * FROM signals LIMIT 0").columns
        return strata_of(self.recipe, self._held) or strata_of_documents(self.recipe, self._held, measured)

    @cached_property
    def _held(self) -> dict[str, list[str]]:
        """The parts that hold each input column which decisions needed."""
        held: dict[str, list[str]] = {}
        for part in self.ledger.of(INPUT):
            path = self.run / part.path
            for name in pq.read_schema(path).names[2:]:
                held.setdefault(name.removeprefix(f"{INPUT}."), []).append(str(path.absolute()))
        return held

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """The rows of a query by the names of their columns."""
        return rows_of(sql, self.connection, parameters)

    def input_sql(self, name: str) -> str:
        """A query of (file_no, row, value) for an input column that decisions needed, whichever parts hold it."""
        parts = read_parquet(self._held[name])
        return f"SELECT file_no, row, {quoted(f'{INPUT}.{name}')} AS value FROM {parts}"

    def inputs_of(self, row: Row) -> Row:
        """The input columns that decisions needed, as the ledger has them, of one document."""
        place = [row["file_no"], row["row"]]
        found = {
            name: self.query(f"SELECT value FROM ({self.input_sql(name)}) WHERE file_no = ? AND row = ?", place)
            for name in self._held
        }
        return {name: rows[0]["value"] for name, rows in found.items() if rows}

    def searched(self, text: Text) -> str:
        """What of a text was searched for evaluation sets: where they are cut, the raw one."""
        section = self.recipe.tier1.decontaminate
        return text.raw if section is not None and section.action == "cut" else text.measured

    def file(self, file_no: int) -> KnownFile:
        """An input file by its number."""
        return next(file for file in self.ledger.files if file.file_no == file_no)

    def edits_of(self, places: Sequence[Place]) -> dict[Place, list[Row]]:
        """The edits in force of some documents, in order."""
        found: dict[Place, list[Row]] = {place: [] for place in places}
        for edit in edits_of(self.ledger, _table(places)).to_pylist():
            found[edit.pop("file_no"), edit.pop("row")].append(edit)
        return found

    def texts(self, rows: Sequence[Row]) -> tuple[dict[Place, Text], str | None]:
        """The texts of documents by their places, and why those that are missing cannot be read.

        A null text is empty. Each file is read by itself, so that one that is gone takes no other with it.
        """
        places = sorted({(row["file_no"], row["row"]) for row in rows})
        edits = self.edits_of(places) if places else {}
        found: dict[Place, Text] = {}
        problem = None
        for file_no in dict.fromkeys(file_no for file_no, _ in places):
            of_file = [place for place in places if place[0] == file_no]
            try:
                texts = read_texts(self.ledger, self.recipe.input.column, _table(of_file))["text"].to_pylist()
            except InputError as error:
                problem = problem or str(error)
                continue
            found |= {place: Text(text or "", edits[place]) for place, text in zip(of_file, texts, strict=True)}
        return found, problem


def _table(places: Sequence[Place]) -> pa.Table:
    return pa.table([[file_no for file_no, _ in places], [row for _, row in places]], schema=PLACES)


@contextmanager
def opened_run(run: Path) -> Iterator[Look]:
    """A run to look at; one that kept nothing too.

    Errors: RunError where it has no index, or files of it are missing or damaged; RecipeError for its recipe.yaml.
    """
    with readable(run), connect(run) as connection:
        found = open_decided(run)
        yield Look(run, found.recipe, found.ledger, connection)


def find_document(look: Look, address: str) -> Row:
    """The document that is meant: by its doc_id, the first eight or more characters of a hash, or FILE:ROW.

    Errors: CurateError for an address that is nobody's, or that of more than one.
    """
    if exact := look.query(f"{ROWS} WHERE doc_id = ?", [address]):
        return exact[0]
    file, colon, row = address.rpartition(":")
    if colon and row.isascii() and row.isdigit() and len(row) < 19 and (there := _document_at(look, file, int(row))):
        return there
    if look.recipe.input.id is None and len(address) >= MIN_PREFIX:
        alike = look.query(f"{ROWS} WHERE starts_with(doc_id, ?) ORDER BY doc_id LIMIT 4", [address])
        if len(alike) == 1:
            return alike[0]
        if alike:
            listed = ", ".join(found["doc_id"] for found in alike[:3]) + (", …" if len(alike) > 3 else "")
            raise CurateError(f"{look.run}: more than one document begins with {address!r}: {listed}; write more of it")
    raise CurateError(f"{look.run}: no document {shortened(address)!r}{_meant(look, address)}")


def _document_at(look: Look, file: str, row: int) -> Row | None:
    """The document in a row of an input file or of a file of the output; None where neither is a file of the run.

    An input is known by the run's name for it, which goes first, and by any path that leads to it.

    Errors: CurateError for a path that leads to two files, and for a row that the file does not have.
    """
    inputs = "FROM inputs WHERE file_no IS NOT NULL AND file IN (SELECT unnest(?))"
    known = look.query(f"SELECT file, documents {inputs} ORDER BY file <> ?, file", [_names_of(look, file), file])
    is_exact = bool(known) and known[0]["file"] == file
    known, shard = (known[:1], None) if is_exact else (known, _shard_at(look, file))
    if len(known) + (shard is not None) > 1:
        named = [f"{one['file']}:{row} of the input" for one in known]
        named += [f"{(look.run / DATA).resolve() / Path(file).name}:{row} of the output"] if shard is not None else []
        raise CurateError(f"{look.run}: {file} leads to more than one file; write {' or '.join(named[:2])}")
    if shard is not None:
        [counted] = look.query("SELECT count(*) AS documents FROM documents WHERE shard = ?", [shard])
        documents = counted["documents"]
        there = look.query(f"{ROWS} WHERE shard = ? ORDER BY position, row LIMIT 1 OFFSET ?", [shard, row])
    elif known:
        documents = known[0]["documents"]
        there = look.query(f"{ROWS} WHERE file = ? AND row = ?", [known[0]["file"], row])
    else:
        return None
    if there:
        return there[0]
    raise CurateError(f"{look.run}: {file} has rows 0 to {documents - 1}, not {row}")


def _shard_at(look: Look, file: str) -> int | None:
    """The number of a file of the output, by its name in the run or by a path to it."""
    found = SHARD.fullmatch(Path(file).name)
    if not found or Path(file).name not in {Path(part.path).name for part in look.ledger.of(DATA)}:
        return None
    is_there = Path(file).parent == Path(DATA) or Path(file).parent.resolve() == (look.run / DATA).resolve()
    return int(found[1]) if is_there else None


def _names_of(look: Look, file: str) -> list[str]:
    """What the run may call an input file: as it is, or relative to the corpus root, from here or from where it ran."""
    facts = read_facts(look.run)
    root, started = Path(facts.get("corpus_root", "")), Path(facts.get("working_directory", ""))
    paths = [Path(os.path.normpath(folder / file)) for folder in (Path.cwd(), started)]
    roots = dict.fromkeys((root, root.resolve()))
    paths += [path.resolve() for path in paths]
    return [file, *(path.relative_to(top).as_posix() for path in paths for top in roots if path.is_relative_to(top))]


def _meant(look: Look, address: str) -> str:
    sql = (
        "SELECT doc_id, jaro_winkler_similarity(doc_id, ?) AS alike FROM decisions ORDER BY alike DESC, doc_id LIMIT 1"
    )
    close = look.query(sql, [address[:100]])
    if close and close[0]["alike"] >= ALIKE:
        return f"; did you mean {shortened(close[0]['doc_id'])!r}?"
    return f'; find ids with: curate sql {look.run} "SELECT doc_id, file, row FROM documents LIMIT 10"'


def in_stratum(look: Look, row: Row, depth: int) -> str:
    """SQL over `documents d JOIN inputs`: whether one is in the stratum of this document, by so many columns."""
    conditions = ["true"]
    for name in list(look.strata)[:depth]:
        if name.startswith(f"{INPUT}."):
            column = name.removeprefix(f"{INPUT}.")
            same = f"value::VARCHAR IS NOT DISTINCT FROM {_literal(stratum_value(look, row, name))}"
            conditions.append(f"(file_no, row) IN (SELECT (file_no, row) FROM ({look.input_sql(column)}) WHERE {same})")
        else:
            conditions.append(f"{quoted(name)} IS NOT DISTINCT FROM {_literal(row[name])}")
    return " AND ".join(conditions)


def stratum_value(look: Look, row: Row, name: str) -> str | None:
    """What a document has in a column of the strata, as text."""
    if not name.startswith(f"{INPUT}."):
        value: str | None = row[name]
        return value
    sql = f"SELECT value::VARCHAR AS value FROM ({look.input_sql(name.removeprefix(f'{INPUT}.'))})"
    found = look.query(f"{sql} WHERE file_no = ? AND row = ?", [row["file_no"], row["row"]])
    return found[0]["value"] if found else None


def _literal(value: str | None) -> str:
    return "NULL" if value is None else literal(value)

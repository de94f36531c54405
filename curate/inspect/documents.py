"""A finished run, opened to read single documents: find them by address, read their rows, edits and texts."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from curate.corpus.edits import apply_edits
from curate.distill.budget.tuning import tuned_recipe
from curate.errors import CurateError, InputError, shortened
from curate.filters.registry import EDIT_SCHEMA
from curate.filters.rules.resolve import ResolvedRule, resolve
from curate.ledger.ledger import KnownFile, Ledger, read_facts
from curate.ledger.names import DATA, INPUT, TUNING
from curate.ledger.run import connect, open_finished, readable
from curate.maps.documents import KEYS, edits_of, read_texts
from curate.recipe.recipe import Recipe
from curate.recipe.strata import strata_of, strata_of_documents
from curate.sql import literal, quoted, read_parquet, rows_of

MIN_PREFIX = 8  # characters of a hash that identify a document
MIN_SIMILARITY = 0.9  # Jaro-Winkler similarity above which an id is suggested
SHARD = re.compile(r"train-(\d+)-of-\d+\.parquet")
ROWS = "SELECT documents.*, file_no, position FROM documents JOIN inputs USING (file)"

Row = dict[str, Any]  # of a view or table of run.duckdb: its columns depend on the recipe
Key = tuple[int, int]  # file_no, row


@dataclass(frozen=True, slots=True)
class Edit:
    """An edit of a raw text: bytes `start` to `end` are replaced, or cut where `replacement` is None."""

    start: int
    end: int
    replacement: str | None
    reason: str
    stage: str


@dataclass(frozen=True)
class Text:
    """A document's raw text and its edits, none of which overlap."""

    raw: str
    edits: Sequence[Edit]

    @property
    def measured(self) -> str:
        """The text that signals and duplicate search read: with the edits of stage `input` applied."""
        return self._apply([edit for edit in self.edits if edit.stage == "input"])

    @property
    def output(self) -> str:
        """The text that the output has if the document is kept: with all edits applied."""
        applied: list[Edit] = []
        for edit in sorted(self.edits, key=lambda edit: (edit.start, -edit.end)):
            reached = applied[-1].end if applied else 0
            if edit.end > reached:
                applied.append(replace(edit, start=max(edit.start, reached)))
        return self._apply(applied)

    def _apply(self, edits: Sequence[Edit]) -> str:
        starts = pa.array([edit.start for edit in edits], EDIT_SCHEMA.field("start").type)
        ends = pa.array([edit.end for edit in edits], EDIT_SCHEMA.field("end").type)
        replacements = pa.array([edit.replacement for edit in edits], pa.string())
        rows = pa.array([0] * len(edits), pa.int64())
        table = pa.table([rows, starts, ends, replacements], names=EDIT_SCHEMA.names[:4])
        text: str = apply_edits(pa.array([self.raw], pa.large_string()), table)[0].as_py()
        return text


@dataclass(frozen=True)
class OpenRun:
    """A finished run with its recipe, ledger, and a connection to its index."""

    folder: Path
    recipe: Recipe
    ledger: Ledger
    connection: duckdb.DuckDBPyConnection

    @cached_property
    def tuned(self) -> Recipe:
        """The recipe with the settings of its budget that the run chose."""
        return tuned_recipe(self.recipe, self.folder, self.ledger.of(TUNING))

    @cached_property
    def views(self) -> frozenset[str]:
        """Names of the run's tables and views."""
        return frozenset(row["table_name"] for row in self.query("FROM information_schema.tables"))

    @cached_property
    def signals(self) -> tuple[str, ...]:
        """Names of the columns of view `signals`."""
        return tuple(self.connection.sql("SELECT * FROM signals LIMIT 0").columns)

    @cached_property
    def rules(self) -> tuple[ResolvedRule, ...]:
        """The recipe's rules, with its thresholds applied."""
        return tuple(resolve(self.recipe.tier1))

    @cached_property
    def strata(self) -> dict[str, str]:
        """The columns that percentiles are taken within, the widest first; where there are bands, theirs."""
        parts = self._input_parts
        return strata_of(self.recipe, parts) or strata_of_documents(self.recipe, parts, list(self.signals))

    @cached_property
    def _input_parts(self) -> dict[str, list[str]]:
        """For each input column that the ledger has, the paths of its parts."""
        paths: dict[str, list[str]] = {}
        for part in self.ledger.of(INPUT):
            path = self.folder / part.path
            for name in pq.read_schema(path).names[2:]:
                paths.setdefault(name.removeprefix(f"{INPUT}."), []).append(str(path.absolute()))
        return paths

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """The rows of a query, each by column name."""
        return rows_of(sql, self.connection, parameters)

    def input_sql(self, name: str) -> str:
        """A query of (file_no, row, value) for an input column that the ledger has."""
        parts = read_parquet(self._input_parts[name])
        return f"SELECT file_no, row, {quoted(f'{INPUT}.{name}')} AS value FROM {parts}"

    def inputs_of(self, row: Row) -> Row:
        """The values that the ledger has of one document's input columns."""
        key = [row["file_no"], row["row"]]
        values = {
            name: self.query(f"SELECT value FROM ({self.input_sql(name)}) WHERE file_no = ? AND row = ?", key)
            for name in self._input_parts
        }
        return {name: rows[0]["value"] for name, rows in values.items() if rows}

    def searched_text(self, text: Text) -> str:
        """The text that evaluation sets were searched in: the raw one where their passages are cut."""
        section = self.recipe.tier1.decontaminate
        return text.raw if section is not None and section.action == "cut" else text.measured

    def file(self, file_no: int) -> KnownFile:
        """An input file by its number."""
        return next(file for file in self.ledger.files if file.file_no == file_no)

    def edits_of(self, keys: Sequence[Key]) -> dict[Key, list[Edit]]:
        """The edits in force of documents, in order."""
        edits: dict[Key, list[Edit]] = {key: [] for key in keys}
        for edit in edits_of(self.ledger, _table(keys)).to_pylist():
            fields = (edit["start"], edit["end"], edit["replacement"], edit["reason"], edit["stage"])
            edits[edit["file_no"], edit["row"]].append(Edit(*fields))
        return edits

    def texts(self, rows: Sequence[Row]) -> tuple[dict[Key, Text], str | None]:
        """The texts of documents by key, and why the missing ones cannot be read.

        A null text is empty. Files are read one by one, so that a missing file takes no other with it.
        """
        keys = sorted({(row["file_no"], row["row"]) for row in rows})
        edits = self.edits_of(keys) if keys else {}
        texts: dict[Key, Text] = {}
        problem = None
        for file_no in dict.fromkeys(file_no for file_no, _ in keys):
            keys_of_file = [key for key in keys if key[0] == file_no]
            try:
                raw = read_texts(self.ledger, self.recipe.input.column, _table(keys_of_file))["text"].to_pylist()
            except InputError as error:
                problem = problem or str(error)
                continue
            texts |= {key: Text(text or "", edits[key]) for key, text in zip(keys_of_file, raw, strict=True)}
        return texts, problem


def _table(keys: Sequence[Key]) -> pa.Table:
    return pa.table([[file_no for file_no, _ in keys], [row for _, row in keys]], schema=KEYS)


@contextmanager
def open_run(folder: Path) -> Iterator[OpenRun]:
    """Open a finished run, even one that kept nothing.

    Errors: RunError where it has no index, or its files are missing or damaged; RecipeError for its recipe.yaml.
    """
    with readable(folder), connect(folder) as connection:
        decided = open_finished(folder)
        yield OpenRun(folder, decided.recipe, decided.ledger, connection)


def find_document(run: OpenRun, address: str) -> Row:
    """The row of a document by its doc_id, the first eight or more characters of a hash, or FILE:ROW.

    Errors: CurateError for an address that matches no document, or more than one.
    """
    if exact := run.query(f"{ROWS} WHERE doc_id = ?", [address]):
        return exact[0]
    file, colon, row = address.rpartition(":")
    if colon and row.isascii() and row.isdigit() and len(row) < 19 and (document := _document_at(run, file, int(row))):
        return document
    if run.recipe.input.id is None and len(address) >= MIN_PREFIX:
        matches = run.query(f"{ROWS} WHERE starts_with(doc_id, ?) ORDER BY doc_id LIMIT 4", [address])
        if len(matches) == 1:
            return matches[0]
        if matches:
            listed = ", ".join(match["doc_id"] for match in matches[:3]) + (", …" if len(matches) > 3 else "")
            raise CurateError(
                f"{run.folder}: more than one document begins with {address!r}: {listed}; write more of it"
            )
    raise CurateError(f"{run.folder}: no document {shortened(address)!r}{_suggestion(run, address)}")


def _document_at(run: OpenRun, file: str, row: int) -> Row | None:
    """The document in a row of an input file or of an output file; None where the run has no such file.

    The run's own name of an input comes first; any path that leads to the file is accepted.

    Errors: CurateError for a path that leads to two files, and for a row that the file does not have.
    """
    inputs = "FROM inputs WHERE file_no IS NOT NULL AND file IN (SELECT unnest(?))"
    files = run.query(f"SELECT file, documents {inputs} ORDER BY file <> ?, file", [_names_of(run, file), file])
    is_exact = bool(files) and files[0]["file"] == file
    files, shard = (files[:1], None) if is_exact else (files, _shard_number(run, file))
    if len(files) + (shard is not None) > 1:
        choices = [f"{match['file']}:{row} of the input" for match in files]
        if shard is not None:
            choices.append(f"{(run.folder / DATA).resolve() / Path(file).name}:{row} of the output")
        raise CurateError(f"{run.folder}: {file} leads to more than one file; write {' or '.join(choices[:2])}")
    if shard is not None:
        [count] = run.query("SELECT count(*) AS documents FROM documents WHERE shard = ?", [shard])
        documents = count["documents"]
        rows = run.query(f"{ROWS} WHERE shard = ? ORDER BY position, row LIMIT 1 OFFSET ?", [shard, row])
    elif files:
        documents = files[0]["documents"]
        rows = run.query(f"{ROWS} WHERE file = ? AND row = ?", [files[0]["file"], row])
    else:
        return None
    if rows:
        return rows[0]
    raise CurateError(f"{run.folder}: {file} has rows 0 to {documents - 1}, not {row}")


def _shard_number(run: OpenRun, file: str) -> int | None:
    """The number of an output file, by its name in the run or by a path to it."""
    match = SHARD.fullmatch(Path(file).name)
    if not match or Path(file).name not in {Path(part.path).name for part in run.ledger.of(DATA)}:
        return None
    is_of_run = Path(file).parent == Path(DATA) or Path(file).parent.resolve() == (run.folder / DATA).resolve()
    return int(match[1]) if is_of_run else None


def _names_of(run: OpenRun, file: str) -> list[str]:
    """Names that the run may have for a path: as given, or relative to the corpus root.

    A relative path starts from the current folder, or from the one in which the run was started.
    """
    facts = read_facts(run.folder)
    root, started = Path(facts.get("corpus_root", "")), Path(facts.get("working_directory", ""))
    paths = [Path(os.path.normpath(folder / file)) for folder in (Path.cwd(), started)]
    roots = dict.fromkeys((root, root.resolve()))
    paths += [path.resolve() for path in paths]
    return [file, *(path.relative_to(top).as_posix() for path in paths for top in roots if path.is_relative_to(top))]


def _suggestion(run: OpenRun, address: str) -> str:
    """How a message for an unknown address ends: a similar doc_id, or how to list all."""
    sql = (
        "SELECT doc_id, jaro_winkler_similarity(doc_id, ?) AS similarity FROM decisions "
        "ORDER BY similarity DESC, doc_id LIMIT 1"
    )
    closest = run.query(sql, [address[:100]])
    if closest and closest[0]["similarity"] >= MIN_SIMILARITY:
        return f"; did you mean {shortened(closest[0]['doc_id'])!r}?"
    return f'; find ids with: curate sql {run.folder} "SELECT doc_id, file, row FROM documents LIMIT 10"'


def in_stratum(run: OpenRun, row: Row, depth: int) -> str:
    """SQL condition over `signals`: is in the document's stratum, by the first `depth` columns."""
    conditions = ["true"]
    for name in list(run.strata)[:depth]:
        if name.startswith(f"{INPUT}."):
            column = name.removeprefix(f"{INPUT}.")
            same = f"value::VARCHAR IS NOT DISTINCT FROM {_literal(stratum_value(run, row, name))}"
            conditions.append(f"(file_no, row) IN (SELECT (file_no, row) FROM ({run.input_sql(column)}) WHERE {same})")
        else:
            conditions.append(f"{quoted(name)} IS NOT DISTINCT FROM {_literal(row[name])}")
    return " AND ".join(conditions)


def stratum_value(run: OpenRun, row: Row, name: str) -> str | None:
    """A document's value, as text, in a column that makes strata."""
    if not name.startswith(f"{INPUT}."):
        value: str | None = row[name]
        return value
    sql = f"SELECT value::VARCHAR AS value FROM ({run.input_sql(name.removeprefix(f'{INPUT}.'))})"
    values = run.query(f"{sql} WHERE file_no = ? AND row = ?", [row["file_no"], row["row"]])
    return values[0]["value"] if values else None


def _literal(value: str | None) -> str:
    return "NULL" if value is None else literal(value)

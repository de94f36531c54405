"""Looking at runs, signals and rules."""

import codecs
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
from rich import box
from rich.table import Table
from rich.text import Text

from curate.display import console as console
from curate.display import safe_json, visible
from curate.errors import CurateError
from curate.ledger.run import connect
from curate.sql import first_line, literal, only_query

if TYPE_CHECKING:
    from curate.pipeline.facts import RunSummary

COPIED = 1 << 20  # characters at a time
MAX_RECORDS = 20  # rows with too many columns for a table
LEAST_WIDTH = 8  # characters of a column, on average, that can be read
MAX_TEXT = 300  # characters of a value that a table shows
MAX_ROWS = 1000  # that a table shows; other formats print all


def told(error: duckdb.Error) -> str:
    """One line on a query that failed; of files that are gone also what to do."""
    line = first_line(error)
    if "No files found that match the pattern" in line:
        return f"{line}; `corpus` reads input files where they lay at the last run: put them back there, or run again"
    return line


def print_query(run: Path, query: str, form: str) -> None:
    """Print the result of a query as table, csv, json or parquet.

    Errors: CurateError with what DuckDB says of the query.
    """
    with connect(run) as connection:
        try:
            only = only_query(query, "sql")
            if form == "table":
                print_rows(*rows_to_show(connection, only))
            else:
                _print_file(connection, only, form)
        except duckdb.Error as error:
            raise CurateError(f"sql: {told(error)}") from None


def rows_to_show(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[list[tuple[str, str]], list[Any]]:
    """Names and types of a query's columns, and as many of its rows as show that a table is cut."""
    relation = connection.sql(query)
    kinds = list(zip(relation.columns, map(str, relation.types), strict=True))
    return kinds, relation.limit(MAX_ROWS + 1).fetchall()


def print_rows(columns: Sequence[tuple[str, str]], rows: Sequence[Any], whole: str = "--format csv") -> None:
    """Print rows as a table, up to MAX_ROWS, with long texts cut; an EXPLAIN's plan as it is drawn.

    `whole` tells how to have all of them.
    """
    if [name for name, _ in columns] == ["explain_key", "explain_value"]:
        for _, value in rows:
            console().print(Text(visible(value)), soft_wrap=True)
        return
    if len(columns) * LEAST_WIDTH > console().width:
        _print_records(columns, rows, whole)
        _tell_of_cuts(rows[:MAX_RECORDS], whole)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, kind in columns:
        number = kind in ("BIGINT", "INTEGER", "DOUBLE", "FLOAT", "HUGEINT", "UBIGINT", "SMALLINT")
        table.add_column(Text(visible(name)), justify="right" if number else "left", overflow="fold")
    for row in rows[:MAX_ROWS]:
        table.add_row(*(Text(visible(_shown(value))) for value in row))
    console().print(table)
    if len(rows) > MAX_ROWS:
        console().print(f"first {MAX_ROWS:,} rows; {whole} prints all")
    _tell_of_cuts(rows[:MAX_ROWS], whole)


def _tell_of_cuts(rows: Sequence[Any], whole: str) -> None:
    """Say that texts were cut, if some were."""
    texts = (value for row in rows for value in row if isinstance(value, str | list | dict | tuple))
    if any(len(str(value)) > MAX_TEXT for value in texts):
        console().print(f"… texts are cut at {MAX_TEXT} characters; {whole} prints them whole")


def _print_records(columns: Sequence[tuple[str, str]], rows: Sequence[Any], whole: str) -> None:
    """Rows of more columns than fit side by side, each as a block of lines."""
    for k, row in enumerate(rows[:MAX_RECORDS]):
        table = Table(box=None, show_header=False, pad_edge=False, title=f"── {k}", title_justify="left")
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for (name, _), value in zip(columns, row, strict=True):
            table.add_row(Text(visible(name)), Text(visible(_shown(value))))
        console().print(table)
    if len(rows) > MAX_RECORDS:
        console().print(f"first {MAX_RECORDS} rows; name fewer columns for a table, or {whole}")


def _shown(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def _print_file(connection: duckdb.DuckDBPyConnection, query: str, form: str) -> None:
    """Let DuckDB write the result to a file, however large, and copy that to stdout.

    JSON has an escape for what a terminal would obey, which changes no value; CSV has none, so only what goes to a
    terminal is changed.
    """
    if form == "parquet" and sys.stdout.isatty():
        raise CurateError("sql: parquet is not for a terminal; redirect it to a file")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result"
        options = {"csv": "FORMAT csv, HEADER", "json": "FORMAT json, ARRAY true", "parquet": "FORMAT parquet"}[form]
        connection.execute(f"COPY ({query.rstrip().rstrip(';')}\n) TO {literal(str(path))} ({options})")
        fit = {"json": safe_json, "csv": visible if sys.stdout.isatty() else None}.get(form)
        with path.open("rb") as file:
            if fit is None:
                shutil.copyfileobj(file, sys.stdout.buffer)
            else:
                decoded = codecs.getreader("utf-8")(file, "replace")
                while text := decoded.read(COPIED):
                    sys.stdout.buffer.write(fit(text).encode())
        sys.stdout.buffer.flush()


def print_summary(summary: "RunSummary", quiet: bool = False) -> None:
    """The closing table: documents and tokens by stage and reason; of a `quiet` run also early warnings."""
    console().print(_stages(summary))
    if summary.drift:
        console().print(_drift(summary.drift))
    if summary.tracking and summary.tracked_by is not None:
        from curate.cli.output.evaluation import tracked_table
        from curate.report.quality import tracked_claims, tracked_scope

        console().print(tracked_table(summary.tracking))
        stages = [asdict(stage) for stage in summary.tracking]
        for line in (*tracked_claims(stages), tracked_scope(stages, summary.tracked_by)):
            console().print(line, highlight=False, soft_wrap=True)
    for row in summary.wanting:
        line = f"{row['domain']}: {row['tokens']:,} of {row['target_tokens']:,} tokens are wanting still"
        console().print(line, highlight=False, soft_wrap=True)
    if summary.other_language:
        console().print(summary.other_language.message(), highlight=False, soft_wrap=True)
    printed = () if quiet else summary.overlaps  # on stderr, at the beginning of the run
    for warning in (line for line in summary.warnings if line not in printed):
        console().print(f"warning: {visible(warning)}", highlight=False, soft_wrap=True)
    for path in summary.quarantined:
        console().print(f"quarantined: {path} (why: view `inputs`)")
    for path, count in summary.bad_lines.items():
        lines = "1 line" if count == 1 else f"{count:,} lines"
        console().print(f"quarantined: {lines} of {path} (the first: run.log)", highlight=False)
    shards = f"{summary.shards} shard{'' if summary.shards == 1 else 's'}"
    console().print(
        f"{summary.run}: {shards} in data/, every verdict in run.duckdb, {summary.seconds:.1f} s", highlight=False
    )
    console().print(
        f'look: curate sql {shlex.quote(summary.run)} "SELECT reason, count(*) FROM dropped GROUP BY 1"',
        highlight=False,
    )


def _stages(summary: "RunSummary") -> Table:
    """Documents and tokens by stage and reason."""
    all_documents, all_tokens = max(summary.documents_in, 1), max(summary.tokens_in, 1)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("stage")
    table.add_column("reason")
    for name in ("documents", "%", "tokens", "%"):
        table.add_column(name, justify="right")

    def add(stage: str, reason: str, documents: int, tokens: int, style: str = "") -> None:
        shares = f"{documents / all_documents:.1%}", f"{tokens / all_tokens:.1%}"
        table.add_row(stage, reason, f"{documents:,}", shares[0], f"{tokens:,}", shares[1], style=style)

    add("input", "", summary.documents_in, summary.tokens_in, "bold")
    for stage in summary.stages:
        for reason, dropped in stage["dropped"].items():
            add(stage["stage"], reason, dropped["documents"], dropped["tokens"])
        if cut := stage.get("cut"):
            reason = f"lines cut in {cut['documents']:,} documents"
            table.add_row(stage["stage"], reason, "", "", f"{cut['tokens']:,}", f"{cut['tokens'] / all_tokens:.1%}")
        if written := stage.get("written"):
            documents, tokens = written["documents"], written["tokens"]
            shares = f"+{documents / all_documents:.1%}", f"+{tokens / all_tokens:.1%}"
            cells = f"+{documents:,}", shares[0], f"+{tokens:,}", shares[1]
            table.add_row(stage["stage"], "written by a model", *cells)
    add("kept", "", summary.documents_out, summary.tokens_out, "bold")
    return table


def _drift(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The signals that differ most between the input and what is kept."""
    from curate.decide.counts import SHOWN  # its imports would double the start of every other command

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("moved most")
    for name in ("5%, median, 95% of the input", "of what is kept", "drift"):
        table.add_column(name, justify="right")
    for row in rows:
        spans = (", ".join(f"{row[f'{p}_{when}']:,.4g}" for p in SHOWN) for when in ("before", "after"))
        table.add_row(row["signal"], *spans, f"{row['psi']:.2f}")
    return table


def print_signals(signals: Sequence[Mapping[str, str]]) -> None:
    """Signals with type and meaning."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("group", "signal", "type", "meaning"):
        table.add_column(name, no_wrap=name != "meaning")
    for row in signals:
        table.add_row(row["group"], row["signal"], row["type"], row["meaning"])
    console().print(table)


def print_rules(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rule sets, or the rules of one."""
    heads = {"acts_on": "acts on", "what": "what it drops or cuts"}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in rows[0]:
        table.add_column(heads.get(name, name))
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console().print(table)

"""Tables that several commands share, results of SQL, and the closing table of a run."""

import codecs
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
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
    from curate.epochs import TrainingEpochs
    from curate.pipeline.facts import RunSummary

COPIED = 1 << 20  # characters at a time
MAX_RECORDS = 20  # rows that are shown as records
MIN_WIDTH = 8  # characters per column; with less, rows are shown as records
MAX_TEXT = 300  # characters of a value that a table shows
MAX_ROWS = 1000  # of a table; other formats print all


def query_error(error: duckdb.Error) -> str:
    """One line on a query that failed; where files are missing also what to do."""
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
            single = only_query(query, "sql")
            if form == "table":
                print_rows(*rows_to_show(connection, single))
            else:
                _print_file(connection, single, form)
        except duckdb.Error as error:
            raise CurateError(f"sql: {query_error(error)}") from None


def rows_to_show(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[list[tuple[str, str]], list[Any]]:
    """Names and types of a query's columns, and its first rows: one more than a table shows."""
    relation = connection.sql(query)
    kinds = list(zip(relation.columns, map(str, relation.types), strict=True))
    return kinds, relation.limit(MAX_ROWS + 1).fetchall()


def print_rows(columns: Sequence[tuple[str, str]], rows: Sequence[Any], whole: str = "--format csv") -> None:
    """Print rows as a table, up to MAX_ROWS, with long texts cut; the plan of an EXPLAIN as DuckDB draws it.

    `whole` is the option or command that prints all.
    """
    if [name for name, _ in columns] == ["explain_key", "explain_value"]:
        for _, value in rows:
            console().print(Text(visible(value)), soft_wrap=True)
        return
    if len(columns) * MIN_WIDTH > console().width:
        _print_records(columns, rows, whole)
        _note_cuts(rows[:MAX_RECORDS], whole)
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
    _note_cuts(rows[:MAX_ROWS], whole)


def _note_cuts(rows: Sequence[Any], whole: str) -> None:
    """Say that texts are cut, if any are."""
    texts = (value for row in rows for value in row if isinstance(value, str | list | dict | tuple))
    if any(len(str(value)) > MAX_TEXT for value in texts):
        console().print(f"… texts are cut at {MAX_TEXT} characters; {whole} prints them whole")


def _print_records(columns: Sequence[tuple[str, str]], rows: Sequence[Any], whole: str) -> None:
    """Print each row as a block of lines, one for each column."""
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
    """Let DuckDB write the result, of any size, to a file, and copy that to stdout.

    JSON has escapes for characters that control a terminal; CSV has none, so it is changed only on a terminal.
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
    """Print counts by stage and reason, drift, quality and warnings; after a `quiet` run also early warnings."""
    console().print(_stages(summary))
    if summary.drift:
        console().print(_drift(summary.drift))
    if summary.tracking and summary.tracked_by is not None:
        from curate.cli.output.evaluation import tracked_table
        from curate.report.quality import tracked_claims, tracked_scope

        stages = summary.tracking
        console().print(tracked_table(stages))
        for line in (*tracked_claims(stages), tracked_scope(stages, summary.tracked_by)):
            console().print(line, highlight=False, soft_wrap=True)
    if summary.training is not None:
        _print_training(summary.training)
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


def _print_training(training: "TrainingEpochs") -> None:
    from curate.cli.output.training import training_table
    from curate.epochs import summary, warning

    console().print(training_table(training))
    console().print(summary(training), highlight=False, soft_wrap=True)
    if message := warning(training):
        console().print(f"warning: {message}", highlight=False, soft_wrap=True)


def _stages(summary: "RunSummary") -> Table:
    """Documents and tokens by stage and reason, each with its share of the input, and the share of bytes."""
    units = ("documents", "tokens", "bytes")
    first, last = summary.stages[0], summary.stages[-1]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("stage")
    table.add_column("reason")
    for name in ("documents", "%", "tokens", "%", "% of bytes"):
        table.add_column(name, justify="right")

    def add(stage: str, reason: str, amount: Mapping[str, int], sign: str = "", style: str = "") -> None:
        shares = {unit: f"{sign}{amount[unit] / max(1, first[f'{unit}_in']):.1%}" for unit in units if unit in amount}
        counts = {unit: f"{sign}{amount[unit]:,}" for unit in units if unit in amount}
        documents = counts.get("documents", ""), shares.get("documents", "")
        table.add_row(stage, reason, *documents, counts["tokens"], shares["tokens"], shares["bytes"], style=style)

    add("input", "", {unit: first[f"{unit}_in"] for unit in units}, style="bold")
    for stage in summary.stages:
        for reason, dropped in stage["dropped"].items():
            add(stage["stage"], reason, dropped)
        if cut := stage.get("cut"):
            reason = f"{'lines' if stage['stage'] == 'lines' else 'passages'} cut in {cut['documents']:,} documents"
            add(stage["stage"], reason, {unit: cut[unit] for unit in ("tokens", "bytes")})
        if written := stage.get("written"):
            add(stage["stage"], "written by a model", written, sign="+")
    add("kept", "", {unit: last[f"{unit}_out"] for unit in units}, style="bold")
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
    """Print signals with type and meaning."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("group", "signal", "type", "meaning"):
        table.add_column(name, no_wrap=name != "meaning")
    for row in signals:
        table.add_row(row["group"], row["signal"], row["type"], row["meaning"])
    console().print(table)


def print_rules(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rule sets, or the rules of one."""
    heads = {"acts_on": "acts on", "what": "what it drops or cuts"}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in rows[0]:
        table.add_column(heads.get(name, name))
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console().print(table)

"""Repeated lines: menus, notices and footers found in many documents are cut from all of them.

Lines are counted in SQL over the hashes in the ledger, by the domain of the document's URL where there is one. A map
then rereads the documents with such lines and cuts them; the cuts are edits like any other.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.corpus.edits import PART, apply_edits, find_edits
from curate.filters.registry import REASONS
from curate.filters.signals.text import character_shape
from curate.kernels.corpus_lines import raw_places, repeated_line_cuts
from curate.ledger.names import INPUT, LINE_EDITS, PENDING, TRIMMED
from curate.ledger.parts import Part
from curate.maps.reread import CorpusReader, RereadTask, add_keys
from curate.recipe.dedup import Lines
from curate.sql import read_parquet

REASON = "repeated_line"  # of an edit
DROP_REASON = "too_much_boilerplate"  # of a document that loses too much of its text
HOST = r"^(?:(?:[a-z][a-z0-9+.-]*:)?//)?(?:[^/@?#]*@)?(?:www\.)?([^/:?#]+\.[^/:?#]+)"
DOMAIN = f"regexp_extract(lower(coalesce(url, '')), '{HOST}', 1)"  # '' for a URL without a domain

NOTHING_TRIMMED = pa.Table.from_batches([], pa.schema(
    [("file_no", pa.int32()), ("row", pa.int64()), ("trimmed_bytes", pa.int64()), ("trimmed_tokens", pa.int64()),
     ("cut_share", pa.float32()), ("lines_sum", pa.uint64())]
))  # fmt: skip

CutLines = Callable[[pa.Table], Sequence[Part]]  # parts of LINE_EDITS and TRIMMED of documents (file_no, row, lines)


def in_force(part: Part) -> Part:
    """The part under its final group, whether or not it was pending."""
    return replace(part, group=part.group.removeprefix(PENDING))


def cut_repeated(
    section: Lines, run: Path, hashes: Sequence[Part], inputs: Sequence[Part], cut: CutLines,
    connection: duckdb.DuckDBPyConnection,
) -> list[Part]:  # fmt: skip
    """Fill `trimmed` with the survivors that lose lines; return the parts with the edits and with what is left.

    `inputs` are parts with the column `input.url`, or none.
    """
    source = read_parquet(run / part.path for part in hashes)
    connection.execute(
        f"""CREATE TEMP TABLE lines AS
        SELECT file_no, row, domain, unnest(line_hashes) AS line FROM {source} JOIN (
            SELECT file_no, row, {DOMAIN if inputs else "''"} AS domain FROM survivors{_urls(run, inputs)}
        ) USING (file_no, row)"""
    )
    documents = connection.sql(
        f"""SELECT file_no, row, list_sort(list(line)) AS lines
        FROM lines SEMI JOIN (
            SELECT domain, line FROM lines GROUP BY ALL HAVING count(*) > {section.max_repeats}
        ) USING (domain, line)
        GROUP BY file_no, row ORDER BY file_no, row"""
    ).to_arrow_table()
    connection.execute("DROP TABLE lines")
    parts = [in_force(part) for part in cut(documents)] if len(documents) else []
    if trimmed := [run / part.path for part in parts if part.group == TRIMMED]:
        too_much = f"cut_share > {section.max_cut}::FLOAT OR trimmed_tokens = 0"
        connection.execute(
            f"INSERT INTO trimmed BY NAME SELECT *, if({too_much}, '{DROP_REASON}', NULL) AS line_reason "
            f"FROM {read_parquet(trimmed)}"
        )
    return parts


def _urls(run: Path, inputs: Sequence[Part]) -> str:
    if not inputs:
        return ""
    source = read_parquet(run / part.path for part in inputs)
    return f' JOIN (SELECT file_no, row, "{INPUT}.url" AS url FROM {source}) USING (file_no, row)'


def plan_cuts(reader: CorpusReader, documents: pa.Table) -> list[RereadTask]:
    """Plan a task for each unit with some of the documents (file_no, row, lines; sorted)."""
    return reader.plan(documents, [__name__, character_shape.measure.__module__])


def cut_lines(task: RereadTask) -> list[Part]:
    """The edits that cut lines from a task's documents, at offsets of the raw text, and what is left of each."""
    tables: list[tuple[pa.Table, pa.Table]] = []
    for documents, texts in task.texts():
        rows, lists = documents["row"].to_numpy(), documents["lines"].combine_chunks().cast(pa.large_list(pa.uint64()))
        edits, trimmed = cut(texts, find_edits(texts, task.reading.editors), lists)
        tables.append((add_keys(edits, rows, task.unit.file_no).cast(PART), add_keys(trimmed, rows, task.unit.file_no)))
    parts = [task.write(group, [pair[k] for pair in tables]) for k, group in enumerate((LINE_EDITS, TRIMMED))]
    return [replace(part, group=PENDING + part.group) for part in parts]


def cut(texts: pa.Array, edits: pa.Table, repeated: pa.Array) -> tuple[pa.Table, pa.Table]:
    """Cut repeated lines from edited texts: the further edits, and what is left; rows count within the texts."""
    edited = apply_edits(texts, edits)
    cuts = repeated_line_cuts(edited, repeated)
    no_replacement = pa.nulls(len(cuts.rows), pa.string())
    line_edits = pa.table({"row": cuts.rows, "start": cuts.starts, "end": cuts.ends, "replacement": no_replacement})
    remaining = character_shape(apply_edits(edited, line_edits))
    sizes_before = pc.binary_length(edited).to_numpy()
    trimmed = pa.table({
        "row": pa.array(np.arange(len(texts))),
        "trimmed_bytes": remaining["n_bytes"],
        "trimmed_tokens": remaining["n_tokens"],
        "cut_share": pa.array((1 - remaining["n_bytes"].to_numpy() / np.maximum(sizes_before, 1)).astype(np.float32)),
        "lines_sum": pa.array(lines_sums(repeated)),
    })  # fmt: skip
    sizes = pc.fill_null(pc.binary_length(edits["replacement"]), 0)
    starts, ends = raw_places(cuts, edits["row"], edits["start"], edits["end"], sizes)
    return _as_edits(cuts.rows, starts, ends), trimmed


def lines_sums(repeated: pa.Array) -> npt.NDArray[np.uint64]:
    """The sum of the hashes of each document's repeated lines, which identifies the set of lines that are cut.

    No list may be empty.
    """
    hashes = repeated.flatten().to_numpy().astype(np.uint64)
    starts = np.cumsum(np.r_[0, pc.list_value_length(repeated).to_numpy()])[:-1]
    return np.add.reduceat(hashes, starts) if len(starts) else hashes


def _as_edits(rows: pa.Array, starts: np.ndarray, ends: np.ndarray) -> pa.Table:
    count = len(rows)
    return pa.table({
        "row": rows,
        "start": pa.array(starts, pa.int32()),
        "end": pa.array(ends, pa.int32()),
        "replacement": pa.nulls(count, pa.string()),
        "reason": pa.array([REASON] * count, REASONS),
        "stage": pa.array(["lines"] * count, REASONS),
    })  # fmt: skip

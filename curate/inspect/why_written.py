"""`why` of a document that a model wrote: its source, how it was written, and what each gate measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.distill.augment.candidates import CORPUS, LENGTHS, PREFIX
from curate.inspect.documents import MIN_PREFIX, OpenRun, Row, Text, find_document, open_run
from curate.inspect.evidence import Evidence, evidence_of
from curate.inspect.excerpts import characters_of, mask
from curate.ledger.augmented import read_augmented
from curate.ledger.ledger import read_facts
from curate.ledger.names import AUGMENT, BEYOND_CAP, DATA, JUDGED, WRITTEN_FOLDER
from curate.maps.documents import masked
from curate.maps.shards import output_name

TABLE = "synthetic"
LARGEST = 5_000_000  # bytes of a source document that is read to show a chunk of it


@dataclass(frozen=True, slots=True)
class OutputRow:
    """A row of an output file; not written yet where the run did not finish."""

    file: str
    row: int
    written: bool


@dataclass(frozen=True, slots=True)
class WrittenCount:
    """How many texts were written after a document, and how many of them were accepted."""

    candidates: int
    accepted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceChunk:
    """The chunk of a document that a text was written after: bytes `start` to `end`."""

    doc_id: str
    file: str
    row: int
    kept: bool
    stage: str | None
    reason: str | None
    chunk: int
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """The request by which a model wrote a text."""

    prompt: str
    prompt_sha256: str
    model: str
    model_hash: str | None
    adapter: str | None
    adapter_hash: str | None
    seed: int
    temperature: float
    top_p: float


@dataclass(frozen=True, slots=True)
class GateMeasure:
    """What a gate measured, and its bounds; None is no bound."""

    measure: str
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenStory:
    """Everything that a run knows of a text that a model wrote for it; no personal data."""

    doc_id: str
    written: bool = True
    kept: bool
    stage: str | None
    reason: str | None
    reasons: Sequence[str]
    domain: str
    form: str
    n_tokens: int
    language: str | None
    source: SourceChunk
    made: Generation
    gates: Sequence[GateMeasure]
    new_facts: Sequence[str] | None
    fired: Sequence[Evidence]
    text: str | None
    original: str | None
    output: OutputRow | None
    judged_by: str  # the run that judged it
    text_problem: str | None  # why the chunk cannot be read


def find_written(run: OpenRun, address: str) -> Row | None:
    """The row of table `synthetic` by its doc_id, or by the first eight or more characters of that."""
    if TABLE not in run.views or run.query("FROM decisions WHERE doc_id = ?", [address]):
        return None
    sql = f"SELECT * FROM {TABLE} WHERE starts_with(doc_id, ?) LIMIT 2"
    matches = run.query(sql, [address]) if len(address) >= MIN_PREFIX else []
    return matches[0] if len(matches) == 1 else None


def written_from(run: OpenRun, row: Row) -> WrittenCount | None:
    """How many texts were written after a document; None without any."""
    if TABLE not in run.views:
        return None
    counts = f"SELECT count(*) AS candidates, count_if(accepted) AS accepted FROM {TABLE} WHERE source_doc_id = ?"
    [count] = run.query(counts, [row["doc_id"]])
    return WrittenCount(**count) if count["candidates"] else None


def explain_written(run: OpenRun, row: Row) -> WrittenStory:
    """Everything that a run knows of a text that a model wrote for it."""
    [(text, original)], problem = written_and_original(run, [row])
    source = find_document(run, row["source_doc_id"])
    of_source = ("doc_id", "file", "row", "kept", "stage", "reason")
    return WrittenStory(
        doc_id=row["doc_id"],
        kept=row["accepted"],
        stage=row["stage"],
        reason=row["reason"],
        reasons=row["reasons"],
        domain=row["domain"],
        form=row["form"],
        n_tokens=row["n_tokens"],
        language=row["language"],
        source=SourceChunk(
            **{name: source[name] for name in of_source}, **{name: row[name] for name in ("chunk", "start", "end")}
        ),
        made=Generation(**{name: row[name] for name in Generation.__slots__}),
        gates=gates_of(run, row),
        new_facts=row["new_facts"],
        fired=_evidence(run, row),
        text=text,
        original=original,
        output=_output_row(run, row),
        judged_by=(run.folder / WRITTEN_FOLDER / JUDGED).as_posix(),
        text_problem=problem,
    )


def gates_of(run: OpenRun, row: Row) -> list[GateMeasure]:
    """What the gates measured of a written text against its original, with their bounds."""
    section = run.recipe.tier3
    assert section is not None
    bounds: dict[str, tuple[float | None, float | None]] = {
        "n_new_facts": (None, 0),
        "facts_kept": (None, None),
        "copy_share": section.copy_band,
        "length_ratio": LENGTHS,
        "faithful": (section.faithful, None),
        "perplexity": (None, None),
        "p_bad": (None, None),
    }
    return [GateMeasure(name, row[name], *bounds[name]) for name in bounds if row[name] is not None]


def written_and_original(run: OpenRun, rows: Sequence[Row]) -> tuple[list[tuple[str | None, str | None]], str | None]:
    """For each row of `synthetic` the written text and its original chunk, masked; and why chunks cannot be read.

    Whole texts are masked: a chunk might have half of an address, which no pattern would match.
    """
    if not rows:
        return [], None
    path, name, column = run.folder / WRITTEN_FOLDER / CORPUS, f"{PREFIX}doc_id", run.recipe.input.column
    table = pq.read_table(path, columns=[name, column], filters=[(name, "in", [row["doc_id"] for row in rows])])
    texts = masked(table[column].combine_chunks().cast(pa.large_string())).to_pylist()
    written = dict(zip(table[name].to_pylist(), texts, strict=True))
    sources = [find_document(run, row["source_doc_id"]) for row in rows]
    originals, problem = run.texts([source for source in sources if source["raw_n_bytes"] <= LARGEST])
    return [
        (written.get(row["doc_id"]), _chunk(originals.get((source["file_no"], source["row"])), row))
        for row, source in zip(rows, sources, strict=True)
    ], problem


def _chunk(text: Text | None, row: Row) -> str | None:
    """The chunk of a document that a text was written after, without personal data."""
    if text is None:
        return None
    output = text.output
    masked_text = mask(output)
    start, end = masked_text.moved(*characters_of(output, [row["start"], row["end"]]))
    return masked_text.text[start:end]


def _evidence(run: OpenRun, row: Row) -> list[Evidence]:
    """The evidence for the gates that rejected a text, from the run that judged it."""
    if row["reason"] == BEYOND_CAP:
        return [Evidence(BEYOND_CAP, AUGMENT, {}, source="it passed, and its domain has all that it may have")]
    if row["accepted"]:
        return []
    with open_run(run.folder / WRITTEN_FOLDER / JUDGED) as judging:
        return evidence_of(judging, find_document(judging, row["doc_id"]))


def _output_row(run: OpenRun, row: Row) -> OutputRow | None:
    """The row of an accepted text in the output."""
    augmented = read_augmented(run.folder)
    if not row["accepted"] or augmented is None or not (run.folder / "manifest.json").is_file():
        return None
    columns = pa.schema([(name, pa.null()) for name in read_facts(run.folder).get("input_columns", ())])
    doc_id = output_name("doc_id", columns)
    for part in run.ledger.of(DATA)[-len(augmented.facts["judged"]) :]:
        index = _row_of(run.folder / part.path, doc_id, row["doc_id"])
        if index >= 0:
            return OutputRow(part.path, index, True)
    return None


def _row_of(path: Path, column: str, doc_id: str) -> int:
    """The row of a document in an output file; -1 where it is not in the file."""
    if not path.is_file():
        return -1
    return int(pc.index(pq.read_table(path, columns=[column])[column], doc_id).as_py())

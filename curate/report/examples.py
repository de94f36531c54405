"""Examples of documents kept and dropped: their evidence, and excerpts of their texts with marks."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any

import duckdb

from curate.display import visible
from curate.inspect.documents import ROWS, Key, OpenRun, Row, Text
from curate.inspect.evidence import Evidence, evidence_of
from curate.inspect.excerpts import Piece
from curate.inspect.sample import Selection, sample_of
from curate.inspect.text_diff import Change
from curate.inspect.why import compared
from curate.ledger.names import STAGES
from curate.storage.mirror import by_uri

KEPT = 30  # documents
DROPPED = 60
EXCERPT = 600  # characters
DIFFERENCE = 1500  # characters of the difference of two copies
LARGEST = 5_000_000  # bytes of a text of which an excerpt is shown
COMPARED = 50_000  # characters of a text that is compared with its copy


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleDocument:
    """A document with its evidence, an excerpt with marks, and its difference from the copy that stays."""

    doc_id: str
    file: str
    row: int
    kept: bool
    stage: str | None
    reason: str | None
    reasons: Sequence[str]
    n_tokens: int
    raw_n_bytes: int
    why: Sequence[tuple[str, str]]  # reasons, each with its evidence in words
    pieces: Sequence[Piece] | None  # None: its text cannot be read
    diff: Sequence[Change] | None
    command: str
    first_of: Sequence[str]  # reasons of which no earlier example is


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How many documents a reason dropped, and how many of them are among the examples."""

    reason: str
    documents: int
    shown: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """Section "Documents"."""

    kept: Sequence[ExampleDocument]
    dropped: Sequence[ExampleDocument]
    reasons: Sequence[ReasonCount]
    sample: str  # the command that draws more
    problem: str | None  # why texts are missing


@dataclass(frozen=True, slots=True)
class _Context:
    """What all examples share: the run, texts by key, and the survivors of copies by id."""

    run: OpenRun
    texts: Mapping[Key, Text]
    survivors: Mapping[str, Row]


def documents_section(run: OpenRun) -> Documents:
    """Examples of documents kept and dropped."""
    kept, dropped = drawn(run.connection, run.recipe.seed)
    rows = _whole_rows(run, [*kept, *dropped])
    survivors = _survivors(run, rows)
    readable = [row for row in (*rows, *survivors.values()) if row["raw_n_bytes"] <= LARGEST]
    texts, problem = run.texts(readable)
    context = _Context(run, texts, survivors)
    first: dict[str, int] = {}
    for k, row in enumerate(rows):
        for reason in row["reasons"]:
            first.setdefault(reason, k)
    examples = [
        _example(context, row, [reason for reason, index in first.items() if index == k]) for k, row in enumerate(rows)
    ]
    counts = run.query(
        "SELECT reason, count(*) AS documents FROM decisions WHERE NOT kept GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    return Documents(
        kept=examples[: len(kept)],
        dropped=examples[len(kept) :],
        reasons=[
            ReasonCount(**count, shown=sum(count["reason"] in example.reasons for example in examples))
            for count in counts
        ],
        sample=f"curate sample {shlex.quote(by_uri(str(run.folder)))}",
        problem=problem,
    )


def drawn(connection: duckdb.DuckDBPyConnection, seed: int) -> tuple[list[Row], list[Row]]:
    """Documents kept and documents dropped, the same for a seed; those dropped in equal numbers for each reason."""
    rows = connection.execute(
        """SELECT kept, reason, min_by({file_no: file_no, row: row, stage: stage, reasons: reasons}, order_key, ?)
        FROM (SELECT *, md5(concat_ws(':', ?::VARCHAR, 'report', doc_id)) AS order_key FROM decisions)
        GROUP BY kept, reason ORDER BY count(*) DESC, reason""",
        [DROPPED, str(seed)],
    ).fetchall()
    kept = [documents[:KEPT] for verdict, _, documents in rows if verdict]
    turns = zip_longest(*(documents for verdict, _, documents in rows if not verdict))
    dropped = (document for turn in turns for document in turn if document is not None)
    return kept[0] if kept else [], sorted(
        islice(dropped, DROPPED), key=lambda row: (STAGES.index(row["stage"]), row["reasons"])
    )


def _whole_rows(run: OpenRun, rows: Sequence[Row]) -> list[Row]:
    """The rows of view `documents` of the documents in `rows`, in their order."""
    keys = [[row[name] for row in rows] for name in ("file_no", "row")]
    documents = run.query(
        f"""SELECT * FROM ({ROWS})
        SEMI JOIN (SELECT unnest(?::INTEGER[]) AS file_no, unnest(?::BIGINT[]) AS row) USING (file_no, row)""",
        keys,
    )
    by_key = {(document["file_no"], document["row"]): document for document in documents}
    return [by_key[row["file_no"], row["row"]] for row in rows]


def _survivors(run: OpenRun, rows: Sequence[Row]) -> dict[str, Row]:
    """The documents of this run that copies among `rows` were dropped for, by id."""
    ids = sorted({row["duplicate_of"] for row in rows if row["duplicate_of"] is not None})
    survivors = run.query(f"{ROWS} SEMI JOIN (SELECT unnest(?::VARCHAR[]) AS doc_id) USING (doc_id)", [ids])
    return {row["doc_id"]: row for row in survivors}


def _example(context: _Context, row: Row, first_of: Sequence[str]) -> ExampleDocument:
    run, text = context.run, context.texts.get((row["file_no"], row["row"]))
    # The sample has the evidence of one reason alone; here all reasons are listed next to the text.
    sample = sample_of(run, row, text, None, Selection(reason=row["reason"], limit=EXCERPT))
    pieces: list[Piece] | None = None
    if sample.pieces is not None:
        pieces = [(kind, visible(part)) for kind, part in sample.pieces]
    return ExampleDocument(
        doc_id=row["doc_id"],
        file=row["file"],
        row=row["row"],
        kept=row["kept"],
        stage=row["stage"],
        reason=row["reason"],
        reasons=row["reasons"],
        n_tokens=row["n_tokens"],
        raw_n_bytes=row["raw_n_bytes"],
        why=[(evidence.reason, _in_words(evidence, row)) for evidence in evidence_of(run, row)],
        pieces=pieces,
        diff=_difference(context, row, text),
        command=f"curate why {shlex.quote(by_uri(str(run.folder)))} {shlex.quote(visible(row['doc_id']))}",
        first_of=first_of,
    )


def _difference(context: _Context, row: Row, text: Text | None) -> list[Change] | None:
    """The difference between a copy and the one that stays; None for no copy, or where a text is missing or long."""
    survivor = context.survivors.get(row["duplicate_of"] or "")
    other = context.texts.get((survivor["file_no"], survivor["row"])) if survivor else None
    if text is None or other is None or max(len(text.raw), len(other.raw)) > COMPARED:
        return None
    return _limited(compared(text.measured, other.measured))


def _limited(changes: Sequence[Change]) -> list[Change]:
    """The first changes, up to DIFFERENCE characters."""
    budget = DIFFERENCE
    limited: list[Change] = []
    for kind, part in changes:
        if budget <= 0:
            limited.append(("gap", "…"))
            break
        limited.append((kind, visible(part[:budget])))
        budget -= len(part)
    return limited


def _in_words(evidence: Evidence, row: Mapping[str, Any]) -> str:
    """The measured value and its bound, the condition, and the copy that stays."""
    parts = [str(evidence)] if evidence.values else []
    if evidence.condition is not None:
        parts.append(f"{'dropped when' if evidence.signal is None else 'if'} {evidence.condition}")
    if row["duplicate_of"] is not None:
        parts.insert(0, f"copy of {row['duplicate_of']}")
    return ", ".join(parts) or evidence.source

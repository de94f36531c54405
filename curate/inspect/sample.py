"""`sample`: documents of a run, drawn by seed, with what they were dropped for marked in their texts."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from curate.display import fields_of
from curate.distill.purify.passages import DROP_REASON as TOO_LITTLE_LEFT
from curate.errors import CurateError, RecipeError, did_you_mean
from curate.filters.block import read_lists
from curate.filters.rules.resolve import BUILT_IN, DECONTAMINATE, resolve_editors
from curate.inspect.documents import ROWS, Edit, OpenRun, Row, Text, open_run
from curate.inspect.evidence import Band, Evidence, band_of, evidence_of
from curate.inspect.excerpts import LIMIT, Piece, Span, Spans, characters_of, excerpt, flat, with_marks
from curate.inspect.spans import FINDERS, listed
from curate.ledger.names import AUGMENT as AUGMENT
from curate.ledger.names import JUDGED, PURIFY, STAGES, WRITTEN_FOLDER
from curate.sql import first_line, literal, only_query, without_values

CUTS = ("cut_word_ratio", "cut_share")  # signals that say how much was cut: the edits say what
BLOCK = "block_"  # prefix of the columns of the user's lists
SYNTHETIC = "synthetic"  # the table of written documents


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which documents to draw, and how much of them to show.

    Without reason, stage, kept and where, dropped documents are drawn.
    """

    reason: str | None = None
    stage: str | None = None
    kept: bool = False
    where: str | None = None  # SQL
    n: int = 20
    seed: int | None = None  # None: the recipe's
    full: bool = False
    limit: int = LIMIT  # characters of an excerpt that is not full


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A document with the evidence for its verdict, and an excerpt of its text with marks."""

    doc_id: str
    file: str
    row: int
    kept: bool
    stage: str | None
    reasons: Sequence[str]
    reason: str | None  # the one that the marks are of
    fired: Sequence[Evidence]
    band: Band | None
    duplicate_of: str | None
    similarity: float | None
    n_tokens: int
    pieces: Sequence[Piece] | None  # None: its text cannot be read
    problem: str | None  # why not, or why nothing is marked

    def to_json(self) -> dict[str, object]:
        """The fields; the excerpt as one text, and its marks as spans of it."""
        text, spans = flat(self.pieces) if self.pieces is not None else (None, [])
        fields = fields_of(self)
        del fields["pieces"]
        return fields | {"excerpt": text, "spans": spans}


@dataclass(frozen=True, slots=True)
class CountedSpans:
    """A text and the spans in it that a reason counts, or why they cannot be found."""

    text: str
    spans: Spans = field(default=())
    problem: str | None = None


def draw(folder: Path, selection: Selection) -> list[Sample]:
    """Draw documents of a run.

    Errors: CurateError for a reason or stage that no document has, and for a condition that is not one.
    """
    if selection.where is not None and not selection.where.strip():
        raise CurateError("sample: --where is empty; write a condition, as in 'n_words < 30'")
    if selection.kept and selection.stage:
        raise CurateError("sample: no stage has dropped what is kept; leave out --kept or --stage")
    with open_run(folder) as run:
        _check(run, selection)
        rows = _drawn_rows(run, selection)
        texts, problem = run.texts(rows)
        return [sample_of(run, row, texts.get((row["file_no"], row["row"])), problem, selection) for row in rows]


def _drawn_rows(run: OpenRun, selection: Selection) -> list[Row]:
    """The rows whose ids have the smallest hashes with the seed, in that order.

    So a drawn document stays drawn when the corpus grows, as long as no smaller hash comes in.
    """
    seed = run.recipe.seed if selection.seed is None else selection.seed
    query = f"""SELECT doc_id FROM documents WHERE {_condition(run, selection)}
        ORDER BY md5({literal(f"{seed} ")} || doc_id), doc_id LIMIT {selection.n}"""
    try:
        # The condition alone first, so that errors are about it; the first form refuses `x) UNION (y`.
        for form in ("SELECT {}", "SELECT 1 WHERE (\n{}\n)"):
            only_query(form.format(selection.where or True), "sample: --where")
        only_query(query, "sample: --where")
        ids = [row["doc_id"] for row in run.query(query)]
    except duckdb.Error as error:
        on_data = (duckdb.ConversionException, duckdb.InvalidInputException, duckdb.OutOfRangeException)
        problem = without_values(error) if isinstance(error, on_data) else first_line(error)
        raise CurateError(f"sample: --where {selection.where}: {problem}") from None
    rows = run.query(f"{ROWS} WHERE list_contains(?::VARCHAR[], doc_id)", [ids])
    return sorted(rows, key=lambda row: ids.index(row["doc_id"]))


def _condition(run: OpenRun, selection: Selection) -> str:
    """SQL condition over `documents` for those that may be drawn."""
    conditions = []
    if selection.kept:
        conditions.append("kept")
    elif selection.where is None:
        conditions.append("true" if selection.reason else "NOT kept")
    if selection.reason is not None:
        dropped = f"list_contains(reasons, {literal(selection.reason)})"
        cut = f"doc_id IN (SELECT doc_id FROM edits WHERE reason = {literal(selection.reason)})"
        conditions.append(f"({dropped} OR {cut})")
    if selection.stage is not None:
        conditions.append(f"stage = {literal(selection.stage)}")
    if selection.where is not None:
        where = f"(\n{selection.where}\n)"
        reads_input = re.search(r"\binput\s*\.", selection.where, re.IGNORECASE)
        conditions.append(f"doc_id IN (SELECT doc_id FROM corpus WHERE {where})" if reads_input else where)
    return " AND ".join(conditions)


def _check(run: OpenRun, selection: Selection) -> None:
    """Refuse a stage that does not exist, and a reason that neither a document nor a rule has."""
    stage, reason = selection.stage, selection.reason
    if stage is not None and stage not in STAGES:
        about = _written_hint(run) if stage == AUGMENT else did_you_mean(stage, STAGES)
        raise CurateError(f"sample: no stage {stage!r}{about}")
    if reason is None or reason in (counts := _reason_counts(run)) or reason in _possible_reasons(run):
        return
    close = difflib.get_close_matches(reason, counts, n=1)
    choices = ", ".join(f"{name} ({count:,})" for name, count in counts.items() if not close or name in close)
    hint = f"; did you mean {choices}?" if close else f" (known: {choices or 'none'})"
    if SYNTHETIC in run.views and run.query("FROM synthetic WHERE list_contains(reasons, ?)", [reason]):
        hint = _written_hint(run)
    raise CurateError(f"{run.folder}: no document has the reason {reason!r}{hint}")


def _written_hint(run: OpenRun) -> str:
    """The command that draws documents that a model wrote."""
    return f"; written documents are drawn with: curate sample {run.folder / WRITTEN_FOLDER / JUDGED}"


def _possible_reasons(run: OpenRun) -> set[str]:
    """The reasons that could have applied to a document or an edit."""
    edits = {reason for editor in resolve_editors(run.recipe.tier1) for reason, _ in editor.bounds}
    return {*BUILT_IN, *(rule.reason for rule in run.rules), *edits}


def _reason_counts(run: OpenRun) -> dict[str, int]:
    """How many documents have each reason, edits included, most first."""
    sql = """SELECT unnest(reasons) AS reason FROM decisions
        UNION ALL SELECT reason FROM (SELECT DISTINCT reason::VARCHAR AS reason, doc_id FROM edits)"""
    rows = run.query(f"SELECT reason, count(*) AS n FROM ({sql}) GROUP BY reason ORDER BY n DESC, reason")
    return {row["reason"]: row["n"] for row in rows}


def sample_of(run: OpenRun, row: Row, text: Text | None, problem: str | None, selection: Selection) -> Sample:
    """One document with its evidence, and its excerpt with marks; `problem` says why a text is missing."""
    evidence = evidence_of(run, row)
    reason = selection.reason or row["reason"]
    of_reason = [item for item in evidence if item.reason == reason]
    pieces = None
    if text is not None:
        counted = _counted_spans(run, row, text, reason, of_reason)
        limit = None if selection.full else selection.limit
        pieces, problem = excerpt(with_marks(counted.text, counted.spans), limit), counted.problem
    return Sample(
        doc_id=row["doc_id"],
        file=row["file"],
        row=row["row"],
        kept=row["kept"],
        stage=row["stage"],
        reasons=row["reasons"],
        reason=reason,
        fired=of_reason or evidence,
        band=band_of(run, row) if row["stage"] == "bands" else None,
        duplicate_of=row["duplicate_of"],
        similarity=row["similarity"],
        n_tokens=row["n_tokens"],
        pieces=pieces,
        problem=problem,
    )


def _counted_spans(
    run: OpenRun, row: Row, text: Text, reason: str | None, evidence: Sequence[Evidence]
) -> CountedSpans:
    """The text that the reason is about, and the spans in it that the reason counts.

    Rules are about the measured text, from which cuts are missing. Cuts are shown in the raw text.
    """
    if row["kept"] and not any(edit.reason == reason for edit in text.edits):
        return CountedSpans(text.output)
    cuts = [edit for edit in text.edits if _is_about(edit, row, reason, evidence)]
    if cuts:
        return CountedSpans(text.raw, _spans_of(text.raw, [(cut.start, cut.end) for cut in cuts]))
    if reason == DECONTAMINATE.reason and "contamination" in run.views:
        searched = run.searched_text(text)
        rows = run.query('SELECT start, "end" FROM contamination WHERE doc_id = ?', [row["doc_id"]])
        return CountedSpans(searched, _spans_of(searched, [(passage["start"], passage["end"]) for passage in rows]))
    return _spans_of_signals(run, text, evidence)


def _spans_of(text: str, spans: Spans) -> list[Span]:
    """Spans in bytes as spans in characters."""
    offsets = characters_of(text, [offset for span in spans for offset in span])
    return list(zip(offsets[::2], offsets[1::2], strict=True))


def _is_about(edit: Edit, row: Row, reason: str | None, evidence: Sequence[Evidence]) -> bool:
    """Whether a reason is about an edit."""
    if reason == TOO_LITTLE_LEFT:
        return edit.stage == PURIFY
    if any(name in CUTS for item in evidence for name in item.values) or reason == "empty_text":
        return bool(edit.stage == ("lines" if row["stage"] == "lines" else "input"))
    return edit.reason == reason or (row["stage"] == "lines" and edit.stage == "lines")


def _spans_of_signals(run: OpenRun, text: Text, evidence: Sequence[Evidence]) -> CountedSpans:
    """What the signals of a rule count; all in the raw text, or all in the measured one."""
    spans: dict[bool, list[Span]] = {}
    for item in evidence:
        for name in item.values:
            is_raw = name.startswith("raw_")
            if name in FINDERS:
                spans.setdefault(is_raw, []).extend(FINDERS[name](text.raw if is_raw else text.measured, item))
            elif name.startswith(BLOCK):
                entries = [entry for entry in run.recipe.tier1.block if f"{BLOCK}{entry.reason}" == name]
                try:
                    lists = read_lists(entries)
                except RecipeError as error:
                    return CountedSpans(text.measured, problem=f"nothing is marked: {error}")
                spans.setdefault(is_raw, []).extend(span for block in lists for span in listed(block, text.measured))
    is_raw = next((is_raw for is_raw, of_text in spans.items() if of_text), False)
    return CountedSpans(text.raw if is_raw else text.measured, spans.get(is_raw, []))

"""`sample`: documents of a run, drawn by seed, and where in their texts stands what they were dropped for."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from curate.errors import CurateError, RecipeError, did_you_mean
from curate.filters.block import read_lists
from curate.filters.rules.resolve import BUILT_IN, DECONTAMINATE, resolve_editors
from curate.inspect.documents import ROWS, Look, Row, Text, opened_run
from curate.inspect.evidence import Fired, Rules, band_of, evidence_of, rules_by_reason
from curate.inspect.excerpts import LIMIT, Spans, characters_of, excerpt, flat, marked
from curate.inspect.spans import FINDERS, listed
from curate.ledger.names import AUGMENT as AUGMENT
from curate.ledger.names import JUDGED, STAGES, WRITTEN_FOLDER
from curate.maps.documents import masked_values
from curate.sql import first_line, literal, only_query, without_values

CUTS = ("cut_word_ratio", "cut_share")  # signals that say how much was cut: what was is in the edits
BLOCK = "block_"  # begins the columns of the user's lists
SYNTHETIC = "synthetic"  # the table of written documents


@dataclass(frozen=True)
class Wanted:
    """Which documents to draw from (without any of the first four those that were dropped) and what to show of them."""

    reason: str | None = None
    stage: str | None = None
    kept: bool = False
    where: str | None = None
    n: int = 20
    seed: int | None = None  # None: the recipe's
    full: bool = False
    limit: int = LIMIT  # characters of an excerpt that is not full


def draw(run: Path, wanted: Wanted) -> list[dict[str, Any]]:
    """The documents that are drawn, each with why it was dropped and the pieces of its text that are shown.

    Errors: CurateError for a reason or stage that no document has, and for a condition that is none.
    """
    if wanted.where is not None and not wanted.where.strip():
        raise CurateError("sample: --where is empty; write a condition, as in 'n_words < 30'")
    if wanted.kept and wanted.stage:
        raise CurateError("sample: no stage has dropped what is kept; leave out --kept or --stage")
    with opened_run(run) as look:
        _check(look, wanted)
        rows = _drawn(look, wanted)
        texts, problem = look.texts(rows)
        rules = rules_by_reason(look.recipe)
        return [shown_of(look, rules, row, texts.get((row["file_no"], row["row"])), problem, wanted) for row in rows]


def without_pieces(told: Mapping[str, Any]) -> dict[str, Any]:
    """A document as JSON has it: the excerpt as one text, and the places in it that are pointed at."""
    written, spans = flat(told["pieces"]) if told["pieces"] is not None else (None, [])
    return {name: value for name, value in told.items() if name != "pieces"} | {"excerpt": written, "spans": spans}


def _drawn(look: Look, wanted: Wanted) -> list[Row]:
    """The rows that are drawn: those whose ids have the least hashes with the seed, in that order.

    So a document that is drawn stays drawn when others come to it, as long as no smaller hash does.
    """
    seed = look.recipe.seed if wanted.seed is None else wanted.seed
    query = f"""SELECT doc_id FROM documents WHERE {_condition(look, wanted)}
        ORDER BY md5({literal(f"{seed} ")} || doc_id), doc_id LIMIT {wanted.n}"""
    try:
        for alone in (
            "SELECT {}",
            "SELECT 1 WHERE (\n{}\n)",
        ):  # so that errors are of it; the first refuses `x) UNION (y`
            only_query(alone.format(wanted.where or True), "sample: --where")
        only_query(query, "sample: --where")
        ids = [row["doc_id"] for row in look.query(query)]
    except duckdb.Error as error:
        on_data = (duckdb.ConversionException, duckdb.InvalidInputException, duckdb.OutOfRangeException)
        problem = without_values(error) if isinstance(error, on_data) else first_line(error)
        raise CurateError(f"sample: --where {wanted.where}: {problem}") from None
    rows = look.query(f"{ROWS} WHERE list_contains(?::VARCHAR[], doc_id)", [ids])
    return sorted(rows, key=lambda row: ids.index(row["doc_id"]))


def _condition(look: Look, wanted: Wanted) -> str:
    """SQL over `documents` for what is drawn from."""
    conditions = []
    if wanted.kept:
        conditions.append("kept")
    elif wanted.where is None:
        conditions.append("true" if wanted.reason else "NOT kept")
    if wanted.reason is not None:
        named = f"list_contains(reasons, {literal(wanted.reason)})"
        cut = f"doc_id IN (SELECT doc_id FROM edits WHERE reason = {literal(wanted.reason)})"
        conditions.append(f"({named} OR {cut})")
    if wanted.stage is not None:
        conditions.append(f"stage = {literal(wanted.stage)}")
    if wanted.where is not None:
        inside = f"(\n{wanted.where}\n)"
        over_input = re.search(r"\binput\s*\.", wanted.where, re.IGNORECASE)
        conditions.append(f"doc_id IN (SELECT doc_id FROM corpus WHERE {inside})" if over_input else inside)
    return " AND ".join(conditions)


def _check(look: Look, wanted: Wanted) -> None:
    """Refuse a stage that there is not, and a reason that neither a document nor a rule has."""
    if wanted.stage is not None and wanted.stage not in STAGES:
        about = _of_written(look) if wanted.stage == AUGMENT else did_you_mean(wanted.stage, STAGES)
        raise CurateError(f"sample: no stage {wanted.stage!r}{about}")
    if wanted.reason is None or wanted.reason in (counts := _reasons(look)) or wanted.reason in _possible(look):
        return
    close = difflib.get_close_matches(wanted.reason, counts, n=1)
    known = ", ".join(f"{reason} ({count:,})" for reason, count in counts.items() if not close or reason in close)
    more = f"; did you mean {known}?" if close else f" (known: {known or 'none'})"
    if SYNTHETIC in look.views and look.query("FROM synthetic WHERE list_contains(reasons, ?)", [wanted.reason]):
        more = _of_written(look)
    raise CurateError(f"{look.run}: no document has the reason {wanted.reason!r}{more}")


def _of_written(look: Look) -> str:
    """Where documents that a model wrote are drawn from."""
    return f"; written documents are drawn with: curate sample {look.run / WRITTEN_FOLDER / JUDGED}"


def _possible(look: Look) -> set[str]:
    """The reasons that could have applied, whether or not one did."""
    edits = {reason for editor in resolve_editors(look.recipe.tier1) for reason, _ in editor.bounds}
    return {*BUILT_IN, *rules_by_reason(look.recipe), *edits}


def _reasons(look: Look) -> dict[str, int]:
    """How many documents have each reason, those of edits included, most first."""
    sql = """SELECT unnest(reasons) AS reason FROM decisions
        UNION ALL SELECT reason FROM (SELECT DISTINCT reason::VARCHAR AS reason, doc_id FROM edits)"""
    found = look.query(f"SELECT reason, count(*) AS n FROM ({sql}) GROUP BY reason ORDER BY n DESC, reason")
    return {row["reason"]: row["n"] for row in found}


def shown_of(
    look: Look, rules: Rules, row: Row, text: Text | None, problem: str | None, wanted: Wanted
) -> dict[str, Any]:
    """One document: what fired, and its text with the places that are pointed at."""
    fired = evidence_of(look, rules, row)
    reason = wanted.reason or row["reason"]
    at = [one for one in fired if one.reason == reason]
    band = band_of(look, row) if row["stage"] == "bands" else None
    told = {
        **{name: row[name] for name in ("doc_id", "file", "row", "kept", "stage", "reasons")},
        "reason": reason,
        "fired": [asdict(one) | {"told": str(one)} for one in (at or fired)],
        "band": asdict(band) | {"stratum": masked_values(band.stratum)} if band else None,
        **{name: row[name] for name in ("duplicate_of", "similarity", "n_tokens")},
    }
    if text is None:
        return told | {"pieces": None, "problem": problem}
    whole, places, problem = _pointed_at(look, row, text, reason, at)
    pieces = excerpt(marked(whole, places), None if wanted.full else wanted.limit)
    return told | {"pieces": pieces, "problem": problem}


def _pointed_at(
    look: Look, row: Row, text: Text, reason: str | None, fired: Sequence[Fired]
) -> tuple[str, Spans, str | None]:
    """The text that the reason is about, the places in it that the reason counts, and why there are none, if it could.

    Rules are about what they measured, without what had been cut. Cuts are shown in the raw text.
    """
    if row["kept"] and not any(edit["reason"] == reason for edit in text.edits):
        return text.output, [], None
    cut = [edit for edit in text.edits if _is_meant(edit, row, reason, fired)]
    if cut:
        bounds = [place for edit in cut for place in (edit["start"], edit["end"])]
        places = characters_of(text.raw, bounds)
        return text.raw, list(zip(places[::2], places[1::2], strict=True)), None
    if reason == DECONTAMINATE.reason and "contamination" in look.views:
        searched = look.searched(text)
        found = look.query('SELECT start, "end" FROM contamination WHERE doc_id = ?', [row["doc_id"]])
        places = characters_of(searched, [place for one in found for place in (one["start"], one["end"])])
        return searched, list(zip(places[::2], places[1::2], strict=True)), None
    return _counted(look, text, fired)


def _is_meant(edit: Row, row: Row, reason: str | None, fired: Sequence[Fired]) -> bool:
    """Whether an edit is what the reason is about."""
    if any(name in CUTS for one in fired for name in one.values) or reason == "empty_text":
        return bool(edit["stage"] == ("lines" if row["stage"] == "lines" else "input"))
    return bool(edit["reason"] == reason) or (row["stage"] == "lines" and edit["stage"] == "lines")


def _counted(look: Look, text: Text, fired: Sequence[Fired]) -> tuple[str, Spans, str | None]:
    """What the signals of a rule count; all in the raw text, or all in the measured one."""
    found: dict[bool, list[tuple[int, int]]] = {}
    for one in fired:
        for name in one.values:
            raw = name.startswith("raw_")
            if name in FINDERS:
                found.setdefault(raw, []).extend(FINDERS[name](text.raw if raw else text.measured, one))
            elif name.startswith(BLOCK):
                entries = [entry for entry in look.recipe.tier1.block if f"{BLOCK}{entry.reason}" == name]
                try:
                    lists = read_lists(entries)
                except RecipeError as error:
                    return text.measured, [], f"nothing is marked: {error}"
                found.setdefault(raw, []).extend(span for block in lists for span in listed(block, text.measured))
    raw = next((raw for raw, places in found.items() if places), False)
    return text.raw if raw else text.measured, found.get(raw, []), None

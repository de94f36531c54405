"""`why`: the whole story of one document, as a mapping that is printed or written as JSON."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.corpus.parquet import Source, read_documents
from curate.inspect.documents import Look, Row, Text, find_document, opened_run
from curate.inspect.evidence import (
    EARLIER,
    LATER,
    band_of,
    bound_on,
    evidence_of,
    reasons_of,
    rules_by_reason,
    standing,
)
from curate.inspect.excerpts import characters_of, mask
from curate.inspect.text_diff import Change, changes, collapsed
from curate.inspect.why_written import explain_written, find_written, written_from
from curate.ledger.names import DATA
from curate.maps.documents import masked, masked_values, source_of

BESIDE = 50  # characters before and behind an edit
LONGEST_CUT = 300  # characters of what was cut that are shown
EDITS_SHOWN = 20
COPIES_SHOWN = 20
ORIGIN = ("url", "source", "license")  # input columns that tell where a document is from


def explain(run: Path, address: str) -> dict[str, Any]:
    """Everything that a run knows of a document, or of one that a model wrote for it.

    Errors: CurateError for an address that is nobody's, or that of more than one; RunError where the run has no index.
    """
    with opened_run(run) as look:
        if (written := find_written(look, address)) is not None:
            return explain_written(look, written)
        row = find_document(look, address)
        texts, problem = look.texts([row])
        text = texts.get((row["file_no"], row["row"]))
        band = band_of(look, row)
        story = {
            "doc_id": row["doc_id"],
            "file": row["file"],
            "row": row["row"],
            "kept": row["kept"],
            "stage": row["stage"],
            "reason": row["reason"],
            "reasons": row["reasons"],
            "origin": _origin(look, row, as_measured=problem is None),
            "fired": [asdict(one) | {"told": str(one)} for one in evidence_of(look, rules_by_reason(look.recipe), row)],
            "band": asdict(band) | {"stratum": masked_values(band.stratum)} if band else None,
            "purify": _purify(look, row, text),
            "contamination": _contamination(look, row, text),
            "signals": _signals(look, row),
            "later": {name: row[name] for name in LATER if row.get(name) is not None},
            "duplicate": _duplicate(look, row, text),
            "copies": _copies(look, row),
            "written_from": written_from(look, row),
            "edits": _edits(look, row, text),
            "output": _place_in_output(look, row),
            "text_problem": problem,
        }
    return story


def _origin(look: Look, row: Row, as_measured: bool) -> dict[str, Any]:
    """Size, language, and the columns of the input that tell where a document is from and that strata are made of.

    Of an input that is not as it was measured, only what the ledger holds: another document may stand there now.
    """
    known = {"bytes": row["raw_n_bytes"], "tokens": row["n_tokens"], "words": row.get("n_words")}
    if row.get("n_bytes") is not None and row["n_bytes"] != row["raw_n_bytes"]:
        known["bytes_after_edits"] = row["n_bytes"]
    known["language"] = row.get("language")
    strata = [name.removesuffix("?") for name in look.recipe.input.strata]
    named = list(dict.fromkeys((*ORIGIN, *strata)))
    values = {name: value for name, value in look.inputs_of(row).items() if name in named}
    if as_measured:
        source: Source = source_of(look.run, look.file(row["file_no"]))
        for batch in read_documents(source, row["row"], row["row"] + 1, named):
            values |= {name: batch.column(name)[0].as_py() for name in named if name in batch.schema.names}
    named_apart = {f"input.{name}" if name in known else name: value for name, value in values.items()}
    return {name: value for name, value in (known | masked_values(named_apart)).items() if value is not None}


def _purify(look: Look, row: Row, text: Text | None) -> dict[str, Any] | None:
    """p_bad against its bound, what the text resembles, and what speaks for and against it."""
    bound = bound_on(look, row)
    if bound is None:
        return None
    told = asdict(bound) | {"stratum": masked_values(bound.stratum)}
    reasons = reasons_of(look, text) if text is not None else []
    return {"p_bad": row["p_bad"], "attack": row["attack"], **told, "reasons": reasons}


def _contamination(look: Look, row: Row, text: Text | None) -> list[Row]:
    """The passages that evaluation sets have too."""
    if "contamination" not in look.views or not row.get("n_contaminated_ngrams"):
        return []
    sql = 'SELECT benchmark, item, n_ngrams, start, "end" FROM contamination WHERE doc_id = ? ORDER BY start, item'
    found = look.query(sql, [row["doc_id"]])
    if text is not None:
        searched = look.searched(text)
        shown = mask(searched)
        for passage in found:
            start, end = shown.moved(*characters_of(searched, [passage["start"], passage["end"]]))
            passage["passage"] = _shortened(shown.text[start:end])
    return found


def _signals(look: Look, row: Row) -> dict[str, Any]:
    found = standing(look, row)
    signals = [
        {"signal": one.signal, "value": one.value, "percentile": round(one.percentile, 2), "unusual": one.unusual}
        for one in found.signals
    ]
    return {"stratum": masked_values(found.stratum), "documents": found.documents, "measured": signals}


def _duplicate(look: Look, row: Row, text: Text | None) -> dict[str, Any] | None:
    """The copy that stays, how it is known to be one, and where both texts differ, personal data masked in both."""
    survivor = row["duplicate_of"]
    if survivor is None:
        return None
    found: dict[str, Any] = {"duplicate_of": survivor, "similarity": row["similarity"], "exact": None, "diff": None}
    pair = look.query(
        "SELECT exact FROM duplicate_pairs WHERE doc_id = ? AND duplicate_of = ? LIMIT 1", [row["doc_id"], survivor]
    )
    found["exact"] = pair[0]["exact"] if pair else row["stage"] == "exact"
    if row["reason"].endswith(EARLIER):
        return found | {"problem": "a document of an earlier run: its text is not read here"}
    other = find_document(look, survivor)
    found |= {"coarse_score": row["coarse_score"], "survivor_coarse_score": other["coarse_score"]}
    found |= {"survivor_kept": other["kept"], "survivor_file": other["file"], "survivor_row": other["row"]}
    texts, problem = look.texts([other])
    if text is None or problem is not None:
        return found | {"problem": problem}
    both = text.measured, texts[other["file_no"], other["row"]].measured
    return found | {"equal": both[0] == both[1], "diff": compared(*both)}


def compared(ours: str, theirs: str) -> list[Change]:
    """What two texts have in common and where they differ, personal data masked in both."""
    ours, theirs = masked(pa.array([ours, theirs], pa.large_string())).to_pylist()
    return collapsed(changes(ours, theirs))


def _copies(look: Look, row: Row) -> dict[str, Any]:
    """The documents that were dropped for this one; those for a copy of it stand under the copy that stays."""
    if not (row["kept"] or row["stage"] in ("bands", "lines", "purify", "distil")):
        return {"count": 0, "documents": []}
    found = look.query(
        f"""SELECT doc_id, reason, similarity, count(*) OVER () AS n FROM clusters
        WHERE survivor = ? AND doc_id <> survivor ORDER BY similarity DESC, doc_id LIMIT {COPIES_SHOWN}""",
        [row["doc_id"]],
    )
    return {"count": found[0]["n"] if found else 0, "documents": [_without(one, "n") for one in found]}


def _without(row: Row, name: str) -> Row:
    return {key: value for key, value in row.items() if key != name}


def _edits(look: Look, row: Row, text: Text | None) -> list[Row]:
    """Each edit with what stands around it; what was cut is masked like all else."""
    edits = (
        text.edits if text is not None else look.edits_of([(row["file_no"], row["row"])])[row["file_no"], row["row"]]
    )
    told = [{name: edit[name] for name in ("start", "end", "replacement", "reason", "stage")} for edit in edits]
    if text is None:
        return told
    shown = mask(text.raw)  # the whole text: a key that begins far ahead is masked too
    for edit in told[:EDITS_SHOWN]:
        start, end = shown.moved(*characters_of(text.raw, [edit["start"], edit["end"]]))
        edit["before"], edit["after"] = _beside(shown.text, start, end)
        edit["cut"] = _shortened(shown.text[start:end])
    return told


def _beside(text: str, start: int, end: int) -> tuple[str, str]:
    """Whole words before and behind a place."""
    first, last = max(0, start - BESIDE), min(len(text), end + BESIDE)
    while 0 < first < start and not text[first - 1].isspace():
        first += 1
    while end < last < len(text) and not text[last].isspace():
        last -= 1
    return text[first:start], text[end:last]


def _shortened(text: str) -> str:
    half = LONGEST_CUT // 2
    return text if len(text) <= LONGEST_CUT else f"{text[:half]} … {text[-half:]}"


def _place_in_output(look: Look, row: Row) -> dict[str, Any] | None:
    """The data file that a kept document is in, and its row there."""
    if not row["kept"]:
        return None
    [counted] = look.query(
        """SELECT count(*) AS before FROM decisions JOIN inputs USING (file_no)
        WHERE shard = ? AND (position, row) < (?, ?)""",
        [row["shard"], row["position"], row["row"]],
    )
    files = [part.path for part in look.ledger.of(DATA)]
    name = f"{DATA}/train-{row['shard']:05d}-of-{len(files):05d}.parquet"
    there = name in files and (look.run / name).is_file() and (look.run / "manifest.json").is_file()
    return {"file": name, "row": counted["before"], "written": there}

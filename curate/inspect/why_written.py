"""`why` of a document that a model wrote: after which one, how, and what each gate measured."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.distill.augment.candidates import CORPUS, LENGTHS, PREFIX
from curate.inspect.documents import MIN_PREFIX, Look, Row, Text, find_document, opened_run
from curate.inspect.evidence import Fired, evidence_of, rules_by_reason
from curate.inspect.excerpts import characters_of, mask
from curate.ledger.augmented import read_augmented
from curate.ledger.ledger import read_facts
from curate.ledger.names import AUGMENT, BEYOND, DATA, JUDGED, WRITTEN_FOLDER
from curate.maps.documents import masked
from curate.maps.shards import our_name

TABLE = "synthetic"
MADE = (
    "prompt", "prompt_sha256", "model", "model_hash", "adapter", "adapter_hash", "seed", "temperature", "top_p",
)  # fmt: skip
LARGEST = 5_000_000  # bytes of an original that is read to show a piece of it


def find_written(look: Look, address: str) -> Row | None:
    """The row of table `synthetic` that is meant: by its doc_id, or the first eight or more letters of that."""
    if TABLE not in look.views or look.query("FROM decisions WHERE doc_id = ?", [address]):
        return None
    whole = f"SELECT * FROM {TABLE} WHERE starts_with(doc_id, ?) LIMIT 2"
    found = look.query(whole, [address]) if len(address) >= MIN_PREFIX else []
    return found[0] if len(found) == 1 else None


def written_from(look: Look, row: Row) -> dict[str, int] | None:
    """How many texts were written after a document, and how many of them accepted; None without any."""
    if TABLE not in look.views:
        return None
    counts = f"SELECT count(*) AS candidates, count_if(accepted) AS accepted FROM {TABLE} WHERE source_doc_id = ?"
    [found] = look.query(counts, [row["doc_id"]])
    return found if found["candidates"] else None


def explain_written(look: Look, row: Row) -> dict[str, Any]:
    """Everything that a run knows of a text that a model wrote for it; no personal data."""
    [(text, original)], problem = texts_of_pairs(look, [row])
    source = find_document(look, row["source_doc_id"])
    return {
        "doc_id": row["doc_id"],
        "written": True,
        "kept": row["accepted"],
        **{name: row[name] for name in ("stage", "reason", "reasons", "domain", "form", "n_tokens", "language")},
        "source": {name: source[name] for name in ("doc_id", "file", "row", "kept", "stage", "reason")}
        | {name: row[name] for name in ("chunk", "start", "end")},
        "made": {name: row[name] for name in MADE},
        "gates": gates_of(look, row),
        "new_facts": row["new_facts"],
        "fired": [asdict(one) | {"told": str(one)} for one in _fired(look, row)],
        "text": text,
        "original": original,
        "output": _place_in_output(look, row),
        "judged_by": (look.run / WRITTEN_FOLDER / JUDGED).as_posix(),
        "text_problem": problem,
    }


def gates_of(look: Look, row: Row) -> list[dict[str, Any]]:
    """What was measured of a written text beside its original, with the bounds that hold for it."""
    section = look.recipe.tier3
    assert section is not None
    bounds = {
        "n_new_facts": (None, 0), "facts_kept": (None, None), "copy_share": section.copy_band, "length_ratio": LENGTHS,
        "faithful": (section.faithful, None), "perplexity": (None, None), "p_bad": (None, None),
    }  # fmt: skip
    return [
        {"measure": name, "value": row[name], "low": low, "high": high}
        for name, (low, high) in bounds.items() if row[name] is not None
    ]  # fmt: skip


def texts_of_pairs(look: Look, rows: Sequence[Row]) -> tuple[list[tuple[str | None, str | None]], str | None]:
    """What a model wrote and the piece that it wrote it after, masked; and why pieces cannot be shown, if so.

    Texts are masked whole: a piece might hold half an address, which nothing would find.
    """
    if not rows:
        return [], None
    path, name, column = look.run / WRITTEN_FOLDER / CORPUS, f"{PREFIX}doc_id", look.recipe.input.column
    found = pq.read_table(path, columns=[name, column], filters=[(name, "in", [row["doc_id"] for row in rows])])
    texts = masked(found[column].combine_chunks().cast(pa.large_string())).to_pylist()
    written = dict(zip(found[name].to_pylist(), texts, strict=True))
    sources = [find_document(look, row["source_doc_id"]) for row in rows]
    originals, problem = look.texts([source for source in sources if source["raw_n_bytes"] <= LARGEST])
    return [
        (written.get(row["doc_id"]), _piece(originals.get((source["file_no"], source["row"])), row))
        for row, source in zip(rows, sources, strict=True)
    ], problem


def _piece(text: Text | None, row: Row) -> str | None:
    """The piece of a document that a text was written after, without personal data."""
    if text is None:
        return None
    whole = text.output
    shown = mask(whole)
    start, end = shown.moved(*characters_of(whole, [row["start"], row["end"]]))
    return shown.text[start:end]


def _fired(look: Look, row: Row) -> list[Fired]:
    """The gates that did not let it pass, as the run that judged it has them."""
    if row["reason"] == BEYOND:
        return [Fired(BEYOND, AUGMENT, {}, source="it passed, and its domain has all that it may have")]
    if row["accepted"]:
        return []
    with opened_run(look.run / WRITTEN_FOLDER / JUDGED) as judging:
        return evidence_of(judging, rules_by_reason(judging.recipe), find_document(judging, row["doc_id"]))


def _place_in_output(look: Look, row: Row) -> dict[str, Any] | None:
    """The data file that an accepted text is in, and its row there."""
    made = read_augmented(look.run)
    if not row["accepted"] or made is None or not (look.run / "manifest.json").is_file():
        return None
    columns = pa.schema([(name, pa.null()) for name in read_facts(look.run).get("input_columns", ())])
    doc_id = our_name("doc_id", columns)
    for part in look.ledger.of(DATA)[-len(made.facts["judged"]) :]:
        place = _row_of(look.run / part.path, doc_id, row["doc_id"])
        if place >= 0:
            return {"file": part.path, "row": place, "written": True}
    return None


def _row_of(path: Path, column: str, doc_id: str) -> int:
    """The row of a document in a data file; -1 where it is not there."""
    if not path.is_file():
        return -1
    return int(pc.index(pq.read_table(path, columns=[column])[column], doc_id).as_py())

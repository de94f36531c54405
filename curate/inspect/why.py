"""`why`: everything that a run knows of one document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from curate.corpus.parquet import Source, read_documents
from curate.display import fields_of
from curate.inspect.documents import Edit, OpenRun, Row, Text, find_document, open_run
from curate.inspect.evidence import EARLIER, LATER, Band, Evidence, band_of, evidence_of
from curate.inspect.excerpts import MaskedText, characters_of, mask
from curate.inspect.judgements import (
    Contribution,
    QualityPart,
    contributions_of,
    p_bad_bound_of,
    p_bad_of_cuts,
    quality_parts_of,
)
from curate.inspect.percentiles import Percentiles, percentiles_of
from curate.inspect.text_diff import Change, changes, collapsed
from curate.inspect.why_written import (
    OutputRow,
    WrittenCount,
    WrittenStory,
    explain_written,
    find_written,
    written_from,
)
from curate.ledger.names import DATA, PURIFY
from curate.maps.documents import masked, masked_values, source_of

CONTEXT = 50  # characters on either side of an edit
LONGEST_CUT = 300  # characters of a cut text that are shown
EDITS_SHOWN = 20
COPIES_SHOWN = 20
ORIGIN = ("url", "source", "license")  # input columns that say where a document is from


@dataclass(frozen=True, slots=True, kw_only=True)
class Purification:
    """The verdict of tier 2: p_bad, its bound, the attack that the text is most like, and what speaks for it."""

    p_bad: float
    attack: str | None
    stratum: Mapping[str, str | None]
    documents: int  # good documents that the bound was calibrated on
    bound: float
    drop_low: float | None
    drop_high: float | None
    reasons: Sequence[Contribution]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContaminatedPassage:
    """A passage that an item of an evaluation set has too; `passage` is None where the text cannot be read."""

    benchmark: str
    item: int
    n_ngrams: int
    start: int
    end: int
    passage: str | None = None

    def to_json(self) -> dict[str, object]:
        """The fields, without an unknown passage."""
        return fields_of(self, optional=("passage",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """The copy that a document was dropped for, and the difference of both texts, personal data masked in both."""

    duplicate_of: str
    similarity: float
    exact: bool | None
    diff: Sequence[Change] | None = None
    coarse_score: float | None = None
    survivor: "Survivor | None" = None  # None: a document of an earlier run
    equal: bool | None = None  # None: the texts were not compared
    problem: str | None = None  # why not

    def to_json(self) -> dict[str, object]:
        """The fields; those of the survivor, and of the comparison, only where there is one."""
        json: dict[str, object] = {
            "duplicate_of": self.duplicate_of,
            "similarity": self.similarity,
            "exact": self.exact,
            "diff": self.diff,
        }
        if self.survivor is not None:
            json |= {"coarse_score": self.coarse_score, "survivor_coarse_score": self.survivor.coarse_score}
            json |= {"survivor_kept": self.survivor.kept, "survivor_file": self.survivor.file}
            json["survivor_row"] = self.survivor.row
        return json | ({"problem": self.problem} if self.equal is None else {"equal": self.equal})


@dataclass(frozen=True, slots=True, kw_only=True)
class Survivor:
    """The copy of a duplicate that stays, or that a later stage dropped."""

    kept: bool
    file: str
    row: int
    coarse_score: float | None


@dataclass(frozen=True, slots=True)
class Copy:
    """A document that was dropped for another."""

    doc_id: str
    reason: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Copies:
    """How many documents were dropped for one, and the first of them."""

    count: int
    documents: Sequence[Copy]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownEdit:
    """An edit in bytes of the raw text; its context and cut text, masked, are None beyond the first EDITS_SHOWN."""

    start: int
    end: int
    replacement: str | None
    reason: str
    stage: str
    before: str | None = None
    after: str | None = None
    cut: str | None = None
    p_bad: float | None = None  # of a bad passage

    def to_json(self) -> dict[str, object]:
        """The fields, without an unknown context."""
        return fields_of(self, optional=("before", "after", "cut", "p_bad"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Everything that a run knows of a document; no personal data."""

    doc_id: str
    file: str
    row: int
    kept: bool
    stage: str | None
    reason: str | None
    reasons: Sequence[str]
    origin: Mapping[str, object]  # sizes, language, and input columns
    fired: Sequence[Evidence]
    band: Band | None
    purify: Purification | None
    contamination: Sequence[ContaminatedPassage]
    signals: Percentiles
    later: Mapping[str, object]  # columns of later stages
    quality_parts: Sequence[QualityPart]
    duplicate: Duplicate | None
    copies: Copies
    written_from: WrittenCount | None
    edits: Sequence[ShownEdit]
    output: OutputRow | None
    text_problem: str | None  # why its text cannot be read


def explain(folder: Path, address: str) -> Story | WrittenStory:
    """Everything that a run knows of a document, or of one that a model wrote for it.

    Errors: CurateError for an address that matches no document, or more than one; RunError where the run has no index.
    """
    with open_run(folder) as run:
        if (written := find_written(run, address)) is not None:
            return explain_written(run, written)
        row = find_document(run, address)
        texts, problem = run.texts([row])
        text = texts.get((row["file_no"], row["row"]))
        return Story(
            doc_id=row["doc_id"],
            file=row["file"],
            row=row["row"],
            kept=row["kept"],
            stage=row["stage"],
            reason=row["reason"],
            reasons=row["reasons"],
            origin=_origin(run, row, as_measured=problem is None),
            fired=evidence_of(run, row),
            band=band_of(run, row),
            purify=_purification(run, row, text),
            contamination=_contamination(run, row, text),
            signals=percentiles_of(run, row),
            later={name: row[name] for name in LATER if row.get(name) is not None},
            quality_parts=quality_parts_of(run, row),
            duplicate=_duplicate(run, row, text),
            copies=_copies(run, row),
            written_from=written_from(run, row),
            edits=_edits(run, row, text),
            output=_output_row(run, row),
            text_problem=problem,
        )


def _origin(run: OpenRun, row: Row, as_measured: bool) -> dict[str, object]:
    """Size, language, and the input columns that say where a document is from or that make strata.

    Of an input that has changed since it was measured only the ledger's values are given: the row may be of another
    document now.
    """
    sizes = {"bytes": row["raw_n_bytes"], "tokens": row["n_tokens"], "words": row.get("n_words")}
    if row.get("n_bytes") is not None and row["n_bytes"] != row["raw_n_bytes"]:
        sizes["bytes_after_edits"] = row["n_bytes"]
    origin = sizes | {"language": row.get("language")}
    strata = [name.removesuffix("?") for name in run.recipe.input.strata]
    columns = list(dict.fromkeys((*ORIGIN, *strata)))
    values = {name: value for name, value in run.inputs_of(row).items() if name in columns}
    if as_measured:
        source: Source = source_of(run.folder, run.file(row["file_no"]))
        for batch in read_documents(source, row["row"], row["row"] + 1, columns):
            values |= {name: batch.column(name)[0].as_py() for name in columns if name in batch.schema.names}
    qualified = {f"input.{name}" if name in origin else name: value for name, value in values.items()}
    return {name: value for name, value in (origin | masked_values(qualified)).items() if value is not None}


def _purification(run: OpenRun, row: Row, text: Text | None) -> Purification | None:
    bound = p_bad_bound_of(run, row)
    if bound is None:
        return None
    return Purification(
        p_bad=row["p_bad"],
        attack=row["attack"],
        stratum=bound.stratum,
        documents=bound.documents,
        bound=bound.bound,
        drop_low=bound.drop_low,
        drop_high=bound.drop_high,
        reasons=contributions_of(run, text) if text is not None else [],
    )


def _contamination(run: OpenRun, row: Row, text: Text | None) -> list[ContaminatedPassage]:
    """The passages that evaluation sets have too."""
    if "contamination" not in run.views or not row.get("n_contaminated_ngrams"):
        return []
    sql = 'SELECT benchmark, item, n_ngrams, start, "end" FROM contamination WHERE doc_id = ? ORDER BY start, item'
    passages = [ContaminatedPassage(**passage) for passage in run.query(sql, [row["doc_id"]])]
    if text is None:
        return passages
    searched = run.searched_text(text)
    masked_text = mask(searched)
    with_text = []
    for passage in passages:
        start, end = masked_text.moved(*characters_of(searched, [passage.start, passage.end]))
        with_text.append(replace(passage, passage=_shortened(masked_text.text[start:end])))
    return with_text


def _duplicate(run: OpenRun, row: Row, text: Text | None) -> Duplicate | None:
    """The copy that the document was dropped for, compared with it where both texts can be read."""
    survivor_id = row["duplicate_of"]
    if survivor_id is None:
        return None
    pairs = run.query(
        "SELECT exact FROM duplicate_pairs WHERE doc_id = ? AND duplicate_of = ? LIMIT 1", [row["doc_id"], survivor_id]
    )
    exact = pairs[0]["exact"] if pairs else row["stage"] == "exact"
    duplicate = Duplicate(duplicate_of=survivor_id, similarity=row["similarity"], exact=exact)
    if row["reason"].endswith(EARLIER):
        return replace(duplicate, problem="a document of an earlier run: its text is not read here")
    other = find_document(run, survivor_id)
    survivor = Survivor(kept=other["kept"], file=other["file"], row=other["row"], coarse_score=other["coarse_score"])
    duplicate = replace(duplicate, coarse_score=row["coarse_score"], survivor=survivor)
    texts, problem = run.texts([other])
    if text is None or problem is not None:
        return replace(duplicate, problem=problem)
    ours, theirs = text.measured, texts[other["file_no"], other["row"]].measured
    return replace(duplicate, equal=ours == theirs, diff=compared(ours, theirs))


def compared(ours: str, theirs: str) -> list[Change]:
    """The difference of two texts, personal data masked in both."""
    ours, theirs = masked(pa.array([ours, theirs], pa.large_string())).to_pylist()
    return collapsed(changes(ours, theirs))


def _copies(run: OpenRun, row: Row) -> Copies:
    """The documents that were dropped for this one; copies of a copy belong to the copy that stays."""
    if not (row["kept"] or row["stage"] in ("bands", "lines", "purify", "distil")):
        return Copies(0, [])
    rows = run.query(
        f"""SELECT doc_id, reason, similarity, count(*) OVER () AS n FROM clusters
        WHERE survivor = ? AND doc_id <> survivor ORDER BY similarity DESC, doc_id LIMIT {COPIES_SHOWN}""",
        [row["doc_id"]],
    )
    copies = [Copy(copy["doc_id"], copy["reason"], copy["similarity"]) for copy in rows]
    return Copies(rows[0]["n"] if rows else 0, copies)


def _edits(run: OpenRun, row: Row, text: Text | None) -> list[ShownEdit]:
    """Each edit, the first ones with their context, and cut passages with their p_bad."""
    if text is None:
        key = (row["file_no"], row["row"])
        shown = [_shown_edit(edit) for edit in run.edits_of([key])[key]]
    else:
        masked_text = mask(text.raw)  # the whole text: a key that begins far ahead is masked too
        shown = [_with_context(edit, text, masked_text) for edit in text.edits[:EDITS_SHOWN]]
        shown += [_shown_edit(edit) for edit in text.edits[EDITS_SHOWN:]]
    cuts = [k for k, edit in enumerate(shown) if edit.stage == PURIFY]
    for k, p_bad in zip(cuts, p_bad_of_cuts(run, row, len(cuts)), strict=False):
        shown[k] = replace(shown[k], p_bad=p_bad)
    return shown


def _shown_edit(edit: Edit) -> ShownEdit:
    return ShownEdit(start=edit.start, end=edit.end, replacement=edit.replacement, reason=edit.reason, stage=edit.stage)


def _with_context(edit: Edit, text: Text, masked_text: MaskedText) -> ShownEdit:
    """An edit with the text that it cuts and whole words on either side."""
    shown = masked_text.text
    start, end = masked_text.moved(*characters_of(text.raw, [edit.start, edit.end]))
    first, last = max(0, start - CONTEXT), min(len(shown), end + CONTEXT)
    while 0 < first < start and not shown[first - 1].isspace():
        first += 1
    while end < last < len(shown) and not shown[last].isspace():
        last -= 1
    return replace(
        _shown_edit(edit), before=shown[first:start], after=shown[end:last], cut=_shortened(shown[start:end])
    )


def _shortened(text: str) -> str:
    half = LONGEST_CUT // 2
    return text if len(text) <= LONGEST_CUT else f"{text[:half]} … {text[-half:]}"


def _output_row(run: OpenRun, row: Row) -> OutputRow | None:
    """The row of a kept document in the output."""
    if not row["kept"]:
        return None
    [count] = run.query(
        """SELECT count(*) AS preceding FROM decisions JOIN inputs USING (file_no)
        WHERE shard = ? AND (position, row) < (?, ?)""",
        [row["shard"], row["position"], row["row"]],
    )
    files = [part.path for part in run.ledger.of(DATA)]
    name = f"{DATA}/train-{row['shard']:05d}-of-{len(files):05d}.parquet"
    is_written = name in files and (run.folder / name).is_file() and (run.folder / "manifest.json").is_file()
    return OutputRow(name, count["preceding"], is_written)

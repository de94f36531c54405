"""What a run would read texts for, told from its ledger: what that knows comes first, then texts of single documents.

Where these cannot be read, or are not to be, estimates hold.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.corpus.edits import PART, apply_edits, sorted_edits
from curate.decide.decide import Maps
from curate.dedup import lines
from curate.dedup.near.stage import place_keys
from curate.distill.budget.models import SCORED as DISTIL_SCORED
from curate.distill.budget.models import Scorers, open_models, paths_of, scored_texts, scorers_of
from curate.distill.budget.stage import Distil
from curate.distill.purify.stage import SCORED, Purify, scored, scoring_of
from curate.distill.purify.training import Learnt, learnt_of
from curate.distill.scoring.discriminator import groups_of, load
from curate.distill.scoring.linear_model import Hashes
from curate.engine.base import InProcess, all_of
from curate.errors import InputError, RunError
from curate.kernels.minhash import shingle_sets
from curate.ledger.ledger import Ledger
from curate.ledger.names import LINE_EDITS, P_BAD, SCORES, SHINGLES, TRIMMED
from curate.ledger.parts import Part, write_part
from curate.ledger.run import Decided
from curate.maps.documents import edits_of, read_texts
from curate.maps.reread import keyed
from curate.progress import Steps
from curate.recipe.recipe import Recipe

TEXTS_AT_ONCE = 1000
Read = Callable[[pa.Table], Iterator[tuple[pa.Table, pa.Array, pa.Table]]]


@dataclass
class Texts:
    """What became of the documents whose texts a run would read again."""

    read: int = 0
    guessed: int = 0  # judged by estimates instead
    why: str = ""  # these were


def maps_by_ledger(of: Decided, after: Recipe, texts: Texts, scratch: Path, with_texts: bool, steps: Steps) -> Maps:
    """What reads texts again while documents are decided: those of single documents, and only where it must."""

    def read(documents: pa.Table) -> Iterator[tuple[pa.Table, pa.Array, pa.Table]]:
        """Some documents at a time with their texts and edits; none where estimates are to hold."""
        if not with_texts:
            texts.why = "no text was read"
        steps("texts of documents in doubt")
        try:
            for k in range(0, len(documents) if with_texts else 0, TEXTS_AT_ONCE):
                some = documents.slice(k, TEXTS_AT_ONCE)
                raw = read_texts(of.ledger, after.input.column, some)["text"].combine_chunks()
                texts.read += len(some)
                yield some, raw, _local_edits(of.ledger, some)
        except InputError as error:
            texts.why = str(error)

    def carry(function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
        return all_of(InProcess(), function, tasks)

    def sets(documents: pa.Table) -> list[Path]:
        assert after.dedup.near is not None
        paths = []
        for some, raw, edits in read(documents):
            shingles = shingle_sets(apply_edits(raw, edits), after.dedup.near.shingle)
            table = some.append_column(SHINGLES, shingles)
            paths.append(scratch / write_part(scratch, SHINGLES, "sets", f"{texts.read:010d}", table).path)
        found = sum(pq.read_metadata(path).num_rows for path in paths) == len(documents)
        texts.guessed += 0 if found else len(documents)
        return paths if found else []

    def cuts(documents: pa.Table) -> list[Part]:
        fresh, trimmed = _already_cut(documents, of.ledger)
        tables = [trimmed]
        made = [PART.empty_table()]
        for some, raw, edits in read(fresh):
            rows, file_nos = some["row"].to_numpy(), some["file_no"].to_numpy()
            further, left = lines.cut(raw, edits, some["lines"].combine_chunks())
            tables.append(keyed(left, rows, file_nos))
            made.append(keyed(further, rows, file_nos).cast(PART))
        table = pa.concat_tables(tables)
        texts.guessed += len(documents) - len(table)
        fresh_cuts = pa.concat_tables(made).unify_dictionaries()
        return [
            write_part(scratch, TRIMMED, "cuts", "00000", table),
            write_part(scratch, LINE_EDITS, "cuts", "00000", fresh_cuts),
        ]

    def known(_: Learnt) -> tuple[str, list[Path]]:
        return "what-if", [of.ledger.run / part.path for part in of.ledger.of(P_BAD)]

    def scored_again(documents: pa.Table, learnt: Learnt, cut: Sequence[Part]) -> list[Part]:
        tables = [SCORED.empty_table()]
        scoring = scoring_of(learnt, of.run, [])
        model, grades = load(Path(scoring.model)), load(Path(scoring.grades)) if scoring.grades else None
        for some, raw, edits in read(documents):
            groups, texts_now = _as_output(some, raw, edits, [scratch / part.path for part in cut], of.ledger)
            found = scored(texts_now, groups, model, grades, 1.0)
            tables.append(pa.table({**{name: some[name] for name in some.schema.names}, **found}, SCORED))
        table = pa.concat_tables(tables).unify_dictionaries()
        texts.guessed += len(documents) - len(table)
        return [write_part(scratch, P_BAD, "scores", "made", table)] if len(table) else []

    def learnt(_: object) -> Learnt:
        found = learnt_of(of.run, of.ledger.parts)
        if found is None:
            raise RunError(f"{of.run}: its trained models are missing; run again")
        return found

    return Maps(carry, sets, cuts, Purify(learnt, known, scored_again), _distil(of, read, texts, scratch), steps)


def _distil(of: Decided, read: Read, texts: Texts, scratch: Path) -> Distil:
    """What the budget needs, from the models and scores of the run."""

    def scorers(_: object) -> Scorers:
        found = scorers_of(of.run, of.ledger.parts)
        if found is None:
            raise RunError(f"{of.run}: its models of the budget are missing; run again")
        return found

    def known(_: Scorers) -> tuple[str, list[Path]]:
        return "what-if", [of.ledger.run / part.path for part in of.ledger.of(SCORES)]

    def scored_again(documents: pa.Table, found: Scorers, cut: Sequence[Part]) -> list[Part]:
        tables = [DISTIL_SCORED.empty_table()]
        models = open_models(paths_of(found))
        for some, raw, edits in read(documents):
            groups, edited = _as_output(some, raw, edits, [scratch / part.path for part in cut], of.ledger)
            columns = {name: some[name] for name in some.schema.names}
            tables.append(pa.table({**columns, **scored_texts(edited, groups, models)}, DISTIL_SCORED))
        table = pa.concat_tables(tables).unify_dictionaries()
        texts.guessed += len(documents) - len(table)
        return [write_part(scratch, SCORES, "scores", "made", table)] if len(table) else []

    return Distil(scorers, known, scored_again)


def _as_output(
    documents: pa.Table, raw: pa.Array, edits: pa.Table, cuts: Sequence[Path], ledger: Ledger
) -> tuple[Hashes, pa.Array]:
    """The groups of documents, and their texts as the output would have them."""
    further = _cuts_of(documents, cuts, ledger)
    edited = apply_edits(raw, sorted_edits(pa.concat_tables([edits, further]).unify_dictionaries()))
    return groups_of(apply_edits(raw, edits)), edited


def _local_edits(ledger: Ledger, documents: pa.Table) -> pa.Table:
    """The edits that were made before documents were measured, with the row among the documents."""
    found = edits_of(ledger, documents)
    return _among(documents, found.filter(pc.equal(found["stage"], "input")))


def _among(documents: pa.Table, edits: pa.Table) -> pa.Table:
    """Those edits that are of some documents, with the row among these."""
    keys, own = place_keys(documents), place_keys(edits)
    order = np.argsort(keys)
    places = order[np.minimum(np.searchsorted(keys[order], own), len(keys) - 1)]
    edits = edits.set_column(edits.schema.get_field_index("row"), "row", pa.array(places, pa.int64()))
    return edits.filter(pa.array(keys[places] == own))


def _already_cut(documents: pa.Table, ledger: Ledger) -> tuple[pa.Table, pa.Table]:
    """Documents (file_no, row, lines) that would lose other lines than they did, and what is left of the others."""
    parts = ledger.of(TRIMMED)
    if not parts:
        return documents, lines.NOTHING_TRIMMED
    held = pa.concat_tables([pq.read_table(ledger.run / part.path) for part in parts])
    keys, known = place_keys(documents), place_keys(held)
    order = np.argsort(known)
    places = order[np.minimum(np.searchsorted(known[order], keys), len(known) - 1)]
    sums = lines.lines_sums(documents["lines"].combine_chunks())
    same = (known[places] == keys) & (held["lines_sum"].to_numpy()[places] == sums)
    return documents.filter(pa.array(~same)), held.take(pa.array(places[same]))


def _cuts_of(documents: pa.Table, made: Sequence[Path], ledger: Ledger) -> pa.Table:
    """The repeated lines that are cut out of documents, with the row among them: those just found, or the ledger's."""
    cut = documents.filter(pa.array(documents["lines_sum"].to_numpy() > 0))
    held = edits_of(ledger, cut) if len(cut) else PART.empty_table()
    held = held.filter(pc.equal(held["stage"], "lines"))
    fresh = pa.concat_tables([PART.empty_table(), *(pq.read_table(path).cast(PART) for path in made)])
    anew = np.isin(place_keys(held), place_keys(fresh)) if len(held) else np.zeros(0, bool)
    found = pa.concat_tables([held.filter(pa.array(~anew)), fresh]).unify_dictionaries()
    return _among(documents, found)

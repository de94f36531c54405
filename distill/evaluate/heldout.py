"""Held-out texts of an evaluation: read, drawn by seed, without those that models could have been trained on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.corpus.inputs import common_root
from curate.corpus.side_files import content_of, side_files, tables_of
from curate.corpus.texts import is_utf8
from curate.display import place
from curate.distill.leaks import LEAK, leaks
from curate.distill.reference import sampling_mask, texts_in
from curate.errors import InputError
from curate.filters.signals.hashes import hash_texts
from curate.recipe.evaluate import Evaluate

FIELD = "evaluate.heldout"
BATCH_ROWS = 1024  # texts that are compared at a time
MAX_CHARACTERS = 16_000  # of a text, from its start; more would add little


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class HeldoutTexts:
    """Held-out texts with their domains, and how many were left out because the corpus or the reference has them."""

    table: pa.Table  # text, domain
    in_corpus: int
    in_reference: int
    example: str  # a text left out and the one that contains it; empty without any


def heldout_files(section: Evaluate) -> list[Path]:
    """The files that hold the held-out texts.

    Errors: InputError.
    """
    return side_files(section.heldout, FIELD, "held-out texts")


def heldout_content(section: Evaluate) -> str:
    """A hash of the content of all held-out files."""
    return content_of(heldout_files(section), FIELD)


def read_heldout(section: Evaluate, column: str, seed: int) -> pa.Table:
    """Read the held-out texts and draw those of each domain by seed, each text once, ordered by hash.

    Out:    text, domain, place (file and row).
    Errors: InputError for a file that lacks the columns, or where there is no text at all.
    """
    paths = heldout_files(section)
    root = common_root(paths)
    tables = []
    for path in paths:
        name = path.relative_to(root).as_posix()
        first_row = 0
        for table in tables_of(path, FIELD):
            texts = _readable(texts_in(table, column, FIELD, path))
            positions = [place(name, first_row + k) for k in range(len(table))]
            tables.append(pa.table({"text": texts, "domain": _domains(table, section, path, name), "place": positions}))
            first_row += len(table)
    heldout = pa.concat_tables(tables) if tables else pa.table({"text": pa.array([], pa.large_string())})
    heldout = heldout.filter(pc.greater(pc.binary_length(pc.fill_null(heldout["text"], "")), 0))
    if not len(heldout):
        raise InputError(f"{FIELD}: no text in {len(paths)} file(s)")
    return _draw(heldout, section.most, seed)


def _readable(texts: pa.Array) -> pa.Array:
    """The first MAX_CHARACTERS of each text; null where it is not UTF-8."""
    valid = pc.if_else(pc.fill_null(is_utf8(texts), False), texts, pa.scalar(None, texts.type))
    return pc.utf8_slice_codeunits(valid, 0, MAX_CHARACTERS)


def _domains(table: pa.Table, section: Evaluate, path: Path, name: str) -> pa.Array:
    if section.domain is None:
        return pa.array([name.rsplit(".", 1)[0]] * len(table))
    if section.domain not in table.schema.names:
        raise InputError(
            f"evaluate.domain: {path}: no column {section.domain!r} (has: {', '.join(table.schema.names)})"
        )
    return pc.fill_null(table[section.domain].combine_chunks().cast(pa.string()), "none")


def _draw(heldout: pa.Table, most: int, seed: int) -> pa.Table:
    """The `most` texts of each domain with the lowest keys, equal texts once."""
    keys = hash_texts(heldout["text"].combine_chunks())[1].to_numpy() ^ np.uint64(sampling_mask(seed, FIELD))
    order = np.argsort(keys, kind="stable")
    order = order[np.r_[True, np.diff(keys[order]) > 0]]
    counts: dict[str, int] = {}
    chosen = []
    for index, domain in zip(order.tolist(), heldout["domain"].take(pa.array(order)).to_pylist(), strict=True):
        counts[domain] = counts.get(domain, 0) + 1
        if counts[domain] <= most:
            chosen.append(index)
    return heldout.take(pa.array(chosen))


def without_leaks(
    heldout: pa.Table, reference: Iterable[pa.Array], pool: pa.Array, doc_ids: Sequence[str], section: Evaluate
) -> HeldoutTexts:
    """The held-out texts that no text of the reference or of the pool, whose documents have `doc_ids`, nearly contains.

    Errors: InputError where fewer than `evaluate.least` are left.
    """
    texts = heldout["text"].combine_chunks()
    in_corpus = leaks(texts, (pool.slice(start, BATCH_ROWS) for start in range(0, len(pool), BATCH_ROWS)))
    in_reference = leaks(texts, reference)
    example = ""
    if len(in_corpus):
        leak = in_corpus.slice(0, 1).to_pylist()[0]
        example = f"{heldout['place'][leak['heldout']]} is {leak['shared']:.0%} in document {doc_ids[leak['place']]}"
    elif len(in_reference):
        leak = in_reference.slice(0, 1).to_pylist()[0]
        example = f"{heldout['place'][leak['heldout']]} is {leak['shared']:.0%} in text {leak['place']} of reference"
    leaked = {*in_corpus["heldout"].to_pylist(), *in_reference["heldout"].to_pylist()}
    clean = heldout.filter(pa.array([k not in leaked for k in range(len(heldout))], pa.bool_()))
    if len(clean) < section.least:
        raise InputError(
            f"{FIELD}: {len(clean)} of {len(heldout)} texts are left without those that corpus or reference have "
            f"({example or 'none has'}), and evaluate.least is {section.least}; hold out other texts"
        )
    return HeldoutTexts(
        table=clean.select(["text", "domain"]),
        in_corpus=len(in_corpus),
        in_reference=len(in_reference),
        example=example,
    )


def leak_message(heldout: HeldoutTexts) -> str:
    """One line on the texts that were left out; empty where none was."""
    if not heldout.example:
        return ""
    return (
        f"held-out texts left out because {LEAK:.0%} or more of their shingles stand in one text of the corpus "
        f"{heldout.in_corpus:,}, or of the reference {heldout.in_reference:,}: {heldout.example}"
    )


def reference_texts(paths: Iterable[Path], column: str) -> Iterator[pa.Array]:
    """The texts of the reference that are UTF-8, a batch at a time."""
    for path in paths:
        for table in tables_of(path, "reference"):
            texts = texts_in(table, column, "reference", path)
            yield texts.filter(pc.fill_null(is_utf8(texts), False))

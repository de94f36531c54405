"""Held-out texts of an evaluation: read, drawn by seed, and without those that a model could have been trained on."""

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
OTHERS_AT_ONCE = 1024  # texts that are compared at a time
MOST_CHARACTERS = 16_000  # of a text, from its beginning: more of it would tell little more


@dataclass(frozen=True, eq=False)
class HeldoutTexts:
    """Held-out texts with their domains, and how many were left out because the corpus or the reference has them."""

    table: pa.Table  # text, domain
    in_corpus: int
    in_reference: int
    example: str  # one of those left out, and what it equals; empty without any


def heldout_files(section: Evaluate) -> list[Path]:
    """The files that hold the held-out texts.

    Errors: InputError.
    """
    return side_files(section.heldout, FIELD, "held-out texts")


def heldout_content(section: Evaluate) -> str:
    """A hash of all held-out files."""
    return content_of(heldout_files(section), FIELD)


def read_heldout(section: Evaluate, column: str, seed: int) -> pa.Table:
    """Held-out texts, each once, of each domain those drawn by seed, in the order of their hashes.

    Out:    text, domain, and where: the file and row.
    Errors: InputError for a file that lacks the columns, or where there is no text at all.
    """
    paths = heldout_files(section)
    root = common_root(paths)
    held = []
    for path in paths:
        row = 0
        name = path.relative_to(root).as_posix()
        for table in tables_of(path, FIELD):
            texts = _readable(texts_in(table, column, FIELD, path))
            where = [place(name, row + k) for k in range(len(table))]
            held.append(pa.table({"text": texts, "domain": _domains(table, section, path, name), "where": where}))
            row += len(table)
    found = pa.concat_tables(held) if held else pa.table({"text": pa.array([], pa.large_string())})
    found = found.filter(pc.greater(pc.binary_length(pc.fill_null(found["text"], "")), 0))
    if not len(found):
        raise InputError(f"{FIELD}: no text in {len(paths)} file(s)")
    return _drawn(found, section.most, seed)


def _readable(texts: pa.Array) -> pa.Array:
    """The beginnings of texts; null for what is not UTF-8."""
    valid = pc.if_else(pc.fill_null(is_utf8(texts), False), texts, pa.scalar(None, texts.type))
    return pc.utf8_slice_codeunits(valid, 0, MOST_CHARACTERS)


def _domains(table: pa.Table, section: Evaluate, path: Path, name: str) -> pa.Array:
    if section.domain is None:
        return pa.array([name.rsplit(".", 1)[0]] * len(table))
    if section.domain not in table.schema.names:
        raise InputError(
            f"evaluate.domain: {path}: no column {section.domain!r} (has: {', '.join(table.schema.names)})"
        )
    return pc.fill_null(table[section.domain].combine_chunks().cast(pa.string()), "none")


def _drawn(found: pa.Table, most: int, seed: int) -> pa.Table:
    """Of each domain the texts with the least keys, of equal texts one."""
    keys = hash_texts(found["text"].combine_chunks())[1].to_numpy() ^ np.uint64(sampling_mask(seed, FIELD))
    order = np.argsort(keys, kind="stable")
    order = order[np.r_[True, np.diff(keys[order]) > 0]]
    counts: dict[str, int] = {}
    chosen = []
    for index, domain in zip(order.tolist(), found["domain"].take(pa.array(order)).to_pylist(), strict=True):
        counts[domain] = counts.get(domain, 0) + 1
        if counts[domain] <= most:
            chosen.append(index)
    return found.take(pa.array(chosen))


def without_leaks(
    found: pa.Table, reference: Iterable[pa.Array], pool: pa.Array, names: Sequence[str], section: Evaluate
) -> HeldoutTexts:
    """The held-out texts that no text of the reference or of the pool (whose documents have `names`) nearly holds.

    Errors: InputError where fewer than `evaluate.least` are left.
    """
    texts = found["text"].combine_chunks()
    of_corpus = leaks(texts, _some(pool))
    of_reference = leaks(texts, reference)
    leaked = {*of_corpus["heldout"].to_pylist(), *of_reference["heldout"].to_pylist()}
    example = ""
    if len(of_corpus):
        first = of_corpus.slice(0, 1).to_pylist()[0]
        example = f"{found['where'][first['heldout']]} is {first['shared']:.0%} in document {names[first['place']]}"
    elif len(of_reference):
        first = of_reference.slice(0, 1).to_pylist()[0]
        example = f"{found['where'][first['heldout']]} is {first['shared']:.0%} in text {first['place']} of reference"
    left = found.filter(pa.array([k not in leaked for k in range(len(found))], pa.bool_()))
    if len(left) < section.least:
        raise InputError(
            f"{FIELD}: {len(left)} of {len(found)} texts are left without those that corpus or reference have "
            f"({example or 'none has'}), and evaluate.least is {section.least}; hold out other texts"
        )
    return HeldoutTexts(left.select(["text", "domain"]), len(of_corpus), len(of_reference), example)


def told(found: HeldoutTexts) -> str:
    """What was left out, in one line; empty where nothing was."""
    if not found.example:
        return ""
    return (
        f"held-out texts left out because {LEAK:.0%} or more of their shingles stand in one text of the corpus "
        f"{found.in_corpus:,}, or of the reference {found.in_reference:,}: {found.example}"
    )


def reference_texts(paths: Iterable[Path], column: str) -> Iterator[pa.Array]:
    """All texts of the reference, some at a time."""
    for path in paths:
        for table in tables_of(path, "reference"):
            texts = texts_in(table, column, "reference", path)
            yield texts.filter(pc.fill_null(is_utf8(texts), False))


def _some(texts: pa.Array) -> Iterator[pa.Array]:
    for start in range(0, len(texts), OTHERS_AT_ONCE):
        yield texts.slice(start, OTHERS_AT_ONCE)

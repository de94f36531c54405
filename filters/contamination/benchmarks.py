"""Evaluation sets: reading them, the table of their n-grams, and what of them was found."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_128_hexdigest

from curate.corpus.columns import is_text
from curate.corpus.inputs import common_root
from curate.corpus.side_files import content_of, side_files, tables_of
from curate.digest import code_of, digest_of
from curate.errors import InputError, RecipeError, did_you_mean
from curate.filters.contamination.signals import PLACE_BITS, Sought
from curate.kernels.arrow import plain_text
from curate.kernels.overlap import ngram_keys, ngram_table
from curate.recipe.tier1 import Decontaminate
from curate.storage.files import committed, unsealed, write_sealed

FIELD = "tier1.decontaminate.against"

AT_ONCE = 1 << 24  # n-grams that are held beyond twice the distinct ones

Numbers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Benchmark:
    """A file of an evaluation set. Its rows are the items."""

    name: str  # its path below the folder that all of them share
    content_xxh3_128: str  # of its bytes
    items: int
    ngrams: int  # distinct ones that no benchmark before it has


@dataclass(frozen=True)
class Sets:
    """The evaluation sets of a recipe and the n-grams that are looked for."""

    sought: Sought | None = None
    benchmarks: tuple[Benchmark, ...] = ()


def prepare(section: Decontaminate | None, folder: Path, preview: Path | None = None) -> Sets:
    """The n-grams of a recipe's evaluation sets, from a table in `folder` that an earlier call made, or a new one.

    With a folder for a `preview` nothing is written into `folder`: a new table goes there.

    Errors: InputError for a file that is missing, cannot be read, or has no text to look for; RecipeError for a column.
    """
    if section is None:
        return Sets()
    paths, contents, name = _named(section)
    root = common_root(paths)
    facts = _known(folder / name)
    if facts is None:
        folder = preview or folder
        facts = _build(section, paths, folder)
        write_sealed(known := folder / name, facts)
        for old in set(folder.glob("ngrams-*")) - {known, folder / facts["table"]}:  # of other sets
            old.unlink()
    names = [path.relative_to(root).as_posix() for path in paths]
    counts = zip(names, contents, facts["items"], facts["ngrams"], strict=True)
    table = str(folder / facts["table"])
    sought = Sought(table, facts["content"], tuple(facts["lengths"]), section.action == "cut")
    return Sets(sought, tuple(Benchmark(*one) for one in counts))


def is_prepared(section: Decontaminate, folder: Path) -> bool:
    """Whether a folder has the n-grams of evaluation sets as they are now.

    Errors: InputError for a file that is missing or cannot be read.
    """
    _, _, name = _named(section)
    return (folder / name).is_file()


def _named(section: Decontaminate) -> tuple[list[Path], list[str], str]:
    """The files of evaluation sets, the hashes of their contents, and the name of what notes their n-grams."""
    paths = side_files(section.against, FIELD, "evaluation sets")
    contents = [content_of([path], FIELD) for path in paths]
    code = code_of(__name__, "curate.filters.contamination.signals", "curate.corpus.spool", "curate.corpus.side_files")
    key = digest_of([code, pa.__version__, section.ngram, section.min_words, section.columns, contents])
    return paths, contents, f"ngrams-{key[:16]}.json"


def _known(path: Path) -> dict[str, Any] | None:
    """What an earlier call noted of the table that it made, if that is there and as it was written."""
    try:
        facts = unsealed(json.loads(path.read_text("utf-8")))
        packed = np.load(path.parent / facts["table"], mmap_mode="r")
    except (OSError, ValueError, AttributeError, EOFError, TokenError):  # the last: of a damaged header
        return None
    return facts if xxh3_128_hexdigest(packed.data) == facts["content"] else None


def _build(section: Decontaminate, paths: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Commit the table of all n-grams, and return what is to be known of it."""
    _check_columns(section.columns, paths)
    keys, places = list[Hashes](), list[Hashes]()
    items: list[int] = []
    lengths: set[int] = set()
    held = 0
    for number, path in enumerate(paths):
        rows = size = 0
        for piece in tables_of(path, FIELD):
            for owners, texts in starmap(in_both_forms, texts_of_table(piece, section.columns)):
                found, text, words = ngram_keys(texts, section.ngram, section.min_words)
                place = ((number << PLACE_BITS) + rows + owners[text]).astype(np.uint64)
                for column, new in zip((keys, places), first_of_each(found, place), strict=True):
                    column.append(new)
                lengths |= set(np.unique(words).tolist())
                size += len(found)
            rows += len(piece)
            if sum(map(len, keys)) > 2 * held + AT_ONCE:  # of texts that repeat: a few kilobytes may hold gigabytes
                distinct = first_of_each(np.concatenate(keys), np.concatenate(places))
                keys, places = [distinct[0]], [distinct[1]]
                held = len(distinct[0])
        items.append(rows)
        if not size:
            least = min(section.ngram, section.min_words)
            raise InputError(f"{FIELD}: {path}: no text of {least} words or more to look for; remove it")
    table = ngram_table(np.concatenate(keys), np.concatenate(places), sorted(lengths))
    counts = np.bincount((table.places[table.keys > 0] >> np.uint64(PLACE_BITS)).astype(np.int64), minlength=len(paths))
    packed = table.packed()
    content = xxh3_128_hexdigest(packed.data)
    name = f"ngrams-{content[:16]}.npy"
    with committed(folder / name) as aside, aside.open("wb") as file:
        np.save(file, packed)
    return {"table": name, "content": content, "lengths": sorted(lengths), "items": items, "ngrams": counts.tolist()}


def first_of_each(keys: Hashes, places: Hashes) -> tuple[Hashes, Hashes]:
    """Distinct keys, sorted, each with the first of its places."""
    distinct, first = np.unique(keys, return_index=True)
    return distinct, places[first]


def _check_columns(columns: Sequence[str] | None, paths: Sequence[Path]) -> None:
    """Refuse a column that no file has, and a file that has none of the columns."""
    if columns is None:
        return
    names = {path: {name for table in tables_of(path, FIELD) for name in table.schema.names} for path in paths}
    present = set().union(*names.values())
    for name in columns:
        if name not in present:
            raise RecipeError(f"tier1.decontaminate.columns: no column {name!r}{did_you_mean(name, present)}")
    for path, own in names.items():
        if own.isdisjoint(columns):
            raise RecipeError(f"tier1.decontaminate.columns: {path} has none of them (has: {', '.join(sorted(own))})")


def texts_of_table(table: pa.Table, columns: Sequence[str] | None) -> Iterator[tuple[Numbers, pa.Array]]:
    """All texts of a table, in lists and structs too, and the rows that they stand in."""
    for name, column in zip(table.schema.names, table.columns, strict=True):
        if columns is None or name in columns:
            whole = column.combine_chunks()
            yield from _leaves(whole, np.arange(len(whole)))


def in_both_forms(rows: Numbers, texts: pa.Array) -> tuple[Numbers, pa.Array]:
    """Texts with accents as one character with their letter (NFC) and also, where that differs, as one behind it (NFD).

    A document may have either, and they are different words.
    """
    try:
        texts = pc.utf8_normalize(plain_text(texts), form="NFC")
        apart = pc.utf8_normalize(texts, form="NFD")
    except pa.ArrowInvalid:  # not UTF-8
        return rows, texts
    other = np.flatnonzero(pc.fill_null(pc.not_equal(texts, apart), False).to_numpy(zero_copy_only=False))
    return np.r_[rows, rows[other]], pa.concat_arrays([texts, apart.take(pa.array(other))])


def _leaves(column: pa.Array, rows: Numbers) -> Iterator[tuple[Numbers, pa.Array]]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if is_text(column.type):
        yield rows, column
    elif pa.types.is_struct(column.type):
        for field in column.flatten():
            yield from _leaves(field, rows)
    elif pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        yield from _leaves(pc.list_flatten(column), rows[pc.list_parent_indices(column).to_numpy()])

"""Read evaluation sets, and build a table of their n-grams."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import starmap
from pathlib import Path
from tokenize import TokenError

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
from curate.filters.contamination.signals import PLACE_BITS, EvaluationNgrams
from curate.kernels.arrow import plain_text
from curate.kernels.overlap import ngram_keys, ngram_table
from curate.recipe.tier1 import Decontaminate
from curate.storage.files import committed, unsealed, write_sealed

FIELD = "tier1.decontaminate.against"

MAX_REPEATED = 1 << 24  # n-grams to buffer, beyond twice the distinct ones

Numbers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Benchmark:
    """A file of an evaluation set. Its rows are the items."""

    name: str  # path relative to the folder common to all files
    content_xxh3_128: str
    items: int
    ngrams: int  # distinct n-grams that no earlier benchmark has


@dataclass(frozen=True)
class EvaluationSets:
    """The evaluation sets of a recipe, and their n-grams."""

    ngrams: EvaluationNgrams | None = None
    benchmarks: tuple[Benchmark, ...] = ()


def prepare(section: Decontaminate | None, folder: Path, preview: Path | None = None) -> EvaluationSets:
    """Load the n-grams of a recipe's evaluation sets from a table in `folder`, or build the table.

    With a `preview` folder, a new table is written there instead of `folder`.

    Errors: InputError for a file that is missing, cannot be read, or has no long enough text; RecipeError for a column.
    """
    if section is None:
        return EvaluationSets()
    paths, contents, name = _sources(section)
    root = common_root(paths)
    facts = _load_facts(folder / name)
    if facts is None:
        folder = preview or folder
        facts = _build(section, paths, folder)
        write_sealed(facts_path := folder / name, asdict(facts))
        for outdated in set(folder.glob("ngrams-*")) - {facts_path, folder / facts.table}:
            outdated.unlink()
    names = [path.relative_to(root).as_posix() for path in paths]
    counts = zip(names, contents, facts.items, facts.ngrams, strict=True)
    ngrams = EvaluationNgrams(str(folder / facts.table), facts.content, tuple(facts.lengths), section.action == "cut")
    return EvaluationSets(ngrams, tuple(Benchmark(*entry) for entry in counts))


def is_prepared(section: Decontaminate, folder: Path) -> bool:
    """Whether a folder has an up-to-date table of n-grams.

    Errors: InputError for a file that is missing or cannot be read.
    """
    _, _, name = _sources(section)
    return (folder / name).is_file()


@dataclass(frozen=True, kw_only=True, slots=True)
class TableFacts:
    """A table of n-grams, as its JSON file describes it."""

    table: str  # name of the file
    content: str  # hash of its array
    lengths: list[int]  # of n-grams, in words
    items: list[int]  # by benchmark
    ngrams: list[int]  # by benchmark


def _sources(section: Decontaminate) -> tuple[list[Path], list[str], str]:
    """The files of evaluation sets, their content hashes, and the name of the JSON file of their table."""
    paths = side_files(section.against, FIELD, "evaluation sets")
    contents = [content_of([path], FIELD) for path in paths]
    code = code_of(__name__, "curate.filters.contamination.signals", "curate.corpus.spool", "curate.corpus.side_files")
    key = digest_of([code, pa.__version__, section.ngram, section.min_words, section.columns, contents])
    return paths, contents, f"ngrams-{key[:16]}.json"


def _load_facts(path: Path) -> TableFacts | None:
    """Load the facts of a table built earlier; None where facts or table are missing or damaged."""
    try:
        facts = TableFacts(**unsealed(json.loads(path.read_text("utf-8"))))
        packed = np.load(path.parent / facts.table, mmap_mode="r")
    except (OSError, ValueError, AttributeError, EOFError, TokenError):  # TokenError: from a damaged header
        return None
    return facts if xxh3_128_hexdigest(packed.data) == facts.content else None


def _build(section: Decontaminate, paths: Sequence[Path], folder: Path) -> TableFacts:
    """Build and commit the table of all n-grams."""
    _check_columns(section.columns, paths)
    keys, places = list[Hashes](), list[Hashes]()
    items: list[int] = []
    lengths: set[int] = set()
    n_distinct = 0
    for number, path in enumerate(paths):
        rows = size = 0
        for batch in tables_of(path, FIELD):
            for owners, texts in starmap(in_both_normal_forms, texts_of_table(batch, section.columns)):
                found_keys, text, words = ngram_keys(texts, section.ngram, section.min_words)
                places_of_keys = ((number << PLACE_BITS) + rows + owners[text]).astype(np.uint64)
                new_keys, new_places = distinct_keys(found_keys, places_of_keys)
                keys.append(new_keys)
                places.append(new_places)
                lengths |= set(np.unique(words).tolist())
                size += len(found_keys)
            rows += len(batch)
            # Compact now and then: a compressed file of a few kilobytes may contain gigabytes of repeated text.
            if sum(map(len, keys)) > 2 * n_distinct + MAX_REPEATED:
                compacted = distinct_keys(np.concatenate(keys), np.concatenate(places))
                keys, places = [compacted[0]], [compacted[1]]
                n_distinct = len(compacted[0])
        items.append(rows)
        if not size:
            min_words = min(section.ngram, section.min_words)
            raise InputError(f"{FIELD}: {path}: no text of {min_words} words or more to look for; remove it")
    table = ngram_table(np.concatenate(keys), np.concatenate(places), sorted(lengths))
    counts = np.bincount((table.places[table.keys > 0] >> np.uint64(PLACE_BITS)).astype(np.int64), minlength=len(paths))
    packed = table.packed()
    content = xxh3_128_hexdigest(packed.data)
    name = f"ngrams-{content[:16]}.npy"
    with committed(folder / name) as temporary, temporary.open("wb") as file:
        np.save(file, packed)
    return TableFacts(table=name, content=content, lengths=sorted(lengths), items=items, ngrams=counts.tolist())


def distinct_keys(keys: Hashes, places: Hashes) -> tuple[Hashes, Hashes]:
    """The distinct keys, sorted, each with its first place."""
    distinct, first = np.unique(keys, return_index=True)
    return distinct, places[first]


def _check_columns(columns: Sequence[str] | None, paths: Sequence[Path]) -> None:
    """Check that every column is in some file, and that every file has one of the columns."""
    if columns is None:
        return
    names = {path: {name for table in tables_of(path, FIELD) for name in table.schema.names} for path in paths}
    present = set().union(*names.values())
    for name in columns:
        if name not in present:
            raise RecipeError(f"tier1.decontaminate.columns: no column {name!r}{did_you_mean(name, present)}")
    for path, names_in_file in names.items():
        if names_in_file.isdisjoint(columns):
            listed = ", ".join(sorted(names_in_file))
            raise RecipeError(f"tier1.decontaminate.columns: {path} has none of them (has: {listed})")


def texts_of_table(table: pa.Table, columns: Sequence[str] | None) -> Iterator[tuple[Numbers, pa.Array]]:
    """All texts of a table, including those in lists and structs, with their rows."""
    for name, column in zip(table.schema.names, table.columns, strict=True):
        if columns is None or name in columns:
            values = column.combine_chunks()
            yield from _text_columns(values, np.arange(len(values)))


def in_both_normal_forms(rows: Numbers, texts: pa.Array) -> tuple[Numbers, pa.Array]:
    """Texts in NFC and, where it differs, also in NFD: documents may use either, and the words differ."""
    try:
        texts = pc.utf8_normalize(plain_text(texts), form="NFC")
        decomposed = pc.utf8_normalize(texts, form="NFD")
    except pa.ArrowInvalid:  # not UTF-8
        return rows, texts
    differing = np.flatnonzero(pc.fill_null(pc.not_equal(texts, decomposed), False).to_numpy(zero_copy_only=False))
    return np.r_[rows, rows[differing]], pa.concat_arrays([texts, decomposed.take(pa.array(differing))])


def _text_columns(column: pa.Array, rows: Numbers) -> Iterator[tuple[Numbers, pa.Array]]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if is_text(column.type):
        yield rows, column
    elif pa.types.is_struct(column.type):
        for field in column.flatten():
            yield from _text_columns(field, rows)
    elif pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        yield from _text_columns(pc.list_flatten(column), rows[pc.list_parent_indices(column).to_numpy()])

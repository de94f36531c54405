"""The good texts of a recipe (`reference`). Models learn to distinguish bad text from them, and bound false drops."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_intdigest

from curate.corpus.columns import is_messages, is_text
from curate.corpus.edits import apply_edits, find_edits
from curate.corpus.inputs import common_root
from curate.corpus.side_files import content_of, side_files, tables_of
from curate.corpus.texts import is_utf8, texts_of
from curate.distill.draws import mixed
from curate.errors import InputError
from curate.filters import registry
from curate.filters.signals.hashes import hash_texts
from curate.ledger.names import INPUT
from curate.maps.reading import Reading
from curate.recipe.recipe import Recipe
from curate.sql import open_database, quoted

FIELD = "reference"
MIN_BYTES = 200  # shorter texts are not representative
ROLES = ("training", "testing", "calibration")
SHARES = (0.65, 0.75)  # upper bounds of training and testing in the cumulative distribution of roles

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class ReferenceFile:
    """A file of good texts."""

    path: Path
    name: str  # relative to the folder common to all files
    content_xxh3_128: str


def open_reference(recipe: Recipe) -> tuple[ReferenceFile, ...]:
    """The files of a recipe's reference, with content hashes.

    Errors: InputError for one that is missing or cannot be read.
    """
    if not recipe.reference:
        return ()
    paths = side_files(recipe.reference, FIELD, "reference texts")
    root = common_root(paths)
    return tuple(ReferenceFile(p, p.relative_to(root).as_posix(), content_of([p], FIELD)) for p in paths)


def sampling_mask(seed: int, purpose: str) -> int:
    """A mask to xor with hashes of texts, so that each seed and purpose samples texts in another order."""
    return xxh3_64_intdigest(f"{seed} {purpose}".encode())


def read_good(
    recipe: Recipe, files: Sequence[ReferenceFile], reading: Reading, strata: Mapping[str, str], limit: int
) -> pa.Table:
    """Sample at most `limit` distinct good texts by seed, and edit them like the corpus.

    Out:    doc_id (the hash of the raw text), file, text, role (one of ROLES, random by seed), and `stratum_0` … for
            the SQL of `strata` over the signals. Columns of the input that a file lacks are null.
    Errors: InputError for a file without the column of text, or where all texts are too short.
    """
    mask = np.uint64(sampling_mask(recipe.seed, FIELD))
    sample = _NO_TEXTS
    for file in files:
        for table in tables_of(file.path, FIELD):
            candidates = _candidates(table, recipe.input.column, file, reading, mask)
            sample = least_keys(pa.concat_tables([sample, candidates], promote_options="default"), limit)
    if not len(sample):
        raise InputError(f"{FIELD}: no text of {MIN_BYTES} bytes or more in {len(files)} file(s)")
    raw = sample["raw"].combine_chunks()
    edited = apply_edits(raw, find_edits(raw, reading.editors))
    long_enough = pc.greater_equal(_n_bytes(edited), MIN_BYTES)
    sample, edited = sample.filter(long_enough), edited.filter(long_enough)
    halves = zip(sample["high"].to_pylist(), sample["low"].to_pylist(), strict=True)
    return pa.table(
        {
            "doc_id": [f"{high:016x}{low:016x}" for high, low in halves],
            "file": sample["file"].cast(pa.string()),
            "text": edited,
            "role": _roles(sample["high"].to_numpy(), recipe.seed),
            **_strata(sample, edited, reading, strata),
        }
    )


def _candidates(table: pa.Table, column: str, file: ReferenceFile, reading: Reading, mask: np.uint64) -> pa.Table:
    """The usable texts of some rows of a file, with keys to sample by and the columns of the input."""
    texts = texts_in(table, column, FIELD, file.path)
    high, low = (half.to_numpy() for half in hash_texts(pc.fill_null(texts, "")))
    inputs = {f"{INPUT}.{name}": _input_column(table, name, kind, file) for name, kind in reading.input_columns}
    names = [file.name] * len(table)
    candidates = pa.table({"high": high, "low": low, "key": low ^ mask, "file": names, "raw": texts, **inputs})
    return candidates.filter(pc.and_(pc.fill_null(is_utf8(texts), False), pc.greater_equal(_n_bytes(texts), MIN_BYTES)))


# Of no batches: an empty array would make Arrow import pandas, which takes half a second.
_NO_TEXTS = pa.Table.from_batches(
    [],
    pa.schema(
        [
            ("high", pa.uint64()),
            ("low", pa.uint64()),
            ("key", pa.uint64()),
            ("file", pa.string()),
            ("raw", pa.large_string()),
        ]
    ),
)


def texts_in(table: pa.Table, column: str, field: str, path: Path) -> pa.Array:
    """The texts of rows of a side file: its column of texts or messages, or a column named `text`.

    Errors: InputError with the recipe's field and the file, where it has neither.
    """
    for name in dict.fromkeys((column, "text")):
        if name in table.schema.names:
            kind = table.schema.field(name).type
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            if is_text(kind) or is_messages(kind):
                return texts_of(table[name].combine_chunks()).cast(pa.large_string())
    raise InputError(f"{field}: {path}: no column {column!r} of texts (has: {', '.join(table.schema.names)})")


def _n_bytes(texts: pa.Array) -> pa.Array:
    """The length of texts in bytes, without surrounding white space (unless a text is not UTF-8)."""
    try:
        return pc.binary_length(pc.utf8_trim_whitespace(texts))
    except pa.ArrowInvalid:
        return pc.binary_length(texts)


def _input_column(table: pa.Table, name: str, kind: pa.DataType, file: ReferenceFile) -> pa.Array:
    """A column of the input with the corpus's type; null where the file lacks it."""
    if name not in table.schema.names:
        return pa.nulls(len(table), kind)
    try:
        return table[name].combine_chunks().cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        found_type = table.schema.field(name).type
        raise InputError(
            f"{FIELD}: {file.path}: column {name!r} holds {found_type}, and {kind} in the corpus"
        ) from None


def least_keys(table: pa.Table, limit: int) -> pa.Table:
    """The `limit` rows with the lowest keys; of equal keys, which equal texts have, only one."""
    keys = table["key"].to_numpy()
    _, first = np.unique(keys, return_index=True)
    return table.take(pa.array(first[:limit]))


def _roles(hashes: Hashes, seed: int) -> pa.Array:
    """Assign roles at random by seed. Uses the half of the hash that did not select the text."""
    random_keys = mixed(hashes, seed, "roles")
    indices = np.searchsorted(SHARES, (random_keys >> np.uint64(11)).astype(np.float64) / 2**53, side="right")
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int8()), pa.array(ROLES))


def _strata(sample: pa.Table, texts: pa.Array, reading: Reading, strata: Mapping[str, str]) -> dict[str, pa.Array]:
    """Compute the strata of texts as for the corpus."""
    columns = dict(_signals(texts, ["words", *(["language"] if "language" in strata else [])]))
    columns["n_words"] = columns["n_words"].cast(pa.int64())
    names = [name for name in sample.schema.names if name.startswith(f"{INPUT}.")]
    columns |= {name: sample[name] for name in names}
    derived = registry.derived(columns)
    fields = ", ".join(f"{quoted(name.removeprefix(f'{INPUT}.'))} := {quoted(name)}" for name in names)
    struct = f", struct_pack({fields}) AS {INPUT}" if names else ""
    with open_database() as connection:
        connection.register("measured", pa.table(columns))
        derived_columns = "".join(f", {column.sql} AS {quoted(name)}" for name, column in derived.items())
        selected = "".join(f", {sql} AS stratum_{k}" for k, sql in enumerate(strata.values()))
        table = connection.sql(
            f"SELECT {selected[2:] or 'NULL AS stratum'} FROM (SELECT *{derived_columns}{struct} FROM measured)"
        ).to_arrow_table()
    return {name: table[name] for name in table.schema.names if name != "stratum"}


def _signals(texts: pa.Array, groups: Sequence[str]) -> Iterator[tuple[str, pa.Array]]:
    for group in groups:
        for signal in registry.groups()[group]:
            yield from signal(texts).items()

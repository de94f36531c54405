"""Good texts of a recipe (`reference`): what bad text is told from, and what the bound on false drops is about."""

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
MIN_BYTES = 200  # a shorter text tells too little of how good text reads
ROLES = ("training", "testing", "calibration")
SHARES = (0.65, 0.75)  # of the documents: those below the first train, those below the second test

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class ReferenceFile:
    """A file of good texts."""

    path: Path
    name: str  # below the folder that all share
    content_xxh3_128: str


def open_reference(recipe: Recipe) -> tuple[ReferenceFile, ...]:
    """The files of a recipe's reference, by the hashes of their bytes.

    Errors: InputError for one that is missing or cannot be read.
    """
    if not recipe.reference:
        return ()
    paths = side_files(recipe.reference, FIELD, "reference texts")
    root = common_root(paths)
    return tuple(ReferenceFile(p, p.relative_to(root).as_posix(), content_of([p], FIELD)) for p in paths)


def sampling_mask(seed: int, purpose: str) -> int:
    """What the hash of a text is combined with (xor), so that each purpose and seed puts texts in another order."""
    return xxh3_64_intdigest(f"{seed} {purpose}".encode())


def read_good(
    recipe: Recipe, files: Sequence[ReferenceFile], reading: Reading, strata: Mapping[str, str], limit: int
) -> pa.Table:
    """At most `limit` good texts, drawn by seed, each once, edited as the corpus is.

    Out:    doc_id (the hash of the raw text), file, text, role (one of ROLES, drawn by seed), and `stratum_0` … for the
            SQL of `strata` over the signals; a column of the input that the file lacks is null.
    Errors: InputError for a file without the column of text, or where no text of some length is found.
    """
    mask = np.uint64(sampling_mask(recipe.seed, FIELD))
    held = _EMPTY
    for file in files:
        for table in tables_of(file.path, FIELD):
            texts = texts_in(table, recipe.input.column, FIELD, file.path)
            high, low = (half.to_numpy() for half in hash_texts(pc.fill_null(texts, "")))
            inputs = [_input(table, name, kind, file) for name, kind in reading.input_columns]
            columns = {"high": high, "low": low, "key": low ^ mask, "file": [file.name] * len(table), "raw": texts}
            columns |= {
                f"{INPUT}.{name}": value for (name, _), value in zip(reading.input_columns, inputs, strict=True)
            }
            new = pa.table(columns)
            usable = pc.and_(pc.fill_null(is_utf8(texts), False), pc.greater_equal(_payload(texts), MIN_BYTES))
            held = least_keys(pa.concat_tables([held, new.filter(usable)], promote_options="default"), limit)
    if not len(held):
        raise InputError(f"{FIELD}: no text of {MIN_BYTES} bytes or more in {len(files)} file(s)")
    raw = held["raw"].combine_chunks()
    edited = apply_edits(raw, find_edits(raw, reading.editors))
    left = pc.greater_equal(_payload(edited), MIN_BYTES)  # of what the edits leave nothing a run has no score either
    held, edited = held.filter(left), edited.filter(left)
    return pa.table({
        "doc_id": [f"{a:016x}{b:016x}" for a, b in zip(held["high"].to_pylist(), held["low"].to_pylist(), strict=True)],
        "file": held["file"].cast(pa.string()),
        "text": edited,
        "role": _roles(held["high"].to_numpy(), recipe.seed),
        **_strata(held, edited, reading, strata),
    })  # fmt: skip


_EMPTY = pa.table(
    {"high": pa.array([], pa.uint64()), "low": pa.array([], pa.uint64()), "key": pa.array([], pa.uint64()),
     "file": pa.array([], pa.string()), "raw": pa.array([], pa.large_string())}
)  # fmt: skip


def texts_in(table: pa.Table, column: str, field: str, path: Path) -> pa.Array:
    """The texts of some rows of a file beside the corpus: its column of texts or messages, or one named text.

    Errors: InputError, which names the recipe's field and the file, where it has neither.
    """
    for name in dict.fromkeys((column, "text")):
        if name in table.schema.names:
            kind = table.schema.field(name).type
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            if is_text(kind) or is_messages(kind):
                return texts_of(table[name].combine_chunks()).cast(pa.large_string())
    raise InputError(f"{field}: {path}: no column {column!r} of texts (has: {', '.join(table.schema.names)})")


def _payload(texts: pa.Array) -> pa.Array:
    """Bytes of texts without white space at either end; of what is not UTF-8, of all of it."""
    try:
        return pc.binary_length(pc.utf8_trim_whitespace(texts))
    except pa.ArrowInvalid:
        return pc.binary_length(texts)


def _input(table: pa.Table, name: str, kind: pa.DataType, file: ReferenceFile) -> pa.Array:
    """A column of the input as the corpus has it, which is null where a file lacks it."""
    if name not in table.schema.names:
        return pa.nulls(len(table), kind)
    try:
        return table[name].combine_chunks().cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        holds = table.schema.field(name).type
        raise InputError(f"{FIELD}: {file.path}: column {name!r} holds {holds}, and {kind} in the corpus") from None


def least_keys(table: pa.Table, limit: int) -> pa.Table:
    """The rows with the least keys, of equal texts one."""
    keys = table["key"].to_numpy()
    _, first = np.unique(keys, return_index=True)
    return table.take(pa.array(first[:limit]))


def _roles(hashes: Hashes, seed: int) -> pa.Array:
    """What each text is for, drawn by seed from the half of its hash that did not draw it."""
    drawn = mixed(hashes, seed, "roles")
    places = np.searchsorted(SHARES, (drawn >> np.uint64(11)).astype(np.float64) / 2**53, side="right")
    return pa.DictionaryArray.from_arrays(pa.array(places, pa.int8()), pa.array(ROLES))


def _strata(held: pa.Table, texts: pa.Array, reading: Reading, strata: Mapping[str, str]) -> dict[str, pa.Array]:
    """The values of strata, measured as those of the corpus are."""
    columns = dict(_signals(texts, ["words", *(["language"] if "language" in strata else [])]))
    columns["n_words"] = columns["n_words"].cast(pa.int64())
    names = [name for name in held.schema.names if name.startswith(f"{INPUT}.")]
    columns |= {name: held[name] for name in names}
    derived = registry.derived(columns)
    fields = ", ".join(f"{quoted(name.removeprefix(f'{INPUT}.'))} := {quoted(name)}" for name in names)
    struct = f", struct_pack({fields}) AS {INPUT}" if names else ""
    with open_database() as connection:
        connection.register("measured", pa.table(columns))
        more = "".join(f", {found.sql} AS {quoted(name)}" for name, found in derived.items())
        selected = "".join(f", {sql} AS stratum_{k}" for k, sql in enumerate(strata.values()))
        table = connection.sql(
            f"SELECT {selected[2:] or 'NULL AS stratum'} FROM (SELECT *{more}{struct} FROM measured)"
        ).to_arrow_table()
    return {name: table[name] for name in table.schema.names if name != "stratum"}


def _signals(texts: pa.Array, groups: Sequence[str]) -> Iterator[tuple[str, pa.Array]]:
    for group in groups:
        for signal in registry.groups()[group]:
            yield from signal(texts).items()

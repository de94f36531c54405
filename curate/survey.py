"""What lies in a folder: each file that a run could read, its columns, and a sample of its texts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.columns import is_messages, is_text, render_messages
from curate.contamination import texts_of_table
from curate.corpus import BROKEN
from curate.errors import InputError
from curate.folders import Listing, ending_reason, is_json_lines, list_folder
from curate.inputs import local_files
from curate.spool import json_tables
from curate.storage import one_line
from curate.text_keys import Keys, keys_of, texts_in

TEXT_NAMES = ("text", "content", "body", "raw_content", "document")
NO_TEXTS = {"id", "doc_id", "url", "source", "license", "lang", "language", "label", "date", "path", "title"}
TEXT_BYTES = 40  # of a column's values on average, from which it may hold texts under any name
WHOLE_BYTES = 16 << 20  # of a file that is read in all
ALL_BYTES = 256 << 20  # of all files that are read in all; of those behind them a little
FEW_ROWS = 256
BATCH_ROWS = 1024
NO_DATA = ("", ".yaml", ".yml", ".md", ".py")  # of files that are passed over without a word
SHOWN_TEXTS = 64  # of a file, whose languages are told
SHOWN_CHARACTERS = 1500
_NONE: Keys = np.empty(0, np.uint64)


@dataclass(frozen=True, eq=False)
class Seen:
    """A file, and what was seen of it."""

    path: Path
    name: str  # below the folder that is looked at
    parts: tuple[str, ...]  # of that name, by which its role is told
    size: int
    problem: str = ""  # why it cannot be read
    rows: int = 0  # of JSON lines that are not read in all an estimate
    columns: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()  # columns that hold texts, the likeliest first
    chats: str | None = None  # a column of messages
    keys: Keys = field(default_factory=lambda: _NONE, repr=False)  # of the text of each row that was read
    all_keys: Keys = field(default_factory=lambda: _NONE, repr=False)  # of whatever texts these rows have, each once
    shown: Sequence[str] = field(default=(), repr=False)  # a few of the texts, shortened


def survey(places: Sequence[Path], folder: Path) -> tuple[list[Seen], Counter[str]]:
    """The files of some folders, each once, and how many others there are by their endings.

    Names are relative to `folder` where they lie in it.

    Errors: InputError for a place that is not there.
    """
    seen: list[Seen] = []
    passed: Counter[str] = Counter()
    left = ALL_BYTES
    known: set[Path] = set()
    for place in places:
        found = list_folder(place) if place.is_dir() else Listing(local_files(str(place), "init"))
        passed.update(Path(one.path).suffix for one in found.passed_over if one.reason == ending_reason(one.path))
        seen += [
            Seen(path, _name(path, folder), (), 0, problem=f"a folder that cannot be read: {problem}")
            for path, problem in found.unreadable.items()
        ]
        for path in found.files:
            if path not in known:
                known.add(path)
                seen.append(look(path, place, folder, left))
                left -= min(seen[-1].size, WHOLE_BYTES)
    for ending in NO_DATA:
        passed.pop(ending, None)
    return seen, passed


def _name(path: Path, folder: Path) -> str:
    """How a recipe names a file."""
    return path.relative_to(folder).as_posix() if folder in path.parents else str(path)


def look(path: Path, place: Path, folder: Path, left: int) -> Seen:
    """What is seen of a file, in all of its rows where these are few and `left` bytes may be read."""
    below = path.relative_to(place).parts if place in path.parents else ()
    name = _name(path, folder)
    try:
        size = path.stat().st_size
    except OSError as error:
        return Seen(path, name, below, 0, problem=f"cannot be read: {error.strerror}")
    whole = size <= WHOLE_BYTES <= left
    try:
        found = _lines(path, size, whole) if is_json_lines(path.name) else _parquet(path, whole)
    except (InputError, EOFError, *BROKEN) as error:
        return Seen(path, name, below, size, problem=_without(one_line(error), path))
    rows, tables = found
    if not tables or not tables[0].num_columns:
        return Seen(path, name, below, size, problem="empty: it holds no rows")
    table = pa.concat_tables(tables, promote_options="permissive")
    chats = next((one.name for one in table.schema if is_messages(one.type)), None)
    texts = _text_columns(table)
    column = texts[0] if texts else chats
    values = _texts_of(table, column) if column else []
    keys = keys_of(values)
    leaves = [keys_of(texts_in(found)) for _, found in texts_of_table(_others(table, column), None)]
    every = np.unique(np.concatenate([keys, *leaves]))
    shown = _spread([value[:SHOWN_CHARACTERS] for value in values if value], SHOWN_TEXTS)
    return Seen(path, name, below, size, "", rows, tuple(table.schema.names), texts, chats, keys, every, shown)


def _others(table: pa.Table, column: str | None) -> pa.Table:
    """The columns that may hold texts of another kind: questions and answers, say."""
    return table.select([name for name in table.schema.names if name != column and name.lower() not in NO_TEXTS])


def _spread(values: Sequence[str], most: int) -> Sequence[str]:
    return values if len(values) <= most else [values[k * len(values) // most] for k in range(most)]


def _without(problem: str, path: Path) -> str:
    """A problem without the name of the file, which stands before it anyway."""
    return problem.removeprefix(f"{path}: ").replace(str(path), path.name)


def _parquet(path: Path, whole: bool) -> tuple[int, list[pa.Table]]:
    """How many rows a Parquet file has, and all of them or a few from the beginning and the middle."""
    with path.open("rb") as raw:
        raw.seek(0, 2)
        if raw.tell() < 12 or (raw.seek(-4, 2), raw.read(4))[1] != b"PAR1":
            raise InputError("not a whole Parquet file; truncated, or another format?")
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
        rows = file.metadata.num_rows
        columns = [one.name for one in file.schema_arrow if _is_texts(one.type) or is_messages(one.type)]
        empty = _decoded(file.schema_arrow.empty_table())
        groups = list(range(file.num_row_groups))
        tables = []
        for some in [groups] if whole else [groups[:1], groups[len(groups) // 2 : len(groups) // 2 + 1]]:
            batches = file.iter_batches(BATCH_ROWS if whole else FEW_ROWS, row_groups=some, columns=columns)
            for batch in batches:
                tables.append(_decoded(pa.Table.from_batches([batch])))
                if not whole:
                    break
        return rows, [empty, *tables] if rows else []


def _lines(path: Path, size: int, whole: bool) -> tuple[int, list[pa.Table]]:
    """How many lines a file of JSON lines has, about, and all of them or those of its beginning."""
    share = 1.0 if whole else min(1.0, WHOLE_BYTES / max(1, size))
    tables: list[pa.Table] = []
    done = 1.0
    for table, done in json_tables(str(path), share):
        tables.append(table)
        if not whole and done >= share:
            break
    else:
        done = 1.0
    return round(sum(map(len, tables)) / max(done, 1e-9)), tables


def _is_texts(kind: pa.DataType) -> bool:
    """Whether a column's type holds texts somewhere."""
    if pa.types.is_dictionary(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_texts(kind.value_type)
    if pa.types.is_struct(kind):
        return any(_is_texts(one.type) for one in kind)
    return is_text(kind)


def _decoded(table: pa.Table) -> pa.Table:
    """A table with its dictionaries decoded and its views as what they view."""
    fields = [
        pa.field(one.name, one.type.value_type if pa.types.is_dictionary(one.type) else one.type)
        for one in table.schema
    ]
    plain = [one.with_type(pa.string()) if one.type == pa.string_view() else one for one in fields]
    return table.cast(pa.schema(plain))


def _text_columns(table: pa.Table) -> tuple[str, ...]:
    """The columns that hold texts: those with a usual name, then those with the longest values."""
    strings = [one.name for one in table.schema if is_text(one.type)]
    usual = [name for name in TEXT_NAMES if name in strings]
    sizes = {}
    for name in strings:
        if name not in usual and name.lower() not in NO_TEXTS:
            values = [value for value in texts_in(table[name].slice(0, FEW_ROWS)) if value]
            mean = sum(map(len, values)) / max(1, len(values))
            spaced = sum(" " in value or not value.isascii() for value in values)
            if mean >= TEXT_BYTES and 2 * spaced >= len(values):
                sizes[name] = mean
    return (*usual, *sorted(sizes, key=lambda name: -sizes[name]))


def _texts_of(table: pa.Table, column: str) -> list[str | None]:
    values = table[column].combine_chunks()
    return texts_in(render_messages(values) if is_messages(values.type) else values)

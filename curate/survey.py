"""What lies in a folder: each file that a run could read, its columns, and a sample of its texts."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.columns import is_messages, is_text, leaf_type, take_leaf
from curate.contamination import texts_of_table
from curate.corpus import BROKEN, read_rows
from curate.errors import InputError
from curate.folders import Listing, ending_reason, is_json_lines, list_folder
from curate.inputs import local_files
from curate.spool import json_tables
from curate.storage import one_line
from curate.text_columns import NO_TEXTS, as_texts, may_be_text, text_columns
from curate.text_keys import Keys, keys_of, texts_in

WHOLE_BYTES = 16 << 20  # of a file that is read in all
ALL_BYTES = 256 << 20  # of all files that are read in all; of those behind them a little
DECODED_BYTES = 256 << 20  # of a file, however small it is on disk
FEW_ROWS = 256
FEW_BYTES = 1 << 20  # of JSON lines that are not read in all
NO_DATA = ("", ".yaml", ".yml", ".md", ".py")  # of files that are passed over without a word
SHOWN_TEXTS = 64  # of a file, whose languages are told
SHOWN_CHARACTERS = 1500
HELD_TEXTS = 1024  # of a file, of which the shown ones are taken
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
    plain: frozenset[str] = frozenset()  # those of them that are strings, which files beside the corpus must be
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
    size = 0
    try:
        size = path.stat().st_size
        return _look(Seen(path, name, below, size), size <= WHOLE_BYTES <= left)
    except (InputError, EOFError, ValueError, *BROKEN) as error:
        return Seen(path, name, below, size, problem=_without(one_line(error), path))


def _look(file: Seen, whole: bool) -> Seen:
    """Look at a file some rows at a time, up to DECODED_BYTES of them, since a small file may hold endless texts."""
    columns: dict[str, None] = {}
    texts: tuple[str, ...] = ()
    chats, plain, rows, decoded = None, set[str](), 0, 0
    keys, every, beginnings = [_NONE], [_NONE], list[str]()
    step, position = 1, 0
    read = _lines(file.path, file.size, whole) if is_json_lines(file.path.name) else _parquet(file.path, whole)
    for table, so_far in read:
        rows = so_far
        if len(set(table.schema.names)) < len(table.schema.names):
            raise InputError("two of its columns have the same name")
        columns |= dict.fromkeys(table.schema.names)
        plain |= {one.name for one in table.schema if is_text(one.type)}
        chats = chats or next((one.name for one in table.schema if is_messages(one.type)), None)
        texts = texts or (text_columns(table.schema, table) if len(table) else ())
        column = texts[0] if texts else chats
        values = list(_texts_of(table, column)) if column else []
        keys.append(keys_of(values))
        leaves = [keys_of(texts_in(found)) for _, found in texts_of_table(_others(table, column), None)]
        every.append(np.unique(np.concatenate([keys[-1], *leaves])))
        for value in values:
            if value:
                if position % step == 0:
                    beginnings.append(value[:SHOWN_CHARACTERS])
                position += 1
                if len(beginnings) >= HELD_TEXTS:
                    beginnings, step = beginnings[::2], step * 2
        decoded += table.nbytes
        if decoded > DECODED_BYTES:
            break
    if not rows or not columns:
        return replace(file, problem="empty: it holds no rows")
    return replace(
        file, rows=rows, columns=tuple(columns), texts=texts, chats=chats,
        plain=frozenset(plain.intersection(texts)), keys=np.concatenate(keys),
        all_keys=np.unique(np.concatenate(every)), shown=_spread(beginnings, SHOWN_TEXTS),
    )  # fmt: skip


def _others(table: pa.Table, column: str | None) -> pa.Table:
    """The columns that may hold texts of another kind: questions and answers, say."""
    return table.select([name for name in table.schema.names if name != column and name.lower() not in NO_TEXTS])


def _spread(values: Sequence[str], most: int) -> Sequence[str]:
    return values if len(values) <= most else [values[k * len(values) // most] for k in range(most)]


def _without(problem: str, path: Path) -> str:
    """A problem without the name of the file, which stands before it anyway."""
    return problem.removeprefix(f"{path}: ").replace(str(path), path.name)


def _parquet(path: Path, whole: bool) -> Iterator[tuple[pa.Table, int]]:
    """The rows of a Parquet file, or a few from the beginning and the middle, and how many it has."""
    with path.open("rb") as raw:
        raw.seek(0, 2)
        if raw.tell() < 12 or (raw.seek(-4, 2), raw.read(4))[1] != b"PAR1":
            raise InputError("not a whole Parquet file; truncated, or another format?")
    with pq.ParquetFile(path, pre_buffer=False) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
        sizes = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
    yield schema.empty_table(), rows
    columns = [one.name for one in schema if _is_texts(one.type)]
    middle = sum(sizes[: len(sizes) // 2])
    for start in dict.fromkeys([0] if whole else [0, middle]):
        stop = rows if whole else min(rows, start + FEW_ROWS)
        for batch in read_rows(str(path), start, stop, columns) if columns and start < stop else ():
            yield _decoded(pa.Table.from_batches([batch])), rows


def _lines(path: Path, size: int, whole: bool) -> Iterator[tuple[pa.Table, int]]:
    """The lines of a file of JSON lines, or those of its beginning, and how many it has by what is read of it."""
    share = 1.0 if whole else min(1.0, FEW_BYTES / max(1, size))
    count = 0
    table = None
    for table, done in json_tables(str(path), share):
        count += len(table)
        yield table, max(1, round(count / max(done, 1e-9)))
        if not whole and done >= share:
            return
    if table is not None:
        yield table.slice(0, 0), count


def _is_texts(kind: pa.DataType) -> bool:
    """Whether a column's type holds texts somewhere."""
    if pa.types.is_dictionary(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_texts(kind.value_type)
    if pa.types.is_struct(kind):
        return any(_is_texts(one.type) for one in kind)
    return may_be_text(kind)


def _decoded(table: pa.Table) -> pa.Table:
    """A table with its dictionaries decoded and its views as what they view."""
    fields = [
        pa.field(one.name, one.type.value_type if pa.types.is_dictionary(one.type) else one.type)
        for one in table.schema
    ]
    plain = [one.with_type(pa.string()) if one.type == pa.string_view() else one for one in fields]
    return table.cast(pa.schema(plain))


def _texts_of(table: pa.Table, path: str) -> Iterator[str | None]:
    """The texts of a column, or of a field within structs; none of a table in which it is missing or something else."""
    names = table.schema.names
    if path not in names and leaf_type(table.schema, path) is None:
        return
    top = path if path in names else next(name for name in names if path.startswith(f"{name}."))
    for chunk in table[top].chunks:
        texts = as_texts(chunk if top == path else take_leaf(chunk, top, path))
        yield from [] if texts is None else texts_in(texts)

"""What lies in a folder: each file that a run could read, its columns, and a sample of its texts."""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.corpus.columns import is_messages, is_text, leaf_type, take_leaf
from curate.corpus.folders import PERHAPS_LINES, Listing, ending_reason, list_folder
from curate.corpus.inputs import local_files
from curate.corpus.jsonl import BadLines, json_tables, widened
from curate.corpus.parquet import BROKEN, read_rows
from curate.corpus.text_columns import NO_TEXTS, as_texts, may_be_text, text_columns
from curate.corpus.text_keys import Keys, keys_of, texts_in
from curate.errors import InputError
from curate.filters.contamination.benchmarks import texts_of_table
from curate.init.kinds import Kind, kinds_of, some_of, spread
from curate.init.patterns import ending_of
from curate.init.roles import role_of
from curate.storage.endings import is_json_lines
from curate.storage.places import one_line

WHOLE_BYTES = 16 << 20  # of a file that is read in all
ALL_BYTES = 256 << 20  # of all files that are read in all; of those behind them a little
EACH, MOST = 64, 256  # files of one kind in one folder that are looked at, and of the corpus in all
EACH_BESIDE, MOST_BESIDE = 256, 1024  # the same of what is beside it
DECODED_BYTES = 256 << 20  # of a file, however small it is on disk
FEW_ROWS = 256
FEW_BYTES = 1 << 20  # of JSON lines that are not read in all
NO_DATA = ("", ".yaml", ".yml", ".md", ".py")  # of files that are passed over without a word
SHOWN_TEXTS = 64  # of a file, whose languages are told
SHOWN_CHARACTERS = 1500
HELD_TEXTS = 1024  # of a file, of which the shown ones are taken
_NONE: Keys = np.empty(0, np.uint64)
_NO_COLUMNS = pa.schema([])


@dataclass(frozen=True, eq=False, slots=True)
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
    schema: pa.Schema = field(default=_NO_COLUMNS, repr=False)  # of JSON lines by the values that were read
    is_looked_at: bool = True  # or taken to be as another file of its kind is
    stands_for: int = 0  # rows: its own, and those of files that are taken to be like it
    bad_lines: int = 0  # of JSON lines that were read
    bad: str = ""  # what is wrong with the first of them


@dataclass(frozen=True)
class Survey:
    """All files of some folders."""

    files: list[Seen]
    passed: Counter[str]  # how many others there are by their endings
    others: tuple[Path, ...]  # of these those that a run would read where they are named


def survey(places: Sequence[Path], folder: Path) -> Survey:
    """The files of some folders, each once. Names are relative to `folder` where they lie in it.

    Errors: InputError for a place that is not there.
    """
    broken: list[Seen] = []
    passed: Counter[str] = Counter()
    place_of: dict[Path, Path] = {}
    perhaps: dict[Path, Path] = {}  # .json files, which may be anything
    for place in places:
        found = list_folder(place) if place.is_dir() else Listing(local_files(str(place), "init"))
        for one in found.passed_over:
            if one.reason == PERHAPS_LINES:
                perhaps.setdefault(Path(one.path), place)
            elif one.reason == ending_reason(one.path):
                passed[ending_of(one.path)] += 1
        broken += [
            Seen(path, _name(path, folder), (), 0, problem=f"a folder that cannot be read: {problem}")
            for path, problem in found.unreadable.items()
        ]
        place_of |= {path: place for path in found.files if path not in place_of}
    lines = [path for path, kind in zip(perhaps, kinds_of(list(perhaps)), strict=True) if kind and kind.lines > 1]
    place_of |= {path: perhaps[path] for path in lines if path not in place_of}
    seen = _look_at_some(place_of, folder)
    texts = [file for file in seen if file.path not in perhaps or (not file.problem and (file.texts or file.chats))]
    others = tuple(path for path in perhaps if path not in {file.path for file in texts})
    passed.update(ending_of(path.name) for path in others)
    for ending in NO_DATA:
        passed.pop(ending, None)
    return Survey([*broken, *texts], passed, others)


def _look_at_some(place_of: Mapping[Path, Path], folder: Path) -> list[Seen]:
    """What is seen of files, each of which lies in a place.

    Of the files of one folder with the same columns some are looked at, and others are taken to be like the one before
    them; so are those of a folder in which none is looked at.
    """
    paths = list(place_of)
    kinds = kinds_of(paths)
    sizes = [_size(path) for path in paths]
    groups: dict[Hashable, list[int]] = {}
    for k, (path, kind) in enumerate(zip(paths, kinds, strict=True)):
        if kind is not None and not kind.problem:
            groups.setdefault((path.parent, ending_of(path.name), kind.key), []).append(k)
    seen = {
        k: Seen(path, _name(path, folder), _parts(path, place_of[path]), sizes[k], problem=kind.problem)
        for k, (path, kind) in enumerate(zip(paths, kinds, strict=True))
        if kind is not None and kind.problem
    }
    budget = ALL_BYTES
    for k in sorted(_chosen(groups.values(), kinds, sizes, paths, place_of)):
        seen[k] = look(paths[k], place_of[paths[k]], folder, budget)
        budget -= min(seen[k].size, WHOLE_BYTES)
    stand_ins = _stand_ins(groups.values(), kinds, seen)
    for k, like in stand_ins.items():
        seen[k] = _as(seen[like], paths[k], place_of[paths[k]], folder, kinds[k], sizes[k])
    rows = Counter({k: one.rows for k, one in seen.items() if one.is_looked_at})
    for k, like in stand_ins.items():
        rows[like] += seen[k].rows
    seen |= {k: replace(seen[k], stands_for=count) for k, count in rows.items()}
    return [seen[k] for k in range(len(paths))]


def _chosen(
    groups: Iterable[Sequence[int]], kinds: Sequence[Kind | None], sizes: Sequence[int], paths: Sequence[Path],
    place_of: Mapping[Path, Path],
) -> set[int]:  # fmt: skip
    """The files to look at: more of those that measure the corpus, and of those that may be copies of them."""
    corpus, beside = list[Sequence[int]](), list[Sequence[int]]()
    for group in groups:
        path, kind = paths[group[0]], kinds[group[0]]
        role, _ = role_of(_parts(path, place_of[path]), kind.columns if kind else ())
        (corpus if role in ("input", None) else beside).append(group)
    measuring = {sizes[k] for group in beside for k in group}
    copies = [k for group in corpus for k in group if sizes[k] in measuring]
    unknown = {k for k, kind in enumerate(kinds) if kind is None}
    some = some_of(corpus, kinds, EACH, MOST) | some_of(beside, kinds, EACH_BESIDE, MOST_BESIDE)
    return some | set(spread(copies, MOST)) | unknown


def _stand_ins(
    groups: Iterable[Sequence[int]], kinds: Sequence[Kind | None], seen: Mapping[int, Seen]
) -> dict[int, int]:
    """For each file that is not looked at one that is, and that it is like."""
    found: dict[int, int] = {}
    of_kind = {kind.key: k for k in seen if (kind := kinds[k]) is not None and not seen[k].problem}
    by_text = {seen[k].texts[0]: k for k in seen if seen[k].texts}
    for group in groups:
        kind = kinds[group[0]]
        assert kind is not None
        whole = [k for k in group if k in seen and not seen[k].problem]
        models = [k for k in whole if seen[k].texts or seen[k].chats] or whole
        if not models:
            with_text = (k for name, k in by_text.items() if name in kind.columns)
            models = [of_kind[kind.key]] if kind.key in of_kind else [next(with_text, next(iter(seen)))]
        last = models[0]
        for k in group:
            last = k if k in models else last
            if k not in seen:
                found[k] = last
    return found


def _as(like: Seen, path: Path, place: Path, folder: Path, kind: Kind | None, size: int) -> Seen:
    """What is taken for seen of a file that is like another one."""
    rows = kind.rows if kind else 0
    if kind is None or kind.schema is None:  # of JSON lines an estimate
        rows = max(1, like.rows * size // max(1, like.size))
    problem = "empty: it holds no rows" if kind and kind.schema is not None and not rows else like.problem
    columns = like.columns if kind is None or set(kind.columns) <= set(like.columns) else kind.columns
    return replace(
        like, path=path, name=_name(path, folder), parts=_parts(path, place), size=size, rows=rows, columns=columns,
        keys=_NONE, all_keys=_NONE, shown=(), is_looked_at=False, bad_lines=0, bad="", problem=problem,
    )  # fmt: skip


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # which is told where it is looked at
        return 0


def _parts(path: Path, place: Path) -> tuple[str, ...]:
    """The names below a place by which a file's role is told; none of a place that is the file itself."""
    return path.relative_to(place).parts if place in path.parents else ()


def _name(path: Path, folder: Path) -> str:
    """How a recipe names a file."""
    return path.relative_to(folder).as_posix() if folder in path.parents else str(path)


def look(path: Path, place: Path, folder: Path, left: int) -> Seen:
    """What is seen of a file, in all of its rows where these are few and `left` bytes may be read."""
    below = _parts(path, place)
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
    keys, every = [_NONE], [_NONE]
    bad, schema, shown = BadLines(), _NO_COLUMNS, _Beginnings([])
    is_lines = is_json_lines(file.path.name)
    read = _lines(file.path, file.size, whole, bad) if is_lines else _parquet(file.path, whole)
    for table, so_far in read:
        rows = so_far
        if len(set(table.schema.names)) < len(table.schema.names):
            raise InputError("two of its columns have the same name")
        schema = widened(schema, table.schema) if is_lines else schema if len(schema) else table.schema
        columns |= dict.fromkeys(table.schema.names)
        plain |= {one.name for one in table.schema if is_text(one.type)}
        chats = chats or next((one.name for one in table.schema if is_messages(one.type)), None)
        texts = texts or (text_columns(table.schema, table) if len(table) else ())
        column = texts[0] if texts else chats
        values = list(_texts_of(table, column)) if column else []
        keys.append(keys_of(values))
        leaves = [keys_of(texts_in(found)) for _, found in texts_of_table(_others(table, column), None)]
        every.append(np.unique(np.concatenate([keys[-1], *leaves])))
        shown.add(values)
        decoded += table.nbytes
        if decoded > DECODED_BYTES:
            break
    if not rows or not columns:
        return replace(file, problem=bad.problems[0] if bad.count else "empty: it holds no rows")
    return replace(
        file, rows=rows, columns=tuple(columns), texts=texts, chats=chats,
        plain=frozenset(plain.intersection(texts)), keys=np.concatenate(keys),
        all_keys=np.unique(np.concatenate(every)), shown=spread(shown.held, SHOWN_TEXTS),
        schema=schema.remove_metadata(), bad_lines=bad.count, bad=bad.problems[0] if bad.count else "",
    )  # fmt: skip


@dataclass
class _Beginnings:
    """Beginnings of texts, evenly spaced among all that are added."""

    held: list[str]
    step: int = 1
    position: int = 0

    def add(self, values: Iterable[str | None]) -> None:
        for value in filter(None, values):
            if self.position % self.step == 0:
                self.held.append(value[:SHOWN_CHARACTERS])
            self.position += 1
            if len(self.held) >= HELD_TEXTS:
                self.held, self.step = self.held[::2], self.step * 2


def _others(table: pa.Table, column: str | None) -> pa.Table:
    """The columns that may hold texts of another kind: questions and answers, say."""
    return table.select([name for name in table.schema.names if name != column and name.lower() not in NO_TEXTS])


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


def _lines(path: Path, size: int, whole: bool, bad: BadLines) -> Iterator[tuple[pa.Table, int]]:
    """The lines of a file of JSON lines, or those of its beginning, and how many it has by what is read of it."""
    share = 1.0 if whole else min(1.0, FEW_BYTES / max(1, size))
    count = 0
    table = None
    for table, done in json_tables(str(path), share, bad):
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

"""Survey a folder: list each file that a run could read, with its columns and a sample of its texts."""

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
from curate.corpus.jsonl import BadLines, json_tables, widen_schema
from curate.corpus.parquet import BROKEN, read_rows
from curate.corpus.text_columns import NO_TEXTS, as_texts, may_be_text, text_columns
from curate.corpus.text_keys import Keys, keys_of, texts_in
from curate.errors import InputError
from curate.filters.contamination.benchmarks import texts_of_table
from curate.init.kinds import Kind, kinds_of, sample_groups, spread
from curate.init.patterns import ending_of
from curate.init.roles import role_of
from curate.storage.endings import is_json_lines
from curate.storage.places import one_line

WHOLE_BYTES = 16 << 20  # larger files are not read whole
ALL_BYTES = 256 << 20  # budget for files that are read whole; of further files only a part is read
EACH, MOST = 64, 256  # surveyed files of a kind in a folder, and of the corpus in all
EACH_BESIDE, MOST_BESIDE = 256, 1024  # the same for side files
DECODED_BYTES = 256 << 20  # of a file, however small it is on disk
FEW_ROWS = 256  # of Parquet files that are not read whole
FEW_BYTES = 1 << 20  # of JSON lines that are not read whole
NO_DATA = ("", ".yaml", ".yml", ".md", ".py")  # endings of files that are ignored silently
SHOWN_TEXTS = 64  # of a file, to identify languages
SHOWN_CHARACTERS = 1500
HELD_TEXTS = 1024  # of a file, from which the shown ones are taken
_NO_KEYS: Keys = np.empty(0, np.uint64)
_NO_COLUMNS = pa.schema([])


@dataclass(frozen=True, eq=False, slots=True)
class SurveyedFile:
    """A file and what the survey found in it."""

    path: Path
    name: str  # as the recipe would write it
    parts: tuple[str, ...]  # of its path below the surveyed folder, which suggest its role
    size: int
    problem: str = ""  # why it cannot be read
    rows: int = 0  # an estimate for JSON lines that are not read whole
    columns: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()  # columns with texts, the likeliest first
    plain: frozenset[str] = frozenset()  # those of type string, as side files need
    chats: str | None = None  # a column of messages
    keys: Keys = field(default_factory=lambda: _NO_KEYS, repr=False)  # of the text of each row that was read
    all_keys: Keys = field(default_factory=lambda: _NO_KEYS, repr=False)  # of all distinct texts in these rows
    shown: Sequence[str] = field(default=(), repr=False)  # a few of the texts, shortened
    schema: pa.Schema = field(default=_NO_COLUMNS, repr=False)  # for JSON lines, inferred from what was read
    is_surveyed: bool = True  # or assumed to be like another file of its kind
    represents: int = 0  # rows: its own, and those of files that are assumed to be like it
    bad_lines: int = 0  # among the JSON lines that were read
    bad: str = ""  # what is wrong with the first of them


@dataclass(frozen=True)
class Survey:
    """The files of several folders."""

    files: list[SurveyedFile]
    ignored: Counter[str]  # number of other files, by ending
    readable: tuple[Path, ...]  # those of them that a run would read if they were named


def survey(roots: Sequence[Path], folder: Path) -> Survey:
    """Survey folders and files, each file once. Names are relative to `folder` if they are in it.

    Errors: InputError for a root that does not exist.
    """
    broken: list[SurveyedFile] = []
    ignored: Counter[str] = Counter()
    root_of: dict[Path, Path] = {}
    perhaps: dict[Path, Path] = {}  # .json files, which may be JSON lines or anything else
    for root in roots:
        listing = list_folder(root) if root.is_dir() else Listing(local_files(str(root), "init"))
        for entry in listing.passed_over:
            if entry.reason == PERHAPS_LINES:
                perhaps.setdefault(Path(entry.path), root)
            elif entry.reason == ending_reason(entry.path):
                ignored[ending_of(entry.path)] += 1
        broken += [
            SurveyedFile(path, _name(path, folder), (), 0, problem=f"a folder that cannot be read: {problem}")
            for path, problem in listing.unreadable.items()
        ]
        root_of |= {path: root for path in listing.files if path not in root_of}
    json_lines = [path for path, kind in zip(perhaps, kinds_of(list(perhaps)), strict=True) if kind and kind.lines > 1]
    root_of |= {path: perhaps[path] for path in json_lines if path not in root_of}
    seen = _survey_sample(root_of, folder)
    usable = [file for file in seen if file.path not in perhaps or (not file.problem and (file.texts or file.chats))]
    readable = tuple(path for path in perhaps if path not in {file.path for file in usable})
    ignored.update(ending_of(path.name) for path in readable)
    for ending in NO_DATA:
        ignored.pop(ending, None)
    return Survey([*broken, *usable], ignored, readable)


def _survey_sample(root_of: Mapping[Path, Path], folder: Path) -> list[SurveyedFile]:
    """Survey a sample of the files, each below its root, and assume that others are like them.

    Some files of each folder and kind are surveyed; each other file is assumed to be like the surveyed one before it.
    Files of a folder without a surveyed one are assumed to be like a file of another folder.
    """
    paths = list(root_of)
    kinds = kinds_of(paths)
    sizes = [_size(path) for path in paths]
    groups: dict[Hashable, list[int]] = {}
    for k, (path, kind) in enumerate(zip(paths, kinds, strict=True)):
        if kind is not None and not kind.problem:
            groups.setdefault((path.parent, ending_of(path.name), kind.key), []).append(k)
    seen = {
        k: SurveyedFile(path, _name(path, folder), _parts(path, root_of[path]), sizes[k], problem=kind.problem)
        for k, (path, kind) in enumerate(zip(paths, kinds, strict=True))
        if kind is not None and kind.problem
    }
    budget = ALL_BYTES
    for k in sorted(_files_to_survey(groups.values(), kinds, sizes, paths, root_of)):
        seen[k] = survey_file(paths[k], root_of[paths[k]], folder, budget)
        budget -= min(seen[k].size, WHOLE_BYTES)
    stand_ins = _stand_ins(groups.values(), kinds, seen)
    for k, model in stand_ins.items():
        seen[k] = _taken_as(seen[model], paths[k], root_of[paths[k]], folder, kinds[k], sizes[k])
    counts = Counter({k: surveyed.rows for k, surveyed in seen.items() if surveyed.is_surveyed})
    for k, model in stand_ins.items():
        counts[model] += seen[k].rows
    seen |= {k: replace(seen[k], represents=count) for k, count in counts.items()}
    return [seen[k] for k in range(len(paths))]


def _files_to_survey(
    groups: Iterable[Sequence[int]],
    kinds: Sequence[Kind | None],
    sizes: Sequence[int],
    paths: Sequence[Path],
    root_of: Mapping[Path, Path],
) -> set[int]:
    """The indices of files to survey: more of those that measure the corpus, and of possible copies of these."""
    corpus, beside = list[Sequence[int]](), list[Sequence[int]]()
    for group in groups:
        path, kind = paths[group[0]], kinds[group[0]]
        role, _ = role_of(_parts(path, root_of[path]), kind.columns if kind else ())
        (corpus if role in ("input", None) else beside).append(group)
    measuring = {sizes[k] for group in beside for k in group}
    copies = [k for group in corpus for k in group if sizes[k] in measuring]
    unknown = {k for k, kind in enumerate(kinds) if kind is None}
    chosen = sample_groups(corpus, kinds, EACH, MOST) | sample_groups(beside, kinds, EACH_BESIDE, MOST_BESIDE)
    return chosen | set(spread(copies, MOST)) | unknown


def _stand_ins(
    groups: Iterable[Sequence[int]], kinds: Sequence[Kind | None], seen: Mapping[int, SurveyedFile]
) -> dict[int, int]:
    """For each file that is not surveyed, the index of a surveyed one that is like it."""
    stand_ins: dict[int, int] = {}
    by_kind = {kind.key: k for k in seen if (kind := kinds[k]) is not None and not seen[k].problem}
    by_text = {seen[k].texts[0]: k for k in seen if seen[k].texts}
    for group in groups:
        kind = kinds[group[0]]
        assert kind is not None
        usable = [k for k in group if k in seen and not seen[k].problem]
        models = [k for k in usable if seen[k].texts or seen[k].chats] or usable
        if not models:
            with_text = (k for name, k in by_text.items() if name in kind.columns)
            models = [by_kind[kind.key]] if kind.key in by_kind else [next(with_text, next(iter(seen)))]
        current = models[0]
        for k in group:
            current = k if k in models else current
            if k not in seen:
                stand_ins[k] = current
    return stand_ins


def _taken_as(model: SurveyedFile, path: Path, root: Path, folder: Path, kind: Kind | None, size: int) -> SurveyedFile:
    """A file that is not surveyed, with what is assumed of it because it is like `model`."""
    rows = kind.rows if kind else 0
    if kind is None or kind.schema is None:  # JSON lines: an estimate
        rows = max(1, model.rows * size // max(1, model.size))
    problem = "empty: it holds no rows" if kind and kind.schema is not None and not rows else model.problem
    columns = model.columns if kind is None or set(kind.columns) <= set(model.columns) else kind.columns
    return SurveyedFile(
        path=path,
        name=_name(path, folder),
        parts=_parts(path, root),
        size=size,
        problem=problem,
        rows=rows,
        columns=columns,
        texts=model.texts,
        plain=model.plain,
        chats=model.chats,
        schema=model.schema,
        is_surveyed=False,
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # reported when it is surveyed
        return 0


def _parts(path: Path, root: Path) -> tuple[str, ...]:
    """The parts of a file's path below its root, which suggest its role; none if the root is the file itself."""
    return path.relative_to(root).parts if root in path.parents else ()


def _name(path: Path, folder: Path) -> str:
    """The name of a file as the recipe would write it."""
    return path.relative_to(folder).as_posix() if folder in path.parents else str(path)


def survey_file(path: Path, root: Path, folder: Path, budget: int) -> SurveyedFile:
    """Survey a file; it is read whole if it is small and `budget` bytes allow it."""
    parts = _parts(path, root)
    name = _name(path, folder)
    size = 0
    try:
        size = path.stat().st_size
        return _survey_rows(SurveyedFile(path, name, parts, size), size <= WHOLE_BYTES <= budget)
    except (InputError, EOFError, ValueError, *BROKEN) as error:
        return SurveyedFile(path, name, parts, size, problem=_without_path(one_line(error), path))


def _survey_rows(file: SurveyedFile, whole: bool) -> SurveyedFile:
    """Survey a file a few rows at a time, up to DECODED_BYTES, since a small file may decode to huge texts."""
    columns: dict[str, None] = {}
    texts: tuple[str, ...] = ()
    chats, plain, rows, decoded = None, set[str](), 0, 0
    keys, all_keys = [_NO_KEYS], [_NO_KEYS]
    bad, schema, shown = BadLines(), _NO_COLUMNS, _Beginnings([])
    is_lines = is_json_lines(file.path.name)
    tables = _lines(file.path, file.size, whole, bad) if is_lines else _parquet(file.path, whole)
    for table, so_far in tables:
        rows = so_far
        if len(set(table.schema.names)) < len(table.schema.names):
            raise InputError("two of its columns have the same name")
        schema = widen_schema(schema, table.schema) if is_lines else schema if len(schema) else table.schema
        columns |= dict.fromkeys(table.schema.names)
        plain |= {arrow_field.name for arrow_field in table.schema if is_text(arrow_field.type)}
        chats = chats or next((arrow_field.name for arrow_field in table.schema if is_messages(arrow_field.type)), None)
        texts = texts or (text_columns(table.schema, table) if len(table) else ())
        column = texts[0] if texts else chats
        values = list(_texts_of(table, column)) if column else []
        keys.append(keys_of(values))
        leaves = [keys_of(texts_in(leaf)) for _, leaf in texts_of_table(_other_columns(table, column), None)]
        all_keys.append(np.unique(np.concatenate([keys[-1], *leaves])))
        shown.add(values)
        decoded += table.nbytes
        if decoded > DECODED_BYTES:
            break
    if not rows or not columns:
        return replace(file, problem=bad.problems[0] if bad.count else "empty: it holds no rows")
    return replace(
        file, rows=rows, columns=tuple(columns), texts=texts, chats=chats,
        plain=frozenset(plain.intersection(texts)), keys=np.concatenate(keys),
        all_keys=np.unique(np.concatenate(all_keys)), shown=spread(shown.kept, SHOWN_TEXTS),
        schema=schema.remove_metadata(), bad_lines=bad.count, bad=bad.problems[0] if bad.count else "",
    )  # fmt: skip


@dataclass
class _Beginnings:
    """The beginnings of texts, evenly spaced among all that are added."""

    kept: list[str]
    step: int = 1
    position: int = 0

    def add(self, values: Iterable[str | None]) -> None:
        for text in filter(None, values):
            if self.position % self.step == 0:
                self.kept.append(text[:SHOWN_CHARACTERS])
            self.position += 1
            if len(self.kept) >= HELD_TEXTS:
                self.kept, self.step = self.kept[::2], self.step * 2


def _other_columns(table: pa.Table, column: str | None) -> pa.Table:
    """The other columns that may have texts, such as questions and answers."""
    return table.select([name for name in table.schema.names if name != column and name.lower() not in NO_TEXTS])


def _without_path(problem: str, path: Path) -> str:
    """A problem without the path of the file, since messages start with that."""
    return problem.removeprefix(f"{path}: ").replace(str(path), path.name)


def _parquet(path: Path, read_all: bool) -> Iterator[tuple[pa.Table, int]]:
    """Yield rows of a Parquet file, all or a few from the beginning and the middle, with the number of all rows."""
    with path.open("rb") as raw:
        raw.seek(0, 2)
        if raw.tell() < 12 or (raw.seek(-4, 2), raw.read(4))[1] != b"PAR1":
            raise InputError("not a whole Parquet file; truncated, or another format?")
    with pq.ParquetFile(path, pre_buffer=False) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
        sizes = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
    yield schema.empty_table(), rows
    columns = [arrow_field.name for arrow_field in schema if _is_texts(arrow_field.type)]
    middle = sum(sizes[: len(sizes) // 2])
    for start in dict.fromkeys([0] if read_all else [0, middle]):
        stop = rows if read_all else min(rows, start + FEW_ROWS)
        for batch in read_rows(str(path), start, stop, columns) if columns and start < stop else ():
            yield _decoded(pa.Table.from_batches([batch])), rows


def _lines(path: Path, size: int, read_all: bool, bad: BadLines) -> Iterator[tuple[pa.Table, int]]:
    """Yield rows of JSON lines, all or those at the beginning, with the estimated number of all rows."""
    share = 1.0 if read_all else min(1.0, FEW_BYTES / max(1, size))
    count = 0
    table = None
    for table, done in json_tables(str(path), share, bad):
        count += len(table)
        yield table, max(1, round(count / max(done, 1e-9)))
        if not read_all and done >= share:
            return
    if table is not None:
        yield table.slice(0, 0), count


def _is_texts(kind: pa.DataType) -> bool:
    """Whether a column's type is or contains text."""
    if pa.types.is_dictionary(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_texts(kind.value_type)
    if pa.types.is_struct(kind):
        return any(_is_texts(member.type) for member in kind)
    return may_be_text(kind)


def _decoded(table: pa.Table) -> pa.Table:
    """Decode the dictionaries of a table and turn string views into strings."""

    def decoded(kind: pa.DataType) -> pa.DataType:
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        return pa.string() if kind == pa.string_view() else kind

    fields = [pa.field(arrow_field.name, decoded(arrow_field.type)) for arrow_field in table.schema]
    return table.cast(pa.schema(fields))


def _texts_of(table: pa.Table, path: str) -> Iterator[str | None]:
    """The texts of a column or of a field within structs; none if it is missing or has no texts."""
    names = table.schema.names
    if path not in names and leaf_type(table.schema, path) is None:
        return
    top = path if path in names else next(name for name in names if path.startswith(f"{name}."))
    for chunk in table[top].chunks:
        texts = as_texts(chunk if top == path else take_leaf(chunk, top, path))
        yield from [] if texts is None else texts_in(texts)

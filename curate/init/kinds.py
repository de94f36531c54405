"""Files of a folder that are alike, by their columns: so that of many a few are looked at, which stand for the rest."""

import json
from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from curate.corpus.parquet import BROKEN
from curate.storage.endings import CODECS, is_json_lines

T = TypeVar("T")
THREADS = 16
FEW_BYTES = 1 << 16  # of JSON lines, by whose first line their columns are told


@dataclass(frozen=True)
class Kind:
    """What a file's footer tells, or its first line: its columns, and of Parquet the types and rows."""

    columns: tuple[str, ...]
    schema: pa.Schema | None = None
    rows: int = 0
    lines: int = 0  # of the beginning of JSON lines, that are whole objects
    problem: str = ""  # why the file must not be read further

    @property
    def key(self) -> Hashable:
        """What files of one kind share."""
        return self.columns if self.schema is None else self.schema


def kinds_of(paths: Sequence[Path]) -> list[Kind | None]:
    """The kind of each file; None of one that cannot be told without a closer look."""
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(kind_of, paths))
    shared: dict[Hashable, Kind] = {}  # so that a hundred thousand files do not have as many schemas

    def slim(kind: Kind) -> Kind:
        first = shared.setdefault(kind.key, kind)
        return replace(kind, columns=first.columns, schema=first.schema)

    return [kind and slim(kind) for kind in found]


def kind_of(path: Path) -> Kind | None:
    """The kind of one file."""
    with suppress(ValueError, *BROKEN):
        if is_json_lines(path.name):
            return _of_lines(path)
        with pq.ParquetFile(path) as file:
            schema, rows = file.schema_arrow.remove_metadata(), file.metadata.num_rows
        if len(set(schema.names)) == len(schema.names):
            return Kind(tuple(schema.names), schema, rows)
    return None


def _of_lines(path: Path) -> Kind | None:
    """The columns of the first lines."""
    codec = next((name for ending, name in CODECS.items() if path.name.lower().endswith(ending)), None)
    with pa.OSFile(str(path)) as raw, pa.CompressedInputStream(raw, codec) if codec else raw as stream:
        begin: bytes = stream.read(FEW_BYTES)
    lines = [line for line in begin.split(b"\n") if line.strip()]
    is_cut = len(begin) == FEW_BYTES and len(lines) > 1
    columns: dict[str, None] = {}
    for k, line in enumerate(lines):
        try:
            one = json.loads(line)
        except RecursionError:  # a line of which pyarrow may end the process
            return Kind((), problem=f"line {k + 1} with text is nested too deeply")
        except ValueError:
            if is_cut and line is lines[-1]:
                break
            raise
        if not isinstance(one, dict):
            return None
        columns |= dict.fromkeys(one)
    return Kind(tuple(columns), None, 0, len(lines) - is_cut) if lines else None


def spread(values: Sequence[T], most: int) -> Sequence[T]:
    """Some of many values, evenly spaced, the first among them."""
    return values if len(values) <= most else [values[k * len(values) // most] for k in range(most)]


def some_of(groups: Iterable[Sequence[int]], kinds: Sequence[Kind | None], each: int, most: int) -> set[int]:
    """Up to `each` of every group, and about `most` in all: of more groups than that one of each kind and some more."""
    waiting = list(groups)
    if len(waiting) > most:
        firsts = {kind.key if (kind := kinds[group[0]]) else None: group for group in reversed(waiting)}
        waiting = [*spread(list(firsts.values()), most), *spread(waiting, max(1, most - len(firsts)))]
    each = max(1, min(each, most // max(1, len(waiting))))
    return {k for group in waiting for k in spread(group, each)}

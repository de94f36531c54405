"""Group the files of a folder by their columns, so that only a few files of each kind need to be surveyed."""

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
FEW_BYTES = 1 << 16  # of JSON lines that are read for their columns


@dataclass(frozen=True)
class Kind:
    """The columns of a file, by its footer or its first lines; for Parquet also types and rows."""

    columns: tuple[str, ...]
    schema: pa.Schema | None = None
    rows: int = 0
    lines: int = 0  # complete objects at the beginning of JSON lines
    problem: str = ""  # why the file must not be read

    @property
    def key(self) -> Hashable:
        """The same for all files of a kind."""
        return self.columns if self.schema is None else self.schema


def kinds_of(paths: Sequence[Path]) -> list[Kind | None]:
    """The kind of each file; None where it needs a survey of the file."""
    with ThreadPoolExecutor(THREADS) as pool:
        kinds = list(pool.map(kind_of, paths))
    shared: dict[Hashable, Kind] = {}  # a schema per kind, not per file, to save memory

    def slim(kind: Kind) -> Kind:
        first = shared.setdefault(kind.key, kind)
        return replace(kind, columns=first.columns, schema=first.schema)

    return [kind and slim(kind) for kind in kinds]


def kind_of(path: Path) -> Kind | None:
    """The kind of a file; None where it needs a survey of the file."""
    with suppress(ValueError, *BROKEN):
        if is_json_lines(path.name):
            return _of_lines(path)
        with pq.ParquetFile(path) as file:
            schema, rows = file.schema_arrow.remove_metadata(), file.metadata.num_rows
        if len(set(schema.names)) == len(schema.names):
            return Kind(tuple(schema.names), schema, rows)
    return None


def _of_lines(path: Path) -> Kind | None:
    """The kind of a JSON lines file, by its first lines."""
    codec = next((name for ending, name in CODECS.items() if path.name.lower().endswith(ending)), None)
    with pa.OSFile(str(path)) as raw, pa.CompressedInputStream(raw, codec) if codec else raw as stream:
        head: bytes = stream.read(FEW_BYTES)
    lines = [line for line in head.split(b"\n") if line.strip()]
    is_cut = len(head) == FEW_BYTES and len(lines) > 1
    columns: dict[str, None] = {}
    for k, line in enumerate(lines):
        try:
            fields = json.loads(line)
        except RecursionError:  # pyarrow may crash on such a line
            return Kind((), problem=f"line {k + 1} with text is nested too deeply")
        except ValueError:
            if is_cut and line is lines[-1]:
                break
            raise
        if not isinstance(fields, dict):
            return None
        columns |= dict.fromkeys(fields)
    return Kind(tuple(columns), None, 0, len(lines) - is_cut) if lines else None


def spread(values: Sequence[T], most: int) -> Sequence[T]:
    """At most `most` of the values, evenly spaced, including the first."""
    return values if len(values) <= most else [values[k * len(values) // most] for k in range(most)]


def sample_groups(groups: Iterable[Sequence[int]], kinds: Sequence[Kind | None], each: int, most: int) -> set[int]:
    """Sample up to `each` of every group, about `most` in all; with more groups than that, at least one per kind."""
    queue = list(groups)
    if len(queue) > most:
        firsts = {kind.key if (kind := kinds[group[0]]) else None: group for group in reversed(queue)}
        queue = [*spread(list(firsts.values()), most), *spread(queue, max(1, most - len(firsts)))]
    each = max(1, min(each, most // max(1, len(queue))))
    return {k for group in queue for k in spread(group, each)}

"""Parts: files of the ledger, each written whole and known by its digest and its hash."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.corpus.units import Unit
from curate.storage.files import committed, sha256_of

PART_ROW_GROUP = 1 << 17


@dataclass(frozen=True)
class Part:
    """A committed file of the run: signals of some units, decisions, or an output shard."""

    group: str
    digest: str
    path: str  # relative to the run directory
    rows: int
    bytes: int
    sha256: str
    units: tuple[Unit, ...] = ()
    tokens: int = 0  # of an output shard
    # Of group `documents`: for each unit, xxh3-128 over its documents' hashes. Of `pairs`: the signatures' digest.
    contents: tuple[str, ...] = ()


def write_part(run: Path, group: str, digest: str, name: str, table: pa.Table, **more: Any) -> Part:  # noqa: ANN401
    """Commit a table of the ledger as one Parquet file with fixed row groups.

    Columns of fixed-size binary and of lists hold hashes, which neither dictionaries nor compression make smaller.
    """
    path = Path("ledger") / _folder(group) / f"{digest[:8]}-{name}.parquet"
    options: dict[str, Any] = {"compression": "zstd"}
    fixed = [field.name for field in table.schema if pa.types.is_fixed_size_binary(field.type)]
    lists = [field.name for field in table.schema if pa.types.is_large_list(field.type)]
    if random := [*fixed, *(f"{name}.list.element" for name in lists)]:
        others = [name for name in table.schema.names if name not in (*fixed, *lists)]
        compression = dict.fromkeys(others, "zstd") | dict.fromkeys(random, "none")
        options = {"compression": compression, "use_dictionary": others, "write_statistics": others}
    with committed(run / path) as aside:
        pq.write_table(table.combine_chunks(), aside, row_group_size=PART_ROW_GROUP, **options)
    return finished_part(run, group, digest, path, len(table), **more)


def rebuffered(tables: Iterable[pa.Table | pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """The same rows as tables of `rows` rows each (the last may be shorter): bytes must not depend on batch sizes."""
    held: list[pa.Table] = []
    count = 0
    for batch in tables:
        table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
        while count + len(table) >= rows:
            yield pa.concat_tables([*held, table.slice(0, rows - count)])
            table = table.slice(rows - count)
            held, count = [], 0
        if len(table):
            held.append(table)
            count += len(table)
    if held:
        yield pa.concat_tables(held)


def finished_part(run: Path, group: str, digest: str, path: Path, rows: int, **more: Any) -> Part:  # noqa: ANN401
    """A committed file as a part, with its size and hash."""
    full = run / path
    return Part(group, digest, path.as_posix(), rows, full.stat().st_size, sha256_of(full), **more)


def is_intact(run: Path, part: Part) -> bool:
    """Whether a part's file is there as it was written, bit for bit: what is taken up again must not be damaged."""
    path = run / part.path
    try:
        return path.stat().st_size == part.bytes and sha256_of(path) == part.sha256
    except OSError:
        return False


def intact_paths(run: Path, parts: Sequence[Part]) -> set[str]:
    """The paths of those parts that are whole; several files are read at once."""
    with ThreadPoolExecutor() as pool:
        whole = pool.map(partial(is_intact, run), parts)
        return {part.path for part, found in zip(parts, whole, strict=True) if found}


def _folder(group: str) -> str:
    return {"line_edits": "edits"}.get(group, group if group in ("edits", "decisions", "pairs") else f"signals/{group}")

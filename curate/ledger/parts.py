"""Parts: files of the ledger, each committed atomically and identified by digest and hash."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curate.corpus.units import Unit
from curate.storage.files import committed, sha256_of

PART_ROW_GROUP = 1 << 17


@dataclass(frozen=True)
class Part:
    """A committed file of a run: signals of some units, decisions, or an output shard."""

    group: str
    digest: str
    path: str  # relative to the run directory
    rows: int
    bytes: int
    sha256: str
    units: tuple[Unit, ...] = ()
    tokens: int = 0  # of an output shard
    # Group `documents`: for each unit, xxh3-128 over its documents' hashes. Group `pairs`: the signatures' digest.
    # Groups of scores: the digest of all that they depend on besides the documents.
    contents: tuple[str, ...] = ()


def write_part(
    run: Path,
    group: str,
    digest: str,
    name: str,
    table: pa.Table,
    units: tuple[Unit, ...] = (),
    contents: tuple[str, ...] = (),
) -> Part:
    """Commit a table of the ledger as one Parquet file with fixed row groups.

    Columns of fixed-size binary and of lists contain hashes, which are incompressible: no dictionary, no compression.
    """
    path = Path("ledger") / _folder(group) / f"{digest[:8]}-{name}.parquet"
    binary = [field.name for field in table.schema if pa.types.is_fixed_size_binary(field.type)]
    lists = [field.name for field in table.schema if pa.types.is_large_list(field.type)]
    hashes = [*binary, *(f"{name}.list.element" for name in lists)]
    plain = [name for name in table.schema.names if name not in (*binary, *lists)]
    with committed(run / path) as aside:
        pq.write_table(
            table.combine_chunks(),
            aside,
            row_group_size=PART_ROW_GROUP,
            compression=dict.fromkeys(plain, "zstd") | dict.fromkeys(hashes, "none") if hashes else "zstd",
            use_dictionary=plain if hashes else True,
            write_statistics=plain if hashes else True,
        )
    part = finished_part(run, group, digest, path, len(table))
    return replace(part, units=units, contents=contents)


def rebuffered(tables: Iterable[pa.Table | pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """The same rows as tables of `rows` rows each (the last may be shorter), so bytes do not depend on batch sizes."""
    pending: list[pa.Table] = []
    count = 0
    for batch in tables:
        table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
        while count + len(table) >= rows:
            yield pa.concat_tables([*pending, table.slice(0, rows - count)])
            table = table.slice(rows - count)
            pending, count = [], 0
        if len(table):
            pending.append(table)
            count += len(table)
    if pending:
        yield pa.concat_tables(pending)


def finished_part(run: Path, group: str, digest: str, path: Path, rows: int, tokens: int = 0) -> Part:
    """The part of a committed file, with its size and hash."""
    full = run / path
    return Part(
        group=group,
        digest=digest,
        path=path.as_posix(),
        rows=rows,
        bytes=full.stat().st_size,
        sha256=sha256_of(full),
        tokens=tokens,
    )


def is_intact(run: Path, part: Part) -> bool:
    """Whether a part's file is there, bit for bit as it was written; only such parts are reused."""
    path = run / part.path
    try:
        return path.stat().st_size == part.bytes and sha256_of(path) == part.sha256
    except OSError:
        return False


def intact_paths(run: Path, parts: Sequence[Part]) -> set[str]:
    """The paths of the intact parts; several files are hashed at once."""
    with ThreadPoolExecutor() as pool:
        intact = pool.map(partial(is_intact, run), parts)
        return {part.path for part, ok in zip(parts, intact, strict=True) if ok}


def _folder(group: str) -> str:
    return {"line_edits": "edits"}.get(group, group if group in ("edits", "decisions", "pairs") else f"signals/{group}")

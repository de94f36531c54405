"""The last map: kept rows, with their edits made, as output shards of one frozen schema."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_128

from curate.corpus import check_unchanged, read_rows
from curate.decide import DECISIONS
from curate.edits import apply_edits
from curate.errors import InputError
from curate.files import committed
from curate.ledger import Ledger, Part, finished_part
from curate.measure import Source

DATA = "data"
ROW_GROUP_BYTES = 32 << 20
ROW_GROUP_ROWS = 1 << 14
OURS = {"doc_id": pa.string(), "n_tokens": pa.int64()}


@dataclass(frozen=True)
class ShardTask:
    """One output shard: which decisions to read, and the frozen schema to write."""

    run: str
    shard: int
    name: str
    bytes: int  # of text
    digest: str
    decisions: tuple[str, ...]
    edits: tuple[str, ...]
    sources: Mapping[int, Source]
    text: str
    schema: pa.Schema  # of the input columns

    def __str__(self) -> str:
        """Where the task works, for messages."""
        return f"{DATA}/{self.name}"


def output_schema(inputs: pa.Schema) -> pa.Schema:
    """The frozen schema: input columns as they came, then ours, prefixed where the input has such a name."""
    return pa.schema([*inputs, *(pa.field(our_name(name, inputs), kind) for name, kind in OURS.items())])


def our_name(name: str, inputs: pa.Schema) -> str:
    """The output column for one of our names."""
    return f"curate_{name}" if name in inputs.names else name


def plan_shards(
    ledger: Ledger, digest: str, sources: Mapping[int, Source], text: str, inputs: pa.Schema, edits: Sequence[Part]
) -> list[ShardTask]:
    """One task for each shard that the decisions name."""
    holding: dict[int, list[str]] = {}
    sizes: dict[int, int] = {}
    for part in ledger.of(DECISIONS):
        for shard, size in _shard_sizes(ledger.run / part.path).items():
            holding.setdefault(shard, []).append(part.path)
            sizes[shard] = sizes.get(shard, 0) + size
    edited = tuple(part.path for part in edits)
    tasks = []
    for shard in sorted(sizes):
        name = f"train-{shard:05d}-of-{len(sizes):05d}.parquet"
        tasks.append(
            ShardTask(
                str(ledger.run), shard, name, sizes[shard], digest, tuple(holding[shard]), edited, sources, text, inputs
            )
        )
    return tasks


def _shard_sizes(path: Path) -> dict[int, int]:
    """Bytes of text that a part of the decisions gives to each shard."""
    table = pq.read_table(path, columns=["shard", "n_bytes"], filters=[("shard", ">=", 0)])
    shards, places = np.unique(table["shard"].to_numpy(), return_inverse=True)
    sizes = np.bincount(places, weights=table["n_bytes"].to_numpy(), minlength=len(shards))
    return dict(zip(shards.tolist(), sizes.astype(int).tolist(), strict=True))


def write_shard(task: ShardTask) -> list[Part]:
    """Read the shard's documents in input order, make their edits, and commit the shard.

    Row groups are cut by the sizes of documents alone, so that the bytes do not depend on how inputs were read.
    """
    run = Path(task.run)
    columns = ["file_no", "row", "doc_id", "n_bytes", "n_tokens"]
    kept = pa.concat_tables(
        [pq.read_table(run / path, columns=columns, filters=[("shard", "=", task.shard)]) for path in task.decisions]
    )
    schema = output_schema(task.schema)
    path = Path(DATA) / task.name
    with committed(run / path) as aside, pq.ParquetWriter(aside, schema, compression="zstd") as writer:
        cuts = row_group_cuts(kept["n_bytes"].to_numpy())
        documents = _documents(task, kept)
        held: list[pa.Table] = []
        position = 0
        for stop in cuts:
            while sum(map(len, held)) < stop - position:
                held.append(next(documents))
            table = pa.concat_tables(held)
            group = _with_ours(table.slice(0, stop - position), kept.slice(position, stop - position), task.schema)
            writer.write_table(group.combine_chunks(), row_group_size=stop - position)
            held = [rest] if len(rest := table.slice(stop - position)) else []
            position = stop
    tokens = int(kept["n_tokens"].to_numpy().sum())
    return [finished_part(run, DATA, task.digest, path, len(kept), tokens=tokens)]


def row_group_cuts(sizes: np.ndarray) -> list[int]:
    """Ends of row groups of at most 16,384 documents or 32 MB of text, a larger document alone."""
    cuts: list[int] = []
    rows = held = 0
    for k, size in enumerate(sizes.tolist()):
        if rows and (rows == ROW_GROUP_ROWS or held + size > ROW_GROUP_BYTES):
            cuts.append(k)
            rows = held = 0
        rows += 1
        held += size
    return [*cuts, len(sizes)] if rows else cuts


def _documents(task: ShardTask, kept: pa.Table) -> Iterator[pa.Table]:
    """The kept rows with the input's columns, edited, in order."""
    file_nos, rows = kept["file_no"].to_numpy(), kept["row"].to_numpy()
    starts = np.flatnonzero(np.diff(file_nos, prepend=-1))
    for a, b in zip(starts, [*starts[1:], len(rows)], strict=True):
        file_no, wanted = int(file_nos[a]), rows[a:b]
        source = task.sources[file_no]
        path = Path(source.path)
        check_unchanged(path, source.size, source.mtime_ns)
        present = pq.read_schema(path).names
        columns = [name for name in task.schema.names if name in present]
        position, done = int(wanted[0]), 0
        for batch in read_rows(path, int(wanted[0]), int(wanted[-1]) + 1, columns):
            upto = int(np.searchsorted(wanted, position + len(batch)))
            if upto > done:
                here = wanted[done:upto]
                table = pa.Table.from_batches([batch]).take(pa.array(here - position))
                yield _edited(_fitted(table, task.schema, path), here, file_no, task)
            position += len(batch)
            done = upto


def _fitted(table: pa.Table, schema: pa.Schema, path: Path) -> pa.Table:
    """`table` in the frozen schema: missing columns null, types as unified."""
    columns = []
    for field in schema:
        if field.name not in table.schema.names:
            columns.append(pa.nulls(len(table), field.type))
            continue
        try:
            columns.append(table[field.name].cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(f"{path}: column {field.name!r} cannot become {field.type}: {error}") from None
    return pa.Table.from_arrays(columns, schema=schema)


def _edited(table: pa.Table, rows: np.ndarray, file_no: int, task: ShardTask) -> pa.Table:
    """`table` with the edits of its rows made in the text column."""
    if not task.edits:
        return table
    wanted = [("file_no", "=", file_no), ("row", ">=", int(rows[0])), ("row", "<=", int(rows[-1]))]
    edits = pq.read_table([Path(task.run) / path for path in task.edits], filters=wanted)
    places = np.searchsorted(rows, edits["row"].to_numpy())
    found = rows[np.minimum(places, len(rows) - 1)] == edits["row"].to_numpy()
    edits = edits.set_column(edits.schema.get_field_index("row"), "row", pa.array(places)).filter(pa.array(found))
    edits = edits.sort_by([("row", "ascending"), ("start", "ascending")])
    k = table.schema.get_field_index(task.text)
    text = apply_edits(table[task.text].combine_chunks(), edits).cast(table.schema.field(k).type)
    return table.set_column(k, table.schema.field(k), text)


def _with_ours(table: pa.Table, kept: pa.Table, inputs: pa.Schema) -> pa.Table:
    for name, kind in OURS.items():
        table = table.append_column(pa.field(our_name(name, inputs), kind), kept[name].cast(kind))
    return table


def content_of(parts: Sequence[Part]) -> dict[int, str]:
    """For each file_no, xxh3-128 over the content hashes of its units in order: what the manifest knows a file by."""
    found: dict[int, list[tuple[int, str]]] = {}
    for part in parts:
        for unit, content in zip(part.units, part.contents, strict=True):
            found.setdefault(unit.file_no, []).append((unit.start, content))
    return {no: xxh3_128("".join(c for _, c in sorted(units)).encode()).hexdigest() for no, units in found.items()}

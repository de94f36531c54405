"""The last map: kept rows, with their edits made, as output shards of one frozen schema."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from xxhash import xxh3_128

from curate.corpus import Unit, check_unchanged, read_rows
from curate.decide import DECISIONS, rebuffered
from curate.edits import apply_edits
from curate.errors import InputError
from curate.files import committed
from curate.ledger import Ledger, Part, finished_part
from curate.measure import Source

DATA = "data"
ROW_GROUP_BYTES = 32 << 20
ROW_GROUP_ROWS = 1 << 14
ROW_GROUP_STEP = 16
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
    edits: tuple[tuple[Unit, str], ...]  # each unit, and the part that holds its edits
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
    edited = tuple((unit, part.path) for part in edits for unit in part.units)
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

    Row groups are cut by the sizes of values alone, so that the bytes do not depend on how inputs were read.
    """
    run = Path(task.run)
    columns = ["file_no", "row", "doc_id", "n_bytes", "n_tokens"]
    kept = pa.concat_tables(
        [pq.read_table(run / path, columns=columns, filters=[("shard", "=", task.shard)]) for path in task.decisions]
    )
    schema = output_schema(task.schema)
    path = Path(DATA) / task.name
    with committed(run / path) as aside, pq.ParquetWriter(aside, schema, compression="zstd") as writer:
        position = 0
        for table in _row_groups(_documents(task, kept)):
            group = _with_ours(table, kept.slice(position, len(table)), task.schema).combine_chunks()
            writer.write_table(group, row_group_size=len(table))
            position += len(table)
    tokens = int(kept["n_tokens"].to_numpy().sum())
    return [finished_part(run, DATA, task.digest, path, len(kept), tokens=tokens)]


def _row_groups(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows as row groups of at most 16,384 rows or, in steps of sixteen rows, about 32 MB of values."""
    held: list[pa.Table] = []
    rows = size = 0
    for table in rebuffered(tables, ROW_GROUP_STEP):
        step = sum(payload(column) for column in table.columns)
        if held and (rows + len(table) > ROW_GROUP_ROWS or size + step > ROW_GROUP_BYTES):
            yield pa.concat_tables(held)
            held, rows, size = [], 0, 0
        held.append(table)
        rows += len(table)
        size += step
    if held:
        yield pa.concat_tables(held)


def payload(column: pa.ChunkedArray | pa.Array) -> int:
    """Bytes of a column's values, the same however it lies in memory."""
    if isinstance(column, pa.ChunkedArray):
        return sum(payload(chunk) for chunk in column.chunks)
    kind = column.type
    if (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    ):
        return pc.sum(pc.binary_length(column)).as_py() or 0
    if pa.types.is_struct(kind) and kind.num_fields:
        return sum(payload(child) for child in column.flatten())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return payload(column.flatten())
    return 8 * len(column)


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
    first, last = int(rows[0]), int(rows[-1])
    parts = dict.fromkeys(
        path for unit, path in task.edits if unit.file_no == file_no and unit.start <= last and unit.stop > first
    )
    if not parts:
        return table
    wanted = [("file_no", "=", file_no), ("row", ">=", first), ("row", "<=", last)]
    columns = ["row", "start", "end", "replacement"]
    edits = pq.read_table([Path(task.run) / path for path in parts], columns=columns, filters=wanted)
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

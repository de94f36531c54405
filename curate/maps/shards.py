"""The last map: kept rows, with their edits made, as output shards of one frozen schema."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from xxhash import xxh3_128

from curate.corpus.edits import apply_edits, sorted_edits
from curate.corpus.parquet import Source, read_documents
from curate.corpus.units import Unit
from curate.errors import InputError
from curate.ledger.ledger import Ledger
from curate.ledger.names import DATA, DECISIONS
from curate.ledger.parts import Part, finished_part, rebuffered
from curate.process.task_progress import report_progress
from curate.recipe.recipe import Recipe
from curate.storage.files import committed

ROW_GROUP_BYTES = 32 << 20
ROW_GROUP_ROWS = 1 << 14
ROW_GROUP_STEP = 16
OURS = {"doc_id": pa.string(), "n_tokens": pa.int64()}
BUDGETED = {"quality": pa.float32(), "rung": pa.int16(), "weight": pa.float32()}  # where a budget chose
MADE = {  # how a document was written: struct `written`, null for real ones
    "form": pa.string(), "prompt": pa.string(), "prompt_sha256": pa.string(), "model": pa.string(),
    "model_hash": pa.string(), "adapter": pa.string(), "adapter_hash": pa.string(), "seed": pa.int64(),
}  # fmt: skip
WRITTEN = {  # where a third tier may write documents
    "synthetic": pa.bool_(), "source_doc_id": pa.string(), "written": pa.struct(list(MADE.items())),
}  # fmt: skip


@dataclass(frozen=True)
class ShardTask:
    """One output shard: which decisions to read, and the frozen schema to write."""

    run: str
    shard: int
    name: str
    bytes: int  # of text
    digest: str
    decisions: tuple[str, ...]
    edits: tuple[tuple[str, tuple[Unit, ...]], ...]  # parts of the edits and what they cover
    sources: Mapping[int, Source]
    text: str
    schema: pa.Schema  # of the input columns
    ours: Mapping[str, pa.DataType]  # columns of the decisions that are added

    def __str__(self) -> str:
        """Where the task works, for messages."""
        return f"{DATA}/{self.name}"


def our_columns(recipe: Recipe) -> dict[str, pa.DataType]:
    """The columns of ours that stand in the output."""
    return columns_added(recipe.distill is not None, recipe.tier3 is not None)


def columns_added(budgeted: bool, augmented: bool) -> dict[str, pa.DataType]:
    """The same of a recipe with a budget, or with a third tier."""
    return OURS | (BUDGETED if budgeted else {}) | (WRITTEN if augmented else {})


def output_schema(inputs: pa.Schema, ours: Mapping[str, pa.DataType]) -> pa.Schema:
    """The frozen schema: input columns as they came, then ours, prefixed where the input has such a name."""
    return pa.schema([*inputs, *(pa.field(our_name(name, inputs), kind) for name, kind in ours.items())])


def our_name(name: str, inputs: pa.Schema) -> str:
    """The output column for one of our names: also where the input is the output of a run on another one's output."""
    while name in inputs.names:
        name = f"curate_{name}"
    return name


def plan_shards(
    ledger: Ledger, digest: str, sources: Mapping[int, Source], text: str, inputs: pa.Schema,
    ours: Mapping[str, pa.DataType], edits: Sequence[Part], more: int = 0,
) -> list[ShardTask]:  # fmt: skip
    """One task for each shard that the decisions name; `more` shards come after these."""
    holding: dict[int, list[str]] = {}
    sizes: dict[int, int] = {}
    for part in ledger.of(DECISIONS):
        for shard, size in _shard_sizes(ledger.run / part.path).items():
            holding.setdefault(shard, []).append(part.path)
            sizes[shard] = sizes.get(shard, 0) + size
    edited = tuple((part.path, part.units) for part in edits)
    tasks = []
    for shard in sorted(sizes):
        name = shard_name(shard, len(sizes) + more)
        tasks.append(
            ShardTask(
                str(ledger.run),
                shard,
                name,
                sizes[shard],
                digest,
                tuple(holding[shard]),
                edited,
                sources,
                text,
                inputs,
                ours,
            )
        )
    return tasks


def shard_name(shard: int, shards: int) -> str:
    """The file of a shard."""
    return f"train-{shard:05d}-of-{shards:05d}.parquet"


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
    columns = ["file_no", "row", "n_bytes", *(name for name in task.ours if name not in WRITTEN)]
    kept = pa.concat_tables(
        [pq.read_table(run / path, columns=columns, filters=[("shard", "=", task.shard)]) for path in task.decisions]
    )
    schema = output_schema(task.schema, task.ours)
    path = Path(DATA) / task.name
    with (
        report_progress(run, task.name) as tell,
        committed(run / path) as aside,
        pq.ParquetWriter(aside, schema, compression="zstd") as writer,
    ):
        position = 0
        for table in row_groups(_documents(task, kept)):
            group = _with_ours(table, kept.slice(position, len(table)), task).combine_chunks()
            writer.write_table(group, row_group_size=len(table))
            position += len(table)
            tell(position / max(1, len(kept)))
    tokens = int(kept["n_tokens"].to_numpy().sum())
    return [finished_part(run, DATA, task.digest, path, len(kept), tokens=tokens)]


def write_tables(path: Path, tables: Iterable[pa.Table]) -> int:
    """Commit tables of one schema as a Parquet file and return its rows; without a row no file is written.

    The bytes depend on the rows alone, not on how they were cut into tables. Memory is that of one row group.
    """
    groups = row_groups(tables)
    if (group := next(groups, None)) is None:
        return 0
    rows = 0
    with committed(path) as aside, pq.ParquetWriter(aside, group.schema, compression="zstd") as writer:
        while group is not None:
            writer.write_table(group.combine_chunks(), row_group_size=len(group))
            rows += len(group)
            group = next(groups, None)
    return rows


def row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
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
        edits = edits_of(task, file_no, int(wanted[0]), int(wanted[-1]))
        position, done = int(wanted[0]), 0
        for batch in read_documents(source, int(wanted[0]), int(wanted[-1]) + 1, task.schema.names):
            upto = int(np.searchsorted(wanted, position + len(batch)))
            if upto > done:
                here = wanted[done:upto]
                table = pa.Table.from_batches([batch]).take(pa.array(here - position))
                yield with_edits(fitted(table, task.schema, source.location), here, edits, task.text)
            position += len(batch)
            done = upto


def fitted(table: pa.Table, schema: pa.Schema, path: str) -> pa.Table:
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


def edits_of(task: ShardTask, file_no: int, first: int, last: int) -> pa.Table | None:
    """The edits of rows `first` to `last` of a file, sorted by place; None where there can be none."""
    run = Path(task.run)
    covering = [run / path for path, units in task.edits
                if any(u.file_no == file_no and u.start <= last and u.stop > first for u in units)]  # fmt: skip
    if not covering:
        return None
    wanted = [("file_no", "=", file_no), ("row", ">=", first), ("row", "<=", last)]
    table = pq.read_table(covering, columns=["row", "start", "end", "replacement"], filters=wanted)
    return sorted_edits(table)


def with_edits(table: pa.Table, rows: np.ndarray, edits: pa.Table | None, column: str) -> pa.Table:
    """`table`, which holds `rows` of a file, with their edits made in the text column."""
    if edits is None:
        return table
    edited = edits["row"].to_numpy()
    first, last = np.searchsorted(edited, rows[0]), np.searchsorted(edited, rows[-1], "right")
    here = edits.slice(first, last - first)
    places = np.searchsorted(rows, here["row"].to_numpy())
    kept = rows[places] == here["row"].to_numpy()
    here = here.set_column(0, "row", pa.array(places)).filter(pa.array(kept))
    k = table.schema.get_field_index(column)
    text = apply_edits(table[column].combine_chunks(), here).cast(table.schema.field(k).type)
    return table.set_column(k, table.schema.field(k), text)


def _with_ours(table: pa.Table, kept: pa.Table, task: ShardTask) -> pa.Table:
    real = {"synthetic": pa.repeat(pa.scalar(False), len(kept))}
    for name, kind in task.ours.items():
        values = real.get(name, pa.nulls(len(kept), kind)) if name in WRITTEN else kept[name].cast(kind)
        table = table.append_column(pa.field(our_name(name, task.schema), kind), values)
    return table


def content_of(parts: Sequence[Part]) -> dict[int, str]:
    """For each file_no, xxh3-128 over the content hashes of its units in order: what the manifest knows a file by."""
    found: dict[int, list[tuple[int, str]]] = {}
    for part in parts:
        for unit, content in zip(part.units, part.contents, strict=True):
            found.setdefault(unit.file_no, []).append((unit.start, content))
    return {no: xxh3_128("".join(c for _, c in sorted(units)).encode()).hexdigest() for no, units in found.items()}

"""The last map: kept documents, with their edits applied, as output shards of one frozen schema."""

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
ADDED_COLUMNS = {"doc_id": pa.string(), "n_tokens": pa.int64()}
WEIGHT = "weight"
BUDGET_COLUMNS = {"quality": pa.float32(), "rung": pa.int16(), WEIGHT: pa.float32()}  # with a token budget
PROVENANCE = {  # fields of struct `written`: how a model wrote the document; null for real documents
    "form": pa.string(),
    "prompt": pa.string(),
    "prompt_sha256": pa.string(),
    "model": pa.string(),
    "model_hash": pa.string(),
    "adapter": pa.string(),
    "adapter_hash": pa.string(),
    "seed": pa.int64(),
}
SYNTHETIC_COLUMNS = {  # with a third tier
    "synthetic": pa.bool_(),
    "source_doc_id": pa.string(),
    "written": pa.struct(list(PROVENANCE.items())),
}


@dataclass(frozen=True, kw_only=True)
class Output:
    """What all shards of a run's output share."""

    digest: str
    sources: Mapping[int, Source]  # by file_no
    text: str  # the text column
    inputs: pa.Schema  # the input's columns
    added: Mapping[str, pa.DataType]  # columns of the decisions
    edits: tuple[Part, ...]  # parts with edits to apply

    @property
    def schema(self) -> pa.Schema:
        """The frozen schema of the shards."""
        return output_schema(self.inputs, self.added)


@dataclass(frozen=True)
class ShardTask:
    """One output shard to write."""

    run: str
    shard: int
    name: str
    bytes: int  # of text
    decisions: tuple[str, ...]  # paths of the parts that name its documents
    output: Output

    def __str__(self) -> str:
        """The shard's path within the run, for messages."""
        return f"{DATA}/{self.name}"


def added_columns(recipe: Recipe) -> dict[str, pa.DataType]:
    """The columns that a recipe's output has in addition to the input's."""
    return added_columns_of(recipe.distill is not None, recipe.tier3 is not None, recipe.dedup.weighs)


def added_columns_of(budgeted: bool, augmented: bool, weighed: bool) -> dict[str, pa.DataType]:
    """The added columns of a recipe with or without a budget, a third tier, and weights of near duplicates."""
    weights = BUDGET_COLUMNS if budgeted else {WEIGHT: pa.float32()} if weighed else {}
    return ADDED_COLUMNS | weights | (SYNTHETIC_COLUMNS if augmented else {})


def output_schema(inputs: pa.Schema, added: Mapping[str, pa.DataType]) -> pa.Schema:
    """The frozen schema: the input's columns, then the added ones, prefixed where a name is taken."""
    return pa.schema([*inputs, *(pa.field(output_name(name, inputs), kind) for name, kind in added.items())])


def output_name(name: str, inputs: pa.Schema) -> str:
    """The output's name of an added column; distinct even where the input is itself the output of runs."""
    while name in inputs.names:
        name = f"curate_{name}"
    return name


def plan_shards(ledger: Ledger, output: Output, extra: int = 0) -> list[ShardTask]:
    """One task for each shard that the decisions name; the output has `extra` shards after these."""
    decisions: dict[int, list[str]] = {}
    sizes: dict[int, int] = {}
    for part in ledger.of(DECISIONS):
        for shard, size in _shard_sizes(ledger.run / part.path).items():
            decisions.setdefault(shard, []).append(part.path)
            sizes[shard] = sizes.get(shard, 0) + size
    return [
        ShardTask(
            run=str(ledger.run),
            shard=shard,
            name=shard_name(shard, len(sizes) + extra),
            bytes=sizes[shard],
            decisions=tuple(decisions[shard]),
            output=output,
        )
        for shard in sorted(sizes)
    ]


def shard_name(shard: int, shards: int) -> str:
    """The file name of a shard."""
    return f"train-{shard:05d}-of-{shards:05d}.parquet"


def _shard_sizes(path: Path) -> dict[int, int]:
    """Bytes of text that a part of the decisions assigns to each shard."""
    table = pq.read_table(path, columns=["shard", "n_bytes"], filters=[("shard", ">=", 0)])
    shards, inverse = np.unique(table["shard"].to_numpy(), return_inverse=True)
    sizes = np.bincount(inverse, weights=table["n_bytes"].to_numpy(), minlength=len(shards))
    return dict(zip(shards.tolist(), sizes.astype(int).tolist(), strict=True))


def write_shard(task: ShardTask) -> list[Part]:
    """Read the shard's documents in input order, apply their edits, and commit the shard.

    Row groups are cut by the sizes of values alone, so the bytes do not depend on how inputs were read.
    """
    run, output = Path(task.run), task.output
    columns = ["file_no", "row", "n_bytes", *(name for name in output.added if name not in SYNTHETIC_COLUMNS)]
    kept = pa.concat_tables(
        [pq.read_table(run / path, columns=columns, filters=[("shard", "=", task.shard)]) for path in task.decisions]
    )
    path = Path(DATA) / task.name
    with (
        report_progress(run, task.name) as report,
        committed(run / path) as aside,
        pq.ParquetWriter(aside, output.schema, compression="zstd") as writer,
    ):
        position = 0
        for table in row_groups(_documents(task, kept)):
            group = _with_added_columns(table, kept.slice(position, len(table)), output).combine_chunks()
            writer.write_table(group, row_group_size=len(table))
            position += len(table)
            report(position / max(1, len(kept)))
    tokens = int(kept["n_tokens"].to_numpy().sum())
    return [finished_part(run, DATA, output.digest, path, len(kept), tokens=tokens)]


def write_tables(path: Path, tables: Iterable[pa.Table]) -> int:
    """Commit tables of one schema as a Parquet file and return its rows; write no file for no rows.

    The bytes depend on the rows alone, not on how they were split into tables. Memory use is one row group.
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
    steps: list[pa.Table] = []
    rows = size = 0
    for table in rebuffered(tables, ROW_GROUP_STEP):
        step_size = sum(value_bytes(column) for column in table.columns)
        if steps and (rows + len(table) > ROW_GROUP_ROWS or size + step_size > ROW_GROUP_BYTES):
            yield pa.concat_tables(steps)
            steps, rows, size = [], 0, 0
        steps.append(table)
        rows += len(table)
        size += step_size
    if steps:
        yield pa.concat_tables(steps)


def value_bytes(column: pa.ChunkedArray | pa.Array) -> int:
    """Bytes of a column's values, independent of its memory layout."""
    if isinstance(column, pa.ChunkedArray):
        return sum(value_bytes(chunk) for chunk in column.chunks)
    kind = column.type
    if (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    ):
        return pc.sum(pc.binary_length(column)).as_py() or 0
    if pa.types.is_struct(kind) and kind.num_fields:
        return sum(value_bytes(child) for child in column.flatten())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return value_bytes(column.flatten())
    return 8 * len(column)


def _documents(task: ShardTask, kept: pa.Table) -> Iterator[pa.Table]:
    """The kept rows in order, with the input's columns and with their edits applied."""
    run, output = Path(task.run), task.output
    file_nos, rows = kept["file_no"].to_numpy(), kept["row"].to_numpy()
    starts = np.flatnonzero(np.diff(file_nos, prepend=-1))
    for a, b in zip(starts, [*starts[1:], len(rows)], strict=True):
        yield from _documents_of_file(run, output, int(file_nos[a]), rows[a:b])


def _documents_of_file(run: Path, output: Output, file_no: int, rows: np.ndarray) -> Iterator[pa.Table]:
    """The kept rows of one file, batch by batch."""
    source = output.sources[file_no]
    first, last = int(rows[0]), int(rows[-1])
    edits = edits_in_rows(run, output.edits, file_no, first, last)
    position, done = first, 0
    for batch in read_documents(source, first, last + 1, output.inputs.names):
        end = int(np.searchsorted(rows, position + len(batch)))
        if end > done:
            batch_rows = rows[done:end]
            table = pa.Table.from_batches([batch]).take(pa.array(batch_rows - position))
            yield with_edits(cast_to_schema(table, output.inputs, source.location), batch_rows, edits, output.text)
        position += len(batch)
        done = end


def cast_to_schema(table: pa.Table, schema: pa.Schema, path: str) -> pa.Table:
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


def edits_in_rows(run: Path, edits: Sequence[Part], file_no: int, first: int, last: int) -> pa.Table | None:
    """The edits of rows `first` to `last` of a file, sorted by position; None if no part covers these rows."""
    paths = [run / part.path for part in edits if _covers(part, file_no, first, last)]
    if not paths:
        return None
    in_rows = [("file_no", "=", file_no), ("row", ">=", first), ("row", "<=", last)]
    table = pq.read_table(paths, columns=["row", "start", "end", "replacement"], filters=in_rows)
    return sorted_edits(table)


def _covers(part: Part, file_no: int, first: int, last: int) -> bool:
    return any(unit.file_no == file_no and unit.start <= last and unit.stop > first for unit in part.units)


def with_edits(table: pa.Table, rows: np.ndarray, edits: pa.Table | None, column: str) -> pa.Table:
    """`table`, the `rows` of a file, with the edits of these rows applied to the text column."""
    if edits is None:
        return table
    edited = edits["row"].to_numpy()
    first, last = np.searchsorted(edited, rows[0]), np.searchsorted(edited, rows[-1], "right")
    in_table = edits.slice(first, last - first)
    indices = np.searchsorted(rows, in_table["row"].to_numpy())
    kept = rows[indices] == in_table["row"].to_numpy()
    in_table = in_table.set_column(0, "row", pa.array(indices)).filter(pa.array(kept))
    k = table.schema.get_field_index(column)
    text = apply_edits(table[column].combine_chunks(), in_table).cast(table.schema.field(k).type)
    return table.set_column(k, table.schema.field(k), text)


def _with_added_columns(table: pa.Table, kept: pa.Table, output: Output) -> pa.Table:
    constants = {"synthetic": pa.repeat(pa.scalar(False), len(kept))}
    for name, kind in output.added.items():
        values = constants.get(name, pa.nulls(len(kept), kind)) if name in SYNTHETIC_COLUMNS else kept[name].cast(kind)
        values = pc.fill_null(values, 1) if name == WEIGHT else values
        table = table.append_column(pa.field(output_name(name, output.inputs), kind), values)
    return table


def content_hashes(parts: Sequence[Part]) -> dict[int, str]:
    """For each file_no, xxh3-128 over the content hashes of its units in order: the file's hash in the manifest."""
    units_of: dict[int, list[tuple[int, str]]] = {}
    for part in parts:
        for unit, content in zip(part.units, part.contents, strict=True):
            units_of.setdefault(unit.file_no, []).append((unit.start, content))
    return {
        file_no: xxh3_128("".join(content for _, content in sorted(units)).encode()).hexdigest()
        for file_no, units in units_of.items()
    }

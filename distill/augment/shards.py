"""Write accepted candidates as output shards, from the shards of the run that judged them."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.distill.augment.candidates import PREFIX
from curate.ledger.augmented import Augmented
from curate.ledger.names import DATA, SYNTHETIC
from curate.ledger.parts import Part, finished_part
from curate.maps.shards import PROVENANCE, added_columns, cast_to_schema, output_name, output_schema, row_groups
from curate.recipe.recipe import Recipe
from curate.storage.files import committed

READ_ROWS = 1024


def write_accepted(
    recipe: Recipe, run: Path, augmented: Augmented, inputs: pa.Schema, names: Mapping[Path, str], digest: str
) -> list[Part]:
    """Write the accepted documents of each shard in the output schema, under the name from `names`.

    Columns of the input are copied from the original of each document, except text and id.
    """
    accepted = _accepted_ids(augmented)
    return [
        _write_shard(recipe=recipe, run=run, shard=shard, name=name, accepted=accepted, inputs=inputs, digest=digest)
        for shard, name in names.items()
    ]


def shards_with_accepted(augmented: Augmented, inputs: pa.Schema) -> list[Path]:
    """The shards of the judged run that have accepted documents."""
    accepted, doc_id = _accepted_ids(augmented), output_name("doc_id", inputs)
    shards = [augmented.folder / path for path in augmented.facts["judged"]]
    return [
        shard for shard in shards if pc.any(pc.is_in(pq.read_table(shard, columns=[doc_id])[doc_id], accepted)).as_py()
    ]


def _accepted_ids(augmented: Augmented) -> pa.Array:
    table = pq.read_table(augmented.folder / SYNTHETIC, columns=["doc_id", "accepted"])
    return table.filter(table["accepted"])["doc_id"].combine_chunks()


def _write_shard(
    recipe: Recipe, run: Path, shard: Path, name: str, accepted: pa.Array, inputs: pa.Schema, digest: str
) -> Part:
    own_columns = added_columns(recipe)
    path, tokens, rows = Path(DATA) / name, 0, 0
    with (
        committed(run / path) as aside,
        pq.ParquetWriter(aside, output_schema(inputs, own_columns), compression="zstd") as writer,
    ):
        for table in row_groups(_accepted_rows(shard, accepted, output_name("doc_id", inputs))):
            writer.write_table(
                _as_output(table, recipe, inputs, str(shard)).combine_chunks(), row_group_size=len(table)
            )
            rows += len(table)
            tokens += pc.sum(table[output_name("n_tokens", inputs)]).as_py() or 0
    return finished_part(run, DATA, digest, path, rows, tokens=tokens)


def _accepted_rows(shard: Path, accepted: pa.Array, doc_id: str) -> Iterator[pa.Table]:
    with pq.ParquetFile(shard) as file:
        for batch in file.iter_batches(READ_ROWS):
            table = pa.Table.from_batches([batch])
            yield table.filter(pc.is_in(table[doc_id], accepted))


def _as_output(table: pa.Table, recipe: Recipe, inputs: pa.Schema, path: str) -> pa.Table:
    """Convert rows of the judged run to the output schema."""
    ids = table[output_name("doc_id", inputs)]
    output = cast_to_schema(table.select(inputs.names), inputs, path)
    if recipe.input.id:
        k = inputs.get_field_index(recipe.input.id)
        kind = inputs.field(k).type
        is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        output = output.set_column(k, inputs.field(k), ids.cast(kind) if is_text else pa.nulls(len(table), kind))
    values_by_name = {
        "doc_id": ids,
        "n_tokens": table[output_name("n_tokens", inputs)],
        "synthetic": pa.repeat(pa.scalar(True), len(table)),
        "source_doc_id": table[f"{PREFIX}source_doc_id"],
        "written": pa.StructArray.from_arrays(
            [table[PREFIX + name].combine_chunks().cast(kind) for name, kind in PROVENANCE.items()], list(PROVENANCE)
        ),
    }
    for name, kind in added_columns(recipe).items():
        values = values_by_name[name].cast(kind) if name in values_by_name else pa.nulls(len(table), kind)
        output = output.append_column(pa.field(output_name(name, inputs), kind), values)
    return output

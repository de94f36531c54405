"""Pairs for preference training: an original and what an attack made of it."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import RunError
from curate.files import committed
from curate.inspect import connect
from curate.ledger import rebuffered
from curate.manifests.formats import Exported, Format

ROW_GROUP = 1 << 13
BATCH_ROWS = 1024


def finish(exported: Exported) -> list[Path]:
    """One Parquet file with the columns that TRL's DPOTrainer reads.

    Errors: RunError where a run has no pairs.
    """
    path = exported.folder / "train.parquet"
    write_pairs([Path(source.run) for source in exported.sources], path)
    return [path]


def runs_with_pairs(exported: Exported) -> list[Path]:
    """The exported runs that have preference pairs."""
    return [run for source in exported.sources if has_pairs(run := Path(source.run))]


def has_pairs(run: Path) -> bool:
    """Whether a run has preference pairs."""
    with connect(run) as connection:
        try:
            return bool(connection.execute("SELECT 1 FROM preference_pairs LIMIT 1").fetchall())
        except duckdb.CatalogException:
            return False


def write_pairs(runs: list[Path], path: Path) -> None:
    """The preference pairs of some runs, one after the other.

    Errors: RunError where one has none.
    """
    writer: pq.ParquetWriter | None = None
    with committed(path) as aside:
        try:
            for run in runs:
                with connect(run) as connection:
                    reader = _pairs(run, connection).to_arrow_reader(BATCH_ROWS)
                    writer = writer or pq.ParquetWriter(aside, reader.schema, compression="zstd")
                    for table in _of_one_size(reader):
                        writer.write_table(table)
        finally:
            if writer:
                writer.close()


def _pairs(run: Path, connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
    """The rows, in an order that depends on nothing else."""
    try:
        pairs = connection.sql(
            'SELECT prompt, chosen, rejected, doc_id, attack, family, "by" FROM preference_pairs '
            'ORDER BY doc_id, round, attack, "by", rejected'
        )
    except duckdb.CatalogException:
        raise RunError(f"{run}: has no preference pairs: its recipe has no tier2, which makes them") from None
    if not pairs.limit(1).fetchall():
        raise RunError(f"{run}: has no preference pairs: no round of attacks was kept (table rounds)")
    return pairs


def _of_one_size(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    return (table.combine_chunks() for table in rebuffered(batches, ROW_GROUP))


FORMAT = Format("dpo", "TRL's DPOTrainer", finish=finish, of_shards=False, chats=True)

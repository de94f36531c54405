"""curate's side of the comparisons, and what reading and writing take by themselves.

Usage: python ours.py JOB CORPUS OUT    write the rows that are dropped, as JSON

CORPUS has documents.parquet. JOB is one of

near:VERIFY    signatures, and the search among them, as `curate run` has them: no measurements, index or output
run:RECIPE     `curate run` with a recipe's fields as JSON: measurements, ledger, index, output, all of it
pyarrow        read the file and write it again with zstd; nothing is dropped
duckdb         the same by COPY
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

BATCH = 1_024


def main(job: str, corpus: str, out: str) -> None:
    """Do what the usage says, in the working directory."""
    kind, _, rest = job.partition(":")
    dropped = {"near": near, "run": run, "pyarrow": rewrite, "duckdb": copy}[kind](
        Path(corpus) / "documents.parquet", rest
    )
    Path(out).write_text(json.dumps(dropped))


def near(documents: Path, verify: str) -> list[int]:
    """What a run does about near duplicates, from the file to the rows that it drops."""
    from curate.decide.schema import create
    from curate.dedup.near.stage import NearTask, Signatures, find_near
    from curate.kernels.minhash import minhash
    from curate.ledger.ledger import Ledger
    from curate.ledger.names import SIGNATURES
    from curate.ledger.parts import write_part
    from curate.ledger.views import scratch_database
    from curate.recipe.dedup import Near

    settings, here = Near(verify=verify), Path.cwd()
    file = pq.ParquetFile(documents, pre_buffer=False)
    batches = file.iter_batches(BATCH, columns=["text"])
    signatures = pa.chunked_array([minhash(some["text"], settings.permutations, settings.shingle) for some in batches])
    parts = [write_part(here, SIGNATURES, "x", "00000", keyed(np.arange(len(signatures)), "minhash", signatures))]

    with scratch_database(Ledger(here), threads=2) as database:
        database.execute(
            f"CREATE TEMP VIEW survivors AS SELECT 0 AS file_no, range AS row FROM range({len(signatures)})"
        )
        create("near", database)
        task = NearTask(
            section=settings,
            survivor_order="row",
            best_copies=False,
            signatures=[Signatures(here, parts)],
            measured="x",
        )
        find_near(task, Documents(file, here, settings.shingle), here, "x", database)
        return [row for (row,) in database.execute("SELECT row FROM near ORDER BY row").fetchall()]


@dataclass(frozen=True)
class Documents:
    """Runs tasks in this process, and reads the documents again that an estimate leaves in doubt."""

    file: pq.ParquetFile
    folder: Path
    shingle: int

    def each(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
        """Run tasks in their order."""
        return [function(task) for task in tasks]

    def shingle_sets(self, documents: pa.Table) -> Sequence[Path]:
        """The shingles of documents, which are sorted by row."""
        from curate.kernels.minhash import shingle_sets
        from curate.ledger.names import SHINGLES
        from curate.ledger.parts import write_part

        rows, sets = documents["row"].to_numpy(), []
        for k, batch in enumerate(self.file.iter_batches(BATCH, columns=["text"])):
            some = rows[slice(*np.searchsorted(rows, (k * BATCH, (k + 1) * BATCH)))] - k * BATCH
            sets.append(shingle_sets(batch["text"].take(pa.array(some)), self.shingle))
        part = write_part(self.folder, SHINGLES, "x", "00000", keyed(rows, SHINGLES, pa.chunked_array(sets)))
        return [self.folder / part.path]


def keyed(rows: np.ndarray, column: str, values: pa.ChunkedArray) -> pa.Table:
    """A part of the ledger."""
    return pa.table({"file_no": np.zeros(len(rows), np.int32), "row": rows, column: values})


def run(documents: Path, fields: str) -> list[int]:
    """A whole run."""
    recipe = {"name": "peers", "output": "run", "input": {"paths": [str(documents)]}, "allow_empty": True}
    Path("recipe.yaml").write_text(json.dumps({**recipe, **json.loads(fields)}))
    subprocess.run([sys.executable, "-m", "curate", "run", "recipe.yaml", "--quiet"], check=True)
    with duckdb.connect("run/run.duckdb", read_only=True) as index:
        return [row for (row,) in index.execute("SELECT row FROM decisions WHERE NOT kept ORDER BY row").fetchall()]


def rewrite(documents: Path, _: str) -> list[int]:
    """Read and write with pyarrow."""
    file = pq.ParquetFile(documents)
    with pq.ParquetWriter("out.parquet", file.schema_arrow, compression="zstd") as writer:
        for group in range(file.num_row_groups):
            writer.write_table(file.read_row_group(group))
    return []


def copy(documents: Path, _: str) -> list[int]:
    """Read and write with DuckDB."""
    duckdb.sql(f"COPY (FROM '{documents}') TO 'out.parquet' (FORMAT parquet, COMPRESSION zstd)")
    return []


if __name__ == "__main__":
    main(*sys.argv[1:])

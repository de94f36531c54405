"""Measure near duplicates: how fast signatures are taken and decided, in what memory, and how many pairs are found.

Usage: python benchmarks/near_duplicates.py speed FOLDER...            signatures of the texts of Parquet files
       python benchmarks/near_duplicates.py scale [MILLIONS]           decisions on synthetic signatures (default: 20)
       python benchmarks/near_duplicates.py quality PAIRS FOLDER...    recall and precision against known similarities

PAIRS is a Parquet file with the columns id_a, id_b and jaccard_w5: the similarity of documents whose ids stand in the
column `id` of FOLDER. Figures are CPU seconds of all threads of the process, since machines are shared.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from timing import batches_in, least_of_five, parquet_in

from curate.decide.schema import create
from curate.dedup.near.stage import NearTask, Signatures, find_near
from curate.kernels.minhash import binary_rows, minhash
from curate.ledger.ledger import Ledger
from curate.ledger.names import SIGNATURES
from curate.ledger.parts import Part, write_part
from curate.ledger.run import connect
from curate.ledger.views import scratch_database
from curate.recipe.dedup import Near

DOCUMENT_BYTES = 2_700  # as the peers' corpus has them
PART_ROWS = 1 << 18
COPIES = 0.3  # of the synthetic documents
NEAR = Near()


def main(what: str, *rest: str) -> None:
    """Do what the usage says."""
    {"speed": speed, "scale": scale, "scaled": scaled, "quality": quality}[what](*rest)


def speed(*folders: str) -> None:
    """Print the speed of signatures."""
    batches = batches_in(folders)
    size = sum(batch.nbytes for batch in batches)
    seconds = least_of_five(lambda: [minhash(batch, NEAR.permutations, NEAR.shingle) for batch in batches])
    print(f"signatures of {sum(map(len, batches)):,} documents, {size / 1e6:,.0f} MB: ")
    print(
        f"{size / 1e6 / seconds:,.0f} MB per CPU second, or {size / DOCUMENT_BYTES / seconds:,.0f} documents of 2.7 kB"
    )


def scale(millions: str = "20") -> None:
    """Print what decisions on synthetic signatures take, in a process of their own."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        parts = synthetic(Path(folder), round(float(millions) * 1e6))
        listed = json.dumps([[part.path, part.rows] for part in parts])
        subprocess.run([sys.executable, __file__, "scaled", folder, listed], check=True)


def synthetic(run: Path, count: int) -> list[Part]:
    """Signatures of random documents, some copies of others of their part with a similarity from 0.5 to 1."""
    draw = np.random.default_rng(0)
    parts = []
    for start in range(0, count, PART_ROWS):
        rows = min(PART_ROWS, count - start)
        values = draw.integers(0, 1 << 32, (rows, NEAR.permutations), dtype=np.uint32)
        copies = np.flatnonzero(draw.random(rows) < COPIES)
        originals = draw.integers(0, rows, len(copies))
        same = draw.random((len(copies), NEAR.permutations)) < draw.uniform(0.5, 1, (len(copies), 1))
        values[copies] = np.where(same, values[originals], values[copies])
        table = pa.table({
            "file_no": np.full(rows, start // PART_ROWS, np.int32),
            "row": np.arange(rows),
            "minhash": binary_rows(values, np.zeros(rows, bool)),
        })  # fmt: skip
        parts.append(write_part(run, SIGNATURES, "synthetic", f"{start:012d}", table))
    return parts


def scaled(folder: str, listed: str) -> None:
    """Decide on the signatures in a folder, and print time and memory."""
    run = Path(folder)
    parts = [Part(SIGNATURES, "synthetic", path, rows, 0, "") for path, rows in json.loads(listed)]
    with scratch_database(Ledger(run), threads=2) as database:
        database.execute(
            "CREATE TEMP TABLE survivors (file_no INTEGER, position INTEGER, row BIGINT, coarse_score FLOAT)"
        )
        for k, part in enumerate(parts):
            database.execute(
                f"INSERT INTO survivors SELECT {k}, {k}, range, hash(range) % 1000 FROM range({part.rows})"
            )
        create("near", database)
        started, clock = time.process_time(), time.monotonic()
        task = NearTask(
            section=NEAR.model_copy(update={"verify": "signature"}),
            survivor_order="coarse_score DESC, position, row",
            best_copies=False,
            signatures=[Signatures(run, parts)],
            measured="synthetic",
        )
        found = find_near(task, SignaturesOnly(), run, "synthetic", database)
        seconds, clock = time.process_time() - started, time.monotonic() - clock
        [dropped] = database.execute("SELECT count(*) FROM near").fetchone() or [0]
    rows = sum(part.rows for part in parts)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    compared = sum(part.rows for part in found)
    print(f"{rows:,} signatures: {compared:,} pairs compared, {dropped:,} documents dropped; {seconds:,.1f} CPU s, ")
    print(f"{rows / seconds:,.0f} documents per CPU second, {clock:,.0f} s on the clock, at most {peak:,.0f} MB")


class SignaturesOnly:
    """Runs tasks in this process, whose CPU seconds are counted; there are no texts behind synthetic signatures."""

    def each(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
        """Run tasks in their order."""
        return [function(task) for task in tasks]

    def shingle_sets(self, documents: pa.Table) -> Sequence[Path]:
        """Refuse."""
        raise AssertionError(documents)


def quality(pairs: str, *folders: str) -> None:
    """Print recall and precision of what a run drops."""
    print(
        "| verify | pairs of 0.8 and more | of which both stay | recall | dropped | of known similarity | precision |"
    )
    print("|---|---|---|---|---|---|---|")
    for verify in ("signature", "border", "exact"):
        with tempfile.TemporaryDirectory() as scratch:
            recipe = Path(scratch) / "recipe.yaml"
            recipe.write_text(json.dumps({
                "name": "near", "output": f"{scratch}/run",
                "input": {"paths": [str(path) for path in parquet_in(folders)], "id": "id"},
                "dedup": {"exact": False, "keep": "first", "near": {"verify": verify}},
            }))  # fmt: skip
            subprocess.run([sys.executable, "-m", "curate", "run", str(recipe), "--quiet"], check=True, stdout=2)
            with connect(Path(scratch) / "run") as connection:
                print("|", " | ".join([verify, *against(connection, pairs)]), "|")


def against(connection: duckdb.DuckDBPyConnection, pairs: str) -> list[str]:
    """Cells: known pairs at the threshold, how many stay whole, dropped documents, and how many are like survivors."""
    known = f"(SELECT id_a, id_b, jaccard_w5 FROM read_parquet('{pairs}'))"
    found, missed = connection.execute(
        f"""SELECT count(*), count_if(a.kept AND b.kept) FROM {known}
        JOIN decisions a ON a.doc_id = id_a JOIN decisions b ON b.doc_id = id_b WHERE jaccard_w5 >= 0.8"""
    ).fetchone() or (0, 0)
    dropped, judged, right = connection.execute(
        f"""SELECT count(*), count(jaccard_w5), count_if(jaccard_w5 >= 0.8) FROM decisions LEFT JOIN (
            SELECT * FROM {known} UNION ALL SELECT id_b, id_a, jaccard_w5 FROM {known}
        ) ON id_a = doc_id AND id_b = duplicate_of WHERE stage = 'near'"""
    ).fetchone() or (0, 0, 0)
    counts = [f"{found:,}", f"{missed:,}", f"{1 - missed / found:.4f}", f"{dropped:,}", f"{judged:,}"]
    return [*counts, f"{right / judged:.4f}"]


if __name__ == "__main__":
    main(*sys.argv[1:])

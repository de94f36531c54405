"""Compare speed, recall and precision of near duplicates with daft, rensa and datasketch on the same documents.

Usage: python benchmarks/peers/near_duplicates.py [--documents N] CORPUS ...

CORPUS is a Parquet file or a folder of such files with a column `text`. Of N documents (default: 40,000) seven in ten
are taken in turn from all files and cut at about 2.7 kB, a quarter are copies of these with words replaced at rates
from 0.1 % to 10 %, and one in twenty are exact copies, all in random order. The first call installs the tools into
benchmarks/peers/.venv-near.

Truth is the Jaccard similarity of 5-word shingles, of all pairs that share a shingle, counted in DuckDB without any
signature. Recall: of the pairs at 0.8 and more, those of which not both documents stay. Precision: of the documents
that a tool drops, those that are as similar as that to one that stays.

What is measured: CPU seconds, user and system, of a process from a Parquet file to the rows to be dropped; the least of
three, less those for a file of the first 200 documents, which are imports and compiled kernels. "curate" is the map
that takes signatures and the search of `curate run`, with pairs in doubt verified by their texts and without; not its
other measurements, its index and its output.
"""

import argparse
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common import HERE, make_environment, select
from rules import cost

from curate.kernels.minhash import minhash, shingle_sets
from curate.ledger import Part, write_part
from curate.measure import SIGNATURES
from curate.near import SHINGLES, Signatures, find_near
from curate.sections import Near
from curate.tables import scratch_database

TOOLS = ("daft", "rensa", "datasketch")
CUT, BATCH, FEW = 2_700, 1_024, 200
RATES = (0.001, 0.003, 0.01, 0.02, 0.03, 0.05, 0.1)
NEAR = Near()


def main(corpora: Sequence[Path], number: int) -> None:
    """Print one table: a line a tool."""
    python = make_environment(HERE / ".venv-near", HERE / "requirements-near.txt")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        documents, few, out = (scratch / name for name in ("documents.parquet", "few.parquet", "out.parquet"))
        texts = corpus(corpora, number)
        pq.write_table(pa.table({"text": texts}), documents)
        pq.write_table(pa.table({"text": texts[:FEW]}), few)
        alike = similar_pairs(pa.array(texts))
        size = sum(len(text.encode()) for text in texts) / 1e6
        print(f"{len(texts):,} documents, {size:.1f} MB, {alike.num_rows:,} pairs at {NEAR.threshold} and more\n")
        print("| tool | CPU s | documents per CPU s | dropped | recall | precision |\n|---|---|---|---|---|---|")
        theirs = [str(python), str(HERE / "theirs_near.py")]
        commands = {tool: [*theirs, tool] for tool in TOOLS}
        for verify in ("border", "signature"):
            commands[f"curate, verify: {verify}"] = [sys.executable, __file__, "--ours", verify]
        for tool, command in commands.items():
            seconds = cost([*command, str(documents), str(out)]) - cost([*command, str(few), f"{out}-few"])
            dropped = pq.read_table(out)["row"].to_pylist()
            recall, precision = judge(set(dropped), alike)
            speed = f"{(len(texts) - FEW) / seconds:,.0f}"
            print(
                f"| {tool} | {seconds:.1f} | {speed} | {len(dropped):,} | {recall:.3f} | {precision:.3f} |", flush=True
            )


def corpus(folders: Sequence[Path], number: int) -> list[str]:
    """Documents, edited copies and exact copies in random order."""
    draw = random.Random(17)
    found = [text[:CUT] for text in select(folders, 2 * number)["text"].to_pylist() if len(text.split()) >= 50]
    originals = found[: round(0.7 * number)]
    vocabulary = " ".join(originals[:200]).split()
    edited = [edit(draw.choice(originals), draw, vocabulary) for _ in range(number // 4)]
    texts = [*originals, *edited, *draw.choices(originals, k=number // 20)]
    draw.shuffle(texts)
    return texts


def edit(text: str, draw: random.Random, vocabulary: Sequence[str]) -> str:
    """A copy with words replaced at one of the rates."""
    rate = draw.choice(RATES)
    return " ".join(draw.choice(vocabulary) if draw.random() < rate else word for word in text.split())


def similar_pairs(texts: pa.Array) -> pa.Table:
    """All pairs (a, b) at the threshold."""
    sets = shingle_sets(texts, NEAR.shingle)
    shingles = pa.table({"row": pa.array(range(len(texts)), pa.int32()), "shingles": sets})  # noqa: F841 - in the query
    return duckdb.sql(
        f"""WITH single AS (SELECT row, len(shingles) AS n, unnest(shingles) AS shingle FROM shingles)
        SELECT a.row AS a, b.row AS b FROM single a JOIN single b ON a.shingle = b.shingle AND a.row < b.row
        GROUP BY a.row, b.row HAVING count(*) >= {NEAR.threshold} * (any_value(a.n) + any_value(b.n) - count(*))"""
    ).to_arrow_table()


def judge(dropped: set[int], alike: pa.Table) -> tuple[float, float]:
    """Recall of pairs and precision of documents."""
    pairs = list(zip(alike["a"].to_pylist(), alike["b"].to_pylist(), strict=True))
    found = sum(a in dropped or b in dropped for a, b in pairs)
    right = {x for a, b in pairs for x, y in ((a, b), (b, a)) if x in dropped and y not in dropped}
    return found / len(pairs), len(right) / len(dropped)


def ours(verify: Literal["border", "signature"], documents: str, out: str) -> None:
    """What a run does about near duplicates, from the file to the rows that it drops."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        file = pq.ParquetFile(documents, pre_buffer=False)
        signatures = [minhash(batch["text"], NEAR.permutations, NEAR.shingle) for batch in file.iter_batches(BATCH)]
        parts = [keyed(run, SIGNATURES, "minhash", range(file.metadata.num_rows), pa.chunked_array(signatures))]

        def sets(wanted: pa.Table) -> Sequence[Part]:
            rows, found = wanted["row"].to_numpy(), []
            for k, batch in enumerate(file.iter_batches(BATCH)):
                here = rows[slice(*np.searchsorted(rows, (k * BATCH, (k + 1) * BATCH)))] - k * BATCH
                found.append(shingle_sets(batch["text"].take(pa.array(here)), NEAR.shingle))
            return [keyed(run, SHINGLES, SHINGLES, wanted["row"], pa.chunked_array(found))]

        with scratch_database(run, threads=2) as database:
            count = file.metadata.num_rows
            database.execute(f"CREATE TEMP TABLE passing AS SELECT 0 AS file_no, range AS row FROM range({count})")
            database.execute("CREATE TEMP TABLE exact (file_no INTEGER, row BIGINT)")
            find_near(
                NEAR.model_copy(update={"verify": verify}), "row", run, [Signatures(run, parts)], sets, database, "x"
            )
            dropped = database.sql("SELECT row FROM near ORDER BY row").to_arrow_table()
    pq.write_table(dropped, out)


def keyed(run: Path, group: str, column: str, rows: object, values: pa.Array) -> Part:
    """A part of the ledger."""
    table = pa.table({"row": pa.array(rows, pa.int64()) if isinstance(rows, range) else rows, column: values})
    return write_part(run, group, "x", "00000", table.add_column(0, "file_no", pa.array([0] * len(table), pa.int32())))


if __name__ == "__main__":
    if sys.argv[1] == "--ours":
        sys.exit(ours(*sys.argv[2:]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", type=Path, metavar="CORPUS")
    parser.add_argument("--documents", type=int, default=40_000, metavar="N")
    given = parser.parse_args()
    sys.exit(main(given.corpora, given.documents))

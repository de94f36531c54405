"""Near duplicates among the documents that are left, each dropped for a better one that it resembles and that survives.

Signatures that agree in a band are candidates: in each band, each document is compared with the best one of its key.
Once some of these are dropped themselves, those that were compared with them are banded again among each other, until
nothing new is to be compared. DuckDB holds the bands, and spills; memory holds a piece of a band, and compared pairs.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from curate.again import Again, plan_again, texts_again, write_again
from curate.corpus import READ_BUFFER, Source, Unit
from curate.edits import apply_edits, find_edits
from curate.filters.duplicates import Bands, choose_bands
from curate.kernels.minhash import Values, band_keys, estimates, jaccard, shingle_sets, values_of
from curate.kernels.survivors import stars, survivors
from curate.ledger import Part, write_part
from curate.measure import Reading
from curate.sections import Near
from curate.sql import read_parquet

PAIRS = "pairs"
SHINGLES = "shingles"  # the sets of documents whose similarity an estimate leaves in doubt, while a run decides
DOUBT = 3  # standard deviations of an estimate within which the threshold leaves it in doubt
BATCH_ROWS = 1 << 16
KEYS_AT_ONCE = 1 << 23  # of a band, that are held in memory
PAIRS_AT_ONCE = 1 << 19  # whose signatures are
ROW_BITS = 40
HALF, LOW = np.uint64(32), np.uint64(0xFFFFFFFF)

T = TypeVar("T")
Numbers = npt.NDArray[np.int64]
Similarities = npt.NDArray[np.float32]
Keys = npt.NDArray[np.uint64]
CollectSets = Callable[[pa.Table], Sequence[Path]]  # files of SHINGLES of documents (file_no, row), or none at all


@dataclass(frozen=True)
class Signatures:
    """The signatures of a run: its own, or those of an earlier one."""

    run: Path
    parts: Sequence[Part]
    first_file_no: int = 0  # that its file 0 has in the tables; of earlier runs, negative

    def batches(self) -> Iterator[tuple[Numbers, Numbers, pa.Array]]:
        """Number of the file, row and signature of some documents at a time, those without one left out."""
        step = -1 if self.first_file_no < 0 else 1
        for part in self.parts:
            for batch in pq.ParquetFile(self.run / part.path, buffer_size=READ_BUFFER).iter_batches(BATCH_ROWS):
                found = batch.filter(batch["minhash"].is_valid()) if batch["minhash"].null_count else batch
                file_nos = self.first_file_no + step * found["file_no"].to_numpy().astype(np.int64)
                yield file_nos, found["row"].to_numpy(), found["minhash"]


@dataclass(frozen=True)
class Pairs:
    """Compared documents by rank, `first` the better one, sorted by second and first."""

    first: Numbers
    second: Numbers
    similarity: Similarities
    exact: npt.NDArray[np.bool_]  # by whole texts, not by signatures

    def plus(self, other: "Pairs") -> "Pairs":
        """These pairs and others."""
        order = np.lexsort((np.r_[self.first, other.first], np.r_[self.second, other.second]))
        return Pairs(**{name: np.r_[column, vars(other)[name]][order] for name, column in vars(self).items()})


NO_PAIRS = Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.bool_))


def find_near(
    near: Near, survivor_order: str, run: Path, signatures: Sequence[Signatures], known: Sequence[Part],
    sets: CollectSets, connection: duckdb.DuckDBPyConnection,
) -> Pairs:  # fmt: skip
    """Table `near` (file_no, row, survivor_file_no, survivor_row, similarity), and all compared pairs.

    Reads the tables `passing` and `exact`; `survivor_order` ranks the documents, those of earlier runs and then the
    best first. `known` are parts with pairs that were compared before: of these no text is read again.
    """
    bands = choose_bands(near.threshold, near.permutations)
    connection.execute(
        f"""CREATE TEMP TABLE ranked AS
        SELECT * FROM (
            SELECT file_no, row, row_number() OVER (ORDER BY {survivor_order}) - 1 AS rank
            FROM passing ANTI JOIN exact USING (file_no, row)
        ) ORDER BY file_no, row"""
    )
    [[earlier]] = connection.execute("SELECT count(*) FROM ranked WHERE file_no < 0").fetchall()
    _load_bands(bands, signatures, connection)
    before = _known_pairs(run, known, connection)
    pairs = NO_PAIRS
    dropped = np.zeros(0, np.int64)
    table = "bands"
    while len(fresh := _candidates(table, bands, pairs, earlier, connection)):
        pairs = pairs.plus(_compared(fresh, near, signatures, before, sets, earlier, connection))
        dropped = _dropped(pairs, near.threshold)
        table = _bands_of(_orphans(pairs, dropped), connection)
    _load_near(pairs, dropped, connection)
    return pairs


def _known_pairs(run: Path, known: Sequence[Part], connection: duckdb.DuckDBPyConnection) -> Pairs:
    """Those pairs of parts that were compared by their whole texts, by the ranks of today."""
    if not known:
        return NO_PAIRS
    source = read_parquet(run / part.path for part in known)
    found = connection.sql(
        f"""SELECT least(a.rank, b.rank) AS first, greatest(a.rank, b.rank) AS second, similarity
        FROM {source} p JOIN ranked a USING (file_no, row)
        JOIN ranked b ON b.file_no = other_file_no AND b.row = other_row WHERE exact ORDER BY second, first"""
    ).to_arrow_table()
    first, second, similarity = (found[name].to_numpy() for name in ("first", "second", "similarity"))
    return Pairs(first, second, similarity, np.ones(len(first), bool))


def _load_bands(bands: Bands, signatures: Sequence[Signatures], connection: duckdb.DuckDBPyConnection) -> None:
    """Table `bands`: the rank of each document that has a signature, and its key in each band."""
    keys = ", ".join(f"key_{k} UBIGINT" for k in range(bands.count))
    connection.execute(f"CREATE TEMP TABLE bands (rank BIGINT, {keys})")

    def keyed() -> Iterator[tuple[Numbers, Numbers, dict[str, pa.Array]]]:
        for file_nos, rows, minhash in (batch for source in signatures for batch in source.batches()):
            columns = band_keys(minhash, bands.count, bands.rows)
            yield file_nos, rows, {f"key_{k}": column for k, column in enumerate(columns)}

    for file_nos, rows, named in ahead(keyed()):
        connection.register("keyed", pa.table({"file_no": file_nos, "row": rows, **named}))
        for file_no in np.unique(file_nos).tolist():  # `ranked` is sorted, so little of it is read
            here = rows[file_nos == file_no]
            connection.execute(
                f"INSERT INTO bands SELECT rank, {', '.join(named)} FROM keyed JOIN (FROM ranked WHERE file_no = "
                f"{file_no} AND row BETWEEN {here.min()} AND {here.max()}) USING (file_no, row)"
            )


def ahead(batches: Iterator[T]) -> Iterator[T]:
    """The same batches, each made by another thread while the one before is used."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, batches, None)
            yield batch


def _candidates(table: str, bands: Bands, known: Pairs, earlier: int, connection: duckdb.DuckDBPyConnection) -> Keys:
    """Pairs to be compared: in each band of a table each document with the best one of its key; sorted.

    Documents of earlier runs, which rank first, are not compared with each other.
    """
    [[rows]] = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
    pieces = -(-rows // KEYS_AT_ONCE)
    edges = [_packed(np.zeros(0, np.int64), np.zeros(0, np.int64))]

    def keys_of_bands() -> Iterator[pa.Table]:
        for key in (f"key_{k}" for k in range(bands.count)):
            for piece in range(pieces):
                some = f"WHERE {key} % {pieces} = {piece}" if pieces > 1 else ""
                yield connection.sql(f"SELECT rank, {key} AS key FROM {table} {some}").to_arrow_table()

    for k, found in enumerate(ahead(keys_of_bands()), 1):
        first, second = stars(found["rank"].to_numpy(), found["key"].to_numpy())
        edges.append(_packed(first, second))
        if k % pieces == 0:
            edges = [_distinct(np.concatenate(edges))]
    edges[0] = edges[0][edges[0] >> HALF >= np.uint64(earlier)]
    return edges[0][~np.isin(edges[0], _packed(known.first, known.second), assume_unique=True)]


def _distinct(keys: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sorted keys without repeats; `np.unique` takes ten times as long."""
    keys.sort()
    fresh = np.ones(len(keys), dtype=bool)
    fresh[1:] = keys[1:] != keys[:-1]
    return keys[fresh]


def _packed(first: Numbers, second: Numbers) -> Keys:
    """Pairs as numbers that sort as the pairs do by second and first."""
    return second.astype(np.uint64) << HALF | first.astype(np.uint64)


def _compared(
    candidates: Keys, near: Near, signatures: Sequence[Signatures], before: Pairs, sets: CollectSets, earlier: int,
    connection: duckdb.DuckDBPyConnection,
) -> Pairs:  # fmt: skip
    """Candidates with their similarity: by signatures, and by the sets of shingles where the recipe asks for it.

    Of the documents of earlier runs there are only signatures.
    """
    first, second = (candidates & LOW).astype(np.int64), (candidates >> HALF).astype(np.int64)
    similarity = np.empty(len(first), dtype=np.float32)
    for some in (slice(k, k + PAIRS_AT_ONCE) for k in range(0, len(first), PAIRS_AT_ONCE)):
        ranks = _distinct(np.r_[first[some], second[some]])
        values = _signatures_of(ranks, signatures, connection)
        similarity[some] = estimates(values, *(np.searchsorted(ranks, side[some]) for side in (first, second)))
    border = DOUBT * math.sqrt(near.threshold * (1 - near.threshold) / near.permutations)
    doubtful = {
        "signature": np.zeros(len(first), bool),
        "border": np.abs(similarity - np.float32(near.threshold)) <= border,
        "exact": np.ones(len(first), bool),
    }[near.verify] & (first >= earlier)
    held = _packed(before.first, before.second)
    known = doubtful & np.isin(candidates, held, assume_unique=True)
    similarity[known] = before.similarity[np.searchsorted(held, candidates[known])]
    unknown = doubtful & ~known
    if unknown.any():
        similarity[unknown] = _exact(first[unknown], second[unknown], similarity[unknown], sets, connection)
    return Pairs(first, second, similarity, doubtful)


def _signatures_of(ranks: Numbers, signatures: Sequence[Signatures], connection: duckdb.DuckDBPyConnection) -> Values:
    """The signatures of documents, a row each."""
    connection.register("wanted", pa.table({"rank": ranks, "place": np.arange(len(ranks))}))
    found = connection.sql("SELECT file_no, row, place FROM ranked JOIN wanted USING (rank)").to_arrow_table()
    keys, places = _place_keys(found["file_no"].to_numpy(), found["row"].to_numpy()), found["place"].to_numpy()
    order = np.argsort(keys)
    keys, places = keys[order], places[order]
    values = np.empty((len(ranks), 0), dtype=np.uint32)
    for file_nos, rows, minhash in ahead(batch for source in signatures for batch in source.batches()):
        here = values_of(minhash)
        if values.shape[1] != here.shape[1]:
            values = np.empty((len(ranks), here.shape[1]), dtype=np.uint32)
        held = np.searchsorted(keys, batch_keys := _place_keys(file_nos, rows))
        hit = np.flatnonzero(keys[np.minimum(held, len(keys) - 1)] == batch_keys)
        values[places[held[hit]]] = here[hit]
    return values


def place_keys(table: pa.Table) -> Numbers:
    """File and row of documents (file_no, row) as one number."""
    return _place_keys(table["file_no"].to_numpy(), table["row"].to_numpy())


def _place_keys(file_nos: npt.NDArray[Any], rows: Numbers) -> Numbers:
    keys: Numbers = (file_nos.astype(np.int64) << ROW_BITS) + rows
    return keys


def _exact(
    first: Numbers, second: Numbers, estimated: Similarities, sets: CollectSets, connection: duckdb.DuckDBPyConnection
) -> Similarities:
    """The similarity of pairs, sorted by second and first, from the sets of their documents' shingles.

    Where there are none to be had the estimates hold.
    """
    connection.register("paired", pa.table({"first": first, "second": second}))
    connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS known (rank BIGINT, {SHINGLES} UBIGINT[])")
    connection.execute(
        """CREATE TEMP TABLE unknown AS
        FROM ranked SEMI JOIN (SELECT first AS rank FROM paired UNION SELECT second FROM paired) USING (rank)
        ANTI JOIN known USING (rank)"""
    )
    wanted = connection.sql("SELECT file_no, row FROM unknown ORDER BY file_no, row").to_arrow_table()
    if len(wanted):
        if not (files := sets(wanted)):
            connection.execute("DROP TABLE unknown")
            return estimated
        source = read_parquet(files)
        connection.execute(f"INSERT INTO known SELECT rank, {SHINGLES} FROM {source} JOIN unknown USING (file_no, row)")
    found = connection.sql(
        f"""SELECT first, second, a.{SHINGLES}, b.{SHINGLES} FROM paired
        JOIN known a ON a.rank = first JOIN known b ON b.rank = second"""
    )
    columns = [[batch[0], batch[1], jaccard(batch[2], batch[3])] for batch in found.to_arrow_reader(BATCH_ROWS)]
    connection.execute("DROP TABLE unknown")
    first, second, similarity = (np.concatenate([batch[k].to_numpy() for batch in columns]) for k in range(3))
    return similarity[np.lexsort((first, second))]


def _dropped(pairs: Pairs, threshold: float) -> Numbers:
    """The pairs for which documents are dropped, each for one: its first survives."""
    members, places = np.unique(np.concatenate([pairs.first, pairs.second]), return_inverse=True)
    same = np.flatnonzero(pairs.similarity >= np.float32(threshold))
    found = survivors(places[same], places[len(pairs.first) + same], len(members))
    return same[found[found >= 0]]


def _orphans(pairs: Pairs, dropped: Numbers) -> Numbers:
    """The ranks of documents that survive so far and were compared with one that does not."""
    gone = pairs.second[dropped]
    lost_first, lost_second = np.isin(pairs.first, gone), np.isin(pairs.second, gone)
    return np.unique(np.concatenate([pairs.second[lost_first & ~lost_second], pairs.first[lost_second & ~lost_first]]))


def _bands_of(ranks: Numbers, connection: duckdb.DuckDBPyConnection) -> str:
    """A table with the bands of some documents alone."""
    connection.register("orphans", pa.table({"rank": ranks}))
    connection.execute("CREATE OR REPLACE TEMP TABLE bands_again AS FROM bands SEMI JOIN orphans USING (rank)")
    return "bands_again"


def _load_near(pairs: Pairs, dropped: Numbers, connection: duckdb.DuckDBPyConnection) -> None:
    """Table `near`: the documents that are dropped, and for which one."""
    chosen = {name: pa.array(column[dropped]) for name, column in vars(pairs).items()}
    connection.register("chosen", pa.table(chosen))
    connection.execute(
        """CREATE TEMP TABLE near AS
        SELECT d.file_no, d.row, s.file_no AS survivor_file_no, s.row AS survivor_row, similarity
        FROM chosen JOIN ranked d ON d.rank = second JOIN ranked s ON s.rank = first"""
    )


def pairs_part(pairs: Pairs, run: Path, digest: str, measured: str, connection: duckdb.DuckDBPyConnection) -> Part:
    """Commit the compared pairs, those below the threshold too; `measured` is the digest of their signatures."""
    tables = []
    for k in range(0, max(1, len(pairs.first)), PAIRS_AT_ONCE):  # so that sorting and joining take little memory
        some = {name: column[k : k + PAIRS_AT_ONCE] for name, column in vars(pairs).items()}
        connection.register("paired", pa.table(some))
        found = connection.sql(
            """SELECT d.file_no, d.row, s.file_no AS other_file_no, s.row AS other_row, similarity, exact
            FROM paired JOIN ranked d ON d.rank = second JOIN ranked s ON s.rank = first ORDER BY second, first"""
        )
        tables.append(found.to_arrow_table())
    return write_part(run, PAIRS, digest, "00000", pa.concat_tables(tables), contents=(measured,))


def plan_sets(
    run: Path, documents: pa.Table, units: Sequence[Unit], sources: Mapping[int, Source], reading: Reading
) -> list[Again]:
    """A task for each unit that holds some of the documents (file_no, row), which are sorted."""
    return plan_again(run, documents, units, sources, reading, [collect_sets])


def collect_sets(task: Again) -> list[Part]:
    """The shingles of a task's documents, edited as they were when they were measured."""
    tables = []
    for documents, raw in texts_again(task):
        texts = apply_edits(raw, find_edits(raw, task.reading.editors))
        file_nos = np.full(len(documents), task.unit.file_no, np.int32)
        shingles = shingle_sets(texts, task.reading.shingle)
        tables.append(pa.table({"file_no": file_nos, "row": documents["row"], SHINGLES: shingles}))
    return [write_again(task, SHINGLES, tables)]

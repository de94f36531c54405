"""Near duplicates among the documents that are left, each dropped for a better one that it resembles and that survives.

Signatures that agree in a band are candidates: in each band, each document is compared with the best one of its key.
Once some of these are dropped themselves, those that were compared with them are banded again among each other, until
nothing new is to be compared. All that looks at signatures is a map (`maps.py`); here the documents are ranked and
the verdicts found, with a few bytes a document and a dozen a pair in memory.
"""

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from curate.corpus.edits import apply_edits, find_edits
from curate.dedup.near.best_copies import Moved, best_copies_first
from curate.dedup.near.maps import (
    HALF,
    LOW,
    NO_RANK,
    Packed,
    Ranks,
    Spread,
    Task,
    compare_signatures,
    compared_pairs,
    find_keys,
    find_stars,
    packed,
    save,
    send_signatures,
    slices_of,
)
from curate.errors import RunError
from curate.filters.signals.hashes import Bands, choose_bands
from curate.kernels.minhash import jaccard, shingle_sets
from curate.kernels.survivors import survivors
from curate.ledger.names import PAIRS, SHINGLES
from curate.ledger.parts import Part, write_part
from curate.maps.reread import CorpusReader, RereadTask
from curate.recipe.dedup import Near
from curate.sql import read_parquet

DOUBT = 3  # standard deviations of an estimate within which the threshold leaves it in doubt
BATCH_ROWS = 1 << 16
KEYS_AT_ONCE = 1 << 23  # of a band, that are held in memory
KEY_BYTES = 12  # of a key and the rank of its document
KEY_FILES = 16 << 30  # bytes of keys that lie on the disk at a time
SLICE_ROWS = 1 << 19  # whose signatures are, at worst; and their keys
MOST_SLICES = 1 << 9  # beyond which slices grow
PAIRS_AT_ONCE = 1 << 22  # of one part
ROW_BITS = 40

Numbers = npt.NDArray[np.int64]
Similarities = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
RunTasks = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]  # what tasks return, in their order


@dataclass(frozen=True)
class Signatures:
    """The signatures of a run: its own, or those of an earlier one."""

    run: Path
    parts: Sequence[Part]
    first_file_no: int = 0  # that its file 0 has in the tables; of earlier runs, negative


@dataclass(frozen=True)
class Pairs:
    """Compared documents by rank, as numbers that sort by the second and the first, which is the better one; sorted."""

    packed: Packed
    similarity: Similarities
    exact: Flags  # by whole texts, not by signatures

    @property
    def first(self) -> Numbers:
        """The ranks of the better documents."""
        return (self.packed & LOW).astype(np.int64)

    @property
    def second(self) -> Numbers:
        """The ranks of the others."""
        return (self.packed >> HALF).astype(np.int64)

    def plus(self, other: "Pairs") -> "Pairs":
        """These pairs and others."""
        order = np.argsort(joined := np.r_[self.packed, other.packed])
        rest = ((np.r_[a, b])[order] for a, b in ((self.similarity, other.similarity), (self.exact, other.exact)))
        return Pairs(joined[order], *rest)

    def take(self, indices: "slice | Numbers") -> "Pairs":
        """The pairs at some positions."""
        return Pairs(self.packed[indices], self.similarity[indices], self.exact[indices])

    def renumbered(self, order: Ranks) -> "Pairs":
        """The pairs by other ranks: `order` has them by those of today."""
        one, other = order[self.first], order[self.second]
        both = packed(np.minimum(one, other), np.maximum(one, other))
        places = np.argsort(both)
        return Pairs(both[places], self.similarity[places], self.exact[places])


NO_PAIRS = Pairs(np.zeros(0, np.uint64), np.zeros(0, np.float32), np.zeros(0, bool))


@dataclass(frozen=True, kw_only=True)
class NearTask:
    """What near duplicates are looked for in, and how."""

    section: Near
    survivor_order: str  # SQL that ranks the documents: those of earlier runs, and then the best first
    best_copies: bool  # choose survivors within clusters, once these are known (`best_copies.py`)
    signatures: Sequence[Signatures]
    compared: Sequence[Part] = ()  # pairs of an earlier decision, whose texts are not read again
    measured: str  # the digest of the signatures


class NearReader(Protocol):
    """What near duplicates are found with."""

    def each(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
        """What tasks return, in their order."""
        ...

    def shingle_sets(self, documents: pa.Table) -> Sequence[Path]:
        """Files of SHINGLES of documents (file_no, row); none where their texts cannot be read."""
        ...


def find_near(
    task: NearTask, reader: NearReader, run: Path, digest: str, connection: duckdb.DuckDBPyConnection
) -> list[Part]:
    """Fill `near`; commit all compared pairs under `digest` and return their parts.

    Reads `survivors` and `exact`.

    Errors: RunError for more documents than ranks.
    """
    connection.execute(
        f"""CREATE TEMP TABLE ranked AS
        SELECT * FROM (
            SELECT file_no, row, row_number() OVER (ORDER BY {task.survivor_order}) - 1 AS rank FROM survivors
        ) ORDER BY file_no, row"""
    )
    connection.execute(f"CREATE TEMP TABLE shingled (rank BIGINT, {SHINGLES} UBIGINT[])")
    folder = (run / "ledger" / "spool" / "near").absolute()
    folder.mkdir(parents=True)
    try:
        bands = choose_bands(task.section.threshold, task.section.permutations)
        spread = _spread(bands, task.signatures, folder, connection)
        pairs, dropped, spread = _compare_all(task, spread, reader, run, connection)
        _load_near(pairs.take(dropped), spread, connection)
        connection.execute("DROP TABLE ranked; DROP TABLE shingled")
        return list(_parts_of(pairs, spread, run, digest, task.measured))
    finally:
        shutil.rmtree(folder)


def _compare_all(
    task: NearTask, spread: Spread, reader: NearReader, run: Path, connection: duckdb.DuckDBPyConnection
) -> tuple[Pairs, Numbers, Spread]:
    """Compare until nothing new is to be compared.

    Returns all compared pairs, the positions of those for which documents are dropped, and the documents' ranks.
    """
    threshold = task.section.threshold
    run_tasks = reader.each if len(spread.slices) > 1 else _in_this_process
    verified = _verified_pairs(run, task.compared, connection)
    pairs, dropped = NO_PAIRS, np.zeros(0, np.int64)
    for turn in count():
        candidates, similarity = _compared(replace(spread, round=turn), pairs.packed, run_tasks)
        if len(candidates):
            doubtful = _doubtful(candidates, similarity, task.section, spread.earlier)
            fresh = _verified(Pairs(candidates, similarity, doubtful), verified, reader, connection)
            pairs, reordered = pairs.plus(fresh), np.zeros(0, np.uint32)
        elif task.best_copies and turn and not spread.renumbered:
            moved = best_copies_first(*_duplicates(pairs, threshold), spread, run_tasks, connection)
            if not len(moved.before):
                break
            spread, order = _renumbered(spread, moved, connection)
            pairs, verified, reordered = pairs.renumbered(order), verified.renumbered(order), order[moved.clusters]
        else:
            break
        dropped = _dropped(pairs, threshold, spread.documents)
        only = _orphans(pairs, dropped, spread.documents)
        only[reordered] = True
        save(spread.path("only"), only)
    return pairs, dropped, spread


def _in_this_process(function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
    """Run tasks in this process: a single slice is done before another process has started."""
    return [function(task) for task in tasks]


def _spread(
    bands: Bands, signatures: Sequence[Signatures], folder: Path, connection: duckdb.DuckDBPyConnection
) -> Spread:
    """Spread the documents over slices, and write the rank of each, and where the document of each rank stands."""
    [[documents, earlier]] = connection.execute("SELECT count(*), count(*) FILTER (file_no < 0) FROM ranked").fetchall()
    if documents >= NO_RANK:
        raise RunError(f"dedup.near: {documents:,} documents; at most {NO_RANK - 1:,} can be compared in one run")
    listed = [[(str((one.run / part.path).absolute()), part.rows) for part in one.parts] for one in signatures]
    slices = slices_of(listed, max(SLICE_ROWS, documents // MOST_SLICES))
    bits = max(0, math.ceil(math.log2(max(1, documents / KEYS_AT_ONCE))))
    spread = Spread(folder, tuple(slices), bands, bits, earlier, documents)
    kinds = {"file_no": np.int32, "row": np.int64, "slice": np.uint16}
    of_rank = {
        name: np.lib.format.open_memmap(spread.path(name), "w+", kind, (max(1, documents),))
        for name, kind in kinds.items()
    }
    first_file_nos = iter([one.first_file_no for one in signatures for _ in one.parts])
    for found in slices:
        ranks = []
        for (path, _), first_file_no in zip(found.parts, first_file_nos, strict=False):
            file_nos, rows = _documents_in(path, first_file_no)
            own = _ranks_of(file_nos, rows, connection)
            places = np.flatnonzero(own != NO_RANK)
            of_rank["file_no"][own[places]], of_rank["row"][own[places]] = file_nos[places], rows[places]
            of_rank["slice"][own[places]] = found.number
            ranks.append(own)
        save(spread.path("ranks", found.number), np.concatenate(ranks))
    save(spread.path("known"), NO_PAIRS.packed)
    for array in of_rank.values():
        array.flush()
    return spread


def _renumbered(spread: Spread, moved: Moved, connection: duckdb.DuckDBPyConnection) -> tuple[Spread, Ranks]:
    """Give documents other ranks, in new files and in the tables; these are returned by the ranks of before.

    Files of before stay as they are: a task that was given up may still read them.
    """
    order = np.arange(spread.documents, dtype=np.uint32)
    order[moved.before] = moved.after
    save(spread.path("order"), order)
    again = replace(spread, renumbered=True)
    for name in ("file_no", "row", "slice"):
        values = np.array(spread.by_rank(name))
        values[moved.after] = values[moved.before]
        save(again.ranked(name), values)
    for found in spread.slices:
        ranks = np.load(spread.path("ranks", found.number))
        there = ranks != NO_RANK
        ranks[there] = order[ranks[there]]
        save(again.ranked("ranks", found.number), ranks)
    connection.register("moved", pa.table({"before": moved.before, "after": moved.after}))
    for table in ("ranked", "shingled"):
        connection.execute(f"UPDATE {table} SET rank = after FROM moved WHERE rank = before")
    connection.unregister("moved")
    return again, order


def _documents_in(path: str, first_file_no: int) -> tuple[Numbers, Numbers]:
    """Number of the file, and row, of the documents of a part; of earlier runs, file numbers count down."""
    table = pq.read_table(path, columns=["file_no", "row"])
    step = -1 if first_file_no < 0 else 1
    return first_file_no + step * table["file_no"].to_numpy().astype(np.int64), table["row"].to_numpy()


def _ranks_of(file_nos: Numbers, rows: Numbers, connection: duckdb.DuckDBPyConnection) -> Ranks:
    """The rank of each document, or NO_RANK."""
    if not len(rows):
        return np.zeros(0, np.uint32)
    low, high = int(file_nos.min()), int(file_nos.max())
    within = f"AND row BETWEEN {rows.min()} AND {rows.max()}" if low == high else ""
    found = connection.sql(  # `ranked` is sorted, so little of it is read
        f"SELECT file_no, row, rank FROM ranked WHERE file_no BETWEEN {low} AND {high} {within} ORDER BY file_no, row"
    ).to_arrow_table()
    if not len(found):
        return np.full(len(rows), NO_RANK)
    known, keys = place_keys(found), _place_keys(file_nos, rows)
    places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[places] == keys, found["rank"].to_numpy()[places].astype(np.uint32), NO_RANK)


def _verified_pairs(run: Path, compared: Sequence[Part], connection: duckdb.DuckDBPyConnection) -> Pairs:
    """Those pairs of an earlier decision that were compared by their shingles, by today's ranks."""
    if not compared:
        return NO_PAIRS
    source = read_parquet(run / part.path for part in compared)
    pairs = connection.sql(
        f"""SELECT least(a.rank, b.rank) AS first, greatest(a.rank, b.rank) AS second, similarity
        FROM {source} p JOIN ranked a USING (file_no, row)
        JOIN ranked b ON b.file_no = other_file_no AND b.row = other_row WHERE exact ORDER BY second, first"""
    ).to_arrow_table()
    first, second, similarity = (pairs[name].to_numpy() for name in ("first", "second", "similarity"))
    return Pairs(packed(first, second), similarity, np.ones(len(first), bool))


def _compared(spread: Spread, compared: Packed, run_tasks: RunTasks) -> tuple[Packed, Similarities]:
    """Candidates that are not known yet, sorted, with their similarity by signatures.

    In each band each document, or each of `only` those that are wanted, is compared with the best one of its key.
    """
    save(spread.path("known"), compared)
    groups = _groups(spread)
    tasks: list[Task] = []
    counts: list[Sequence[int]] = []
    for k, group in enumerate(groups):
        here = replace(spread, keys=spread.round * len(groups) + k if len(groups) > 1 else 0)
        if not here.written("keys", 0).exists():
            run_tasks(find_keys, [Task(here, number, group) for number in range(len(spread.slices))])
        more = _of_pieces(here, group, len(tasks))
        tasks, counts = [*tasks, *more], [*counts, *run_tasks(find_stars, more)]
        if len(groups) > 1:
            _forget(spread, "keys")
    stars = _following(spread, tasks, counts)
    sent = _following(spread, stars, run_tasks(send_signatures, stars))
    _forget(spread, "stars")
    run_tasks(compare_signatures, sent)
    found = compared_pairs(spread, [task.number for task in sent])
    _forget(spread, "sent")
    _forget(spread, "pairs")
    return found


def _groups(spread: Spread) -> list[range]:
    """The bands, as pieces, whose keys lie on the disk at a time: all, if there is room; then they stay there."""
    at_once = max(1, KEY_FILES // (KEY_BYTES * max(1, spread.documents)))
    bands = range(0, spread.bands.count, at_once)
    last = spread.pieces
    return [range(k << spread.range_bits, min((k + at_once) << spread.range_bits, last)) for k in bands]


def _of_pieces(spread: Spread, group: range, first: int) -> list[Task]:
    """Tasks for the pieces of a group, numbered from `first`: several small ones each, or one that is large."""
    step = max(1, KEYS_AT_ONCE // max(1, spread.documents >> spread.range_bits))
    starts = range(group.start, group.stop, step)
    return [
        Task(spread, first + k, range(start, min(start + step, group.stop)), group.start)
        for k, start in enumerate(starts)
    ]


def _following(spread: Spread, tasks: Sequence[Task], counts: Sequence[Sequence[int]]) -> list[Task]:
    """A task for each slice that tasks, which returned how much for which slice, have written something for."""
    table = np.array(counts).reshape(len(tasks), len(spread.slices))
    written = {number: np.flatnonzero(table[:, number]).tolist() for number in range(len(spread.slices))}
    return [
        Task(spread, number, sources=tuple(tasks[k].number for k in found))
        for number, found in written.items()
        if found
    ]


def _forget(spread: Spread, name: str) -> None:
    """Delete the files that tasks wrote for the tasks behind them."""
    for path in spread.folder.glob(f"{name}-*"):
        path.unlink()


def _doubtful(candidates: Packed, similarity: Similarities, near: Near, earlier: int) -> Flags:
    """Which candidates are to be compared by their shingles, as the recipe has it.

    Of the documents of earlier runs, the first `earlier` ranks, there are only signatures.
    """
    margin = DOUBT * math.sqrt(near.threshold * (1 - near.threshold) / near.permutations)
    doubtful: Flags = {
        "signature": np.zeros(len(candidates), bool),
        "border": np.abs(similarity - np.float32(near.threshold)) <= margin,
        "exact": np.ones(len(candidates), bool),
    }[near.verify] & (candidates & LOW >= np.uint64(earlier))
    return doubtful


def _verified(candidates: Pairs, verified: Pairs, reader: NearReader, connection: duckdb.DuckDBPyConnection) -> Pairs:
    """Candidates with the similarity of their sets of shingles where they are marked `exact`, else by signatures.

    `verified` are pairs whose sets were compared before.
    """
    similarity = candidates.similarity.copy()
    cached = candidates.exact & np.isin(candidates.packed, verified.packed, assume_unique=True)
    similarity[cached] = verified.similarity[np.searchsorted(verified.packed, candidates.packed[cached])]
    uncached = np.flatnonzero(candidates.exact & ~cached)
    if len(uncached):
        similarity[uncached] = _exact(candidates.take(uncached), reader, connection)
    return replace(candidates, similarity=similarity)


def place_keys(table: pa.Table) -> Numbers:
    """File and row of documents (file_no, row) as one number."""
    return _place_keys(table["file_no"].to_numpy(), table["row"].to_numpy())


def _place_keys(file_nos: npt.NDArray[Any], rows: Numbers) -> Numbers:
    keys: Numbers = (file_nos.astype(np.int64) << ROW_BITS) + rows
    return keys


def _exact(pairs: Pairs, reader: NearReader, connection: duckdb.DuckDBPyConnection) -> Similarities:
    """The Jaccard similarity of pairs' sets of shingles; the estimates where texts cannot be read."""
    connection.register("paired", pa.table({"first": pairs.first, "second": pairs.second}))
    connection.execute(
        """CREATE TEMP TABLE unshingled AS
        FROM ranked SEMI JOIN (SELECT first AS rank FROM paired UNION SELECT second FROM paired) USING (rank)
        ANTI JOIN shingled USING (rank)"""
    )
    documents = connection.sql("SELECT file_no, row FROM unshingled ORDER BY file_no, row").to_arrow_table()
    files = reader.shingle_sets(documents) if len(documents) else []
    if files:
        connection.execute(
            f"INSERT INTO shingled SELECT rank, {SHINGLES} "
            f"FROM {read_parquet(files)} JOIN unshingled USING (file_no, row)"
        )
    connection.execute("DROP TABLE unshingled")
    if len(documents) and not files:
        return pairs.similarity
    shingles = connection.sql(
        f"""SELECT first, second, a.{SHINGLES}, b.{SHINGLES} FROM paired
        JOIN shingled a ON a.rank = first JOIN shingled b ON b.rank = second"""
    )
    columns = [[batch[0], batch[1], jaccard(batch[2], batch[3])] for batch in shingles.to_arrow_reader(BATCH_ROWS)]
    first, second, similarity = (np.concatenate([batch[k].to_numpy() for batch in columns]) for k in range(3))
    return similarity[np.lexsort((first, second))]


def _duplicates(pairs: Pairs, threshold: float) -> tuple[Numbers, Numbers]:
    """The ranks of pairs that are duplicates."""
    same = pairs.take(np.flatnonzero(pairs.similarity >= np.float32(threshold)))
    return same.first, same.second


def _dropped(pairs: Pairs, threshold: float, documents: int) -> Numbers:
    """The pairs for which documents are dropped, each for one: its first survives."""
    same = np.flatnonzero(pairs.similarity >= np.float32(threshold))
    some = pairs.take(same)
    return same[survivors(some.first, some.second, documents)]


def _orphans(pairs: Pairs, dropped: Numbers, documents: int) -> Flags:
    """Which documents, by rank, survive so far and were compared with one that does not."""
    gone, found = np.zeros(documents, bool), np.zeros(documents, bool)
    gone[pairs.take(dropped).second] = True
    first, second = pairs.first, pairs.second
    found[second[gone[first]]] = True
    found[first[gone[second]]] = True
    return found & ~gone


def _load_near(dropping: Pairs, spread: Spread, connection: duckdb.DuckDBPyConnection) -> None:
    """Fill `near`: the documents that are dropped, and for which one."""
    for table in _named(dropping, spread):
        connection.register("chosen", table)
        connection.execute("INSERT INTO near SELECT file_no, row, other_file_no, other_row, similarity FROM chosen")
        connection.unregister("chosen")


def _parts_of(pairs: Pairs, spread: Spread, run: Path, digest: str, measured: str) -> Iterator[Part]:
    """Commit the compared pairs, those below the threshold too; `measured` is the digest of their signatures."""
    for k, table in enumerate(_named(pairs, spread)):
        yield write_part(run, PAIRS, digest, f"{k:05d}", table, contents=(measured,))


def _named(pairs: Pairs, spread: Spread) -> Iterator[pa.Table]:
    """Pairs as tables of documents, those of the second and then of the first, with similarity; one at least."""
    file_nos, rows = spread.by_rank("file_no"), spread.by_rank("row")
    for start in range(0, max(1, len(pairs.packed)), PAIRS_AT_ONCE):
        some = pairs.take(slice(start, start + PAIRS_AT_ONCE))
        yield pa.table({
            "file_no": file_nos[some.second], "row": rows[some.second],
            "other_file_no": file_nos[some.first], "other_row": rows[some.first],
            "similarity": some.similarity, "exact": some.exact,
        })  # fmt: skip


def plan_sets(reader: CorpusReader, documents: pa.Table) -> list[RereadTask]:
    """A task for each unit that has some of the documents (file_no, row), which are sorted."""
    return reader.plan(documents, [__name__])


def collect_sets(task: RereadTask) -> list[Part]:
    """The shingles of a task's documents, edited as they were when they were measured."""
    tables = []
    for documents, raw in task.texts():
        texts = apply_edits(raw, find_edits(raw, task.reading.editors))
        file_nos = np.full(len(documents), task.unit.file_no, np.int32)
        shingles = shingle_sets(texts, task.reading.shingle)
        tables.append(pa.table({"file_no": file_nos, "row": documents["row"], SHINGLES: shingles}))
    return [task.write(SHINGLES, tables)]

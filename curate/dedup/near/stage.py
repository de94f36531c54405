"""Near duplicates: each is dropped for a better document that it resembles and that survives.

Documents whose signatures agree in a band are candidates: in each band, every document is compared with the best one
of its key. When such a best document is itself dropped, the documents compared with it are banded again among each
other, until no new pair turns up. Whatever reads signatures is a map (`maps.py`); this module ranks the documents and
derives the verdicts, with a few bytes a document and a dozen a pair in memory.
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
from curate.maps.documents import document_keys, place_keys
from curate.maps.reread import CorpusReader, RereadTask
from curate.recipe.dedup import Near
from curate.sql import read_parquet

DOUBT = 3  # standard deviations around the threshold within which an estimate is verified
BATCH_ROWS = 1 << 16
KEYS_AT_ONCE = 1 << 23  # keys of a band in memory at a time
KEY_BYTES = 12  # a key and the rank of its document
KEY_FILES = 16 << 30  # bytes of keys on disk at a time
SLICE_ROWS = 1 << 19  # documents whose signatures and keys one task holds, at worst
MOST_SLICES = 1 << 9  # with more documents, slices grow instead
PAIRS_AT_ONCE = 1 << 22  # pairs in one part

Numbers = npt.NDArray[np.int64]
Similarities = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
RunTasks = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]  # what tasks return, in their order


@dataclass(frozen=True)
class Signatures:
    """The signatures of this run or of an earlier one."""

    run: Path
    parts: Sequence[Part]
    first_file_no: int = 0  # number of its file 0 in the cascade's tables; negative for earlier runs


@dataclass(frozen=True)
class Pairs:
    """Compared documents by rank, sorted by the second (worse) document and then the first (better) one."""

    packed: Packed
    similarity: Similarities
    exact: Flags  # similarity of whole texts, not of signatures

    @property
    def first(self) -> Numbers:
        """The ranks of the better documents."""
        return (self.packed & LOW).astype(np.int64)

    @property
    def second(self) -> Numbers:
        """The ranks of the others."""
        return (self.packed >> HALF).astype(np.int64)

    def plus(self, other: "Pairs") -> "Pairs":
        """Merge two sets of pairs."""
        order = np.argsort(joined := np.r_[self.packed, other.packed])
        columns = ((np.r_[a, b])[order] for a, b in ((self.similarity, other.similarity), (self.exact, other.exact)))
        return Pairs(joined[order], *columns)

    def take(self, indices: "slice | Numbers") -> "Pairs":
        """The pairs at some positions."""
        return Pairs(self.packed[indices], self.similarity[indices], self.exact[indices])

    def renumbered(self, order: Ranks) -> "Pairs":
        """The pairs by new ranks; `order` maps current ranks to new ones."""
        first, second = order[self.first], order[self.second]
        numbers = packed(np.minimum(first, second), np.maximum(first, second))
        positions = np.argsort(numbers)
        return Pairs(numbers[positions], self.similarity[positions], self.exact[positions])


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
    """Divide the documents into slices; write the rank of each document, and the place of the document of each rank."""
    [[documents, earlier]] = connection.execute("SELECT count(*), count(*) FILTER (file_no < 0) FROM ranked").fetchall()
    if documents >= NO_RANK:
        raise RunError(f"dedup.near: {documents:,} documents; at most {NO_RANK - 1:,} can be compared in one run")
    listed = [[(str((source.run / part.path).absolute()), part.rows) for part in source.parts] for source in signatures]
    slices = slices_of(listed, max(SLICE_ROWS, documents // MOST_SLICES))
    bits = max(0, math.ceil(math.log2(max(1, documents / KEYS_AT_ONCE))))
    spread = Spread(folder, tuple(slices), bands, bits, earlier, documents)
    kinds = {"file_no": np.int32, "row": np.int64, "slice": np.uint16}
    of_rank = {
        name: np.lib.format.open_memmap(spread.path(name), "w+", kind, (max(1, documents),))
        for name, kind in kinds.items()
    }
    first_file_nos = iter([source.first_file_no for source in signatures for _ in source.parts])
    for part_slice in slices:
        ranks = []
        for (path, _), first_file_no in zip(part_slice.parts, first_file_nos, strict=False):
            file_nos, rows = _documents_in(path, first_file_no)
            part_ranks = _ranks_of(file_nos, rows, connection)
            ranked_rows = np.flatnonzero(part_ranks != NO_RANK)
            of_rank["file_no"][part_ranks[ranked_rows]], of_rank["row"][part_ranks[ranked_rows]] = (
                file_nos[ranked_rows],
                rows[ranked_rows],
            )
            of_rank["slice"][part_ranks[ranked_rows]] = part_slice.number
            ranks.append(part_ranks)
        save(spread.path("ranks", part_slice.number), np.concatenate(ranks))
    save(spread.path("known"), NO_PAIRS.packed)
    for array in of_rank.values():
        array.flush()
    return spread


def _renumbered(spread: Spread, moved: Moved, connection: duckdb.DuckDBPyConnection) -> tuple[Spread, Ranks]:
    """Give documents new ranks, in new files and in the tables; return the new ranks by the old ones.

    The old files stay unchanged: an abandoned task may still read them.
    """
    order = np.arange(spread.documents, dtype=np.uint32)
    order[moved.before] = moved.after
    save(spread.path("order"), order)
    renumbered = replace(spread, renumbered=True)
    for name in ("file_no", "row", "slice"):
        values = np.array(spread.by_rank(name))
        values[moved.after] = values[moved.before]
        save(renumbered.ranked(name), values)
    for part_slice in spread.slices:
        ranks = np.load(spread.path("ranks", part_slice.number))
        compared = ranks != NO_RANK
        ranks[compared] = order[ranks[compared]]
        save(renumbered.ranked("ranks", part_slice.number), ranks)
    connection.register("moved", pa.table({"before": moved.before, "after": moved.after}))
    for table in ("ranked", "shingled"):
        connection.execute(f"UPDATE {table} SET rank = after FROM moved WHERE rank = before")
    connection.unregister("moved")
    return renumbered, order


def _documents_in(path: str, first_file_no: int) -> tuple[Numbers, Numbers]:
    """File numbers and rows of a part's documents; in earlier runs file numbers count down."""
    table = pq.read_table(path, columns=["file_no", "row"])
    step = -1 if first_file_no < 0 else 1
    return first_file_no + step * table["file_no"].to_numpy().astype(np.int64), table["row"].to_numpy()


def _ranks_of(file_nos: Numbers, rows: Numbers, connection: duckdb.DuckDBPyConnection) -> Ranks:
    """The rank of each document, or NO_RANK."""
    if not len(rows):
        return np.zeros(0, np.uint32)
    low, high = int(file_nos.min()), int(file_nos.max())
    within = f"AND row BETWEEN {rows.min()} AND {rows.max()}" if low == high else ""
    ranked = connection.sql(  # sorted, so DuckDB skips most of it
        f"SELECT file_no, row, rank FROM ranked WHERE file_no BETWEEN {low} AND {high} {within} ORDER BY file_no, row"
    ).to_arrow_table()
    if not len(ranked):
        return np.full(len(rows), NO_RANK)
    ranked_keys, keys = document_keys(ranked), place_keys(file_nos, rows)
    positions = np.minimum(np.searchsorted(ranked_keys, keys), len(ranked_keys) - 1)
    return np.where(ranked_keys[positions] == keys, ranked["rank"].to_numpy()[positions].astype(np.uint32), NO_RANK)


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
    """New candidates, sorted, with the similarity of their signatures.

    In each band every document (after the first round: every one flagged in `only`) is compared with the best one of
    its key.
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
    pairs = compared_pairs(spread, [task.number for task in sent])
    _forget(spread, "sent")
    _forget(spread, "pairs")
    return pairs


def _groups(spread: Spread) -> list[range]:
    """Group the pieces so that the keys of one group fit on disk; those of a single group are written once and kept."""
    at_once = max(1, KEY_FILES // (KEY_BYTES * max(1, spread.documents)))
    bands = range(0, spread.bands.count, at_once)
    last = spread.pieces
    return [range(k << spread.range_bits, min((k + at_once) << spread.range_bits, last)) for k in bands]


def _of_pieces(spread: Spread, group: range, first: int) -> list[Task]:
    """Tasks for the pieces of a group, numbered from `first`: one large piece each, or several small ones."""
    step = max(1, KEYS_AT_ONCE // max(1, spread.documents >> spread.range_bits))
    starts = range(group.start, group.stop, step)
    return [
        Task(spread, first + k, range(start, min(start + step, group.stop)), group.start)
        for k, start in enumerate(starts)
    ]


def _following(spread: Spread, tasks: Sequence[Task], counts: Sequence[Sequence[int]]) -> list[Task]:
    """A task for each slice that earlier tasks wrote a batch for; `counts` has the sizes by task and slice."""
    table = np.array(counts).reshape(len(tasks), len(spread.slices))
    written = {number: np.flatnonzero(table[:, number]).tolist() for number in range(len(spread.slices))}
    return [
        Task(spread, number, sources=tuple(tasks[k].number for k in writers))
        for number, writers in written.items()
        if writers
    ]


def _forget(spread: Spread, name: str) -> None:
    """Delete files that no later task reads."""
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
    """The ranks of pairs at or above the threshold."""
    duplicates = pairs.take(np.flatnonzero(pairs.similarity >= np.float32(threshold)))
    return duplicates.first, duplicates.second


def _dropped(pairs: Pairs, threshold: float, documents: int) -> Numbers:
    """Positions of the pairs by which documents are dropped, one pair a document; its better document survives."""
    duplicate_indices = np.flatnonzero(pairs.similarity >= np.float32(threshold))
    duplicates = pairs.take(duplicate_indices)
    return duplicate_indices[survivors(duplicates.first, duplicates.second, documents)]


def _orphans(pairs: Pairs, dropped: Numbers, documents: int) -> Flags:
    """Flags, by rank, the survivors that were compared with a dropped document."""
    gone, compared = np.zeros(documents, bool), np.zeros(documents, bool)
    gone[pairs.take(dropped).second] = True
    first, second = pairs.first, pairs.second
    compared[second[gone[first]]] = True
    compared[first[gone[second]]] = True
    return compared & ~gone


def _load_near(dropping: Pairs, spread: Spread, connection: duckdb.DuckDBPyConnection) -> None:
    """Fill `near`: the documents that are dropped, and for which one."""
    for table in _named(dropping, spread):
        connection.register("chosen", table)
        connection.execute("INSERT INTO near SELECT file_no, row, other_file_no, other_row, similarity FROM chosen")
        connection.unregister("chosen")


def _parts_of(pairs: Pairs, spread: Spread, run: Path, digest: str, signatures_digest: str) -> Iterator[Part]:
    """Commit the compared pairs, those below the threshold too; `measured` is the digest of their signatures."""
    for k, table in enumerate(_named(pairs, spread)):
        yield write_part(run, PAIRS, digest, f"{k:05d}", table, contents=(signatures_digest,))


def _named(pairs: Pairs, spread: Spread) -> Iterator[pa.Table]:
    """Tables of pairs: place of the second document, place of the first, similarity. At least one table."""
    file_nos, rows = spread.by_rank("file_no"), spread.by_rank("row")
    for start in range(0, max(1, len(pairs.packed)), PAIRS_AT_ONCE):
        batch = pairs.take(slice(start, start + PAIRS_AT_ONCE))
        yield pa.table({
            "file_no": file_nos[batch.second], "row": rows[batch.second],
            "other_file_no": file_nos[batch.first], "other_row": rows[batch.first],
            "similarity": batch.similarity, "exact": batch.exact,
        })  # fmt: skip


def plan_sets(reader: CorpusReader, documents: pa.Table) -> list[RereadTask]:
    """Plan a task for each unit with some of the documents (file_no, row; sorted)."""
    return reader.plan(documents, [__name__])


def collect_sets(task: RereadTask) -> list[Part]:
    """The shingles of a task's documents, edited as when they were measured."""
    tables = []
    for documents, raw in task.texts():
        texts = apply_edits(raw, find_edits(raw, task.reading.editors))
        file_nos = np.full(len(documents), task.unit.file_no, np.int32)
        shingles = shingle_sets(texts, task.reading.shingle)
        tables.append(pa.table({"file_no": file_nos, "row": documents["row"], SHINGLES: shingles}))
    return [task.write(SHINGLES, tables)]

"""Arms that tell what written documents are worth: real ones of their domains in their place, and those of the base.

ours             has the written documents that were accepted
up-sampled       has real documents of the same domains instead, a further time each, of at least as many tokens
base model       has what the model wrote without adapters, by the same gates, where the recipe has it compared
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.distill.draws import mixed
from curate.distill.evaluate.tokens import Encoded, Integers
from curate.filters.signals.hashes import hash_texts
from curate.ledger.augmented import read_augmented
from curate.ledger.names import COMPARED, COMPARISON, DATA, JUDGED, SYNTHETIC, WRITTEN_FOLDER
from curate.ledger.run import connect
from curate.maps.shards import our_name

UP_SAMPLED, BASE_MODEL = "up-sampled", "base model"
ACCEPTED = "accepted"


@dataclass(frozen=True, eq=False)
class WrittenTexts:
    """Accepted texts with their domains."""

    texts: pa.Array  # large_string
    domains: pa.Array


def written_texts(run: Path, column: str, inputs: pa.Schema, share: float, seed: int) -> dict[str, WrittenTexts]:
    """What was accepted with adapters, and what without, of each the share that a sample has of the real documents."""
    made = read_augmented(run)
    if made is None or not made.tokens:
        return {}
    folder = run / WRITTEN_FOLDER
    tables = {
        ACCEPTED: (folder / SYNTHETIC, folder),
        BASE_MODEL: (folder / COMPARED, folder / COMPARISON),
    }
    return {
        name: _read(table, judged / JUDGED / DATA, column, our_name("doc_id", inputs), share, seed)
        for name, (table, judged) in tables.items() if table.is_file()
    }  # fmt: skip


def _read(table: Path, data: Path, column: str, doc_id: str, share: float, seed: int) -> WrittenTexts:
    known = pq.read_table(table, columns=["doc_id", "domain", "accepted"])
    known = known.filter(known["accepted"])
    drawn = mixed(np.asarray(hash_texts(known["doc_id"].combine_chunks())[1]), seed, ACCEPTED)
    known = known.filter(pa.array(drawn < np.uint64(min(share, 1 - 2**-53) * 2.0**64)))
    texts, domains = [pa.array([], pa.large_string())], [pa.array([], pa.string())]
    for shard in sorted(data.glob("*.parquet")):
        read = pq.read_table(shard, columns=[doc_id, column])
        places = pc.index_in(read[doc_id].combine_chunks(), known["doc_id"].combine_chunks())
        there = places.is_valid()
        texts.append(read[column].combine_chunks().filter(there).cast(pa.large_string()))
        domains.append(known["domain"].combine_chunks().take(places.filter(there)).cast(pa.string()))
    return WrittenTexts(pa.concat_arrays(texts), pa.concat_arrays(domains))


def domains_of_sample(run: Path, names: pa.Array) -> pa.Array:
    """The domain of each document of a sample, by its doc_id; null where it is of none."""
    with connect(run) as connection:
        table = connection.sql("SELECT doc_id, domain FROM domain_documents").to_arrow_table()
    places = pc.index_in(names, table["doc_id"].combine_chunks())
    return table["domain"].combine_chunks().cast(pa.string()).take(places)


def written_arms(
    ours: Integers,
    pool: Encoded,
    domains: pa.Array,
    places: Mapping[str, Integers],
    of: Mapping[str, pa.Array],
    seed: int,
) -> dict[str, Integers]:
    """The arms, of places in the pool: `ours` of the real documents alone, which have `domains`.

    `places` are those of written texts, and `of` their domains.
    """
    arms = {}
    if BASE_MODEL in places:
        arms[BASE_MODEL] = np.concatenate([ours, places[BASE_MODEL]])
    more = []
    own = np.asarray(pc.fill_null(domains, "").to_pylist(), dtype=object)
    for name in pc.unique(of[ACCEPTED]).to_pylist():
        mask = pc.equal(of[ACCEPTED], name).to_numpy(zero_copy_only=False)
        real = ours[own == name]
        if len(real):
            more.append(_repeated(pool, real, int(pool.n_tokens[places[ACCEPTED][mask]].sum()), seed))
    arms[UP_SAMPLED] = np.concatenate([ours, *more])
    return arms


def _repeated(pool: Encoded, places: Integers, tokens: int, seed: int) -> Integers:
    """Documents of at least so many tokens, each again and again in an order drawn by seed.

    The last one is the shortest that brings enough, so that there are few tokens more, and never fewer.
    """
    order = places[np.argsort(mixed(places.astype(np.uint64), seed, UP_SAMPLED), kind="stable")]
    sizes = np.maximum(pool.n_tokens[order], 1)
    ends = np.cumsum(sizes)
    whole, rest = divmod(tokens, int(ends[-1]))
    fitting = int(np.searchsorted(ends, rest, "right"))
    found = [np.tile(order, whole), order[:fitting]]
    if lacking := rest - int(sizes[:fitting].sum()):
        enough = np.flatnonzero(sizes >= lacking)
        found.append(order[enough[[np.argmin(sizes[enough])]]])
    return np.concatenate(found)

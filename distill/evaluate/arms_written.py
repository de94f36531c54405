"""Arms that show what written documents add: real ones of their domains instead, and those of the base model.

ours             has the accepted written documents
up-sampled       has real documents of the same domains instead, repeated, with at least as many tokens
base model       has what the model wrote without adapters, through the same gates, where the recipe compares it
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
from curate.ledger.names import COMPARISON, COMPARISON_FILE, DATA, JUDGED, SYNTHETIC, WRITTEN_FOLDER
from curate.ledger.run import connect
from curate.maps.shards import output_name

UP_SAMPLED, BASE_MODEL = "up-sampled", "base model"
ACCEPTED = "accepted"


@dataclass(frozen=True, eq=False, slots=True)
class WrittenTexts:
    """Accepted texts with their domains."""

    texts: pa.Array  # large_string
    domains: pa.Array


def written_texts(run: Path, column: str, inputs: pa.Schema, share: float, seed: int) -> dict[str, WrittenTexts]:
    """The texts accepted with adapters and without them, of each the share that a sample has of the real documents."""
    augmented = read_augmented(run)
    if augmented is None or not augmented.tokens:
        return {}
    folder = run / WRITTEN_FOLDER
    doc_id = output_name("doc_id", inputs)
    written = {}
    for arm, table, judged in ((ACCEPTED, SYNTHETIC, folder), (BASE_MODEL, COMPARISON_FILE, folder / COMPARISON)):
        if (folder / table).is_file():
            sampled = _sampled(folder / table, share, seed)
            written[arm] = _read(judged / JUDGED / DATA, column, doc_id, sampled)
    return written


def _sampled(path: Path, share: float, seed: int) -> pa.Table:
    """A share of the accepted documents of a table of written ones, drawn by seed: doc_id, domain."""
    table = pq.read_table(path, columns=["doc_id", "domain", "accepted"])
    accepted = table.filter(table["accepted"])
    draws = mixed(np.asarray(hash_texts(accepted["doc_id"].combine_chunks())[1]), seed, ACCEPTED)
    return accepted.filter(pa.array(draws < np.uint64(min(share, 1 - 2**-53) * 2.0**64)))


def _read(data: Path, column: str, doc_id: str, documents: pa.Table) -> WrittenTexts:
    """The texts of written documents, from the output of the run that judged them."""
    texts, domains = [pa.array([], pa.large_string())], [pa.array([], pa.string())]
    for path in sorted(data.glob("*.parquet")):
        shard = pq.read_table(path, columns=[doc_id, column])
        indices = pc.index_in(shard[doc_id].combine_chunks(), documents["doc_id"].combine_chunks())
        is_sampled = indices.is_valid()
        texts.append(shard[column].combine_chunks().filter(is_sampled).cast(pa.large_string()))
        domains.append(documents["domain"].combine_chunks().take(indices.filter(is_sampled)).cast(pa.string()))
    return WrittenTexts(pa.concat_arrays(texts), pa.concat_arrays(domains))


def domains_of_sample(run: Path, doc_ids: pa.Array) -> pa.Array:
    """The domain of each document; null where it has none."""
    with connect(run) as connection:
        table = connection.sql("SELECT doc_id, domain FROM domain_documents").to_arrow_table()
    indices = pc.index_in(doc_ids, table["doc_id"].combine_chunks())
    return table["domain"].combine_chunks().cast(pa.string()).take(indices)


def written_arms(
    ours: Integers,
    domains: pa.Array,
    pool: Encoded,
    written: Mapping[str, Integers],
    accepted_domains: pa.Array,
    seed: int,
) -> dict[str, Integers]:
    """The arms, as indices in the pool.

    In:     `ours` are the real documents of the output, with their `domains`; `written` are the indices of the written
            texts, and `accepted_domains` the domains of the accepted ones.
    """
    arms = {}
    if BASE_MODEL in written:
        arms[BASE_MODEL] = np.concatenate([ours, written[BASE_MODEL]])
    repeated = []
    domain_names = np.asarray(pc.fill_null(domains, "").to_pylist(), dtype=object)
    for domain in pc.unique(accepted_domains).to_pylist():
        of_domain = pc.equal(accepted_domains, domain).to_numpy(zero_copy_only=False)
        real = ours[domain_names == domain]
        if len(real):
            tokens = int(pool.n_tokens[written[ACCEPTED][of_domain]].sum())
            repeated.append(_repeated(pool, real, tokens, seed))
    arms[UP_SAMPLED] = np.concatenate([ours, *repeated])
    return arms


def _repeated(pool: Encoded, indices: Integers, tokens: int, seed: int) -> Integers:
    """Documents of at least `tokens` tokens, cycled through in an order drawn by seed.

    The last one is the shortest that suffices, so that the surplus is small.
    """
    order = indices[np.argsort(mixed(indices.astype(np.uint64), seed, UP_SAMPLED), kind="stable")]
    sizes = np.maximum(pool.n_tokens[order], 1)
    ends = np.cumsum(sizes)
    cycles, remainder = divmod(tokens, int(ends[-1]))
    fitting = int(np.searchsorted(ends, remainder, "right"))
    repeated = [np.tile(order, cycles), order[:fitting]]
    if lacking := remainder - int(sizes[:fitting].sum()):
        sufficient = np.flatnonzero(sizes >= lacking)
        repeated.append(order[sufficient[[np.argmin(sizes[sufficient])]]])
    return np.concatenate(repeated)

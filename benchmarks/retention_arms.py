"""Measure what selections from a pool of quality_pools.py retain, given as ids; in seconds each.

Usage: python benchmarks/retention_arms.py POOL IDS.txt...

POOL is a folder of quality_pools.py. Each file of IDS is an arm: ids of documents of the pool, a line each, as often as
the document is to be read. N-gram models are trained as by `curate evaluate` on each arm, on all of the pool, and on
three draws of random documents with as many tokens as the arm (to .25 % of the pool, so that arms of one budget share
them). POOL/measured caches the encoded texts, and the bits of each model by a digest of its texts.

From Python: `measure(open_pool(Path("pools/seed-1/1")), {"mine": ids})` returns rows of table `retention`.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from purify import tell

from curate.distill.draws import Keys
from curate.distill.evaluate.heldout import read_heldout
from curate.distill.evaluate.measure import RANDOM, TOKENIZER, VOCABULARY, Arms, Proxy, measure_arms, random_draw
from curate.distill.evaluate.measure import tokenizer_of as train_tokenizer
from curate.distill.evaluate.proxy_ngram import NgramProxy
from curate.distill.evaluate.retention import FULL, ArmRetention, HeldoutDomains, retention
from curate.distill.evaluate.tokens import Encoded, EncodedCorpus, Integers, encode
from curate.filters.signals.hashes import hash_texts
from curate.recipe.evaluate import Evaluate
from curate.sql import literal
from curate.storage.files import committed

SEED, DRAWS = 1, 3
STEP = 0.0025  # of the pool's tokens: random draws have a multiple of it
PARTS = ("ids", "bounds", "n_bytes")  # of encoded texts


@dataclass(frozen=True, eq=False)
class OpenPool:
    """A pool with all its texts encoded."""

    folder: Path
    doc_ids: pa.Array
    sources: pa.Array
    planted: pa.Array
    keys: Keys  # hash of each id
    corpus: EncodedCorpus
    domains: HeldoutDomains


def open_pool(folder: Path, vocabulary: int = VOCABULARY) -> OpenPool:
    """Read a pool, and encode its texts unless an earlier call has."""
    from tokenizers import Tokenizer

    documents = duckdb.sql(
        f"SELECT id, text, source, planted FROM {literal(str(folder / 'pool' / '*.parquet'))} ORDER BY id"
    ).to_arrow_table()
    texts = documents["text"].cast(pa.large_string()).combine_chunks()
    doc_ids = documents["id"].combine_chunks()
    keys = np.asarray(hash_texts(doc_ids)[1])
    cache = folder / "measured" / str(vocabulary)
    if not (cache / TOKENIZER).exists():
        train_tokenizer(texts, keys, vocabulary, SEED, cache)
    tokenizer = Tokenizer.from_file(str(cache / TOKENIZER))
    section = Evaluate(heldout=[str(path) for path in sorted((folder / "heldout").glob("*.parquet"))])
    heldout = read_heldout(section, "text", SEED)
    corpus = EncodedCorpus(
        pool=_encoded(cache / "pool.npz", tokenizer, texts),
        heldout=_encoded(cache / "heldout.npz", tokenizer, heldout["text"].combine_chunks()),
        vocabulary=tokenizer.get_vocab_size(),
    )
    columns = {name: documents[name].combine_chunks() for name in ("source", "planted")}
    domains = HeldoutDomains(heldout["domain"].to_pylist(), corpus.heldout.n_bytes)
    return OpenPool(folder, doc_ids, columns["source"], columns["planted"], keys, corpus, domains)


def _encoded(path: Path, tokenizer: object, texts: pa.Array) -> Encoded:
    if not path.exists():
        encoded = encode(tokenizer, texts)  # type: ignore[arg-type]
        with committed(path) as aside, aside.open("wb") as file:
            np.savez(file, **{part: getattr(encoded, part) for part in PARTS})
    with np.load(path) as parts:
        return Encoded(*(parts[part] for part in PARTS))


def indices_of(pool: OpenPool, ids: Sequence[str]) -> Integers:
    """The documents with these ids, sorted, each as often as it is named."""
    indices = pc.index_in(pa.array(ids, pa.string()), pool.doc_ids.cast(pa.string()))
    if indices.null_count:
        raise SystemExit(f"{pool.folder}: no document {ids[indices.is_null().index(True).as_py()]!r}")
    return np.sort(indices.to_numpy().astype(np.int64))


def _draws(pool: OpenPool, arm: pa.Array | Sequence[str] | Sequence[Integers]) -> Sequence[Integers]:
    ids = arm.to_pylist() if isinstance(arm, pa.Array) else arm
    return [indices_of(pool, ids)] if isinstance(ids[0], str) else ids


def measure(
    pool: OpenPool,
    arms: Mapping[str, pa.Array | Sequence[str] | Sequence[Integers]],
    proxy: Proxy | None = None,
    draws: int = DRAWS,
) -> list[ArmRetention]:
    """R and G of arms by domain, and under None over all domains; with the full arm and the controls.

    An arm is the ids of its documents, or several draws of indices.
    """
    indices = {arm: _draws(pool, chosen) for arm, chosen in arms.items()}
    everything = np.arange(len(pool.doc_ids))
    total = int(pool.corpus.pool.n_tokens.sum())
    all_draws = {FULL: [everything], **indices}
    controls: dict[str, str] = {}
    for arm, chosen in indices.items():
        share = round(int(pool.corpus.pool.n_tokens[chosen[0]].sum()) / total / STEP) * STEP
        controls[arm] = control = f"{RANDOM}, {share:.2%}"
        controls[control] = control
        if control not in all_draws:
            size = round(share * total)
            all_draws[control] = [
                random_draw(pool.corpus.pool, pool.keys, everything, size, SEED, draw) for draw in range(draws)
            ]
    folder = pool.folder / "measured" / str(pool.corpus.vocabulary)
    models = measure_arms(pool.corpus, Arms(all_draws, controls), proxy or NgramProxy(), folder, 1)
    return retention(models, controls, pool.domains, SEED)


def arm_rows(pool: OpenPool, rows: Sequence[ArmRetention], arms: Mapping[str, Integers]) -> Iterable[Sequence[object]]:
    """Each arm over all domains."""
    yield ("arm", "documents", "tokens", "% tokens", "% bytes", "bits per byte", "retained R", "95 %",
           "gap closed G", "95 %", "R of random")  # fmt: skip
    encoded = pool.corpus.pool
    for row in (row for row in rows if row.domain is None):
        chosen = arms.get(row.arm)
        n_bytes = "" if chosen is None else f"{encoded.n_bytes[chosen].sum() / encoded.n_bytes.sum():.1%}"
        gap = ("", "") if row.gap_closed is None else (f"{row.gap_closed:.3f}", interval(row.gap_low, row.gap_high))
        yield (row.arm, f"{row.documents:,}", f"{row.tokens:,}", f"{row.tokens / encoded.n_tokens.sum():.1%}", n_bytes,
               f"{row.bits_per_byte:.4f}", f"{row.retained:.3f}", interval(row.retained_low, row.retained_high), *gap,
               f"{row.control_retained:.3f}")  # fmt: skip


def domain_rows(rows: Sequence[ArmRetention]) -> Iterable[Sequence[object]]:
    """Bits per byte, and G where an arm has it, by domain of the held-out texts."""
    domains = sorted({row.domain for row in rows if row.domain is not None})
    yield "bits per byte (G)", *domains
    by_arm = {(row.arm, row.domain): row for row in rows}
    for arm in dict.fromkeys(row.arm for row in rows):
        cells = [by_arm[arm, domain] for domain in domains]
        yield (
            arm,
            *(
                f"{row.bits_per_byte:.4f}" + ("" if row.gap_closed is None else f" ({row.gap_closed:.2f})")
                for row in cells
            ),
        )


def source_rows(pool: OpenPool, arms: Mapping[str, Integers]) -> Iterable[Sequence[object]]:
    """The share of each source in the bytes of an arm, and of all that are planted."""
    sources = sorted(set(pool.sources.to_pylist()))
    yield "% of the arm's bytes", "planted", *sources
    numbers = np.array([sources.index(source) for source in pool.sources.to_pylist()])
    planted = np.asarray(pool.planted.to_numpy(zero_copy_only=False), bool)
    n_bytes = pool.corpus.pool.n_bytes
    for arm, chosen in {FULL: np.arange(len(numbers)), **arms}.items():
        total = n_bytes[chosen].sum()
        shares = np.bincount(numbers[chosen], n_bytes[chosen], len(sources)) / total
        good = n_bytes[chosen][planted[chosen]].sum() / total
        yield arm, f"{good:.1%}", *(f"{share:.1%}" for share in shares)


def interval(low: float | None, high: float | None) -> str:
    """The 95 % interval of a figure."""
    return "" if low is None else f"{low:.3f} to {high:.3f}"


def main(folder: Path, files: Sequence[Path]) -> None:
    """Print the tables."""
    pool = open_pool(folder)
    ids = {path.stem: [line for line in path.read_text("utf-8").split() if line] for path in files}
    arms = {arm: indices_of(pool, chosen) for arm, chosen in ids.items()}
    rows = measure(pool, ids)
    tell(f"{folder}", arm_rows(pool, rows, arms))
    tell("By domain of the held-out texts", domain_rows(rows))
    tell("By source", source_rows(pool, arms))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])

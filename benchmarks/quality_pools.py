"""Mix the two pools that benchmarks/retention.py selects from: good texts planted among noise, by seed.

Usage: python benchmarks/quality_pools.py CORPORA FOLDER [SEED]

CORPORA is a folder with the Parquet files that are named here. For each pool this is written:

    FOLDER/<pool>/pool/part-*.parquet      id, text, source, license, and `planted`, which no recipe may read
    FOLDER/<pool>/reference/<domain>.parquet   what the user gives as good text: a quarter of the documents of a domain
    FOLDER/<pool>/heldout/<domain>.parquet     a quarter, for the proxy alone

Half of the documents of each domain are planted, by the hash of their text; the pools plant opposite halves. Of
literature, which is half of all good text, only so much is planted as POOLS says. No text stands in two parts: copies
are left out, and so is what shares more than a few n-grams of 13 words with another part (see `_apart`).
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from purify_corpus import place

from curate.distill.attacks.registry import apply_attacks, attacks, families
from curate.kernels.overlap import ngram_keys
from curate.sql import literal

SEED = 1
SHARDS = 8
NGRAM, LEAST = 13, 8  # words of an n-gram; of a text that is one itself
NOISE_SHARE, REFERENCE_SHARE, HELDOUT_SHARE = 0.1, 0.5, 0.2  # of n-grams that may stand in the other parts
TRACE_SHARE = 0.01  # of a held-out text's that may stand in files of noise: translated manuals repeat its code
HELDOUT_BYTES = 1_000_000  # of a domain
COLUMNS = "text, source, license"


@dataclass(frozen=True)
class Noise:
    """A file of noise: which of its documents, and how much of it (by places from 0 to 1)."""

    file: str
    where: str = "true"
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True)
class Pool:
    """What stands in a pool. Places are shares of a reference file's documents in the order of their hashes."""

    planted: float  # where the planted half begins; reference and held-out texts are the quarters behind it
    literature: int  # bytes of literature that are planted
    noise: tuple[Noise, ...]
    families: tuple[str, ...]  # attacks on good documents: those of these families that make them bad
    attacked: int  # bytes of what they make
    copies: float  # the share of documents of noise that stand there twice
    shuffled: int  # bytes of pages made of single lines of the noise


NOT_ENGLISH = "label NOT LIKE 'en%'"
POOLS = {
    "a": Pool(
        0.0, 9_000_000,
        (Noise("web/web_pages"), Noise("multilingual", NOT_ENGLISH, 0.0, 0.7), Noise("noise/email_spamassassin"),
         Noise("noise/email_lingspam"), Noise("noise/forum_chat_reviews_nltk"), Noise("noise/toxic_tweets"),
         Noise("noise/clickbait_headlines"), Noise("noise/fortunes_en"),
         Noise("noise/ocr_noise_pairs", "label <> 'clean'"), Noise("instruction/instruction_sft"),
         Noise("near_dups/debian_copyright")),
        ("seo_fluff", "boilerplate_splice", "ocr_heavy", "sentence_shuffle"), 46_000_000, 0.15, 12_000_000,
    ),
    "b": Pool(
        0.5, 6_000_000,
        (Noise("web/fed_speeches_pairs"), Noise("domains/finance_fed_speeches"),
         Noise("multilingual", NOT_ENGLISH, 0.6, 1.0), Noise("benchmarks/benchmarks"),
         Noise("near_dups/synthetic_known_jaccard")),
        ("confident_filler", "repetition", "number_entity_swap", "contradiction", "truncation_splice"),
        34_000_000, 0.1, 8_000_000,
    ),
}  # fmt: skip


def mix(corpora: Path, folder: Path, name: str, pool: Pool, seed: int = SEED) -> Path:
    """Write a pool, its reference and its held-out texts below a folder, unless they are there."""
    output = folder / name
    if (output / "pool").exists():
        return output
    domains = {path.stem: _read(path, "true", seed) for path in sorted((corpora / "reference").glob("*.parquet"))}
    half, reference, heldout = ({d: _part(t, pool.planted + begin, size) for d, t in domains.items()}
                                for begin, size in ((0, 0.5), (0.5, 0.25), (0.75, 0.25)))  # fmt: skip
    planted = pa.concat_tables(_first(table, pool.literature) if d == "literature" else table
                               for d, table in half.items())  # fmt: skip
    good = _keys(pa.concat_tables([*reference.values(), *heldout.values()]))
    files = pa.concat_tables(_files(corpora, pool, seed))
    heldout = {domain: _apart(table, _keys(files), TRACE_SHARE) for domain, table in heldout.items()}
    noise = _apart(pa.concat_tables([files, *_made_noise(files, pool, half, seed)]), good, NOISE_SHARE)
    known = _keys(pa.concat_tables([planted, noise]))
    reference = {domain: _apart(table, known, REFERENCE_SHARE) for domain, table in reference.items()}
    known = np.sort(np.concatenate([known, _keys(pa.concat_tables(reference.values()))]))
    heldout = {d: _first(_apart(table, known, HELDOUT_SHARE), HELDOUT_BYTES) for d, table in heldout.items()}
    for part, tables in (("reference", reference), ("heldout", heldout)):
        (output / part).mkdir(parents=True, exist_ok=True)
        for domain, table in tables.items():
            pq.write_table(table.drop_columns(["place"]), output / part / f"{domain}.parquet")
    _write_shards(output / "pool", name, planted, noise, seed)
    return output


def _read(path: Path, where: str, seed: int) -> pa.Table:
    """The documents of a file, each text once, by their places from 0 to 1, which depend on texts and seed alone."""
    table = duckdb.sql(
        f"""SELECT text, {literal(path.stem)} AS source, any_value(license ORDER BY id) AS license
        FROM {literal(str(path))} WHERE length(trim(text)) > 0 AND {where} GROUP BY text"""
    ).to_arrow_table()
    places = [place(text, seed) for text in table["text"].to_pylist()]
    return table.append_column("place", pa.array(places, pa.float64())).sort_by("place")


def _part(table: pa.Table, begin: float, size: float) -> pa.Table:
    """The documents with places from `begin` on, behind 1 from 0 on again."""
    places = (table["place"].to_numpy() - begin) % 1.0
    return table.filter(pa.array(places < size))


def _first(table: pa.Table, size: int) -> pa.Table:
    """The first documents with so many bytes together; those beyond a tenth of it are passed over."""
    lengths = pc.binary_length(table["text"]).to_numpy()
    table, lengths = table.filter(pa.array(lengths <= size / 10)), lengths[lengths <= size / 10]
    return table.slice(0, int(np.searchsorted(np.cumsum(lengths), size)))


def _keys(table: pa.Table) -> npt.NDArray[np.uint64]:
    """The n-grams of all texts together, sorted."""
    return np.sort(np.concatenate([ngram_keys(_texts(some), NGRAM, LEAST)[0] for some in _pieces(table)]))


def _apart(table: pa.Table, known: npt.NDArray[np.uint64], share: float) -> pa.Table:
    """The documents of which no more than a share of the n-grams stands among those known; short ones are left out."""
    kept = []
    for some in _pieces(table):
        keys, rows, _ = ngram_keys(_texts(some), NGRAM, LEAST)
        places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        shared = np.bincount(rows, known[places] == keys, len(some))
        count = np.bincount(rows, minlength=len(some))
        short_noise = (count == 0) & (share == NOISE_SHARE)  # headlines and the like are too short to hold anything
        kept.append(some.filter(pa.array(((count > 0) & (shared <= share * count)) | short_noise)))
    return pa.concat_tables(kept)


def _pieces(table: pa.Table) -> Iterator[pa.Table]:
    return (table.slice(k, 4096) for k in range(0, len(table), 4096))


def _texts(table: pa.Table) -> pa.Array:
    return table["text"].cast(pa.large_string()).combine_chunks()


def _files(corpora: Path, pool: Pool, seed: int) -> Iterator[pa.Table]:
    """The noise that comes from files."""
    for noise in pool.noise:
        yield _part(_read(corpora / f"{noise.file}.parquet", noise.where, seed), noise.low, noise.high - noise.low)


def _made_noise(files: pa.Table, pool: Pool, half: dict[str, pa.Table], seed: int) -> Iterator[pa.Table]:
    """The noise that is made: copies, attacked good texts, and single lines together."""
    yield files.filter(pa.array([place(text, seed + 1) < pool.copies for text in files["text"].to_pylist()]))
    yield _attacked(pa.concat_tables(half.values()), pool, seed)
    yield _shuffled(files, pool.shuffled, seed)


def _attacked(good: pa.Table, pool: Pool, seed: int) -> pa.Table:
    """Good documents made bad, those of shortest hash first, as many of each attack as there is room for."""
    ids = pa.array([f"{place:.12f}" for place in good["place"].to_pylist()])
    asked = pa.table({"doc_id": ids, "text": good["text"].cast(pa.large_string())})
    names = [name for family in pool.families for name in families()[family] if attacks()[name].bad]
    license_of = dict(zip(ids.to_pylist(), good["license"].to_pylist(), strict=True))
    some = good["text"].to_pylist()[:200]
    size = pool.attacked // len(names)
    wanted = int(1.5 * size * len(asked) / asked["text"].nbytes)
    parts = []
    for name in names:
        made = apply_attacks(asked, [name], wanted, seed, some)
        table = pa.table({
            "text": made["text"].cast(pa.string()), "source": pa.array(["attacked"] * len(made)),
            "license": pa.array([license_of[doc_id] for doc_id in made["doc_id"].to_pylist()], pa.string()),
            "place": pa.array(np.zeros(len(made))),
        })  # fmt: skip
        parts.append(_first(table, size))
    return pa.concat_tables(parts)


def _shuffled(noise: pa.Table, size: int, seed: int) -> pa.Table:
    """Pages of 40 lines, each from anywhere in the noise."""
    lines = [line for text in noise["text"].to_pylist() for line in text.splitlines() if len(line.strip()) > 1]
    draw, texts, made = Random(f"{seed} shuffled"), [], 0
    while made < size:
        texts.append("\n".join(draw.choices(lines, k=40)))
        made += len(texts[-1].encode())
    n = len(texts)
    return pa.table({
        "text": pa.array(texts), "source": pa.array(["shuffled"] * n), "license": pa.array(["various"] * n),
        "place": pa.array(np.zeros(n)),
    })  # fmt: skip


def _write_shards(folder: Path, name: str, planted: pa.Table, noise: pa.Table, seed: int) -> None:
    """All documents in an order drawn by seed."""
    flags = np.repeat([True, False], [len(planted), len(noise)])
    table = pa.concat_tables([planted, noise]).drop_columns(["place"]).append_column("planted", pa.array(flags))
    table = table.take(pa.array(np.random.default_rng(seed).permutation(len(table))))
    ids = pa.array([f"{name}-{k:06d}" for k in range(len(table))])
    table = table.add_column(0, "id", ids)
    aside = folder.with_name("pool.aside")
    aside.mkdir(parents=True, exist_ok=True)
    step = -(-len(table) // SHARDS)
    for k in range(SHARDS):
        pq.write_table(table.slice(k * step, step), aside / f"part-{k}.parquet")
    aside.rename(folder)


def tell(output: Path) -> None:
    """Print what stands in a pool."""
    for part in ("pool", "reference", "heldout"):
        print(f"\n{output.name}, {part}\n\n| source | planted | documents | MB |\n|---|---|---|---|")
        flag = "planted" if part == "pool" else "NULL"
        for row in duckdb.sql(
            f"""SELECT coalesce(source, 'all'), {flag}, count(*), round(sum(strlen(text)) / 1e6, 2)
            FROM '{output}/{part}/*.parquet' GROUP BY GROUPING SETS ((1, 2), ()) ORDER BY 2 DESC, 1"""
        ).fetchall():
            print("|", " | ".join(str("" if cell is None else cell) for cell in row), "|")


if __name__ == "__main__":
    for pool_name, one in POOLS.items():
        given = int(sys.argv[3]) if len(sys.argv) > 3 else SEED
        tell(mix(Path(sys.argv[1]), Path(sys.argv[2]), pool_name, one, given))

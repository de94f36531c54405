"""Mix the pools that retention is measured on: good texts planted among noise, by seed.

Usage: python benchmarks/quality_pools.py CORPORA FOLDER [SEED [POOL ...]]

CORPORA is a folder with the Parquet files that POOLS names. Without POOL all pools are mixed. Those with versions of a
manual fetch its source archives from the package index by pip into FOLDER/manuals, unless they are there. For each pool
this is written:

    FOLDER/seed-<seed>/<pool>/pool/part-*.parquet   id, text, source, license, and `planted`, which no recipe may read
                             reference/*.parquet    what the user gives as good text: a quarter of each kind
                             heldout/*.parquet      a quarter, for the proxy alone

Half of the documents of each kind may be planted, by the hash of their text; a pool plants one half or the other, and
of it as many bytes as POOLS says. No text stands in two parts: copies are left out, and so is what shares more than a
few n-grams of 13 words with another part (see `_apart`).

Settings are chosen on pools of odd number and seed 1; pools of even number, and other seeds, are for reporting only.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from purify_corpus import place
from quality_noise import attacked, contracts, manual_versions, shuffled

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
class Source:
    """A file: which of its documents, which part of them by places from 0 to 1, and how many bytes at most."""

    file: str
    where: str = "true"
    low: float = 0.0
    high: float = 1.0
    size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Pool:
    """What stands in a pool. Sizes are bytes; places are shares of a file's documents in the order of their hashes."""

    about: str
    planted: float = 0.0  # where the planted half begins; reference and held-out texts are the quarters behind it
    good: Mapping[str, int] = field(default_factory=dict)  # planted of a kind
    others: int | None = None  # planted of each other kind; None: its whole half
    strangers: tuple[Source, ...] = ()  # planted of kinds that are neither in the reference nor held out
    reference: int | None = None  # documents of a kind, at most
    unknown: tuple[str, ...] = ()  # kinds that the reference lacks
    heldout: int = HELDOUT_BYTES  # of a kind
    noise: tuple[Source, ...] = ()
    families: tuple[str, ...] = ()  # attacks on good documents: those of these families that make them bad
    attacked: int = 0  # of what they make
    copies: float = 0.0  # the share of documents of noise that stand there twice
    shuffled: int = 0  # of pages made of single lines of the noise
    contracts: int = 0  # with formulae and tables, most of them in several versions
    manuals: Mapping[str, int] = field(default_factory=dict)  # of all versions of a project's manual together


NOT_ENGLISH = "label NOT LIKE 'en%'"
WEB, PAGES = "web/web_pages", "label = 'noisy'"
MAIL, LINGSPAM, FORUM = "noise/email_spamassassin", "noise/email_lingspam", "noise/forum_chat_reviews_nltk"
SPEECHES = "web/fed_speeches_pairs"
COPYRIGHT = "near_dups/debian_copyright"
SMALL = 400_000  # of a kind, held out in pools of which an arm is to be measured in seconds
POOLS = {
    "a": Pool(
        about="two large pools with 19 % good texts, the first of them among web pages, mail and other languages",
        good={"literature": 9_000_000},
        noise=(
            Source(WEB), Source("multilingual", NOT_ENGLISH, 0.0, 0.7), Source(MAIL), Source(LINGSPAM), Source(FORUM),
            Source("noise/toxic_tweets"), Source("noise/clickbait_headlines"), Source("noise/fortunes_en"),
            Source("noise/ocr_noise_pairs", "label <> 'clean'"), Source("instruction/instruction_sft"),
            Source(COPYRIGHT),
        ),
        families=("seo_fluff", "boilerplate_splice", "ocr_heavy", "sentence_shuffle"),
        attacked=46_000_000, copies=0.15, shuffled=12_000_000,
    ),
    "b": Pool(
        about="the second among speeches, benchmarks and near duplicates",
        planted=0.5,
        good={"literature": 6_000_000},
        noise=(
            Source(SPEECHES), Source("domains/finance_fed_speeches"), Source("multilingual", NOT_ENGLISH, 0.6, 1.0),
            Source("benchmarks/benchmarks"), Source("near_dups/synthetic_known_jaccard"),
        ),
        families=("confident_filler", "repetition", "number_entity_swap", "contradiction", "truncation_splice"),
        attacked=34_000_000, copies=0.1, shuffled=8_000_000,
    ),
    "1": Pool(
        about="19 % good among web, mail, forum, contracts, and seven versions of one manual (Django)",
        good={"literature": 1_600_000, "medical": 1_300_000}, others=1_000_000, heldout=SMALL,
        noise=(Source(WEB, PAGES, size=9_000_000), Source(MAIL), Source(FORUM),
               Source("multilingual", NOT_ENGLISH, size=2_000_000)),
        families=("boilerplate_splice", "ocr_heavy"), attacked=1_500_000, copies=0.05,
        contracts=4_000_000, manuals={"django": 7_000_000},
    ),
    "2": Pool(
        about="16 % good among seven versions of another manual (SQLAlchemy), mailing lists, speeches as whole pages, "
              "licences and contracts; good texts of law and of source code are thin",
        planted=0.5,
        good={"legal": 250_000, "source_code_docs": 250_000, "literature": 2_000_000}, others=900_000, heldout=SMALL,
        noise=(Source(LINGSPAM), Source(SPEECHES, PAGES, size=7_000_000), Source(COPYRIGHT, size=3_000_000),
               Source(FORUM, "label IN ('pos', 'neg')"), Source(WEB, PAGES, size=3_000_000)),
        families=("seo_fluff", "truncation_splice"), attacked=1_500_000, copies=0.05,
        contracts=2_500_000, manuals={"sqlalchemy": 7_000_000},
    ),
    "3": Pool(
        about="24 % good among contracts full of formulae, tables and numbers, licences and other languages: "
              "bytes per token differ widely by source",
        planted=0.25, others=800_000, heldout=SMALL,
        noise=(Source(COPYRIGHT, size=5_000_000), Source("multilingual", NOT_ENGLISH, size=5_000_000),
               Source(WEB, PAGES, size=2_000_000)),
        families=("number_entity_swap",), attacked=2_000_000, contracts=11_000_000,
    ),
    "4": Pool(
        about="60 % good among web, mail and attacked texts",
        planted=0.75,
        good={"literature": 5_000_000, "technical_docs": 4_500_000, "medical": 4_000_000}, heldout=SMALL,
        noise=(Source(WEB, PAGES, size=5_000_000), Source(LINGSPAM), Source("noise/toxic_tweets")),
        families=("contradiction", "sentence_shuffle", "repetition"), attacked=5_000_000,
    ),
    "5": Pool(
        about="18 % good, of sources of very different size: of the good texts 70 % are literature and four kinds "
              "have 1 % each; of the noise two thirds are web pages and instructions",
        planted=0.5,
        good={"literature": 4_500_000, "technical_docs": 1_300_000, "medical": 400_000}, others=70_000, heldout=SMALL,
        noise=(Source(WEB, size=13_000_000), Source("instruction/instruction_sft", size=6_000_000),
               Source(MAIL, size=3_000_000), Source("noise/clickbait_headlines", size=300_000),
               Source("noise/fortunes_en", size=150_000), Source("noise/toxic_tweets", size=600_000)),
        families=("seo_fluff", "confident_filler"), attacked=4_000_000, copies=0.1,
    ),
    "6": Pool(
        about="18 % good among web, mail, reviews and instructions, with a reference of 40 documents of a kind",
        planted=0.25, others=800_000, reference=40, heldout=SMALL,
        noise=(Source(WEB, size=9_000_000), Source(LINGSPAM), Source(MAIL, size=3_000_000), Source(FORUM),
               Source("instruction/instruction_sft", size=4_000_000)),
        families=("boilerplate_splice", "truncation_splice"), attacked=2_000_000, shuffled=2_000_000, copies=0.1,
    ),
    "7": Pool(
        about="6 % good among noise of many languages",
        good={"literature": 500_000}, others=380_000, heldout=SMALL,
        noise=(Source("multilingual", NOT_ENGLISH, size=20_000_000), Source(WEB, PAGES, size=8_000_000), Source(FORUM),
               Source("noise/toxic_tweets"), Source("noise/clickbait_headlines"), Source("noise/fortunes_en")),
        families=("ocr_heavy", "seo_fluff"), attacked=2_000_000, shuffled=2_000_000, copies=0.1,
    ),
    "8": Pool(
        about="30 % good, of which a third is speeches that are neither in the reference nor held out; the reference "
              "lacks literature and law, and nothing encyclopedic is planted",
        planted=0.75, good={"encyclopedic": 0, "literature": 1_500_000}, others=1_000_000,
        strangers=(Source("domains/finance_fed_speeches", size=3_000_000),),
        unknown=("literature", "legal"), reference=120, heldout=SMALL,
        noise=(Source(WEB, PAGES, size=9_000_000), Source(MAIL), Source("benchmarks/benchmarks", size=4_000_000)),
        families=("confident_filler", "sentence_shuffle"), attacked=3_000_000, copies=0.1,
    ),
    "9": Pool(
        about="48 % good among attacked texts and little else, with a reference of 80 documents of a kind",
        planted=0.5, good={"literature": 3_500_000, "medical": 2_500_000}, others=1_500_000, reference=80,
        heldout=SMALL,
        noise=(Source(WEB, PAGES, size=4_000_000), Source(SPEECHES, PAGES, size=2_000_000),
               Source(MAIL, size=1_500_000)),
        families=("seo_fluff", "boilerplate_splice", "truncation_splice", "ocr_heavy", "repetition"),
        attacked=8_000_000,
    ),
}  # fmt: skip


def mix(corpora: Path, folder: Path, name: str, pool: Pool, seed: int = SEED) -> Path:
    """Write a pool, its reference and its held-out texts below a folder, unless they are there."""
    output = folder / name
    if (output / "pool").exists():
        return output
    kinds = {path.stem: _read(path, "true", seed) for path in sorted((corpora / "reference").glob("*.parquet"))}
    half, reference, heldout = ({kind: _part(table, pool.planted + begin, size) for kind, table in kinds.items()}
                                for begin, size in ((0, 0.5), (0.5, 0.25), (0.75, 0.25)))  # fmt: skip
    planted = pa.concat_tables([
        *(_first(table, pool.good.get(kind, pool.others)) for kind, table in half.items()),
        *_files(corpora, pool.strangers, seed),
    ])  # fmt: skip
    good = _keys(pa.concat_tables([*reference.values(), *heldout.values()]))
    files = pa.concat_tables(_files(corpora, pool.noise, seed))
    heldout = {kind: _apart(table, _keys(files), TRACE_SHARE) for kind, table in heldout.items()}
    noise = _apart(pa.concat_tables([files, *_made_noise(files, pool, half, folder, seed)]), good, NOISE_SHARE)
    known = _keys(pa.concat_tables([planted, noise]))
    reference = {kind: _apart(table, known, REFERENCE_SHARE).slice(0, pool.reference)
                 for kind, table in reference.items() if kind not in pool.unknown}  # fmt: skip
    known = np.sort(np.concatenate([known, _keys(pa.concat_tables(reference.values()))]))
    heldout = {kind: _first(_apart(table, known, HELDOUT_SHARE), pool.heldout) for kind, table in heldout.items()}
    for part, tables in (("reference", reference), ("heldout", heldout)):
        (output / part).mkdir(parents=True, exist_ok=True)
        for kind, table in tables.items():
            pq.write_table(table.drop_columns(["place"]), output / part / f"{kind}.parquet")
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


def _first(table: pa.Table, size: int | None) -> pa.Table:
    """The first documents with so many bytes together, those beyond a tenth of it passed over; None: all of them."""
    if size is None:
        return table
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


def _files(corpora: Path, files: tuple[Source, ...], seed: int) -> Iterator[pa.Table]:
    """The documents of files."""
    for file in files:
        table = _read(corpora / f"{file.file}.parquet", file.where, seed)
        yield _first(_part(table, file.low, file.high - file.low), file.size)


def _made_noise(files: pa.Table, pool: Pool, half: dict[str, pa.Table], folder: Path, seed: int) -> Iterator[pa.Table]:
    """The noise that is made: copies, attacked good texts, single lines together, contracts, versions of a manual."""
    yield files.filter(pa.array([place(text, seed + 1) < pool.copies for text in files["text"].to_pylist()]))
    for table, size in attacked(pa.concat_tables(half.values()), pool.families, pool.attacked, seed):
        yield _first(table, size)
    if pool.shuffled:
        yield shuffled(files, pool.shuffled, seed)
    if pool.contracts:
        yield contracts(half["legal"], pool.contracts, seed)
    for project, size in pool.manuals.items():
        yield manual_versions(folder.parent / "manuals", project, size, seed)


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
    corpora, folder = map(Path, sys.argv[1:3])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else SEED
    for name in sys.argv[4:] or POOLS:
        tell(mix(corpora, folder / f"seed-{seed}", name, POOLS[name], seed))

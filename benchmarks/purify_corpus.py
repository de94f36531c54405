"""What benchmarks/purify.py trains on and tests on: parted by pages and texts, by seed, so that the two never meet.

    reference  half of each file of good documents
    mined      half of the web pages, whatever their label, each with its clean text
    good       the other half of the good documents
    others     the other half of the web pages, mail, scans, graded pages

Every document has a `domain` (its file's name) and a `half` by the hash of its text, as in discriminator_trials.py:
settings were chosen while looking at `tuning`, and the figures are of `testing`.
"""

from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh3_64_intdigest

from curate.distill.scoring.discriminator import groups_of
from curate.sql import literal

GRADE = "regexp_extract(label, 'edu=([^;]+)', 1)"
FILES = {  # those that are tested, and SQL for what is bad: true, false, or null for neither
    "web": ("web/web_pages", "label = 'noisy'"),
    "mail": ("noise/email_spamassassin", "label = 'spam'"),
    "lingspam": ("noise/email_lingspam", "label = 'spam'"),
    "ocr": ("noise/ocr_noise_pairs", "regexp_matches(label, 'level=[2-9]')"),
    "edu": ("quality/edu_score_fineweb_en", "NULL::BOOLEAN"),
}
PLANTED, PROXY = 0.2, 0.5  # of the good documents that are tested: up to here in the pool, up to here for the proxy


@dataclass(frozen=True)
class Material:
    """The files that were written. Those that are tested have text, part, domain, label, half, bad, grade, place."""

    reference: Path  # a folder with a file for each domain: text, domain
    mined: Path  # text, domain
    tested: Path


def part_corpora(corpora: Path, folder: Path, seed: int, without: str | None = None) -> Material:
    """Write all of it below a folder, unless it is there.

    The reference may be `without` a domain, of which then no more is tested than of the others.
    """
    reference = folder / "reference"
    material = Material(reference, folder / "mined.parquet", folder / "tested.parquet")
    if material.tested.exists():
        return material
    reference.mkdir(parents=True, exist_ok=True)
    tested = []
    for domain in (path.stem for path in sorted((corpora / "reference").glob("*.parquet"))):
        table = _read(corpora / "reference" / f"{domain}.parquet", "good", domain, "false", seed, by="text")
        known, rest = _halves(table)
        if domain != without:
            pq.write_table(known.select(["text", "domain"]), reference / f"{domain}.parquet")
        tested.append(rest)
    for part, (file, bad) in FILES.items():
        by = "split_part(id, '|', 1)" if part == "web" else "text"
        table = _read(corpora / f"{file}.parquet", part, part, bad, seed, by)
        if part == "web":
            known, table = _halves(table)
            pq.write_table(known.select(["text", "domain"]), material.mined)
        tested.append(table)
    pq.write_table(pa.concat_tables(tested), material.tested)
    return material


def _read(path: Path, part: str, domain: str, bad: str, seed: int, by: str) -> pa.Table:
    """The documents of a file, each once, in the order of its rows, with their places from 0 to 1."""
    table = duckdb.sql(
        f"""SELECT text, {literal(part)} AS part, {literal(domain)} AS domain, label, {bad} AS bad,
            TRY_CAST({GRADE} AS DOUBLE) AS grade, {by} AS key FROM {literal(str(path))}
        WHERE text <> '' QUALIFY row_number() OVER (PARTITION BY text ORDER BY file_row_number) = 1
        ORDER BY file_row_number"""
    ).to_arrow_table()
    places = [place(key, seed) for key in table["key"].to_pylist()]
    odd = groups_of(table["text"].combine_chunks().cast(pa.large_string())) % np.uint64(2) == 1
    table = table.append_column("half", pa.array(np.where(odd, "testing", "tuning").astype(object), pa.string()))
    return table.drop_columns(["key"]).append_column("place", pa.array(places, pa.float64()))


def place(key: str, seed: int) -> float:
    """A number from 0 to 1 that depends on nothing but a key and the seed."""
    return xxh3_64_intdigest(key.encode(), seed) / 2.0**64


def _halves(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Those placed in the first half, and the rest, whose places then go from 0 to 1."""
    places = table["place"].to_numpy()
    rest = table.filter(pa.array(places >= 0.5))
    fresh = pa.array(rest["place"].to_numpy() * 2 - 1)
    at = table.schema.get_field_index("place")
    return table.filter(pa.array(places < 0.5)), rest.set_column(at, "place", fresh)

"""Which known findings about quality filters hold here: who is dropped by each filter alone.

Usage: python benchmarks/who.py CORPORA FOLDER [WORDS]

CORPORA is a folder with the Parquet files named below, with columns `id`, `text`, `source` and `url`. FOLDER keeps the
runs. WORDS is a list of bad words, one a line, such as LDNOOBW's English one (CC-BY 4.0), which C4 was filtered by.

Each filter is a run over the same documents with nothing else in it. Groups are compared with the rest, overall and
among documents of one source and length. No text is generated, no threshold is chosen here. It takes some ten minutes.
"""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from curate.engine.base import InProcess
from curate.inspect.who import who_of_run
from curate.pipeline.run import run
from curate.recipe.load import load_recipe
from curate.who.rates import ALL, Rate

FILES = {  # documents at most
    "noise/toxic_tweets": 4000,
    "noise/forum_chat_reviews_nltk": 1500,
    "noise/email_spamassassin": 1500,
    "domains/finance_fed_speeches": 1100,
    "reference/news_speeches_brown": 1300,
    "quality/edu_score_fineweb_en": 1100,
    "web/web_pages": 1700,
}
REFERENCE = ("encyclopedic", "legal", "medical", "literature")  # of good texts, none of them among the documents
COLUMNS = ["id", "text", "source", "url"]
FILTERS = {
    "language en": {"tier1": {"language": {"keep": ["en"]}}},
    "gopher": {"tier1": {"rules": ["gopher"]}},
    "c4": {"tier1": {"rules": ["c4"]}},
    "fineweb": {"tier1": {"rules": ["fineweb"]}},
    "coarse_score, best half of tokens": {
        "distill": {"keep_tokens": "50%", "scores": {"coarse_score": 1.0}, "quotas": None}
    },
    "purify": {"tier2": True},
}
# What others found, and the filter, dimension and group that could show it here; the sign that they found.
SCORE = "coarse_score, best half of tokens"
FINDINGS = (
    ("African American English is taken for another language (Blodgett and O'Connor 2017)", "language en", "dialect"),
    ("a list of bad words drops African American English (Dodge et al. 2021)", "bad words", "dialect"),
    ("the list drops mentions of gay and lesbian people (Dodge et al. 2021)", "bad words", "gay_and_lesbian_people"),
    ("a list of bad words drops mentions of transgender people (Dodge et al. 2021)", "bad words", "transgender_people"),
    ("a list of bad words drops mentions of women", "bad words", "women"),
    ("a quality score drops colloquial writing (Gururangan et al. 2022)", SCORE, "colloquial"),
    ("a quality score keeps formal writing (Gururangan et al. 2022)", SCORE, "formal"),
    ("a quality classifier drops colloquial writing (Gururangan et al. 2022)", "purify", "colloquial"),
    ("a quality classifier keeps formal writing (Gururangan et al. 2022)", "purify", "formal"),
    ("a quality classifier drops dialect", "purify", "dialect"),
    ("rules of form drop colloquial writing", "gopher", "colloquial"),
    ("rules of form drop dialect", "gopher", "dialect"),
)  # fmt: skip


def main(corpora: Path, folder: Path, words: str | None = None) -> None:
    """Run every filter, and print what it does to groups, then the findings."""
    filters = dict(FILTERS)
    if words is not None:
        filters = {"bad words": {"tier1": {"block": [{"reason": "bad_words", "words": words}]}}} | filters
    write_pool(corpora, folder / "in")
    measured = {}
    for name, sections in filters.items():
        measured[name] = rates_of(corpora, folder, name, sections)
        print(f"{'group':44} {'documents':>9} {'dropped':>8} {'rest':>7}  difference in points          within strata")
        for rate in sorted(measured[name], key=lambda rate: (rate.dimension, -rate.documents)):
            if rate.mark or rate.within_mark:
                print(line(rate), flush=True)
    print("\nfindings")
    for claim, name, value in FINDINGS:
        shown = next((rate for rate in measured.get(name, []) if rate.value == value), None)
        verdict = (
            "not measured here"
            if shown is None
            else f"overall {shown.mark or 'no'}, within {shown.within_mark or 'no'}"
        )
        print(f"{claim}: {verdict}")
        if shown is not None:
            print(f"    {line(shown)}")


def write_pool(corpora: Path, folder: Path) -> None:
    """The documents: the first ones of each file in order of id."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, most in FILES.items():
        table = pq.read_table(corpora / f"{name}.parquet", columns=COLUMNS).sort_by("id").slice(0, most)
        pq.write_table(
            table.cast(pa.schema([(column, pa.string()) for column in COLUMNS])), folder / f"{Path(name).name}.parquet"
        )


def rates_of(corpora: Path, folder: Path, name: str, sections: dict[str, object]) -> list[Rate]:
    """The rates of all groups, of all stages together, in a run with one filter."""
    where = "".join(letter if letter.isalnum() else "-" for letter in name)
    recipe = {
        "name": where,
        "output": str(folder / where),
        "input": {"paths": [str(folder / "in")], "id": "id"},
        "dedup": {"exact": False},
        "reference": [str(corpora / "reference" / f"{file}.parquet") for file in REFERENCE]
        if "tier2" in sections
        else [],
        "who": True,
        **sections,
    }
    path = folder / f"{where}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    run(load_recipe(path), InProcess(), 1, quiet=True)
    result = who_of_run(folder / where).result
    print(f"\n{name}: {result.dropped:,} of {result.documents:,} documents dropped, {result.comparisons} comparisons")
    return [rate for rates in result.dimensions for rate in rates.rates if rate.stage == ALL]


def line(rate: Rate) -> str:
    """A row of the table."""
    signs = {"more": "▲", "less": "▼", None: " "}
    cells = [
        ""
        if interval is None
        else f"{signs[mark]} {100 * interval.value:+6.1f} ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})"
        for interval, mark in ((rate.difference, rate.mark), (rate.within, rate.within_mark))
    ]
    group = f"{rate.dimension} {rate.value}"[:44]
    rest = "" if rate.rest_share is None else f"{rate.rest_share:7.1%}"
    return f"{group:44} {rate.documents:>9,} {rate.share:8.1%} {rest}  {cells[0]:28} {cells[1]}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:4])

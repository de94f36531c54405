"""Labelled documents of many kinds, and corpora mixed of them: what benchmarks/labels.py measures scores on.

A label set has good and bad documents that differ in one respect. The sets are in two halves: settings were chosen
while looking at `tuning`, and `testing` was left alone until the end. A corpus is mixed of all sets of a half and of
texts of the reference's kinds, with a given share of good documents.

    seven kinds  a reference: a fifth of each file of good texts
    same kinds   another: the same, and a third of the good texts of each set
    planted      good texts of the same seven files, from another half
    sets         the rest: no text of a reference is in a set or a corpus
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from packaged.make_english import PERMISSIVE, is_held_back
from purify_corpus import place

from curate.distill.attacks.registry import apply_attacks, attacks, families
from curate.sql import literal

REFERENCE_SHARE, SAME_KINDS_SHARE, PLANTED = 0.2, 1 / 3, 0.5
OF_SET, OF_SET_BYTES = 200, 700_000  # of each side of a set, at most
LONGEST = 20_000
PLANTED_OF_FILE = 70
CORPUS = 1_200  # documents
GRADE = "TRY_CAST(regexp_extract(label, 'edu=([^;]+)', 1) AS DOUBLE)"
HALVES = ("tuning", "testing")


@dataclass(frozen=True)
class LabelSet:
    """Documents of a file or glob, with SQL that is true for good ones and for bad ones."""

    files: str
    good: str
    bad: str
    about: str


@dataclass(frozen=True)
class Half:
    """The label sets of a half: from files, by attacks on planted texts, and made of lines of noise."""

    files: Mapping[str, LabelSet]
    attacks: Mapping[str, tuple[str, ...]]  # families by the name of the set; no model is trained on them
    lines: str | None  # the set of pages made of single lines of the noise
    foreign: str | None  # the set of texts in other languages

    @property
    def families(self) -> tuple[str, ...]:
        """The families of attacks that are in sets."""
        return tuple(family for names in self.attacks.values() for family in names)


TUNING = Half(
    {
        "pages": LabelSet("web/web_pages", "label <> 'noisy'", "label = 'noisy'", "main texts against whole web pages"),
        "speeches": LabelSet(
            "web/fed_speeches_pairs", "label = 'clean'", "label = 'noisy'", "speeches against their web pages"
        ),
        "mail": LabelSet("noise/email_spamassassin", "label <> 'spam'", "label = 'spam'", "mail against spam"),
        "ocr": LabelSet(
            "noise/ocr_noise_pairs", "regexp_matches(label, 'clean|level=[01]')",
            "regexp_matches(label, 'level=[2-9]')", "readable against garbled scans",
        ),
        "edu": LabelSet(
            "quality/edu_score_fineweb_en", f"{GRADE} >= 1.75 AND odd", f"{GRADE} < 1 AND odd",
            "web pages graded 1.75 and above against below 1",
        ),
        "authors": LabelSet(
            "instruction/instruction_sft", "label LIKE 'human%' AND strlen(text) > 300",
            "label = 'davinci' AND strlen(text) > 300", "instructions and answers by people against a small model's",
        ),
    },
    {"spam attacks": ("seo_fluff",), "filler": ("confident_filler",), "repetition": ("repetition",)},
    "menus", None,
)  # fmt: skip
TESTING = Half(
    {
        "lingspam": LabelSet("noise/email_lingspam", "label = 'ham'", "label = 'spam'", "a mailing list against spam"),
        "forum": LabelSet(
            "noise/forum_chat_reviews_nltk", "label IN ('pos', 'neg')", "label NOT IN ('pos', 'neg')",
            "film reviews against chats and overheard talk",
        ),
        "headlines": LabelSet(
            "noise/clickbait_headlines", "label = 'news_headline'", "label = 'clickbait'", "news against clickbait"
        ),
        "sample": LabelSet(
            "quickstart_sample/*", "label = 'good'",
            "regexp_matches(label, '^(spam|gibberish|too_short|short_informal|boilerplate_only|ocr)')",
            "good against bad documents of the sample",
        ),
        "grades": LabelSet(
            "quality/edu_score_fineweb_en", f"{GRADE} >= 2 AND NOT odd", f"{GRADE} < 1.5 AND NOT odd",
            "other web pages graded 2 and above against below 1.5",
        ),
        "machines": LabelSet(
            "instruction/instruction_sft", "label = 'gpt4' AND strlen(text) > 300",
            "label = 'davinci' AND strlen(text) > 300", "instructions and answers by a large against a small model",
        ),
        "tweets": LabelSet(
            "noise/toxic_tweets", "label LIKE 'neither%'", "NOT label LIKE 'neither%'", "tweets against offensive ones"
        ),
        "licences": LabelSet(
            "{domains/finance_fed_speeches,near_dups/debian_copyright}", "label = 'fed_speech'", "label = 'copyright'",
            "speeches against lists of licences",
        ),
    },
    {
        "spliced boilerplate": ("boilerplate_splice",), "cut and spliced": ("truncation_splice",),
        "shuffled sentences": ("sentence_shuffle",), "heavy OCR": ("ocr_heavy",),
        "false facts": ("number_entity_swap", "contradiction"),
    },
    None, "foreign",
)  # fmt: skip
HALF_OF = dict(zip(HALVES, (TUNING, TESTING), strict=True))


@dataclass(frozen=True)
class Labelled:
    """The documents of a half's sets, and the references. Files have the column text."""

    documents: pa.Table  # text
    labels: pa.Table  # set, document (its index), good
    references: Mapping[str, Path]  # folders of `seven kinds` and `same kinds`

    def sides(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The documents of a set, and which of them are good."""
        rows = self.labels.filter(pc.equal(self.labels["set"], name))
        return rows["document"].to_numpy(), rows["good"].to_numpy(zero_copy_only=False)


def labelled(corpora: Path, folder: Path, half: str, seed: int) -> Labelled:
    """Make all sets of a half below a folder, unless they are there."""
    output = folder / f"{half}-{seed}"
    references = {name: output / name.replace(" ", "_") for name in ("seven kinds", "same kinds")}
    if not (output / "labels.parquet").exists():
        for path in references.values():
            path.mkdir(parents=True, exist_ok=True)
        planted = _plant(corpora, references, seed)
        parts = [*_from_files(corpora, HALF_OF[half], references["same kinds"], seed)]
        parts += [("planted", True, planted)]
        parts += _made(corpora, HALF_OF[half], planted, seed)
        texts = pa.concat_tables([table.select(["text"]) for _, _, table in parts])
        begins = np.cumsum([0, *(len(table) for _, _, table in parts)])
        rows = [
            pa.table({"set": [name] * len(table), "document": np.arange(begin, begin + len(table)),
                      "good": np.full(len(table), good)})
            for (name, good, table), begin in zip(parts, begins, strict=False)
        ]  # fmt: skip
        pq.write_table(texts, output / "documents.parquet")
        pq.write_table(pa.concat_tables(rows), output / "labels.parquet")
    return Labelled(
        pq.read_table(output / "documents.parquet"), _with_planted(pq.read_table(output / "labels.parquet")), references
    )


def _with_planted(labels: pa.Table) -> pa.Table:
    """The labels, with the planted texts as the good side of each set that has none."""
    planted = labels.filter(pc.equal(labels["set"], "planted"))
    more = []
    for name in labels["set"].unique().to_pylist():
        if name != "planted" and not pc.any(labels.filter(pc.equal(labels["set"], name))["good"]).as_py():
            more.append(planted.set_column(0, "set", pa.array([name] * len(planted))))
    return pa.concat_tables([labels, *more])


def corpus_of(labelled: Labelled, share: float, seed: int) -> NDArray[np.int64]:
    """The documents of a corpus of which a share is good: as many of each set as there are, at most a like number."""
    draw = np.random.default_rng([seed, round(share * 100)])
    chosen = []
    flags = labelled.labels["good"].to_numpy(zero_copy_only=False)
    for good, count in ((True, round(share * CORPUS)), (False, round((1 - share) * CORPUS))):
        rows = labelled.labels.filter(pa.array(flags == good))
        names, owners = np.unique(rows["set"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
        order = np.zeros(len(rows))  # rank of a document within its set: rounds over the sets take one of each
        for k in range(len(names)):
            places = np.flatnonzero(owners == k)
            order[draw.permutation(places)] = np.arange(len(places))
        documents = rows["document"].to_numpy()[np.lexsort((owners, order))]
        _, first = np.unique(documents, return_index=True)
        chosen.append(documents[np.sort(first)][:count])
    return np.sort(np.concatenate(chosen))


def _plant(corpora: Path, references: Mapping[str, Path], seed: int) -> pa.Table:
    """Write the reference of seven kinds to both folders; return the planted texts."""
    planted = []
    for path in sorted((corpora / "reference").glob("*.parquet")):
        table = _read(corpora, f"reference/{path.stem}", "true", seed)
        places = table["place"].to_numpy()
        for folder in references.values():
            known = table.filter(pa.array(places < REFERENCE_SHARE)).slice(0, PLANTED_OF_FILE)
            pq.write_table(known.select(["text"]), folder / f"{path.stem}.parquet")
        planted.append(table.filter(pa.array(places >= PLANTED)).slice(0, PLANTED_OF_FILE))
    return pa.concat_tables(planted)


def _from_files(corpora: Path, half: Half, same: Path, seed: int) -> Iterator[tuple[str, bool, pa.Table]]:
    """The sides of the sets that are in files; a part of the good ones goes to the reference `same`."""
    for name, of_set in half.files.items():
        good = _read(corpora, of_set.files, of_set.good, seed)
        known = good["place"].to_numpy() < SAME_KINDS_SHARE
        pq.write_table(good.filter(pa.array(known)).select(["text"]).slice(0, OF_SET), same / f"{name}.parquet")
        yield name, True, _first(good.filter(pa.array(~known)))
        yield name, False, _first(_read(corpora, of_set.files, of_set.bad, seed))


def _made(corpora: Path, half: Half, planted: pa.Table, seed: int) -> Iterator[tuple[str, bool, pa.Table]]:
    """The bad sides of the sets that are made."""
    ids = pa.array([f"{k:06d}" for k in range(len(planted))])
    asked = pa.table({"doc_id": ids, "text": planted["text"].cast(pa.large_string())})
    some = planted["text"].to_pylist()[:200]
    for name, of_set in half.attacks.items():
        names = [attack for family in of_set for attack in families()[family] if attacks()[attack].bad]
        made = apply_attacks(asked, names, OF_SET // len(names), seed, some)
        yield name, False, _first(pa.table({"text": made["text"].cast(pa.string())}))
    if half.lines:
        noise = _read(corpora, "web/web_pages", "label = 'noisy'", seed)["text"].to_pylist()
        lines = [line for text in noise for line in text.splitlines() if len(line.strip()) > 1]
        draw = Random(f"{seed} lines")
        pages = ["\n".join(draw.choices(lines, k=40)) for _ in range(OF_SET)]
        yield half.lines, False, pa.table({"text": pa.array(pages)})
    if half.foreign:
        yield half.foreign, False, _first(_read(corpora, "multilingual", "label NOT LIKE 'en%'", seed))


def _first(table: pa.Table) -> pa.Table:
    """As many documents of a side of a set as are taken."""
    lengths = pc.binary_length(table["text"]).to_numpy()
    return table.slice(0, min(OF_SET, int(np.searchsorted(np.cumsum(lengths), OF_SET_BYTES)) + 1))


def _read(corpora: Path, files: str, where: str, seed: int) -> pa.Table:
    """Documents, each text once, by their places from 0 to 1; without those that the packaged models know."""
    names = files.strip("{}").split(",")
    paths = ", ".join(literal(str(corpora / f"{name}.parquet")) for name in names)
    table = duckdb.sql(
        f"""SELECT text, any_value(license ORDER BY id) AS license FROM (
            SELECT *, md5(text) < '8' AS odd FROM read_parquet([{paths}], union_by_name = true))
        WHERE strlen(text) BETWEEN 20 AND {LONGEST} AND ({where}) GROUP BY text"""
    ).to_arrow_table()
    texts = table["text"].to_pylist()
    known = [any((licence or "").startswith(name) for name in PERMISSIVE) and not is_held_back(text)
             for text, licence in zip(texts, table["license"].to_pylist(), strict=True)]  # fmt: skip
    places = [place(text, seed) for text in texts]
    table = table.select(["text"]).append_column("place", pa.array(places, pa.float64()))
    return table.filter(pc.invert(pa.array(known, pa.bool_()))).sort_by("place")

"""Measure how well signals, rule sets and coarse_score tell good documents from bad ones.

Usage: python benchmarks/quality.py CORPORA [NUMBER]

CORPORA is a folder with the Parquet files that TASKS names, which have the columns `text`, `label` and `license`. Of
each side of a task NUMBER documents (default: 600) are taken in the order of their hashes. Documents that the packaged
language model was trained on are left out.

ROC-AUC: how often a good document has a higher value than a bad one, 0.5 for chance; below 0.5 a low value is good. For
rule sets a document's value is whether all rules let it pass. `edu` has grades in place of two sides: the figure is the
rank correlation (Spearman), 0 for chance.

Signals, and the parts of coarse_score, were chosen while looking at the tasks of SEEN. Those of UNSEEN were left alone.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from packaged.make_english import PERMISSIVE, is_held_back

from curate.decide.decide import condition
from curate.filters import registry
from curate.filters.coarse_score import coarse_score_sql
from curate.filters.language.identify import language
from curate.filters.language.of_recipe import open_models
from curate.filters.language.perplexity import GROUP, measure
from curate.filters.rules.resolve import rules_of_set
from curate.recipe.tier1 import Perplexity
from curate.sql import literal

Values = npt.NDArray[np.float64]
SETS = ("gopher", "gopher_repetition", "c4", "fineweb", "refinedweb", "broken_text")
GRADED = "edu"
BATCH = 512


@dataclass(frozen=True)
class Task:
    """A file or glob of documents, and SQL that is true for good ones and for bad ones."""

    files: str
    good: str
    bad: str
    about: str


SEEN = {
    "reference": Task(
        "{reference,web,noise}/*.parquet", "filename LIKE '%/reference/%'",
        "label = 'noisy' AND filename LIKE '%web_pages%' OR filename LIKE '%/noise/%' AND strlen(text) > 200 "
        "AND NOT regexp_matches(label, '^(clean|.*ham$|news_headline)')",
        "books, news, manuals, papers against raw web pages, mail, chats, fortunes, OCR",
    ),
    "pages": Task(
        "web/web_pages.parquet", "label <> 'noisy'", "label = 'noisy'", "the main text of web pages against whole pages"
    ),
    "speeches": Task(
        "web/fed_speeches_pairs.parquet", "label = 'clean'", "label = 'noisy'", "speeches against their web pages"
    ),
    "lingspam": Task("noise/email_lingspam.parquet", "label = 'ham'", "label = 'spam'", "a mailing list against spam"),
    "mail": Task(
        "noise/email_spamassassin.parquet", "label = 'easy_ham'", "label = 'spam'", "mail against spam"
    ),
    "ocr": Task(
        "noise/ocr_noise_pairs.parquet", "regexp_matches(label, 'clean|level=[01]')",
        "regexp_matches(label, 'level=[2-9]')", "readable against garbled scans",
    ),
    GRADED: Task("quality/edu_score_fineweb_en.parquet", "true", "false", "web pages by their educational value"),
}  # fmt: skip
UNSEEN = {
    "headlines": Task(
        "noise/clickbait_headlines.parquet", "label = 'news_headline'", "label = 'clickbait'", "news against clickbait"
    ),
    "sample": Task(
        "quickstart_sample/*.parquet", "label = 'good'",
        "regexp_matches(label, '^(spam|gibberish|too_short|short_informal|boilerplate_only|ocr)')",
        "good against bad documents of the sample",
    ),
    "forum": Task(
        "noise/forum_chat_reviews_nltk.parquet", "label IN ('pos', 'neg')", "label NOT IN ('pos', 'neg')",
        "film reviews against chats and overheard talk",
    ),
}  # fmt: skip
TASKS = SEEN | UNSEEN


def main(corpora: Path, number: int = 600) -> None:
    """Print the table."""
    found = {name: documents(corpora, task, number) for name, task in TASKS.items()}
    scores = {name: scored(texts) for name, (texts, _) in found.items()}
    print("| task | what | good | bad |\n|---|---|---|---|")
    for name, task in TASKS.items():
        worth = found[name][1]
        sides = (len(worth), "–") if name == GRADED else (int(worth.sum()), int(len(worth) - worth.sum()))
        print(f"| {name} | {task.about} | {sides[0]} | {sides[1]} |")
    print(f"\n| | {' | '.join(TASKS)} | mean |\n|---|{'---|' * (len(TASKS) + 1)}")
    lines = []
    for column in next(iter(scores.values())):
        figures = [figure(name, scores[name][column], found[name][1]) for name in TASKS]
        sides = [value for name, value in zip(TASKS, figures, strict=True) if name != GRADED]
        lines.append((column, figures, float(np.nanmean(np.abs(np.array(sides) - 0.5)))))
    named = [line for line in lines if " " in line[0]]
    signals = sorted((line for line in lines if " " not in line[0]), key=lambda line: -line[2])
    for column, figures, strength in (*named, *signals):
        cells = " | ".join("–" if np.isnan(value) else f"{value:.2f}" for value in figures)
        print(f"| {column if ' ' in column else f'`{column}`'} | {cells} | {0.5 + strength:.2f} |")


def documents(corpora: Path, task: Task, number: int) -> tuple[pa.Array, Values]:
    """Texts of a task and what they are worth."""
    paths = [str(path) for pattern in _patterns(task.files) for path in sorted(corpora.glob(pattern))]
    rows = duckdb.sql(
        f"""SELECT text, license, ({task.good})::INTEGER AS good, label
        FROM read_parquet([{", ".join(map(literal, paths))}], filename = true, union_by_name = true)
        WHERE text IS NOT NULL AND (({task.good}) OR ({task.bad})) ORDER BY md5(text)"""
    ).fetchall()
    texts: list[str] = []
    worth: list[float] = []
    for text, licence, good, label in rows:
        trained_on = any((licence or "").startswith(known) for known in PERMISSIVE) and not is_held_back(text)
        if trained_on or (worth.count(good) >= number and task.bad != "false"):
            continue
        texts.append(text)
        worth.append(float(label.split("edu=")[1].split(";")[0]) if task.bad == "false" else good)
    return pa.array(texts, pa.large_string()), np.array(worth)


def _patterns(files: str) -> list[str]:
    """A glob with {a,b} as several."""
    if "{" not in files:
        return [files]
    before, rest = files.split("{")
    inner, after = rest.split("}")
    return [f"{before}{name}{after}" for name in inner.split(",")]


def scored(texts: pa.Array) -> dict[str, Values]:
    """Every number that is known of the texts."""
    [model] = open_models(Perplexity())
    left_out = ("hashes", "contamination", GROUP)
    measures = [s for group, signals in registry.groups().items() if group not in left_out for s in signals]
    tables = []
    for k in range(0, len(texts), BATCH):
        some = texts.slice(k, BATCH)
        columns = {name: column for signal in measures for name, column in signal(some).items()}
        tables.append(pa.table(columns | measure(some, language(some)["language"], [model])))
    signals = pa.concat_tables(tables)
    types = {field.name: field.type for field in signals.schema}
    derived = registry.derived(types)
    types |= {name: one.type for name, one in derived.items()}
    without = [name for name in types if name not in ("bits_per_byte", "token_prior_mean")]
    queries = {
        "coarse_score without a language model": coarse_score_sql(without, None),
        "coarse_score with the packaged one": coarse_score_sql(types, None),
    }
    for rule_set in SETS:
        conditions = " OR ".join(condition(found.rule, types) for found in rules_of_set(rule_set))
        queries[f"rule set {rule_set}"] = f"NOT ({conditions})"
    queries |= {name: name for name, kind in types.items() if pa.types.is_floating(kind) or pa.types.is_integer(kind)}
    with duckdb.connect() as connection:
        connection.register("measured", signals)
        more = "".join(f", {one.sql} AS {name}" for name, one in derived.items())
        connection.execute(f"CREATE TABLE signals AS SELECT *{more} FROM measured")
        listed = ", ".join(f"({sql})::DOUBLE" for sql in queries.values())
        columns = connection.sql(f"SELECT {listed} FROM signals").to_arrow_table().columns
    return {name: column.to_numpy() for name, column in zip(queries, columns, strict=True)}


def figure(task: str, values: Values, worth: Values) -> float:
    """ROC-AUC, or for the graded task the rank correlation; nan where a signal says nothing."""
    there = ~np.isnan(values)
    values, worth = values[there], worth[there]
    if len(values) < 20 or len(np.unique(values)) < 2 or len(np.unique(worth)) < 2:
        return float("nan")
    if task == GRADED:
        return float(np.corrcoef(ranks(values), ranks(worth))[0, 1])
    good = worth > 0
    count = int(good.sum())
    return float((ranks(values)[good].sum() - count * (count - 1) / 2) / (count * (len(good) - count)))


def ranks(values: Values) -> Values:
    """Ranks from 0, equal values sharing theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    shared: Values = (np.cumsum(counts) - (counts + 1) / 2)[places]
    return shared


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))

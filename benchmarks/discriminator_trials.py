"""Measure how well the discriminator tells good documents from bad ones of kinds that it was not trained on.

Usage: python benchmarks/discriminator_trials.py CORPORA [tune]

CORPORA is a folder with the Parquet files named below, which have the columns `text` and `label`. Good: reference
texts, at most 400 of a file. Mined: web pages with all that stands around their text, half of them. Attacks: 300 texts
of each. Tested, and never trained on: the tasks below, which are those of benchmarks/quality.py.

Half of each task (by the hash of its texts) served to choose features and settings: `tune` prints a grid on that half.
The tables are of the other half. ROC-AUC is how often a bad text scores higher than a good one, 0.5 for chance. `edu`
has grades: the figure is the rank correlation of 1 - p_bad with them.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.distill.attacks.registry import apply_attacks, attacks
from curate.distill.purify.conformal import interval, threshold
from curate.distill.scoring.calibration import roc_auc, spearman
from curate.distill.scoring.discriminator import Model, Settings, groups_of, nearest_family, score, train
from curate.distill.scoring.grades import GRADES, train_grades

Reals = npt.NDArray[np.float64]
GOOD_OF_A_FILE = 400
OF_AN_ATTACK = 300
ALPHA = 0.02
EIGHTH = np.uint64(8)
TASKS = {
    "mail": ("noise/email_spamassassin", "label = 'easy_ham'", "label = 'spam'"),
    "lingspam": ("noise/email_lingspam", "label = 'ham'", "label = 'spam'"),
    "ocr": ("noise/ocr_noise_pairs", "regexp_matches(label, 'clean|level=[01]')",
            "regexp_matches(label, 'level=[2-9]')"),
    "pages": ("web/web_pages", "label <> 'noisy'", "label = 'noisy'"),
    "sample": ("quickstart_sample/*", "label = 'good'",
               "regexp_matches(label, '^(spam|gibberish|too_short|short_informal|boilerplate_only|ocr)')"),
}  # fmt: skip
EDU = "quality/edu_score_fineweb_en"


@dataclass(frozen=True)
class Rows:
    """Texts to train on."""

    texts: pa.Array
    bad: npt.NDArray[np.bool_]
    weights: Reals
    groups: npt.NDArray[np.uint64]
    families: npt.NDArray[np.str_]

    def some(self, chosen: npt.NDArray[np.bool_]) -> "Rows":
        """Those that are chosen."""
        arrays = (self.bad, self.weights, self.groups, self.families)
        return Rows(self.texts.filter(pa.array(chosen)), *(array[chosen] for array in arrays))

    def train(self, settings: Settings) -> Model:
        """A model of them."""
        return train(self.texts, self.bad, self.weights, self.groups, self.families.tolist(), settings, 1)


def main(corpora: Path, tune: bool) -> None:
    """Print the tables."""
    rows = training(corpora)
    mined = rows.some(np.isin(rows.families, ("good", "mined")))
    if tune:
        trials = grid(rows)
    else:
        trials = iter(
            {
                "mined, words": mined.train(Settings(looks=0)),
                "mined, words and looks": mined.train(Settings()),
                "mined and attacks, words": rows.train(Settings(looks=0)),
                "mined and attacks, words and looks": rows.train(Settings()),
            }.items()
        )
    print(f"| trained on | {' | '.join(TASKS)} | edu |\n|---|{'---|' * (len(TASKS) + 1)}")
    for name, model in trials:
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in figures(corpora, model, tune))} |", flush=True)
    if not tune:
        tell_drops(corpora, rows.train(Settings()))
        tell_families(rows)
        texts, worth = graded(corpora)
        facts = train_grades(texts, worth, groups_of(texts), GRADES, 1).facts
        print(f"\nGrades of `edu`, out of fold: rank correlation {facts['spearman']:.3f},", end=" ")
        print(f"error {facts['rmse']:.3f} where the grades' spread is {facts['spread']:.3f}")


def grid(rows: Rows) -> Iterator[tuple[str, Model]]:
    """Models with other settings."""
    for cost in (0.3, 1.0, 3.0):
        for looks in (0.1, 0.2, 0.4):
            yield f"cost {cost}, looks {looks}", rows.train(Settings(cost=cost, looks=looks))
    for settings in (Settings(bits=20), Settings(passes=4), Settings(passes=30)):
        yield f"bits {settings.bits}, passes {settings.passes}", rows.train(settings)


def training(corpora: Path) -> Rows:
    """Good, mined and attacked texts; attacks weigh as much as what was mined, ugly good texts half of the others."""
    good = reference(corpora, "<=")
    pages = texts_of(f"""SELECT text FROM read_parquet(['{corpora}/web/web_pages.parquet',
        '{corpora}/web/fed_speeches_pairs.parquet']) WHERE label = 'noisy' ORDER BY md5(text)""")
    pages = pages.filter(pa.array(for_training(pages)))
    ids = pa.array([str(k) for k in range(len(good))])
    others = pages.slice(0, 300).to_pylist()
    made = apply_attacks(pa.table({"doc_id": ids, "text": good}), attacks(), OF_AN_ATTACK, 1, others)
    worse = made["bad"].to_numpy(zero_copy_only=False)
    weights = np.where(worse, len(pages) / worse.sum(), len(good) / 2 / (~worse).sum())
    of = made["doc_id"].cast(pa.int64()).to_numpy()
    return Rows(
        pa.concat_arrays([good, pages, made["text"].combine_chunks()]),
        np.concatenate([np.repeat([False, True], [len(good), len(pages)]), worse]),
        np.concatenate([np.ones(len(good) + len(pages)), weights]),
        np.concatenate([groups_of(good), groups_of(pages), groups_of(good)[of]]),
        np.concatenate([np.repeat(["good", "mined"], [len(good), len(pages)]), np.array(made["family"].to_pylist())]),
    )


def reference(corpora: Path, which: str) -> pa.Array:
    """Reference texts: `<=` those to train on, `>` the others."""
    return texts_of(f"""SELECT text FROM read_parquet('{corpora}/reference/*.parquet', filename = true)
        QUALIFY row_number() OVER (PARTITION BY filename ORDER BY md5(text)) {which} {GOOD_OF_A_FILE}
        ORDER BY md5(text)""")


def texts_of(query: str) -> pa.Array:
    """The first column of a query."""
    return duckdb.sql(query).to_arrow_table().column(0).combine_chunks().cast(pa.large_string())


def for_training(pages: pa.Array) -> npt.NDArray[np.bool_]:
    """Whether a web page is mined, and so not tested."""
    chosen: npt.NDArray[np.bool_] = groups_of(pages) % EIGHTH < 4
    return chosen


@cache
def task(corpora: Path, name: str) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """Texts of a task and which are bad."""
    file, good, bad = TASKS[name]
    sides = [
        texts_of(f"SELECT text FROM '{corpora}/{file}.parquet' WHERE text <> '' AND {side} ORDER BY md5(text)")
        for side in (good, bad)
    ]
    if name == "pages":
        sides[1] = sides[1].filter(pa.array(~for_training(sides[1])))
    return pa.concat_arrays(sides), np.repeat([False, True], [len(side) for side in sides])


@cache
def graded(corpora: Path) -> tuple[pa.Array, Reals]:
    """Texts of `edu` and their grades."""
    grade = "regexp_extract(label, 'edu=([^;]+)', 1)::DOUBLE"
    query = f"SELECT text, {grade} FROM '{corpora}/{EDU}.parquet' ORDER BY md5(text)"
    texts, worth = duckdb.sql(query).to_arrow_table().columns
    return texts.combine_chunks().cast(pa.large_string()), worth.to_numpy()


def figures(corpora: Path, model: Model, tune: bool) -> Iterator[float]:
    """What a model is worth on each task."""
    for name in TASKS:
        texts, bad = task(corpora, name)
        half = groups_of(texts) % np.uint64(2) == (0 if tune else 1)
        yield roc_auc(scored(model, texts)[half], bad[half])
    texts, worth = graded(corpora)
    half = groups_of(texts) % np.uint64(2) == (0 if tune else 1)
    yield -spearman(scored(model, texts)[half], worth[half])


def scored(model: Model, texts: pa.Array) -> Reals:
    """Scores of texts, 0.5 for blank ones."""
    scores: Reals = score(model, texts).fill_null(0.5).to_numpy().astype(np.float64)
    return scores


def tell_drops(corpora: Path, model: Model) -> None:
    """Print what falls at a cut for at most ALPHA of the good texts, which is made on half of those held out."""
    held = reference(corpora, ">")
    half = groups_of(held) % np.uint64(2) == 0
    scores = scored(model, held)
    cut = threshold(scores[half], ALPHA)
    assert cut is not None, "more than 49 texts are held out"
    low, high = interval(int(half.sum()), ALPHA)
    fall = (scores[~half] > cut).mean()
    print(f"\nCut at p_bad {cut:.3f} by {half.sum():,} good texts: of others like them {fall:.1%} fall")
    print(f"(to be expected: {low:.1%} to {high:.1%}).\n\n| task | bad that fall | good that fall |\n|---|---|---|")
    for name in TASKS:
        texts, bad = task(corpora, name)
        falls = scored(model, texts) > cut
        print(f"| {name} | {falls[bad].mean():.0%} | {falls[~bad].mean():.0%} |")


def tell_families(rows: Rows) -> None:
    """Print how well each family is told from good texts, with it and without it among what was trained on."""
    known = rows.train(Settings()).facts["families"]
    apart = rows.groups % np.uint64(5) == 0
    halved = rows.some(~apart).train(Settings())
    held = rows.some(apart & rows.bad)
    nearest = np.array(nearest_family(halved, held.texts).to_pylist())
    good = rows.families == "good"
    print("\n| family | trained on | left out | named rightly |\n|---|---|---|---|")
    for family in sorted(set(rows.families[rows.bad].tolist())):
        of = rows.families == family
        model = rows.some(~of).train(Settings())
        scores = score(model, rows.texts.filter(pa.array(of | good)), rows.groups[of | good]).to_numpy()
        unseen = roc_auc(scores.astype(np.float64), of[of | good])
        named = float((nearest[held.families == family] == family).mean())
        print(f"| {family} | {known[family]['above_good']:.2f} | {unseen:.2f} | {named:.2f} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), "tune" in sys.argv[2:])

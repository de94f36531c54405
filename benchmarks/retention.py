"""Measure what 15 % of the tokens retain, chosen by a budget, against all tokens and against random ones.

Usage: python benchmarks/retention.py [CORPORA [FOLDER [PROXY [SEED]]]]

CORPORA is a folder with the Parquet files that pools a and b of quality_pools.py name, and
quality/edu_score_fineweb_en.parquet: by default the one beside this project. FOLDER keeps pools and runs, so that a
second call goes on from there. PROXY is `ngram` or `transformer`, which needs torch and looks at a sample of each pool.
SEED mixes other pools: 1 by default.

Each recipe is carried out by `curate run`; what they keep is measured as by `curate evaluate`, all recipes together, so
that they share the models of all tokens and of random ones. Settings were chosen while looking at the pools of seed 1
with n-grams, so those figures flatter them; those of other seeds have other texts planted and held out.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import yaml
from purify import tell
from quality_pools import POOLS, SEED, mix

from curate.distill.evaluate.arms import CURVE, OURS
from curate.distill.evaluate.measure import Arms, measure_arms
from curate.distill.evaluate.prepare import prepare
from curate.distill.evaluate.retention import retention
from curate.distill.scoring.calibration import spearman
from curate.distill.scoring.discriminator import groups_of
from curate.distill.scoring.grades import GRADES, score_grades, train_grades
from curate.engine.base import InProcess
from curate.ledger.names import DATA, EVALUATION_FOLDER
from curate.ledger.run import open_finished
from curate.pipeline.evaluate import proxies
from curate.pipeline.run import run
from curate.recipe.load import load_recipe
from curate.recipe.recipe import Recipe
from curate.sql import literal

CORPORA = Path(__file__).parents[2] / "shared" / "corpora"
SHARE = "15%"
LARGE = ("a", "b")  # of the pools
Recipes = Mapping[str, Mapping[str, Any]]
DEFAULT = "a reference"  # the first of any recipes
RECIPES: Recipes = {  # beside the input, exact duplicates and the budget
    DEFAULT: {},
    "the same, one budget for all kinds": {"distill": {"quotas": None}},
    "the same, without novelty": {"distill": {"novelty": 0}},
    "no reference": {"reference": []},
    "no reference, and a language model": {
        "reference": [],
        "tier1": {"rules": [], "perplexity": {"band": [0, 100]}},  # measured, and nothing dropped by it
        "distill": {"scores": {"importance": 1, "language_model": 0.25}},
    },
}
PROXIES: dict[str, dict[str, Any]] = {  # fields of evaluate
    "ngram": {"sample": "1GB"},
    # As much as a processor trains in minutes, and the same number of steps for every arm.
    "transformer": {
        "sample": "8MB",
        "vocabulary": 4096,
        "transformer": {"d_model": 128, "layers": 4, "context": 128, "steps": 600},
    },
}
BUDGET = {"ngram": "epochs", "transformer": "compute"}
ASKED = {"transformer": (DEFAULT,)}  # the recipes that a dear proxy is asked about; the others: all


def main(corpora: Path, folder: Path, proxy: str, seed: int) -> None:
    """Print the tables."""
    for name in LARGE:
        place = mix(corpora, folder / f"seed-{seed}", name, POOLS[name], seed)
        found = measured(place, folder / f"seed-{seed}" / f"{proxy}-{name}", proxy, seed)
        tell(f"Pool {name}, seed {seed}: {about(place)}", arm_rows(found))
        tell(f"Pool {name}, seed {seed}, by domain: gap closed G", domain_rows(found))
    if proxy == "ngram":
        tell("Grades of web documents by a model of half of them", grade_rows(corpora))


def measured(place: Path, output: Path, proxy: str, seed: int, recipes: Recipes = RECIPES) -> list[dict[str, Any]]:
    """The rows of table `retention` of all recipes over a pool, with budget and CPU seconds of the run beside."""
    told = output / "measured.json"
    if told.exists():  # a second call goes on from there
        kept: list[dict[str, Any]] = json.loads(told.read_text("utf-8"))
        return kept
    asked = ASKED.get(proxy, tuple(recipes))
    done = {
        title: carry_out(recipe_of(place, output, recipes[title], proxy, seed), output / str(k))
        for k, title in enumerate(asked)
    }
    first = recipe_of(place, output, recipes[DEFAULT], proxy, seed)
    section = first.evaluate
    assert section is not None
    outputs = {OURS if title == DEFAULT else title: output / str(k) for k, title in enumerate(done)}
    of = replace(open_finished(output / "run"), recipe=first)
    prepared = prepare(of, section, outputs, section.sample, output / EVALUATION_FOLDER)
    arms = Arms(*({arm: of for arm, of in given.items() if arm not in CURVE}
                  for given in (prepared.arms.draws, prepared.arms.controls)))  # fmt: skip
    rows = []
    for model in (model for model in proxies(section) if model.budget == BUDGET[proxy]):
        models = measure_arms(prepared.corpus, arms, model, output / EVALUATION_FOLDER, 1)
        for row in retention(models, arms.controls, prepared.domains, seed):
            title = DEFAULT if row.arm == OURS else row.arm
            rows.append(asdict(row) | {"arm": title, "budget": model.budget, "cpu": done.get(title)})
    told.write_text(json.dumps(rows), "utf-8")
    return rows


def recipe_of(place: Path, output: Path, fields: Mapping[str, Any], proxy: str, seed: int) -> Recipe:
    """A recipe over a pool. All have one run directory, so that what they share is made once."""
    output.mkdir(parents=True, exist_ok=True)
    path = output / "recipe.yaml"
    budget = {"distill": {"keep_tokens": SHARE, **fields.get("distill", {})}}
    heldout = [str(path) for path in sorted((place / "heldout").glob("*.parquet"))]
    section = {"heldout": heldout, "ablate": False, "track": False, "proxy": proxy, **PROXIES[proxy]}
    recipe = {
        "name": "retention", "seed": seed, "output": str(output / "run"),
        "input": {"paths": [str(place / "pool")], "id": "id"},
        "reference": [str(path) for path in sorted((place / "reference").glob("*.parquet"))],
        "tier1": {"rules": []}, "evaluate": section,
    }  # fmt: skip
    path.write_text(yaml.safe_dump({**recipe, **fields, **budget}), "utf-8")
    return load_recipe(path)


def carry_out(recipe: Recipe, aside: Path) -> float:
    """Run a recipe, lay what it keeps aside, and return its CPU seconds: those of the first one for measuring too."""
    started = time.process_time()
    run(recipe, InProcess(), threads=1, quiet=True)
    seconds = time.process_time() - started
    shutil.copytree(recipe.run_directory / DATA, aside / DATA, dirs_exist_ok=True)
    return seconds


def about(place: Path) -> str:
    """How large a pool is, and how much of it is planted."""
    source = literal(str(place / "pool" / "*.parquet"))
    [[documents, size, planted]] = duckdb.sql(
        f"SELECT count(*), sum(strlen(text)), sum(strlen(text)) FILTER (planted) FROM {source}"
    ).fetchall()
    return f"{documents:,} documents, {size / 1e6:.0f} MB, of which {planted / size:.1%} are planted good texts"


def arm_rows(found: Sequence[Mapping[str, Any]], recipes: Recipes = RECIPES) -> Iterable[Sequence[object]]:
    """All tokens, random ones, and each recipe."""
    yield ("trained on", "budget", "documents", "tokens", "bits per byte", "retained R", "95 %", "gap closed G", "95 %",
           "CPU s of the run")  # fmt: skip
    names = {"full": "all tokens", "random": "random tokens, mean of draws", **{title: title for title in recipes}}
    for arm, title in names.items():
        for row in (row for row in found if row["domain"] is None and row["arm"] == arm):
            gap = ("", "") if arm not in recipes else (figure(row["gap_closed"]), interval(row, "gap"))
            seconds = f"{row['cpu']:.0f}" if arm in recipes else ""
            yield (title, row["budget"], f"{row['documents']:,}", f"{row['tokens']:,}", f"{row['bits_per_byte']:.4f}",
                   f"{row['retained']:.3f}", interval(row, "retained"), *gap, seconds)  # fmt: skip


def figure(value: float | None) -> str:
    """A figure; none where random tokens are as good as all, so that there is no gap."""
    return "none" if value is None else f"{value:.3f}"


def interval(row: dict[str, Any], name: str) -> str:
    """The 95 % interval of a figure."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if low is None else f"{low:.3f} to {high:.3f}"


def domain_rows(found: Sequence[Mapping[str, Any]]) -> Iterable[Sequence[object]]:
    """The gap that each recipe closes, by domain of the held-out texts."""
    domains = sorted({row["domain"] for row in found if row["domain"] is not None})
    yield "trained on", "budget", *domains
    closed = {(row["arm"], row["budget"], row["domain"]): row["gap_closed"] for row in found}
    for title, budget in dict.fromkeys((row["arm"], row["budget"]) for row in found if row["arm"] in RECIPES):
        shares = [closed[title, budget, domain] for domain in domains]
        yield title, budget, *("" if share is None else f"{share:.2f}" for share in shares)


def grade_rows(corpora: Path) -> Iterable[Sequence[object]]:
    """Rank correlation on the half of the graded documents that no grade was learnt from."""
    yield "learnt from", "asked about", "rank correlation (Spearman)"
    table = duckdb.sql(
        f"""SELECT text, TRY_CAST(regexp_extract(label, 'edu=([^;]+)', 1) AS DOUBLE) AS grade
        FROM {literal(str(corpora / "quality" / "edu_score_fineweb_en.parquet"))}
        WHERE grade IS NOT NULL AND text <> '' ORDER BY file_row_number"""
    ).to_arrow_table()
    texts = table["text"].combine_chunks().cast(pa.large_string())
    grades = np.asarray(table["grade"].to_numpy(), np.float64)
    groups = groups_of(texts)
    for half in (0, 1):
        known = groups % np.uint64(2) == half
        own, rest = (texts.filter(pa.array(mask)) for mask in (known, ~known))
        model = train_grades(own, grades[known], groups[known], GRADES, SEED)
        said = np.asarray(score_grades(model, rest).to_numpy(zero_copy_only=False), np.float64)
        yield f"{known.sum()} documents", f"{(~known).sum()} others", spearman(said, grades[~known])


if __name__ == "__main__":
    given = sys.argv[1:]
    place = Path(given[0]) if given else CORPORA
    if not (place / "reference").is_dir():
        sys.exit(f"{place}: no corpora there; name their folder: python benchmarks/retention.py CORPORA")
    with tempfile.TemporaryDirectory() as aside:
        main(
            place, Path(given[1]) if len(given) > 1 else Path(aside), given[2] if len(given) > 2 else "ngram",
            int(given[3]) if len(given) > 3 else SEED,
        )  # fmt: skip

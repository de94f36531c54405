"""Measure how well scores, and `quality` that combines them, tell good documents from bad ones of many kinds.

Usage: python benchmarks/labels.py CORPORA FOLDER HALF SEED [SEED…]

CORPORA is a folder with the Parquet files that label_sets.py names. FOLDER keeps what was measured, so that a second
call goes on from there. HALF is `tuning` or `testing`: settings may be chosen on the first only.

For each share of good documents, and for each reference, a corpus is mixed and `curate run` trains its models on it.
Then all documents of the sets are scored, those of the corpus by models that did not see them, and ranked among the
documents of the corpus. ROC-AUC: how often a good document of a set has the higher value. Without a reference there is
neither a discriminator nor p_bad. No model is trained on attacks of the families that are in sets. Beside AUC over all
documents stands that among those that a second tier leaves.
"""

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from label_sets import HALF_OF, Labelled, corpus_of, labelled
from numpy.typing import NDArray
from purify import tell

from curate.distill.attacks.registry import families
from curate.distill.budget import models as budget_models
from curate.distill.budget.scores import EVIDENCE, EVIDENCE_WITHOUT, MEASURED, PERPLEXITY, READ
from curate.distill.purify.conformal import threshold
from curate.distill.purify.stage import STAGE as PURIFY_STAGE
from curate.distill.scoring.calibration import roc_auc
from curate.distill.scoring.discriminator import groups_of
from curate.distill.scoring_stage import Scorer
from curate.engine.base import InProcess
from curate.filters import registry
from curate.filters.coarse_score import coarse_score_sql
from curate.filters.language.identify import language
from curate.filters.language.of_recipe import open_models
from curate.filters.language.perplexity import measure
from curate.ledger.ledger import read_ledger
from curate.ledger.models import BUDGET, PURIFY, load_models
from curate.ledger.names import CALIBRATION
from curate.pipeline.run import run
from curate.recipe.load import load_recipe
from curate.recipe.tier1 import Perplexity

Array = NDArray[Any]
Values = NDArray[np.float64]
SHARES = (0.1, 0.3, 0.6, 0.9)
REFERENCES = ("none", "seven kinds", "same kinds")
MAX_FALSE_DROP = 0.02
BATCH = 512
LEAST = 6  # documents of a side of a set
COLUMNS = {**READ, "purify": "p_bad", **MEASURED}


@dataclass(frozen=True)
class Scored:
    """The scores of all documents of a half; those of the corpus rank them."""

    of: Labelled
    reference: str
    corpus: NDArray[np.int64]
    values: Mapping[str, Values]  # of scores, the higher the better; nan where there is none
    left: NDArray[np.bool_]  # by tier 2
    domains: NDArray[np.str_]


def main(corpora: Path, folder: Path, half: str, seeds: Sequence[int]) -> None:
    """Print the tables."""
    found = [scored for seed in seeds for scored in measured(corpora, folder, half, seed)]
    for reference in REFERENCES:
        some = [scored for scored in found if scored.reference == reference]
        tell(f"{half}, reference: {reference}; means over {len(some)} corpora", set_rows(some))
    tell(f"{half}: quality and its parts, against the best part of each set and corpus", shortfall_rows(found))


def recipe_of(place: Path, of: Labelled, half: str, reference: str, seed: int) -> dict[str, Any]:
    """The fields of the recipe that trains on a corpus."""
    fields: dict[str, Any] = {
        "name": "labels", "seed": seed, "output": str(place / "run"), "input": {"paths": [str(place / "in.parquet")]},
        "tier1": {"rules": []}, "dedup": {"exact": False}, "distill": {},
    }  # fmt: skip
    if reference != "none":
        trained = [family for family in families() if family not in HALF_OF[half].families]
        tier2 = {"families": trained, "held_out": None, "attacks": 50, "rounds": 2, "max_false_drop": MAX_FALSE_DROP}
        fields |= {"reference": [str(of.references[reference] / "*.parquet")], "tier2": tier2}
    return fields


def measured(corpora: Path, folder: Path, half: str, seed: int) -> Iterator[Scored]:
    """The scores of all documents by the models of each corpus; what is in the folder is not measured again."""
    of = labelled(corpora, folder, half, seed)
    place = folder / f"{half}-{seed}"
    signals = kept(place / "signals.npz", lambda: signals_of(texts_of(of)))
    for reference in REFERENCES:
        for share in SHARES:
            name = f"{share}-{reference.replace(' ', '_')}"
            fields, corpus = recipe_of(place / name, of, half, reference, seed), corpus_of(of, share, seed)
            arrays = kept(place / f"{name}.npz", partial(score, of, fields, corpus, place / name))
            left = arrays["p_bad"] <= arrays["bound"] if "bound" in arrays else np.ones(len(of.documents), bool)
            yield Scored(of, reference, arrays["corpus"], values_of(arrays | signals), left, arrays["domain"])


def kept(path: Path, make: Callable[[], Mapping[str, Array]]) -> dict[str, Array]:
    """The arrays in a file, which is made if it is missing."""
    if not path.exists():
        np.savez(path, **make())
    with np.load(path) as arrays:
        return dict(arrays)


def texts_of(of: Labelled) -> pa.Array:
    """The texts of all documents."""
    return of.documents["text"].combine_chunks().cast(pa.large_string())


def signals_of(texts: pa.Array) -> dict[str, Array]:
    """coarse_score and what else the ledger has as a score."""
    [model] = open_models(Perplexity())
    groups, tables = registry.groups(), []
    measures = [signal for group in ("characters", "words", "lines") for signal in groups[group]]
    for k in range(0, len(texts), BATCH):
        some = texts.slice(k, BATCH)
        columns = {name: column for signal in measures for name, column in signal(some).items()}
        tables.append(pa.table(columns | measure(some, language(some)["language"], [model])))
    signals = pa.concat_tables(tables)
    names = [name for name in signals.schema.names if name not in ("bits_per_byte", "token_prior_mean")]
    with duckdb.connect() as connection:
        connection.register("signals", signals)
        [coarse] = connection.sql(f"SELECT {coarse_score_sql(names, None)} FROM signals").to_arrow_table().columns
    return {"coarse_score": coarse.to_numpy()} | {name: signals[name].to_numpy() for name in PERPLEXITY.values()}


def score(of: Labelled, fields: dict[str, Any], corpus: NDArray[np.int64], place: Path) -> dict[str, Array]:
    """Train on a corpus by a run, and score all documents by its models."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    pq.write_table(of.documents.take(pa.array(corpus)), place / "in.parquet")
    (place / "recipe.yaml").write_text(yaml.safe_dump(fields), "utf-8")
    run(load_recipe(place / "recipe.yaml"), InProcess(), threads=1, quiet=True)
    arrays: dict[str, Array] = {"corpus": corpus}
    columns = (
        (BUDGET, budget_models.open_scorer, ("likeness", "importance", "domain")),
        (PURIFY, PURIFY_STAGE.open, ("p_bad",)),
    )
    for kind, open_scorer, names in columns:
        models = load_models(kind, place / "run", read_ledger(place / "run").parts)
        if models is None:
            continue
        scorer = open_scorer({group: str(path) for group, path in models.files.items()})
        arrays |= scores_by(scorer, texts_of(of), names)
        if kind == PURIFY:
            calibration = pq.read_table(models.files[CALIBRATION])["p_bad"].to_numpy()
            arrays["bound"] = np.array(threshold(calibration, MAX_FALSE_DROP))
    shutil.rmtree(place)
    return arrays


def scores_by(scorer: Scorer, texts: pa.Array, names: Sequence[str]) -> dict[str, Array]:
    """Columns that a scorer writes."""
    groups = groups_of(texts)
    batches = [scorer(texts.slice(k, BATCH), groups[k : k + BATCH]) for k in range(0, len(texts), BATCH)]
    columns = {name: pa.chunked_array([batch[name] for batch in batches]) for name in names}
    texts_to = {name: column.cast(pa.string()).fill_null("") for name, column in columns.items() if name == "domain"}
    arrays = {name: column.to_numpy() for name, column in (columns | texts_to).items()}
    return {name: array.astype(str) if name == "domain" else array for name, array in arrays.items()}


def values_of(columns: Mapping[str, Array]) -> dict[str, Values]:
    """The values of scores, the higher the better."""
    there = {name: columns[column].astype(np.float64) for name, column in COLUMNS.items() if column in columns}
    return {name: -values if name == "purify" else values for name, values in there.items() if (values == values).any()}


def ranks_of(scored: Scored, name: str) -> Values:
    """Ranks among the documents of the corpus, missing ones in the middle; of a perplexity the middle is best."""
    ranks = _ranks(scored.values[name], scored.corpus)
    if name in PERPLEXITY:
        ranks = _ranks(-np.abs(ranks - 0.5), scored.corpus)
    return np.nan_to_num(ranks, nan=0.5)


def ranks_within(scored: Scored, name: str) -> Values:
    """Ranks among the documents of the corpus of the same domain."""
    ranks = np.full(len(scored.domains), 0.5)
    for domain in np.unique(scored.domains):
        own, corpus = scored.domains == domain, scored.corpus[scored.domains[scored.corpus] == domain]
        if len(corpus):
            ranks[own] = _ranks(scored.values[name], corpus)[own]
    return np.nan_to_num(ranks, nan=0.5)


def _ranks(values: Values, corpus: NDArray[np.int64]) -> Values:
    known = np.sort(values[corpus][~np.isnan(values[corpus])])
    below = np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")
    return np.where(np.isnan(values), np.nan, below / 2 / len(known))


def quality_of(scored: Scored) -> Values:
    """The weighted mean of ranks, as `quality` combines them by default."""
    weights = weights_of(scored.reference)
    ranks: list[Values] = [weight * ranks_of(scored, name) for name, weight in weights.items()]
    mean: Values = np.sum(ranks, axis=0) / sum(weights.values())
    return mean


def weights_of(reference: str) -> dict[str, float]:
    """What quality combines by default, with tier 2 where there is a reference."""
    return EVIDENCE_WITHOUT if reference == "none" else EVIDENCE


def aucs(scored: Scored, values: Values, left: NDArray[np.bool_] | None = None) -> dict[str, float]:
    """ROC-AUC by set, of all documents or of those left; nan where a side has too few."""
    found = {}
    for name in (name for name in scored.of.labels["set"].unique().to_pylist() if name != "planted"):
        documents, good = scored.of.sides(name)
        if left is not None:
            documents, good = documents[left[documents]], good[left[documents]]
        enough = min(good.sum(), (~good).sum()) >= LEAST
        found[name] = roc_auc(values[documents], good) if enough else float("nan")
    return found


def set_rows(found: Sequence[Scored]) -> Iterable[Sequence[object]]:
    """AUC by set of each part and of quality, means over corpora."""
    rows = {name: [aucs(scored, ranks_of(scored, name)) for scored in found] for name in found[0].values}
    first = "importance" if found[0].reference == "none" else "discriminator"
    rows[f"{first}, ranked within domains"] = [aucs(scored, ranks_within(scored, first)) for scored in found]
    rows["**quality**"] = [aucs(scored, quality_of(scored)) for scored in found]
    if found[0].reference != "none":
        alone = [aucs(scored, ranks_of(scored, "discriminator"), scored.left) for scored in found]
        rows["discriminator, of what tier 2 leaves"] = alone
        rows["**quality**, of what tier 2 leaves"] = [aucs(s, quality_of(s), s.left) for s in found]
    names = list(rows["**quality**"][0])
    yield "score", *names, "mean"
    for title, by_corpus in rows.items():
        means = [float(np.nanmean([figures[name] for figures in by_corpus])) for name in names]
        yield title, *(f"{mean:.2f}" for mean in means), float(np.mean(means))


def shortfall_rows(found: Sequence[Scored]) -> Iterable[Sequence[object]]:
    """By how much quality and its parts are behind the best part, over sets and corpora."""
    yield "reference", "score", "mean AUC", "behind the best part", "the worst tenth", "the worst", "within .01"
    for reference in REFERENCES:
        some = [scored for scored in found if scored.reference == reference]
        parts = {name: [list(aucs(s, ranks_of(s, name)).values()) for s in some] for name in weights_of(reference)}
        best = np.max(list(parts.values()), axis=0)
        for title, of_parts in (parts | {"**quality**": [list(aucs(s, quality_of(s)).values()) for s in some]}).items():
            behind = np.array(of_parts) - best
            yield (reference, title, float(np.mean(of_parts)), float(behind.mean()), float(np.quantile(behind, 0.1)),
                   float(behind.min()), f"{(behind >= -0.01).mean():.0%}")  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], [int(seed) for seed in sys.argv[4:]])

"""Settings of a budget, chosen for a corpus by how cheap what they keep makes texts of the reference to encode.

Each trial fills the budget from a sample of the candidates by the very code of a run, trains a model of word n-grams on
what it keeps, and codes texts of the reference on which no score was trained. Settings change one at a time, from those
of the recipe on; what the recipe itself gives stays as it is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from curate.distill.budget.candidates import CandidateTable, Rows, budgets_of, fill_budgets, read_candidates
from curate.distill.budget.models import DOMAIN
from curate.distill.budget.scores import scores_of
from curate.distill.budget.select import Flags, Integers
from curate.distill.budget.tuning_texts import TuningTexts
from curate.errors import InputError
from curate.kernels.ngram_model import ngram_bits
from curate.ledger.names import TUNING
from curate.ledger.parts import Part
from curate.maps.documents import document_keys, place_keys
from curate.recipe.distill import Distill, Quotas
from curate.recipe.recipe import Recipe

ORDER = 3  # of the n-grams
TEMPERATURES = (0.0, 0.25, 0.5, 1.0)
LEAST_LIKENESS = (0.0, -3.0, None)
NOVELTIES = (0.6, 0.4, 0.8)
LEAST_GAIN = 0.0002  # by which bits must fall for another setting to be chosen: smaller gains are chance
FEW_TEXTS = 50  # kept aside: with fewer the log says so
LEAST_SAMPLED = 20  # candidates in the sample: with fewer nothing is tried
ROUNDS = 3  # in which each setting is tried in turn
DEFAULT = Quotas()

TRIALS = pa.schema(
    [
        ("trial", pa.int32()),
        ("temperature", pa.float64()),
        ("least_likeness", pa.float64()),
        ("novelty", pa.float64()),
        ("scores", pa.string()),
        ("documents", pa.int64()),
        ("tokens", pa.int64()),
        ("bits_per_word", pa.float64()),
        ("chosen", pa.bool_()),
    ]
)


Options = Mapping[str, Sequence[Any]]  # values to try of each field of `Settings`


@dataclass(frozen=True)
class Settings:
    """What a trial tries; of a recipe without quotas, `temperature` is None."""

    temperature: float | None
    least_likeness: float | None
    novelty: float
    scores: tuple[tuple[str, float], ...]

    def within(self, recipe: Recipe) -> Recipe:
        """The recipe with these settings, and without `tune`."""
        section = recipe.distill
        assert section is not None
        quotas = section.quotas and section.quotas.model_copy(
            update={"temperature": self.temperature, "least_likeness": self.least_likeness}
        )
        scores = section.scores if dict(self.scores) == scores_of(recipe) else dict(self.scores)
        changed = {"quotas": quotas, "novelty": self.novelty, "scores": scores, "tune": None}
        return recipe.model_copy(update={"distill": section.model_copy(update=changed)})

    def as_dict(self) -> dict[str, str]:
        """The settings by the names of their fields, as YAML."""
        quotas = {} if self.temperature is None else {
            "quotas.temperature": f"{self.temperature:g}",
            "quotas.least_likeness": "null" if self.least_likeness is None else f"{self.least_likeness:g}",
        }  # fmt: skip
        return {**quotas, "novelty": f"{self.novelty:g}", "scores": _scores_text(self.scores)}


@dataclass(frozen=True)
class Trial:
    """Settings, what they keep of the sample, and what that makes of the texts kept aside."""

    settings: Settings
    documents: int
    tokens: int
    bits: float  # per word, the mean over domains


@dataclass(frozen=True)
class Tuned:
    """The settings that are chosen, and all that were tried."""

    settings: Settings
    trials: Sequence[Trial]

    @property
    def table(self) -> pa.Table:
        """Table `tuning`."""
        rows = [
            {
                "trial": number,
                "temperature": trial.settings.temperature,
                "least_likeness": trial.settings.least_likeness,
                "novelty": trial.settings.novelty,
                "scores": _scores_text(trial.settings.scores),
                "documents": trial.documents,
                "tokens": trial.tokens,
                "bits_per_word": round(trial.bits, 6),
                "chosen": trial.settings == self.settings,
            }
            for number, trial in enumerate(self.trials, 1)
        ]
        return pa.Table.from_pylist(rows, TRIALS)

    def told(self, texts: int) -> str:
        """What was chosen of which settings by how many texts, for the log."""
        first, best = self.trials[0], next(trial for trial in self.trials if trial.settings == self.settings)
        before, after = first.settings.as_dict(), best.settings.as_dict()
        changed = [f"{name} {before[name]} to {value}" for name, value in after.items() if value != before[name]]
        found = f"distill: tune tried {len(self.trials)} settings on {texts} texts of the reference"
        if not changed:
            return f"{found}; none beats those of the recipe"
        few = f"; {texts} texts are few to go by" if texts < FEW_TEXTS else ""
        return f"{found} and changed {', '.join(changed)}: {first.bits:.3f} to {best.bits:.3f} bits per word{few}"


def tuned_recipe(recipe: Recipe, run: Path, parts: Sequence[Part]) -> Recipe:
    """The recipe of a run with the settings that the run chose; without `tune` the recipe itself."""
    for path in (run / part.path for part in parts if part.group == TUNING):
        [row] = (row for row in pq.read_table(path).to_pylist() if row["chosen"])
        scores = yaml.safe_load(row["scores"])
        settings = Settings(row["temperature"], row["least_likeness"], row["novelty"], tuple(scores.items()))
        return settings.within(recipe)
    return recipe


def tune(
    recipe: Recipe,
    strata: Sequence[str],
    table: CandidateTable,
    rows: Rows,
    texts: TuningTexts,
    size: tuple[int, int],
    domain_shares: Mapping[str, float],
) -> Tuned:
    """Choose the settings of a recipe's budget; `table` has its candidates, and `rows` reads them.

    Cost:   one pass over the candidates; about 20 trials, of about a CPU second for a million words that the budget
            keeps of a sample of at most MOST_WORDS words.
    Errors: InputError where fewer than LEAST_SAMPLED candidates are in the sample.
    """
    section = recipe.distill
    assert section is not None
    sample = _sampled(rows, texts)
    if len(sample.table) < LEAST_SAMPLED:
        raise InputError(
            f"distill.tune: {len(sample.table)} of the documents that reach the budget are in the sample of the "
            f"corpus, {LEAST_SAMPLED} are the least to try settings on; drop less before, raise distill.sample, or "
            "leave tune out"
        )
    name = "n_tokens" if section.unit == "tokens" else "n_bytes"
    share = int(np.sum(sample.table[name].to_numpy().astype(np.int64))) / max(1, int(table.available.sum()))
    budget = max(1, round(budgets_of(section, *size)[-1][0] * share))
    alone = {f"keep_{section.unit}": budget, "ladder": [], "allow_small": True}
    trial_recipe = recipe.model_copy(update={"distill": section.model_copy(update=alone)})
    evaluated = partial(_trial, trial_recipe, strata, sample, domain_shares, table.path.parent)
    return _search(_settings_of(recipe), _options(recipe), evaluated)


@dataclass(frozen=True)
class _Sample:
    """The candidates that trials choose from."""

    table: pa.Table  # with all of their columns, in input order
    lines: Integers  # index of the words of each
    texts: TuningTexts


def _sampled(rows: Rows, texts: TuningTexts) -> _Sample:
    keys = place_keys(texts.file_no, texts.row)
    order = np.argsort(keys)
    tables, lines = [], [np.zeros(0, np.int64)]
    for batch in rows(["*"]):
        searched = document_keys(batch)
        places = order[np.minimum(np.searchsorted(keys[order], searched), len(keys) - 1)]
        is_sampled = keys[places] == searched
        tables.append(batch.filter(pa.array(is_sampled)))
        lines.append(places[is_sampled])
    return _Sample(pa.concat_tables(tables).unify_dictionaries().combine_chunks(), np.concatenate(lines), texts)


def _settings_of(recipe: Recipe) -> Settings:
    section = recipe.distill
    assert section is not None
    quotas = section.quotas
    return Settings(
        quotas.temperature if quotas else None,
        quotas.least_likeness if quotas else None,
        section.novelty,
        tuple(scores_of(recipe).items()),
    )


def _options(recipe: Recipe) -> Options:
    """Values to try of each setting that has its default in the recipe."""
    section = recipe.distill
    assert section is not None
    quotas, own = section.quotas, scores_of(recipe)
    with_importance = [{**own, "importance": max(own.values())}, {"importance": 1.0}]
    options: dict[str, Sequence[Any]] = {}
    if quotas and quotas.temperature == DEFAULT.temperature:
        options["temperature"] = TEMPERATURES
    if quotas and DOMAIN in quotas.by and quotas.least_likeness == DEFAULT.least_likeness:
        options["least_likeness"] = LEAST_LIKENESS
    if section.novelty == Distill.model_fields["novelty"].default:
        options["novelty"] = NOVELTIES
    if section.scores is None:
        options["scores"] = [tuple(scores.items()) for scores in with_importance]
    return options


def _search(first: Settings, options: Options, evaluate: Callable[[Settings], Trial]) -> Tuned:
    """Change one setting at a time where bits fall, until none does."""
    trials = {first: evaluate(first)}
    best = first
    for _ in range(ROUNDS):
        before = best
        for name, values in options.items():
            for settings in [replace(best, **{name: value}) for value in values]:
                if settings not in trials:
                    trials[settings] = evaluate(settings)
                if trials[settings].bits < trials[best].bits * (1 - LEAST_GAIN):
                    best = settings
        if best == before:
            break
    return Tuned(best, tuple(trials.values()))


def _trial(
    recipe: Recipe,
    strata: Sequence[str],
    sample: _Sample,
    domain_shares: Mapping[str, float],
    folder: Path,
    settings: Settings,
) -> Trial:
    """Fill the budget by settings and encode the texts kept aside."""

    def rows(columns: Sequence[str]) -> Iterator[pa.Table]:
        yield sample.table.select(list(columns))

    tried = settings.within(recipe)
    with TemporaryDirectory(dir=folder, prefix="trial-") as scratch:
        table = read_candidates(tried, strata, Path(scratch), rows)
        filled = fill_budgets(tried, table, rows, (0, 0), domain_shares)
    kept: Flags = filled.selection.rung >= 0
    tokens = int(sample.table["n_tokens"].to_numpy()[kept].sum())
    bits = _bits_per_word(sample.texts, sample.lines[kept]) if kept.any() else np.inf
    return Trial(settings, int(kept.sum()), tokens, bits)


def _bits_per_word(texts: TuningTexts, chosen: Integers) -> float:
    """Bits per word of the texts kept aside by a model of the chosen lines: the mean over domains."""
    bits = ngram_bits(texts.corpus, np.sort(chosen), texts.aside, ORDER)
    words = np.diff(texts.aside.offsets) + 1
    of_domain = [bits[texts.domain == k].sum() / words[texts.domain == k].sum() for k in range(len(texts.domains))]
    return float(np.mean(of_domain))


def _scores_text(scores: Sequence[tuple[str, float]]) -> str:
    return "{" + ", ".join(f"{name}: {weight:g}" for name, weight in scores) + "}"

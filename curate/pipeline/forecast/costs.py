"""What the stages cost that a forecast does not rehearse, since they train models: tier 2, a budget, tracking.

Each is a sum over the bytes of text that its steps read, times seconds of CPU for a megabyte, as they were seen in
runs; `python benchmarks/plan_stages.py` compares. What a language model writes or grades is not in it. On a machine
that has not trained before, compiling comes to it.
"""

from dataclasses import dataclass

import pyarrow.parquet as pq

from curate.distill.attacks.registry import attacks
from curate.distill.evaluate.tracking import SAMPLE_BYTES, is_tracked
from curate.distill.purify.mining import WORST
from curate.distill.reference import SHARES, open_reference
from curate.ledger.names import P_BAD, SCORES
from curate.maps.warm import is_warm
from curate.recipe.recipe import Recipe

MB = 1_000_000
ATTACK_MB = 0.57  # seconds of CPU for a megabyte: attacks are made of it
TRAIN_MB = 0.11  # a discriminator is trained on it
TEST_MB = 0.015  # a discriminator is tested on it
JUDGE_MB = 0.15  # documents of the corpus are scored, with evidence
LEARN_MB = 0.13  # a budget learns from it what is wanted
RANK_MB = 0.3  # a budget scores it
ENCODE_MB = 0.6  # tracking reads it and writes it in tokens
NGRAMS_MB, NGRAMS = 0.5, 0.25  # a model of n-grams is trained on it; and is asked about held-out texts
BYTES_A_TOKEN = 4
# Seconds of CPU that compile the kernels which train and score, and of these what tier 2 and a budget have in common.
COMPILE = {P_BAD: 37.0, SCORES: 16.0}
COMPILE_COMMON = 13.0
TESTING = SHARES[1] - SHARES[0]


@dataclass(frozen=True)
class Texts:
    """How many texts there are, and their bytes."""

    documents: int
    bytes: int

    def first(self, documents: float) -> "Texts":
        """So many of them, at most all."""
        share = min(1.0, documents / max(1, self.documents))
        return Texts(round(self.documents * share), round(self.bytes * share))


@dataclass(frozen=True)
class Seconds:
    """Seconds of CPU."""

    alone: float = 0.0  # of the main process
    shared: float = 0.0  # of the workers together

    @property
    def all(self) -> float:
        """Of all processes."""
        return self.alone + self.shared


def model_seconds(recipe: Recipe, corpus: Texts, passing: Texts, tokens: int) -> dict[str, Seconds]:
    """What the stages take in a run of `corpus`, of which the rules leave `passing`; nothing where a recipe lacks one.

    They are those of a first run, and too much where duplicates are many.
    """
    reference = _reference(recipe)
    found = dict.fromkeys(("purify", "distil", "track"), Seconds())
    if recipe.tier2 is not None:
        found["purify"] = Seconds(_purify(recipe, reference, corpus), JUDGE_MB * passing.bytes / MB)
    if recipe.distill is not None:
        found["distil"] = Seconds(_learn(recipe, reference, corpus), RANK_MB * passing.bytes / MB)
    if is_tracked(recipe, tokens):
        found["track"] = Seconds(_track(recipe, corpus, passing))
    return found


def compile_seconds(recipe: Recipe) -> float:
    """What compiling the kernels of tier 2 and of a budget takes: nothing where this machine did so before."""
    with_models = {P_BAD: recipe.tier2, SCORES: recipe.distill}
    cold = [name for name, section in with_models.items() if section is not None and not is_warm(name)]
    warm = any(is_warm(name) for name in COMPILE)
    return sum(COMPILE[name] for name in cold) - COMPILE_COMMON * max(0, len(cold) - (not warm))


def _reference(recipe: Recipe) -> Texts:
    """The good texts: by the footers of Parquet files, else by the sizes of files."""
    documents = size = 0
    for file in open_reference(recipe):
        if file.path.suffix.lower() == ".parquet":
            footer = pq.read_metadata(file.path)
            groups = (footer.row_group(k) for k in range(footer.num_row_groups))
            documents += footer.num_rows
            size += sum(group.column(c).total_uncompressed_size for group in groups for c in range(group.num_columns))
        else:
            documents, size = documents + file.path.stat().st_size // 2000, size + file.path.stat().st_size
    return Texts(documents, size)


def _purify(recipe: Recipe, reference: Texts, corpus: Texts) -> float:
    """Training: before any attack, and in each round on all attacks so far, with fresh ones and tests of each model.

    The first round trains twice, since families that the model cannot see are then taken out of its training.
    """
    section = recipe.tier2
    if section is None or recipe.models.pin:
        return 0.0
    good = reference.first(section.good)
    mined = corpus.first(min(section.mined, WORST * corpus.documents))
    kinds = [one for one in attacks().values() if section.families is None or one.family in section.families]
    trained = sum(one.family != section.held_out for one in kinds)
    fresh = trained * good.first(min(section.attacks, SHARES[0] * good.documents)).bytes
    tests = len(kinds) * good.first(min(section.attacks, TESTING * good.documents)).bytes
    rounds = section.rounds
    base = SHARES[0] * good.bytes + mined.bytes
    learnt = (rounds + 1) * base + rounds * (rounds + 1) / 2 * fresh + (base + fresh)
    tested = (rounds + 2) * tests + rounds * fresh
    return (ATTACK_MB * (rounds * fresh + tests) + TRAIN_MB * learnt + TEST_MB * tested) / MB


def _learn(recipe: Recipe, reference: Texts, corpus: Texts) -> float:
    """What is wanted and what there is, learnt from samples of both."""
    section = recipe.distill
    if section is None or recipe.models.pin:
        return 0.0
    return LEARN_MB * (reference.first(section.good).bytes + corpus.first(section.sample).bytes) / MB


def _track(recipe: Recipe, corpus: Texts, passing: Texts) -> float:
    """Models of a sample: of all of it, of what each stage leaves, and of random documents of as many tokens."""
    section = recipe.evaluate
    assert section is not None
    sample = min(SAMPLE_BYTES, corpus.bytes) / MB
    left = min(1.0, passing.bytes / max(1, corpus.bytes))
    dropping = (True, recipe.dedup.exact, recipe.dedup.near, recipe.tier1.perplexity, recipe.dedup.lines, recipe.tier2)
    stages = sum(bool(one) for one in dropping)
    shares = [left] * stages
    if recipe.distill is not None:
        budget = recipe.distill.keep_tokens
        shares.append(min(left, budget if budget <= 1 else budget * BYTES_A_TOKEN / max(1, corpus.bytes)))
    models = 1 + (1 + section.draws) * len(shares)
    read = 1 + (1 + section.draws) * sum(shares)
    return 2 * ENCODE_MB * sample + NGRAMS_MB * sample * read + NGRAMS * models

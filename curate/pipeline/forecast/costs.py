"""The cost of stages that train models, which a forecast does not rehearse: tier 2, the budget, tracking.

The cost of a stage is the text that its steps read, in megabytes, times measured CPU seconds per megabyte;
`python benchmarks/plan_stages.py` compares the two. Work of a language model is not included. Compiling the kernels is
added on a machine that has not trained before.
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
# CPU seconds per megabyte of text
ATTACK_MB = 0.57  # for writing attacks from it
TRAIN_MB = 0.11  # for training a discriminator on it
TEST_MB = 0.015  # for testing a discriminator on it
JUDGE_MB = 0.15  # for scoring documents of the corpus, with evidence
LEARN_MB = 0.13  # for training the models of a budget on it
RANK_MB = 0.3  # for scoring it for a budget
ENCODE_MB = 0.6  # for tokenizing it in tracking
NGRAMS_MB = 0.5  # for training an n-gram model on it
NGRAMS = 0.25  # CPU seconds for one n-gram model's score of the held-out texts
BYTES_A_TOKEN = 4
# CPU seconds for compiling the kernels that train and score, and those that tier 2 and a budget share.
COMPILE = {P_BAD: 37.0, SCORES: 16.0}
COMPILE_COMMON = 13.0
TESTING = SHARES[1] - SHARES[0]


@dataclass(frozen=True)
class Texts:
    """A number of texts and their size."""

    documents: int
    bytes: int

    def first(self, documents: float) -> "Texts":
        """At most so many of the texts."""
        share = min(1.0, documents / max(1, self.documents))
        return Texts(round(self.documents * share), round(self.bytes * share))


@dataclass(frozen=True)
class Seconds:
    """CPU seconds of a stage."""

    alone: float = 0.0  # of the main process
    shared: float = 0.0  # of all workers together

    @property
    def all(self) -> float:
        """Of all processes."""
        return self.alone + self.shared


def model_seconds(recipe: Recipe, corpus: Texts, passing: Texts, tokens: int) -> dict[str, Seconds]:
    """CPU seconds of each stage for a run of `corpus` of which the rules keep `passing`; 0 for stages of no section.

    They are those of a first run, and too high where there are many duplicates.
    """
    reference = _reference(recipe)
    seconds = dict.fromkeys(("purify", "distil", "track"), Seconds())
    if recipe.tier2 is not None:
        seconds["purify"] = Seconds(_purify(recipe, reference, corpus), JUDGE_MB * passing.bytes / MB)
    if recipe.distill is not None:
        seconds["distil"] = Seconds(_learn(recipe, reference, corpus), RANK_MB * passing.bytes / MB)
    if is_tracked(recipe, tokens):
        seconds["track"] = Seconds(_track(recipe, corpus, passing))
    return seconds


def compile_seconds(recipe: Recipe) -> float:
    """CPU seconds for compiling the kernels of tier 2 and of a budget; 0 where this machine has compiled them."""
    with_models = {P_BAD: recipe.tier2, SCORES: recipe.distill}
    cold = [name for name, section in with_models.items() if section is not None and not is_warm(name)]
    warm = any(is_warm(name) for name in COMPILE)
    return sum(COMPILE[name] for name in cold) - COMPILE_COMMON * max(0, len(cold) - (not warm))


def _reference(recipe: Recipe) -> Texts:
    """The size of the reference: by footers for Parquet files, by file sizes for others."""
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
    """CPU seconds for training: on attacks alone, once before any attack, and in each round on all attacks so far.

    Attacks alone are trained on twice, since families that the model cannot detect are then dropped from training; the
    model of them scores all candidates for mined texts. All models are tested.
    """
    section = recipe.tier2
    if section is None or recipe.models.pin:
        return 0.0
    good = reference.first(section.good)
    mined = corpus.first(min(section.mined, WORST * corpus.documents))
    candidates = corpus.first(min(2 * section.mined, corpus.documents))
    used_attacks = [
        attack for attack in attacks().values() if section.families is None or attack.family in section.families
    ]
    trained = sum(attack.family != section.held_out for attack in used_attacks)
    fresh = trained * good.first(min(section.attacks, SHARES[0] * good.documents)).bytes
    tests = len(used_attacks) * good.first(min(section.attacks, TESTING * good.documents)).bytes
    rounds = section.rounds
    base = SHARES[0] * good.bytes + mined.bytes
    on_attacks = 2 * (SHARES[0] * good.bytes + fresh) if trained else 0
    trained_bytes = (rounds + 1) * base + rounds * (rounds + 1) / 2 * fresh + on_attacks
    tested_bytes = (rounds + 3) * tests + rounds * fresh + (candidates.bytes if trained else 0)
    return (ATTACK_MB * (rounds * fresh + tests) + TRAIN_MB * trained_bytes + TEST_MB * tested_bytes) / MB


def _learn(recipe: Recipe, reference: Texts, corpus: Texts) -> float:
    """CPU seconds for training the budget's models on samples of the reference and the corpus."""
    section = recipe.distill
    if section is None or recipe.models.pin:
        return 0.0
    return LEARN_MB * (reference.first(section.good).bytes + corpus.first(section.sample).bytes) / MB


def _track(recipe: Recipe, corpus: Texts, passing: Texts) -> float:
    """CPU seconds for n-gram models of a sample, of what each stage keeps of it, and of random controls."""
    section = recipe.evaluate
    assert section is not None
    sample = min(SAMPLE_BYTES, corpus.bytes) / MB
    kept = min(1.0, passing.bytes / max(1, corpus.bytes))
    dropping = (True, recipe.dedup.exact, recipe.dedup.near, recipe.tier1.perplexity, recipe.dedup.lines, recipe.tier2)
    stages = sum(bool(setting) for setting in dropping)
    shares = [kept] * stages
    if recipe.distill is not None:
        budget, size = recipe.distill.budget, BYTES_A_TOKEN if recipe.distill.unit == "tokens" else 1
        shares.append(min(kept, budget if budget <= 1 else budget * size / max(1, corpus.bytes)))
    models = 1 + (1 + section.draws) * len(shares)
    read = 1 + (1 + section.draws) * sum(shares)
    return 2 * ENCODE_MB * sample + NGRAMS_MB * sample * read + NGRAMS * models

"""What the manifest records of single stages: their methods, and the models they trained, by hash."""

from collections.abc import Mapping

import pyarrow.parquet as pq
from xxhash import xxh3_128_hexdigest

from curate.decide.counts import LANGUAGE, Counts
from curate.distill.budget.scores import quality_scores_of, scores_of
from curate.distill.budget.tuning import tuned_recipe
from curate.filters.contamination.signals import REASON
from curate.filters.language.identify import model_path
from curate.filters.signals.hashes import choose_bands
from curate.kernels.minhash import SEED as MINHASH_SEED
from curate.ledger.augmented import Augmented
from curate.ledger.ledger import Ledger
from curate.ledger.models import BUDGET, PURIFY, models_in_force
from curate.ledger.names import (
    BUDGET_FACTS,
    DOMAINS,
    GRADE_MODEL,
    PASSAGE_MODEL,
    PASSAGE_THRESHOLDS,
    PURIFY_MODEL,
    QUOTAS,
    ROUNDS,
    RUNGS,
    THRESHOLDS,
    TUNING,
)
from curate.manifests.schema.model import (
    Decontamination,
    DedupEntry,
    Distil,
    DomainEntry,
    LanguageIdentification,
    Near,
    Purify,
    Synthetic,
    WrittenEntry,
)
from curate.recipe.dedup import Near as NearSection
from curate.recipe.recipe import Recipe
from curate.storage.files import sha256_of

EXACT_HASH = "xxh3-128 of the text, and of the text in NFC and lower case with white space collapsed"
MINHASH_SCHEME = "datasketch affine32 of the low 32 bits of xxh3_64"


def language_identification(groups: Mapping[str, str]) -> LanguageIdentification | None:
    """The model that identified languages; None where none were identified."""
    if LANGUAGE not in groups:
        return None
    path = model_path()
    return LanguageIdentification(model=path.name, content_xxh3_128=xxh3_128_hexdigest(path.read_bytes()))


def dedup(recipe: Recipe) -> DedupEntry:
    """How duplicates were found."""
    section = recipe.dedup
    return DedupEntry(
        exact=section.exact,
        exact_hash=EXACT_HASH,
        near=_near(section.near) if section.near else None,
        lines=section.lines.model_dump(mode="json") if section.lines else None,
        keep=section.keep,
    )


def _near(section: NearSection) -> Near:
    bands = choose_bands(section.threshold, section.permutations)
    return Near(
        algorithm="minhash",
        scheme=MINHASH_SCHEME,
        ngram=section.shingle,
        permutations=section.permutations,
        bands=bands.count,
        rows=bands.rows,
        seed=MINHASH_SEED,
        threshold=section.threshold,
        verify=section.verify,
    )


def decontamination(recipe: Recipe, counts: Counts) -> Decontamination | None:
    """How evaluation sets were searched for, and the totals over all of them."""
    section = recipe.tier1.decontaminate
    if section is None:
        return None
    totals = {name: sum(row[name] for row in counts.benchmarks) for name in ("items", "items_hit", "documents_hit")}
    dropped = sum(stage["dropped"].get(REASON, {"documents": 0})["documents"] for stage in counts.stages)
    return Decontamination(
        ngram=section.ngram,
        min_words=section.min_words,
        action=section.action,
        columns=section.columns,
        benchmarks=len(counts.benchmarks),
        **totals,
        documents_dropped=dropped,
    )


def purify(ledger: Ledger) -> Purify | None:
    """The second tier's models by hash, how they were tested, and the bounds on false drops."""
    models = models_in_force(PURIFY, ledger.run, ledger.parts)
    if models is None:
        return None
    names = [name for name in (PURIFY_MODEL, GRADE_MODEL, PASSAGE_MODEL) if models.part(name)]
    hashes = {name: part.sha256 for name in names for part in ledger.of(name)}
    tables = _tables(ledger, ROUNDS, THRESHOLDS, PASSAGE_THRESHOLDS)
    return Purify.model_validate({"models": hashes, **models.facts, **tables})


def distil(recipe: Recipe, ledger: Ledger) -> Distil | None:
    """The budget's models by hash, its scores with their weights, and what was kept by rung and stratum."""
    models = models_in_force(BUDGET, ledger.run, ledger.parts)
    if models is None:
        return None
    hashes = {part.group: part.sha256 for part in models.parts if part.group != BUDGET_FACTS}
    recipe = tuned_recipe(recipe, ledger.run, ledger.of(TUNING))
    scores = {"scores": scores_of(recipe), "quality": quality_scores_of(recipe)}
    tables = _tables(ledger, RUNGS, QUOTAS, TUNING)
    return Distil.model_validate({"models": hashes, **scores, **models.facts, **tables})


def _tables(ledger: Ledger, *names: str) -> dict[str, list[dict[str, object]]]:
    """The rows of tables of the ledger, by the names of the tables."""
    return {name: pq.read_table(ledger.run / part.path).to_pylist() for name in names for part in ledger.of(name)}


def synthetic(augmented: Augmented | None, tokens: int) -> Synthetic:
    """How much of the output's `tokens` the run wrote itself, and by which models, adapters and prompts."""
    if augmented is None:
        return Synthetic(documents=0, tokens=0, share=0.0, written=None)
    facts = augmented.facts
    accepted = facts["accepted"]
    domains = pq.read_table(augmented.folder / DOMAINS).to_pylist()
    return Synthetic(
        documents=accepted["documents"],
        tokens=accepted["tokens"],
        share=accepted["tokens"] / max(1, tokens),
        written=WrittenEntry(
            teacher=facts.get("teacher"),
            adapters=facts.get("adapters"),
            prompts=facts.get("prompts"),
            questions=facts.get("written"),
            candidates=facts["asked"],
            domains=[DomainEntry.model_validate(row) for row in domains],
            tables={name: sha256_of(augmented.folder / name) for name in augmented.tables},
        ),
    )

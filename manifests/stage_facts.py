"""What the manifest tells of single stages: how they told documents apart, and what was learnt for them, by hash."""

from collections.abc import Mapping
from typing import Any

import pyarrow.parquet as pq
from xxhash import xxh3_128_hexdigest

from curate.decide.counts import LANGUAGE, Counts
from curate.filters.contamination.signals import REASON
from curate.filters.language.identify import model_path
from curate.filters.signals.hashes import choose_bands
from curate.kernels.minhash import SEED as MINHASH_SEED
from curate.ledger.augmented import Augmented
from curate.ledger.ledger import Ledger
from curate.ledger.models import ModelSet
from curate.ledger.names import BUDGET_FACTS, DOMAINS, GRADE_MODEL, PURIFY_MODEL, QUOTAS, ROUNDS, RUNGS, THRESHOLDS
from curate.recipe.recipe import Recipe
from curate.storage.files import sha256_of

EXACT_HASH = "xxh3-128 of the text, and of the text in NFC and lower case with white space collapsed"
MINHASH_SCHEME = "datasketch affine32 of the low 32 bits of xxh3_64"


def language_identification(groups: Mapping[str, str]) -> dict[str, str] | None:
    """The model that told languages, where they were told."""
    path = model_path()
    known = {"model": path.name, "content_xxh3_128": xxh3_128_hexdigest(path.read_bytes())}
    return known if LANGUAGE in groups else None


def dedup(recipe: Recipe) -> dict[str, Any]:
    """By what duplicates were found."""
    section = recipe.dedup
    found = None
    if near := section.near:
        bands = choose_bands(near.threshold, near.permutations)
        found = {
            "algorithm": "minhash",
            "scheme": MINHASH_SCHEME,
            "ngram": near.shingle,
            "permutations": near.permutations,
            "bands": bands.count,
            "rows": bands.rows,
            "seed": MINHASH_SEED,
            "threshold": near.threshold,
            "verify": near.verify,
        }
    lines = section.lines.model_dump(mode="json") if section.lines else None
    return {"exact": section.exact, "exact_hash": EXACT_HASH, "near": found, "lines": lines, "keep": section.keep}


def decontamination(recipe: Recipe, counts: Counts) -> dict[str, Any] | None:
    """How evaluation sets were looked for, and what all of them come to."""
    section = recipe.tier1.decontaminate
    if section is None:
        return None
    sums = {name: sum(one[name] for one in counts.benchmarks) for name in ("items", "items_hit", "documents_hit")}
    dropped = sum(stage["dropped"].get(REASON, {"documents": 0})["documents"] for stage in counts.stages)
    return {
        "ngram": section.ngram,
        "min_words": section.min_words,
        "action": section.action,
        "columns": section.columns,
        "benchmarks": len(counts.benchmarks),
        **sums,
        "documents_dropped": dropped,
    }


def purify(ledger: Ledger, models: ModelSet | None) -> dict[str, Any] | None:
    """What was learnt for the second tier, by hash, how it was tested, and the bounds on false drops."""
    if models is None:
        return None
    names = (PURIFY_MODEL, *([GRADE_MODEL] if models.part(GRADE_MODEL) else []))
    tables = {name: pq.read_table(ledger.run / part.path) for name in (ROUNDS, THRESHOLDS) for part in ledger.of(name)}
    return {
        "models": {name: part.sha256 for name in names for part in ledger.of(name)},
        **models.facts,
        **{name: table.to_pylist() for name, table in tables.items()},
    }


def distil(ledger: Ledger, models: ModelSet | None) -> dict[str, Any] | None:
    """What was learnt for the budget, by hash, and what it came to by rung and stratum."""
    if models is None:
        return None
    tables = {name: pq.read_table(ledger.run / part.path) for name in (RUNGS, QUOTAS) for part in ledger.of(name)}
    return {
        "models": {part.group: part.sha256 for part in models.parts if part.group != BUDGET_FACTS},
        **models.facts,
        **{name: table.to_pylist() for name, table in tables.items()},
    }


def synthetic(made: Augmented | None, tokens: int) -> dict[str, Any]:
    """What of the output's tokens the run has made itself, by which models, adapters and prompts."""
    if made is None:
        return {"documents": 0, "tokens": 0, "share": 0.0, "written": None}
    own = made.facts["accepted"]
    domains = pq.read_table(made.folder / DOMAINS).to_pylist()
    about = {name: made.facts.get(name) for name in ("teacher", "adapters", "prompts")}
    about["questions"] = made.facts.get("written")
    files = {name: sha256_of(made.folder / name) for name in made.tables}
    return {
        "documents": own["documents"], "tokens": own["tokens"], "share": own["tokens"] / max(1, tokens),
        "written": {**about, "candidates": made.facts["asked"], "domains": domains, "tables": files},
    }  # fmt: skip

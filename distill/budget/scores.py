"""The scores of a recipe's budget, and the checks that they can be computed."""

from collections.abc import Collection, Mapping

import pyarrow as pa

from curate.distill.budget.models import DOMAIN
from curate.errors import RecipeError, did_you_mean
from curate.ledger.models import ModelSet
from curate.ledger.names import LIKENESS
from curate.recipe.recipe import Recipe
from curate.recipe.strata import strata_of_documents
from curate.sql import quoted

PERPLEXITY = {"language_model": "perplexity", "token_prior": "token_prior_mean"}  # scores whose median is best
MEASURED = {**PERPLEXITY, "coarse_score": "coarse_score"}
READ = {"discriminator": "likeness", "importance": "importance"}  # scores computed from texts, and their columns
LANGUAGE_WEIGHT = 0.25  # of language_model relative to importance (docs/distil.md)
# What `quality` combines unless the recipe names scores: with a reference, and without (docs/scores.md).
EVIDENCE = {"discriminator": 2.0, "purify": 1.0, "coarse_score": 1.0}
EVIDENCE_WITHOUT = {"coarse_score": 2.0, "importance": 1.0, "language_model": 0.5}
SCORE_NAMES = (*READ, "purify", *MEASURED, "grades")


def scores_of(recipe: Recipe) -> dict[str, float]:
    """The scores that a budget is filled by, with their weights."""
    section = recipe.distill
    assert section is not None
    if section.scores is not None:
        return dict(section.scores)
    if recipe.reference or recipe.models.pin:
        return {"discriminator": 1.0}
    return {"importance": 1.0} | ({"language_model": LANGUAGE_WEIGHT} if recipe.tier1.perplexity else {})


def quality_scores_of(recipe: Recipe) -> dict[str, float]:
    """The scores that `quality` combines, with their weights: those of the recipe, or the evidence that the run has.

    What people call good and what models learn most from differ, so a budget without `distill.scores` is not filled by
    quality but by `scores_of`.
    """
    section = recipe.distill
    assert section is not None
    if section.scores is not None:
        return dict(section.scores)
    evidence = EVIDENCE if recipe.reference or recipe.models.pin else EVIDENCE_WITHOUT
    missing = set() if recipe.tier2 else {"purify"}
    missing |= set() if recipe.tier1.perplexity else {"language_model"}
    return {name: weight for name, weight in evidence.items() if name not in missing}


def all_scores_of(recipe: Recipe) -> tuple[str, ...]:
    """The scores that a run needs: those that fill its budget, and those that `quality` combines."""
    return tuple(dict.fromkeys((*scores_of(recipe), *quality_scores_of(recipe))))


def scores_message(recipe: Recipe) -> str:
    """Which scores fill the budget and make up `quality`, with their weights, and why."""
    section = recipe.distill
    assert section is not None
    budget, quality = (_listed(scores) for scores in (scores_of(recipe), quality_scores_of(recipe)))
    if section.scores is not None:
        return f"distill: the budget is filled by quality, which combines {quality} (distill.scores)"
    has_reference = bool(recipe.reference or recipe.models.pin)
    why = ["a reference" if has_reference else "no reference"]
    why += ["tier2" if recipe.tier2 else "no tier2"] if has_reference else []
    why += [] if has_reference else ["a language model" if recipe.tier1.perplexity else "no language model"]
    unless = ", unless distill.tune finds better" if section.tune else ""
    return f"distill: the budget is filled by {budget}; quality combines {quality} ({', '.join(why)}){unless}"


def _listed(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {weight:g}" for name, weight in scores.items())


def check_distill(recipe: Recipe) -> None:
    """Refuse a recipe whose budget needs what the recipe does not provide.

    Errors: RecipeError.
    """
    section = recipe.distill
    if section is None:
        return
    if recipe.dedup.weighs and section.novelty:
        raise RecipeError(
            "distill.novelty: passes over the near duplicates that dedup.near.as: weight keeps; set distill.novelty to "
            "0, or dedup.near.as to drop"
        )
    scores = scores_of(recipe)
    for name in scores:
        if name not in SCORE_NAMES and not name.startswith("input."):
            raise RecipeError(f"distill.scores: no score {name!r}{did_you_mean(name, SCORE_NAMES)}")
    needs = {
        "discriminator": (bool(recipe.reference) or bool(recipe.models.pin), "reference texts"),
        "purify": (recipe.tier2 is not None, "tier2"),
        "language_model": (recipe.tier1.perplexity is not None, "tier1.perplexity"),
        "token_prior": (recipe.tier1.perplexity is not None, "tier1.perplexity"),
        "grades": (bool(section.grades) or bool(recipe.tier2 and recipe.tier2.judge), "distill.grades or tier2.judge"),
    }
    for name, (is_given, need) in needs.items():
        if name in scores and not is_given:
            raise RecipeError(f"distill.scores: {name} needs {need}; add it, or leave the score out")
    if section.grades and "grades" not in scores:
        raise RecipeError("distill.grades: no score uses it; add grades to distill.scores")
    if section.tune:
        _check_tuned(recipe)
    for name in section.strata:
        strata = [stratum.removesuffix("?") for stratum in recipe.input.strata]
        if name not in (DOMAIN, "language", "length_bucket", *strata):
            field = "quotas" if section.quotas else "curve"
            raise RecipeError(f"distill.{field}.by: {name} is not in input.strata; add it there, or use {DOMAIN}")


def _check_tuned(recipe: Recipe) -> None:
    """Refuse to tune a budget without texts to tune it by."""
    if recipe.models.pin:
        raise RecipeError(
            "distill.tune: not with models.pin; write what that run chose (its table tuning) into the recipe instead"
        )
    if not recipe.reference:
        raise RecipeError("distill.tune: needs reference texts; add reference, or leave tune out")
    if "purify" in scores_of(recipe):
        raise RecipeError(
            "distill.tune: not with purify among distill.scores, which learns from the texts to tune by; leave out "
            "either"
        )


def check_pinned_scores(recipe: Recipe, pinned: ModelSet | None) -> None:
    """Refuse a score that the models of a pinned run cannot compute.

    Errors: RecipeError.
    """
    if pinned is not None and "discriminator" in scores_of(recipe) and pinned.part(LIKENESS) is None:
        raise RecipeError(
            f"models.pin: {recipe.models.pin} had no reference, so it has no discriminator; "
            "set distill.scores to {importance: 1}"
        )


def check_columns(recipe: Recipe, inputs: pa.Schema) -> None:
    """Refuse a column of the input as a score if it is not numeric.

    Errors: RecipeError.
    """
    for name in scores_of(recipe) if recipe.distill else ():
        column = name.removeprefix("input.")
        if column == name or column not in inputs.names:
            continue
        kind = inputs.field(column).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            raise RecipeError(f"distill.scores: {name} holds {kind}, not numbers; name a column of numbers")


def strata_of_distil(recipe: Recipe, inputs: Collection[str]) -> dict[str, str]:
    """The columns of quotas except the predicted domain, with SQL for each over the signals."""
    section = recipe.distill
    if section is None or not section.strata:
        return {}
    available = strata_of_documents(recipe, inputs, ("language", "length_bucket"))
    names = [name if name in available else f"input.{name}" for name in section.strata if name != DOMAIN]
    return {name: available[name] for name in names if name in available}


def ledger_scores(recipe: Recipe) -> dict[str, str]:
    """The scores that the ledger has, with SQL for each over the signals."""
    if recipe.distill is None:
        return {}
    columns = {}
    for name in all_scores_of(recipe):
        if name in MEASURED:
            columns[name] = MEASURED[name]
        elif name.startswith("input."):
            columns[name] = f"input.{quoted(name.removeprefix('input.'))}"
    return columns

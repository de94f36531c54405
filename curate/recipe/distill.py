"""The section distill: a token budget, its quotas and its scores."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from curate.recipe.affects import affects
from curate.recipe.section import Section
from curate.recipe.values import (
    Budget,
    ByteBudget,
    Rung,
    Share,
    Unit,
    check_not_small,
    format_budget,
    not_empty,
    switch,
)


class Quotas(Section):
    """How the budget is spread over strata: what one of them lacks goes to the others."""

    by: Annotated[list[str], AfterValidator(not_empty)] = Field(
        default=["domain"],
        description="what strata are made of: domain (of the reference, predicted), language, length_bucket, "
        "columns of input.strata",
    )
    temperature: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="1 keeps the mixture: of candidates, of domains that of the reference; 0 gives all as much",
    )
    floor: Annotated[Share, Field(le=1)] = Field(default=0.0, description="least share of the budget for each stratum")
    least_likeness: float | None = Field(
        default=-3.0,
        description="log-odds of being reference text below which a document is of no domain; null: of the nearest",
    )
    targets: dict[str, Annotated[Share, Field(le=1)]] = Field(
        default={}, description="shares of the budget by stratum, such as {code: 20%}; of several columns en/news"
    )

    @model_validator(mode="after")
    def _within_the_budget(self) -> "Quotas":
        if sum(self.targets.values()) > 1 + 1e-9:
            raise ValueError(f"the targets come to {sum(self.targets.values()):.0%} of the budget; at most 100%")
        return self


class Curve(Section):
    """Weights that rise with quality, in place of a flat cut."""

    by: list[str] | None = Field(
        default=None, description="what strata are made of that have a curve each; null: those of quotas"
    )
    max_repeats: float = Field(default=7.0, ge=1, le=1000, description="how often the best document is read")


class Weights(Section):
    """What a document is wanted for."""

    quality: float = Field(default=1.0, ge=0, description="the weighted mean of scores")
    diversity: float = Field(default=0.0, ge=0, description="how rare texts like it are among the candidates")

    @model_validator(mode="after")
    def _not_nothing(self) -> "Weights":
        if self.quality + self.diversity == 0:
            raise ValueError("quality and diversity are both 0; give one of them a weight")
        return self


class StaticVectors(Section):
    """Vectors of texts from a static embedding model."""

    static: str = Field(min_length=1, description="a model of model2vec: a folder, or a name on the Hugging Face Hub")
    revision: str | None = Field(default=None, description="commit, tag or branch on the Hub")


def _vectors_kind(value: object) -> str | None:
    """The form in which vectors are written, as a tag of `Vectors`."""
    if value == "hashed":
        return "hashed"
    return "StaticVectors" if isinstance(value, dict | StaticVectors) else None


Vectors = Annotated[
    Annotated[Literal["hashed"], Tag("hashed")] | Annotated[StaticVectors, Tag("StaticVectors")],
    Discriminator(
        _vectors_kind, custom_error_type="vectors_form", custom_error_message="is hashed, or {static: MODEL}"
    ),
]


class Distill(Section):
    """The token budget: which documents are worth it."""

    keep_tokens: Budget | None = Field(
        default=0.15, description="share of the input's tokens, or a number of them; null with keep_bytes"
    )
    keep_bytes: ByteBudget | None = Field(
        default=None, description="in place of keep_tokens: share of the input's bytes of text, or a size such as 2GB"
    )
    allow_small: bool = Field(default=False, description="allow budgets under 1,000 tokens or bytes")
    ladder: list[Rung] = Field(
        default=[], description="smaller budgets in the same unit, each part of the next; column rung"
    )
    scores: Annotated[dict[str, Annotated[float, Field(gt=0)]], AfterValidator(not_empty)] | None = Field(
        default=None,
        description="scores and their weights: discriminator, importance, purify, language_model, token_prior, "
        "coarse_score, grades, input.COLUMN; null: the evidence that the run has (docs/distil.md)",
    )
    weights: Weights = Field(default=Weights(), description="of quality and diversity")
    temperature: float = Field(
        default=0.0, ge=0, description="0 takes the best documents; the higher, the more is left to chance"
    )
    novelty: Annotated[Share, Field(le=1)] = Field(
        default=0.6, description="a document is passed over where less of its text is new to what is kept"
    )
    cluster_cap: Annotated[Share, Field(gt=0, le=1)] = Field(
        default=1.0, description="the largest share of the budget that texts of one cluster may have"
    )
    vectors: Annotated[Vectors, affects("distill")] = Field(
        default="hashed", description="what texts are clustered by: their words and pairs, or {static: MODEL}"
    )
    quotas: Quotas | None = Field(default=Quotas(), description="how the budget is parted; with null it is not")
    curve: Annotated[Curve | None, switch(Curve)] = Field(
        default=None, description="documents have weights by their quality instead of a flat cut; {} has defaults"
    )
    tune: Annotated[Literal["reference"] | None, affects("distill")] = Field(
        default=None,
        description="reference: quotas, novelty and scores that have their defaults are chosen for this corpus",
    )
    grades: Annotated[str | None, affects("distill")] = Field(
        default=None, description="file with columns text and score, for the score grades"
    )
    good: Annotated[int, affects("distill")] = Field(
        default=20000, ge=100, description="documents of the reference that are used, at most"
    )
    sample: Annotated[int, affects("distill")] = Field(
        default=20000, ge=100, description="documents of the corpus that models learn it from, at most"
    )

    @model_validator(mode="before")
    @classmethod
    def _one_unit(cls, fields: object) -> object:
        """Let `keep_bytes` take the place of the default of `keep_tokens`."""
        if not isinstance(fields, dict) or fields.get("keep_bytes") is None:
            return fields
        if fields.get("keep_tokens") is not None:
            raise ValueError("keep_tokens and keep_bytes are both given; a budget has one unit, so leave one out")
        return {**fields, "keep_tokens": None}

    @model_validator(mode="after")
    def _budgets_meant(self) -> "Distill":
        if self.keep_tokens is None and self.keep_bytes is None:
            raise ValueError("keep_tokens is null; give it, or keep_bytes")
        name, budget, unit = f"keep_{self.unit}", self.budget, self.unit
        for field, value in ((name, budget), *(("ladder", rung) for rung in self.ladder)):
            if not self.allow_small:
                check_not_small(field, value, unit)
        for rung in self.ladder:
            if (rung <= 1) == (budget <= 1) and rung > budget:
                raise ValueError(
                    f"ladder: {format_budget(rung, unit)} is more than {name}, {format_budget(budget, unit)}"
                )
        return self

    @model_validator(mode="after")
    def _curve_alone(self) -> "Distill":
        if self.curve is None:
            return self
        unlike = {
            "tune": (self.tune is not None, "what is tuned is a flat cut"),
            "ladder": (bool(self.ladder), "a smaller budget is no part of a larger one where documents have weights"),
            "temperature": (self.temperature > 0, "a curve weighs documents and draws none"),
            "cluster_cap": (self.cluster_cap < 1, "a curve has targets for strata and not for clusters"),
        }
        for name, (is_given, reason) in unlike.items():
            if is_given:
                raise ValueError(f"{name}: does not go with curve: {reason}; leave one of the two out")
        if self.quotas and self.curve.by not in (None, self.quotas.by):
            raise ValueError(
                f"curve.by: is [{', '.join(self.curve.by or ())}], and the targets of curves are those of quotas, by "
                f"[{', '.join(self.quotas.by)}]; give both the same, or set quotas: null"
            )
        return self

    @property
    def strata(self) -> list[str]:
        """What the strata of quotas and curves are made of."""
        if self.quotas:
            return self.quotas.by
        return (self.curve.by or []) if self.curve else []

    @property
    def unit(self) -> Unit:
        """What the budget, its ladder and its quotas count."""
        return "tokens" if self.keep_bytes is None else "bytes"

    @property
    def budget(self) -> float:
        """The largest budget: a share of the input up to 1, else a number of `unit`."""
        budget = self.keep_tokens if self.keep_bytes is None else self.keep_bytes
        assert budget is not None
        return budget

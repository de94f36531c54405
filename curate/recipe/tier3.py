"""The section tier3: domains that the corpus lacks, and how a model writes documents for them."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from curate.recipe.section import Section
from curate.recipe.values import Share, Tokens, not_empty


class Domain(Section):
    """A domain that the corpus has too little of, named by texts like those that are wanted."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")] = Field(description="names it everywhere")
    seeds: Annotated[list[str], AfterValidator(not_empty), Field(json_schema_extra={"minItems": 1})] = Field(
        description="files of texts of the domain, as in reference"
    )
    target_tokens: Tokens = Field(description="how many tokens of it the corpus should have, written ones included")


class Adapter(Section):
    """The LoRA adapter that is trained for each domain, on real texts of it."""

    base: str | None = Field(default=None, description="a folder or a Hub name; null: the model that teacher names")
    rank: int = Field(default=16, ge=1, le=512, description="of the two matrices that stand for a change of weights")
    alpha: int = Field(default=32, ge=1, description="by alpha / rank the change is scaled")
    target_modules: Annotated[list[str], AfterValidator(not_empty)] = Field(
        default=["q_proj", "v_proj"], description="layers of the model that are adapted"
    )
    documents: int = Field(default=2000, ge=20, description="texts of the domain that are trained on, at most")
    context: int = Field(default=512, ge=16, description="tokens of a window, into which texts are packed")
    batch: int = Field(default=4, ge=1, description="windows of a step")
    steps: int = Field(default=200, ge=1, description="of training, at most")
    check_every: int = Field(default=20, ge=1, description="steps between checkpoints, with a look at held-out text")
    patience: int = Field(default=3, ge=1, description="checks without a gain, after which training stops")
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="the highest; it rises, and falls by a cosine")
    dtype: Literal["float32", "bfloat16"] = Field(default="bfloat16", description="type of the frozen weights")


Form = Literal["rewrite", "questions", "explanation"]


class Tier3(Section):
    """LoRA domain augmentation: real documents of thin domains, written anew by a model that knows the domain."""

    domains: Annotated[list[Domain], AfterValidator(not_empty), Field(json_schema_extra={"minItems": 1})] = Field(
        description="what the corpus has too little of"
    )
    adapter: Adapter | None = Field(
        default=None, description="trained for each domain; null: the teacher writes as it is, and rules write nothing"
    )
    forms: Annotated[list[Form], AfterValidator(not_empty)] = Field(
        default=["rewrite", "questions", "explanation"], description="what a document is made into"
    )
    chunk: int = Field(default=2000, ge=200, description="characters of a document that are given at a time, at most")
    oversample: float = Field(default=2.0, ge=1, description="tokens asked for, for each that is wanting")
    copy_band: tuple[Annotated[Share, Field(le=1)], Annotated[Share, Field(le=1)]] = Field(
        default=(0.05, 0.8), description="share of its runs of 5 words that a written text has from its original"
    )
    max_share: Annotated[Share, Field(gt=0, lt=1)] = Field(
        default=0.5, description="of the output's tokens that may be written; of each domain at most half"
    )
    faithful: float | None = Field(
        default=None, ge=0, le=5, description="least grade of faithfulness by the teacher; null: it is not asked"
    )
    compare: bool = Field(
        default=False, description="also have the model write without adapter, for curate evaluate alone"
    )

    @model_validator(mode="after")
    def _named_once(self) -> "Tier3":
        names = [domain.name for domain in self.domains]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"domains: {repeated[0]} stands twice")
        if self.copy_band[0] >= self.copy_band[1]:
            raise ValueError("copy_band: its first share is not below the second; write [5%, 80%]")
        if self.compare and self.adapter is None:
            raise ValueError("compare: there is no adapter to compare with; add one, or leave it out")
        return self

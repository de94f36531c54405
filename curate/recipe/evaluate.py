"""The sections that decide nothing: evaluate, with held-out texts and proxies, and who."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from curate.recipe.section import Section
from curate.recipe.values import Size, not_empty

ProxyName = Literal["ngram", "decoder_1m", "decoder_10m", "transformer"]
NGRAM: ProxyName = "ngram"


class Transformer(Section):
    """The decoder of the proxy `transformer`, and how long it is trained."""

    d_model: int = Field(default=128, ge=8, description="width; a multiple of heads")
    layers: int = Field(default=4, ge=1, description="blocks")
    heads: int = Field(default=4, ge=1, description="of attention, in each block")
    context: int = Field(default=256, ge=2, multiple_of=2, description="tokens of a window")
    batch: int = Field(default=16, ge=1, description="windows of a step")
    epochs: float = Field(default=1.0, gt=0, description="times that the full arm is read")
    steps: int | None = Field(default=None, ge=1, description="of every model, in the place of epochs")
    learning_rate: float = Field(default=2e-3, gt=0, description="the highest; it rises, and falls by a cosine")
    seeds: int = Field(default=1, ge=1, description="models of each arm that has one draw")

    @model_validator(mode="after")
    def _heads_fit(self) -> "Transformer":
        if self.d_model % self.heads:
            raise ValueError(f"d_model {self.d_model} is no multiple of heads, {self.heads}")
        return self


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _distinct(proxies: list[ProxyName]) -> list[ProxyName]:
    if repeated := [name for k, name in enumerate(proxies) if name in proxies[:k]]:
        raise ValueError(f"{repeated[0]} stands there twice")
    return proxies


class Evaluate(Section):
    """How much quality a run keeps, told by models of what it keeps, of all its input, and of random documents."""

    heldout: Annotated[list[str], AfterValidator(not_empty), Field(json_schema_extra={"minItems": 1})] = Field(
        description="files of text that neither the corpus nor the reference has; models are asked about it"
    )
    domain: str | None = Field(default=None, description="their column with the domain; null: a domain is a file")
    most: int = Field(default=500, ge=1, description="held-out texts of a domain, at most, drawn by seed")
    least: int = Field(default=20, ge=1, description="held-out texts that must be left when leaks are taken out")
    proxy: Annotated[
        list[ProxyName],
        BeforeValidator(_as_list, json_schema_input_type=ProxyName | list[ProxyName]),
        AfterValidator(not_empty),
        AfterValidator(_distinct),
    ] = Field(
        default=["ngram"],
        description="the models: n-grams of tokens, or decoders (need torch) of 1.3 or 10 million weights, or as "
        "transformer says; of several, it is told how far they agree",
    )
    draws: int = Field(default=3, ge=1, description="draws of random documents; fewer than 3 tell little of chance")
    order: int = Field(default=4, ge=2, le=6, description="tokens of an n-gram")
    vocabulary: int = Field(default=8192, ge=256, le=65536, description="tokens that texts are written in, at most")
    sample: Size = Field(default=200_000_000, description="bytes of the input that models are trained on, at most")
    ablate: bool = Field(default=True, description="also decide the run anew without each of its stages")
    transformer: Transformer = Transformer()
    track: bool | None = Field(
        default=None,
        description="`curate run` measures a small sample after each stage; null: where the input is so large that "
        "this is the smaller part of the run",
    )


class Who(Section):
    """What is measured for `curate who`, besides what the run measures anyway; no verdict depends on it."""

    register_: bool = Field(
        default=True, alias="register", description="how formal texts in English are, and whether they are in dialect"
    )
    mentions: bool = Field(default=True, description="which groups of people texts name")

"""The section tier2: attacks, rounds of training, and the bound on false drops."""

from typing import Annotated, Literal

from pydantic import Field

from curate.recipe.affects import affects
from curate.recipe.section import Section
from curate.recipe.values import FalseDrop, Size, switch


class Judge(Section):
    """Grades that the teacher gives to a sample, and a linear model gives to all documents after its example."""

    documents: int = Field(default=1000, ge=20, description="documents that the teacher grades")
    prompt: str = Field(default="quality_grade", description="a prompt of curate's, or a file of one's own")


class Passages(Section):
    """Bad passages that are cut out of documents."""

    least: Size = Field(default=200, description="bytes that must be left of a document with cuts, or it is dropped")


class Tier2(Section):
    """Adversarial purification: drop what a model trained on good, mined and corrupted text tells from good text."""

    rounds: Annotated[int, affects("tier2")] = Field(
        default=4, ge=1, le=20, description="times that the model is trained on what fooled it"
    )
    max_false_drop: FalseDrop = Field(
        default=0.02, description="share of documents like those of the reference that may be dropped, by stratum"
    )
    by: list[Literal["language", "length_bucket"]] = Field(
        default=["length_bucket"], description="what strata of the bound are made of, inside of input.strata"
    )
    good: Annotated[int, affects("tier2")] = Field(
        default=8000, ge=100, description="documents of the reference that are used, at most"
    )
    mined: Annotated[int, affects("tier2")] = Field(
        default=8000, ge=100, description="documents of the corpus that serve as bad ones, at most"
    )
    attacks: Annotated[int, affects("tier2")] = Field(
        default=400, ge=1, description="documents that each attack makes in a round, at most"
    )
    written: Annotated[int, affects("tier2")] = Field(
        default=50, ge=0, description="documents that a teacher corrupts by each prompt in a round"
    )
    excerpt: Annotated[int, affects("tier2")] = Field(
        default=3000, ge=200, description="characters of a text that are sent to a teacher, at most"
    )
    families: Annotated[list[str] | None, affects("tier2")] = Field(
        default=None, description="families of attacks; null: all"
    )
    held_out: Annotated[str | None, affects("tier2")] = Field(
        default="truncation_splice", description="the family that is only tested on, never trained on; null: none"
    )
    judge: Annotated[Judge | None, switch(Judge), affects("tier2")] = Field(
        default=None, description="grades by the teacher; {} has defaults"
    )
    passages: Annotated[Passages | None, switch(Passages)] = Field(
        default=None, description="cut bad passages out of documents before these are judged; {} has defaults"
    )

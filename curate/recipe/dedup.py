"""The section dedup: exact and near duplicates, repeated lines, earlier runs."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from curate.recipe.affects import affects
from curate.recipe.section import Section
from curate.recipe.values import parse_share, switch


class Near(Section):
    """Near duplicates by MinHash."""

    threshold: Annotated[float, BeforeValidator(parse_share)] = Field(
        default=0.8, gt=0, le=1, description="documents with this share of their shingles in common are duplicates"
    )
    as_: Literal["drop", "weight"] = Field(
        default="drop", alias="as", description="drop all but one of them, or keep them with weights that count as one"
    )
    permutations: Annotated[int, affects("measures")] = Field(
        default=128, ge=1, le=4096, description="values of a signature"
    )
    shingle: Annotated[int, affects("measures")] = Field(default=5, ge=1, le=1000, description="words of a shingle")
    verify: Literal["signature", "border", "exact"] = Field(
        default="border", description="which pairs are compared by their whole texts: none, those in doubt, or all"
    )


class Lines(Section):
    """Lines that many documents have."""

    max_repeats: int = Field(
        default=20, ge=1, description="documents of one domain (of all, without a column url) that may have a line"
    )
    max_cut: Annotated[float, BeforeValidator(parse_share)] = Field(
        default=0.8, ge=0, le=1, description="a document that loses a larger share of its bytes is dropped"
    )


class Dedup(Section):
    """Duplicates and which copy survives."""

    exact: bool = Field(
        default=True, description="drop documents equal to another, or equal but for case and white space"
    )
    near: Annotated[Near | None, switch(Near)] = Field(
        default=None, description="drop documents that nearly equal another; {} has defaults"
    )
    lines: Annotated[Lines | None, switch(Lines)] = Field(
        default=None, description="cut lines that many documents have; {} has defaults"
    )
    keep: Literal["best", "first", "longest"] = Field(default="best", description="which copy of a duplicate survives")
    against: list[str] = Field(default=[], description="run directories whose kept documents are not kept again")
    keep_signatures: bool = Field(
        default=True, description="keep the signatures of near duplicates in the ledger once the run is finished"
    )

    @property
    def weighs(self) -> bool:
        """Whether near duplicates stay, with weights."""
        return self.near is not None and self.near.as_ == "weight"

"""The section who: what is measured to tell who is dropped."""

from pydantic import Field

from curate.recipe.section import Section


class Who(Section):
    """What is measured for `curate who`, besides what the run measures anyway; no verdict depends on it."""

    register_: bool = Field(
        default=True, alias="register", description="how formal texts in English are, and whether they are in dialect"
    )
    mentions: bool = Field(default=True, description="which groups of people texts name")

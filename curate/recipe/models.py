"""The section models: whose models a run uses."""

from pydantic import Field

from curate.recipe.section import Section


class Models(Section):
    """Models that a run trains."""

    pin: str | None = Field(default=None, description="a run whose models are used; null: they are trained")

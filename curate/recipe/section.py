"""The base class of the recipe's sections."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Cast = Literal["string", "int64", "float64", "bool", "timestamp"]


class Section(BaseModel):
    """A section of the recipe: no unknown fields, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

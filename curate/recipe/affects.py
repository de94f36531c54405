"""What a change of a recipe's field affects beside the verdicts: metadata that digests, plan and what-if read.

    text: Annotated[str, affects("measures")] = Field(default="text", ...)

A field without it decides, and no more: verdicts are read off the ledger again, and nothing else is stale.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

Effect = Literal[
    "measures",  # what is measured of documents
    "tier2",  # the models of tier 2
    "distill",  # the models of the budget
    "tier3",  # what the third tier writes
    "nothing",  # not even a verdict
]


@dataclass(frozen=True)
class Affects:
    """Metadata of a field: what a change of it makes stale."""

    effects: frozenset[Effect]


@dataclass(frozen=True)
class Setting:
    """A field of a recipe with its value; a section that is marked as a whole is one."""

    name: str  # dotted
    value: object
    effects: frozenset[Effect]


def affects(*effects: Effect) -> Affects:
    """Mark a field."""
    return Affects(frozenset(effects))


def settings(section: BaseModel, prefix: str = "") -> Iterator[Setting]:
    """All fields of a section and of the sections within it; none of a section that is absent."""
    for key, field in type(section).model_fields.items():
        name, value = f"{prefix}{field.alias or key}", getattr(section, key)
        effects = _effects(field.metadata)
        if isinstance(value, BaseModel) and not effects:
            yield from settings(value, f"{name}.")
        else:
            yield Setting(name, value, effects)


def fields_affecting(effect: Effect, section: type[BaseModel]) -> set[str]:
    """The names of a section's own fields that affect something."""
    return {name for name, field in section.model_fields.items() if effect in _effects(field.metadata)}


def changed_settings(effect: Effect, before: BaseModel, after: BaseModel) -> list[str]:
    """The names of fields that both recipes have, that affect something and that differ, in the recipe's order."""
    old = {setting.name: setting.value for setting in settings(before) if effect in setting.effects}
    new = {setting.name: setting.value for setting in settings(after) if effect in setting.effects}
    return [name for name, value in new.items() if name in old and old[name] != value]


def _effects(metadata: list[object]) -> frozenset[Effect]:
    return frozenset(effect for mark in metadata if isinstance(mark, Affects) for effect in mark.effects)

"""What a change of a recipe field affects besides verdicts: metadata that digests, plan and what-if read.

    text: Annotated[str, affects("measures")] = Field(default="text", ...)

A field without it affects verdicts, which are computed again from the ledger. What such a field switches on (a group of
measurements, an edit of a rule set) has a digest of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

Effect = Literal[
    "measures",  # measurements of documents
    "tier2",  # the models of tier 2
    "distill",  # the models of the budget
    "tier3",  # documents that the third tier writes
    "nothing",  # what is kept; perhaps what is written about it
]


@dataclass(frozen=True)
class Affects:
    """Metadata of a field: what becomes stale when it changes."""

    effects: frozenset[Effect]


@dataclass(frozen=True)
class Setting:
    """A recipe field with its value; a section that has metadata itself counts as one field."""

    name: str  # dotted
    value: object
    effects: frozenset[Effect]


def affects(*effects: Effect) -> Affects:
    """Mark a field."""
    return Affects(frozenset(effects))


def settings(section: BaseModel, prefix: str = "") -> Iterator[Setting]:
    """All fields of a section and of its nested sections; an absent section counts as one field."""
    for key, field in type(section).model_fields.items():
        name, value = f"{prefix}{field.alias or key}", getattr(section, key)
        effects = _effects(field.metadata)
        if isinstance(value, BaseModel) and not effects:
            yield from settings(value, f"{name}.")
        else:
            yield Setting(name, value, effects)


def fields_affecting(effect: Effect, section: type[BaseModel]) -> set[str]:
    """The names of a section's own fields with an effect."""
    return {name for name, field in section.model_fields.items() if effect in _effects(field.metadata)}


def changed_settings(effect: Effect, old: BaseModel, new: BaseModel) -> list[str]:
    """The names of fields with an effect that both recipes have and whose values differ, in the recipe's order."""
    old_values = {setting.name: setting.value for setting in settings(old) if effect in setting.effects}
    new_values = {setting.name: setting.value for setting in settings(new) if effect in setting.effects}
    return [name for name, value in new_values.items() if name in old_values and old_values[name] != value]


def _effects(metadata: list[object]) -> frozenset[Effect]:
    return frozenset(effect for mark in metadata if isinstance(mark, Affects) for effect in mark.effects)

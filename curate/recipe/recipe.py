"""The recipe: one typed YAML file with every setting that changes the result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from curate.digest import digest_of
from curate.recipe.affects import affects, settings
from curate.recipe.dedup import Dedup
from curate.recipe.distill import Distill
from curate.recipe.evaluate import Evaluate, Who
from curate.recipe.input import Input
from curate.recipe.models import Models
from curate.recipe.section import Section
from curate.recipe.teacher import TRANSPORT_FIELDS, AnyTeacher, Teacher
from curate.recipe.tier1 import Tier1
from curate.recipe.tier2 import Tier2
from curate.recipe.tier3 import Tier3
from curate.recipe.values import Size, Tokens, Unit, switch
from curate.storage.mirror import run_of


class Recipe(Section):
    """Everything that decides what a run keeps."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"), affects("nothing")] = Field(
        description="names the dataset"
    )
    seed: Annotated[int, affects("tier2", "distill")] = Field(default=0, description="all randomness derives from it")
    output: str | None = Field(
        default=None, description="the run directory, a path or s3://bucket/run; null means runs/ and the name"
    )
    input: Input
    on_error: Literal["stop", "quarantine"] = Field(default="stop", description="what an unreadable file does")
    allow_empty: bool = Field(default=False, description="whether a run that keeps nothing is a success")
    tokenizer: Annotated[Literal["estimate"], affects("measures")] = Field(
        default="estimate",
        description="what n_tokens counts: an estimate by bytes and script",
        json_schema_extra={"doNotSuggest": True},
    )
    exclude: Annotated[list[str], affects("tier2")] = Field(
        default=[], description="files of ids, urls or hashes whose documents are removed"
    )
    reference: Annotated[list[str], affects("tier2", "distill")] = Field(
        default=[], description="files of good text: what tier2 tells bad text from, and distill looks for"
    )
    teacher: Annotated[AnyTeacher, affects("tier2")] = Field(
        default="rules", description="the language model that is asked; rules: none is"
    )
    tier1: Tier1 = Tier1()
    dedup: Dedup = Dedup()
    tier2: Annotated[Tier2 | None, switch(Tier2)] = None
    tier3: Annotated[Tier3 | None, affects("tier3")] = None
    distill: Annotated[Distill | None, switch(Distill)] = None
    who: Annotated[Who | None, switch(Who), affects("nothing")] = None
    evaluate: Annotated[Evaluate | None, affects("nothing")] = None
    train_tokens: Annotated[Tokens | None, affects("nothing")] = Field(
        default=None, description="tokens of the training to come: plan and report say how often it reads the output"
    )
    models: Annotated[Models, affects("tier2", "distill")] = Models()
    export: Annotated[list[str], affects("nothing")] = Field(default=[], description="formats for other trainers")
    shard_size: Size = Field(default=256_000_000, description="bytes of text per output shard")

    @property
    def run_directory(self) -> Path:
        """The run directory; for a run on an object store, its mirror on this machine."""
        return run_of(self.output or f"runs/{self.name}")

    @property
    def budget_unit(self) -> Unit:
        """What a budget counts; tokens without one."""
        return self.distill.unit if self.distill else "tokens"

    def resolved(self) -> dict[str, Any]:
        """The recipe with all defaults, without its paths and without how its teacher is reached."""
        excluded: Any = {"output": True, "input": {"paths"}}
        if isinstance(self.teacher, Teacher):
            excluded["teacher"] = TRANSPORT_FIELDS
        return self.model_dump(mode="json", by_alias=True, exclude=excluded)

    def digest(self) -> str:
        """Hex digest of all settings that can change a kept document; the inputs have hashes of their own."""
        fields = self.resolved()
        for name in _fields_without_effect(self):
            *sections, field = name.split(".")
            section = fields
            for key in sections:
                section = section[key]
            del section[field]
        return digest_of(fields)


def _fields_without_effect(recipe: Recipe) -> list[str]:
    """The fields that do not affect what is kept."""
    return [setting.name for setting in settings(recipe) if "nothing" in setting.effects]


def changed_fields(old: Recipe, new: Recipe) -> dict[str, tuple[Any, Any]]:
    """The differing fields that affect what is kept, by dotted names, with both values (None for absent fields)."""
    old_fields, new_fields = old.resolved(), new.resolved()
    old_flat, new_flat = _flat(old_fields), _flat(new_fields)
    without_effect = tuple(f"{name}." for name in _fields_without_effect(new))
    names = [
        name
        for name in {**new_flat, **old_flat}
        if not f"{name}.".startswith(without_effect)
        and (name in old_flat, old_flat.get(name)) != (name in new_flat, new_flat.get(name))
    ]
    outermost = [name for name in names if not any(name.startswith(f"{other}.") for other in names)]
    return {name: (_at(old_fields, name), _at(new_fields, name)) for name in outermost}


def _flat(fields: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Fields by their dotted names."""
    flat: dict[str, object] = {}
    for name, value in fields.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _at(fields: Any, name: str) -> Any:  # noqa: ANN401 - any value of a recipe
    """The value of a dotted name; None where it is absent."""
    for part in name.split("."):
        fields = fields.get(part) if isinstance(fields, dict) else None
    return fields

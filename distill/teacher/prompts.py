"""Prompts: a YAML file each in distill/teacher/prompts, with a version that a reply is traced to its question by."""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from curate.distill.teacher.protocol import Sampling
from curate.errors import RecipeError, did_you_mean
from curate.recipe.tier3 import Form

FOLDER = Path(__file__).parent / "prompts"
PLACE = re.compile(r"\{([a-z_]+)\}")


class Drawn(BaseModel):
    """How replies to a prompt are drawn, unless the caller says otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_tokens: Annotated[int, Field(ge=1)]
    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0


class Prompt(BaseModel):
    """A prompt. `{text}` and other names in braces stand for what it is filled with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: Annotated[int, Field(ge=1)]
    about: str
    system: str = ""
    user: str
    json_schema: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    choices: tuple[str, ...] | None = None
    sampling: Drawn
    family: str | None = None  # of an attack
    kind: Literal["negative", "positive"] | None = None  # of an attack: what its replies are
    form: Form | None = None  # of an augmentation: what it makes of a text
    digest: str = ""  # hash of the file

    @property
    def places(self) -> set[str]:
        """The names that it is filled with."""
        return set(PLACE.findall(self.system + self.user))

    def sampling_with(self, seed: int) -> Sampling:
        """How a reply is drawn, within the schema or the choices."""
        limit = self.json_schema
        schema = None if limit is None else json.dumps(limit, sort_keys=True, separators=(",", ":"))
        return Sampling(**self.sampling.model_dump(), seed=seed, choices=self.choices, schema=schema)


@cache
def all_prompts() -> Mapping[str, Prompt]:
    """Every packaged prompt by its name."""
    return {path.stem: read(path) for path in sorted(FOLDER.glob("*.yaml"))}


def load(name: str) -> Prompt:
    """A packaged prompt.

    Errors: RecipeError where there is none of this name.
    """
    if name not in all_prompts():
        raise RecipeError(f"no prompt {name!r}{did_you_mean(name, all_prompts())}")
    return all_prompts()[name]


def read(path: Path) -> Prompt:
    """A prompt from a file.

    Errors: RecipeError naming the file and the field.
    """
    try:
        content = path.read_bytes()
        found = Prompt.model_validate({**yaml.safe_load(content), "digest": hashlib.sha256(content).hexdigest()})
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}") from None
    except (TypeError, yaml.YAMLError):
        raise RecipeError(f"{path}: a prompt is a mapping of fields such as name and user, in YAML") from None
    except ValidationError as error:
        [first, *_] = error.errors()
        raise RecipeError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if found.name != path.stem:
        raise RecipeError(f"{path}: its name is {found.name!r}; name it as its file")
    return found


def render(prompt: Prompt, **values: str) -> tuple[tuple[str, str], ...]:
    """The prompt as messages, filled with values: as they are, whatever braces they hold.

    Errors: RecipeError where a value is missing or has no place.
    """
    if prompt.places != set(values):
        raise RecipeError(f"prompt {prompt.name}: wants {sorted(prompt.places)}, and is given {sorted(values)}")
    filled = [(role, PLACE.sub(lambda place: values[place[1]], text)) for role, text in _parts(prompt)]
    return tuple(filled)


def digest(prompt: Prompt) -> str:
    """Hash of the bytes of its file (SHA-256)."""
    return prompt.digest


def _parts(prompt: Prompt) -> list[tuple[str, str]]:
    parts = [("system", prompt.system), ("user", prompt.user)]
    return [(role, text) for role, text in parts if text]

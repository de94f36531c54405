"""Versioned prompts, one YAML file each in distill/teacher/prompts."""

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
PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


class SamplingDefaults(BaseModel):
    """A prompt's default sampling parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_tokens: Annotated[int, Field(ge=1)]
    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0


class Prompt(BaseModel):
    """A prompt template. `{text}` and other names in braces are placeholders."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: Annotated[int, Field(ge=1)]
    about: str
    system: str = ""
    user: str
    json_schema: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    choices: tuple[str, ...] | None = None
    sampling: SamplingDefaults
    family: str | None = None  # only for attacks
    kind: Literal["negative", "positive"] | None = None  # only for attacks: the label of the replies
    form: Form | None = None  # only for augmentation: the form of the replies
    digest: str = ""  # SHA-256 of the file

    @property
    def placeholders(self) -> set[str]:
        """The names of all placeholders."""
        return set(PLACEHOLDER.findall(self.system + self.user))

    def sampling_with(self, seed: int) -> Sampling:
        """The sampling parameters with a seed, constrained by the schema or the choices."""
        schema = None
        if self.json_schema is not None:
            schema = json.dumps(self.json_schema, sort_keys=True, separators=(",", ":"))
        return Sampling(**self.sampling.model_dump(), seed=seed, choices=self.choices, schema=schema)


@cache
def all_prompts() -> Mapping[str, Prompt]:
    """All packaged prompts by name."""
    return {path.stem: read(path) for path in sorted(FOLDER.glob("*.yaml"))}


def load(name: str) -> Prompt:
    """The packaged prompt of this name.

    Errors: RecipeError for an unknown name.
    """
    if name not in all_prompts():
        raise RecipeError(f"no prompt {name!r}{did_you_mean(name, all_prompts())}")
    return all_prompts()[name]


def read(path: Path) -> Prompt:
    """Read a prompt from a file.

    Errors: RecipeError naming the file and the field.
    """
    try:
        content = path.read_bytes()
        prompt = Prompt.model_validate({**yaml.safe_load(content), "digest": hashlib.sha256(content).hexdigest()})
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}") from None
    except (TypeError, yaml.YAMLError):
        raise RecipeError(f"{path}: a prompt is a mapping of fields such as name and user, in YAML") from None
    except ValidationError as error:
        [first, *_] = error.errors()
        raise RecipeError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if prompt.name != path.stem:
        raise RecipeError(f"{path}: its name is {prompt.name!r}; name it as its file")
    return prompt


def render(prompt: Prompt, **values: str) -> tuple[tuple[str, str], ...]:
    """Fill in the placeholders, and return the prompt as messages. Braces in values are literal.

    Errors: RecipeError where a value is missing or has no placeholder.
    """
    if prompt.placeholders != set(values):
        raise RecipeError(f"prompt {prompt.name}: wants {sorted(prompt.placeholders)}, and is given {sorted(values)}")
    filled = [(role, PLACEHOLDER.sub(lambda place: values[place[1]], text)) for role, text in _parts(prompt)]
    return tuple(filled)


def digest(prompt: Prompt) -> str:
    """The SHA-256 of the prompt's file."""
    return prompt.digest


def _parts(prompt: Prompt) -> list[tuple[str, str]]:
    parts = [("system", prompt.system), ("user", prompt.user)]
    return [(role, text) for role, text in parts if text]

"""Requests to a language model, its replies, and the protocol of all teachers."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypedDict

from curate.progress import Log
from curate.recipe.teacher import Teacher as Section

Prompt = str | tuple[tuple[str, str], ...]  # plain text, or messages of (role, content)
Method = Literal["generate", "score", "choose"]


@dataclass(frozen=True)
class Sampling:
    """Sampling parameters. At most one of `choices`, `regex` and `schema` constrains the reply."""

    max_tokens: int
    temperature: float = 0.0  # 0: greedy
    top_p: float = 1.0
    seed: int = 0
    choices: tuple[str, ...] | None = None
    regex: str | None = None
    schema: str | None = None  # a JSON schema, as canonical JSON

    def __post_init__(self) -> None:
        if sum(limit is not None for limit in (self.choices, self.regex, self.schema)) > 1:
            raise ValueError("a reply is limited by one of choices, regex and schema")


@dataclass(frozen=True)
class Request:
    """A text to continue, or messages to reply to."""

    prompt: Prompt
    sampling: Sampling
    adapter: str | None = None  # name of the LoRA adapter to use; None: the base model


@dataclass(frozen=True)
class Reply:
    """A reply; `finish_reason` is stop, length, or another reason of the server."""

    text: str
    finish_reason: str
    n_prompt_tokens: int
    n_tokens: int


class Score(NamedTuple):
    """The natural log-probability of a text, and its number of tokens, both without the first token."""

    log_probability: float
    n_tokens: int


Choice = dict[str, float]  # natural log-probability of each label, normalized over the labels


class ModelFacts(TypedDict, total=False):
    """What identifies a model and its adapters, as in the manifest. Part of the keys of the request cache."""

    kind: str
    dtype: str
    quantization: str | None
    model: str
    content_xxh3_128: str  # of a model in a folder
    revision: str | None  # of a model on the Hub
    root: str  # of a model behind servers: the name that they loaded it from
    adapters: dict[str, str]  # hash of the content by name


class Teacher(Protocol):
    """A language model for requests in bulk. Answers are in the order of the requests.

    An answer is None where the model refuses a request, for example because the prompt is too long.

    Errors: TeacherError where the model cannot be reached, RecipeError where it lacks the ability.
    """

    @property
    def name(self) -> str:
        """The kind of teacher, as in a recipe."""

    @property
    def model(self) -> str:
        """The model's name."""

    @property
    def facts(self) -> ModelFacts:
        """What identifies the model and its adapters."""

    @property
    def counts(self) -> Mapping[str, int]:
        """`questions` so far, of these `from_cache`, `answered`, `refused`; `prompt_tokens` and `tokens` of replies."""

    def generate(self, requests: Sequence[Request]) -> list[Reply | None]:
        """Generate a reply to each request."""

    def score(self, texts: Sequence[str], adapter: str | None = None) -> list[Score | None]:
        """Compute the log-probability of each text."""

    def choose(self, requests: Sequence[Request], labels: Sequence[str]) -> list[Choice | None]:
        """Compute the probability of each label as the reply to each request, normalized over the labels."""


@dataclass(frozen=True)
class Question:
    """A question for any method, as passed to a `Model`."""

    method: Method
    prompt: Prompt
    adapter: str | None = None
    sampling: Sampling | None = None  # for generate
    labels: tuple[str, ...] = ()  # for choose


@dataclass(frozen=True)
class Refusal:
    """The reason why a question has no answer."""

    message: str


Answer = Reply | Score | Choice
OnAnswer = Callable[[int, Answer | Refusal], None]


class Model(Protocol):
    """A model that answers questions of one method and passes on each answer as soon as it arrives."""

    name: str
    model: str
    facts: ModelFacts

    def answer(self, questions: Sequence[Question], on_answer: OnAnswer) -> None:
        """Call `on_answer` once for each question, with its position, in any order."""


OpenModel = Callable[[Section, Path, Log], AbstractContextManager[Model]]

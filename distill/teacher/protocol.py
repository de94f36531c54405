"""How a language model is asked: requests, replies, and the one protocol that every teacher has."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from curate.progress import Log
from curate.recipe.teacher import Teacher as Section

Prompt = str | tuple[tuple[str, str], ...]  # plain text, or messages of (role, content)
Method = Literal["generate", "score", "choose"]


@dataclass(frozen=True)
class Sampling:
    """How a reply is drawn. At most one of `choices`, `regex` and `schema` limits what it may be."""

    max_tokens: int
    temperature: float = 0.0  # 0: the likeliest token each time
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
    """One question: a text to continue, or messages to reply to."""

    prompt: Prompt
    sampling: Sampling
    adapter: str | None = None  # the LoRA adapter that answers; None: the model itself


@dataclass(frozen=True)
class Reply:
    """What the model wrote; `finish_reason` is stop, length, or what else the server says."""

    text: str
    finish_reason: str
    n_prompt_tokens: int
    n_tokens: int


class Score(NamedTuple):
    """How likely a text is: natural logarithm of its probability, first token excluded, and the tokens that count."""

    log_probability: float
    n_tokens: int


Choice = dict[str, float]  # natural logarithm of each label's probability, which sum to 1


class Teacher(Protocol):
    """A language model that is asked in bulk. Answers come in the order of the questions.

    An answer is None where the model refuses one question, as a server does with a prompt that is too long for it.

    Errors: TeacherError where it cannot be asked at all, RecipeError where it is none that could do this.
    """

    @property
    def name(self) -> str:
        """The kind of teacher, as a recipe names it."""

    @property
    def model(self) -> str:
        """The model's name."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What identifies the model and its adapters: what the manifest says of them."""

    @property
    def counts(self) -> Mapping[str, int]:
        """`questions` so far, of these `from_cache`, `answered`, `refused`; of replies `prompt_tokens`, `tokens`."""

    def generate(self, requests: Sequence[Request]) -> list[Reply | None]:
        """Have each request replied to."""

    def score(self, texts: Sequence[str], adapter: str | None = None) -> list[Score | None]:
        """Tell how likely each text is."""

    def choose(self, requests: Sequence[Request], labels: Sequence[str]) -> list[Choice | None]:
        """Tell how likely each label is as the reply to each request, among the labels."""


@dataclass(frozen=True)
class Question:
    """A question of any method, as the implementations get it."""

    method: Method
    prompt: Prompt
    adapter: str | None = None
    sampling: Sampling | None = None  # of generate
    labels: tuple[str, ...] = ()  # of choose


@dataclass(frozen=True)
class Refusal:
    """Why one question has no answer."""

    message: str


Answer = Reply | Score | Choice
Arrived = Callable[[int, Answer | Refusal], None]


class Model(Protocol):
    """An implementation: it answers questions of one method, and hands each answer on as soon as it is there."""

    name: str
    model: str
    facts: Mapping[str, Any]

    def answer(self, questions: Sequence[Question], arrived: Arrived) -> None:
        """Call `arrived` once for each question, by its position, in any order."""


OpenModel = Callable[[Section, Path, Log], AbstractContextManager[Model]]

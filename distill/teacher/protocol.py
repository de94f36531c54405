"""How a language model is asked: requests, replies, and the one protocol that every teacher has."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from curate.errors import RecipeError
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


@dataclass(frozen=True)
class NoModel:
    """The teacher of a recipe that names none."""

    name: str = "rules"
    model: str = ""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Nothing but its kind."""
        return {"kind": self.name}

    @property
    def counts(self) -> Mapping[str, int]:
        """None, as nothing can be asked."""
        return {}

    def generate(self, requests: Sequence[Request]) -> list[Reply | None]:
        """Refuse."""
        raise _no_model("write replies")

    def score(self, texts: Sequence[str], adapter: str | None = None) -> list[Score | None]:
        """Refuse."""
        raise _no_model("score text")

    def choose(self, requests: Sequence[Request], labels: Sequence[str]) -> list[Choice | None]:
        """Refuse."""
        raise _no_model("choose between labels")


def _no_model(what: str) -> RecipeError:
    return RecipeError(
        f"teacher: rules has no language model to {what} with; set teacher to {{transformers: MODEL}}, which runs it "
        "here, or to {vllm: {urls: [URL]}}"
    )


def check_teacher(section: Literal["rules"] | Section) -> None:
    """Refuse a teacher that cannot be had here, as far as libraries and folders tell: nothing is loaded or asked.

    Errors: TeacherError for a library that is missing, RecipeError for a folder that holds no model.
    """
    from curate.distill.teacher.local import need
    from curate.distill.teacher.vllm_serve import need_vllm
    from curate.distill.teacher.weights import check_adapters, find_model

    if section == "rules":
        return
    if here := section.transformers:
        need("teacher.transformers", "transformers", "torch", "transformers")
        find_model(here.model, here.revision, "teacher.transformers.model")
    elif engine := section.vllm_engine:
        need_vllm("teacher.vllm_engine")
        find_model(engine.model, engine.revision, "teacher.vllm_engine.model")
    elif section.vllm and section.vllm.serve:
        need_vllm("teacher.vllm.serve")
        find_model(section.vllm.serve, section.vllm.revision, "teacher.vllm.serve")
    for kind in ("transformers", "vllm_engine", "vllm"):
        check_adapters(getattr(getattr(section, kind), "lora", {}), f"teacher.{kind}")


@contextmanager
def open_teacher(
    section: Literal["rules"] | Section, cache_folder: Path, log: Log, models: OpenModel | None = None
) -> Iterator[Teacher]:
    """The teacher that a recipe names, with its request cache in `cache_folder`; on leaving, what it started is ended.

    `models` opens its model, as an engine does; by default `open_model`.

    Errors: TeacherError where no server answers or a library is missing, RecipeError where the model cannot be had.
    """
    if section == "rules":
        yield NoModel()
        return
    from curate.distill.teacher.cached import Asking
    from curate.distill.teacher.request_cache import open_cache

    with (models or open_model)(section, cache_folder, log) as model, open_cache(cache_folder) as cache:
        yield Asking(model, cache, log)


@contextmanager
def open_model(section: Section, folder: Path, log: Log) -> Iterator[Model]:
    """The implementation that a section names, in this process; what a server tells goes to `folder`."""
    if section.transformers is not None:
        from curate.distill.teacher.local import open_local_model

        yield open_local_model(section.transformers, log)
    elif section.vllm_engine is not None:
        from curate.distill.teacher.vllm_engine import open_engine

        with open_engine(section.vllm_engine, log) as engine:
            yield engine
    elif section.vllm is not None and section.vllm.serve is not None:
        from curate.distill.teacher.vllm_serve import served

        with served(section.vllm, folder / "server.log", log) as model:
            yield model
    elif section.vllm is not None:
        from curate.distill.teacher.vllm_http import connect

        yield connect(section.vllm, log)

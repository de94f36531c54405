"""Questions as requests to an OpenAI-compatible server of vLLM, and its responses as answers."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from curate.distill.teacher.labels import TAIL, Labels, labels_behind
from curate.distill.teacher.protocol import Answer, Choice, Prompt, Question, Reply, Sampling, Score

Body = dict[str, Any]
T = TypeVar("T")
SEEDS = 2**63  # that vLLM takes
MOST = 2**31  # of tokens, and of a logarithm's size
MOST_ROUNDED = 0.01  # what rounding may add to the logarithm of 1
MAX_LABEL_TOKENS = 128  # that vLLM gives the probabilities of in one request


class Call(Protocol):
    """Send a body to a path of some server and read its response; one that cannot be read counts as a failure."""

    def __call__(self, path: str, body: Body, read: Callable[[Any], T]) -> Awaitable[T]:
        """Send, wait and read."""


@dataclass
class Api:
    """A model behind servers. Of labels the tokens are kept, as all questions share them.

    A server with adapters scores a prompt while it does nothing else: with more in its batch vLLM mixes them up
    or dies (vllm-project/vllm#16668).
    """

    call: Call
    model: str
    has_adapters: bool
    window: int  # requests under way at most
    names: Mapping[str, str] = field(default_factory=dict)  # that adapters are served under, where these are others
    _labels: dict[tuple[str | None, str, tuple[str, ...]], Labels] = field(default_factory=dict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _alone: asyncio.Lock = field(default_factory=asyncio.Lock)
    _shares: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._shares = asyncio.Semaphore(self.window)

    async def answer(self, question: Question) -> Answer:
        """Answer one question."""
        model = self.names.get(question.adapter, question.adapter) if question.adapter else self.model
        if question.method == "generate" and question.sampling is not None:
            path, body = _prompted(question.prompt)
            limits = _limits(question.sampling)
            return await self.call(path, {"model": model, **body, **limits}, _reply)
        if question.method == "score":
            [logs] = await self._prompt_logs(model, [question.prompt])
            return Score(float(sum(logs)), len(logs))
        return await self._choose(model, question)

    async def _choose(self, model: str, question: Question) -> Choice:
        """The labels' probabilities: in one request where each is one token, else by scoring each behind the prompt."""
        labels = await self._labels_of(model, question)
        single = labels.single()
        if not isinstance(question.prompt, str) and 0 < len(single) <= MAX_LABEL_TOKENS:
            body: Body = {"messages": _messages(question.prompt), "logprob_token_ids": single}
            body |= {"logprobs": True, "return_tokens_as_token_ids": True, "max_tokens": 1, "temperature": 0}
            async with self._shares:
                told = await self.call("/v1/chat/completions", {"model": model, **body}, _next_tokens)
            if set(single) <= set(told):  # a server before 0.19 has no such field, and leaves it out
                return labels.choice([told[token] for token in single])
        prompt = await self._encode(model, question.prompt)
        logs = await self._prompt_logs(model, labels.behind(prompt))
        return labels.choice([sum(found[-n:]) for found, n in zip(logs, labels.lengths(), strict=True)])

    async def _prompt_logs(self, model: str, prompts: Sequence[Prompt | list[int]]) -> list[list[float]]:
        """The logarithms of the probabilities of each prompt's tokens but the first."""
        body = {"model": model, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
        if not self.has_adapters:
            return await self.call("/v1/completions", {**body, "prompt": prompts}, _prompt_logs(len(prompts)))
        found = []
        for prompt in prompts:
            async with self._alone:
                for _ in range(self.window):
                    await self._shares.acquire()
                try:
                    found += await self.call("/v1/completions", {**body, "prompt": prompt}, _prompt_logs(1))
                finally:
                    for _ in range(self.window):
                        self._shares.release()
        return found

    async def _labels_of(self, model: str, question: Question) -> Labels:
        """A question's labels behind the end of its prompt."""
        prompt = question.prompt
        key = (question.adapter, prompt[-TAIL:] if isinstance(prompt, str) else "", question.labels)
        async with self._lock:
            if key not in self._labels:
                tail = prompt[-TAIL:] if isinstance(prompt, str) else await self._end_of_chat(model)
                texts = [tail, *(tail + label for label in question.labels)]
                found = {text: await self._encode(model, text, add_special_tokens=False) for text in texts}
                self._labels[key] = labels_behind(found.__getitem__, tail, question.labels)
            return self._labels[key]

    async def _end_of_chat(self, model: str) -> str:
        """What the model's chat template ends a prompt with."""
        tokens = await self._encode(model, (("user", "x"),))
        body = {"model": model, "tokens": tokens}
        text = await self.call("/detokenize", body, lambda response: _text(response["prompt"]))
        return text[-TAIL:]

    async def _encode(self, model: str, prompt: Prompt, **options: bool) -> list[int]:
        """The tokens of a prompt, as the server would make them of it."""
        body = {"prompt": prompt} if isinstance(prompt, str) else {"messages": _messages(prompt)}
        return await self.call(
            "/tokenize", {"model": model, **body, **options}, lambda response: list(map(_count, response["tokens"]))
        )


def _prompted(prompt: Prompt) -> tuple[str, Body]:
    """Where a prompt goes, and as what."""
    if isinstance(prompt, str):
        return "/v1/completions", {"prompt": prompt}
    return "/v1/chat/completions", {"messages": _messages(prompt)}


def _messages(prompt: Sequence[tuple[str, str]]) -> list[Body]:
    return [{"role": role, "content": content} for role, content in prompt]


def _limits(sampling: Sampling) -> Body:
    """How a reply is drawn, in the server's words: vLLM passes over the older `guided_choice` in silence.

    Everything is said, as for what is not said vLLM takes what the model's makers recommend.
    """
    limits: Body = {"max_tokens": sampling.max_tokens, "temperature": sampling.temperature, "top_p": sampling.top_p}
    limits |= {"seed": sampling.seed % SEEDS, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
    if sampling.choices is not None:
        limits["structured_outputs"] = {"choice": list(sampling.choices)}
    elif sampling.regex is not None:
        limits["structured_outputs"] = {"regex": sampling.regex}
    elif sampling.schema is not None:
        limits["structured_outputs"] = {"json": json.loads(sampling.schema)}
    return limits


def _reply(response: Mapping[str, Any]) -> Reply:
    [choice] = response["choices"]
    text = choice["message"]["content"] if "message" in choice else choice["text"]
    used = response["usage"]
    return Reply(
        _text(text or ""),
        _text(str(choice["finish_reason"])),
        _count(used["prompt_tokens"]),
        _count(used["completion_tokens"]),
    )


def _prompt_logs(n: int) -> Callable[[Mapping[str, Any]], list[list[float]]]:
    """Reads the logarithms of the tokens of `n` prompts but the first of each."""

    def read(response: Mapping[str, Any]) -> list[list[float]]:
        choices = sorted(response["choices"], key=lambda choice: _count(choice["index"]))
        if [choice["index"] for choice in choices] != list(range(n)):
            raise ValueError(f"{len(choices)} answers to {n} prompts")
        tokens = [choice["prompt_logprobs"][1:] for choice in choices]
        return [[_log(next(iter(token.values()))["logprob"]) for token in one] for one in tokens]

    return read


def _next_tokens(response: Mapping[str, Any]) -> dict[int, float]:
    """The logarithms that the server tells of the first token of a reply."""
    [first] = response["choices"][0]["logprobs"]["content"]
    named = {_text(one["token"]): _log(one["logprob"]) for one in first["top_logprobs"]}
    return {int(name.removeprefix("token_id:")): log for name, log in named.items() if name.startswith("token_id:")}


def _text(value: object) -> str:
    """A text that UTF-8 can hold: JSON has escapes for halves of characters.

    Errors: ValueError, TypeError.
    """
    if not isinstance(value, str):
        raise TypeError("no text")
    value.encode()
    return value


def _count(value: object) -> int:
    """A number of tokens, or of one of them.

    Errors: ValueError.
    """
    if not isinstance(value, int) or not 0 <= value < MOST:
        raise ValueError("no count")
    return value


def _log(value: object) -> float:
    """The logarithm of a probability; vLLM itself writes -9999 for that of 0.

    Errors: ValueError.
    """
    if not isinstance(value, int | float) or not -MOST < value < MOST_ROUNDED:
        raise ValueError("no logarithm of a probability")
    return float(value)

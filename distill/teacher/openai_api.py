"""Translate questions into requests to an OpenAI-compatible vLLM server, and its responses into answers."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from curate.distill.teacher.labels import TAIL, Labels, tokenize_labels
from curate.distill.teacher.protocol import Answer, Choice, Prompt, Question, Reply, Sampling, Score

Body = Mapping[str, object]  # of a request: JSON
T = TypeVar("T")
SEEDS = 2**63  # vLLM accepts seeds below
MAX_COUNT = 2**31  # bound on numbers of tokens and on the size of logarithms
MAX_ROUNDING = 0.01  # highest log-probability to accept: rounding may push that of 1 above 0
MAX_LABEL_TOKENS = 128  # tokens of which vLLM returns the probabilities in one request


class Call(Protocol):
    """Send a request to one of the servers and parse its response. An unreadable response counts as a failure."""

    def __call__(self, path: str, body: Body, read: Callable[[Any], T]) -> Awaitable[T]:
        """Send `body` to `path`, wait, and parse the response with `read`."""


@dataclass
class Api:
    """A model behind servers. Caches the tokens of labels, which all questions share.

    A server with adapters scores each prompt exclusively: with other requests in the batch, vLLM mixes them up or
    crashes (vllm-project/vllm#16668).
    """

    call: Call
    model: str
    has_adapters: bool
    window: int  # maximum number of requests in flight
    names: Mapping[str, str] = field(default_factory=dict)  # served names of adapters that differ from the recipe's
    _labels: dict[tuple[str | None, str, tuple[str, ...]], Labels] = field(default_factory=dict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _exclusive: asyncio.Lock = field(default_factory=asyncio.Lock)
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.window)

    async def answer(self, question: Question) -> Answer:
        """Answer a question."""
        model = self.names.get(question.adapter, question.adapter) if question.adapter else self.model
        if question.method == "generate" and question.sampling is not None:
            path, body = _prompt_request(question.prompt)
            parameters = _sampling_parameters(question.sampling)
            return await self.call(path, {"model": model, **body, **parameters}, _read_reply)
        if question.method == "score":
            [logs] = await self._prompt_logs(model, [question.prompt])
            return Score(float(sum(logs)), len(logs))
        return await self._choose(model, question)

    async def _choose(self, model: str, question: Question) -> Choice:
        """Compute the labels' probabilities.

        This takes one request where each label is a single token, else a score of each label after the prompt.
        """
        labels = await self._labels_of(model, question)
        single = labels.single_tokens()
        if not isinstance(question.prompt, str) and 0 < len(single) <= MAX_LABEL_TOKENS:
            body = {
                "model": model,
                "messages": _messages(question.prompt),
                "logprob_token_ids": single,
                "logprobs": True,
                "return_tokens_as_token_ids": True,
                "max_tokens": 1,
                "temperature": 0,
            }
            async with self._slots:
                logs_by_token = await self.call("/v1/chat/completions", body, _read_next_tokens)
            if set(single) <= set(logs_by_token):  # vLLM before 0.19 ignores logprob_token_ids
                return labels.choice([logs_by_token[token] for token in single])
        prompt = await self._encode(model, question.prompt)
        logs = await self._prompt_logs(model, labels.appended_to(prompt))
        return labels.choice([sum(label_logs[-n:]) for label_logs, n in zip(logs, labels.lengths(), strict=True)])

    async def _prompt_logs(self, model: str, prompts: Sequence[Prompt | list[int]]) -> list[list[float]]:
        """The log-probabilities of each prompt's tokens except the first."""
        body = {"model": model, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
        if not self.has_adapters:
            return await self.call("/v1/completions", {**body, "prompt": prompts}, _prompt_logs(len(prompts)))
        logs = []
        for prompt in prompts:
            async with self._exclusive:
                for _ in range(self.window):
                    await self._slots.acquire()
                try:
                    logs += await self.call("/v1/completions", {**body, "prompt": prompt}, _prompt_logs(1))
                finally:
                    for _ in range(self.window):
                        self._slots.release()
        return logs

    async def _labels_of(self, model: str, question: Question) -> Labels:
        """The tokens of a question's labels after the end of its prompt."""
        prompt = question.prompt
        key = (question.adapter, prompt[-TAIL:] if isinstance(prompt, str) else "", question.labels)
        async with self._lock:
            if key not in self._labels:
                tail = prompt[-TAIL:] if isinstance(prompt, str) else await self._chat_template_end(model)
                texts = [tail, *(tail + label for label in question.labels)]
                tokens = {text: await self._encode(model, text, add_special_tokens=False) for text in texts}
                self._labels[key] = tokenize_labels(tokens.__getitem__, tail, question.labels)
            return self._labels[key]

    async def _chat_template_end(self, model: str) -> str:
        """The last characters of the model's chat template."""
        tokens = await self._encode(model, (("user", "x"),))
        body = {"model": model, "tokens": tokens}
        text = await self.call("/detokenize", body, lambda response: _text(response["prompt"]))
        return text[-TAIL:]

    async def _encode(self, model: str, prompt: Prompt, **options: bool) -> list[int]:
        """The tokens of a prompt according to the server."""
        body = {"prompt": prompt} if isinstance(prompt, str) else {"messages": _messages(prompt)}
        return await self.call(
            "/tokenize", {"model": model, **body, **options}, lambda response: list(map(_count, response["tokens"]))
        )


def _prompt_request(prompt: Prompt) -> tuple[str, Body]:
    """The path and body of a request with this prompt."""
    if isinstance(prompt, str):
        return "/v1/completions", {"prompt": prompt}
    return "/v1/chat/completions", {"messages": _messages(prompt)}


def _messages(prompt: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in prompt]


def _sampling_parameters(sampling: Sampling) -> Body:
    """Sampling parameters as fields of a request.

    All are explicit, as vLLM defaults to those that the model's authors recommend. Constraints are in
    `structured_outputs`: vLLM silently ignores the older `guided_choice`.
    """
    parameters: dict[str, object] = {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed % SEEDS,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
    }
    if sampling.choices is not None:
        parameters["structured_outputs"] = {"choice": list(sampling.choices)}
    elif sampling.regex is not None:
        parameters["structured_outputs"] = {"regex": sampling.regex}
    elif sampling.schema is not None:
        parameters["structured_outputs"] = {"json": json.loads(sampling.schema)}
    return parameters


def _read_reply(response: Mapping[str, Any]) -> Reply:
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
    """A parser of responses with the log-probabilities of `n` prompts' tokens, except the first of each."""

    def read(response: Mapping[str, Any]) -> list[list[float]]:
        choices = sorted(response["choices"], key=lambda choice: _count(choice["index"]))
        if [choice["index"] for choice in choices] != list(range(n)):
            raise ValueError(f"{len(choices)} answers to {n} prompts")
        tokens = [choice["prompt_logprobs"][1:] for choice in choices]
        return [[_log(next(iter(token.values()))["logprob"]) for token in choice_tokens] for choice_tokens in tokens]

    return read


def _read_next_tokens(response: Mapping[str, Any]) -> dict[int, float]:
    """Parse the log-probabilities of candidates for the first token of a reply."""
    [first] = response["choices"][0]["logprobs"]["content"]
    logs = {_text(candidate["token"]): _log(candidate["logprob"]) for candidate in first["top_logprobs"]}
    return {int(name.removeprefix("token_id:")): log for name, log in logs.items() if name.startswith("token_id:")}


def _text(value: object) -> str:
    """A valid Unicode text. JSON can also escape lone surrogates.

    Errors: ValueError, TypeError.
    """
    if not isinstance(value, str):
        raise TypeError("no text")
    value.encode()
    return value


def _count(value: object) -> int:
    """A number of tokens or the id of a token.

    Errors: ValueError.
    """
    if not isinstance(value, int) or not 0 <= value < MAX_COUNT:
        raise ValueError("no count")
    return value


def _log(value: object) -> float:
    """A log-probability. vLLM writes -9999 for that of 0.

    Errors: ValueError.
    """
    if not isinstance(value, int | float) or not -MAX_COUNT < value < MAX_ROUNDING:
        raise ValueError("no logarithm of a probability")
    return float(value)

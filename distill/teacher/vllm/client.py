"""Client of vLLM servers: a bounded number of requests in flight, balanced over the servers that answer.

A server that fails is skipped for a while (with exponential backoff), and then probed with a single request. When every
server has failed too often without an answer in between, the client gives up with a TeacherError.

Adapters in folders are loaded into the servers under names that contain the hash of their weights, so a retrained
adapter gets another name.
"""

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from curate.distill.teacher.openai_api import Api, Body
from curate.distill.teacher.protocol import ModelFacts, OnAnswer, Question, Refusal
from curate.distill.teacher.vllm.exchange import ServerFailure, exchange, json_of
from curate.distill.teacher.weights import max_lora_rank, served_rank
from curate.errors import RecipeError, TeacherError, shortened
from curate.progress import Log
from curate.recipe.teacher import Servers
from curate.redaction import hide

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")
FIRST_WAIT, MAX_WAIT = 0.5, 30.0  # seconds
PROBE_SECONDS = 2.0  # until the next request probes a server that has not answered the first
RETRYABLE = (408, 425, 429)  # and everything from 500 on
FORBIDDEN = (401, 403)
LOAD_PATH = "/v1/load_lora_adapter"
LOADED_PREFIX = "curate-"  # of served names of adapters that curate has loaded

GREETING_SECONDS = 10.0
LORA_METRIC = "vllm:lora_requests_info"  # only servers with --enable-lora have this metric


class QuestionRefused(Exception):
    """A server rejects a question for good."""


@dataclass
class Server:
    """A server and its recent failures."""

    url: str
    failures: int = 0  # in a row
    failed_at: float = 0.0
    ready_at: float = 0.0
    in_flight: int = 0
    problem: str = ""

    def succeed(self) -> None:
        """Record an answer."""
        self.failures, self.ready_at = 0, 0.0

    def fail(self, began: float, failure: ServerFailure) -> None:
        """Record a failed request. Of requests that were in flight at the same time, only the first failure counts."""
        now = time.monotonic()
        self.problem = str(failure)
        if self.failures and began < self.failed_at:
            return
        self.failures, self.failed_at = self.failures + 1, now
        wait = min(FIRST_WAIT * 2 ** (self.failures - 1), MAX_WAIT) * random.uniform(0.5, 1.5)
        self.ready_at = now + max(wait, min(failure.wait, 2 * MAX_WAIT))


@dataclass
class Client:
    """A `Model` behind servers, which share one window of requests."""

    servers: list[Server]
    model: str
    facts: ModelFacts
    section: Servers
    log: Log
    adapters: Mapping[str, str] = field(default_factory=dict)  # served names of adapters that curate has loaded
    runs_lora: bool = False  # prompts must then be scored one by one
    name: str = "vllm"
    _http: "httpx2.AsyncClient | None" = field(default=None, repr=False)

    def answer(self, questions: Sequence[Question], on_answer: OnAnswer) -> None:
        """Answer all questions, several at a time; answers arrive in any order."""
        try:
            asyncio.run(self._answer(questions, on_answer))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _answer(self, questions: Sequence[Question], on_answer: OnAnswer) -> None:
        import httpx2

        timeout = httpx2.Timeout(self.section.timeout_seconds, connect=GREETING_SECONDS, pool=None)
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=self.section.concurrency)
        queue = iter(enumerate(questions))
        async with httpx2.AsyncClient(
            headers=request_headers(self.section), timeout=timeout, limits=limits
        ) as self._http:
            api = Api(self.call, self.model, self.runs_lora, self.section.concurrency, self.adapters)
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.section.concurrency, len(questions))):
                    group.create_task(_work(api, queue, on_answer))

    async def call(self, path: str, body: Body, read: Callable[[Any], T]) -> T:
        """Send a request, with retries, until a server answers.

        Errors: QuestionRefused where a server rejects it or retries are exhausted, TeacherError where no server answers
        anything.
        """
        for _ in range(self.section.retries + 1):
            server = await self._pick()
            began = time.monotonic()
            server.in_flight += 1
            try:
                answer = await self._send(server.url, path, body, read)
            except ServerFailure as failure:
                server.fail(began, failure)
                self.log.event("teacher failed", url=server.url, problem=str(failure), failures=server.failures)
                self._stop_if_all_failed()
                last_failure = failure
            except QuestionRefused:
                server.succeed()
                raise
            else:
                server.succeed()
                return answer
            finally:
                server.in_flight -= 1
        raise QuestionRefused(f"given up after {self.section.retries + 1} tries, the last: {last_failure}")

    async def _pick(self) -> Server:
        """Wait for a server that is ready, and pick the one with the fewest requests in flight.

        A server that failed and whose wait is over comes first; this request probes it.
        """
        while True:
            now = time.monotonic()
            ready = [server for server in self.servers if server.ready_at <= now]
            if ready:
                server = min(ready, key=lambda candidate: (candidate.failures == 0, candidate.in_flight))
                if server.failures:
                    server.ready_at = now + PROBE_SECONDS
                return server
            await asyncio.sleep(min(0.2, max(0.01, min(server.ready_at for server in self.servers) - now)))

    async def _send(self, server: str, path: str, body: Body, read: Callable[[Any], T]) -> T:
        """Send a request once. Load the adapter again if the server was restarted and lacks it."""
        assert self._http is not None
        url, seconds, served_name = server + path, self.section.timeout_seconds, str(body["model"])
        response = await exchange(self._http, "POST", url, seconds, body)
        if response.status_code == 404 and (name := self._adapter_served_as(served_name)):
            request = load_request(self.section.lora[name], served_name)
            loading = await exchange(self._http, "POST", server + LOAD_PATH, seconds, request)
            check_loading(server, loading, self.section.lora)
            response = await exchange(self._http, "POST", url, seconds, body)
        check_answer(url, response)
        try:
            return read(json_of(response))
        except (ValueError, LookupError, TypeError, AttributeError, StopIteration):
            raise ServerFailure(f"an answer that is none of vLLM's: {shortened(response.text)!r}") from None

    def _adapter_served_as(self, name: str) -> str | None:
        """The recipe's name of an adapter that curate has loaded; None for other models."""
        return next((adapter for adapter, served_name in self.adapters.items() if served_name == name), None)

    def _stop_if_all_failed(self) -> None:
        """Give up when every server has failed too often.

        Errors: TeacherError.
        """
        if all(server.failures > self.section.retries for server in self.servers):
            problems = "; ".join(f"{server.url} ({server.problem})" for server in self.servers)
            subject = "the server does" if len(self.servers) == 1 else f"none of {len(self.servers)} servers does"
            raise TeacherError(
                f"teacher: {subject} not answer, {self.servers[0].failures} times in a row: {problems}; start it and "
                "run the same command again: what was answered is kept"
            )


async def _work(api: Api, queue: Iterator[tuple[int, Question]], on_answer: OnAnswer) -> None:
    """Answer questions from the queue until it is empty."""
    for position, question in queue:
        try:
            on_answer(position, await api.answer(question))
        except QuestionRefused as refusal:
            on_answer(position, Refusal(str(refusal)))


def load_request(folder: str, served_name: str) -> Body:
    """The body of a request to load an adapter."""
    return {"lora_name": served_name, "lora_path": str(Path(folder).resolve())}


def check_loading(server: str, response: "httpx2.Response", lora: Mapping[str, str]) -> None:
    """Check that a server has loaded an adapter.

    Errors: TeacherError that says how to start the server.
    """
    if response.status_code == 200 or "already been loaded" in response.text:
        return
    reason = f"{response.status_code}: {_message(response)}"
    options = _lora_options(max_lora_rank(lora))
    raise TeacherError(
        f"teacher: {server}: loads no adapter ({reason}); start it with {options}, where it can read "
        f"{', '.join(lora.values())}"
    )


def _lora_options(rank: int) -> str:
    """The variable and options that a server needs to load adapters."""
    return f"VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 and --enable-lora --max-lora-rank {rank}"


def check_loads(section: Servers, rank: int) -> None:
    """Check that all servers which answer can load adapters of a rank.

    Errors: TeacherError.
    """
    for url in map(base_url, section.urls):
        try:
            loads = asyncio.run(_can_load(section, url))
        except ServerFailure:
            continue
        if not loads:
            raise TeacherError(f"teacher: {url}: loads no adapters; start it with {_lora_options(served_rank(rank))}")


async def _can_load(section: Servers, url: str) -> bool:
    """Whether a server can load adapters."""
    import httpx2

    async with httpx2.AsyncClient(headers=request_headers(section), timeout=GREETING_SECONDS) as http:
        body = {"lora_name": "", "lora_path": ""}
        response = await exchange(http, "POST", url + LOAD_PATH, GREETING_SECONDS, body)
        return response.status_code != 404 and await runs_lora_at(http, url)


def base_url(url: str) -> str:
    """A server's URL without /v1."""
    return url.rstrip("/").removesuffix("/v1")


async def runs_lora_at(http: "httpx2.AsyncClient", server: str) -> bool:
    """Whether a server was started with --enable-lora, with or without an adapter."""
    return LORA_METRIC in (await exchange(http, "GET", f"{server}/metrics", GREETING_SECONDS)).text


def check_answer(url: str, response: "httpx2.Response") -> None:
    """Check the status of a response.

    Errors: ServerFailure where a retry may help, QuestionRefused where it cannot; TeacherError for errors that every
    question would meet.
    """
    status = response.status_code
    if status == 200:
        return
    message = _message(response)
    if status in RETRYABLE or status >= 500:
        raise ServerFailure(f"{status}: {message}", _seconds(response.headers.get("retry-after", "")))
    if status in FORBIDDEN:
        raise TeacherError(f"teacher: {url}: {status}: {message}; name the key's variable in teacher.vllm.api_key_env")
    if status == 404:
        raise TeacherError(f"teacher: {url}: {status}: {message}")
    raise QuestionRefused(f"{status}: {message}")


def _message(response: "httpx2.Response") -> str:
    """The message of an error response."""
    try:
        return shortened(str(json_of(response)["error"]["message"]))
    except (ValueError, KeyError, TypeError):
        return shortened(" ".join(response.text.split()) or response.reason_phrase)


def _seconds(text: str) -> float:
    """The value of a retry-after header in seconds; 0 where it is a date or missing."""
    return float(text) if text.isascii() and text.isdigit() else 0.0


def request_headers(section: Servers) -> dict[str, str]:
    """The authorization header, if the recipe names a variable with a key."""
    if section.api_key_env is None:
        return {}
    if not (key := os.environ.get(section.api_key_env)):
        raise RecipeError(f"teacher.vllm.api_key_env: the environment has no variable {section.api_key_env!r}")
    hide(key)  # a server may repeat it in an error message
    return {"Authorization": f"Bearer {key}"}

"""The teacher behind servers of vLLM: some requests under way at a time, spread over the servers that answer.

A server that fails is left alone for a while, twice as long each time, and then tried with one request; others wait.
When every server has failed too often without an answer in between, the work stops with one line.

Adapters in folders are loaded into the servers under names with the hash of their weights, so that one that was trained
anew is another one.
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
from curate.distill.teacher.protocol import Arrived, Question, Refusal
from curate.distill.teacher.vllm.exchange import Failed, exchange, json_of
from curate.distill.teacher.weights import lora_rank, room_for
from curate.errors import RecipeError, TeacherError, shortened
from curate.progress import Log
from curate.recipe.teacher import Servers
from curate.redaction import hide

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds
PROBE_SECONDS = 2.0  # until another request tries a server whose first has not come back
BUSY = (408, 425, 429)  # and everything from 500 on: worth another try
FORBIDDEN = (401, 403)
LOAD = "/v1/load_lora_adapter"
LOADED = "curate-"  # what the names of adapters begin with that are loaded here

GREETING_SECONDS = 10.0
LORA_METRIC = "vllm:lora_requests_info"  # that only servers with --enable-lora have


class Refused(Exception):
    """A server says that it will never answer this question."""


@dataclass
class Server:
    """A server and how it has been doing."""

    url: str
    failures: int = 0  # in a row
    failed_at: float = 0.0
    ready_at: float = 0.0
    under_way: int = 0
    problem: str = ""

    def succeed(self) -> None:
        """It answered."""
        self.failures, self.ready_at = 0, 0.0

    def fail(self, began: float, failure: Failed) -> None:
        """It did not answer a request; of several that were under way at once the first counts."""
        now = time.monotonic()
        self.problem = str(failure)
        if self.failures and began < self.failed_at:
            return
        self.failures, self.failed_at = self.failures + 1, now
        wait = min(FIRST_WAIT * 2 ** (self.failures - 1), LONGEST_WAIT) * random.uniform(0.5, 1.5)
        self.ready_at = now + max(wait, min(failure.wait, 2 * LONGEST_WAIT))


@dataclass
class Client:
    """The implementation: one window of requests over all servers."""

    servers: list[Server]
    model: str
    facts: Mapping[str, Any]
    section: Servers
    log: Log
    adapters: Mapping[str, str] = field(default_factory=dict)  # of those that are loaded here: what they are served as
    runs_lora: bool = False  # then prompts are scored one by one
    name: str = "vllm"
    _http: "httpx2.AsyncClient | None" = field(default=None, repr=False)

    def answer(self, questions: Sequence[Question], arrived: Arrived) -> None:
        """Ask all, some at a time; answers arrive in any order."""
        try:
            asyncio.run(self._answer(questions, arrived))
        except BaseExceptionGroup as group:  # the first of those that ended the work
            raise group.exceptions[0] from None

    async def _answer(self, questions: Sequence[Question], arrived: Arrived) -> None:
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
                    group.create_task(_work(api, queue, arrived))

    async def call(self, path: str, body: Body, read: Callable[[Any], T]) -> T:
        """Send a request until a server answers it.

        Errors: Refused where a server refuses it or none can answer it, TeacherError where none answers anything.
        """
        for _ in range(self.section.retries + 1):
            server = await self._pick()
            began = time.monotonic()
            server.under_way += 1
            try:
                found = await self._send(server.url, path, body, read)
            except Failed as failure:
                server.fail(began, failure)
                self.log.event("teacher failed", url=server.url, problem=str(failure), failures=server.failures)
                self._stop_if_hopeless()
                last = failure
            except Refused:
                server.succeed()
                raise
            else:
                server.succeed()
                return found
            finally:
                server.under_way -= 1
        raise Refused(f"given up after {self.section.retries + 1} tries, the last: {last}")

    async def _pick(self) -> Server:
        """The server with the fewest requests under way, of those that answer; waits until there is one.

        One that failed and whose wait is over comes first, with this one request to try it.
        """
        while True:
            now = time.monotonic()
            ready = [server for server in self.servers if server.ready_at <= now]
            if ready:
                server = min(ready, key=lambda one: (one.failures == 0, one.under_way))
                if server.failures:
                    server.ready_at = now + PROBE_SECONDS
                return server
            await asyncio.sleep(min(0.2, max(0.01, min(server.ready_at for server in self.servers) - now)))

    async def _send(self, server: str, path: str, body: Body, read: Callable[[Any], T]) -> T:
        """One try; a server that was started anew gets the adapter again."""
        assert self._http is not None
        url, seconds = server + path, self.section.timeout_seconds
        response = await exchange(self._http, "POST", url, seconds, body)
        if response.status_code == 404 and (name := self._loaded_as(body["model"])):
            request = load_request(self.section.lora[name], body["model"])
            loading = await exchange(self._http, "POST", server + LOAD, seconds, request)
            check_loading(server, loading, self.section.lora)
            response = await exchange(self._http, "POST", url, seconds, body)
        check_answer(url, response)
        try:
            return read(json_of(response))
        except (ValueError, LookupError, TypeError, AttributeError, StopIteration):
            raise Failed(f"an answer that is none of vLLM's: {shortened(response.text)!r}") from None

    def _loaded_as(self, served: str) -> str | None:
        """The name of an adapter that is loaded here."""
        return next((name for name, one in self.adapters.items() if one == served), None)

    def _stop_if_hopeless(self) -> None:
        """End the work when every server has failed too often.

        Errors: TeacherError.
        """
        if all(server.failures > self.section.retries for server in self.servers):
            told = "; ".join(f"{server.url} ({server.problem})" for server in self.servers)
            who = "the server does" if len(self.servers) == 1 else f"none of {len(self.servers)} servers does"
            raise TeacherError(
                f"teacher: {who} not answer, {self.servers[0].failures} times in a row: {told}; start it and run the "
                "same command again: what was answered is kept"
            )


async def _work(api: Api, queue: Iterator[tuple[int, Question]], arrived: Arrived) -> None:
    """Answer questions until there are no more."""
    for position, question in queue:
        try:
            arrived(position, await api.answer(question))
        except Refused as refusal:
            arrived(position, Refusal(str(refusal)))


def load_request(folder: str, served: str) -> Body:
    """The request by which a server loads an adapter."""
    return {"lora_name": served, "lora_path": str(Path(folder).resolve())}


def check_loading(server: str, response: "httpx2.Response", lora: Mapping[str, str]) -> None:
    """Tell how a server must be started that does not load an adapter.

    Errors: TeacherError.
    """
    if response.status_code == 200 or "already been loaded" in response.text:
        return
    said = f"{response.status_code}: {_message(response)}"
    raise TeacherError(
        f"teacher: {server}: loads no adapter ({said}); start it with {_options(lora_rank(lora))}, where it can read "
        f"{', '.join(lora.values())}"
    )


def _options(rank: int) -> str:
    """How a server is started that loads adapters."""
    return f"VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 and --enable-lora --max-lora-rank {rank}"


def check_loads(section: Servers, rank: int) -> None:
    """Refuse servers that cannot load adapters of a rank; one that does not answer is not asked.

    Errors: TeacherError.
    """
    for url in map(base_url, section.urls):
        try:
            can = asyncio.run(_loads(section, url))
        except Failed:
            continue
        if not can:
            raise TeacherError(f"teacher: {url}: loads no adapters; start it with {_options(room_for(rank))}")


async def _loads(section: Servers, url: str) -> bool:
    """Whether a server loads adapters."""
    import httpx2

    async with httpx2.AsyncClient(headers=request_headers(section), timeout=GREETING_SECONDS) as http:
        body = {"lora_name": "", "lora_path": ""}
        answered = await exchange(http, "POST", url + LOAD, GREETING_SECONDS, body)
        return answered.status_code != 404 and await runs_lora_at(http, url)


def base_url(url: str) -> str:
    """A server's URL, however much of it was written."""
    return url.rstrip("/").removesuffix("/v1")


async def runs_lora_at(http: "httpx2.AsyncClient", server: str) -> bool:
    """Whether a server was started with --enable-lora, even if it has no adapter yet."""
    return LORA_METRIC in (await exchange(http, "GET", f"{server}/metrics", GREETING_SECONDS)).text


def check_answer(url: str, response: "httpx2.Response") -> None:
    """Tell by its status whether a response is an answer, a refusal, or worth another try.

    Errors: Failed, Refused; TeacherError for what every question would meet.
    """
    status = response.status_code
    if status == 200:
        return
    said = _message(response)
    if status in BUSY or status >= 500:
        raise Failed(f"{status}: {said}", _seconds(response.headers.get("retry-after", "")))
    if status in FORBIDDEN:
        raise TeacherError(f"teacher: {url}: {status}: {said}; name the key's variable in teacher.vllm.api_key_env")
    if status == 404:
        raise TeacherError(f"teacher: {url}: {status}: {said}")
    raise Refused(f"{status}: {said}")


def _message(response: "httpx2.Response") -> str:
    """What a server says of an error."""
    try:
        return shortened(str(json_of(response)["error"]["message"]))
    except (ValueError, KeyError, TypeError):
        return shortened(" ".join(response.text.split()) or response.reason_phrase)


def _seconds(text: str) -> float:
    """Seconds to wait from a header; 0 where it is a date or missing."""
    return float(text) if text.isascii() and text.isdigit() else 0.0


def request_headers(section: Servers) -> dict[str, str]:
    """The key, where the recipe names a variable that holds one."""
    if section.api_key_env is None:
        return {}
    if not (key := os.environ.get(section.api_key_env)):
        raise RecipeError(f"teacher.vllm.api_key_env: the environment has no variable {section.api_key_env!r}")
    hide(key)  # a server may repeat it in what it says of an error
    return {"Authorization": f"Bearer {key}"}

"""Connect to vLLM servers: find the model that they serve, and have them load adapters."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.distill.teacher.protocol import ModelFacts
from curate.distill.teacher.vllm.client import (
    FIRST_WAIT,
    GREETING_SECONDS,
    LOAD_PATH,
    LOADED_PREFIX,
    Client,
    QuestionRefused,
    Server,
    base_url,
    check_answer,
    check_loading,
    load_request,
    request_headers,
    runs_lora_at,
)
from curate.distill.teacher.vllm.exchange import ServerFailure, exchange, json_of
from curate.distill.teacher.weights import adapter_contents
from curate.errors import RecipeError, TeacherError, did_you_mean
from curate.progress import Log
from curate.recipe.teacher import Servers


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedModel:
    """A model or an adapter that a server lists."""

    id: str
    origin: str  # a Hub name, or a folder's name without its path, which may differ between machines
    is_adapter: bool


def connect(section: Servers, log: Log) -> Client:
    """Contact the servers, find the model that they serve, and have them load the recipe's adapters.

    Errors: TeacherError where none answers or an adapter is not loaded, RecipeError where they do not serve the model.
    """
    servers = [Server(base_url(url)) for url in section.urls]
    contents = adapter_contents(section.lora, "teacher.vllm")
    adapters = {name: f"{LOADED_PREFIX}{name}-{content}" for name, content in contents.items()}
    listed: list[list[ServedModel]] = []
    runs_lora = False
    for server in servers:
        try:
            models, loads = asyncio.run(_greet(server.url, section, adapters))
        except (ServerFailure, QuestionRefused) as error:
            server.problem = str(error)
            server.failures, server.ready_at = 1, time.monotonic() + FIRST_WAIT
            log.say(f"teacher: {server.url} does not answer: {server.problem}")
        else:
            listed.append(models)
            runs_lora |= loads
    if not listed:
        problems = "; ".join(f"{server.url}: {server.problem}" for server in servers)
        raise TeacherError(f"teacher: no server answers ({problems}); start one with `curate serve MODEL`")
    model = _served_model(section, listed)
    return Client(
        servers=servers,
        model=model.id,
        facts=_facts(section, model, listed[0], contents),
        section=section,
        log=log,
        adapters=adapters,
        runs_lora=runs_lora,
    )


def _served_model(section: Servers, listed: Sequence[Sequence[ServedModel]]) -> ServedModel:
    """The model of the recipe, or the only one of the servers.

    Errors: RecipeError where a server does not have it, or where it is ambiguous.
    """
    bases = [model.id for model in listed[0] if not model.is_adapter]
    if section.model is None and len(bases) != 1:
        raise RecipeError(f"teacher.vllm.model: name one of {', '.join(bases) or 'none'}")
    name = section.model or bases[0]
    for models in listed:
        names = [model.id for model in models]
        if name not in names:
            raise RecipeError(f"teacher.vllm.model: {name!r} is not served{did_you_mean(name, names)}")
    return next(model for model in listed[0] if model.id == name)


def _facts(
    section: Servers, model: ServedModel, models: Sequence[ServedModel], contents: Mapping[str, str]
) -> ModelFacts:
    """What identifies a model behind servers: its name and origin.

    Adapters that curate loads are identified by content hash. Those that other runs have loaded are ignored.
    """
    listed_adapters = {
        other.id: other.origin for other in models if other.is_adapter and not other.id.startswith(LOADED_PREFIX)
    }
    return {
        "kind": "vllm",
        "model": model.id,
        "root": model.origin,
        "revision": section.revision,
        "adapters": listed_adapters | dict(contents),
    }


def _parse_model(entry: Mapping[str, object]) -> ServedModel:
    """A model from a server's list.

    Errors: KeyError, TypeError for an entry that is no model.
    """
    name = str(entry["id"])
    root = str(entry.get("root") or "")
    origin = Path(root).name if root.startswith(("/", ".", "~")) else root
    return ServedModel(id=name, origin=origin, is_adapter=bool(entry.get("parent")))


async def _greet(server: str, section: Servers, adapters: Mapping[str, str]) -> tuple[list[ServedModel], bool]:
    """List a server's models, find out whether it runs adapters, and have it load those that it lacks.

    Errors: ServerFailure, QuestionRefused; TeacherError where it is not a vLLM server, or does not load an adapter.
    """
    import httpx2

    url = f"{server}/v1/models"
    async with httpx2.AsyncClient(headers=request_headers(section), timeout=GREETING_SECONDS) as http:
        response = await exchange(http, "GET", url, GREETING_SECONDS)
        check_answer(url, response)
        try:
            models = [_parse_model(entry) for entry in json_of(response)["data"]]
        except (ValueError, KeyError, TypeError):
            raise TeacherError(f"teacher: {url}: this is no server of vLLM") from None
        loads = await runs_lora_at(http, server) or any(model.is_adapter for model in models)
        for name, served_name in adapters.items():
            if served_name not in [model.id for model in models]:
                request = load_request(section.lora[name], served_name)
                loading = await exchange(http, "POST", server + LOAD_PATH, section.timeout_seconds, request)
                check_loading(server, loading, section.lora)
        return models, loads

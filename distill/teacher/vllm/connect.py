"""Servers of vLLM greeted: which model they have, and which adapters they can load."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.distill.teacher.vllm.client import (
    FIRST_WAIT,
    GREETING_SECONDS,
    LOAD,
    LOADED,
    Client,
    Refused,
    Server,
    base_url,
    check_answer,
    check_loading,
    load_request,
    request_headers,
    runs_lora_at,
)
from curate.distill.teacher.vllm.exchange import Failed, exchange, json_of
from curate.distill.teacher.weights import adapter_contents
from curate.errors import RecipeError, TeacherError, did_you_mean
from curate.progress import Log
from curate.recipe.teacher import Servers


def connect(section: Servers, log: Log) -> Client:
    """Greet the servers, find the model that they serve, and have them load the adapters that are named.

    Errors: TeacherError where none answers or an adapter is not loaded, RecipeError where they do not serve the model.
    """
    servers = [Server(base_url(url)) for url in section.urls]
    contents = adapter_contents(section.lora, "teacher.vllm")
    adapters = {name: f"{LOADED}{name}-{content}" for name, content in contents.items()}
    listed: list[list[dict[str, Any]]] = []
    runs_lora = False
    for server in servers:
        try:
            models, loads = asyncio.run(_greet(server.url, section, adapters))
        except (Failed, Refused) as error:
            server.problem = str(error)
            server.failures, server.ready_at = 1, time.monotonic() + FIRST_WAIT
            log.say(f"teacher: {server.url} does not answer: {server.problem}")
        else:
            listed.append(models)
            runs_lora |= loads
    if not listed:
        told = "; ".join(f"{server.url}: {server.problem}" for server in servers)
        raise TeacherError(f"teacher: no server answers ({told}); start one with `curate serve MODEL`")
    model = _served_model(section, listed)
    facts = _facts(section, model, listed[0], contents)
    return Client(servers, model["id"], facts, section, log, adapters, runs_lora)


def _served_model(section: Servers, listed: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """The model that is meant, which every server must have."""
    bases = [one["id"] for one in listed[0] if not one.get("parent")]
    if section.model is None and len(bases) != 1:
        raise RecipeError(f"teacher.vllm.model: name one of {', '.join(bases) or 'none'}")
    wanted = section.model or bases[0]
    for models in listed:
        names = [one["id"] for one in models]
        if wanted not in names:
            raise RecipeError(f"teacher.vllm.model: {wanted!r} is not served{did_you_mean(wanted, names)}")
    return next(one for one in listed[0] if one["id"] == wanted)


def _facts(
    section: Servers, model: dict[str, Any], models: list[dict[str, Any]], contents: Mapping[str, str]
) -> dict[str, Any]:
    """What identifies a model that is only known by its servers: its name, and what it was loaded from.

    Of adapters that are loaded here that is their hash; those that other runs have loaded are none of its own.
    """
    theirs = {one["id"]: _origin(one) for one in models if one.get("parent") and not one["id"].startswith(LOADED)}
    origin = {"root": _origin(model), "revision": section.revision}
    return {"kind": "vllm", "model": model["id"], **origin, "adapters": theirs | dict(contents)}


def _origin(model: dict[str, Any]) -> str:
    """A Hub name, or the name of a folder without the path to it, which may differ from machine to machine."""
    root = str(model.get("root") or "")
    return Path(root).name if root.startswith(("/", ".", "~")) else root


async def _greet(server: str, section: Servers, adapters: Mapping[str, str]) -> tuple[list[dict[str, Any]], bool]:
    """The models that a server lists, and whether it runs adapters; it is made to load those that it lacks.

    Errors: Failed, Refused; TeacherError where it is no server of vLLM, or loads no adapter.
    """
    import httpx2

    url = f"{server}/v1/models"
    async with httpx2.AsyncClient(headers=request_headers(section), timeout=GREETING_SECONDS) as http:
        response = await exchange(http, "GET", url, GREETING_SECONDS)
        check_answer(url, response)
        try:
            models = [{**one, "id": str(one["id"])} for one in json_of(response)["data"]]
        except (ValueError, KeyError, TypeError):
            raise TeacherError(f"teacher: {url}: this is no server of vLLM") from None
        loads = await runs_lora_at(http, server) or any(one.get("parent") for one in models)
        for name, served in adapters.items():
            if served not in [one["id"] for one in models]:
                request = load_request(section.lora[name], served)
                loading = await exchange(http, "POST", server + LOAD, section.timeout_seconds, request)
                check_loading(server, loading, section.lora)
        return models, loads

"""Adapters in folders are loaded into servers that run already: once, by their hash, and again where that is needed."""

import json

import pytest
from support.language_models import random_adapter, smollm2
from support.llm_server import ON_CPU
from support.stand_in import StandIn, running, texts_of

from curate.distill.teacher.protocol import Request, Sampling
from curate.distill.teacher.vllm.client import check_loads
from curate.errors import TeacherError
from curate.recipe.teacher import Servers

LOAD = "/v1/load_lora_adapter"


def adapter(folder, weights):
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": 12}))
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return {"finance": str(folder)}


def loading():
    """A server that loads adapters, and knows no other model than those."""
    server = StandIn()

    def behave(n, body):
        if "lora_name" in body:
            server.models.append(body["lora_name"])
            server.parents[body["lora_name"]] = "tiny"
            return 200, {}, b"Success"
        return None if body["model"] in server.models else (404, {}, {"error": {"message": "no such model"}})

    server.behave = behave
    return server


def loads(server):
    return [body for path, body in server.bodies if path == LOAD]


def asked(teacher, text="once"):
    return texts_of(teacher.generate([Request(text, Sampling(9), "finance")]))[0]


def test_an_adapter_is_loaded_once_and_one_that_was_trained_anew_is_another(teach, tmp_path):
    server = loading()
    lora = adapter(tmp_path / "a", b"first")
    first = teach(server, lora=lora)
    told = asked(first)
    [load] = loads(server)
    assert load == {"lora_name": f"curate-finance-{first.facts['adapters']['finance']}", "lora_path": lora["finance"]}
    assert f"by {load['lora_name']} " in told
    again = teach(server, lora=lora)
    assert (again.facts, asked(again), len(loads(server))) == (first.facts, told, 1)
    assert again.counts["from_cache"] == 1
    other = teach(server, lora=adapter(tmp_path / "a", b"second"))
    assert other.facts["adapters"].keys() == {"finance"}
    assert asked(other) != told
    assert [one["lora_name"] for one in loads(server)] == server.models[1:]
    assert len(set(server.models)) == 3


def test_a_server_that_was_started_anew_gets_its_adapters_again(teach, tmp_path):
    server = loading()
    teacher = teach(server, lora=adapter(tmp_path / "a", b"first"))
    asked(teacher)
    del server.models[1:]
    assert "twice" in asked(teacher, "twice")
    assert len(loads(server)) == 2


@pytest.mark.parametrize("status", [404, 500])
def test_a_server_that_loads_no_adapter_is_one_line_that_says_how_it_must_be_started(teach, tmp_path, status):
    server = StandIn(lambda n, body: (status, {}, {"error": {"message": "Not Found"}}))
    how = r"start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 and --enable-lora --max-lora-rank 16"
    with pytest.raises(TeacherError, match=rf"loads no adapter \({status}: Not Found\); {how}, where it can read .*a$"):
        teach(server, lora=adapter(tmp_path / "a", b"first"))
    with running(server) as url, pytest.raises(TeacherError, match=f"{url}: loads no adapters; {how}$"):
        check_loads(Servers(urls=[url]), 12)


@pytest.mark.llm
def test_vllm_loads_adapters_and_tells_what_it_cannot_load(server, teach, tmp_path, monkeypatch):
    for name, value in ON_CPU.items():
        monkeypatch.setenv(name, value)
    check_loads(Servers(urls=[server]), 16)
    lora = {"finance": str(random_adapter(smollm2(), tmp_path / "a"))}
    teacher = teach(server, lora=lora)
    first = asked(teacher)
    assert teacher.source.runs_lora
    assert asked(teach(server, lora=lora)) == first
    random_adapter(smollm2(), tmp_path / "a", seed=1)
    second = asked(teach(server, lora=lora))
    [plain] = texts_of(teacher.generate([Request("once", Sampling(9))]))
    assert len({first, second, plain}) == 3
    assert teach(server).facts["adapters"] == {}
    with pytest.raises(TeacherError, match=r"loads no adapter \(\d+: .*\); start it with VLLM_ALLOW"):
        teach(server, lora=adapter(tmp_path / "bad", b"no weights"))

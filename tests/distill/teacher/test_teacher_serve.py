"""Servers and engines of vLLM that a recipe starts: with adapters, and what is told where they do not start."""

import json
import os
import subprocess
import sys
import time

import pytest
from support.commands import program
from support.language_models import random_adapter, tiny_llama
from support.llm_server import ON_CPU, group_of, members, processes
from support.paths import ROOT
from support.stand_in import wait_until
from support.teachers import LABELS, TO_CHOOSE, TO_SCORE, opened

from curate.distill.teacher.protocol import Request, Sampling

pytestmark = pytest.mark.llm


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    model = tiny_llama(folder / "tiny")
    return model, random_adapter(model, folder / "adapter")


def test_a_recipe_starts_a_server_with_adapters_and_ends_it(tiny, tmp_path, monkeypatch):
    for name, value in ON_CPU.items():
        monkeypatch.setenv(name, value)
    model, adapter = tiny
    kind = {"serve": str(model), "lora": {"finance": str(adapter)}, "dtype": "bfloat16", "max_model_len": 256}
    ask = [Request("It was", Sampling(8)), Request("It was", Sampling(8), "finance")]
    with opened(tmp_path / "c", vllm=kind) as teacher:
        plain, tuned = teacher.generate(ask)
        assert plain.text != tuned.text
        scores = teacher.score(TO_SCORE)
        choices = [teacher.choose(TO_CHOOSE, labels) for labels in LABELS]
        tuned_scores = teacher.score(TO_SCORE, "finance")
        group = group_of(os.getpid())
        assert set(teacher.facts["adapters"]) == {"finance"}
    assert members(group) == []
    local = {"model": str(model), "lora": {"finance": str(adapter)}}
    with opened(tmp_path / "d", transformers=local) as teacher:
        for found, adapter_name in ((scores, None), (tuned_scores, "finance")):
            for ours, theirs in zip(found, teacher.score(TO_SCORE, adapter_name), strict=True):
                assert ours.n_tokens == theirs.n_tokens
                assert ours.log_probability == pytest.approx(theirs.log_probability, rel=0.03, abs=0.3)
        for labels, found in zip(LABELS, choices, strict=True):
            for ours, theirs in zip(found, teacher.choose(TO_CHOOSE, labels), strict=True):
                assert ours == pytest.approx(theirs, rel=0.05, abs=0.3)


ENGINE = """
import json, sys, threading
from pathlib import Path
from curate.distill.teacher.protocol import Request, Sampling
from support.stand_in import wait_until
from support.teachers import LABELS
from support.teachers import LIMITED
from support.teachers import TO_CHOOSE
from support.teachers import TO_SCORE
from support.teachers import check_limits
from support.teachers import opened

if __name__ == "__main__":
    model, folder = sys.argv[1:]
    with opened(Path(folder), vllm_engine={"model": model, "dtype": "bfloat16", "max_model_len": 256}) as teacher:
        assert teacher.generate([Request("word " * 400, Sampling(1)), Request("word", Sampling(1))])[0] is None
        check_limits(teacher.generate(LIMITED[:3]))
        scores = teacher.score(TO_SCORE)
        choices = [teacher.choose(TO_CHOOSE, labels) for labels in LABELS]
    assert threading.enumerate() == [threading.main_thread()]  # one of vLLM's could abort a Python that ends
    Path(folder, "told.json").write_text(json.dumps([scores, choices]))
"""


def test_the_engine_answers_as_transformers_does(tiny, tmp_path):
    """In a process of its own: vLLM starts others, which import the script again."""
    script = tmp_path / "engine.py"
    script.write_text(ENGINE)
    environment = {**os.environ, **ON_CPU, "PYTHONPATH": str(ROOT / "tests")}
    words = [sys.executable, str(script), str(tiny[0]), str(tmp_path / "c")]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    scores, choices = json.loads((tmp_path / "c" / "told.json").read_text())
    with opened(tmp_path / "d", transformers=str(tiny[0])) as teacher:
        for (log, n), theirs in zip(scores, teacher.score(TO_SCORE), strict=True):
            assert n == theirs.n_tokens
            assert log == pytest.approx(theirs.log_probability, rel=0.03, abs=0.3)
        for labels, found in zip(LABELS, choices, strict=True):
            assert found == [pytest.approx(one, rel=0.05, abs=0.3) for one in teacher.choose(TO_CHOOSE, labels)]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone ends the children of a killed process")
def test_a_server_ends_with_a_curate_that_is_killed(tiny, tmp_path):
    words = ["serve", str(tiny[0]), "--port", "18432", "--log", str(tmp_path / "vllm.log")]
    serving = subprocess.Popen([sys.executable, "-m", "curate", *words], env={**os.environ, **ON_CPU})
    wait_until(lambda: any(above == str(serving.pid) for _, above, _, _ in processes()))
    time.sleep(2)
    group = group_of(serving.pid)
    assert members(group)
    serving.kill()
    serving.wait()
    wait_until(lambda: not members(group))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["./gone"], "Error: serve: ./gone: no such folder"),
        (["TINY", "--lora", "a=./gone"], "Error: serve.lora.a: ./gone: no folder with an adapter_config.json"),
        (["TINY", "--", "--no-such-option"], "Error: vLLM ended with exit code 2: "),
    ],
)
def test_a_server_that_cannot_start_is_one_line(options, said, tiny, tmp_path):
    log = tmp_path / "vllm.log"
    words = [str(tiny[0]) if word == "TINY" else word for word in options]
    done = program("serve", "--log", log, "--port", "18431", "--quiet", *words, **ON_CPU)
    assert done.returncode == 1
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith(said)

"""The second tier with real language models: attacks and grades by transformers and by a vLLM server."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from support.commands import carry_out, program
from support.language_models import smollm2
from support.llm_server import ON_CPU
from support.recipes import TIER2, purifying
from support.runs import digests
from support.teachers import successes

from curate.ledger.run import connect

pytestmark = pytest.mark.llm

SECTION = TIER2 | {"rounds": 1, "written": 2, "excerpt": 600, "families": ["seo_fluff", "forum_tone"], "held_out": None}
JUDGED = SECTION | {"judge": {"documents": 24}}


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch):
    for name, value in ON_CPU.items():
        monkeypatch.setenv(name, value)


def told(run):
    return json.loads((run / "manifest.json").read_text())["purify"]


def check(run, model):
    """What a teacher wrote and graded is in the run, with nothing lost."""
    facts = told(run)
    with connect(run) as connection:
        [[written]] = connection.execute("SELECT count(*) FROM attacks WHERE \"by\" <> 'rules'").fetchall()
        grades = connection.execute("SELECT grade, label, probability FROM grades").fetchall()
        [[graded, kept]] = connection.execute("SELECT count(grade), count_if(kept) FROM documents").fetchall()
    asked = facts["written"]
    assert asked["asked"] == 4 == written + asked.get("dropped", 0) + asked.get("refused", 0)
    assert model in facts["teacher"]["model"]
    assert len(grades) == facts["judge"]["graded"] == 24
    assert all(0 <= grade <= 5 and label in set("012345") and 1 / 6 <= p <= 1 for grade, label, p in grades)
    assert graded >= kept > 0
    assert -1 <= facts["judge"]["spearman"] <= 1


def test_a_model_in_this_process_attacks_and_grades(corpus, tmp_path):
    teacher = {"transformers": {"model": str(smollm2()), "max_model_len": 2048}}
    path, run = purifying(corpus, tmp_path, teacher=teacher, tier2=JUDGED)
    carry_out(path)
    check(run, "SmolLM2-135M-Instruct")


def test_a_run_killed_while_it_asks_a_server_asks_nothing_twice_and_ends_with_the_same_bytes(server, corpus, tmp_path):
    teacher = {"vllm": {"urls": [server], "concurrency": 2}}
    path, run = purifying(corpus, tmp_path / "a", teacher=teacher, tier2=JUDGED)
    before = successes(server)
    process = subprocess.Popen([sys.executable, "-m", "curate", "run", str(path), "--quiet"], start_new_session=True)
    while successes(server) < before + 6:
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = sum(part.read_bytes().count(b"\n") for part in (run / "teacher").glob("*.jsonl"))
    assert kept >= 4
    done = program("run", path, "--quiet", timeout=500)
    assert done.returncode == 0, done.stderr
    check(run, "smollm2")
    asked = successes(server)
    # What was under way when it was killed may be answered for nobody: at most `concurrency` questions, each of a
    # few requests.
    other, there = purifying(corpus, tmp_path / "b", teacher=teacher, tier2=JUDGED)
    (there / "ledger").mkdir(parents=True)
    (there / "lock").touch()
    shutil.copytree(run / "teacher", there / "teacher")
    carry_out(other)
    assert successes(server) == asked
    assert digests(there) == digests(run)
    keys = [json.loads(line)["key"] for part in (run / "teacher").glob("*.jsonl") for line in part.open()]
    assert len(keys) == len(set(keys))

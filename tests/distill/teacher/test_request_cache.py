"""The request cache: nothing is asked twice, whatever is killed in between."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from support.stand_in import StandIn, reply_to, requests_for, running, texts_of, wait_until

from curate.distill.teacher import request_cache as requests
from curate.distill.teacher.protocol import Request
from curate.errors import WorkerError


def test_nothing_is_asked_twice_in_one_call_or_in_a_later_run(teach):
    server = StandIn()
    first, again = teach(server), teach(server)
    asked = requests_for(["a", "b", "a", "c"])
    assert texts_of(first.generate(asked)) == texts_of(teach(server).generate(asked))
    assert set(server.prompts.values()) == {1}
    assert again.generate(requests_for(["d"])) is not None  # opened before the first wrote: it has a part of its own
    assert set(server.prompts.values()) == {1}


def test_another_seed_model_adapter_or_limit_is_another_question(teach):
    server = StandIn(models=["tiny"])
    teacher = teach(server)
    [one] = requests_for(["a"])
    variants = [
        one,
        *requests_for(["a"], seed=1),
        *requests_for(["a"], choices=("x",)),
        Request(one.prompt, one.sampling, "adapter"),
        Request("a", one.sampling),
    ]
    teacher.generate(variants)
    teacher.score(["a"])
    assert server.prompts["a"] == 6
    other = StandIn(models=["other"])
    teach(other).generate([one])
    assert other.prompts["a"] == 1


CLIENT = """
import json, sys
from pathlib import Path
from curate.distill.teacher.open import open_teacher
from curate.distill.teacher.protocol import Request, Sampling
from curate.progress import unwritten_log
from curate.recipe.teacher import Teacher
url, folder, count = sys.argv[1:]
section = Teacher.model_validate({"vllm": {"urls": [url], "concurrency": 4}})
with open_teacher(section, Path(folder), unwritten_log(quiet=True)) as teacher:
    replies = teacher.generate([Request((("user", f"p{k}"),), Sampling(4)) for k in range(int(count))])
print(json.dumps([reply.text for reply in replies]))
"""


def start_client(url, folder, count):
    arguments = [sys.executable, "-c", CLIENT, url, str(folder), str(count)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_client_asks_again_only_for_what_was_under_way(tmp_path):
    server = StandIn()
    server.seconds = 0.02
    with running(server) as url:
        client = start_client(url, tmp_path, 100)
        wait_until(lambda: sum(server.prompts.values()) >= 40)
        client.kill()
        client.communicate()
        wait_until(lambda: not server.busy)  # with what was under way
        [part] = tmp_path.glob("part-*.jsonl")
        with part.open("ab") as file:  # as if the power had gone within a line
            file.write(b'{"key":"0123')
        kept = part.read_bytes().count(b"\n")
        assert 30 <= kept <= 60
        told, _ = start_client(url, tmp_path, 100).communicate()
    assert json.loads(told) == [f"reply to p{k} by tiny with 0" for k in range(100)]
    assert sum(n - 1 for n in server.prompts.values()) <= 4  # the window
    assert len(list(tmp_path.glob("part-*.jsonl"))) == 2


def test_ctrl_c_stops_at_once_and_keeps_what_was_answered(tmp_path):
    server = StandIn()
    server.seconds = 0.05
    with running(server) as url:
        client = start_client(url, tmp_path, 2000)
        wait_until(lambda: sum(server.prompts.values()) >= 20)
        client.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, told = client.communicate(timeout=10)
        assert time.monotonic() - began < 3
    assert told.rstrip().endswith("KeyboardInterrupt")
    [part] = tmp_path.glob("part-*.jsonl")
    assert part.read_bytes().count(b"\n") >= 16


def test_two_processes_may_write_into_one_cache(teach, tmp_path):
    server = StandIn()
    with running(server) as url:
        clients = [start_client(url, tmp_path, 20) for _ in range(2)]
        told = [client.communicate()[0] for client in clients]
    assert told[0] == told[1]


def test_a_damaged_line_is_asked_for_again(teach, tmp_path):
    server = StandIn()
    teach(server).generate(requests_for(["a", "b", "c"]))
    [part] = (tmp_path / "teacher").glob("part-*.jsonl")
    lines = part.read_bytes().splitlines(keepends=True)
    part.write_bytes(lines[0] + b"\0" * 40 + b"\n" + lines[2])
    assert None not in teach(server).generate(requests_for(["a", "b", "c"]))
    assert sorted(server.prompts.values()) == [1, 1, 2]


def test_text_that_is_odd_is_kept_as_it_is(teach):
    odd = "a\u2028b\x00c\n\"'\\ \U0001f600"
    server = StandIn(lambda n, body: (200, {}, {**reply_to("", body), "choices": [
        {"message": {"content": odd}, "finish_reason": "stop"}]}))  # fmt: skip
    teacher = teach(server)
    assert texts_of(teacher.generate(requests_for([odd]))) == [odd]
    assert texts_of(teach(server).generate(requests_for([odd]))) == [odd]
    assert len(server.bodies) == 1


def test_a_full_disk_is_one_line(teach, tmp_path, monkeypatch):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    teacher = teach(StandIn())
    full = partial(open, "/dev/full", "w+b", 0)
    monkeypatch.setattr(requests, "_new_part", lambda folder: full())
    with pytest.raises(WorkerError, match="/dev/full: No space left on device; nothing finished is lost"):
        teacher.generate(requests_for(["a"]))

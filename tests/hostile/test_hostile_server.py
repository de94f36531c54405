"""A teacher's server that means harm: its answers end in a value, a refusal or one line, in bounded time and memory."""

import gzip
import json
import math
import re
import resource
import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from support.soak import ALL
from support.stand_in import StandIn, reply_to, requests_for, texts_of

import curate.distill.teacher.vllm.exchange
from curate.distill.teacher.protocol import Reply, Score
from curate.errors import CurateError, TeacherError

MODELS = json.dumps({"data": [{"id": "tiny"}]}).encode()
VALUES = [
    b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"-1", b"2", b"1e300", str(2**70).encode(), b"9" * 5000,
    b'"\\ud800"', b'"x"', b"[]", b"{}", b"[" * 100_000,
]  # fmt: skip


def whole(content, headers=b""):
    return b"HTTP/1.1 200 OK\r\n%scontent-length: %d\r\n\r\n%s" % (headers, len(content), content)


def whole_request(connection):
    """The next request with its body: what is closed before all of it was read is reset, and loses the answer."""
    request = connection.recv(65536)
    while request:
        head, _, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)^content-length: *(\d+)", head, re.MULTILINE)
        if b"\r\n\r\n" in request and len(body) >= int(length[1] if length else 0):
            break
        more = connection.recv(65536)
        if not more:
            return b""
        request += more
    return request


@contextmanager
def answering(answer):
    """A server that lists its models, and answers whatever else it is asked with the bytes that `answer` yields."""

    def serve(connection):
        with connection, suppress(OSError):
            while request := whole_request(connection):
                models = request.startswith(b"GET /v1/models")
                for piece in [whole(MODELS)] if models else [whole(b"")] if request.startswith(b"GET") else answer():
                    connection.sendall(piece)
                if not request.startswith(b"GET"):
                    return

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept():
            with suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=[listening.accept()[0]], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


def endless():
    yield b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
    while True:
        yield b" " * 65536


def trickling():
    yield b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"
    while True:
        yield b" "
        time.sleep(0.05)


def trickling_headers():
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        yield b"a: b\r\n"
        time.sleep(0.05)


def bomb():
    yield whole(gzip.compress(bytes(1 << 24)), b"content-encoding: gzip\r\n")


HARMS = {
    "endless": (endless, "a response of more than 2 MB, which no answer has"),
    "trickling": (trickling, "no answer within 0.5 s"),
    "trickling headers": (trickling_headers, "no answer within 0.5 s"),
    "compressed": (bomb, "a response in the encoding 'gzip', which was not asked for"),
    "cut": (lambda: [b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{"], "peer closed connection"),
    "no HTTP": (lambda: [b"\x00\xff SSH-2.0\r\n\r\n"], "illegal status line"),
    "nothing": (lambda: [b""], "disconnected without sending a response"),
    "too many headers": (lambda: [b"HTTP/1.1 200 OK\r\n", *[b"a: b\r\n" * 1000] * 100], r"^teacher: "),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_server_that_does_not_answer_as_it_should_ends_the_work_in_bounded_time(teach, monkeypatch, harm):
    answer, said = HARMS[harm]
    monkeypatch.setattr(curate.distill.teacher.vllm.exchange, "MAX_RESPONSE_BYTES", 2 << 20)
    began = time.monotonic()
    with answering(answer) as url, pytest.raises(TeacherError, match=said) as told:
        teach(url, timeout_seconds=0.5 if "trickling" in harm else 30, retries=1).generate(requests_for(["a"]))
    assert time.monotonic() - began < 30
    assert "\n" not in str(told.value)


def test_a_server_that_greets_without_end_is_left_out(teach, monkeypatch, capsys):
    monkeypatch.setattr("curate.distill.teacher.vllm.connect.GREETING_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            with listening.accept()[0] as connection, suppress(OSError):
                for piece in trickling():
                    connection.sendall(piece)

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        assert texts_of(teach(url, StandIn(), timeout_seconds=1).generate(requests_for(["a"]))) == [
            "reply to a by tiny with 0"
        ]
        assert f"teacher: {url} does not answer: no answer within 0.5 s" in capsys.readouterr().err


def test_an_endless_answer_does_not_fill_the_memory(teach):
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with answering(endless) as url, pytest.raises(TeacherError, match="more than 64 MB"):
        teach(url, retries=0).generate(requests_for(["a"]))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most < 400_000  # kB


def test_no_request_follows_a_redirect(teach):
    other = StandIn()
    server = StandIn(lambda n, body: (307, {"location": "http://elsewhere.example/\x1b[31m"}, {}))
    with pytest.raises(
        TeacherError, match=r"307: redirects to 'http://elsewhere.example/.*name that server in teacher"
    ) as told:
        teach(server, other, concurrency=1).generate(requests_for(["a"]))
    assert "\x1b" not in str(told.value)


def test_a_time_to_wait_that_is_no_number_is_passed_over(teach):
    server = StandIn(lambda n, body: (429, {"retry-after": "²"}, {}) if n == 1 else None)
    assert texts_of(teach(server).generate(requests_for(["a"]))) == ["reply to a by tiny with 0"]


def leaves(value, path=()):
    """Where the values of a JSON document stand, itself and what has parts too; of a list the first and the last."""
    yield path
    parts = value.items() if isinstance(value, dict) else []
    if isinstance(value, list):
        parts = [(k, value[k]) for k in sorted({0, len(value) - 1}) if value]
    for key, part in parts:
        yield from leaves(part, (*path, key))


def replaced(value, path, mark):
    if not path:
        return mark
    parts = dict(value) if isinstance(value, dict) else list(value)
    parts[path[0]] = replaced(parts[path[0]], path[1:], mark)
    return parts


def chosen(path, body):
    """A server's answers to all that is asked to choose between labels of one and of two tokens."""
    if path == "/tokenize":
        text = body.get("prompt", "x")
        return {"tokens": [ord(c) for c in text]}
    if path == "/detokenize":
        return {"prompt": "x"}
    if "logprob_token_ids" in body:
        top = [{"token": f"token_id:{one}", "logprob": -1.0} for one in body["logprob_token_ids"]]
        return {"choices": [{"logprobs": {"content": [{"top_logprobs": top}]}}]}
    prompts = body["prompt"] if isinstance(body["prompt"][0], list) else [body["prompt"]]
    return {
        "choices": [
            {"index": k, "prompt_logprobs": [None, *[{"7": {"logprob": -1.5}}] * (len(tokens) - 1)]}
            for k, tokens in enumerate(prompts)
        ]
    }


ASKED = {
    "generate": (reply_to, 1, lambda teacher: teacher.generate(requests_for(["a"]))),
    "score": (reply_to, 1, lambda teacher: teacher.score(["a text"])),
    "choose": (chosen, 3, lambda teacher: teacher.choose(requests_for(["a"]), ["y", "n"])),
    "choose long": (chosen, 3, lambda teacher: teacher.choose(requests_for(["a"]), ["yes", "no"])),
}


@pytest.mark.parametrize("method", ASKED)
def test_whatever_stands_in_an_answer_gives_a_sound_value_or_one_line(teach, monkeypatch, method):
    """Each part of each answer is replaced by each of VALUES, or by some of them in turn, one at a time."""
    monkeypatch.setattr("curate.distill.teacher.vllm.client.MAX_WAIT", 0)
    shape, stride, ask = ASKED[method]
    stride *= 1 if ALL else 3
    harm = None
    seen = []

    def behave(n, body):
        answer = shape(server.bodies[n - 1][0], body)
        seen.append(answer)
        if harm is None or len(seen) - 1 != harm[0]:
            return 200, {}, answer
        return 200, {}, json.dumps(replaced(answer, harm[1], "HERE")).encode().replace(b'"HERE"', harm[2])

    server = StandIn(behave)
    teacher = teach(server, retries=0, concurrency=1)
    [sound] = ask(teacher)
    answers, tried = list(seen), 0
    for k, answer in enumerate(answers):
        for nth, path in enumerate(leaves(answer)):
            for value in VALUES[nth % stride :: stride]:
                harm, tried = (k, path, value), tried + 1
                seen.clear()
                teacher.cache._locations.clear()
                with suppress(CurateError):
                    [found] = ask(teacher)
                    check(found, sound, harm)
    assert tried > (90 if ALL else 30)


def check(found, sound, harm):
    if found is None or found == sound:
        return
    assert type(found) is type(sound), harm
    if isinstance(found, Reply):
        (found.text + found.finish_reason).encode()
        assert 0 <= found.n_prompt_tokens < 2**31, harm
        assert 0 <= found.n_tokens < 2**31, harm
    elif isinstance(found, Score):
        assert math.isfinite(found.log_probability), harm
        assert 0 <= found.n_tokens < 100, harm
    else:
        assert sum(map(math.exp, found.values())) == pytest.approx(1), harm

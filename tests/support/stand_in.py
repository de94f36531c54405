"""A small HTTP server that speaks the part of vLLM's protocol that is asked for, and fails as it is told to.

It stands in for a service elsewhere whose faults no real one shows when a test wants them.
"""

import json
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import curate.distill.teacher.vllm.client
from curate.distill.teacher.open import open_teacher
from curate.distill.teacher.protocol import Request, Sampling
from curate.progress import unwritten_log
from curate.recipe.teacher import Teacher as Section


class StandIn:
    """What the server saw, and what it does: `behave(n, body)` for its n-th request gives (status, headers, body)."""

    def __init__(self, behave=None, models=("tiny",)):
        self.behave = behave or (lambda n, body: None)
        self.models = list(models)
        self.parents = {}  # of models that are adapters
        self.prompts = Counter()
        self.bodies = []
        self.busy = self.busiest = 0
        self.seconds = 0.0
        self.lock = threading.Lock()

    def answer(self, path, body):
        with self.lock:
            self.bodies.append((path, body))
            n = len(self.bodies)
            self.busy += 1
            self.busiest = max(self.busiest, self.busy)
        try:
            time.sleep(self.seconds)
            found = self.behave(n, body) or (200, {}, reply_to(path, body))
            if found[0] == 200:
                with self.lock:
                    self.prompts[prompt_of(body)] += 1
            return found
        finally:
            with self.lock:
                self.busy -= 1


def prompt_of(body):
    prompt = body.get("prompt") or body.get("messages", [{"content": ""}])[-1]["content"]
    return prompt if isinstance(prompt, str) else str(prompt[0])


def reply_to(path, body):
    text = f"reply to {prompt_of(body)} by {body['model']} with {body.get('seed')}"
    choice = {"index": 0, "finish_reason": "stop"}
    choice |= {"message": {"content": text}} if "messages" in body else {"text": text}
    if "prompt_logprobs" in body:
        choice["prompt_logprobs"] = [None, {"7": {"logprob": -1.5}}, {"8": {"logprob": -2.25}}]
    return {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}


@contextmanager
def running(stand_in, port=0):
    """The server on a port of this machine; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            listed = [{"id": n, "root": f"/models/{n}", "parent": stand_in.parents.get(n)} for n in stand_in.models]
            self.send(200, {}, {"data": listed})

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self.send(*stand_in.answer(self.path, body))

        def send(self, status, headers, body):
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**headers, "content-length": len(content)}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 256
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request, client_address):
            pass  # a client that went away

    server = Server(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def teach(tmp_path, monkeypatch):
    """Opens a teacher over stand-ins, or over URLs, with one cache for the whole test; its waits are short."""
    monkeypatch.setattr(curate.distill.teacher.vllm.client, "FIRST_WAIT", 0.01)
    with ExitStack() as stack:

        def opened(*sources, **fields):
            urls = [one if isinstance(one, str) else stack.enter_context(running(one)) for one in sources]
            section = Section.model_validate({"vllm": {"urls": urls, **fields}})
            return stack.enter_context(open_teacher(section, tmp_path / "teacher", unwritten_log(quiet=False)))

        yield opened


def requests_for(texts, **sampling):
    return [Request((("user", text),), Sampling(16, **sampling)) for text in texts]


def texts_of(replies):
    return [reply.text for reply in replies]


def wait_until(condition):
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to that")


SPAM = " Order within ten minutes and save up to ninety percent, dear friend."


def rewriting(n, body):
    """A reply that adds a sentence to the text that is asked about; to some prompts a refusal."""
    text = body["messages"][-1]["content"].split("Text:\n")[-1].strip()
    said = "I cannot help with that." if "capital" in text[:400] else text + SPAM
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
    return 200, {}, {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}

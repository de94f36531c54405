"""A real vLLM server for the tests that ask one: started once for all of them, with SmolLM2, on a CPU."""

import os
import signal
import socket
import subprocess
import sys
import threading

import pytest
from support.language_models import smollm2

LOADS_ADAPTERS = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
ON_CPU = {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The URL of `curate serve` with SmolLM2, which loads adapters; a signal ends it, and nothing of it is left."""
    os.environ.update(ON_CPU)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "vllm.log"
    options = ["--port", str(port), "--name", "smollm2", "--dtype", "bfloat16", "--max-model-len", "1024"]
    command = [sys.executable, "-m", "curate", "serve", str(smollm2()), *options, "--log", str(log)]
    further = ["--", "--enforce-eager", "--enable-lora", "--max-lora-rank", "16"]
    environment = os.environ | LOADS_ADAPTERS
    serving = subprocess.Popen([*command, *further], stdout=subprocess.PIPE, text=True, env=environment)
    killer = threading.Timer(600, serving.kill)
    killer.start()
    first, second = serving.stdout.readline(), serving.stdout.readline()
    killer.cancel()
    assert first == f"smollm2: http://127.0.0.1:{port}, log in {log}\n", log.read_text()
    assert second == f'teacher: {{vllm: {{urls: ["http://127.0.0.1:{port}"]}}}}\n'
    yield f"http://127.0.0.1:{port}"
    group = group_of(serving.pid)
    assert len(members(group)) > 1
    serving.send_signal(signal.SIGTERM)
    assert serving.wait(60) == 130
    assert members(group) == []


def group_of(parent):
    """The process group of the server that a process started."""
    [group] = [number for number, above, group, _ in processes() if above == str(parent) and number == group]
    return group


def members(group):
    return [words for _, _, number, words in processes() if number == group and "<defunct>" not in words]


def processes():
    """Number, parent, group and command line of everything that runs."""
    told = subprocess.run(["ps", "-eo", "pid=,ppid=,pgid=,args="], capture_output=True, text=True, check=True).stdout
    return [line.split(maxsplit=3) for line in told.splitlines()]

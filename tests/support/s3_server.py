"""An S3 server on this machine."""

import socket
import subprocess
import time

import pytest
from support.paths import ROOT


@pytest.fixture(scope="session")
def s3_server():
    """An S3 server on this machine, as the environment that leads there."""
    server_command = ROOT / ".venv-s3" / "bin" / "moto_server"
    if not server_command.exists():
        pytest.skip("no S3 server: `make test` sets one up")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [server_command, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    with socket.socket() as trial:
        while trial.connect_ex(("127.0.0.1", port)) != 0:
            assert time.monotonic() < deadline, "the S3 server does not answer"
            time.sleep(0.1)
    yield {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "a-secret-that-nobody-may-see",
        "AWS_REGION": "us-east-1",
    }
    process.kill()
    process.wait()

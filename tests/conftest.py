"""What tests share: small corpora on disk, the command as a user starts it, and one finished demo."""

import hashlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from llm_server import server as server
from thin_domain import augmented as augmented
from thin_domain import finance as finance

import curate.sample

# Where the tests run in a shell's background they inherit a Ctrl-C that is ignored, and commands would from them.
signal.signal(signal.SIGINT, signal.default_int_handler)

SAMPLE = Path(curate.sample.__path__[0])
PROSE = (
    "The quick brown fox jumps over the lazy dog, and that is what the people of the town have seen with their own "
    "eyes. "
    "It is said to be one of the oldest stories, told by the fire to children who have asked for it again and again. "
)


def pytest_collection_modifyitems(items):
    """Tests that need an environment of their own skip elsewhere."""
    for module, marker in (("vllm", "llm"), ("streaming", "trainers")):
        if importlib.util.find_spec(module) is None:
            for item in items:
                if item.get_closest_marker(marker):
                    item.add_marker(pytest.mark.skip(reason=f"needs the environment of `make test-{marker}`"))


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """The run directory of a finished demo."""
    run = tmp_path_factory.mktemp("demo") / "run"
    done = command("demo", "--set", f"output={run}", "--quiet")
    assert done.returncode == 0, done.stderr
    return run


DISTILL = {"keep_tokens": "15%", "ladder": ["5%", "10%"]}
TIER2 = {"attacks": 12, "rounds": 2, "max_false_drop": 0.05, "held_out": "repetition"}


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """The sample as a corpus, and half of its good documents as a reference, which the corpus then lacks."""
    folder = tmp_path_factory.mktemp("corpus")
    table = pa.concat_tables([pq.read_table(path) for path in sorted(SAMPLE.glob("*.parquet"))])
    good = [label == "good" and k % 3 > 0 for k, label in enumerate(table["label"].to_pylist())]
    pq.write_table(table.filter(pa.array(good)), folder / "reference.parquet")
    pq.write_table(table.filter(pa.array([not one for one in good])), folder / "corpus.parquet")
    return folder


def purifying(corpus, folder, **fields):
    """A recipe with a second tier over such a corpus, and its run directory."""
    folder.mkdir(exist_ok=True)
    changes = {"tier2": TIER2, "reference": [str(corpus / "reference.parquet")], "seed": 3, **fields}
    import yaml

    path, run = write_recipe(folder, corpus / "corpus.parquet", **changes)
    recipe = yaml.safe_load(path.read_text())
    recipe["input"]["id"] = "id"
    path.write_text(yaml.safe_dump(recipe))
    return path, run


@pytest.fixture(scope="session")
def purified(corpus, tmp_path_factory):
    """A finished run with rules, lines and a second tier."""
    path, run = purifying(
        corpus, tmp_path_factory.mktemp("purified"), tier1={"rules": ["gopher"]}, dedup={"lines": {"max_repeats": 5}}
    )
    carry_out(path)
    return path, run


def distilling(corpus, folder, distill=DISTILL, **fields):
    """A recipe with a budget over such a corpus, and its run directory."""
    import yaml

    changes = {"reference": [str(corpus / "reference.parquet")], "seed": 3, **fields}
    path, run = write_recipe(folder, corpus / "corpus.parquet", distill=distill, **changes)
    recipe = yaml.safe_load(path.read_text())
    recipe["input"] |= {"id": "id", "strata": ["source"]}
    path.write_text(yaml.safe_dump(recipe))
    return path, run


@pytest.fixture(scope="session")
def distilled(corpus, tmp_path_factory):
    """A finished run with a budget."""
    path, run = distilling(corpus, tmp_path_factory.mktemp("distilled"))
    carry_out(path)
    return path, run


@pytest.fixture(scope="session")
def s3_server():
    """An S3 server on this machine, as the environment that leads there."""
    server_command = Path(__file__).parent.parent / ".venv-s3" / "bin" / "moto_server"
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


def command(*arguments, cwd=None, timeout=240, **environment):
    """Run `curate` as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "curate", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        env={**os.environ, **environment},
        check=False,
    )


def carry_out(recipe, *changes):
    """Run a recipe in this process and return the summary."""
    from curate.engine import InProcess
    from curate.pipeline import run
    from curate.recipe import load_recipe

    return run(load_recipe(recipe, changes), InProcess(), threads=2, quiet=True)


def write_shard(path, texts, **columns):
    """A Parquet file with a text column and others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string())
    pq.write_table(pa.table({"text": text, **columns}), path)
    return path


def write_recipe(folder, inputs, **fields):
    """A recipe file over `inputs` with a run directory beside it; returns both paths."""
    import yaml

    path = folder / "recipe.yaml"
    recipe = {"name": "test", "output": str(folder / "run"), "input": {"paths": [str(inputs)]}, **fields}
    path.write_text(yaml.safe_dump(recipe))
    return path, folder / "run"


def refused(recipe, error, *changes):
    """The message with which a run is refused; it is one line."""
    with pytest.raises(error) as caught:
        carry_out(recipe, *changes)
    return told_by(caught.value)


def told_by(error):
    """What an error tells, which is one line."""
    assert len(str(error).splitlines()) == 1, str(error)
    return str(error)


@pytest.fixture
def good(tmp_path):
    """A small Parquet file of good documents."""
    return write_shard(tmp_path / "in" / "a.parquet", [f"{PROSE} {k}" for k in range(20)])


def digests(run):
    """SHA-256 of every file whose bytes are promised: ledger parts, data, manifest."""
    found = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if path.is_file() and (
            name == "manifest.json"
            or name.startswith(("ledger/signals", "ledger/pairs", "ledger/edits", "ledger/decisions", "data/"))
        ):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def documents(run, columns="*", where="true"):
    """Rows of the view `documents`."""
    from curate.inspect import connect

    with connect(run) as connection:
        return connection.execute(f"SELECT {columns} FROM documents WHERE {where} ORDER BY file, row").fetchall()

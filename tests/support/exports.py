"""Runs to export, and exports of them: read, killed and gone on with."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import command


def made(run, inputs, name, *more):
    recipe = run.parent / f"{name}.yaml"
    recipe.write_text(
        "\n".join([f"name: {name}", f"output: {run}", f"input: {{paths: ['{inputs}']}}", "tier1: {rules: []}",
                   "shard_size: 50kB", *more])
    )  # fmt: skip
    done = command("run", recipe, "--quiet")
    assert done.returncode == 0, done.stderr
    return run


def kept(run):
    return pq.read_table(sorted((run / "data").glob("*.parquet"))).to_pylist()


def exported(run, out, *options):
    done = command("export", run, "--out", out, "--quiet", *options)
    assert done.returncode == 0, done.stderr
    return done


def killed_and_gone_on(out, name, *words):
    """Kill an export with some pieces written and others not, give the command again, and compare with a whole one."""
    command_ = ["export", *words, "--to", name, "--workers", 1, "--out"]
    folder = out / name
    for _ in range(20):
        program = [sys.executable, "-m", "curate", *map(str, command_), str(out), "--quiet"]
        running = subprocess.Popen(program, start_new_session=True)
        while running.poll() is None and len(recorded(folder)) < 3:
            time.sleep(0.001)
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        if not (folder / "export.json").exists():
            break
        shutil.rmtree(folder)
    before = {path: (folder / path).stat().st_mtime_ns for files in recorded(folder).values() for path in files}
    assert before
    done = command("verify", folder)
    told = "an export that is not finished; give the command that began it again, and it goes on"
    assert (done.returncode, done.stderr) == (1, f"Error: {folder}: {told}\n")
    pieces = len(recorded(folder))
    done = command(*command_, out)
    assert done.returncode == 0
    told = json.loads((folder / "export.json").read_text())
    assert f"{folder}: {pieces} of " in done.stderr
    assert all((folder / path).stat().st_mtime_ns == when for path, when in before.items())
    assert command(*command_, out / "whole", "--quiet").returncode == 0
    for path in ("export.json", *(file["path"] for file in told["files"])):
        assert (out / "whole" / name / path).read_bytes() == (folder / path).read_bytes()
    assert command("verify", folder).returncode == 0
    assert not [path for path in out.rglob(".*")]
    assert not (folder / "pieces.ndjson").exists()


def recorded(folder):
    """The files of each piece that an export which is not finished has told of."""
    path = folder / "pieces.ndjson"
    lines = path.read_text().splitlines(keepends=True)[1:] if path.exists() else []
    told = [json.loads(line) for line in lines if line.endswith("\n")]
    return {one["stem"]: [file["path"] for file in one["files"]] for one in told}


ODD = [
    "🦊 and 👩‍👩‍👧‍👦, then \u0001\u0007\u001b[31m control\u009f characters\r\n\ttabs\u2028 and a line",
    "long " * 200_000 + "and over.",
    ' {"json": "in a text"} \\n ',
]


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    """A run of many small shards, with odd texts and columns that are called as ours are."""
    folder = tmp_path_factory.mktemp("web")
    texts = [f"Document {k} tells of {k * k} things. " * (k % 7 + 3) for k in range(1_200)]
    for k, text in enumerate(ODD):
        texts[300 * k + 5] = text
    rows = {
        "text": texts,
        "source": [f"site-{k % 3}.org" for k in range(1_200)],
        "doc_id": list(range(1_200)),
        "share": [0.5, None, float("nan")] * 400,
    }
    pq.write_table(pa.table(rows), folder / "in.parquet")
    return made(folder / "run", folder / "in.parquet", "web")


@pytest.fixture(scope="module")
def mixture(web, tmp_path_factory):
    """A mixture of that run and one of shorter documents."""
    folder = tmp_path_factory.mktemp("mixture")
    pq.write_table(pa.table({"text": [f"Short {k}. " * 4 for k in range(900)]}), folder / "in.parquet")
    made(folder / "short", folder / "in.parquet", "short")
    path = folder / "mixture.yaml"
    path.write_text(
        f"name: both\ntokens: 30k\nsources: {{web: {{run: {web}, weight: 3}}, short: {{run: short, weight: 1}}}}\n"
    )
    return path

"""A run that lives on an object store is the run that it would be on a disk, whatever dies or fails on the way."""

import http.client
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import carry_out, command, program
from support.corpora import SAMPLE
from support.recipes import write_recipe
from support.runs import digests
from support.soak import repeats

from curate.engine import ray_cluster as cluster
from curate.errors import CurateError, Interrupted, RunError, WorkerError
from curate.ledger.ledger import fetch_run, locked
from curate.storage import mirror, store_lock
from curate.storage.files import ASIDE
from curate.storage.object_store import Objects, open_store

SECRET = "a-secret-that-nobody-may-see"
FIELDS = {"tier1": {"rules": ["gopher"]}, "dedup": {"exact": True, "near": {}}, "export": ["jsonl"]}
# The command with less patience, so that a dead process counts as dead at once, and with a task for each file.
HASTY = (
    "import curate.storage.mirror as m, curate.storage.store_lock as lock, curate.maps.measure\n"
    "m.PUT_SECONDS, lock.BEAT_SECONDS, lock.DEAD_SECONDS, curate.maps.measure.TASK_BYTES = 0.05, 0.3, 2.0, 1\n"
    "from curate.cli import main; main()"
)


def client(environment):
    import boto3

    return boto3.client(
        "s3", endpoint_url=environment["AWS_ENDPOINT_URL"], aws_access_key_id="key", aws_secret_access_key="x",
        region_name="us-east-1",
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def small_tasks():
    """A task for each file in this process, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curate.maps.measure.TASK_BYTES", 1)
        yield


@pytest.fixture(scope="module")
def store(s3_server):
    """The environment of a bucket `runs`; without the machine's own credentials."""
    client(s3_server).create_bucket(Bucket="runs")
    return {**s3_server, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "none",
            "AWS_SHARED_CREDENTIALS_FILE": "none"}  # fmt: skip


@pytest.fixture(scope="module")
def corpus_of_shards(tmp_path_factory):
    """A hundred documents of the sample in eight files."""
    folder = tmp_path_factory.mktemp("shards")
    table = pa.concat_tables([pq.read_table(path) for path in sorted(SAMPLE.glob("*.parquet"))]).slice(0, 160)
    for k in range(8):
        pq.write_table(table.slice(k * 20, 20), folder / f"{k}.parquet")
    return folder


@pytest.fixture(scope="module")
def local(corpus_of_shards, tmp_path_factory):
    """The same run on a disk."""
    recipe, run = write_recipe(tmp_path_factory.mktemp("local"), corpus_of_shards, **FIELDS)
    carry_out(recipe)
    return run


def start(recipe, environment, place, *options):
    """A run with its mirror in a folder, as a process."""
    return subprocess.Popen(
        [sys.executable, "-c", HASTY, "run", recipe, "--workers", "1", *options], text=True,
        env={**os.environ, **environment, "CURATE_RUNS": str(place)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finished(process):
    """What a run told."""
    stdout, stderr = process.communicate(timeout=200)
    assert process.returncode == 0, stderr
    return stdout + stderr


@contextmanager
def on(machine, environment):
    """This process as a machine that has its mirrors in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**environment, "CURATE_RUNS": str(machine)}.items():
            patch.setenv(name, value)
        yield


def recipe_at(folder, corpus, name, **fields):
    folder.mkdir(exist_ok=True)
    return write_recipe(folder, corpus, **{**FIELDS, "output": f"s3://runs/{name}", **fields})[0]


def mirror_in(folder):
    [run] = folder.glob("*/run")
    return run


def keys(environment, name):
    pages = client(environment).get_paginator("list_objects_v2").paginate(Bucket="runs", Prefix=f"{name}/")
    return {one["Key"].removeprefix(f"{name}/") for page in pages for one in page.get("Contents", ())}


def test_a_run_on_a_store_has_the_bytes_of_a_local_one_and_every_command_finds_it_by_its_uri(
    tmp_path, corpus_of_shards, local, store
):
    recipe = recipe_at(tmp_path, corpus_of_shards, "whole")
    told = [finished(start(recipe, store, tmp_path / "one"))]
    assert digests(mirror_in(tmp_path / "one")) == digests(local)
    there = keys(store, "whole")
    assert {*digests(local), "run.duckdb", "recipe.yaml", "export/jsonl/export.json"} <= there
    assert not any(".aside-" in key or "spool" in key or "journal" in key for key in there)
    elsewhere = {**store, "CURATE_RUNS": str(tmp_path / "two")}
    run = "s3://runs/whole"
    for arguments, found in (
        (("sql", run, "SELECT count(*) AS n FROM documents", "--format", "csv"), "n\n160\n"),
        (("why", run, "0.parquet:3"), "0.parquet"),
        (("compare", run, run), "every verdict is the same"),
        (("report", run, "--quiet"), "s3://runs/whole/report.html\n"),
        (("verify", run), "s3://runs/whole: all files are as they were written\n"),
    ):
        done = command(*arguments, **elsewhere)
        assert done.returncode == 0, done.stderr
        assert found in done.stdout
        told += [done.stdout, done.stderr]
    assert "report.html" in keys(store, "whole")
    assert digests(mirror_in(tmp_path / "two")) == digests(local)
    assert str(tmp_path / "one") not in "".join(told)
    assert str(tmp_path / "two") not in "".join(told)
    told += [p.read_bytes().decode("latin-1") for place in ("one", "two") for p in (tmp_path / place).rglob("*.*")
             if p.is_file()]  # fmt: skip
    assert SECRET not in "".join(told)


@pytest.mark.slow  # three kills; the test below ends at a deletion
def test_a_run_that_is_killed_at_any_request_goes_on_on_another_machine(tmp_path, corpus_of_shards, local, store):
    recipe = recipe_at(tmp_path, corpus_of_shards, "killed")
    kills = iter([12, 30, 95])
    told = []
    for attempt in range(4):
        place = tmp_path / f"machine-{attempt}"
        with proxy(store) as (environment, handler):
            process = start(recipe, environment, place)
            handler.kill = (next(kills, None), process.pid)
            told.append(process.communicate(timeout=200)[1])
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, told
    assert process.returncode == 0
    assert attempt >= 2
    assert digests(mirror_in(place)) == digests(local)
    with on(tmp_path / "reader", store):
        assert digests(fetch_run("s3://runs/killed")) == digests(local)
    folders = ("data/", "export/")
    assert {key for key in keys(store, "killed") if key.startswith(folders)} == {
        path.relative_to(local).as_posix() for name in folders for path in (local / name).rglob("*") if path.is_file()
    }


@pytest.mark.slow  # the test below fails for good and goes on
def test_a_store_that_fails_now_and_then_changes_nothing(tmp_path, corpus_of_shards, local, store):
    recipe = recipe_at(tmp_path, corpus_of_shards, "failing")
    with proxy(store) as (environment, handler):
        handler.chance = random.Random(5)
        finished(start(recipe, environment, tmp_path / "one"))
        assert handler.failed >= 3
    with on(tmp_path / "two", store):
        assert digests(fetch_run("s3://runs/failing")) == digests(local)


def test_a_store_that_stays_away_ends_the_run_in_one_line_and_the_same_command_goes_on(
    tmp_path, corpus_of_shards, local, store
):
    recipe = recipe_at(tmp_path, corpus_of_shards, "away")
    with proxy(store) as (environment, handler):
        handler.away = 40
        process = start(recipe, environment | {"AWS_MAX_ATTEMPTS": "2"}, tmp_path / "one", "--quiet")
        _, told = process.communicate(timeout=200)
    what = "the store does not answer as it should (SlowDown); nothing finished is lost: run the same command again"
    assert told == f"Error: s3://runs/away: {what}\n"
    assert process.returncode == 1
    assert "8 of 8 units are measured already" in finished(start(recipe, store, tmp_path / "one"))
    assert digests(mirror_in(tmp_path / "one")) == digests(local)


def test_of_two_machines_on_one_run_the_second_is_refused_and_one_that_slept_too_long_stops(
    tmp_path, corpus_of_shards, store, monkeypatch
):
    monkeypatch.setattr(store_lock, "BEAT_SECONDS", 0.3)
    recipe = recipe_at(tmp_path, corpus_of_shards, "shared")
    with on(tmp_path / "one", store):
        run = mirror.run_of("s3://runs/shared")
    with on(tmp_path / "one", store), locked(run):
        done = program("run", recipe, "--quiet", **store, CURATE_RUNS=str(tmp_path / "two"))
    owner = f"process {os.getpid()} on "
    assert done.stderr.startswith(f"Error: s3://runs/shared: in use by {owner}")
    assert done.stderr.endswith("; wait for it, or choose another output\n")
    monkeypatch.setattr(store_lock, "BEAT_SECONDS", 10_000.0)  # it sleeps, and its clock with it
    monkeypatch.setattr(mirror, "PUT_SECONDS", 10_000.0)
    monkeypatch.setattr(store_lock, "_now", lambda: 0.0)
    with pytest.raises(RunError, match="took this run over"), on(tmp_path / "one", store), locked(run):  # noqa: PT012
        (run / "run.log").write_text("of the one that slept")
        finished(start(recipe, store, tmp_path / "two"))
        before = keys(store, "shared")
        mirror.checkpoint(run)
    assert keys(store, "shared") == before
    log = client(store).get_object(Bucket="runs", Key="shared/run.log")["Body"].read()
    assert b"finished" in log
    assert json.loads(client(store).get_object(Bucket="runs", Key="shared/lock")["Body"].read()) == {"owner": None}


def test_what_another_machine_made_again_with_the_same_bytes_is_not_taken_for_deleted(tmp_path, store):
    """A part that went out of force here, and its file with it, and that is in force there: its tag is the same."""
    runs = {}
    for name in ("one", "two"):
        with on(tmp_path / name, store):
            runs[name] = mirror.run_of("s3://runs/again")

    def at(name, snapshot, part):
        with on(tmp_path / name, store), mirror.synchronized(runs[name]):
            (runs[name] / "ledger").mkdir(exist_ok=True)
            (runs[name] / "ledger" / "snapshot.json").write_text(snapshot)
            if part:
                (runs[name] / "ledger" / "part").write_text("a part")

    at("one", "with the part", True)
    at("one", "without it", False)
    (runs["one"] / "ledger" / "part").unlink()  # and then the machine dies
    at("two", "with the part again", True)
    with on(tmp_path / "one", store), mirror.synchronized(runs["one"]):
        assert (runs["one"] / "ledger" / "part").read_text() == "a part"
    assert "ledger/part" in keys(store, "again")


def test_a_file_that_cannot_be_read_to_its_end_leaves_no_object(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.storage.object_store.REMOTE_BUFFER", 4)
    store = open_store("memory://bucket/half")

    class Failing(io.BytesIO):
        def read(self, size):
            if self.tell() >= 8:
                raise OSError("Input/output error")
            return super().read(size)

    class Damaged(type(tmp_path)):
        def open(self, mode):
            return Failing(b"twelve bytes")

    with pytest.raises(WorkerError, match="Input/output error"):
        store.put("key", Damaged(tmp_path))
    assert store.tags() == {}


def test_a_run_whose_objects_somebody_removes_ends_in_one_line(tmp_path, store):
    with on(tmp_path / "one", store):
        run = mirror.run_of("s3://runs/removed")
        with pytest.raises(RunError, match="removed: somebody removed the run"), mirror.synchronized(run):  # noqa: PT012
            (run / "run.log").write_text("at work")
            mirror.checkpoint(run)
            open_store("s3://runs/removed").delete(keys(store, "removed"))
            mirror.checkpoint(run)


@pytest.mark.parametrize(
    ("output", "changes", "problem"),
    [
        (
            "s3://runs/x",
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            "no credentials; set AWS_ACCESS_KEY_ID",
        ),
        ("s3://no-such-bucket/x", {}, "s3://no-such-bucket/x: there is no bucket no-such-bucket; create it"),
        ("s3://runs", {}, "output: s3://runs: names no place within a bucket; write s3://runs/run"),
        ("s3://key:secret@runs/x", {}, "output: credentials come from the environment, not from the URI"),
        ("nowhere://runs/x", {}, "output: nowhere://: Protocol not known: nowhere"),
    ],
    ids=["credentials", "bucket", "prefix", "secret", "scheme"],
)
def test_what_a_store_refuses_is_one_line(tmp_path, corpus_of_shards, store, output, changes, problem):
    recipe = recipe_at(tmp_path, corpus_of_shards, "x", output=output)
    with on(tmp_path / "runs", store | changes), pytest.raises(CurateError) as refused:
        carry_out(recipe)
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)
    assert SECRET not in str(refused.value)


def test_what_is_there_and_is_no_run_stays_as_it_is(tmp_path, corpus_of_shards, store):
    client(store).put_object(Bucket="runs", Key="mine/letter.txt", Body=b"dear")
    recipe = recipe_at(tmp_path, corpus_of_shards, "mine")
    with on(tmp_path / "runs", store), pytest.raises(RunError, match="s3://runs/mine: is not empty and not a run"):
        carry_out(recipe)
    assert keys(store, "mine") == {"letter.txt"}


def test_any_store_that_inputs_are_read_from_will_do(tmp_path, corpus_of_shards, local):
    recipe = recipe_at(tmp_path, corpus_of_shards, "x", output="memory://bucket/run")
    for place in ("one", "two"):
        with on(tmp_path / place, {}):
            carry_out(recipe)
        assert digests(mirror_in(tmp_path / place)) == digests(local)
    parts = [json.loads(line) for line in (mirror_in(tmp_path / "two") / "run.log").read_text().splitlines()]
    assert [line["event"] for line in parts].count("measured") == 8  # by the first, whose log the second went on with
    recipe, _ = write_recipe(tmp_path, corpus_of_shards, name="next", dedup={"against": ["memory://bucket/run"]})
    with on(tmp_path / "three", {}):
        assert carry_out(recipe, "allow_empty=true")["stages"][-1]["documents_out"] < 160
    assert digests(mirror_in(tmp_path / "three")).keys() < digests(local).keys()  # what it need not read is not fetched


@pytest.mark.parametrize("deletion", [1, *repeats(2)])
def test_a_run_that_ends_at_a_deletion_leaves_nothing_that_nobody_names(
    tmp_path, corpus_of_shards, monkeypatch, deletion
):
    small, strict = {"shard_size": "60kB", "export": []}, "tier1.thresholds={too_few_words: 300}"
    recipe, run = write_recipe(tmp_path, corpus_of_shards, **{**FIELDS, **small})
    carry_out(recipe)
    carry_out(recipe, strict)
    uri = f"memory://bucket/deletion-{deletion}"
    recipe = recipe_at(tmp_path, corpus_of_shards, "x", output=uri, **small)
    with on(tmp_path / "one", {}):
        carry_out(recipe)
    calls = []

    def ends(self, keys):
        calls.append(keys)
        if len(calls) >= deletion:
            raise KeyboardInterrupt
        deletes(self, keys)

    deletes = Objects.delete
    monkeypatch.setattr(Objects, "delete", ends)
    with on(tmp_path / "two", {}), pytest.raises((Interrupted, KeyboardInterrupt)):
        carry_out(recipe, strict)
    monkeypatch.setattr(Objects, "delete", deletes)
    with on(tmp_path / "three", {}):
        carry_out(recipe, strict)
        assert digests(mirror_in(tmp_path / "three")) == digests(run)
        assert {key for key in open_store(uri).tags() if key.startswith("data/")} == {
            f"data/{path.name}" for path in (run / "data").iterdir()
        }


def test_a_node_that_does_not_see_the_mirror_is_named_with_the_way_out(tmp_path):
    with on(tmp_path / "one", {}):
        run = mirror.run_of("s3://runs/cluster")
    new = str(run / f"{ASIDE}x")
    with pytest.raises(WorkerError) as refused:
        cluster._compare("node b", cluster._versions(), {new: 6}, {new: None}, run)
    assert mirror.by_uri(str(refused.value)) == (
        "node b: does not see what this machine has of s3://runs/cluster; set CURATE_RUNS to a folder on a file system "
        "that all nodes share"
    )


class Proxy(BaseHTTPRequestHandler):
    """Hands requests on to the server, but for some that it fails before or after, or at which it kills a process."""

    protocol_version = "HTTP/1.1"
    behind = ""
    chance = None
    kill = (None, 0)
    away = 1 << 30  # from this request on there is no server
    count = failed = 0
    counting = threading.Lock()

    def hand_on(self):
        kind = type(self)
        with kind.counting:
            kind.count += 1
            if kind.count == kind.kill[0]:
                os.kill(kind.kill[1], signal.SIGKILL)
            draw = kind.chance.random() if kind.chance else 1.0
            draw = 0.0 if kind.count >= kind.away else draw
            kind.failed += draw < 0.1
        body = self.body()
        if draw < 0.04:
            self.answer(503, {}, b"<Error><Code>SlowDown</Code><Message>later</Message></Error>")
            return
        if draw < 0.07:  # the connection is reset before the request was done …
            self.close_connection = True
            return
        server = http.client.HTTPConnection(urlsplit(self.behind).netloc)
        server.request(self.command, self.path, body, dict(self.headers))
        answer = server.getresponse()
        data = answer.read()
        server.close()
        if draw < 0.1:  # … or after
            self.close_connection = True
            return
        self.answer(answer.status, dict(answer.getheaders()), data)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = hand_on

    def body(self):
        if self.headers.get("Expect") == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def handle_expect_100(self):
        return True

    def answer(self, status, headers, data):
        self.send_response_only(status)
        length = headers.pop("Content-Length", len(data)) if self.command == "HEAD" else len(data)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else data)

    def log_message(self, *_):
        pass


@contextmanager
def proxy(environment):
    handler = type(
        "One", (Proxy,), {"behind": environment["AWS_ENDPOINT_URL"], "counting": threading.Lock(), "log": []}
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield {**environment, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}, handler
        finally:
            server.shutdown()
            thread.join()

"""The same run on the nodes of a Ray cluster: the same bytes, whatever dies, and one line where it cannot be.

The nodes are raylets on this machine, each with one CPU.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.commands import program
from support.near_copies import slices_find_what_one_slice_does
from support.runs import digests
from support.small_files import UNIT, recipe_for

import curate
from curate.engine.ray_cluster import Nodes
from curate.engine.ray_models import open_on_gpus
from curate.errors import RecipeError, TaskError, TeacherError, WorkerError
from curate.progress import unwritten_log
from curate.recipe.load import load_recipe
from curate.recipe.teacher import Teacher

pytest.importorskip("ray", reason="needs ray: pip install 'curate-lm[ray]'")
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


@pytest.fixture(scope="module")
def cluster():
    """Three nodes; the head is the first."""
    from ray.cluster_utils import Cluster

    # Not in pytest's folder: paths of sockets in it may have 107 bytes.
    with TemporaryDirectory(prefix="curate-", dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TMPDIR", folder)
        found = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        for _ in range(2):
            found.add_node(**NODE)
        yield found
        found.shutdown()


@pytest.mark.slow  # a Ray cluster
def test_a_run_and_an_export_on_three_nodes_write_what_one_worker_writes(
    cluster, small_files, expected_digests, tmp_path
):
    recipe, run = recipe_for(tmp_path / "x", small_files)
    done = on_ray(cluster, "run", recipe)
    assert (done.returncode, done.stderr) == (0, "")
    assert digests(run) == expected_digests
    done = on_ray(cluster, "export", run, "--to", "jsonl", "--out", tmp_path / "ray")
    assert (done.returncode, done.stderr) == (0, "")
    assert program("export", run, "--to", "jsonl", "--out", tmp_path / "local", "--quiet").returncode == 0
    ray, local = (
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.jsonl*")} for name in ("ray", "local")
    )
    assert ray == local
    assert ray


@pytest.mark.slow  # a Ray cluster
def test_results_errors_bugs_and_deaths_come_back_as_from_local_processes(cluster, tmp_path):
    with Nodes(cluster.address, workers=2) as engine:
        found = [pair for pair in engine.map(len, ["a", "bc", "def"] * 5) if pair != (None, None)]
        assert sorted(found) == sorted([("a", 1), ("bc", 2), ("def", 3)] * 5)
        [(path, error)] = [pair for pair in engine.map(load_recipe, [tmp_path / "no.yaml"]) if pair != (None, None)]
        assert path == tmp_path / "no.yaml"
        assert isinstance(error, RecipeError)
        [(_, bug)] = [pair for pair in engine.map(int, ["x"]) if pair != (None, None)]
        assert (type(bug), bug.task, bug.kind) == (TaskError, "x", "ValueError")
        assert "ValueError: invalid literal" in bug.trace
        with pytest.raises(WorkerError, match=r"^7: its worker died, 3 times; .*run the same command to go on$"):
            list(engine.map(os._exit, [7]))


@pytest.mark.slow  # a Ray cluster
def test_slices_of_signatures_are_compared_on_the_nodes(cluster, monkeypatch, tmp_path):
    with Nodes(cluster.address, workers=3) as engine:
        slices_find_what_one_slice_does(monkeypatch, tmp_path, engine)


@linux
@pytest.mark.slow  # a Ray cluster
def test_a_worker_that_is_killed_and_a_node_that_is_lost_change_nothing(
    cluster, small_files, expected_digests, tmp_path
):
    lost = cluster.add_node(**NODE, node_ip_address="127.0.0.2")  # a driver goes through some raylet of its own address
    recipe, run = recipe_for(tmp_path / "x", small_files)
    driver = start(cluster, recipe)
    wait_for(run, driver, "measured", 1)
    os.kill(busy_worker(cluster.head_node), signal.SIGKILL)
    wait_for(run, driver, "measured", 3)
    busy_worker(lost)
    cluster.remove_node(lost, allow_graceful=False)
    printed, told = driver.communicate(timeout=120)
    assert (driver.returncode, told) == (0, "")
    assert "raylet" not in printed
    assert digests(run) == expected_digests


@pytest.mark.slow  # a Ray cluster
def test_a_run_whose_driver_is_killed_goes_on_where_it_was(cluster, small_files, expected_digests, tmp_path):
    recipe, run = recipe_for(tmp_path / "x", small_files)
    driver = start(cluster, recipe)
    wait_for(run, driver, "measured", 4)
    driver.kill()
    driver.wait()
    assert on_ray(cluster, "run", recipe).returncode == 0
    told = [json.loads(line) for line in (run / "run.log").read_text().splitlines()]
    measured = [event["task"] for event in told if event["event"] == "measured"]
    assert len(measured) == len(set(measured))
    assert digests(run) == expected_digests
    assert not list(run.rglob(".aside-*"))


@pytest.mark.slow  # a Ray cluster
def test_ctrl_c_stops_at_once_and_nothing_is_written_afterwards(cluster, small_files, tmp_path):
    recipe, run = recipe_for(tmp_path / "x", small_files)
    driver = start(cluster, recipe, start_new_session=True)
    wait_for(run, driver, "measured", 1)
    pressed = time.monotonic()
    os.killpg(driver.pid, signal.SIGINT)
    _, told = driver.communicate(timeout=30)
    assert (driver.returncode, told[-31:]) == (130, " run the same command to go on\n")
    assert time.monotonic() - pressed < 10  # 0.7 to 1.2 s where nothing else runs
    time.sleep(0.2)
    left = sorted(run.rglob("*"))
    time.sleep(1)
    assert sorted(run.rglob("*")) == left


@pytest.mark.slow  # a Ray cluster
def test_a_node_that_does_not_see_the_run_directory_is_named(cluster, small_files, tmp_path):
    recipe, run = recipe_for(tmp_path / "x", small_files)
    mount = f"mount -t tmpfs tmpfs {tmp_path}"
    if subprocess.run(["unshare", "--mount", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    with another_node(cluster, ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"]):
        done = on_ray(cluster, "run", recipe)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: node ")
    assert done.stderr.endswith(
        f"): does not see {run} as this machine does; put it on a file system that all nodes share, under the same "
        "path\n"
    )
    assert not (run / "ledger").exists()


@pytest.mark.slow  # a Ray cluster
def test_a_node_with_another_version_is_named(cluster, small_files, tmp_path):
    recipe, _ = recipe_for(tmp_path / "x", small_files)
    other = shutil.copytree(Path(curate.__file__).parent, tmp_path / "other" / "curate")
    code = (other / "__init__.py").read_text()
    (other / "__init__.py").write_text(code.replace(f'"{curate.__version__}"', '"0.0.1"'))
    with another_node(cluster, [], PYTHONPATH=str(tmp_path / "other")):
        done = on_ray(cluster, "run", recipe, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.endswith(f"): has curate 0.0.1, and this machine {curate.__version__}; install the same\n"), (
        done.stderr
    )


def test_an_address_where_no_ray_answers_is_told_at_once(small_files, tmp_path):
    recipe, run = recipe_for(tmp_path / "x", small_files)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        threading.Thread(
            target=lambda: listening.accept()[0].sendall(b"220 mail.example ESMTP\r\n"), daemon=True
        ).start()
        told = refused(recipe, "--engine", "ray", "--address", f"127.0.0.1:{port}")
    assert told == f"Error: --address 127.0.0.1:{port}: what answers is not Ray's head, whose port is 6379 by default\n"
    told = refused(recipe, "--engine", "ray", "--address", f"127.0.0.1:{port}")
    assert told == f"Error: --address 127.0.0.1:{port}: nobody answers; start Ray there with `ray start --head`\n"
    told = refused(recipe, "--engine", "ray", "--address", "ray://127.0.0.1:10001")
    assert "give auto, or host:port of the cluster's head" in told
    told = refused(recipe, "--address", "auto")
    assert told == "Error: --address: names a Ray cluster; add --engine ray, or leave it out\n"
    assert not run.exists()


def test_without_ray_it_is_told_what_to_install(small_files, tmp_path):
    recipe, _ = recipe_for(tmp_path / "x", small_files)
    without = "import sys; sys.modules['ray'] = None; from curate.cli import main; main()"
    arguments = [sys.executable, "-c", without, "run", str(recipe), "--engine", "ray"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.stderr == "Error: --engine ray: ray is not installed; pip install 'curate-lm[ray]'\n"


def refused(recipe, *options):
    began = time.monotonic()
    done = program("run", recipe, *options)
    assert done.returncode == 1
    assert time.monotonic() - began < 20
    return done.stderr


def on_ray(cluster, *arguments, cwd=None):
    return program(*arguments, "--engine", "ray", "--address", cluster.address, "--quiet", cwd=cwd, **UNIT)


def start(cluster, recipe, **options):
    arguments = ["run", str(recipe), "--engine", "ray", "--address", cluster.address, "--quiet"]
    return subprocess.Popen(
        [sys.executable, "-m", "curate", *arguments],
        env={**os.environ, **UNIT}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def wait_for(run, driver, event, times):
    log = run / "run.log"
    until(lambda: log.exists() and log.read_text().count(f'"event": "{event}"') >= times, driver)


def until(happened, driver=None):
    deadline = time.monotonic() + 120
    while not (found := happened()):
        assert time.monotonic() < deadline
        assert driver is None or driver.poll() is None, driver.stderr.read()
        time.sleep(0.005)
    return found


def busy_worker(node):
    """The process of a node that runs a task, as soon as there is one; Ray titles it by the function."""
    raylet = node.all_processes["raylet"][0].process.pid
    children = Path(f"/proc/{raylet}/task/{raylet}/children")

    def found():
        for child in children.read_text().split():
            try:
                if "_run_task" in Path(f"/proc/{child}/cmdline").read_text():
                    return int(child)
            except OSError:
                continue
        return None

    return until(found)


@contextmanager
def another_node(cluster, before, **environment):
    """One more node, started as a command by `before`."""
    arguments = ["start", "--address", cluster.address, "--num-cpus", "1", "--object-store-memory", str(80 << 20)]
    ray = [*before, sys.executable, "-m", "ray.scripts.scripts", *arguments, "--block", "--disable-usage-stats"]
    count = alive(cluster)
    process = subprocess.Popen(
        ray, env={**os.environ, **environment}, start_new_session=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: alive(cluster) > count)
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)
        until(lambda: alive(cluster) == count)


def alive(cluster):
    return sum(node["Alive"] for node in cluster.global_state.node_table())


def test_a_gpu_by_its_number_is_refused_where_each_model_gets_one(tmp_path):
    section = Teacher(transformers={"model": "m", "device": "cuda:1"})
    with (
        pytest.raises(TeacherError, match=r"cuda:1 is a GPU of one machine, .*; set cuda$"),
        open_on_gpus(section, 1, tmp_path, unwritten_log(True)),
    ):
        pass

"""Progress of long work: a line that a terminal rewrites, a line now and then elsewhere, nothing where quiet."""

import json
import os
import pty
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.commands import carry_out, command, program
from support.corpora import PROSE, write_shard
from support.paths import ROOT
from support.recipes import write_recipe

import curate.progress
from curate.process.task_progress import read_progress, report_progress
from curate.progress import Countdown, Meter, Replies, Steps, open_log, unwritten_log

README = ROOT / "README.md"


@pytest.fixture
def often(monkeypatch):
    """Progress at every tick, a tick every hundredth of a second."""
    monkeypatch.setattr(curate.progress, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(curate.progress, "LINE_SECONDS", 0.0)


def wait_for(told, text):
    """Wait until a text was printed."""
    for _ in range(1000):
        if text in told():
            return
        time.sleep(0.01)
    raise AssertionError(f"{text!r} not in {told()!r}")


def test_steps_are_told_while_they_last(often, capsys):
    seen = []

    def told():
        seen.append(capsys.readouterr().err)
        return "".join(seen)

    with Steps(unwritten_log(quiet=False), "deciding") as steps:
        steps("rules")
        wait_for(told, "deciding  rules  0:00\n")
        steps("near duplicates")
        wait_for(told, "deciding  near duplicates  0:00\n")


def test_quiet_steps_tell_nothing_but_stand_in_the_log(often, capsys, tmp_path):
    with open_log(tmp_path, quiet=True) as log, Steps(log, "deciding") as steps:
        steps("rules")
        time.sleep(0.05)
    assert capsys.readouterr().err == ""
    [line] = [json.loads(line) for line in (tmp_path / "run.log").read_text().splitlines()]
    assert (line["event"], line["step"]) == ("deciding", "rules")
    assert line["took"] >= 0.05


def test_a_meter_tells_the_share_and_the_time_to_go(capsys):
    meter = Meter(unwritten_log(quiet=False), "verifying", total_bytes=200)
    meter.add(0, 50)
    meter.show(last=True)
    assert capsys.readouterr().err == "verifying   25%  0:00 left\n"


def test_answers_are_told_with_their_number_speed_and_the_time_to_go(often, capsys):
    progress = Replies(unwritten_log(quiet=False), "asking the teacher", total=4, _started=time.monotonic() - 10)
    progress.add(25)
    assert capsys.readouterr().err == "asking the teacher   25%  1 of 4  0.1/s  2 tokens/s  0:30 left\n"


def test_steps_that_an_earlier_process_made_tell_nothing_of_the_speed(often, capsys):
    progress = Replies(unwritten_log(quiet=False), "adapter", 10, done=6, _started=time.monotonic() - 40)
    progress.note = "loss 2.50"
    progress.add(800)
    assert capsys.readouterr().err == "adapter   70%  7 of 10  40 s each  20 tokens/s  2:00 left  loss 2.50\n"


def test_a_run_logs_every_step_as_json_lines(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [f"{PROSE} {k}" for k in range(200)])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"near": {}, "lines": {"max_repeats": 2}})
    carry_out(recipe, "allow_empty=true")
    events = [json.loads(line) for line in (run / "run.log").read_text().splitlines()]
    steps = [event["step"] for event in events if event["event"] in ("deciding", "indexing")]
    wanted = [
        "rules",
        "exact duplicates",
        "near duplicates",
        "bands",
        "repeated lines",
        "verdicts",
        "counts",
        "who is dropped",
        "run.duckdb",
    ]
    assert list(dict.fromkeys(steps)) == wanted
    assert {"planned", "measuring", "measured", "decided", "finished"} <= {event["event"] for event in events}
    assert all({"at", "seconds", "event"} <= event.keys() for event in events)


def test_a_terminal_sees_progress_and_quiet_does_not(demo):
    for words, expected in ((["verify"], b"verifying"), (["verify", "--quiet"], b""), (["report", "--quiet"], b"")):
        leader, follower = pty.openpty()
        done = subprocess.run(
            [sys.executable, "-m", "curate", *words, str(demo)],
            stderr=follower,
            stdout=subprocess.PIPE,
            check=True,
        )
        os.close(follower)
        told = b""
        try:
            while chunk := os.read(leader, 1000):
                told += chunk
        except OSError:  # the other end is closed
            pass
        os.close(leader)
        assert done.stdout
        assert (expected in told) if expected else told == b""


@pytest.mark.parametrize(
    "arguments",
    [
        ("signals",),
        ("signals", "words"),
        ("rules",),
        ("rules", "gopher"),
        ("verify", "RUN"),
        ("gc", "RUN", "--dry-run"),
    ],
    ids=" ".join,
)
def test_what_a_script_may_read_is_json(arguments, demo):
    done = command(*[str(demo) if word == "RUN" else word for word in arguments], "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def test_problems_are_json_too(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [f"{PROSE} {k}" for k in range(20)])
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    [shard] = (run / "data").glob("*.parquet")
    shard.write_bytes(shard.read_bytes()[:-1] + b"X")
    done = command("verify", run, "--json")
    assert done.returncode == 1
    assert "its bytes changed" in json.loads(done.stdout)["problems"][0]


def test_progress_counts_what_tasks_under_way_have_read(tmp_path, capsys):
    meter = Meter(unwritten_log(quiet=False), "measuring", 400, tmp_path, {f"unit-{k}": 100 for k in range(4)})
    meter._started -= 10
    with (
        report_progress(tmp_path, "unit-0"),
        report_progress(tmp_path, "unit-1") as tell,
        report_progress(tmp_path, "of-another-map"),
    ):
        assert meter.line() == "measuring    0%  2 of 4 units begun"
        tell(0.4)
        assert meter.line().startswith("measuring   10%  2 of 4 units begun  0.0 MB/s  1:30 left")
    meter.add(5, 100)
    assert meter.line().startswith("measuring   25%  1 of 4 units begun  5 documents")
    assert not list(tmp_path.iterdir())


def test_a_terminal_is_rewritten_five_times_a_second_at_most_and_at_the_end(monkeypatch):
    now, shown = [100.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(curate.progress, "rewrite", lambda line, last=False: shown.append(line.split()[1]))
    meter = Meter(unwritten_log(quiet=False), "converting", 1000, _started=99.0)
    for _ in range(1000):
        now[0] += 0.001
        meter.add(1, 1)
        meter.show()
    meter.show(last=True)
    assert (shown[0], shown[-1], len(shown)) == ("0%", "100%", 6)


def test_how_far_tasks_have_come_is_found_without_a_look_at_their_results(tmp_path, monkeypatch):
    for k in range(50):
        (tmp_path / f"{k}.parquet").touch()
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(Path(path)) or scandir(path))
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(Path(path)) or [e.name for e in scandir(path)])
    with report_progress(tmp_path, "unit-0"):
        assert read_progress(tmp_path) == {"unit-0": 0.0}
    assert tmp_path not in listed


def test_a_task_whose_worker_died_is_counted_from_its_new_beginning(tmp_path):
    with report_progress(tmp_path, "unit-0") as tell:
        tell(0.5)
        with report_progress(tmp_path, "unit-0"):
            assert read_progress(tmp_path) == {"unit-0": 0.0}
        assert read_progress(tmp_path) == {}


def test_the_share_and_the_time_to_go_never_go_back(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    meter = Meter(unwritten_log(quiet=False), "measuring", 100, tmp_path, {"a": 50, "b": 50}, _started=0.0)
    seen = []
    with report_progress(tmp_path, "a") as tell:
        for seconds, share in ((1, 0.02), (2, 0.2), (4, 0.4), (30, 0.41), (60, 0.42), (70, 0.9)):
            now[0] = float(seconds)
            tell(share)
            seen.append(re.search(r"(\d+)%.*?(?:(\d+):(\d\d) left)?$", meter.line()).groups())
    shares = [int(share) for share, _, _ in seen]
    left = [int(minutes) * 60 + int(rest) for _, minutes, rest in seen if rest]
    assert shares == sorted(shares) == [1, 10, 20, 20, 21, 45]
    assert left == sorted(left, reverse=True) == [18, 16, 16, 16, 16]
    meter.add(1, 50)
    now[0] = 80.0
    assert meter.line().endswith("0:16 left")
    meter.add(1, 50)
    assert meter.line().endswith("0:00 left")


def test_workers_tell_how_far_their_tasks_have_come(tmp_path, monkeypatch):
    """Of a unit of many batches, a file that is converted and a shard that is written."""
    seen = {}

    def record(folder, task):
        inner = report_progress(folder, task)

        @contextmanager
        def recorded():
            with inner as tell:
                shares = seen.setdefault(Path(folder).name, [])
                yield lambda share: (shares.append(share), tell(share))

        return recorded()

    for module in ("maps.measure", "maps.reread", "maps.shards", "corpus.spool"):
        monkeypatch.setattr(f"curate.{module}.report_progress", record)
    monkeypatch.setattr("curate.corpus.jsonl.BLOCK_BYTES", 20_000)
    lines = "".join(json.dumps({"text": f"{PROSE} {k}"}) + "\n" for k in range(400))
    (tmp_path / "in.jsonl").write_text(lines)
    recipe, run = write_recipe(tmp_path, tmp_path / "in.jsonl", dedup={"near": {"verify": "exact"}})
    carry_out(recipe)
    assert len(seen["inputs"]) >= 2
    assert seen["inputs"] == sorted(seen["inputs"])
    assert seen["inputs"][-1] == 1.0
    assert seen["run"][-1] == 1.0
    assert not list(run.rglob(".aside-*"))


COMPILING = """
import sys
import numba
from curate import progress
from curate.maps import compile_notice
from curate.progress import Steps, unwritten_log

compile_notice.report_kernels(quiet=sys.argv[1] == "quiet")
progress.LINE_SECONDS = 0.0

def kernel():
    @numba.njit
    def part(x):
        return x + 1

    @numba.njit
    def whole(x):
        return part(x) * 2

    return whole(20)

with compile_notice.compiling_groups(2):
    for _ in range(2):
        kernel()
        compile_notice.group_compiled()
kernel()
with Steps(unwritten_log(quiet=False), "deciding"):
    kernel()
"""


def test_kernels_are_told_of_as_they_are_compiled(tmp_path):
    def told(how):
        words = [sys.executable, "-c", COMPILING, how]
        return subprocess.run(words, capture_output=True, text=True, check=True).stderr.splitlines()

    say = "compiling kernels, once on this machine"
    assert told("loud") == [f"{say} (1 of 2)", f"{say} (2 of 2)", f"{say} (3)"]  # parts are no kernels of their own
    assert told("quiet") == []


def test_a_newcomer_sees_that_kernels_are_compiled_and_the_closing_line_counts_from_the_start(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [f"{PROSE} {k}" for k in range(20)])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"exact": False})  # with few kernels
    began = time.monotonic()
    done = program("run", recipe, "--workers", 1, cwd=tmp_path, timeout=600, CURATE_CACHE=str(tmp_path / "cache"))
    took = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    assert re.match(r"compiling kernels, once on this machine \(1 of \d+\)$", done.stderr.splitlines()[0])
    seconds = float(re.search(r"run\.duckdb, ([\d.]+) s", done.stdout)[1])
    steps = json.loads((run / "run.log").read_text().splitlines()[-1])["seconds"]
    assert steps < seconds <= took + 0.1
    assert took - seconds < 1 + took / 4  # what is left is the interpreter's end
    told = program("sample", run, "-n", "1", CURATE_CACHE=str(tmp_path / "other"), timeout=600)
    compiled = list((tmp_path / "other").rglob("*.nbi"))
    assert ("compiling kernels, once on this machine" in told.stderr) == bool(compiled)


@pytest.mark.slow  # compiles all kernels
def test_a_newcomer_sees_what_the_readme_shows(tmp_path):
    """Of each line the words; the numbers are those of a machine."""

    def words(line):
        return re.sub(r"[\d.,:]+", "N", line)

    [shown] = re.findall(r"^```log\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    done = program("demo", cwd=tmp_path, timeout=900, CURATE_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    told = [words(line) for line in done.stderr.splitlines()]
    assert [line for line in shown.splitlines() if words(line) not in told] == []


def test_steps_of_like_length_tell_how_many_are_done_and_the_time_to_go():
    told = []
    count = Countdown(told.append, 6, "models")
    count("full 1/1", True)  # by an earlier process: it tells nothing of the speed
    count("random 1/3", False)
    count._started -= 30
    count("random 2/3", False)
    count._started -= 30
    count("random 3/3", False)
    assert told == [
        "random 1/3, 1 of 6 models done in 0:00",
        "random 2/3, 2 of 6 models done in 0:30, 2:00 left",
        "random 3/3, 3 of 6 models done in 1:00, 1:30 left",
    ]

"""Progress of long work: a line that a terminal rewrites, a line now and then elsewhere, nothing where quiet."""

import json
import os
import pty
import subprocess
import sys
import time

import pytest
from conftest import PROSE, carry_out, command, write_recipe, write_shard

import curate.progress
from curate.progress import Meter, Replies, Steps, open_log, unwritten_log


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

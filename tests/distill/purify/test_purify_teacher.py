"""Attacks that a teacher writes in a run, and what becomes of the run when its server fails."""

import json
import shutil

import pytest
from support.commands import carry_out
from support.recipes import TIER2, purifying
from support.runs import digests
from support.stand_in import SPAM, StandIn, rewriting, running

import curate.distill.teacher.vllm.client
from curate.errors import TeacherError
from curate.ledger.run import connect

SECTION = TIER2 | {"rounds": 1, "written": 3}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(curate.distill.teacher.vllm.client, "FIRST_WAIT", 0.01)


def written_by(run):
    query = 'SELECT "by", count(*), bool_and(bad), any_value(text) FROM attacks WHERE "by" <> \'rules\' GROUP BY 1'
    with connect(run) as connection:
        return connection.execute(query).fetchall()


def test_what_a_teacher_wrote_is_trained_on_and_told_of(corpus, tmp_path):
    server = StandIn(rewriting)
    with running(server) as url:
        path, run = purifying(corpus, tmp_path, teacher={"vllm": {"urls": [url]}}, tier2=SECTION)
        carry_out(path)
    [(by, count, _, text)] = written_by(run)
    assert by == "tiny"
    assert text.endswith(SPAM)
    facts = json.loads((run / "manifest.json").read_text())["purify"]
    assert facts["written"]["asked"] == count + facts["written"]["dropped"]
    assert len(server.bodies) == facts["written"]["asked"] + 2 * facts["written"]["dropped"]
    assert facts["teacher"]["model"] == "tiny"
    assert facts["prompts"]["attack_seo_fluff"]


def test_a_server_that_dies_ends_the_run_with_one_line_and_nothing_is_asked_twice(corpus, tmp_path):
    dying = StandIn(lambda n, body: rewriting(n, body) if n <= 6 else (500, {}, {"message": "out of memory"}))
    with running(dying) as url:
        teacher = {"vllm": {"urls": [url], "concurrency": 1, "retries": 1}}
        path, run = purifying(corpus, tmp_path, teacher=teacher, tier2=SECTION)
        with pytest.raises(TeacherError) as told:
            carry_out(path)
        port = int(url.rsplit(":", 1)[1])
    assert url in str(told.value)
    assert "\n" not in str(told.value)
    assert not (run / "manifest.json").exists()
    well = StandIn(rewriting)
    with running(well, port):
        carry_out(path)
    asked = [(str(body["messages"]), body["seed"]) for _, body in [*dying.bodies[:6], *well.bodies]]
    assert len(set(asked)) == len(asked) > 20
    assert (run / "manifest.json").exists()


def test_the_same_answers_give_the_same_bytes_and_are_not_asked_for_again(corpus, tmp_path):
    server = StandIn(rewriting)
    with running(server) as url:
        path, run = purifying(corpus, tmp_path / "a", teacher={"vllm": {"urls": [url]}}, tier2=SECTION)
        carry_out(path)
        asked = len(server.bodies)
        other, there = purifying(corpus, tmp_path / "b", teacher={"vllm": {"urls": [url]}}, tier2=SECTION)
        (there / "ledger").mkdir(parents=True)
        (there / "lock").touch()
        shutil.copytree(run / "teacher", there / "teacher")
        carry_out(other)
    assert asked == len(server.bodies) > 0
    assert digests(run) == digests(there)

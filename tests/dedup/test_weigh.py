"""Near duplicates that stay: each cluster weighs about as much as one document, whatever else drops its members."""

import random
import re

import numpy as np
import pytest
from support.commands import carry_out, command
from support.corpora import write_shard
from support.exports import kept
from support.recipes import write_recipe
from support.runs import digests, table

from curate.errors import RecipeError
from curate.inspect.what_if import propose, redecide
from curate.report.page import write_report

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "lmnrs"]
WEIGHED = {"near": {"threshold": 0.7, "as": "weight"}}


def version(text, seed):
    """The text with one word of 60 changed."""
    draw, words = random.Random(seed), text.split()
    words[draw.randrange(len(words))] = f"v{seed}"
    return " ".join(words)


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """Seven versions of one text, two of another, one of each of 60 more, and an exact copy of one of the seven."""
    folder, draw = tmp_path_factory.mktemp("versions"), random.Random(1)
    texts = [" ".join(draw.choices(WORDS, k=200)) for _ in range(62)]
    rows = [version(texts[0], k) for k in range(7)] + [version(texts[1], k) for k in range(2)] + texts[2:]
    write_shard(folder / "in.parquet", [*rows, rows[3]], grade=[k % 10 / 10 for k in range(len(rows) + 1)])
    return folder


def made(versions, folder, **fields):
    folder.mkdir(exist_ok=True)
    path, run = write_recipe(folder, versions / "in.parquet", **{"tier1": {"rules": []}, "dedup": WEIGHED, **fields})
    carry_out(path)
    return run


@pytest.fixture(scope="module")
def weighed(versions, tmp_path_factory):
    return made(versions, tmp_path_factory.mktemp("weighed"))


def test_all_versions_stay_and_a_cluster_weighs_about_one_document(weighed):
    weights = [row["weight"] for row in sorted(kept(weighed), key=lambda row: row["doc_id"])]
    assert table(weighed, "SELECT stage, count(*) FROM dropped GROUP BY 1") == [("exact", 1)]
    assert len(weights) == 69
    assert weights.count(1) == 60
    by_weight = sorted(weight for weight in weights if weight < 1)
    seven, two = by_weight[:7], by_weight[7:]
    assert 1 < sum(seven) < 1.25
    assert 1 < sum(two) < 1.1
    pairs = dict(table(weighed, "SELECT duplicate_of, sum(similarity) FROM duplicate_pairs GROUP BY 1"))
    assert len(set(np.round(seven, 6))) == len(set(np.round(two, 6))) == 1
    assert max(pairs.values()) > 1 / two[0] - 1


def test_members_that_another_stage_drops_leave_their_weight_to_the_others(versions, tmp_path):
    rules = [{"reason": "third", "when": "input.grade = 0.2"}, {"reason": "eighth", "when": "input.grade = 0.8"}]
    run = made(versions, tmp_path, tier1={"rules": rules})
    weights = [row["weight"] for row in kept(run)]
    shared = sorted(weight for weight in weights if weight < 1)
    assert len(shared) == 6  # six of the seven, and of the two the only one left has all the weight
    assert 1 < sum(shared) < 1.25


def test_a_curve_is_multiplied_by_the_weights_of_a_cluster_and_meets_its_budget(versions, tmp_path):
    distill = {
        "keep_tokens": "50%", "scores": {"input.grade": 1}, "quotas": None, "novelty": 0,
        "curve": {"max_repeats": 3}, "allow_small": True,
    }  # fmt: skip
    run = made(versions, tmp_path, distill=distill)
    [(budget, read)] = table(run, "SELECT budget, read_tokens FROM rungs")
    [(by_weight,)] = table(run, "SELECT sum(weight * n_tokens) FROM kept")
    assert by_weight == pytest.approx(read, rel=1e-3)
    assert read == pytest.approx(budget, rel=0.02)
    by_grade = dict(table(run, "SELECT input.grade, max(weight) FROM corpus WHERE kept GROUP BY 1 ORDER BY 1"))
    assert sorted(by_grade.values()) == list(by_grade.values())
    assert max(by_grade.values()) <= 3
    del distill["curve"]
    flat = made(versions, tmp_path / "flat", distill=distill)
    assert min(row["weight"] for row in kept(flat)) < 0.3
    [(read, expected)] = table(flat, "SELECT (SELECT read_tokens FROM rungs), sum(weight * n_tokens) FROM kept")
    assert expected == pytest.approx(read, rel=1e-3)


def test_the_number_of_workers_changes_no_byte_and_what_if_knows_the_weights(versions, weighed, tmp_path):
    path, run = write_recipe(tmp_path, versions / "in.parquet", tier1={"rules": []}, dedup=WEIGHED)
    assert command("run", path, "--workers", "2", "--quiet").returncode == 0
    assert digests(run) == digests(weighed)
    with redecide(propose(weighed, ["dedup.near.as=drop"], quiet=True), 2) as database:
        told = database.execute("SELECT stage, count(*) FROM after WHERE NOT kept GROUP BY 1 ORDER BY 1").fetchall()
    assert told == [("exact", 1), ("near", 7)]


def test_a_budget_with_novelty_would_drop_what_is_weighed(versions, tmp_path):
    with pytest.raises(RecipeError, match=r"distill\.novelty: passes over the near duplicates"):
        made(versions, tmp_path, distill={})


def test_an_export_with_a_validation_split_says_that_near_duplicates_stand_on_both_sides(weighed, tmp_path):
    done = command("export", weighed, "--to", "jsonl", "--out", tmp_path / "out", "--validation", "20%")
    assert "some on both sides of --validation" in " ".join(done.stderr.split())
    without = command("export", weighed, "--to", "jsonl", "--out", tmp_path / "all")
    assert "--validation" not in without.stderr


def test_the_report_shows_how_much_is_read_by_weight(weighed):
    page = write_report(weighed).read_text("utf-8")
    section = page[page.index('<h2 id="weights">') :].split("</section>")[0]
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in section.split("<tr>")[2:]]
    assert [row[:3] for row in rows] == [["0", "to", "0.25"], ["0.5", "to", "1"], ["1", "to", "2"]]
    assert [row[3] for row in rows] == ["7", "2", "60"]

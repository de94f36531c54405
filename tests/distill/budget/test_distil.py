"""The token budget in a run: met, nested, by quotas, the same whatever happens on the way."""

import json
import random
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import carry_out, command
from support.corpora import PROSE, write_shard
from support.recipes import distilling, write_recipe
from support.runs import digests, documents, table
from support.soak import repeats

from curate.distill.budget.candidates import budgets_of
from curate.distill.budget.models import domains_of
from curate.distill.budget.quality import values_of
from curate.distill.budget.scores import quality_scores_of, scores_of
from curate.distill.budget.stage import sampled_documents
from curate.distill.reference import sampling_mask
from curate.errors import CurateError, InputError, RecipeError, RunError
from curate.inspect.what_if import propose, redecide
from curate.recipe.distill import Distill
from curate.recipe.load import load_recipe, parse_recipe


def kept_shares(run):
    """The share of the tokens of good documents that is kept of those the budget saw, and of others."""
    query = """SELECT split_part(input.label, ':', 1) = 'good', sum(if(kept, n_tokens, 0)) / sum(n_tokens)
        FROM corpus WHERE stage IS NULL OR stage = 'distil' GROUP BY 1"""
    return dict(table(run, query))


def test_every_rung_meets_its_budget_and_holds_the_one_below(distilled):
    _, run = distilled
    [(tokens,)] = table(run, "SELECT sum(n_tokens) FROM documents")
    rungs = table(run, "SELECT rung, share, budget, documents, tokens FROM rungs ORDER BY rung")
    assert [budget for _, _, budget, _, _ in rungs] == [int(tokens * share) for share in (0.05, 0.1, 0.15)]
    for rung, _, budget, count, taken in rungs:
        assert table(run, f"SELECT count(*), sum(n_tokens) FROM kept WHERE rung <= {rung}") == [(count, taken)]
        assert taken <= budget
        [(shortest,)] = table(run, f"SELECT min(n_tokens) FROM documents WHERE stage = 'distil' OR rung > {rung}")
        assert budget - taken <= 0.001 * budget or shortest > budget - taken


def test_a_renamed_file_of_reference_gives_its_domain_the_new_name(corpus, tmp_path):
    (tmp_path / "law.parquet").write_bytes((corpus / "reference.parquet").read_bytes())
    path, run = distilling(corpus, tmp_path, reference=[str(tmp_path / "*.parquet")])
    carry_out(path)
    assert table(run, "SELECT DISTINCT domain FROM documents WHERE domain IS NOT NULL") == [("law",)]
    (tmp_path / "law.parquet").rename(tmp_path / "prose.parquet")
    carry_out(path)
    assert table(run, "SELECT DISTINCT domain FROM documents WHERE domain IS NOT NULL") == [("prose",)]
    reference = json.loads((run / "manifest.json").read_text("utf-8"))["distil"]["reference"]
    assert [file["path"] for file in reference] == ["prose.parquet"]


def test_the_output_tells_rung_quality_and_weight(distilled):
    _, run = distilled
    written = pa.concat_tables([pq.read_table(path) for path in sorted((run / "data").glob("*.parquet"))])
    known = {row[0]: row[1:] for row in documents(run, "doc_id, quality, rung, weight", "kept")}
    for row in written.select(["doc_id", "quality", "rung", "weight"]).to_pylist():
        assert known[row["doc_id"]] == (row["quality"], row["rung"], row["weight"])
        assert row["rung"] in (1, 2, 3)
        assert 0 <= row["quality"] <= 1 <= row["weight"] <= 4
    assert len(written) == len(known)


def test_good_documents_are_kept_before_others(distilled):
    _, run = distilled
    shares = kept_shares(run)
    assert shares[True] > 1.5 * shares[False]


def test_what_is_dropped_has_a_reason_and_a_quality(distilled):
    _, run = distilled
    dropped = documents(run, "reason, reasons, quality, rung, weight", "stage = 'distil'")
    assert {reason for reason, *_ in dropped} <= {"over_budget", "redundant"}
    for reason, reasons, quality, rung, weight in dropped:
        assert reasons == [reason]
        assert quality is not None
        assert (rung, weight) == (None, None)


def test_the_same_recipe_makes_the_same_bytes(distilled, corpus, tmp_path):
    _, run = distilled
    path, other = distilling(corpus, tmp_path)
    carry_out(path)
    assert digests(run) == digests(other)


@pytest.mark.slow  # test_same_bytes.py has a budget too
def test_the_number_of_workers_changes_no_byte(distilled, corpus, tmp_path):
    _, run = distilled
    path, other = distilling(corpus, tmp_path)
    assert command("run", path, "--workers", "2", "--quiet").returncode == 0
    assert digests(run) == digests(other)


@pytest.mark.parametrize(
    "distill",
    [
        {"keep_tokens": "40%", "quotas": {"by": ["domain", "length_bucket"], "floor": "10%"}, "cluster_cap": "10%"},
        {"keep_tokens": "20%", "scores": {"input.grade": 1}},  # few keys, and a layer for some of those who share one
        *repeats(
            {"keep_tokens": "15%", "ladder": ["5%", "10%"]},
            {
                "keep_tokens": "30%",
                "novelty": "100%",
                "temperature": 0.1,
                "weights": {"quality": 0.7, "diversity": 0.3},
            },
        ),
    ],
)  # fmt: skip
def test_small_layers_keep_what_one_layer_does(corpus, tmp_path, monkeypatch, distill):
    graded = tmp_path / "graded"
    graded.mkdir()
    held = pq.read_table(corpus / "corpus.parquet").slice(0, 500)
    pq.write_table(held.append_column("grade", pa.array([k % 3 for k in range(len(held))])), graded / "corpus.parquet")
    shutil.copy(corpus / "reference.parquet", graded)
    found = []
    for layer, files in ((1 << 28, 128), (4096, 3)):
        monkeypatch.setattr("curate.distill.budget.layers.LAYER", layer)
        monkeypatch.setattr("curate.distill.budget.layers.MAX_FILES", files)
        (tmp_path / str(layer)).mkdir()
        path, run = distilling(graded, tmp_path / str(layer), distill)
        carry_out(path)
        found.append(table(run, "FROM rungs ORDER BY ALL") + table(run, "FROM quotas ORDER BY ALL"))
        found[-1] += table(run, "SELECT row, kept, reason, rung, quality, weight FROM documents ORDER BY row")
    assert found[0] == found[1]


def test_no_cluster_has_more_than_its_cap(corpus, tmp_path):
    path, run = distilling(corpus, tmp_path, {"keep_tokens": "20%", "cluster_cap": "30%", "novelty": 0})
    carry_out(path)
    [(budget,)] = table(run, "SELECT budget FROM rungs")
    largest = table(run, "SELECT sum(n_tokens) FROM kept WHERE cluster IS NOT NULL GROUP BY cluster")
    assert len(largest) > 3
    assert max(tokens for (tokens,) in largest) <= 0.3 * budget


def test_another_budget_scores_nothing_again(distilled, corpus, tmp_path):
    path, run = distilling(corpus, tmp_path)
    carry_out(path)
    before = {file.name: file.stat().st_mtime_ns for file in (run / "models").iterdir()}
    carry_out(path, "distill.keep_tokens=10%", "distill.ladder=[]")
    assert {file.name: file.stat().st_mtime_ns for file in (run / "models").iterdir()} == before
    events = [json.loads(line)["event"] for line in (run / "run.log").read_text().splitlines()]
    assert events.count("scoring") == 1
    assert table(run, "SELECT max(rung), max(share) < 0.1001 FROM rungs") == [(1, True)]


def test_what_if_gives_the_verdicts_that_a_run_gives(distilled, corpus, tmp_path):
    _, run = distilled
    changes = ["distill.keep_tokens=8%", "distill.ladder=[]", "distill.weights.diversity=0", "distill.novelty=0.2"]
    with redecide(propose(run, changes, quiet=True), 2) as database:
        told = database.execute("SELECT doc_id, kept, stage, reason FROM after ORDER BY doc_id").fetchall()
    path, other = distilling(corpus, tmp_path)
    carry_out(path, *changes)
    assert told == sorted(documents(other, "doc_id, kept, stage, reason"))


def test_domains_are_named_by_files_or_folders():
    assert domains_of(["law/part-00000.parquet", "news-00001-of-00004.parquet", "code.jsonl.gz", "a/0001.parquet"]) == [
        "law", "news", "code", "a",
    ]  # fmt: skip


def test_without_a_reference_the_packaged_prose_serves(corpus, tmp_path):
    path, run = distilling(corpus, tmp_path, reference=[])
    carry_out(path)
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["distil"]["reference"] == "default"
    shares = kept_shares(run)
    assert shares[True] > shares[False]


def test_grades_and_columns_of_the_input_are_scores(corpus, tmp_path):
    held = pq.read_table(corpus / "corpus.parquet")
    scores = [float(len(text or "") % 7) for text in held["text"].to_pylist()]
    graded = [1.0 if label.startswith("good") else 0.0 for label in held["label"].to_pylist()]
    folder = tmp_path / "in"
    folder.mkdir()
    pq.write_table(held.append_column("mine", pa.array(scores)), folder / "corpus.parquet")
    pq.write_table(pa.table({"text": held["text"], "score": graded}), tmp_path / "grades.parquet")
    for distill, column in (
        ({"keep_tokens": "10%", "scores": {"input.mine": 1}, "weights": {"diversity": 0, "quality": 1}}, "input.mine"),
        ({"keep_tokens": "10%", "scores": {"grades": 2}, "grades": str(tmp_path / "grades.parquet")}, "grade"),
    ):
        path, run = distilling(folder, tmp_path, {**distill, "quotas": None}, reference=[])
        carry_out(path)
        [(kept, dropped)] = table(run, f"""SELECT avg({column}) FILTER (kept), avg({column}) FILTER (NOT kept)
            FROM corpus WHERE stage IS NULL OR stage = 'distil'""")  # fmt: skip
        assert kept > dropped


@pytest.mark.parametrize(
    "numbers",
    [[2**60 + 1, -(2**60), 5, None], [True, False, True, None], [float("inf"), float("-inf"), float("nan"), 1.0]],
)
def test_any_number_may_be_a_score(corpus, tmp_path, numbers):
    held = pq.read_table(corpus / "corpus.parquet").slice(0, 200)
    folder = tmp_path / "in"
    folder.mkdir()
    scores = pa.array([numbers[k % 4] for k in range(len(held))])
    pq.write_table(held.append_column("mine", scores), folder / "corpus.parquet")
    distill = {"keep_tokens": "10%", "scores": {"input.mine": 1}, "quotas": None}
    path, run = distilling(folder, tmp_path, distill, reference=[])
    carry_out(path)
    query = "SELECT input.mine::DOUBLE, min(quality), max(quality) FROM corpus WHERE quality IS NOT NULL GROUP BY 1"
    found = {repr(value): (low, high) for value, low, high in table(run, query)}
    ends = [repr(float(value)) for value in (max(numbers[:2]), min(numbers[:2]))]
    assert found[ends[0]][0] > 0.5 > found[ends[1]][1]


def test_a_score_that_no_document_has_leaves_the_others(tmp_path):
    words = ["der", "Fuchs", "lief", "schnell", "und", "die", "Hunde", "sahen", "ihn", "nicht", "bis", "Regen", "kam"]
    texts = [" ".join(words[(k * 5 + i * (k % 7 + 1)) % len(words)] for i in range(80)) for k in range(150)]
    path, run = write_recipe(tmp_path, write_shard(tmp_path / "de.parquet", texts), distill={"keep_tokens": "30%"},
                             tier1={"perplexity": {"band": [0, 100]}}, dedup={})  # fmt: skip
    carry_out(path)  # German has no packaged model, so no perplexity is known
    [(known, qualities)] = table(run, "SELECT count(perplexity), count(DISTINCT quality) FROM documents")
    assert known == 0
    assert qualities > 10


def test_a_budget_beyond_what_is_left_keeps_all_of_it(corpus, tmp_path):
    path, run = distilling(corpus, tmp_path, {"keep_tokens": "100%", "novelty": 0.9}, tier1={"rules": ["gopher"]})
    done = command("run", path)
    assert done.returncode == 0
    assert documents(run, "doc_id", "stage = 'distil'") == []
    assert "are left: all of them are kept" in done.stderr


def test_a_budget_that_leaves_out_most_of_what_is_like_the_reference_says_so(corpus, tmp_path):
    path, run = distilling(corpus, tmp_path, {"keep_tokens": "1%"})
    small = command("run", path)
    [(alike,)] = table(run, "SELECT sum(n_tokens) FROM documents WHERE likeness >= 0")
    [(budget,)] = table(run, "SELECT budget FROM rungs")
    assert alike > 2 * budget
    told = f"resemble the reference more than the corpus have {alike:,} tokens, {alike / budget:.1f} times the budget"
    assert told in " ".join(small.stderr.split())
    large = command("run", path, "--set", "distill.keep_tokens=60%")
    assert "times the budget" not in large.stderr


def test_duplicates_that_only_the_budget_sees_are_redundant(tmp_path):
    draw = [f"w{k}" for k in range(400)]
    texts = [" ".join(draw[(7 * i + 3 * k * (i % 5 + 1)) % 400] for k in range(120)) for i in range(60)]
    texts += [f"{text} and {k} more words than it had" for k, text in enumerate(texts[:30])]
    write_shard(tmp_path / "in.parquet", texts)
    path, run = write_recipe(tmp_path, tmp_path / "in.parquet", distill={"keep_tokens": "50%", "quotas": None})
    carry_out(path)
    assert len(documents(run, "doc_id", "reason = 'redundant'")) > 5


def test_pinned_models_score_as_in_the_run_that_learnt_them(distilled, corpus, tmp_path):
    _, run = distilled
    path, other = distilling(corpus, tmp_path, models={"pin": str(run)}, reference=[])
    held = pq.read_table(corpus / "corpus.parquet")
    pq.write_table(held.slice(0, len(held) // 2), tmp_path / "half.parquet")
    carry_out(path, f"input.paths=[{tmp_path / 'half.parquet'}]", "distill.scores={discriminator: 1, importance: 1}")
    before = dict(documents(run, "doc_id, (likeness, importance)", "likeness IS NOT NULL"))
    found = documents(other, "doc_id, (likeness, importance)", "likeness IS NOT NULL")
    assert len(found) > 100
    assert all(before.get(doc_id, scores) == scores for doc_id, scores in found)
    with pytest.raises(RunError, match="not a run directory"):
        carry_out(path, f"models.pin={tmp_path}")


@pytest.mark.parametrize(
    ("distill", "fields", "told"),
    [
        ({"keep_tokens": 0}, {}, "distill.keep_tokens"),
        ({"keep_tokens": 1.5}, {}, "neither a share, of at most 100%, nor a whole number"),
        ({"keep_tokens": "15 percent"}, {}, "distill.keep_tokens"),
        ({"keep_tokens": 15}, {}, "keep_tokens: 15 tokens; did you mean 15%?"),
        ({"keep_tokens": 999}, {}, "keep_tokens: 999 tokens (a budget under 1,000 tokens needs allow_small: true)"),
        ({"keep_tokens": "15%", "ladder": [5, "10%"]}, {}, "ladder: 5 tokens; did you mean 5%?"),
        ({"keep_token": "5%"}, {}, "did you mean 'keep_tokens'"),
        ({"keep_tokens": "5%", "scores": {"discriminater": 1}}, {}, "did you mean 'discriminator'"),
        ({"keep_tokens": "5%", "scores": {"discriminator": 0}}, {}, "greater than 0"),
        ({"keep_tokens": "5%", "scores": {"purify": 1}}, {}, "purify needs tier2"),
        ({"keep_tokens": "5%", "scores": {"language_model": 1}}, {}, "language_model needs tier1.perplexity"),
        ({"keep_tokens": "5%", "scores": {"discriminator": 1}}, {"reference": []}, "needs reference texts"),
        ({"keep_tokens": "5%", "scores": {"grades": 1}}, {}, "needs distill.grades or tier2.judge"),
        ({"keep_tokens": "5%", "grades": "x.parquet"}, {}, "no score uses it"),
        ({"keep_tokens": "5%", "quotas": {"by": ["site"]}}, {}, "site is not in input.strata"),
        ({"keep_tokens": "5%", "quotas": {"by": []}}, {}, "is empty"),
        ({"keep_tokens": "5%", "quotas": {"targets": {"a": "60%", "b": "50%"}}}, {}, "110% of the budget"),
        ({"keep_tokens": "5%", "quotas": {"targets": {"nonesuch": "60%"}}}, {}, "no document is left of 'nonesuch'"),
        ({"keep_tokens": "5%", "weights": {"quality": 0, "diversity": 0}}, {}, "both 0"),
        ({"keep_tokens": "5%", "ladder": ["10%"]}, {}, "10% is more than keep_tokens"),
        ({"keep_tokens": "5%", "ladder": ["400k"]}, {}, "a rung of 400,000 tokens is more than keep_tokens"),
        ({"keep_tokens": "5%", "scores": {}}, {}, "is empty"),
        ({"keep_tokens": "5%", "scores": {"input.label": 1}}, {}, "input.label holds string, not numbers"),
    ],
)
def test_a_wrong_recipe_is_one_line(corpus, tmp_path, distill, fields, told):
    path, _ = distilling(corpus, tmp_path, distill, **fields)
    with pytest.raises(CurateError) as error:
        carry_out(path)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_budgets_are_shares_of_the_input_or_tokens_less_what_is_reserved():
    def budgets(reserved=0, **fields):
        return budgets_of(Distill(**fields), 1000, reserved)

    assert budgets(keep_tokens="100%") == [(1000, 1.0)]
    assert budgets(keep_tokens="15%", ladder=["5%", "15%"]) == [(50, 0.05), (150, 0.15)]
    assert budgets(keep_tokens="15%", ladder=["5%"], reserved=30) == [(50, 0.05), (120, 0.15)]
    assert budgets(keep_tokens="15%", ladder=["5%"], reserved=130) == [(50, 0.05), (50, 0.15)]


def test_documents_without_words_have_no_quality(tmp_path):
    texts = [f"{PROSE} {k} " * 3 for k in range(60)] + ["???", "*** ***", "— — —"]
    write_shard(tmp_path / "in.parquet", texts)
    path, run = write_recipe(tmp_path, tmp_path / "in.parquet", distill={"keep_tokens": "90%", "novelty": 0})
    carry_out(path)
    assert documents(run, "DISTINCT quality", "domain IS NULL AND quality IS NOT NULL") in ([], [(0.0,)])
    assert {name for (name,) in table(run, "SELECT stratum FROM quotas")}.isdisjoint({"all", ""})


@pytest.mark.parametrize(
    ("fields", "scores"),
    [
        ({"reference": ["good.parquet"]}, {"discriminator": 1.0}),
        ({}, {"importance": 1.0}),
        ({"tier1": {"perplexity": {}}}, {"importance": 1.0, "language_model": 0.25}),
        ({"tier1": {"perplexity": {}}, "reference": ["good.parquet"]}, {"discriminator": 1.0}),
    ],
)
def test_without_scores_a_budget_goes_by_what_there_is_to_judge_by(fields, scores):
    recipe = {"name": "x", "input": {"paths": ["in.parquet"]}, "distill": {}, **fields}
    assert scores_of(parse_recipe(recipe, "x.yaml")) == scores


@pytest.mark.parametrize(
    ("fields", "scores"),
    [
        ({"reference": ["good.parquet"]}, {"discriminator": 2, "coarse_score": 1}),
        ({"reference": ["good.parquet"], "tier2": {}}, {"discriminator": 2, "purify": 1, "coarse_score": 1}),
        ({}, {"coarse_score": 2, "importance": 1}),
        ({"tier1": {"perplexity": {}}}, {"coarse_score": 2, "importance": 1, "language_model": 0.5}),
        ({"distill": {"scores": {"importance": 3}}, "reference": ["good.parquet"], "tier2": {}}, {"importance": 3}),
    ],
)
def test_quality_combines_what_a_run_has_unless_the_recipe_names_scores(fields, scores):
    recipe = {"name": "x", "input": {"paths": ["in.parquet"]}, "distill": {}, **fields}
    assert quality_scores_of(parse_recipe(recipe, "x.yaml")) == scores


def test_by_default_a_budget_is_filled_by_likeness_and_not_by_quality(corpus, tmp_path):
    path, run = distilling(corpus, tmp_path, {"keep_tokens": "15%"})
    assert "filled by discriminator 1; quality combines discriminator 2, coarse_score 1 (a reference, no tier2)" in (
        command("run", path).stderr
    )
    query = "doc_id, quality"
    by_default = dict(documents(run, query, "kept"))
    carry_out(path, "distill.scores={discriminator: 1}")
    by_likeness = dict(documents(run, query, "kept"))
    assert by_default.keys() == by_likeness.keys()
    assert by_default != by_likeness


def test_the_less_a_text_reads_like_bad_ones_the_better_it_scores():
    distill = {"scores": {"purify": 1}, "weights": {"quality": 1, "diversity": 0}}
    recipe = {"name": "x", "input": {"paths": ["a"]}, "reference": ["good.parquet"], "tier2": {}, "distill": distill}
    [(name, score)] = values_of(parse_recipe(recipe, "x")).items()
    assert name == "purify"
    assert np.argsort(score({"p_bad": np.array([0.5, 0.9, 0.1])})).tolist() == [1, 0, 2]


def test_a_pin_without_a_discriminator_is_refused(corpus, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    path, run = distilling(corpus, tmp_path / "a", reference=[])
    carry_out(path)
    path, _ = distilling(corpus, tmp_path / "b", models={"pin": str(run)}, reference=[])
    with pytest.raises(RecipeError, match="had no reference, so it has no discriminator"):
        carry_out(path)
    assert carry_out(path, "distill.scores={importance: 1}")["documents_out"] > 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("distill.scores={purify: 1}", "purify needs tier2"),
        ("distill.scores={nosuch: 1}", "no score 'nosuch'"),
        ("distill.quotas={by: [label]}", "label is not in input.strata"),
    ],
)
def test_what_if_refuses_what_a_run_refuses(distilled, change, told):
    _, run = distilled
    with pytest.raises(RecipeError, match=told):
        propose(run, [change], quiet=True)


def test_a_plan_knows_scores_that_are_columns(corpus, tmp_path):
    held = pq.read_table(corpus / "corpus.parquet")
    pq.write_table(held.append_column("mine", pa.array([1.5] * len(held))), tmp_path / "corpus.parquet")
    path, _ = distilling(tmp_path, tmp_path, {"scores": {"input.mine": 1}}, reference=[])
    done = command("plan", path)
    assert done.returncode == 0, done.stderr
    assert "distill keeps 15% of the input's tokens" in done.stdout


def test_a_file_of_grades_without_its_columns_is_named(corpus, tmp_path):
    write_shard(tmp_path / "grades.parquet", ["some text"])
    path, _ = distilling(
        corpus, tmp_path, {"keep_tokens": "5%", "scores": {"grades": 1}, "grades": str(tmp_path / "grades.parquet")}
    )
    with pytest.raises(InputError, match=r"grades\.parquet: no column 'score'"):
        carry_out(path)


def test_a_corpus_of_a_handful_of_documents_is_told_to_be_too_small(tmp_path):
    write_shard(tmp_path / "in.parquet", ["word " * 100 + str(k) for k in range(10)])
    path, _ = write_recipe(tmp_path, tmp_path / "in.parquet", distill={"keep_tokens": "50%"})
    with pytest.raises(
        InputError, match="10 documents of 200 bytes or more are too few to learn what the corpus is like"
    ):
        carry_out(path)


def test_why_and_the_manifest_tell_of_the_budget(distilled):
    _, run = distilled
    [(doc_id, quality), *_] = documents(run, "doc_id, quality", "reason = 'over_budget'")
    story = json.loads(command("why", run, doc_id, "--json").stdout)
    assert (story["stage"], story["later"]["quality"]) == ("distil", quality)
    parts = {part["score"]: part for part in story["quality_parts"]}
    assert {name: part["weight"] for name, part in parts.items()} == {"discriminator": 2, "coarse_score": 1}
    combined = (2 * parts["discriminator"]["better_than"] + parts["coarse_score"]["better_than"]) / 3
    assert combined == pytest.approx(quality, abs=0.01)
    assert "better than this share" in command("why", run, doc_id).stdout
    manifest = json.loads((run / "manifest.json").read_text())
    assert [rung["tokens"] for rung in manifest["distil"]["rungs"]] == [
        tokens for (tokens,) in table(run, "SELECT tokens FROM rungs ORDER BY rung")
    ]
    assert manifest["stages"][-1]["stage"] == "distil"
    assert manifest["distil"]["discriminator"]["roc_auc"] > 0.7


def test_a_recipe_may_name_tokens():
    for given, expected in (("2M", 2_000_000), ("1.5k", 1500), (3000, 3000), ("20%", 0.2), (0.2, 0.2)):
        recipe = parse_recipe({"name": "x", "input": {"paths": ["a"]}, "distill": {"keep_tokens": given}}, "x")
        assert recipe.distill.keep_tokens == expected
    with pytest.raises(RecipeError):
        load_recipe(Path(__file__))


def test_the_report_has_the_rungs_and_the_strata(distilled, tmp_path):
    _, run = distilled
    assert command("report", run, "--output", tmp_path / "report.html").returncode == 0
    page = (tmp_path / "report.html").read_text()
    assert 'id="budget"' in page
    for stratum, tokens in table(run, "SELECT stratum, tokens FROM quotas WHERE rung = 3"):
        assert stratum in page
        assert f"{tokens:,}" in page


@pytest.mark.parametrize("different", [60, *repeats(150, 5000)])
def test_models_learn_from_the_documents_with_the_least_keys(different):
    """However many texts are equal, or too short, as many are sampled as there are."""
    draw = random.Random(different)
    hashes = [draw.getrandbits(64) for _ in range(different)]
    rows = [(k, draw.choice(hashes), draw.choice([10, 500, 900, 200_000])) for k in range(5000)]
    connection = duckdb.connect()
    numbers, keys, sizes = zip(*rows, strict=True)
    columns = {"row": numbers, "raw_hash_low": pa.array(keys, pa.uint64()), "raw_n_bytes": sizes}
    connection.register("drawn", pa.table(columns))
    connection.execute("CREATE TABLE texts AS SELECT 1::INTEGER AS file_no, * FROM drawn")
    connection.execute("CREATE TABLE files AS SELECT 1 AS file_no, 0 AS position")
    removed = set(draw.sample(range(5000), 300))
    connection.execute("CREATE TABLE removed AS SELECT 1::INTEGER AS file_no, unnest(?) AS row", [list(removed)])
    first = {}
    for row, hash_, size in rows:
        if size in (500, 900) and row not in removed:
            first.setdefault(hash_ ^ sampling_mask(3, "distil"), row)
    sampled = sorted((row, key) for key, row in sorted(first.items())[:100])
    found = sampled_documents(Distill(sample=100, keep_tokens="15%"), 3, connection)
    assert list(zip(found["row"].to_pylist(), found["hash"].to_pylist(), strict=True)) == sampled

"""The second tier in a run: what is trained, what is dropped, and what stays as it was."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from support.commands import carry_out, command
from support.corpora import PROSE, write_shard
from support.recipes import TIER2, purifying, write_recipe
from support.runs import digests, documents
from support.soak import repeats

from curate.distill.purify.bounds import bounds_of
from curate.distill.purify.rounds import Material, attack_weights
from curate.distill.purify.stage import evidence_bound, p_bad_limit
from curate.distill.reference import open_reference, read_good
from curate.errors import CurateError, InputError, RecipeError, RunError
from curate.ledger.run import connect
from curate.manifests.export.mixture import open_sources
from curate.manifests.export.sources import SHARE_SEED, SPLIT_SEED, hash_fractions
from curate.maps.reading import Reading
from curate.recipe.load import parse_recipe
from curate.recipe.tier2 import Tier2

VERDICT = "doc_id, reason, n_tokens, duplicate_of"


def table(run, query):
    with connect(run) as connection:
        return connection.execute(query).fetchall()


def test_what_is_dropped_lies_beyond_the_bound_of_its_stratum_and_all_the_rest_within(purified):
    _, run = purified
    bounds = dict(table(run, "SELECT coalesce(length_bucket, ''), bound FROM thresholds"))
    judged = documents(run, "kept, stage, reason, p_bad, length_bucket", "p_bad IS NOT NULL")
    assert {stage for _, stage, *_ in judged} == {None, "purify"}
    for kept, _, reason, p_bad, bucket in judged:
        assert kept == (p_bad <= bounds.get(bucket, bounds[""]))
        assert kept or reason == "p_bad_too_high"
    assert documents(run, "doc_id", "p_bad IS NULL AND (kept OR stage = 'purify')") == []


def test_spam_and_gibberish_go_and_good_documents_stay(corpus, tmp_path):
    path, run = purifying(corpus, tmp_path, dedup={"exact": False})
    carry_out(path)
    shares = dict(table(run, """SELECT split_part(input.label, ':', 1), avg(if(stage = 'purify', 1, 0)) FROM corpus
        WHERE n_words >= 50 GROUP BY 1 HAVING count(*) >= 10"""))  # fmt: skip
    assert shares["good"] < 0.15
    assert min(shares["spam"], shares["gibberish"], shares["boilerplate_only"]) > 0.7


def test_no_text_of_the_reference_that_sets_the_bound_is_trained_on(purified, corpus):
    _, run = purified
    trained = {doc_id for (doc_id,) in table(run, "SELECT DISTINCT doc_id FROM attacks")}
    [part] = (run / "ledger" / "signals" / "calibration").glob("*.parquet")
    aside = set(pq.read_table(part)["doc_id"].to_pylist())
    assert trained
    assert aside
    assert trained & aside == set()


def test_the_held_out_family_is_tested_and_never_trained_on(purified):
    _, run = purified
    assert table(run, "SELECT count(*) FROM attacks WHERE family = 'repetition'") == [(0,)]
    held = table(run, "SELECT made, tested > 0, auc IS NOT NULL, trained FROM rounds WHERE held_out")
    assert len(held) >= 2
    assert set(held) == {(0, True, True, False)}


def test_pairs_are_the_original_and_the_attack_parted_at_the_first_change(purified):
    _, run = purified
    pairs = table(run, """SELECT prompt || chosen = original, prompt || rejected = text, chosen <> rejected
        FROM preference_pairs JOIN attacks USING (doc_id, attack, round)""")  # fmt: skip
    assert len(pairs) > 50
    assert set(pairs) == {(True, True, True)}


PAIR = "doc_id, prompt, chosen, rejected"


def pairs_in(path):
    """The pairs of a file, sorted."""
    return sorted(tuple(row.values()) for row in pq.read_table(path, columns=PAIR.split(", ")).to_pylist())


def test_pairs_are_exported_from_the_ledger_alone_in_the_splits_of_their_documents(purified, tmp_path):
    whole = table(purified[1], f"SELECT {PAIR} FROM preference_pairs")
    run = tmp_path / "copy"
    shutil.copytree(purified[1], run, ignore=shutil.ignore_patterns("run.duckdb"))
    done = command("export", run, "--to", "dpo,trl,llama-factory", "--out", tmp_path, "--validation", "30%", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    held_out = hash_fractions(pa.array([pair[0] for pair in whole]), SPLIT_SEED) < 0.3
    for split, wanted in (("train", ~held_out), ("validation", held_out)):
        pairs = sorted(pair for pair, one in zip(whole, wanted, strict=True) if one)
        assert len(pairs) > 10
        assert pq.read_schema(tmp_path / "dpo" / f"{split}.parquet").names[:3] == ["prompt", "chosen", "rejected"]
        for folder in ("dpo", "trl/dpo", "llama-factory/dpo"):
            assert pairs_in(tmp_path / folder / f"{split}.parquet") == pairs
        assert f"dpo/{split}.parquet" in (tmp_path / "trl/README.md").read_text()
    datasets = json.loads((tmp_path / "llama-factory/dataset_info.json").read_text())
    assert datasets["dpo.pairs"]["file_name"] == "dpo/train.parquet"
    assert datasets["dpo.pairs_validation"]["file_name"] == "dpo/validation.parquet"
    again = command("export", run, "--to", "dpo", "--out", tmp_path, "--validation", "30%")
    assert (again.returncode, again.stderr) == (0, f"{tmp_path}/dpo: is there already\n")
    next((run / "ledger" / "signals" / "attacks").glob("*")).unlink()
    done = command("export", run, "--to", "dpo", "--out", tmp_path / "lacking", "--quiet")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert ".parquet: missing; run the recipe again to write it anew" in done.stderr


def test_of_a_run_that_is_taken_in_part_the_pairs_of_what_is_taken_are_exported(demo, purified, tmp_path):
    mixture = tmp_path / "mixture.yaml"
    mixture.write_text(
        f"name: mix\nsources: {{new: {{run: '{demo}', weight: 1}}}}\nreplay: {{run: '{purified[1]}', share: 15%}}\n"
    )
    share = open_sources(mixture)[1].share
    assert 0.1 < share < 0.9
    done = command("export", mixture, "--to", "trl", "--out", tmp_path, "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    whole = table(purified[1], f"SELECT {PAIR} FROM preference_pairs")
    there = hash_fractions(pa.array([pair[0] for pair in whole]), SHARE_SEED) < share
    assert pairs_in(tmp_path / "trl/dpo/train.parquet") == sorted(
        pair for pair, one in zip(whole, there, strict=True) if one
    )
    assert 0 < there.sum() < len(whole)


def test_a_run_without_a_second_tier_has_no_pairs_to_export(demo, tmp_path):
    done = command("export", demo, "--to", "dpo", "--out", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "no preference pairs" in done.stderr


def test_evidence_is_of_the_text_and_holds_no_personal_data(corpus, tmp_path):
    spam = (
        "Buy cheap pills now!!! Write to jane.roe@corp-mail.com, limited offer, click here, free money, act now. " * 9
    )
    table_ = pq.read_table(corpus / "corpus.parquet").select(["id", "text"])
    extra = pa.table({"id": ["mail-1"], "text": [spam]}).cast(table_.schema)
    pq.write_table(pa.concat_tables([table_, extra]), tmp_path / "corpus.parquet")
    (tmp_path / "reference.parquet").symlink_to(corpus / "reference.parquet")
    path, run = purifying(tmp_path, tmp_path)
    carry_out(path)
    [(attack, evidence)] = documents(run, "attack, evidence", "doc_id = 'mail-1'")
    assert attack is not None
    assert evidence
    assert all(word.startswith("<") or word in spam for word in evidence)
    assert not any("jane" in str(row) for row in documents(run, "evidence", "evidence IS NOT NULL"))


def test_another_bound_trains_nothing_anew_and_what_if_tells_its_verdicts(purified, tmp_path):
    path, run = purified
    before = {file.name: file.stat().st_mtime_ns for file in (run / "models").iterdir()}
    change = "tier2.max_false_drop=0.2"
    told = command("what-if", run, "--set", change, "--json", "--output", tmp_path / "differs.jsonl")
    assert told.returncode == 0, told.stderr
    was = dict(documents(run, "doc_id, reason"))
    carry_out(path, change)
    now = dict(documents(run, "doc_id, reason"))
    rows = [json.loads(line) for line in (tmp_path / "differs.jsonl").read_text().splitlines()]
    assert {row["doc_id"] for row in rows} == {name for name in now if now[name] != was[name]}
    assert rows
    assert {file.name: file.stat().st_mtime_ns for file in (run / "models").iterdir()} == before
    carry_out(path)
    assert dict(documents(run, "doc_id, reason")) == was


@pytest.mark.parametrize(
    "change",
    [
        "tier1.thresholds.too_few_words=5",
        *repeats("tier2=null", "dedup.lines.max_repeats=2", "dedup.exact=false"),
    ],
)
def test_what_if_tells_what_other_rules_leave_to_the_second_tier(purified, change, tmp_path):
    path, run = purified
    told = command("what-if", run, "--set", change, "--json", "--output", tmp_path / "differs.jsonl")
    assert told.returncode == 0, told.stderr
    corpus = Path(yaml.safe_load(path.read_text())["reference"][0]).parent
    other, there = like_the_purified(corpus, tmp_path)
    carry_out(other, change)
    was, now = ({name: rest for name, *rest in documents(one, VERDICT)} for one in (run, there))
    rows = [json.loads(line) for line in (tmp_path / "differs.jsonl").read_text().splitlines()]
    assert {row["doc_id"] for row in rows} == {name for name in now if now[name] != was[name]}
    assert rows


@pytest.mark.parametrize("change", ["seed=4", "tier2.attacks=5", "reference=[elsewhere.parquet]"])
def test_what_if_refuses_what_would_train_another_model(purified, change):
    _, run = purified
    done = command("what-if", run, "--set", change)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert change.partition("=")[0] in done.stderr


def test_pinned_models_judge_new_shards_and_change_no_old_verdict(purified, corpus, tmp_path):
    _, run = purified
    old = pq.read_table(corpus / "corpus.parquet")
    shards = tmp_path / "shards"
    shards.mkdir()
    pq.write_table(old, shards / "a.parquet")
    fresh = [f"{PROSE} {k}. " * 4 for k in range(30)]
    write_shard(shards / "b.parquet", fresh, id=[f"new-{k}" for k in range(30)])
    fields = {"tier1": {"rules": ["gopher"]}, "dedup": {"lines": {"max_repeats": 5}}, "tier2": TIER2}
    other, there = write_recipe(tmp_path, shards, models={"pin": str(run)}, **fields)
    recipe = yaml.safe_load(other.read_text())
    recipe["input"]["id"] = "id"
    other.write_text(yaml.safe_dump(recipe))
    carry_out(other)
    was, now = (dict(documents(one, "doc_id, p_bad")) for one in (run, there))
    assert {name: now[name] for name in was if was[name] is not None} == {k: v for k, v in was.items() if v is not None}
    assert command("verify", there).returncode == 0
    facts = json.loads((there / "manifest.json").read_text())["purify"]
    assert facts["models"] == json.loads((run / "manifest.json").read_text())["purify"]["models"]


def like_the_purified(corpus, folder):
    """The recipe of `purified` with another run directory."""
    return purifying(corpus, folder, tier1={"rules": ["gopher"]}, dedup={"lines": {"max_repeats": 5}})


def test_the_number_of_workers_changes_no_byte(purified, corpus, tmp_path):
    path, run = like_the_purified(corpus, tmp_path / "two")
    done = command("run", path, "--workers", 2, "--quiet")
    assert done.returncode == 0, done.stderr
    found = digests(run)
    assert found == digests(purified[1])
    assert any("attacks" in name for name in found)


def test_a_run_killed_while_it_trains_goes_on_to_the_same_bytes(purified, corpus, tmp_path):
    path, run = like_the_purified(corpus, tmp_path / "killed")
    process = subprocess.Popen(
        [sys.executable, "-m", "curate", "run", str(path)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    for line in process.stderr:
        if "training" in line or "reading" in line:
            break
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (run / "manifest.json").exists()
    carry_out(path)
    assert digests(run) == digests(purified[1])


def test_the_manifest_tells_what_was_learnt_and_verify_finds_a_changed_model(purified, corpus, tmp_path):
    _, run = purified
    facts = json.loads((run / "manifest.json").read_text())["purify"]
    assert facts["reference"][0]["path"] == "reference.parquet"
    assert facts["teacher"] == {"kind": "rules"}
    assert {row["depth"] for row in facts["thresholds"]} >= {0}
    assert facts["rounds"][0]["round"] == 0
    assert facts["mining"]["by"] == "attacks"
    assert 0 <= facts["mining"]["bad_share_at_least"] <= facts["mining"]["bad_share"] < 1
    [model] = (run / "models").glob("purify_model-*")
    content = model.read_bytes()
    model.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = command("verify", run)
    model.write_bytes(content)
    assert done.returncode == 1
    assert model.name in done.stdout


def test_why_tells_the_bound_and_what_speaks_for_and_against(purified):
    _, run = purified
    [(doc_id, *_)] = documents(run, "doc_id", "stage = 'purify'")[:1]
    done = command("why", run, doc_id)
    assert done.returncode == 0, done.stderr
    assert "p_bad_too_high" in done.stdout
    assert "the bound of" in done.stdout
    assert "in log-odds" in done.stdout


@pytest.mark.parametrize(
    ("fields", "error", "told"),
    [
        ({"reference": []}, RecipeError, "set reference"),
        ({"tier2": {"held_out": "sentense_shuffle"}}, RecipeError, "sentence_shuffle"),
        ({"tier2": {"families": ["seo"]}}, RecipeError, "tier2.families"),
        ({"tier2": {**TIER2, "max_false_drop": 0.001}}, InputError, "max_false_drop"),
        ({"tier2": {"judge": {}}}, RecipeError, "teacher"),
        ({"reference": ["nowhere.parquet"]}, InputError, "nowhere.parquet"),
        ({"models": {"pin": "nowhere"}}, RunError, "models.pin"),
        ({"tier2": {"max_false_drop": "60%"}}, RecipeError, "max_false_drop"),
    ],
)  # fmt: skip
def test_what_the_second_tier_cannot_work_with_is_one_line(corpus, tmp_path, fields, error, told):
    path, _ = purifying(corpus, tmp_path, **fields)
    with pytest.raises(CurateError) as raised:
        carry_out(path)
    assert isinstance(raised.value, error)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_few_good_texts_are_told_of_with_what_is_needed(tmp_path, corpus):
    write_shard(tmp_path / "few.parquet", [f"{PROSE * 3}{k}" for k in range(12)])
    path, _ = purifying(corpus, tmp_path, reference=[str(tmp_path / "few.parquet")])
    with pytest.raises(InputError, match="5 documents are set aside"):
        carry_out(path)


def test_the_report_shows_the_bounds_and_what_the_rounds_did(purified, tmp_path):
    _, run = purified
    done = command("report", run, "--output", tmp_path / "report.html", "--quiet")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "Bounds on p_bad" in page
    assert re.search(r"repetition <span class=\"muted\">\(held out\)", page)
    assert re.search(r"Bad text: about \d+% of the corpus, at least \d+%", page)


def test_a_plan_trains_nothing_and_says_that_what_the_second_tier_drops_is_not_estimated(corpus, tmp_path):
    path, run = purifying(corpus, tmp_path)
    done = command("plan", path)
    assert done.returncode == 0, done.stderr
    assert "Nor is what the second tier drops" in done.stdout
    assert not (run / "models").exists()


def test_the_bound_holds_over_all_strata_and_in_the_small_ones_together():
    """Small strata, which score higher, must not be judged by a bound that large ones set."""
    random = np.random.default_rng(5)
    section = Tier2(max_false_drop=0.05)

    def drawn(n):
        small = random.random(n) < 0.2
        name = np.where(small, [f"s{k}" for k in random.integers(0, 40, n)], "large")
        return pa.table({"p_bad": (random.random(n) * np.where(small, 1.0, 0.5)).astype(np.float32), "kind": name})

    rates = []
    for _ in range(30):
        bounds = bounds_of(drawn(2000), section, ["kind"], p_bad_limit(section.max_false_drop)).to_pylist()
        own = {row["kind"]: row["bound"] for row in bounds if row["depth"]}
        [rest] = [row["bound"] for row in bounds if not row["depth"]]
        fresh = drawn(4000)
        beyond = fresh["p_bad"].to_numpy() > np.array([own.get(kind, rest) for kind in fresh["kind"].to_pylist()])
        small = np.array([kind != "large" for kind in fresh["kind"].to_pylist()])
        rates.append((beyond.mean(), beyond[small].mean()))
    overall, of_small = np.mean(rates, axis=0)
    assert overall < 0.053
    assert of_small < 0.055
    assert overall > 0.04


def test_a_stratum_has_a_bound_of_its_own_from_exactly_as_many_documents_as_it_needs():
    section = Tier2(max_false_drop=0.05)  # 19 documents
    kinds = ["a"] * 19 + ["b"] * 18 + [None] * 40
    p_bad = np.r_[np.linspace(0.5, 0.9, 19), np.linspace(0.1, 0.2, 18), np.linspace(0.2, 0.4, 40)].astype(np.float32)
    rows = bounds_of(
        pa.table({"p_bad": p_bad, "kind": kinds}), section, ["kind"], p_bad_limit(section.max_false_drop)
    ).to_pylist()
    assert [(row["depth"], row["kind"], row["documents"]) for row in rows] == [(0, None, 58), (1, "a", 19)]
    assert rows[1]["bound"] == pytest.approx(0.9)
    assert 0.38 < rows[0]["bound"] <= 0.4


def test_where_too_few_are_left_for_a_bound_they_take_the_largest_of_all():
    section = Tier2(max_false_drop=0.05)
    p_bad = np.r_[np.linspace(0.5, 0.9, 19), np.linspace(0.1, 0.2, 19), [0.3]].astype(np.float32)
    rows = bounds_of(
        pa.table({"p_bad": p_bad, "kind": ["a"] * 19 + ["b"] * 19 + ["c"]}),
        section,
        ["kind"],
        p_bad_limit(section.max_false_drop),
    ).to_pylist()
    assert [(row["depth"], row["documents"], row["drop_low"] is None) for row in rows] == [
        (0, 1, True), (1, 19, False), (1, 19, False),
    ]  # fmt: skip
    assert rows[0]["bound"] == pytest.approx(0.9)


def test_a_fifth_of_good_documents_is_told_of_with_attack_and_evidence():
    assert evidence_bound(pa.table({"p_bad": np.arange(11, dtype=np.float32)})) == 8


def test_attacks_that_fooled_weigh_more_and_each_family_as_much_as_any_other():
    families, fooled = ["a", "a", "a", "b"], [True, False, False, False]
    weights = attack_weights(pa.table({"family": families, "fooled": fooled}))
    assert weights[0] > weights[1] == weights[2]
    assert weights[1] * 3 == pytest.approx(weights[3])


def test_a_stratum_that_the_models_do_not_know_is_refused_with_one_line(purified, tmp_path, corpus):
    _, run = purified
    path, _ = purifying(corpus, tmp_path, models={"pin": str(run)}, tier2={"by": ["language"]})
    with pytest.raises(RecipeError, match=r"tier2.by: language"):
        carry_out(path)


@pytest.mark.parametrize("change", ["exclude=[{}]", "input.max_document_bytes=2000"])
def test_what_if_refuses_what_would_mine_other_texts(purified, change, tmp_path):
    _, run = purified
    (tmp_path / "ids.txt").write_text("qs-00001\n")
    done = command("what-if", run, "--set", change.format(tmp_path / "ids.txt"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "only `curate run` can tell" in done.stderr


def test_garbage_collection_leaves_what_was_learnt(corpus, tmp_path):
    path, run = purifying(corpus, tmp_path, tier2=TIER2 | {"rounds": 1})
    carry_out(path)
    assert command("gc", run, "--all").returncode == 0
    assert len(table(run, "SELECT * FROM attacks LIMIT 3")) == 3
    assert command("what-if", run, "--set", "tier2.max_false_drop=0.2").returncode == 0


def test_where_every_stratum_has_its_own_bound_nothing_is_promised_of_others_and_the_report_says_so(corpus, tmp_path):
    path, run = purifying(corpus, tmp_path, tier2=TIER2 | {"max_false_drop": 0.3, "rounds": 1})
    carry_out(path)
    assert table(run, "SELECT bound IS NOT NULL, drop_low FROM thresholds WHERE depth = 0") == [(True, None)]
    done = command("report", run, "--output", tmp_path / "report.html", "--quiet")
    assert done.returncode == 0, done.stderr
    assert "none promised" in (tmp_path / "report.html").read_text("utf-8")


def test_texts_that_are_set_aside_are_neither_trained_nor_tested_on(corpus):
    recipe = parse_recipe(
        {"name": "x", "input": {"paths": ["a"]}, "reference": [str(corpus / "reference.parquet")]}, "x"
    )
    good = read_good(recipe, open_reference(recipe), Reading("text", None, ()), {}, 1000)
    material = Material.of(good, good)
    aside = set(good.filter(pc.equal(good["role"].cast(pa.string()), "calibration"))["doc_id"].to_pylist())
    training, testing = (set(one["doc_id"].to_pylist()) for one in (material.good, material.testing_good))
    assert len(aside) > 30
    assert aside | training | testing == set(good["doc_id"].to_pylist())
    assert aside & training == aside & testing == training & testing == set()
    other = read_good(
        recipe.model_copy(update={"seed": 1}), open_reference(recipe), Reading("text", None, ()), {}, 1000
    )
    again = set(other.filter(pc.equal(other["role"].cast(pa.string()), "calibration"))["doc_id"].to_pylist())
    assert len(again & aside) < 0.5 * len(aside)  # a quarter of them, by chance

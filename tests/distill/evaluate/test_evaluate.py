"""curate evaluate: a run against random documents, without held-out texts that it was trained on, gone on with."""

import json
import shutil
import signal
import subprocess
import sys
import time
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import carry_out, command
from support.corpora import SAMPLE, write_shard
from support.evaluation import evaluated, planted_recipe
from support.recipes import write_recipe
from support.runs import digests, table

from curate.cli.evaluate import PROXIES
from curate.distill.leaks import leaks
from curate.errors import InputError, RecipeError, RunError
from curate.manifests.verify import verify
from curate.pipeline.evaluate import proxies
from curate.pipeline.gc import collect
from curate.progress import unwritten_log
from curate.recipe.evaluate import Evaluate, ProxyName
from curate.recipe.load import load_recipe


def arm(found, name, domain=None):
    return next(row for row in found["arms"] if row["arm"] == name and row["domain"] == domain)


def test_a_run_that_keeps_the_good_texts_beats_random_documents_and_closes_the_gap(selected):
    _, _, found = selected
    ours, random = arm(found, "ours"), arm(found, "random")
    assert ours["gain_low"] > 0
    assert ours["gap_closed"] > 0.9
    assert ours["retained"] > random["retained"] == ours["control_retained"]
    assert random["draws"] == 3
    assert abs(random["tokens"] - ours["tokens"]) < 0.01 * ours["tokens"]
    assert arm(found, "full")["documents"] == 660
    assert {row["domain"] for row in found["arms"]} == {None, "a", "b"}


def test_arms_of_the_stages_are_there_with_as_many_tokens(selected):
    _, _, found = selected
    names = {row["arm"] for row in found["arms"]}
    assert {"rules only", "without rules", "without duplicates"} <= names
    ours = arm(found, "ours")
    for name in ("rules only", "without rules"):
        assert abs(arm(found, name)["tokens"] - ours["tokens"]) < 0.02 * ours["tokens"]
        assert arm(found, name)["control"] == "random"
    assert arm(found, "without rules")["retained"] < ours["retained"]  # it is drawn from everything


def test_index_manifest_and_what_is_returned_tell_the_same(selected):
    _, run, found = selected
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["retention"]["evaluation"]["arms"] == found["arms"]
    assert manifest["retention"]["tracking"] is None
    told = table(run, "SELECT retained, control_retained FROM retention WHERE arm = 'ours' AND domain IS NULL")
    assert told == [(arm(found, "ours")["retained"], arm(found, "ours")["control_retained"])]
    [(mean,)] = table(run, "SELECT avg(bits_per_byte) FROM evaluation WHERE arm = 'random' AND domain IS NULL")
    assert mean == pytest.approx(arm(found, "random")["bits_per_byte"], abs=1e-5)
    assert verify(run, 2, unwritten_log(True)) == []
    assert table(run, "SELECT count(*) FROM documents") == [(660,)]


def test_a_second_call_measures_nothing_and_a_lost_part_alone_is_measured_again(selected, tmp_path):
    _, kept, found = selected
    run = tmp_path / "run"
    shutil.copytree(kept, run)
    manifest = (run / "manifest.json").read_bytes()
    parts = {path: path.stat().st_mtime_ns for path in (run / "evaluation" / "parts").iterdir()}
    assert evaluated(run)["arms"] == found["arms"]
    assert {path: path.stat().st_mtime_ns for path in parts} == parts
    (run / "evaluation" / "retention.json").unlink()
    lost = min(parts)
    lost.unlink()
    assert evaluated(run)["arms"] == found["arms"]
    now = {path: path.stat().st_mtime_ns for path in (run / "evaluation" / "parts").iterdir()}
    assert [path for path in parts if now[path] != parts[path]] == [lost]
    assert (run / "manifest.json").read_bytes() == manifest


def test_killed_or_stopped_it_goes_on_and_comes_to_the_same(selected, tmp_path):
    _, kept, found = selected
    run = tmp_path / "run"
    shutil.copytree(kept, run, ignore=shutil.ignore_patterns("evaluation"))
    for number, said in ((signal.SIGKILL, ""), (signal.SIGINT, "what was measured is kept")):
        before = parts_of(run)
        started = subprocess.Popen(
            [sys.executable, "-m", "curate", "evaluate", run, "--quiet"], stderr=subprocess.PIPE, text=True
        )
        while started.poll() is None and parts_of(run) == before:
            time.sleep(0.01)
        started.send_signal(number)
        _, told = started.communicate(timeout=60)
        assert said in told
        assert len(parts_of(run)) > len(before)
        assert started.returncode != 0
    known = parts_of(run)
    assert evaluated(run)["arms"] == found["arms"]
    assert known.items() <= parts_of(run).items()
    assert not list((run / "evaluation").rglob(".aside-*"))


def test_what_is_left_of_an_evaluation_are_tables_tokens_and_what_models_said(selected, tmp_path):
    _, kept, found = selected
    names = {"evaluation.parquet", "parts", "retention.json", "retention.parquet", "tokenizer.json"}
    assert {path.name for path in (kept / "evaluation").iterdir()} == names
    run = tmp_path / "run"
    shutil.copytree(kept, run)
    (run / "evaluation" / "arms").mkdir()  # as a process leaves it that is killed at the very end
    assert evaluated(run)["arms"] == found["arms"]
    assert not (run / "evaluation" / "arms").exists()


def test_gc_tells_what_each_kind_takes_and_removes_arms_of_evaluations(selected, tmp_path):
    _, kept, found = selected
    run = tmp_path / "run"
    shutil.copytree(kept, run, ignore=shutil.ignore_patterns("evaluation"))
    started = subprocess.Popen([sys.executable, "-m", "curate", "evaluate", run, "--quiet"])
    while started.poll() is None and not parts_of(run):  # the arms are decided first
        time.sleep(0.01)
    started.kill()
    started.wait()
    stopped = collect(run, False, False)
    assert "evaluation/arms" not in {kind.folder for kind in stopped.kinds}  # it goes on with them
    by_kind = {row.kind: row.bytes for row in stopped.takes}
    assert list(by_kind.values()) == sorted(by_kind.values(), reverse=True)
    assert by_kind["data"] == sum(path.stat().st_size for path in (run / "data").iterdir())
    assert by_kind["evaluation/arms"] > by_kind["data"]
    inodes = {(path.stat().st_ino, path.stat().st_size) for path in run.rglob("*") if path.is_file()}
    assert sum(by_kind.values()) == sum(size for _, size in inodes)  # shared measurements count once
    [gone] = [kind for kind in collect(run, True, False).kinds if kind.folder == "evaluation/arms"]
    assert gone.bytes == by_kind["evaluation/arms"]
    assert not (run / "evaluation" / "arms").exists()
    assert evaluated(run)["arms"] == found["arms"]
    shutil.copytree(run / "ledger", run / "evaluation" / "arms" / "without-rules" / "ledger")  # of an earlier version
    [gone] = collect(run, False, False).kinds
    assert (gone.folder, gone.why) == ("evaluation/arms", "of an evaluation that is finished")
    assert parts_of(run)
    collect(run, True, False)
    assert not parts_of(run)
    assert verify(run, 2, unwritten_log(True)) == []
    assert table(run, "SELECT count(*) > 0 FROM retention") == [(True,)]


def parts_of(run):
    return {path.name: path.stat().st_mtime_ns for path in (run / "evaluation" / "parts").glob("[!.]*")}


def test_another_run_of_the_recipe_gives_the_same_figures_and_no_run_changes_by_being_evaluated(
    selected, planted, tmp_path
):
    _, run, found = selected
    path, other = planted_recipe(planted, tmp_path)
    carry_out(path)
    before = digests(other)
    again = evaluated(other)
    assert again["arms"] == found["arms"]
    after = digests(other)
    assert {name: digest for name, digest in after.items() if name != "manifest.json"} == {
        name: digest for name, digest in before.items() if name != "manifest.json"
    }
    assert after == digests(run)
    carry_out(path)  # the manifest keeps what is of the same decisions
    assert digests(other) == after
    assert table(other, "SELECT count(*) > 0 FROM retention") == [(True,)]


def test_figures_of_other_decisions_are_not_told(selected, planted, tmp_path):
    _, kept, _ = selected
    path, run = planted_recipe(planted, tmp_path)
    shutil.copytree(kept, run)
    carry_out(path, "tier1.rules=[]")
    assert json.loads((run / "manifest.json").read_text())["retention"] is None
    assert table(run, "SELECT table_name FROM duckdb_tables() WHERE table_name = 'retention'") == []


def test_other_settings_of_the_evaluation_change_no_decision(planted, tmp_path):
    path, run = planted_recipe(planted, tmp_path)
    carry_out(path)
    before = {name: digest for name, digest in digests(run).items() if name != "manifest.json"}
    carry_out(path, "evaluate.order=3")
    assert {name: digest for name, digest in digests(run).items() if name != "manifest.json"} == before
    events = [json.loads(line)["event"] for line in (run / "run.log").read_text().splitlines()]
    assert events.count("decided") == 1


def test_held_out_texts_that_corpus_or_reference_hold_are_left_out_and_counted(planted, tmp_path):
    own = pq.read_table(planted / "heldout" / "a.parquet")["text"].to_pylist()
    corpus = pq.read_table(planted / "corpus.parquet")["text"].to_pylist()
    reference = pq.read_table(planted / "reference.parquet")["text"].to_pylist()
    nearly = corpus[510].upper().rsplit(" ", 10)[0]
    half = " ".join(corpus[520].split()[:20]) + " " + " ".join(own[0].split()[20:])
    write_shard(tmp_path / "mixed.parquet", [*own[:12], corpus[500], nearly, reference[0], half, own[0], None, ""])
    path, run = planted_recipe(planted, tmp_path, reference=[str(planted / "reference.parquet")])
    carry_out(path)
    found = evaluated(run, heldout=[str(tmp_path / "mixed.parquet")], ablate=False)
    assert found["heldout"]["documents"] == 13  # twelve, and one of which a third stands in the corpus
    assert found["heldout"]["left_out_as_in_corpus"] == 2
    assert found["heldout"]["left_out_as_in_reference"] == 1
    write_shard(tmp_path / "leaked.parquet", corpus[500:530])
    with pytest.raises(InputError, match=r"0 of 30 texts .* \(leaked\.parquet:\d+ is 100% in .*evaluate\.least"):
        evaluated(run, heldout=[str(tmp_path / "leaked.parquet")], ablate=False)


def test_leaks_are_found_by_the_share_of_the_held_out_text():
    words = [f"word{k}" for k in range(400)]
    long, short = " ".join(words), " ".join(words[100:160])
    other = " ".join(f"else{k}" for k in range(60))
    mixed = " ".join([*words[:34], *(f"new{k}" for k in range(30))])
    heldout = pa.array([short, other, mixed, "", "one two"])
    found = leaks(heldout, [pa.array([other[::-1], long]), pa.array(["One, TWO!", None])]).to_pylist()
    assert [(row["heldout"], row["place"]) for row in found] == [(0, 1), (2, 1), (4, 2)]
    assert found[0]["shared"] == 1
    assert found[1]["shared"] == pytest.approx(30 / 60)
    assert len(leaks(pa.array([long]), [pa.array([short])])) == 0
    assert len(leaks(pa.array([], pa.string()), [pa.array([short])])) == 0


def test_quality_is_tracked_stage_by_stage_beside_random_documents(planted, tmp_path):
    path, run = planted_recipe(planted, tmp_path)
    done = command("run", path, "--set", "evaluate.track=true", "--quiet")
    assert done.returncode == 0, done.stderr
    assert "quality after" in done.stdout
    assert "tracked R" in done.stdout
    assert "retained R  " not in done.stdout  # which is that of `curate evaluate`, of other texts
    assert "Rule filtering took" in done.stdout
    [scope] = [line for line in done.stdout.splitlines() if line.startswith("Tracked R is that of n-grams on")]
    [(size,)] = table(run, "SELECT sample_tokens FROM tracking WHERE stage = 'input'")
    assert f"{size:,} tokens by a tokenizer of their own of at most" in scope
    assert "tokens left are counted by the recipe's tokenizer, estimate." in scope
    columns = "stage, documents_out, tokens_out, retained, control_retained, gain_low, gap_closed"
    rows = table(run, f"SELECT {columns} FROM tracking")
    assert [row[0] for row in rows] == ["input", "rules"]
    assert rows[0][3:] == (1.0, None, None, None)
    counted = dict(table(run, "SELECT stage, tokens_out FROM stages"))
    assert all(counted[row[0]] == row[2] for row in rows)
    assert rows[1][3] > rows[1][4]
    assert rows[1][5] > 0
    tracked = json.loads((run / "manifest.json").read_text())["retention"]["tracking"]
    assert [stage["stage"] for stage in tracked["stages"]] == ["input", "rules"]
    before = {part: part.stat().st_mtime_ns for part in (run / "evaluation").rglob("*.parquet")}
    again = digests(run)
    carry_out(path, "evaluate.track=true")
    assert digests(run) == again
    assert {part: part.stat().st_mtime_ns for part in before} == before


def test_a_run_is_not_lost_because_held_out_texts_were_trained_on(planted, tmp_path):
    path, run = planted_recipe(planted, tmp_path)
    done = command("run", path, "--set", f"evaluate.heldout=[{planted}/corpus.parquet]", "--set", "evaluate.track=true")
    assert done.returncode == 0
    assert "quality is not tracked: evaluate.heldout: 0 of" in done.stderr
    assert json.loads((run / "manifest.json").read_text())["retention"] is None


@pytest.mark.slow  # thirteen arms of the sample: those above have a few of a made corpus
def test_the_sample_with_a_budget_bands_and_lines_is_evaluated_with_all_its_arms(corpus, tmp_path):
    table_ = pa.concat_tables([pq.read_table(path) for path in sorted(SAMPLE.glob("*.parquet"))])
    good = [label == "good" and k % 3 == 0 for k, label in enumerate(table_["label"].to_pylist())]
    pq.write_table(table_.filter(pa.array(good)), tmp_path / "heldout.parquet")
    pq.write_table(table_.filter(pa.array([not one for one in good])), tmp_path / "rest.parquet")
    path, run = write_recipe(
        tmp_path, tmp_path / "rest.parquet", reference=[str(corpus / "reference.parquet")],
        tier1={"rules": ["gopher"], "perplexity": {"min_documents": 30}, "pii": "redact"},
        distill={"keep_tokens": "30%", "ladder": ["10%"], "scores": {"importance": 1}},
        dedup={"lines": {"max_repeats": 5}},
        evaluate={"heldout": [str(tmp_path / "heldout.parquet")], "domain": "source", "least": 10, "track": True},
    )  # fmt: skip
    carry_out(path)
    done = command("evaluate", run, "--draws", "2", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    names = {row["arm"] for row in found["arms"]}
    assert names >= {"full", "ours", "random", "rung 1", "random, as rung 1", "rules only", "perplexity, lowest"}
    assert names >= {"perplexity, middle", "without rules", "without duplicates", "without bands", "without lines"}
    assert arm(found, "random")["draws"] == 2
    assert arm(found, "ours")["gain_low"] > 0
    assert {stage for (stage,) in table(run, "SELECT stage FROM tracking")} >= {"input", "rules", "lines", "distil"}
    printed = command("evaluate", run, "--draws", "2", "--quiet").stdout
    assert "random documents of as many tokens retain" in printed
    report = command("report", run)
    assert report.returncode == 0, report.stderr
    assert 'id="quality"' in (run / "report.html").read_text()


def test_a_budget_without_a_reference_has_its_arms_too(planted, tmp_path):
    path, run = planted_recipe(planted, tmp_path, distill={"keep_tokens": "30%", "allow_small": True})
    carry_out(path)
    names = {row["arm"] for row in evaluated(run)["arms"]}
    assert names >= {"without rules", "without duplicates"}


def test_what_cannot_be_evaluated_is_told_in_one_line(planted, selected, tmp_path):
    with pytest.raises(RunError, match="not a run directory"):
        evaluated(tmp_path)
    path, run = planted_recipe(planted, tmp_path, evaluate=None)
    carry_out(path)
    with pytest.raises(RecipeError, match=r"no evaluate\.heldout; name held-out texts with --heldout FILE"):
        evaluated(run)
    with pytest.raises(InputError, match=r"evaluate\.heldout: .*nowhere\.parquet"):
        evaluated(run, heldout=[str(tmp_path / "nowhere.parquet")])
    with pytest.raises(InputError, match=r"evaluate\.domain: .*no column 'topic'"):
        evaluated(run, heldout=[str(planted / "heldout" / "a.parquet")], domain="topic")
    (run / "manifest.json").unlink()
    with pytest.raises(RunError, match="not finished"):
        evaluated(run, heldout=[str(planted / "heldout" / "a.parquet")])
    path, _ = planted_recipe(planted, tmp_path, evaluate={"heldout": [str(tmp_path / "nowhere.parquet")]})
    with pytest.raises(InputError, match=r"evaluate\.heldout: .*nowhere\.parquet"):
        carry_out(path)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("draws", 0, "evaluate.draws"),
        ("heldout", [], "evaluate.heldout: .*empty"),
        ("order", 1, "evaluate.order"),
        ("proxy", "bert", "evaluate.proxy"),
        ("proxy", [], "evaluate.proxy: .*empty"),
        ("proxy", ["ngram", "ngram"], "evaluate.proxy: ngram stands there twice"),
        ("random", False, "evaluate has no field 'random'"),
        ("transformer", {"d_model": 30}, "no multiple of heads"),
    ],
)
def test_an_evaluation_without_a_control_or_with_odd_settings_cannot_be_asked_for(tmp_path, field, value, problem):
    path, _ = write_recipe(tmp_path, "x", evaluate={"heldout": ["h.parquet"], field: value})
    with pytest.raises(RecipeError, match=problem):
        load_recipe(path)


def test_without_torch_the_transformer_is_refused_with_the_way_to_it(selected, monkeypatch):
    _, run, _ = selected
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(RecipeError, match=r"need torch: pip install 'curate-lm\[torch\]', or take ngram"):
        evaluated(run, proxy="transformer")


def test_of_several_models_those_without_torch_are_refused_before_anything_is_measured(selected, monkeypatch):
    _, run, _ = selected
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(RecipeError, match="need torch"):
        evaluated(run, proxy=["ngram", "decoder_1m"])


def test_named_decoders_have_their_sizes_and_the_rest_of_the_section():
    section = Evaluate(heldout=["h"], proxy=["ngram", "decoder_1m", "decoder_10m"], transformer={"context": 64})
    ngram, *decoders = proxies(section)
    assert ngram.about(8192) == "n-grams of order 4"
    assert {proxy.name: round(proxy.parameters(8192) / 1e6, 1) for proxy in decoders} == {
        "decoder_1m": 1.2, "decoder_10m": 10.0,
    }  # fmt: skip
    assert {proxy.context for proxy in decoders} == {64}
    assert [proxy.budget for proxy in decoders] == ["epochs", "compute"] * 2
    assert Evaluate(heldout=["h"], proxy="ngram").proxy == ["ngram"]
    assert get_args(ProxyName) == PROXIES

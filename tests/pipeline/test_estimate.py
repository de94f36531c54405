"""`curate plan` foresees what a run does, and leaves everything as it was."""

import json
import os
import random
import shutil
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import carry_out, command
from support.corpora import PROSE, SAMPLE, write_shard
from support.recipes import write_recipe

from curate.corpus.units import Unit
from curate.display import json_text
from curate.distill.evaluate.tracking import is_tracked
from curate.engine.base import InProcess
from curate.errors import CurateError, InputError, RecipeError, RunError
from curate.ledger.ledger import Ledger, locked, read_ledger
from curate.pipeline.forecast import sample as sampling
from curate.pipeline.forecast.costs import compile_seconds
from curate.pipeline.forecast.forecast import estimate
from curate.pipeline.forecast.sample import sample_units, spread
from curate.pipeline.plan import make_plan
from curate.progress import Log
from curate.recipe.load import load_recipe


def foresee(recipe, *changes):
    """The forecast as `--json` has it."""
    return json.loads(json_text(estimate(load_recipe(recipe, changes), InProcess(), 2).to_json()))


def steps(recipe, *changes):
    """For each step that has something to do: how much, and why."""
    return {step["name"]: (step["made"], step["why"]) for step in foresee(recipe, *changes)["steps"] if step["made"]}


def everything_in(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(folder.rglob("*"))}


@pytest.fixture
def corpus(tmp_path):
    """Three files, and a recipe over them."""
    for k in range(3):
        texts = [f"{PROSE * (1 + n % 5)} {k} {n}" if n % 4 else f"short {n}" for n in range(40)]
        write_shard(
            tmp_path / "in" / f"{k}.parquet", texts, license=["mit", "cc0"] * 20, key=[f"{k}-{n}" for n in range(40)]
        )
    return write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["gopher"]})


def test_a_small_corpus_is_foreseen_exactly_but_for_duplicates(tmp_path):
    recipe, _ = write_recipe(tmp_path, SAMPLE, tier1={"rules": ["gopher"]})
    plan = foresee(recipe)
    done = carry_out(recipe)
    rules = done["stages"][1]
    assert plan["sample"]["documents"] == plan["input"]["documents"] == 1309
    assert {row["reason"]: row["documents"] for row in plan["dropped"]} == {
        reason: gone["documents"] for reason, gone in rules["dropped"].items()
    }
    assert plan["passing"]["documents"] == rules["documents_out"] > done["documents_out"]
    assert plan["input"]["tokens"] == pytest.approx(done["tokens_in"], rel=0.02)


def test_a_large_corpus_is_foreseen_from_a_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "MIN_DOCUMENTS", 600)
    texts = [f"{k} {PROSE * (1 + k % 6)}" if k % 3 else f"short {k}" for k in range(20_000)]
    for k in range(4):
        write_shard(tmp_path / "in" / f"{k}.parquet", texts[k * 5000 : (k + 1) * 5000])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["gopher"]})
    plan = foresee(recipe)
    done = carry_out(recipe)
    assert 500 <= plan["sample"]["documents"] <= 700
    dropped = done["stages"][1]["dropped"]["too_few_words"]["documents"]
    assert plan["dropped"][0]["documents"] == pytest.approx(dropped, rel=0.1)
    assert plan["input"]["tokens"] == pytest.approx(done["tokens_in"], rel=0.1)
    held = sum(path.stat().st_size for path in (run / "ledger").rglob("*.parquet"))
    assert plan["disk_bytes"]["ledger"] == pytest.approx(held, rel=0.5)


def test_nothing_is_written_whether_the_run_directory_is_there_in_use_or_not(corpus, tmp_path):
    recipe, run = corpus
    before = everything_in(tmp_path)
    done = command("plan", recipe, "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert everything_in(tmp_path) == before
    carry_out(recipe)
    before = everything_in(tmp_path)
    with locked(run):
        inside = everything_in(tmp_path)
        done = command("plan", recipe, "--workers", 3, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert everything_in(tmp_path) == inside
    assert everything_in(tmp_path).keys() == before.keys()
    assert "3 workers" in done.stdout


def test_a_run_directory_that_cannot_be_written_to_can_be_read(corpus):
    recipe, run = corpus
    carry_out(recipe)
    os.chmod(run, 0o500)
    try:
        assert foresee(recipe)["input"]["documents"] == 120
    finally:
        os.chmod(run, 0o700)


def test_the_first_run_does_everything_and_a_finished_one_nothing(corpus):
    recipe, _ = corpus
    first = steps(recipe)
    assert first["words"] == (3, [])
    assert first["decisions"] == first["output"] == (1, [])
    carry_out(recipe)
    assert steps(recipe) == {}
    again = foresee(recipe)["cpu_seconds"]
    assert again["measure"] == again["decide"] == again["write"] == 0


def test_it_says_what_is_done_again_and_why(corpus, tmp_path):
    recipe, _ = corpus
    carry_out(recipe)
    anew = (1, ["decisions are made anew"])
    assert steps(recipe, "tier1.thresholds.too_few_words=9", "seed=4") == {
        "decisions": (1, ["recipe changed: seed, tier1.thresholds.too_few_words"]),
        "output": anew,
    }
    told = steps(recipe, "tier1.rules=[gopher, {reason: mit, when: \"input.license = 'mit'\"}]")
    assert told["input"] == (3, ["not measured before"])
    assert told["decisions"] == (1, ["measurements are new", "recipe changed: tier1.rules"])
    assert set(told) == {"input", "decisions", "output"}
    write_shard(tmp_path / "in" / "new.parquet", [PROSE + "new"], license=["mit"])
    write_shard(tmp_path / "in" / "1.parquet", [PROSE + "other"], license=["mit"])
    (tmp_path / "in" / "2.parquet").unlink()
    told = steps(recipe)
    assert told["words"] == told["hashes"] == (2, ["1 new file", "1 changed file"])
    assert told["decisions"][1] == ["measurements are new", "1 file no longer in the input"]


def test_it_tells_changed_parameters_lost_files_other_names_and_a_run_that_was_stopped(corpus, tmp_path):
    recipe, run = corpus
    carry_out(recipe)
    assert steps(recipe, "input.id=key")["documents"] == (3, ["recipe changed: input.id"])
    (tmp_path / "in" / "1.parquet").rename(tmp_path / "in" / "9.parquet")
    assert steps(recipe)["decisions"][1] == ["files have other names or another order"]
    (tmp_path / "in" / "9.parquet").rename(tmp_path / "in" / "1.parquet")
    next((run / "ledger" / "signals" / "words").iterdir()).unlink()
    assert steps(recipe)["words"] == (3, ["files of the ledger are gone or damaged"])
    shutil.rmtree(run / "data")
    (run / "manifest.json").unlink()
    carry_out(recipe)
    shutil.rmtree(run / "data")
    assert steps(recipe) == {"output": (1, ["not finished"])}
    ledger = read_ledger(run)
    ledger.parts = [part for part in ledger.parts if part.group != "lines"]
    ledger.commit()
    assert steps(recipe)["lines"] == (3, ["not measured before"])


def test_what_it_says_is_done_again_is_what_a_run_does(corpus, tmp_path):
    recipe, run = corpus
    carry_out(recipe)
    write_shard(tmp_path / "in" / "new.parquet", [PROSE + "new"], license=["mit"])
    changes = ["tier1.rules=[gopher, {reason: mit, when: \"input.license = 'mit'\"}]"]
    foreseen = steps(recipe, *changes)
    before = {part.path for part in read_ledger(run).parts}
    carry_out(recipe, *changes)
    measured = {}
    for part in read_ledger(run).parts:
        if part.path not in before and part.units:
            measured[part.group] = measured.get(part.group, 0) + len(part.units)
    assert measured == {name: made for name, (made, _) in foreseen.items() if name not in ("decisions", "output")}


def refused(recipe, error, *changes):
    with pytest.raises(error) as caught:
        foresee(recipe, *changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_it_ends_with_the_errors_that_a_run_would_end_with(corpus, tmp_path):
    recipe, run = corpus
    assert "did you mean 'gopher'" in refused(recipe, RecipeError, "tier1.rules=[gofer]")
    assert "set input.text: text" in refused(recipe, InputError, "input.text=content")
    assert "sample.parquet:118: id 'mit' occurs 60 times" in refused(recipe, InputError, "input.id=license")
    rule = 'tier1.rules=[{reason: odd, when: "input.license::INTEGER = 3"}]'
    assert "a condition fails on the data" in refused(recipe, RecipeError, rule)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    assert "not a run directory" in refused(recipe, RunError, f"output={tmp_path / 'other'}")
    (run / "ledger").mkdir(parents=True)
    (run / "lock").touch()
    (run / "ledger" / "snapshot.json").write_text("{")
    assert "damaged" in refused(recipe, RunError)
    done = command("plan", recipe, "--set", "input.text=content")
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (1, 1, "")


def test_a_broken_file_is_named(corpus, tmp_path):
    recipe, _ = corpus
    path = tmp_path / "in" / "1.parquet"
    data = bytearray(path.read_bytes())
    data[4:400] = bytes(396)
    path.write_bytes(data)
    assert f"{path}: rows 0 to 40 cannot be read" in refused(recipe, CurateError)


def test_every_row_has_its_place_in_the_corpus():
    assert spread([Unit(0, 10, 20), Unit(3, 0, 30)], 40, 1) == [Unit(0, 10, 20), Unit(3, 0, 30)]
    ranges = [Unit(k, 7, 107) for k in range(50)]
    found = spread(ranges, 400, 40)
    assert sum(unit.stop - unit.start for unit in found) == 400
    assert all(7 <= unit.start < unit.stop <= 107 for unit in found)
    assert found == sorted(set(found)) == spread(ranges, 400, 40)
    assert len({unit.file_no for unit in found}) > 35


def plan_of(tmp_path, monkeypatch, decoded):
    monkeypatch.setattr(sampling, "MIN_DOCUMENTS", 640)
    monkeypatch.setattr(sampling, "DECODED_BYTES", decoded)
    texts = [f"{PROSE} {k}" for k in range(8000)]
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"text": texts}), tmp_path / "in" / "a.parquet", row_group_size=1000)
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    with open(os.devnull, "w") as sink:
        return make_plan(load_recipe(recipe), Ledger(run), (), Log(sink, True))


def test_of_large_row_groups_only_a_few_are_decoded_and_none_twice(tmp_path, monkeypatch):
    units = sample_units(plan_of(tmp_path, monkeypatch, 800_000))
    groups = {unit.start // 1000 for unit in units}
    assert len(groups) == 3
    assert sum(unit.stop - unit.start for unit in units) == 640
    assert all(a.stop <= b.start for a, b in pairwise(units))


def test_of_a_huge_row_group_the_begin_is_read(tmp_path, monkeypatch):
    units = sample_units(plan_of(tmp_path, monkeypatch, 130_000))
    assert units[-1].stop - units[0].start <= 1000
    assert len({unit.start // 1000 for unit in units}) == 1


def test_json_and_tables_tell_the_same(corpus, tmp_path):
    recipe, _ = corpus
    told = json.loads(command("plan", recipe, "--json").stdout)
    shown = command("plan", recipe).stdout
    assert "120 documents in 3 files" in shown
    assert "nothing was written" in shown
    assert "are not estimated" in shown
    for row in told["dropped"]:
        assert row["reason"] in shown
    assert set(told) == {
        "run", "input", "sample", "steps", "dropped", "passing", "cpu_seconds", "minutes", "workers", "memory_bytes",
        "disk_bytes", "bands", "tier2", "tier3", "keep_tokens", "keep_bytes", "tokenizer", "training", "weighted",
        "scores", "warnings", "other_language",
    }  # fmt: skip


def test_a_recipe_that_reads_texts_again_is_foreseen(tmp_path):
    draw = random.Random(2)
    words = [f"word{k}" for k in range(400)]
    texts = [" ".join([*words[:300], *draw.choices(words, k=25)]) + "\nthe same line" for _ in range(60)]
    write_shard(tmp_path / "in" / "a.parquet", texts)
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", dedup={"near": {}, "lines": {"max_repeats": 2}})
    foreseen = foresee(recipe)
    assert foreseen["sample"]["documents"] == 60
    assert carry_out(recipe)["documents_out"] < foreseen["passing"]["documents"] == 60


def test_stages_that_train_models_are_in_the_forecast(tmp_path):
    for k, name in enumerate(("good", "held")):
        write_shard(tmp_path / name / "a.parquet", [f"{PROSE} {k} {n} {PROSE[n:]}" for n in range(120)])
    write_shard(tmp_path / "in" / "a.parquet", [f"{PROSE * (1 + n % 9)} {n}" for n in range(400)])
    recipe, _ = write_recipe(
        tmp_path, tmp_path / "in", reference=[str(tmp_path / "good")], tier2={"rounds": 2},
        distill={"keep_tokens": "30%"}, evaluate={"heldout": [str(tmp_path / "held")], "track": True},
    )  # fmt: skip
    whole = foresee(recipe)
    seconds = whole["cpu_seconds"]
    assert min(seconds["purify"], seconds["distil"], seconds["track"]) > 0
    assert whole["minutes"] * 60 > seconds["purify"] + seconds["track"]
    assert foresee(recipe, "tier2.rounds=6")["cpu_seconds"]["purify"] > 2 * seconds["purify"]
    assert foresee(recipe, "tier2=null")["cpu_seconds"]["purify"] == 0
    assert foresee(recipe, "distill=null")["cpu_seconds"]["distil"] == 0
    assert foresee(recipe, "evaluate.track=null")["cpu_seconds"]["track"] == 0  # so small an input is not tracked
    told = command("plan", recipe, cwd=tmp_path).stdout
    assert "track " in told
    assert "what it costs, with the models it trains, is in the forecast below" in told


def test_compiling_what_trains_models_is_foreseen_until_it_is_done(monkeypatch, tmp_path):
    monkeypatch.setattr("curate.maps.warm.kernel_folder", lambda: str(tmp_path))
    recipe, _ = write_recipe(
        tmp_path, tmp_path / "in", reference=["good.parquet"], tier2={}, distill={"keep_tokens": 0.3}
    )
    both = compile_seconds(load_recipe(recipe))
    tier2, budget = (compile_seconds(load_recipe(recipe, [f"{other}=null"])) for other in ("distill", "tier2"))
    assert 0 < budget < tier2 < both < tier2 + budget
    (tmp_path / "compiled-p_bad").touch()
    assert compile_seconds(load_recipe(recipe, ["distill=null"])) == 0
    assert compile_seconds(load_recipe(recipe)) == both - tier2
    (tmp_path / "compiled-distil_scores-importance_corpus").touch()
    assert compile_seconds(load_recipe(recipe)) == 0


def test_quality_is_tracked_by_default_where_that_is_the_smaller_part_of_a_run(tmp_path):
    path, _ = write_recipe(tmp_path, tmp_path / "in", evaluate={"heldout": ["held.parquet"]})
    recipe = load_recipe(path)
    assert (is_tracked(recipe, 249_000_000), is_tracked(recipe, 250_000_000)) == (False, True)
    assert is_tracked(load_recipe(path, ["evaluate.track=true"]), 1)
    assert not is_tracked(load_recipe(path, ["evaluate.track=false"]), 10**12)
    assert not is_tracked(load_recipe(path, ["evaluate=null"]), 10**12)

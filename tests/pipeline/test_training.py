"""How often a training reads the output of a run: in plan, closing lines and report, with and without weights."""

import json
import math

import pytest
from support.commands import carry_out, command
from support.corpora import PROSE, write_shard
from support.pages import read
from support.recipes import write_recipe
from support.runs import table

from curate.epochs import R_STAR
from curate.errors import RecipeError
from curate.recipe.load import load_recipe


@pytest.fixture(scope="module")
def ladder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    texts = [" ".join(f"{word}{k if n % 3 else n}" for n, word in enumerate(PROSE.split())) for k in range(240)]
    write_shard(folder / "in" / "a.parquet", texts)
    distill = {"keep_tokens": "40%", "ladder": ["10%"], "quotas": None, "novelty": 0}
    path, run = write_recipe(folder, folder / "in", distill=distill, train_tokens=200_000)
    return path, run, json.loads(command("run", path, "--json").stdout)


def law(tokens, reads):
    return tokens * (reads if reads <= 1 else 1 + R_STAR * (1 - math.exp((1 - reads) / R_STAR)))


def test_a_run_ends_with_its_epochs(ladder):
    _, run, told = ladder
    kept, left = told["tokens_out"], told["stages"][-1]["tokens_in"]
    output = told["training"]["output"]
    assert (output["tokens"], output["pass_tokens"], output["epochs"]) == (kept, kept, 200_000 / kept)
    assert output["effective_tokens"] == pytest.approx(law(kept, 200_000 / kept))
    assert told["training"]["needed_tokens"] == 50_000
    [(rung,)] = table(run, "SELECT tokens FROM rungs WHERE rung = 1")
    assert [(row["name"], row["tokens"]) for row in told["training"]["budgets"]] == [
        ("rung 1", rung), ("the output", kept), ("all that is left", left),
    ]  # fmt: skip


def test_more_tokens_to_train_on_decide_nothing_and_say_more(ladder):
    path, run, _ = ladder
    before = (run / "ledger" / "snapshot.json").read_bytes()
    done = command("run", path, "--set", "train_tokens=2M")
    assert "training on 2,000,000 tokens over" in done.stdout
    assert "warning: train_tokens: the training reads a token" in done.stdout
    assert (run / "ledger" / "snapshot.json").read_bytes() == before
    assert "train_tokens" not in command("run", path, "--set", "train_tokens=null").stdout


def test_the_report_shows_the_budgets_and_takes_another_training(ladder, tmp_path):
    _, run, _ = ladder
    page = tmp_path / "page.html"
    assert command("report", run, "--output", page, "--train-tokens", "300k").returncode == 0
    html = page.read_text("utf-8")
    assert "A training on 300,000 tokens makes" in html
    assert [row[0] for row in read(page).found["The same training over other budgets"][1:]] == [
        "rung 1", "the output", "all that is left",
    ]  # fmt: skip
    wrong = command("report", run, "--train-tokens", "many")
    assert wrong.returncode == 2
    assert "'many' is no number of tokens; write one such as 700k, 20M or 10B" in wrong.stderr


def test_plan_foresees_the_epochs(ladder):
    path, run, told = ladder
    foreseen = json.loads(command("plan", path, "--set", f"output={run}-none", "--json").stdout)["training"]
    assert foreseen["output"]["tokens"] == pytest.approx(told["tokens_out"], rel=0.01)
    assert [row["name"] for row in foreseen["budgets"]] == ["rung 1", "the output", "all that is left"]
    shown = command("plan", path, "--set", f"output={run}-none").stdout
    assert "Duplicates are not counted: what they take makes more epochs." in shown
    in_bytes = command("plan", path, "--set", f"output={run}-none", "--set", "distill.keep_bytes=40%", "--json")
    assert json.loads(in_bytes.stdout)["training"]["output"]["tokens"] == foreseen["output"]["tokens"]


def test_weights_are_read_as_often_as_they_say(ladder, tmp_path):
    path, _, _ = ladder
    changes = ["distill.ladder=[]", "distill.curve={max_repeats: 4}", f"output={tmp_path / 'run'}"]
    told = json.loads(command("run", path, *(f"--set={change}" for change in changes), "--json").stdout)
    weights = table(tmp_path / "run", "SELECT weight, n_tokens FROM kept")
    one_pass = sum(weight * tokens for weight, tokens in weights)
    output = told["training"]["output"]
    assert len({weight for weight, _ in weights}) > 10
    assert output["pass_tokens"] == pytest.approx(one_pass, rel=1e-4)
    assert output["epochs"] == pytest.approx(200_000 / one_pass, rel=1e-4)
    exact = sum(law(tokens, 200_000 / one_pass * weight) for weight, tokens in weights)
    assert output["effective_tokens"] == pytest.approx(exact, rel=1e-4)
    assert output["effective_tokens"] < law(told["tokens_out"], output["mean_reads"])


def test_what_if_says_what_another_budget_makes_of_the_epochs(ladder):
    _, run, told = ladder
    changes = ("--set", "distill.keep_tokens=80%", "--set", "train_tokens=200k")
    asked = json.loads(command("what-if", run, *changes, "--json").stdout)
    after = 200_000 / asked["totals"]["kept_after_tokens"]
    assert f"{200_000 / told['tokens_out']:.3g} → {after:.3g} times on average" in asked["notes"][0]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("0", "train_tokens: input should be greater than or equal to 1"),
        ("2GB", "'2GB' is no number of tokens; write one such as 700k, 20M or 10B"),
        ("15%", "'15%' is no number of tokens"),
    ],
)
def test_a_wrong_number_is_one_line(ladder, value, message):
    with pytest.raises(RecipeError) as error:
        load_recipe(ladder[0], [f"train_tokens={value}"])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_closing_lines_of_a_run_without_it_are_as_before(ladder):
    assert carry_out(ladder[0], "train_tokens=null")["training"] is None
